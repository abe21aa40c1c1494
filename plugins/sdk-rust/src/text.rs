//! Strangers' words in messages: on one line, and not too many.

/// A target's words in one line of at most `limit` characters, in quotes.
pub fn quote(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "an empty answer".to_owned() } else { format!("'{}'", cut(&line, limit)) }
}

/// At most `limit` characters, and a sign that there were more.
pub fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_so_many_characters() {
        assert_eq!(quote(" a\n\t b ", 9), "'a b'");
        assert_eq!(quote(" ", 9), "an empty answer");
        assert_eq!(quote("äöü", 2), "'äö…'");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
