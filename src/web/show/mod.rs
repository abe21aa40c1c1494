//! How things look on a page: each type here is one kind of text or drawing, and its `Display` is finished HTML.
//!
//! What comes from outside (messages, names, input) is escaped by askama in the templates or by [`escape`] here; nothing
//! else makes HTML.

use std::fmt;

pub mod chart;
pub mod json;
pub mod moment;
pub mod number;
pub mod pill;
pub mod words;

/// Text as it may stand between tags and in quoted attributes.
pub fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        f.write_str(&text[from..at])?;
        f.write_str(entity)?;
        from = at + 1;
    }
    f.write_str(&text[from..])
}
