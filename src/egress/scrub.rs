//! Takes the values of secrets out of what comes back, as they are and as they look in base 64 or hexadecimal, with any of
//! their characters percent-encoded or escaped as in JSON, also where they are cut by the pieces in which it comes. What is
//! taken out is replaced by as many stars: lengths hold; or in a message by a word.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::pattern::{Pattern, WIDEST, may_begin};

/// Bytes below which a value is too short to be looked for: it would be found everywhere.
pub const SHORTEST: usize = 4;

/// Knows what to look for.
#[derive(Debug, Default)]
pub struct Scrubber {
    /// Longest first.
    patterns: Vec<Pattern>,
    /// Whether a pattern begins with this byte.
    begins: Vec<bool>,
    /// Bytes that may be held back, the most.
    longest: usize,
}

/// Where a value stands, and which of them it is.
type Span = (Range<usize>, usize);

impl Scrubber {
    pub fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let values = values.enumerate().filter(|(_, value)| value.len() >= SHORTEST);
        let mut patterns: Vec<Pattern> = values.flat_map(|(n, value)| forms(value, n)).collect();
        patterns.sort_by(|a, b| b.bytes.len().cmp(&a.bytes.len()).then_with(|| a.bytes.cmp(&b.bytes)));
        patterns.dedup_by(|a, b| a.bytes == b.bytes && a.any_case == b.any_case);
        let begins = (0..=255).map(|byte| patterns.iter().any(|pattern| pattern.begins(byte))).collect();
        let longest = patterns.first().map_or(0, |pattern| pattern.bytes.len() * WIDEST);
        Self { patterns, begins, longest }
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Puts stars in their place; whether there was anything.
    pub fn scrub(&self, bytes: &mut [u8]) -> bool {
        let (_, spans) = self.spans(bytes, true);
        spans.iter().for_each(|(span, _)| bytes[span.clone()].fill(b'*'));
        !spans.is_empty()
    }

    pub fn scrub_text(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        if self.scrub(&mut bytes) { String::from_utf8_lossy(&bytes).into_owned() } else { text.to_owned() }
    }

    /// The text with this word in their places. Before it is cut: the beginning of a value could not be told any more.
    pub fn masked(&self, text: &str, word: &str) -> String {
        let masked = self.replace(text.as_bytes(), |_| word.to_owned());
        masked.map_or_else(|| text.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts something else in their place, by the number of the value; `None` when there was nothing.
    pub fn replace(&self, bytes: &[u8], with: impl Fn(usize) -> String) -> Option<Vec<u8>> {
        let (_, spans) = self.spans(bytes, true);
        let (mut out, mut upto) = (Vec::with_capacity(bytes.len()), 0);
        for (span, value) in &spans {
            out.extend_from_slice(&bytes[upto..span.start]);
            out.extend_from_slice(with(*value).as_bytes());
            upto = span.end;
        }
        out.extend_from_slice(&bytes[upto..]);
        (!spans.is_empty()).then_some(out)
    }

    /// What there is of them.
    pub fn found<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.spans(bytes, true).1.into_iter().map(|(span, _)| &bytes[span])
    }

    /// Looks as far as it can be sure, and answers how far that is: behind it begins what may be the beginning of a value,
    /// unless this is the end.
    fn spans(&self, bytes: &[u8], is_end: bool) -> (usize, Vec<Span>) {
        let (mut at, mut spans) = (0, Vec::new());
        if self.is_empty() {
            return (bytes.len(), spans);
        }
        while at < bytes.len() {
            let rest = &bytes[at..];
            if !may_begin(rest, &self.begins) {
                at += 1;
                continue;
            }
            // A longer one that may still come goes before a shorter one that is here.
            let here = self.patterns.iter().find_map(|pattern| {
                let found = pattern.find(rest);
                (found.whole.is_some() || found.begun && !is_end).then_some((pattern, found))
            });
            match here {
                None => at += 1,
                Some((_, found)) if found.begun && !is_end => return (at, spans),
                Some((pattern, found)) => {
                    let end = at + found.whole.unwrap_or(1);
                    spans.push((at..end, pattern.value));
                    at = end;
                }
            }
        }
        (at, spans)
    }
}

/// A value, and how it looks when it is written in other letters; each is found in any mixture of escapes.
fn forms(value: &[u8], n: usize) -> Vec<Pattern> {
    let pattern = |bytes: Vec<u8>, any_case| Pattern { bytes, any_case, value: n };
    let mut forms = vec![pattern(value.to_vec(), false), pattern(value.iter().flat_map(|byte| hex(*byte, true)).collect(), true)];
    // In a text of JSON inside JSON.
    if let Ok(text) = std::str::from_utf8(value) {
        let quoted = serde_json::Value::from(text).to_string();
        forms.push(pattern(quoted.as_bytes()[1..quoted.len() - 1].to_vec(), false));
    }
    for shift in 0..3 {
        let long = in_base64(value, shift).into_iter().filter(|form| form.len() >= SHORTEST);
        forms.extend(long.map(|form| pattern(form, false)));
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
        let (sure, spans) = scrubber.spans(&bytes, false);
        spans.into_iter().for_each(|(span, _)| bytes[span].fill(b'*'));
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
    use base64::engine::general_purpose::STANDARD;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

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

    /// As a careless or a mischievous target may write it: each character in another way.
    fn mixed(text: &str, random: &mut StdRng) -> String {
        let case = |text: String, random: &mut StdRng| if random.random() { text.to_uppercase() } else { text };
        let escaped = |unit: u16, random: &mut StdRng| format!("\\u{}", case(format!("{unit:04x}"), random));
        let mut out = String::new();
        for one in text.chars() {
            let mut bytes = [0; 4];
            match random.random_range(0..4) {
                0 => out.push(one),
                1 => one.encode_utf8(&mut bytes).bytes().for_each(|byte| out += &case(format!("%{byte:02x}"), random)),
                2 => one.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &escaped(*unit, random)),
                _ => {
                    out +=
                        serde_json::Value::from(String::from(one)).to_string().trim_start_matches('"').strip_suffix('"').unwrap()
                }
            }
        }
        out
    }

    #[test]
    fn a_value_is_found_in_any_mixture_of_escapes_and_pieces() {
        const LETTERS: [char; 16] = ['a', 'B', '3', 'f', '%', '\\', '"', '/', '+', ' ', '\n', 'ä', '漢', '😀', '\u{1}', '&'];
        for seed in 0..2_000 {
            let mut random = StdRng::seed_from_u64(seed);
            let value: String = (0..random.random_range(4..20)).map(|_| LETTERS[random.random_range(0..LETTERS.len())]).collect();
            let scrubber = Scrubber::new(std::iter::once(value.as_bytes()));
            let form = match random.random_range(0..4) {
                0 => STANDARD.encode(&value),
                1 => value.bytes().map(|byte| format!("{byte:02X}")).collect(),
                _ => value.clone(),
            };
            let written = mixed(&form, &mut random);
            let whole = format!("<zzzz|{written}|zzzz>");
            let scrubbed = scrubber.scrub_text(&whole);
            let stars = scrubbed.bytes().filter(|byte| *byte == b'*').count();
            // The last letters of base 64 also say what comes after it, and stay.
            let least = if form.ends_with('=') { 1 } else { written.len() };
            assert!(stars >= least, "{seed}: {value:?} as {written} becomes {scrubbed}");
            assert_eq!(scrubbed.len(), whole.len());
            let (mut stream, mut out, mut rest) = (Stream::default(), Vec::new(), whole.as_bytes());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.random_range(1..=rest.len().min(9)));
                out.extend(stream.piece(&scrubber, piece));
                rest = behind;
            }
            out.extend(stream.end(&scrubber));
            assert_eq!(String::from_utf8_lossy(&out), scrubbed, "{seed}");
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
