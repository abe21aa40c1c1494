//! What the overview shows, as plain data.

use std::fmt;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use crate::clock::Timestamp;
use crate::domain::health::Health;
use crate::web::dashboard::shell::Shell;
use crate::web::show::chart::Spark;
use crate::web::show::moment::{Maybe, span};
use crate::web::show::number::{Capped, Commas, Num, Plural, Rate};
use crate::web::show::pill::Pill;

use super::filter::{Filter, Sort};

#[derive(Template)]
#[template(path = "overview/index.html", blocks = ["totals", "needs", "tabs", "tenants"])]
pub struct Overview {
    pub shell: Shell,
    /// The page's own address, filters included.
    pub here: String,
    pub totals: Totals,
    pub needs: Vec<Need>,
    pub more_needs: usize,
    pub tabs: Vec<Tab>,
    pub filter: Filter,
    /// Of the sparklines: "24 h".
    pub window: String,
    pub rows: Vec<TenantRow>,
    pub matching: u64,
    pub first: bool,
    pub next: Option<String>,
}

crate::web::fragment::fragments!(Overview: totals => as_totals, needs => as_needs, tabs => as_tabs, tenants => as_tenants);

/// No tenant at all: first steps instead.
#[derive(Template)]
#[template(path = "overview/empty.html", blocks = ["steps"])]
pub struct FirstSteps {
    pub shell: Shell,
}

crate::web::fragment::fragments!(FirstSteps: steps => as_steps);

impl Overview {
    fn shown(&self) -> Commas {
        Commas(self.rows.len() as u64)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub backlog: u64,
    pub running: u64,
    pub per_minute: u64,
    pub retrying: u64,
    pub dead: Capped,
}

/// One thing that waits for a person, with why and the button that mends it.
#[derive(Debug, Clone)]
pub struct Need {
    pub pill: Pill,
    pub title: String,
    pub href: String,
    pub why: String,
    pub at: Option<Timestamp>,
    pub action: Action,
}

#[derive(Debug, Clone)]
pub enum Action {
    Open { href: String, label: &'static str },
    Post { href: String, label: &'static str },
}

#[derive(Debug, Clone)]
pub struct Tab {
    pub href: String,
    pub label: &'static str,
    pub class: &'static str,
    pub count: Capped,
    pub here: bool,
}

#[derive(Debug, Clone)]
pub struct TenantRow {
    pub name: String,
    /// The worst of its jobs.
    pub health: Health,
    pub why: String,
    pub backlog: Option<u64>,
    pub spark: Spark,
    /// How long work has been waiting.
    pub lag: Option<Duration>,
    pub rate_in: Option<f64>,
    pub rate_out: Option<f64>,
    pub empty_in: EmptyIn,
    pub running: u64,
    pub retrying: u64,
    pub dead: Capped,
}

impl TenantRow {
    pub fn age(&self) -> Maybe<Plain> {
        Maybe(self.lag.filter(|lag| !lag.is_zero()).map(|lag| Plain(span(lag))))
    }

    /// What fits under a pill; the whole is its title.
    pub fn short_why(&self) -> String {
        const FITS: usize = 44;
        let line = self.why.split("; ").next().unwrap_or_default();
        if line.chars().count() <= FITS {
            line.to_owned()
        } else {
            format!("{}…", line.chars().take(FITS - 1).collect::<String>())
        }
    }
}

/// Words made here, of digits and letters: nothing to escape.
#[derive(Debug, Clone)]
pub struct Plain(String);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Plain {}

/// When the backlog will be gone at the measured rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyIn {
    Unknown,
    In(Duration),
    Growing,
    /// Work waits and nothing moves, and a person must see to it.
    Never,
}

impl EmptyIn {
    /// By the backlog, what came in and went out, and whether a person is needed.
    pub fn judge(backlog: Option<u64>, rate_in: Option<f64>, rate_out: Option<f64>, health: Health) -> Self {
        let Some(backlog) = backlog.filter(|n| *n > 0) else {
            return Self::Unknown;
        };
        if health.needs_a_person() && rate_out.unwrap_or(0.0) < 0.05 {
            return Self::Never;
        }
        let (Some(rate_in), Some(rate_out)) = (rate_in, rate_out) else {
            return Self::Unknown;
        };
        let net = rate_out - rate_in;
        if net < -0.05 {
            return Self::Growing;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let minutes = backlog as f64 / net;
        Duration::try_from_secs_f64(minutes * 60.0)
            .ok()
            .filter(|rest| rest.as_secs() < 30 * 86_400)
            .map_or(Self::Unknown, Self::In)
    }
}

impl fmt::Display for EmptyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("<span class=\"z\">–</span>"),
            Self::In(rest) if rest.as_secs() < 60 => f.write_str("&lt; 1 min"),
            Self::In(rest) => f.write_str(&span(*rest)),
            Self::Growing => f.write_str("<span class=\"amber\">growing</span>"),
            Self::Never => f.write_str("<span class=\"red\">never</span>"),
        }
    }
}

impl HtmlSafe for EmptyIn {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_empty_is_honest() {
        let judge = |backlog, i, o, health| EmptyIn::judge(backlog, i, o, health).to_string();
        assert_eq!(judge(Some(300), Some(10.0), Some(110.0), Health::Ok), "3 min");
        assert_eq!(judge(Some(30), Some(0.0), Some(110.0), Health::Ok), "&lt; 1 min");
        assert!(judge(Some(300), Some(110.0), Some(10.0), Health::Lagging).contains("growing"));
        assert!(judge(Some(5), Some(0.0), Some(0.0), Health::Stuck).contains("never"));
        for unknown in [
            judge(Some(0), Some(1.0), Some(1.0), Health::Ok),
            judge(None, None, None, Health::Ok),
            judge(Some(5), Some(1.0), Some(1.0), Health::Ok),
        ] {
            assert!(unknown.contains('–'), "{unknown}");
        }
    }
}
