//! What stands around every page: where you are, who you are, and what just happened.

use crate::id::Id;
use crate::web::show::moment::Lens;
use crate::web::show::number::Capped;

/// An entry of the sidebar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Overview,
    Failures,
    Alerts,
    Runs,
    Schedule,
    Plugins,
    Nodes,
    Elsewhere,
}

#[derive(Debug, Clone)]
pub struct Crumb {
    pub label: String,
    pub href: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub role: String,
    /// Of the whole server, not of one tenant.
    pub whole: bool,
}

#[derive(Debug, Clone)]
pub struct Link {
    pub href: String,
    pub label: &'static str,
}

/// What came of the button that led here.
#[derive(Debug, Clone)]
pub struct Notice {
    pub words: String,
    pub link: Option<Link>,
}

#[derive(Debug, Clone)]
pub struct Shell {
    pub lens: Lens,
    pub place: Place,
    pub crumbs: Vec<Crumb>,
    /// Absent on error pages for strangers.
    pub member: Option<Member>,
    pub csrf: String,
    /// Dead runs, for the red number in the sidebar.
    pub dead: Capped,
    pub notice: Option<Notice>,
}

pub struct Entry {
    pub href: &'static str,
    pub label: &'static str,
    pub here: bool,
    pub gap: bool,
    /// The red number; not shown when it is zero.
    pub dead: Option<Capped>,
}

impl Shell {
    pub fn entries(&self) -> Vec<Entry> {
        let Some(member) = &self.member else { return Vec::new() };
        let entry = |place, href, label| Entry { href, label, here: self.place == place, gap: false, dead: None };
        let mut entries = vec![
            entry(Place::Overview, "/", "Overview"),
            Entry { dead: Some(self.dead), ..entry(Place::Failures, "/failures", "Failures") },
            entry(Place::Alerts, "/alerts", "Alerts"),
            entry(Place::Runs, "/runs", "Runs"),
            entry(Place::Schedule, "/schedule", "Schedule"),
            Entry { gap: true, ..entry(Place::Plugins, "/plugins", "Plugins") },
        ];
        entries.extend(member.whole.then(|| entry(Place::Nodes, "/nodes", "Nodes")));
        entries
    }

    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    pub fn zone(&self) -> String {
        self.lens.zone_at(&self.lens.now)
    }

    /// The way to a page, and the page itself.
    #[must_use]
    pub fn at(mut self, place: Place, way: &[(&str, String)], here: impl Into<String>) -> Self {
        self.place = place;
        self.crumbs = way.iter().map(|(label, href)| Crumb { label: (*label).to_owned(), href: Some(href.clone()) }).collect();
        self.crumbs.push(Crumb { label: here.into(), href: None });
        self
    }
}

impl Notice {
    /// Reads the `done` of an address: only what is known is said, so that nobody can put words into a page by a link.
    pub fn parse(done: &str) -> Option<Self> {
        let mut parts = done.split('.');
        let what = parts.next()?;
        let plain = |words: &str| Some(Self { words: words.to_owned(), link: None });
        match what {
            "started" => Self::of_run("Started a run.", &mut parts),
            "merged" => Self::of_run("No new run: this one is unfinished, and the job allows no more at once.", &mut parts),
            "again" => Self::of_run("Re-run: a new run that names the old one.", &mut parts),
            "paused" => plain("Paused: its triggers start nothing until it is resumed. What runs goes on."),
            "resumed" => plain("Resumed."),
            "discarded" => plain("Discarded: it needs nobody any more. For 24 h it can be brought back."),
            "undone" => plain("Brought back: it needs a person again."),
            "silenced" => plain("Silenced: it is shown still, and nobody is told of it until then."),
            "spoken" => plain("It is told again."),
            "cancelled" => plain("Asked to stop. A run that works is given its grace first."),
            "welcome" => plain("You are the first admin of this server."),
            _ => None,
        }
    }

    fn of_run(words: &str, parts: &mut std::str::Split<'_, char>) -> Option<Self> {
        let tenant = parts.next().filter(|tenant| crate::domain::plugin::is_name(tenant))?;
        let run: Id = parts.next()?.parse().ok()?;
        Some(Self { words: words.to_owned(), link: Some(Link { href: format!("/t/{tenant}/runs/{run}"), label: "Open it" }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_cannot_put_words_into_a_page() {
        for wrong in ["", "x", "started", "started.alpha", "started.<b>.01KASV7Q2M4T9", "started.alpha.short"] {
            assert!(Notice::parse(wrong).is_none(), "{wrong}");
        }
        let notice = Notice::parse("again.alpha.01KASV7Q2M4T9").unwrap();
        assert_eq!(notice.link.unwrap().href, "/t/alpha/runs/01KASV7Q2M4T9");
    }
}
