//! Instants and spans: relative words, exact on hover.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use chrono::TimeZone;
use chrono_tz::Tz;

use crate::clock::Timestamp;

/// From when and where a page looks at time.
#[derive(Debug, Clone, Copy)]
pub struct Lens {
    pub now: Timestamp,
    pub zone: Tz,
}

impl Lens {
    pub fn at(&self, at: &Timestamp) -> Moment {
        Moment { at: *at, lens: *self }
    }

    /// A dash for none.
    pub fn maybe(&self, at: &Option<Timestamp>) -> Maybe<Moment> {
        Maybe(at.map(|at| self.at(&at)))
    }

    /// "14:32:08.004"
    pub fn clock_ms(&self, at: &Timestamp) -> String {
        self.format(*at, "%H:%M:%S%.3f")
    }

    /// "Sun 25 Oct 02:30"
    pub fn day_and_minute(&self, at: &Timestamp) -> String {
        self.format(*at, "%a %-d %b %H:%M")
    }

    /// "CEST", or "+03" where the zone has no letters.
    pub fn zone_at(&self, at: &Timestamp) -> String {
        self.format(*at, "%Z")
    }

    pub fn iso(&self, at: &Timestamp) -> String {
        self.format(*at, "%Y-%m-%dT%H:%M:%S%.3f%:z")
    }

    pub fn exact(&self, at: &Timestamp) -> String {
        self.format(*at, "%a %-d %b %Y, %H:%M:%S %Z")
    }

    fn format(&self, at: Timestamp, pattern: &str) -> String {
        match self.zone.timestamp_millis_opt(at.0).single() {
            Some(local) => local.format(pattern).to_string(),
            None => at.rfc3339(),
        }
    }
}

/// `<time>` with relative words. The page's script keeps them fresh, by the same rules as [`relative`].
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Timestamp,
    lens: Lens,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iso, exact) = (self.lens.iso(&self.at), self.lens.exact(&self.at));
        write!(f, "<time datetime=\"{iso}\" title=\"{exact}\" data-rel>{}</time>", relative(self.at, self.lens.now))
    }
}

impl HtmlSafe for Moment {}

/// A value, or a dash in the quiet colour.
#[derive(Debug, Clone, Copy)]
pub struct Maybe<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("<span class=\"z\">–</span>"),
        }
    }
}

impl<T: HtmlSafe> HtmlSafe for Maybe<T> {}

/// "2 min ago", "in 40 s", "now".
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = (now.0 - at.0 + 500).div_euclid(1000);
    let words = |seconds: i64| span(Duration::from_secs(seconds.unsigned_abs()));
    match seconds {
        0 => "now".into(),
        1.. => format!("{} ago", words(seconds)),
        _ => format!("in {}", words(seconds)),
    }
}

/// A span as it stands in tables: one unit, two only for a few hours.
pub fn span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0 if span.is_zero() => "0 s".into(),
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..18_000 if s % 3600 >= 60 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        3600..86_400 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: i64) -> String {
        relative(Timestamp(0), Timestamp(seconds * 1000))
    }

    #[test]
    fn relative_times_have_one_unit_and_both_directions() {
        let said = [0, 1, 59, 60, 3_599, 3_600, 3_660, 18_000, 21_660, 86_400, 200_000, -40, -7_200].map(ago);
        let right = [
            "now",
            "1 s ago",
            "59 s ago",
            "1 min ago",
            "59 min ago",
            "1 h ago",
            "1 h 1 min ago",
            "5 h ago",
            "6 h ago",
            "1 d ago",
            "2 d ago",
            "in 40 s",
            "in 2 h",
        ];
        assert_eq!(said, right);
    }

    #[test]
    fn a_moment_says_the_exact_time_in_the_zone() {
        let lens = Lens { now: Timestamp(1_792_845_128_000), zone: Tz::Europe__Berlin };
        let html = lens.at(&Timestamp(1_792_845_011_000)).to_string();
        assert_eq!(
            html,
            "<time datetime=\"2026-10-24T14:30:11.000+02:00\" title=\"Sat 24 Oct 2026, 14:30:11 CEST\" data-rel>1 min ago</time>"
        );
    }
}
