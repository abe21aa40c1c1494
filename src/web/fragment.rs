//! A page, or one part of it: `X-Fragment: name` asks for a block of the page's own template. Each answer has an ETag of
//! its own, so that a part that did not change costs no bytes and no swap.

use askama::Template;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

pub static FRAGMENT: HeaderName = HeaderName::from_static("x-fragment");

/// A page whose template has blocks that can be fetched alone.
pub trait Page: Template {
    /// The block of that name; `None` when there is none.
    fn fragment(&self, name: &str) -> Option<askama::Result<String>>;
}

/// `fragments!(Overview: totals => as_totals, …)`
macro_rules! fragments {
    ($page:ty $(: $($name:ident => $part:ident),+)?) => {
        impl $crate::web::fragment::Page for $page {
            fn fragment(&self, name: &str) -> Option<askama::Result<String>> {
                match name {
                    $($(stringify!($name) => Some(askama::Template::render(&self.$part())),)+)?
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use fragments;

/// The page, or the fragment that the request asks for.
///
/// # Errors
/// When there is no such fragment, or the template fails (which is our fault).
pub fn answer(page: &impl Page, asked: &HeaderMap) -> Result<Response> {
    let rendered = match asked.get(&FRAGMENT).map(|name| name.to_str().unwrap_or_default()) {
        None => page.render(),
        Some(name) => page.fragment(name).ok_or_else(|| Error::not_found(format!("fragment {name:?} of this page")))?,
    };
    html(rendered.map_err(|wrong| Error::Internal(wrong.into()))?, asked)
}

/// HTML with its ETag; 304 when the asker has it.
pub fn html(body: String, asked: &HeaderMap) -> Result<Response> {
    let tag = etag(&body);
    let same = asked
        .get(IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag));
    let tag = HeaderValue::from_str(&tag).map_err(|wrong| Error::Internal(wrong.into()))?;
    let mut response = if same { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("X-Fragment, Cookie"));
    headers.insert(ETAG, tag);
    Ok(response)
}

/// Weak: the words of relative times ("3 s ago") do not count, the page's script keeps them fresh.
fn etag(body: &str) -> String {
    let mut hash = Sha256::new();
    let mut rest = body;
    while let Some(at) = rest.find(" data-rel>") {
        let (head, tail) = rest.split_at(at);
        hash.update(head);
        rest = tail.find("</time>").map_or("", |end| &tail[end..]);
    }
    hash.update(rest);
    let digest: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{digest}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_relative_times_do_not_change_the_tag() {
        let page = |when: &str, words: &str| format!("<p><time datetime=\"{when}\" data-rel>{words}</time> and</p>");
        assert_eq!(etag(&page("a", "1 s ago")), etag(&page("a", "2 s ago")));
        assert_ne!(etag(&page("a", "1 s ago")), etag(&page("b", "1 s ago")));
        assert_ne!(etag("<p>1</p>"), etag("<p>2</p>"));
    }

    #[test]
    fn who_has_it_gets_304() {
        let first = html("<p>x</p>".into(), &HeaderMap::new()).unwrap();
        let tag = first.headers()[ETAG].clone();
        let asked = HeaderMap::from_iter([(IF_NONE_MATCH, tag)]);
        assert_eq!(html("<p>x</p>".into(), &asked).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(html("<p>y</p>".into(), &asked).unwrap().status(), StatusCode::OK);
    }
}
