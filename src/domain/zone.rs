//! Time zones by their IANA names, as serde reads them: a name that does not exist is told the nearest that does.

use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Deserializer};

use crate::error::did_you_mean;

/// # Errors
/// What would be right, for a person.
pub fn parse(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        let names = TZ_VARIANTS.iter().map(|zone| zone.name());
        format!("{text:?} is no time zone{}; write an IANA name such as \"Europe/Berlin\" or \"UTC\"", did_you_mean(text, names))
    })
}

pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

pub fn read_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tz>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(|text| parse(&text).map_err(serde::de::Error::custom)).transpose()
}
