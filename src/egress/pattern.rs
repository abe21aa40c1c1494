//! A text in whatever mixture of plain, percent-encoded and JSON's escaped characters it is written, found where it begins.

use std::collections::BTreeSet;

/// Bytes of the longest way to write one byte of a pattern: `\u00xx`.
pub const WIDEST: usize = 6;

/// Places at which a text may be read in two ways, before what was read is taken for the whole: who writes hundreds of `\\` or
/// `%` hides nothing but these, and each place more would cost as much as all before it.
const FORKS: usize = 256;

#[derive(Debug)]
pub struct Pattern {
    pub bytes: Vec<u8>,
    /// Letters of either case are the same: of hexadecimal digits.
    pub any_case: bool,
    /// Which of the values it is a form of.
    pub value: usize,
}

/// What stands at the beginning of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The whole pattern, written in so many bytes.
    pub whole: Option<usize>,
    /// All of the text may be its beginning.
    pub begun: bool,
}

impl Pattern {
    /// Whether it begins with this byte, not escaped.
    pub fn begins(&self, byte: u8) -> bool {
        self.has(0, &[byte]) || byte == b'+' && self.has(0, b" ")
    }

    pub fn find(&self, text: &[u8]) -> Found {
        let mut found = Found::default();
        // More than one way to read it only where `%` or `\` may stand for themselves: then one waits while the other is tried.
        let (mut place, mut others, mut forks) = (Some((0, 0)), Vec::new(), BTreeSet::new());
        while let Some((at, read)) = place.take().or_else(|| others.pop()) {
            if at == self.bytes.len() {
                found.whole = found.whole.max(Some(read));
                continue;
            }
            let rest = &text[read..];
            let Some(first) = rest.first() else {
                found.begun = true;
                continue;
            };
            let plain = self.has(at, &[*first]) || *first == b'+' && self.has(at, b" ");
            let plain = plain.then_some((at + 1, read + 1));
            let escaped = match escape(rest) {
                Escape::None => None,
                Escape::Cut => {
                    found.begun = true;
                    None
                }
                Escape::Of { character, length, taken } => {
                    self.has(at, &character[..length]).then_some((at + length, read + taken))
                }
            };
            match (plain, escaped) {
                (Some(plain), Some(escaped)) => {
                    if forks.len() >= FORKS {
                        found.whole = found.whole.max(Some(read.max(1)));
                        return found;
                    }
                    if forks.insert((at, read)) {
                        others.push(escaped);
                        place = Some(plain);
                    }
                }
                (plain, escaped) => place = plain.or(escaped),
            }
        }
        found
    }

    fn has(&self, at: usize, bytes: &[u8]) -> bool {
        let here = self.bytes.get(at..at + bytes.len());
        here.is_some_and(|here| here == bytes || self.any_case && here.eq_ignore_ascii_case(bytes))
    }
}

/// Whether a text may begin with one of these bytes, escaped or not: most places of a text are passed by with this.
pub fn may_begin(text: &[u8], begins: &[bool]) -> bool {
    let is_one = |byte: &u8| begins.get(usize::from(*byte)) == Some(&true);
    text.first().is_some_and(is_one)
        || match escape(text) {
            Escape::None => false,
            Escape::Cut => true,
            Escape::Of { character, .. } => is_one(&character[0]),
        }
}

/// What the first bytes of a text stand for.
enum Escape {
    None,
    /// The text ends in the middle of one.
    Cut,
    /// So many bytes of it, written in `taken`.
    Of {
        character: [u8; 4],
        length: usize,
        taken: usize,
    },
}

impl Escape {
    fn byte(byte: u8, taken: usize) -> Self {
        Self::Of { character: [byte, 0, 0, 0], length: 1, taken }
    }
}

fn escape(text: &[u8]) -> Escape {
    match text {
        [b'%', high, low, ..] => number(&[*high, *low]).map_or(Escape::None, |byte| Escape::byte(byte.to_le_bytes()[0], 3)),
        [b'%' | b'\\'] | [b'%', _] => Escape::Cut,
        [b'\\', b'u', ..] => unicode(text),
        [b'\\', letter, ..] => match letter {
            b'"' | b'\\' | b'/' => Escape::byte(*letter, 2),
            b'n' => Escape::byte(b'\n', 2),
            b't' => Escape::byte(b'\t', 2),
            b'r' => Escape::byte(b'\r', 2),
            b'b' => Escape::byte(8, 2),
            b'f' => Escape::byte(12, 2),
            _ => Escape::None,
        },
        _ => Escape::None,
    }
}

/// `\uXXXX`, or two of them for one character.
fn unicode(text: &[u8]) -> Escape {
    let Some(digits) = text.get(2..6) else { return Escape::Cut };
    let Some(mut code) = number(digits) else { return Escape::None };
    let mut taken = 6;
    if (0xd800..0xdc00).contains(&code) {
        let Some(second) = text.get(6..12) else { return Escape::Cut };
        let low = second.strip_prefix(b"\\u").and_then(number).filter(|low| (0xdc00..0xe000).contains(low));
        let Some(low) = low else { return Escape::None };
        (code, taken) = (0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00), 12);
    }
    let Some(character) = char::from_u32(code) else { return Escape::None };
    let mut bytes = [0; 4];
    let length = character.encode_utf8(&mut bytes).len();
    Escape::Of { character: bytes, length, taken }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pattern: &str, text: &str) -> Found {
        Pattern { bytes: pattern.into(), any_case: false, value: 0 }.find(text.as_bytes())
    }

    fn whole(length: usize) -> Found {
        Found { whole: Some(length), begun: false }
    }

    #[test]
    fn a_text_is_found_in_any_mixture_of_ways_to_write_it() {
        for text in
            ["a b/ä\"😀", "%61+b%2f%c3%A4%22%f0%9F%98%80", r#"\u0061\u0020b\/\u00E4\"\uD83d\uDE00"#, r#"a%20b%2F\u00e4\u0022😀"#]
        {
            assert_eq!(find("a b/ä\"😀", text), whole(text.len()), "{text}");
            assert_eq!(find("a b/ä\"😀", &format!("{text} and more")), whole(text.len()), "{text}");
        }
        for text in ["a c", "%62", r"\u0062", r"\u00g1", "%6g", r"\ud83d\u0041"] {
            assert_eq!(find("a b", text), Found::default(), "{text}");
        }
    }

    #[test]
    fn a_text_that_ends_in_the_middle_may_be_its_beginning() {
        for text in ["", "a", "a%", "a%2", r"a\", r"a\u00", r"a ", "a+b%"] {
            assert_eq!(find("a b\n", text), Found { whole: None, begun: true }, "{text}");
        }
    }

    #[test]
    fn what_introduces_an_escape_may_stand_for_itself() {
        for (text, length) in [(r"50%41\n", 7), (r"50%2541\\n", 10), (r"5%30%41\u005cn", 14)] {
            assert_eq!(find(r"50%41\n", text), whole(length), "{text}");
        }
        // As many ways as there are to read it, and none of them twice; of very many none is tried to its end.
        assert_eq!(find(&"\\".repeat(20), &"\\".repeat(30)), Found { whole: Some(30), begun: true });
        assert!(find(&"\\".repeat(10_000), &"\\".repeat(15_000)).whole.is_some());
    }
}
