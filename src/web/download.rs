//! Bytes that a guest made, to a browser: to be saved, never to be shown. Whatever it says they are, nothing of it runs here.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use axum::response::Response;

use super::address::encoded;
use crate::app::App;
use crate::error::{Error, Result};
use crate::id::Id;

/// An artifact as an attachment; `nosniff` stands on every answer. Whoever asks has been let to the tenant.
///
/// # Errors
/// `NotFound`; `Unavailable` when the object store does not answer.
pub async fn artifact(app: &App, tenant: Id, run: Id, name: &str) -> Result<Response> {
    let (artifact, bytes) = app.artifact(tenant, run, name).await?;
    let mut response = Response::new(Body::from_stream(bytes));
    for (header, value) in [
        (CONTENT_TYPE, artifact.media_type),
        (CONTENT_LENGTH, artifact.bytes.to_string()),
        (CONTENT_DISPOSITION, attachment(&artifact.name)),
        (CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned()),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
        (ETAG, format!("\"{}\"", artifact.digest)),
    ] {
        let value = HeaderValue::from_str(&value).map_err(|wrong| Error::Internal(wrong.into()))?;
        response.headers_mut().insert(header, value);
    }
    Ok(response)
}

/// RFC 6266: a plain name for old programs, the true one in UTF-8.
fn attachment(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|letter| if letter.is_ascii_graphic() && !"\"\\%;".contains(letter) || letter == ' ' { letter } else { '_' })
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", encoded(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(
            attachment("März \"1\".pdf"),
            "attachment; filename=\"M_rz _1_.pdf\"; filename*=UTF-8''M%C3%A4rz%20%221%22.pdf"
        );
    }
}
