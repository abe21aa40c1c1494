//! The files a page needs, embedded; their URLs hold a hash of their content, so that browsers may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::error::Error;

pub struct Asset {
    name: &'static str,
    media_type: &'static str,
    body: &'static [u8],
    url: LazyLock<String>,
}

macro_rules! asset {
    ($constant:ident, $name:literal, $media_type:literal) => {
        pub static $constant: Asset = Asset {
            name: $name,
            media_type: $media_type,
            body: include_bytes!(concat!("../../static/", $name)),
            url: LazyLock::new(|| hashed(&$constant)),
        };
    };
}

asset!(STYLE, "app.css", "text/css; charset=utf-8");
asset!(HTMX, "htmx.min.js", "text/javascript; charset=utf-8");
asset!(SCRIPT, "windlass.js", "text/javascript; charset=utf-8");
asset!(ICON, "icon.svg", "image/svg+xml");

static ALL: [&Asset; 4] = [&STYLE, &HTMX, &SCRIPT, &ICON];

impl Asset {
    /// `/static/<hash>/app.css`
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn hashed(asset: &Asset) -> String {
    let digest = Sha256::digest(asset.body);
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("/static/{hash}/{}", asset.name)
}

/// The hash in the path only tells versions apart: an old one gets the current file, but not for ever.
pub async fn serve(Path((hash, name)): Path<(String, String)>) -> Result<Response, Error> {
    let asset = ALL.into_iter().find(|asset| asset.name == name).ok_or_else(|| Error::not_found(format!("file {name}")))?;
    let keep = if asset.url().contains(&format!("/{hash}/")) { "public, max-age=31536000, immutable" } else { "no-cache" };
    Ok(([(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, keep)], asset.body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_change_with_the_content() {
        assert!(STYLE.url().starts_with("/static/") && STYLE.url().ends_with("/app.css"));
        assert_ne!(STYLE.url()[8..20], HTMX.url()[8..20]);
    }

    #[test]
    fn the_stylesheet_stays_small_and_loads_nothing() {
        assert!(STYLE.body.len() <= 32 * 1024, "{} bytes", STYLE.body.len());
        let text = std::str::from_utf8(STYLE.body).unwrap();
        assert!(!text.contains("url(") && !text.contains("@import"));
    }
}
