//! JSON for a person: indented and coloured, every number exactly as it is stored (no parsing, no rounding).

use std::fmt;

use askama::filters::HtmlSafe;

use super::escape;

/// JSON text; what is not JSON is shown as it is.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(pub &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if serde_json::from_str::<serde::de::IgnoredAny>(self.0).is_err() {
            return escape(self.0, f);
        }
        let bytes = self.0.as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        while at < bytes.len() {
            let end = token_end(bytes, at);
            let token = &self.0[at..end];
            at = end;
            match token.as_bytes()[0] {
                b'{' | b'[' => {
                    let close = skip_space(bytes, at);
                    if matches!(bytes.get(close), Some(b'}' | b']')) {
                        f.write_str(if token == "{" { "{}" } else { "[]" })?;
                        at = close + 1;
                    } else {
                        depth += 1;
                        f.write_str(token)?;
                        new_line(f, depth)?;
                    }
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    new_line(f, depth)?;
                    f.write_str(token)?;
                }
                b',' => {
                    f.write_str(token)?;
                    new_line(f, depth)?;
                }
                b':' => f.write_str(": ")?,
                b'"' => {
                    let key = bytes.get(skip_space(bytes, at)) == Some(&b':');
                    coloured(f, if key { "k" } else { "s" }, token)?;
                }
                byte if byte.is_ascii_whitespace() => {}
                _ => coloured(f, "n", token)?,
            }
        }
        Ok(())
    }
}

impl HtmlSafe for Json<'_> {}

fn coloured(f: &mut fmt::Formatter<'_>, class: &str, token: &str) -> fmt::Result {
    write!(f, "<span class=\"{class}\">")?;
    escape(token, f)?;
    f.write_str("</span>")
}

fn new_line(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    f.write_str("\n")?;
    (0..depth).try_for_each(|_| f.write_str("  "))
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the token that begins at `from` ends. The text is known to be JSON.
fn token_end(bytes: &[u8], from: usize) -> usize {
    let rest = &bytes[from..];
    let length = match rest[0] {
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        b'"' => {
            let mut escaped = false;
            let inside = rest[1..].iter().take_while(|byte| {
                let more = escaped || **byte != b'"';
                escaped = !escaped && **byte == b'\\';
                more
            });
            inside.count() + 2
        }
        byte if byte.is_ascii_whitespace() => rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count(),
        _ => rest.iter().take_while(|byte| !b"{}[],: \t\r\n\"".contains(byte)).count(),
    };
    (from + length.max(1)).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_numbers_stay_as_they_are() {
        let html = Json(r#"{"page_id":9007199254740993,"x":[1.10,{}],"t":"a\"</script>"}"#).to_string();
        let right = "{\n  <span class=\"k\">&quot;page_id&quot;</span>: <span class=\"n\">9007199254740993</span>,\n  <span class=\"k\">&quot;x&quot;</span>: [\n    <span class=\"n\">1.10</span>,\n    {}\n  ],\n  <span class=\"k\">&quot;t&quot;</span>: <span class=\"s\">&quot;a\\&quot;&lt;/script&gt;&quot;</span>\n}";
        assert_eq!(html, right);
    }

    #[test]
    fn what_is_no_json_is_shown_escaped() {
        assert_eq!(Json("<b>no").to_string(), "&lt;b&gt;no");
        assert_eq!(Json("").to_string(), "");
        assert_eq!(Json("a\u{202e}b").to_string(), "a\\u{202e}b", "it would turn round what follows");
    }
}
