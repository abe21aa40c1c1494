//! Ids: 63 bits that sort by time. 42 bits of milliseconds, 10 of node, 11 of sequence; 13 letters in URLs and JSON.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Clock, Timestamp};
use crate::error::Error;

const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 11;
const LETTERS: usize = 13;
/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Names a row for ever: a run, a job, a tenant …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(pub i64);

impl Id {
    /// When it was made.
    pub fn created_at(self) -> Timestamp {
        Timestamp(self.0 >> (NODE_BITS + SEQUENCE_BITS))
    }

    /// The first id that can be made at `at`: what has a later one did not exist before.
    pub fn first_at(at: Timestamp) -> Self {
        Self(at.0 << (NODE_BITS + SEQUENCE_BITS))
    }

    /// Six of its letters, for tables and charts where the whole would not fit: those of the time that differ between
    /// neighbours. The first three are the same for six days, the last four are node and sequence.
    pub fn short(self) -> String {
        self.to_string()[3..9].to_owned()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; LETTERS];
        let mut rest = self.0.cast_unsigned();
        for letter in text.iter_mut().rev() {
            *letter = ALPHABET[usize::try_from(rest & 31).unwrap_or(0)];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::NotFound(format!("{text:?} is no id: 13 letters and digits, as in 01KASV7Q2M4T9"));
        if text.len() != LETTERS {
            return Err(wrong());
        }
        let mut value: u64 = 0;
        for byte in text.bytes() {
            let byte = byte.to_ascii_uppercase();
            let digit = ALPHABET.iter().position(|letter| *letter == byte).ok_or_else(wrong)?;
            value = value << 5 | digit as u64;
        }
        i64::try_from(value).map(Self).map_err(|_| wrong())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes the ids of one node. The time in them never goes back, even when the clock does.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    node: i64,
    last: Arc<AtomicI64>,
}

impl Ids {
    /// `node` is the number the database gave this node; `high_water` the largest id it ever stored.
    pub fn new(clock: Arc<dyn Clock>, node: i64, high_water: Id) -> Self {
        let last = high_water.created_at().0 << SEQUENCE_BITS | ((1 << SEQUENCE_BITS) - 1);
        Self { clock, node: node & ((1 << NODE_BITS) - 1), last: Arc::new(AtomicI64::new(last)) }
    }

    pub fn next(&self) -> Id {
        let now = self.clock.now().0 << SEQUENCE_BITS;
        // `last` holds milliseconds and sequence; a full sequence runs over into the next millisecond.
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        let next = now.max(last.unwrap_or_else(|last| last) + 1);
        let (ms, sequence) = (next >> SEQUENCE_BITS, next & ((1 << SEQUENCE_BITS) - 1));
        Id(ms << (NODE_BITS + SEQUENCE_BITS) | self.node << SEQUENCE_BITS | sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn ids_are_thirteen_letters_and_come_back() {
        for value in [0, 1, 31, 32, 1_795_327_073_900 << 21, i64::MAX] {
            let text = Id(value).to_string();
            assert_eq!(text.len(), 13);
            assert_eq!(text.parse::<Id>().unwrap(), Id(value));
            assert_eq!(text.to_lowercase().parse::<Id>().unwrap(), Id(value));
        }
        for wrong in ["", "short", "01KASV7Q2M4TU", "01KASV7Q2M4T99", "ZZZZZZZZZZZZZ"] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_short_form_differs_from_one_millisecond_to_the_next() {
        let at = |ms: i64| Id(ms << 21 | 1 << 11).short();
        assert_eq!(at(1_795_327_073_900).len(), 6);
        for later in [1, 1_000, 86_400_000, 5 * 86_400_000] {
            assert_ne!(at(1_795_327_073_900), at(1_795_327_073_900 + later), "{later} ms");
        }
    }

    #[test]
    fn ids_grow_when_the_clock_stands_still_or_starts_behind() {
        let clock = ManualClock::at(Timestamp(1_000));
        let ids = Ids::new(Arc::new(clock), 3, Id(5_000 << 21));
        let made: Vec<Id> = (0..10_000).map(|_| ids.next()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(made[0].created_at() >= Timestamp(5_000));
    }
}
