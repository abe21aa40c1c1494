//! When a schedule fires, as a strip of time.

use std::fmt::{self, Write};
use std::time::Duration;

use askama::filters::HtmlSafe;
use chrono::{Offset, TimeZone};

use crate::clock::Timestamp;
use crate::domain::schedule::Schedule;
use crate::web::show::moment::Lens;

/// Ticks of one strip; what fires more often is a band.
const TICKS: usize = 96;
/// An hour holds so many ticks before it is a band.
const AN_HOUR: u64 = 4;

/// The time that the page shows.
#[derive(Debug, Clone)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    /// What stands above the strips, in even steps, and whether the clock shows that time twice.
    pub labels: Vec<(String, bool)>,
    /// When the clocks change, and to what.
    pub change: Option<(Timestamp, &'static str)>,
}

impl Window {
    /// What is not known is the next 24 h.
    pub fn word(word: &str) -> &'static str {
        ["2h", "7d"].into_iter().find(|known| *known == word).unwrap_or("24h")
    }

    pub fn new(word: &str, lens: Lens) -> Self {
        let (hours, steps, pattern) = match Self::word(word) {
            "2h" => (2, 12, "%H:%M"),
            "7d" => (168, 7, "%a %-d"),
            _ => (24, 12, "%H"),
        };
        let (from, to) = (lens.now, lens.now.plus(Duration::from_secs(hours * 3_600)));
        let step = Duration::from_secs(hours * 3_600 / steps);
        let change = change(lens, from, to);
        let hour = Duration::from_secs(3_600);
        let twice =
            |at: Timestamp| change.is_some_and(|(moved, how)| how == "back" && at >= moved.minus(hour) && at < moved.plus(hour));
        let label = |n: u32| {
            let at = from.plus(step * n);
            let local = lens.zone.timestamp_millis_opt(at.0).single();
            (local.map(|local| local.format(pattern).to_string()).unwrap_or_default(), twice(at))
        };
        Self { from, to, labels: (0..u32::try_from(steps).unwrap_or(0)).map(label).collect(), change }
    }

    fn x(&self, at: Timestamp) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
        let share = (at.0 - self.from.0) as f64 / (self.to.0 - self.from.0) as f64;
        share * 1_000.0
    }
}

/// The first moment in a window at which the zone's clocks are set forward or back.
fn change(lens: Lens, from: Timestamp, to: Timestamp) -> Option<(Timestamp, &'static str)> {
    let offset = |at: i64| lens.zone.timestamp_millis_opt(at).single().map(|local| local.offset().fix().local_minus_utc());
    let minutes = (from.0.div_euclid(60_000) + 1)..=to.0.div_euclid(60_000);
    let moved = minutes.map(|minute| minute * 60_000).find(|at| offset(*at) != offset(at - 60_000))?;
    Some((Timestamp(moved), if offset(moved) < offset(moved - 60_000) { "back" } else { "forward" }))
}

/// One schedule's strip.
#[derive(Debug, Clone, Default)]
pub struct Strip {
    said: String,
    ticks: Vec<f64>,
    /// It fires more often than ticks could show, from here on.
    dense: Option<f64>,
    paused: bool,
    /// Where the clocks are set back.
    odd: Option<(f64, f64)>,
}

impl Strip {
    pub fn new(schedule: &Schedule, next: Timestamp, window: &Window, paused: bool, said: String) -> Self {
        let instants = std::iter::successors(Some(next), |at| schedule.after(*at)).take_while(|at| *at < window.to);
        let instants: Vec<Timestamp> = instants.take(TICKS + 1).collect();
        let hours = window.to.since(window.from).as_secs() / 3_600;
        let dense = instants.len() > TICKS || instants.len() as u64 > hours * AN_HOUR;
        let hour = Duration::from_secs(3_600);
        let odd =
            window.change.filter(|(_, how)| *how == "back").map(|(at, _)| (window.x(at.minus(hour)), window.x(at.plus(hour))));
        Self {
            said,
            dense: instants.first().filter(|_| dense).map(|first| window.x(*first).max(0.0)),
            ticks: instants.iter().map(|at| window.x(*at).max(0.0)).collect(),
            paused,
            odd,
        }
    }

    /// "25 times", "more than 96 times", "not in this window"
    pub fn times(&self) -> String {
        match self.ticks.len() {
            0 => "not in this window".into(),
            1 => "once".into(),
            n if n > TICKS => format!("more than {TICKS} times"),
            n => format!("{n} times"),
        }
    }
}

impl fmt::Display for Strip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = askama::filters::escape(&self.said, askama::filters::Html).map_err(|_| fmt::Error)?;
        write!(f, "<svg viewBox=\"0 0 1000 52\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{said}\">")?;
        if let Some((from, to)) = self.odd {
            write!(f, "<rect class=\"odd\" x=\"{:.0}\" width=\"{:.0}\" height=\"52\"/>", from.max(0.0), (to - from).max(0.0))?;
        }
        match self.dense {
            Some(from) if !self.paused => {
                write!(f, "<rect class=\"dense\" x=\"{from:.0}\" y=\"17\" width=\"{:.0}\" height=\"18\"/>", 1_000.0 - from)?;
            }
            _ if !self.ticks.is_empty() => {
                let mut path = String::new();
                for x in self.ticks.iter().take(TICKS) {
                    write!(path, "M{x:.0} 17V35")?;
                }
                write!(f, "<path class=\"{}\" d=\"{path}\"/>", if self.paused { "off" } else { "tick" })?;
            }
            _ => {}
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Strip {}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::id::Id;

    /// Saturday noon, the day before the clocks go back in Berlin.
    const NOON: Timestamp = Timestamp(1_792_836_000_000);

    fn strip(line: &str, word: &str) -> Strip {
        let schedule = Schedule::parse(line, Tz::Europe__Berlin, Id(1)).unwrap();
        let window = Window::new(word, Lens { now: NOON, zone: Tz::Europe__Berlin });
        Strip::new(&schedule, schedule.after(NOON).unwrap(), &window, false, "a < b".into())
    }

    #[test]
    fn a_strip_has_a_tick_for_each_time_or_a_band_for_many() {
        assert_eq!(strip("30 2 * * *", "24h").times(), "once");
        assert_eq!(strip("0 * * * *", "24h").times(), "23 times");
        assert_eq!(strip("* * * * *", "24h").times(), "more than 96 times");
        assert_eq!(strip("30 2 * * *", "2h").times(), "not in this window");
        let drawn = strip("*/5 * * * *", "2h").to_string();
        assert!(drawn.contains("class=\"dense\"") && drawn.contains("a &#60; b"), "{drawn}");
        assert!(strip("0 * * * *", "24h").to_string().contains("class=\"odd\""));
    }

    #[test]
    fn the_hour_that_comes_twice_is_marked_twice() {
        let window = Window::new("24h", Lens { now: NOON, zone: Tz::Europe__Berlin });
        assert_eq!(window.change.map(|(at, how)| (at.rfc3339(), how)), Some(("2026-10-25T01:00:00.000Z".into(), "back")));
        assert!(window.labels.iter().any(|(_, twice)| *twice), "{:?}", window.labels);
        assert_eq!(Window::new("2h", Lens { now: NOON, zone: Tz::UTC }).change, None);
    }
}
