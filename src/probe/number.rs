//! What is a number of pieces, and what only looks like one.

use crate::domain::backlog::Measurement;

/// Above it a float has no whole numbers any more.
const MOST: f64 = 9_007_199_254_740_992.0;

/// A size; a piece that is begun counts whole.
///
/// # Errors
/// With what was found, when it is negative, not a number, or beyond all measure.
pub fn size(found: f64) -> Result<u64, String> {
    if !found.is_finite() || !(0.0..=MOST).contains(&found) {
        return Err(format!("{found} is no number of pieces that wait"));
    }
    Ok(found.ceil() as u64)
}

/// A size with the age of the oldest piece in seconds, where there is one.
///
/// # Errors
/// As [`size`].
pub fn measurement(found: f64, age_s: Option<f64>) -> Result<Measurement, String> {
    let age_ms = age_s.map(|age| size(age * 1e3).map_err(|_| format!("{age} is no age in seconds"))).transpose()?;
    Ok(Measurement { size: size(found)?, age_ms })
}

/// A size that a protocol counts in whole numbers.
pub fn counted(size: u64) -> Measurement {
    Measurement { size, age_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_never_a_size() {
        for nonsense in [-1.0, -0.5, f64::NAN, f64::INFINITY, 1e17] {
            assert!(size(nonsense).is_err(), "{nonsense}");
        }
        assert_eq!((size(0.0), size(3.2), size(305.0)), (Ok(0), Ok(4), Ok(305)));
        assert_eq!(measurement(2.0, Some(1.5)), Ok(Measurement { size: 2, age_ms: Some(1_500) }));
        assert!(measurement(2.0, Some(-3.0)).unwrap_err().contains("-3 is no age"));
    }
}
