//! A file that a run leaves behind. Its bytes lie in the object store, all that is known of it in the database.

use serde::{Deserialize, Serialize};

use super::span::Size;
use crate::clock::Timestamp;

/// Bytes of a name, and of a media type.
const NAME: usize = 200;
const MEDIA_TYPE: usize = 100;
/// Artifacts that one guest may write at a time: the host holds a part of each.
pub const OPEN: usize = 4;
/// Bytes that one call reads of an artifact, at most: the host holds them before the guest's memory can refuse them.
pub const READ: u64 = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Of the run, once.
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    /// `sha256:…`
    pub digest: String,
    /// Its key in the object store.
    pub place: String,
    pub created_at: Timestamp,
}

/// Whether a file may be called so: it stands in addresses, and is the name that people save it under.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_name(name: &str) -> Result<(), String> {
    let wrong = if name.is_empty() {
        "an artifact has a name"
    } else if name.len() > NAME {
        return Err(format!("{} bytes of name; an artifact's has at most {NAME}", name.len()));
    } else if name.contains(['/', '\\']) {
        "no folders: / and \\ do not stand in an artifact's name"
    } else if name.starts_with('.') {
        "an artifact's name does not begin with a dot"
    } else if name.chars().any(|letter| letter.is_control() || is_hidden(letter)) {
        "an artifact's name has letters that can be seen"
    } else {
        return Ok(());
    };
    Err(format!("{name:?}: {wrong}; write one such as \"report.csv\""))
}

/// Marks that turn the direction of text: `gpj.exe` can look like `exe.jpg`.
fn is_hidden(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Whether it is a media type: it becomes a header.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_media_type(text: &str) -> Result<(), String> {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
    let (kind, parameters) = text.split_once(';').map_or((text, ""), |(kind, parameters)| (kind, parameters));
    let right = kind.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
        && parameters.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if right && text.len() <= MEDIA_TYPE {
        return Ok(());
    }
    Err(format!("{text:?} is no media type; write one such as \"text/csv\" or \"application/octet-stream\""))
}

/// Why a guest gets no further one while it writes [`OPEN`].
pub fn too_many_open() -> String {
    format!("{OPEN} artifacts are being written; finish one of them first")
}

/// Why a run gets no more of them.
pub fn too_many(most: u64) -> String {
    format!("a run has at most {most} artifacts here: grant.limits = {{ artifacts = … }}")
}

/// Why bytes are refused that make them `all`.
pub fn too_large(all: u64, most: Size) -> String {
    let all = Size(all);
    format!("{all} with these; the artifacts of a run have at most {most} here: grant.limits = {{ artifact_bytes = … }}")
}

/// Why a guest does not get what is not there, or not any more.
pub fn not_found(run: &str, name: &str) -> String {
    format!("no run {run} of this tenant has left the artifact {name:?}: it is another's, or past its retention")
}

/// Its key: by tenant, run and name, and `id` so that no two attempts write the same object. What a name may have and a key
/// may not becomes `_`.
pub fn place(tenant: &str, run: crate::id::Id, id: crate::id::Id, name: &str) -> String {
    let safe: String = name
        .chars()
        .take(100)
        .map(|letter| if letter.is_ascii_alphanumeric() || ".-_".contains(letter) { letter } else { '_' })
        .collect();
    format!("{tenant}/{run}/{id}-{safe}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn names_are_file_names() {
        for good in ["a", "report 2026.csv", "März.pdf", "480p.mp4", "a..b"] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", ".", "..", ".profile", "a/b", "a\\b", "a\nb", "gpj\u{202e}exe.", &"x".repeat(201)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["text/csv", "video/mp4", "text/plain; charset=utf-8", "application/vnd.api+json"] {
            assert_eq!(check_media_type(good), Ok(()));
        }
        for bad in ["", "text", "text/", "/csv", "text/html\r\nx: y", "a b/c", &format!("a/{}", "b".repeat(100))] {
            assert!(check_media_type(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_place_is_plain_whatever_the_name() {
        let place = place("acme", Id(1), Id(2), &format!("März #{}", "é".repeat(150)));
        assert!(place.starts_with("acme/0000000000001/0000000000002-M_rz__"), "{place}");
        assert!(place.is_ascii() && place.len() < 160);
    }
}
