//! Charts, drawn on the server as inline SVG: no text inside, the story in `aria-label`.

use std::fmt::{self, Write};
use std::time::Duration;

use askama::filters::HtmlSafe;

use super::moment::{Lens, span};
use super::number::commas;
use crate::clock::Timestamp;

/// Steps of a sparkline and of the backlog chart.
pub const SPARK_STEPS: usize = 24;
pub const CHART_STEPS: usize = 96;
/// The longest time that charts look back, and the shortest, when there is little history.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const SHORTEST: Duration = Duration::from_secs(120);

/// The time that charts of a page look back: 24 h, or since the first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    pub fn since(first: Option<Timestamp>, now: Timestamp) -> Self {
        let from = first.unwrap_or(now).min(now.minus(SHORTEST)).max(now.minus(LONGEST));
        Self { from, to: now }
    }

    /// The instants at which a level is read: `steps` + 1, both ends included.
    pub fn instants(&self, steps: usize) -> Vec<Timestamp> {
        let length = self.to.0 - self.from.0;
        let steps = i64::try_from(steps.max(1)).unwrap_or(1);
        (0..=steps).map(|step| Timestamp(self.from.0 + length * step / steps)).collect()
    }

    /// "24 h", "12 min"
    pub fn words(&self) -> String {
        let length = self.to.since(self.from);
        if length >= LONGEST { "24 h".into() } else { span(length) }
    }
}

/// A level over time in a table's row; `None` where it was not measured.
#[derive(Debug, Clone, Default)]
pub struct Spark {
    pub levels: Vec<Option<u64>>,
    pub window: String,
}

impl fmt::Display for Spark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = self.levels.iter().flatten().max().copied().unwrap_or(0);
        let now = self.levels.last().copied().flatten();
        let open = "viewBox=\"0 0 96 20\" preserveAspectRatio=\"none\" role=\"img\"";
        if peak == 0 {
            return write!(
                f,
                "<svg class=\"spark flat\" {open} aria-label=\"No backlog in {}\"><path d=\"M0 19H96\"/></svg>",
                self.window
            );
        }
        let (line, area) = paths(&self.levels, peak, 96.0, (1.0, 19.0), 20.0)?;
        let said = now.map_or("not measured".into(), commas);
        write!(
            f,
            "<svg class=\"spark\" {open} aria-label=\"Backlog over {}: now {said}, peak {}\"><path class=\"a\" d=\"{area}\"/><path d=\"{line}\"/></svg>",
            self.window,
            commas(peak)
        )
    }
}

impl HtmlSafe for Spark {}

/// Counts over time in a row.
#[derive(Debug, Clone, Default)]
pub struct Bars {
    pub counts: Vec<u64>,
    pub window: String,
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sum, peak) = (self.counts.iter().sum::<u64>(), self.counts.iter().max().copied().unwrap_or(0));
        write!(
            f,
            "<svg class=\"spark\" viewBox=\"0 0 96 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{} in {}\"><path class=\"axis\" d=\"M0 20H96\"/>",
            commas(sum),
            self.window
        )?;
        let step = 96.0 / float(self.counts.len().max(1) as u64);
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = (19.0 * float(*count) / float(peak)).max(1.5);
            write!(
                f,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                step * float(at as u64),
                20.0 - height,
                step - 1.0
            )?;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Bars {}

/// How a whole is made up: one bar, a colour a part. Each part is a word, the class of its colour, and a number.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    pub parts: Vec<(&'static str, &'static str, u64)>,
    /// "runs"
    pub of: &'static str,
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum: u64 = self.parts.iter().map(|(.., n)| n).sum();
        let said: Vec<String> =
            self.parts.iter().filter(|(.., n)| *n > 0).map(|(word, _, n)| format!("{} {word}", commas(*n))).collect();
        write!(
            f,
            "<svg class=\"seg\" viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{} {}: {}\">",
            commas(sum),
            self.of,
            said.join(", ")
        )?;
        let mut x = 0.0;
        for (_, class, n) in self.parts.iter().filter(|(.., n)| *n > 0) {
            let width = 1000.0 * float(*n) / float(sum);
            write!(f, "<rect class=\"{class}\" x=\"{x:.1}\" width=\"{width:.1}\" height=\"8\"/>")?;
            x += width;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Parts {}

/// The backlog of a job: a figure with labels.
#[derive(Debug, Clone)]
pub struct LevelChart {
    pub levels: Vec<Option<u64>>,
    pub window: Window,
    pub lens: Lens,
}

impl fmt::Display for LevelChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = self.levels.iter().flatten().max().copied().unwrap_or(0);
        let top = round_up(peak.max(1));
        let now = self.levels.last().copied().flatten().map_or("not measured".into(), commas);
        let (line, area) = paths(&self.levels, top, 960.0, (0.0, 100.0), 100.0)?;
        write!(
            f,
            "<figure class=\"chart\"><div class=\"y\" aria-hidden=\"true\"><span>{}</span><span>{}</span><span>0</span></div>\
             <svg viewBox=\"0 0 960 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Backlog over {}: now {now}, peak {}\">\
             <path class=\"grid\" d=\"M0 0H960M0 50H960\"/><path class=\"area\" d=\"{area}\"/><path class=\"line\" d=\"{line}\"/><path class=\"axis\" d=\"M0 100H960\"/></svg>\
             <div class=\"x\" aria-hidden=\"true\">",
            short(top),
            if top >= 2 { short(top / 2) } else { String::new() },
            self.window.words(),
            commas(peak)
        )?;
        for at in self.window.instants(4).iter().take(4) {
            let words = self.lens.day_and_minute(at);
            let minute = words.rsplit(' ').next().unwrap_or_default();
            write!(f, "<span>{minute}</span>")?;
        }
        f.write_str("<span>now</span></div></figure>")
    }
}

impl HtmlSafe for LevelChart {}

/// The line, and the area below it; gaps where nothing was measured.
fn paths(
    levels: &[Option<u64>],
    top: u64,
    width: f64,
    (high, low): (f64, f64),
    floor: f64,
) -> Result<(String, String), fmt::Error> {
    let step = width / float(levels.len().saturating_sub(1).max(1) as u64);
    let (mut line, mut area) = (String::new(), String::new());
    let mut from: Option<f64> = None;
    let mut last = 0.0;
    for (at, level) in levels.iter().enumerate() {
        let x = step * float(at as u64);
        let Some(level) = level else {
            if from.take().is_some() {
                write!(area, "L{last:.1} {floor}z")?;
            }
            continue;
        };
        let y = low - (low - high) * float(*level) / float(top.max(1));
        if from.is_none() {
            write!(line, "M{x:.1} {y:.1}")?;
            write!(area, "M{x:.1} {floor}L{x:.1} {y:.1}")?;
            from = Some(x);
        } else {
            write!(line, "L{x:.1} {y:.1}")?;
            write!(area, "L{x:.1} {y:.1}")?;
        }
        last = x;
    }
    if from.is_some() {
        write!(area, "L{last:.1} {floor}z")?;
    }
    Ok((line, area))
}

/// The next of 1, 2, 5, 10, 20, 50 …
fn round_up(n: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for times in [1, 2, 5] {
            if unit.saturating_mul(times) >= n {
                return unit.saturating_mul(times);
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// 50000 → "50k"
fn short(n: u64) -> String {
    match n {
        1_000_000.. if n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        1_000.. if n.is_multiple_of(1_000) => format!("{}k", n / 1_000),
        _ => commas(n),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    #[test]
    fn a_sparkline_goes_from_its_peak_to_its_floor_and_leaves_gaps() {
        let spark = Spark { levels: vec![Some(10), Some(5), None, Some(0), Some(2)], window: "24 h".into() };
        assert_eq!(
            spark.to_string(),
            "<svg class=\"spark\" viewBox=\"0 0 96 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Backlog over 24 h: now 2, peak 10\">\
             <path class=\"a\" d=\"M0.0 20L0.0 1.0L24.0 10.0L24.0 20zM72.0 20L72.0 19.0L96.0 15.4L96.0 20z\"/><path d=\"M0.0 1.0L24.0 10.0M72.0 19.0L96.0 15.4\"/></svg>"
        );
    }

    #[test]
    fn nothing_is_a_flat_line() {
        for levels in [vec![], vec![None, None], vec![Some(0), Some(0)]] {
            let spark = Spark { levels, window: "24 h".into() }.to_string();
            assert!(spark.contains("spark flat") && spark.contains("No backlog in 24 h"), "{spark}");
        }
    }

    #[test]
    fn bars_stand_on_the_axis() {
        let bars = Bars { counts: vec![0, 4, 1], window: "24 h".into() }.to_string();
        assert!(bars.contains("<rect x=\"32.0\" y=\"1.0\" width=\"31.0\" height=\"19.0\"/>"), "{bars}");
        assert!(bars.contains("<rect x=\"64.0\" y=\"15.2\" width=\"31.0\" height=\"4.8\"/>"), "{bars}");
        assert!(bars.contains("aria-label=\"5 in 24 h\""));
        assert!(!Bars::default().to_string().contains("NaN"));
    }

    #[test]
    fn the_scale_of_a_chart_is_round() {
        assert_eq!([1, 2, 3, 48_210, 50_001, 1_000_000].map(round_up), [1, 2, 5, 50_000, 100_000, 1_000_000]);
        assert_eq!([1, 500, 50_000, 2_000_000].map(short), ["1", "500", "50k", "2M"]);
        let window = Window::since(None, Timestamp(86_400_000));
        let chart =
            LevelChart { levels: vec![Some(0)], window, lens: Lens { now: Timestamp(86_400_000), zone: Tz::UTC } }.to_string();
        assert!(chart.contains("<span>23:58</span>") && chart.contains("<span>now</span>"), "{chart}");
    }

    #[test]
    fn a_window_is_as_long_as_the_history_but_no_longer_than_a_day() {
        let now = Timestamp(200_000_000);
        assert_eq!(Window::since(None, now).words(), "2 min");
        assert_eq!(Window::since(Some(now.minus(Duration::from_secs(3600))), now).words(), "1 h");
        let day = Window::since(Some(Timestamp(0)), now);
        assert_eq!(day.words(), "24 h");
        assert_eq!(day.instants(SPARK_STEPS).len(), SPARK_STEPS + 1);
    }
}
