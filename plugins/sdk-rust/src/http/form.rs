/// Encodes as `application/x-www-form-urlencoded`, exactly like PHP's `urlencode`: letters, digits and `-_.` stay, a space
/// becomes `+`, everything else `%XX` over its UTF-8 bytes.
pub fn urlencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// `key=value` pairs joined by `&`, in the order given.
pub fn encode_form<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let pairs = pairs.into_iter().map(|(key, value)| format!("{}={}", urlencode(key.as_ref()), urlencode(value.as_ref())));
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_php_does() {
        assert_eq!(urlencode("a b~c*d-e_f.g+h/ä€"), "a+b%7Ec%2Ad-e_f.g%2Bh%2F%C3%A4%E2%82%AC");
        assert_eq!(encode_form([("a", "1 2"), ("b", "&=")]), "a=1+2&b=%26%3D");
    }
}
