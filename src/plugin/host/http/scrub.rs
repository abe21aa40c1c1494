//! Takes the values of secrets out of what comes back, as they are and as they look in base 64, percent-encoded or in JSON,
//! also where they are cut by the pieces in which it comes. What is taken out is replaced by as many stars: lengths hold.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes below which a value is too short to be looked for: it would be found everywhere.
pub const SHORTEST: usize = 4;

/// Knows what to look for.
#[derive(Debug, Default)]
pub struct Scrubber {
    /// Longest first.
    patterns: Vec<Vec<u8>>,
    /// Whether a pattern begins with this byte.
    begins: Vec<bool>,
    longest: usize,
}

impl Scrubber {
    pub fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut patterns: Vec<Vec<u8>> = values.filter(|value| value.len() >= SHORTEST).flat_map(forms).collect();
        patterns.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        patterns.dedup();
        let mut begins = vec![false; 256];
        patterns.iter().for_each(|pattern| begins[usize::from(pattern[0])] = true);
        let longest = patterns.first().map_or(0, Vec::len);
        Self { patterns, begins, longest }
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Puts stars in their place; whether there was anything.
    pub fn scrub(&self, bytes: &mut [u8]) -> bool {
        self.pass(bytes, true).1
    }

    pub fn scrub_text(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        if self.scrub(&mut bytes) { String::from_utf8_lossy(&bytes).into_owned() } else { text.to_owned() }
    }

    /// Scrubs as far as it can be sure, and answers how far that is: behind it begins what may be the beginning of a pattern,
    /// unless this is the end.
    fn pass(&self, bytes: &mut [u8], is_end: bool) -> (usize, bool) {
        let (mut at, mut found) = (0, false);
        if self.is_empty() {
            return (bytes.len(), false);
        }
        while at < bytes.len() {
            if !self.begins[usize::from(bytes[at])] {
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            // A longer one that may still come goes before a shorter one that is here.
            let here = self
                .patterns
                .iter()
                .find(|pattern| rest.starts_with(pattern) || !is_end && rest.len() < pattern.len() && pattern.starts_with(rest));
            match here {
                None => at += 1,
                Some(pattern) if pattern.len() > rest.len() => return (at, found),
                Some(pattern) => {
                    let end = at + pattern.len();
                    bytes[at..end].fill(b'*');
                    (at, found) = (end, true);
                }
            }
        }
        (at, found)
    }
}

/// A value, and how it looks when it is written in other ways.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    for upper in [true, false] {
        // Everything but what never needs it; and everything.
        forms.push(percent(value, upper, |byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)));
        forms.push(percent(value, upper, |byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte)));
        forms.push(percent(value, upper, |_| false));
    }
    // As forms write a space.
    forms.push(replaced(&forms[1], b"%20", b"+"));
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_vec(text)
    {
        let json = json[1..json.len() - 1].to_vec();
        forms.push(replaced(&json, b"/", b"\\/"));
        forms.push(json);
    }
    for upper in [true, false] {
        forms.push(value.iter().flat_map(|byte| hex(*byte, upper)).collect());
    }
    for shift in 0..3 {
        forms.extend(in_base64(value, shift).into_iter().filter(|form| form.len() >= SHORTEST));
    }
    forms
}

pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len().max(1)).any(|window| window == needle)
}

pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = behind;
        } else {
            out.push(*first);
            rest = behind;
        }
    }
    out
}

fn hex(byte: u8, upper: bool) -> [u8; 2] {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// Percent-encoded, with these bytes as they are.
pub fn percent(value: &[u8], upper: bool, plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 3);
    for byte in value {
        if plain(*byte) {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.extend(hex(*byte, upper));
        }
    }
    out
}

/// In base 64 behind `shift` other bytes (modulo three), without the letters that depend on what stands beside it.
fn in_base64(value: &[u8], shift: usize) -> [Vec<u8>; 2] {
    let padded = [&vec![0; shift][..], value].concat();
    let first = (shift * 8).div_ceil(6);
    // A letter is 6 bits: the last one is the value's own only when it ends there.
    let last = padded.len() * 8 / 6;
    let form = |text: String| text.as_bytes().get(first..last).unwrap_or_default().to_vec();
    [form(STANDARD_NO_PAD.encode(&padded)), form(URL_SAFE_NO_PAD.encode(&padded))]
}

/// Scrubs what comes piece by piece.
#[derive(Debug, Default)]
pub struct Stream {
    /// May be the beginning of a value.
    held: Vec<u8>,
}

impl Stream {
    /// What may go on; nothing is held back but what could become a value.
    pub fn piece(&mut self, scrubber: &Scrubber, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let (sure, _) = scrubber.pass(&mut bytes, false);
        self.held = bytes.split_off(sure);
        debug_assert!(self.held.len() < scrubber.longest.max(1), "less than a value is held");
        bytes
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is left at the end.
    pub fn end(&mut self, scrubber: &Scrubber) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        scrubber.scrub(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    const VALUE: &str = "s3cr+t/va lue\"ä";

    fn scrubber() -> Scrubber {
        Scrubber::new([VALUE.as_bytes(), b"other-value", b"abc"].into_iter())
    }

    #[test]
    fn a_value_is_found_in_every_form_and_lengths_hold() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let forms = [
            VALUE.to_owned(),
            text(percent(VALUE.as_bytes(), true, |byte| plain(byte) || b"-_.~".contains(&byte))),
            text(percent(VALUE.as_bytes(), false, |_| false)),
            serde_json::to_string(VALUE).unwrap().trim_matches('"').to_owned(),
            "s3cr%2Bt%2Fva+lue%22%C3%A4".to_owned(),
        ];
        for form in forms {
            let said = format!("<{form}> and {form}");
            let scrubbed = scrubber().scrub_text(&said);
            assert_eq!(scrubbed, format!("<{0}> and {0}", "*".repeat(form.len())), "{form}");
        }
        assert_eq!(scrubber().scrub_text("abc, nothing else"), "abc, nothing else", "too short to be looked for");
    }

    #[test]
    fn a_value_is_found_in_base_64_wherever_it_stands() {
        for before in ["", "a", "ab", "user:", "user12:"] {
            for after in ["", "z", "zz", "zzz"] {
                let whole = STANDARD.encode(format!("{before}{VALUE}{after}"));
                let scrubbed = scrubber().scrub_text(&whole);
                let decoded = STANDARD.decode(scrubbed.replace('*', "A")).unwrap();
                assert!(!decoded.windows(4).any(|part| VALUE.as_bytes().windows(4).any(|of| of == part)), "{before} {after}");
                assert!(scrubbed.len() == whole.len() && scrubbed.contains("****"), "{scrubbed}");
            }
        }
    }

    #[test]
    fn a_value_cut_by_pieces_is_found() {
        let whole = format!("1 {VALUE} 2 other-value 3 {} 4 other-valu", STANDARD.encode(format!("u:{VALUE}")));
        let expected = scrubber().scrub_text(&whole);
        assert!(!expected.contains("other-value") && expected.contains("4 other-valu"));
        for size in 1..whole.len() {
            let (scrubber, mut stream, mut out) = (scrubber(), Stream::default(), Vec::new());
            for piece in whole.as_bytes().chunks(size) {
                out.extend(stream.piece(&scrubber, piece));
            }
            out.extend(stream.end(&scrubber));
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn what_cannot_be_a_value_is_not_held_back() {
        let (scrubber, mut stream) = (scrubber(), Stream::default());
        assert_eq!(stream.piece(&scrubber, b"data: 1\n\n"), b"data: 1\n\n");
        assert_eq!(stream.piece(&scrubber, b"other-"), b"");
        assert_eq!(stream.piece(&scrubber, b"wise"), b"other-wise");
    }
}
