//! Days on which a schedule rests, as a tenant file writes them: `"2026-12-24"`, `"2026-12-24..2027-01-02"` with both ends, and
//! `"12-25"` for that day of every year.

use std::fmt;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Days {
    Between(NaiveDate, NaiveDate),
    /// Month and day.
    Yearly(u32, u32),
}

impl Days {
    pub fn has(self, day: NaiveDate) -> bool {
        match self {
            Self::Between(first, last) => (first..=last).contains(&day),
            Self::Yearly(month, of_month) => (day.month(), day.day()) == (month, of_month),
        }
    }

    /// The first and the last of the days in a row that `day` is one of.
    pub fn bounds(self, day: NaiveDate) -> (NaiveDate, NaiveDate) {
        match self {
            Self::Between(first, last) => (first, last),
            Self::Yearly(..) => (day, day),
        }
    }
}

impl TryFrom<String> for Days {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no day; write \"2026-12-24\", \"2026-12-24..2027-01-02\", or \"12-25\" for that day of every year"
            )
        };
        let day = |text: &str| text.trim().parse::<NaiveDate>().map_err(|_| wrong());
        if let Some((first, last)) = text.split_once("..") {
            let (first, last) = (day(first)?, day(last)?);
            return if first <= last { Ok(Self::Between(first, last)) } else { Err(format!("{text:?} ends before it begins")) };
        }
        if text.len() <= "12-25".len() {
            // A leap year, so that the 29th of February can be meant.
            let day = day(&format!("2024-{text}"))?;
            return Ok(Self::Yearly(day.month(), day.day()));
        }
        day(&text).map(|day| Self::Between(day, day))
    }
}

impl From<Days> for String {
    fn from(days: Days) -> Self {
        days.to_string()
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(first, last) if first == last => write!(f, "{first}"),
            Self::Between(first, last) => write!(f, "{first}..{last}"),
            Self::Yearly(month, day) => write!(f, "{month:02}-{day:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written_alike() {
        for text in ["2026-12-24", "2026-12-24..2027-01-02", "12-25", "02-29"] {
            assert_eq!(Days::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for (text, says) in [("2026-13-01", "is no day"), ("christmas", "is no day"), ("2027-01-02..2026-12-24", "ends before")] {
            let wrong = Days::try_from(text.to_owned()).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
    }
}
