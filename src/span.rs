//! Durations and sizes as people write them in a tenant file: `15s`, `2h 30m`, `64 MiB`.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is longer is a slip of the pen; added to any time of today it would leave what RFC 3339 can say.
const LONGEST: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// A duration, written `250ms`, `15s`, `2h 30m`, `7d`; milliseconds inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub fn ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written(DURATION, |text| {
            let span = humantime::parse_duration(text)
                .map_err(|wrong| format!("{text:?} is no duration ({wrong}); write {DURATION}"))?;
            if span > LONGEST {
                return Err(format!("{text:?} is too long; ten years (\"3650d\") is the longest"));
            }
            // Milliseconds are what is stored; a finer span would not come back as it went.
            Ok(Self(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))))
        }))
    }
}

/// A number of bytes, written `0`, `64 KiB`, `256 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

impl Size {
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }

    /// Rounded up.
    pub fn in_mib(self) -> u32 {
        u32::try_from(self.0.div_ceil(1 << 20)).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0") } else { ByteSize(self.0).display().iec().fmt(f) }
    }
}

/// Exact, where Display rounds: what is stored must come back as it went.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unit =
            [(30, "GiB"), (20, "MiB"), (10, "KiB")].into_iter().find(|(bits, _)| self.0 != 0 && self.0.is_multiple_of(1 << bits));
        match unit {
            Some((bits, name)) => serializer.collect_str(&format_args!("{} {name}", self.0 >> bits)),
            None => serializer.collect_str(&format_args!("{} B", self.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written(SIZE, |text| match text.parse::<ByteSize>() {
            Ok(size) => Ok(Self(size.0)),
            Err(_) => Err(format!("{text:?} is no size; write {SIZE}")),
        }))
    }
}

const DURATION: &str = "a duration in quotes, as in \"250ms\", \"15s\", \"2h 30m\" or \"7d\"";
const SIZE: &str = "a size in quotes, as in \"0\", \"64 KiB\" or \"256 MiB\"";

/// Text in a notation of its own: what is expected, and how it is read.
struct Written<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> serde::de::Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_come_back_as_they_went() {
        for (written, bytes, kept) in
            [("0", 0, "0 B"), ("64 MiB", 64 << 20, "64 MiB"), ("100 MB", 100_000_000, "100000000 B"), ("1.5 KiB", 1536, "1536 B")]
        {
            let size: Size = serde_json::from_value(written.into()).unwrap();
            assert_eq!(size.0, bytes);
            let text = serde_json::to_value(size).unwrap();
            assert_eq!(text, kept);
            assert_eq!(serde_json::from_value::<Size>(text).unwrap(), size);
        }
        for (written, ms) in [("250ms", 250), ("2h 30m", 9_000_000), ("1s 5us", 1_000)] {
            let span: Span = serde_json::from_value(written.into()).unwrap();
            assert_eq!(span.ms(), ms);
            assert_eq!(serde_json::from_value::<Span>(serde_json::to_value(span).unwrap()).unwrap(), span);
        }
        let long = serde_json::from_value::<Span>("9999999999d".into()).unwrap_err().to_string();
        assert_eq!(long, "\"9999999999d\" is too long; ten years (\"3650d\") is the longest");
    }
}
