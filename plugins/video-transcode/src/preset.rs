//! The derivatives that there can be: a box to fit into and a rate. Facts as TimedMediaHandler's H.264 derivatives have them.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    pub key: &'static str,
    pub width: u32,
    pub height: u32,
    /// Bits a second.
    pub bitrate: u32,
}

/// Smallest first.
pub const PRESETS: [Preset; 9] = [
    preset("160p.mp4", 288, 160, 154_000),
    preset("240p.mp4", 426, 240, 308_000),
    preset("320p.mp4", 480, 320, 460_000),
    preset("360p.mp4", 640, 360, 613_000),
    preset("480p.mp4", 854, 480, 1_000_000),
    preset("720p.mp4", 1280, 720, 1_993_000),
    preset("1080p.mp4", 1920, 1080, 3_971_000),
    preset("1440p.mp4", 2560, 1440, 6_475_000),
    preset("2160p.mp4", 4096, 2160, 12_900_000),
];

const fn preset(key: &'static str, width: u32, height: u32, bitrate: u32) -> Preset {
    Preset { key, width, height, bitrate }
}

/// One derivative of one source: an item's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derivative {
    pub width: u32,
    pub height: u32,
    /// Bits a second.
    pub bitrate: u32,
}

/// Those of `keys` whose box the source fills, smallest first: what is made is never larger than the source, in pixels or in
/// bits. `turned`: the source is shown on its side.
pub fn fitting(keys: &[String], (width, height): (u32, u32), turned: bool, bitrate: u32) -> Vec<(&'static str, Derivative)> {
    let wanted = PRESETS.iter().filter(|preset| keys.iter().any(|key| key == preset.key));
    let fitted = wanted.filter_map(|preset| {
        let (most_wide, most_high) = if turned { (preset.height, preset.width) } else { (preset.width, preset.height) };
        let (width, height) = fit((width, height), (most_wide, most_high))?;
        Some((preset.key, Derivative { width, height, bitrate: preset.bitrate.min(bitrate.max(1)) }))
    });
    fitted.collect()
}

/// The largest even size of the same shape within the box; `None` where the source would have to grow.
fn fit((width, height): (u32, u32), (most_wide, most_high): (u32, u32)) -> Option<(u32, u32)> {
    if width < most_wide && height < most_high {
        return None;
    }
    let even = |side: f64| ((side / 2.0).round() as u32 * 2).max(2);
    let scale = (f64::from(most_wide) / f64::from(width)).min(f64::from(most_high) / f64::from(height)).min(1.0);
    let (wide, high) = (even(f64::from(width) * scale), even(f64::from(height) * scale));
    // Rounding must not go over the box or the source.
    Some((wide.min(most_wide & !1).min(width & !1).max(2), high.min(most_high & !1).min(height & !1).max(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(size: (u32, u32)) -> Vec<(&'static str, u32, u32)> {
        let all: Vec<_> = PRESETS.iter().map(|preset| preset.key.to_owned()).collect();
        let made = fitting(&all, size, false, u32::MAX);
        made.into_iter().map(|(key, derivative)| (key, derivative.width, derivative.height)).collect()
    }

    #[test]
    fn only_what_the_source_fills_and_the_smallest_first() {
        assert_eq!(
            made((640, 360)),
            [("160p.mp4", 284, 160), ("240p.mp4", 426, 240), ("320p.mp4", 480, 270), ("360p.mp4", 640, 360)]
        );
        assert_eq!(made((1920, 1080)).last(), Some(&("1080p.mp4", 1920, 1080)));
        assert_eq!(made((100, 60)), []);
    }

    #[test]
    fn shapes_are_kept_and_sides_are_even() {
        assert_eq!(made((322, 182))[0], ("160p.mp4", 284, 160));
        assert_eq!(made((720, 1280))[1], ("240p.mp4", 136, 240));
        assert_eq!(made((10_000, 100))[0], ("160p.mp4", 288, 2));
        for size in [(426, 240), (854, 480), (1000, 999), (4096, 2160), (333, 777)] {
            for (key, width, height) in made(size) {
                assert!(
                    width <= size.0 && height <= size.1 && width % 2 == 0 && height % 2 == 0,
                    "{size:?} {key} {width}x{height}"
                );
            }
        }
    }

    #[test]
    fn a_film_on_its_side_is_fitted_as_it_is_shown() {
        let keys = vec!["240p.mp4".to_owned()];
        assert_eq!(fitting(&keys, (640, 360), true, u32::MAX)[0].1, Derivative { width: 240, height: 136, bitrate: 308_000 });
        assert_eq!(fitting(&keys, (640, 360), false, 100_000)[0].1.bitrate, 100_000, "not more bits than the source has");
    }
}
