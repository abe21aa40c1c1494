//! How things look on a page: each type here is one kind of text or drawing, and its `Display` is finished HTML.
//!
//! What comes from outside (messages, names, input) is escaped by askama in the templates or by [`escape`] here; nothing
//! else makes HTML.

use std::fmt::{self, Display};

pub mod chart;
pub mod json;
pub mod moment;
pub mod number;
pub mod pill;
pub mod words;

/// Text as it may stand between tags and in quoted attributes. Letters that turn the order of others round are named.
pub fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut from = 0;
    for (at, letter) in text.char_indices() {
        let entity = match letter {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "",
            _ => continue,
        };
        f.write_str(&text[from..at])?;
        if entity.is_empty() {
            letter.escape_unicode().fmt(f)?
        } else {
            f.write_str(entity)?
        }
        from = at + letter.len_utf8();
    }
    f.write_str(&text[from..])
}
