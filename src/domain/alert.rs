//! When somebody is told that something needs a person: once, again after a while, and when it is over.

use std::time::Duration;

use crate::clock::Timestamp;
pub use crate::config::{AlertKind, AlertRule};
use crate::id::Id;

/// What has come and gone within this is one alert: a job on the edge of its promise tells nobody twice.
pub const CALM: Duration = Duration::from_secs(60);

/// What an alert is about. Zeros: not of one job, not of one node, of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub tenant: Id,
    pub job: Id,
    pub node: i64,
    pub kind: AlertKind,
}

/// An alert as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub id: Id,
    pub subject: Subject,
    /// Why, in one sentence, as it was last.
    pub message: String,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
}

/// Nobody is told until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Zero: of all tenants.
    pub tenant: Id,
    /// Zero: of all jobs.
    pub job: Id,
    /// Zero: of any node, and of none.
    pub node: i64,
    /// `None`: of any kind.
    pub kind: Option<AlertKind>,
    pub until: Timestamp,
    pub by: String,
    pub made_at: Timestamp,
}

impl Silence {
    pub fn covers(&self, subject: &Subject, now: Timestamp) -> bool {
        let of = |id: Id, wanted: Id| id == Id(0) || id == wanted;
        now < self.until
            && of(self.tenant, subject.tenant)
            && of(self.job, subject.job)
            && (self.node == 0 || self.node == subject.node)
            && self.kind.is_none_or(|kind| kind == subject.kind)
    }
}

/// What a sink is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    Raised,
    Repeated,
    Recovered,
}

impl Notice {
    pub const ALL: [Self; 3] = [Self::Raised, Self::Repeated, Self::Recovered];

    pub fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Repeated => "repeated",
            Self::Recovered => "recovered",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.word() == word)
    }
}

/// What an open alert's sink is to be told now. `told`: when it last was.
pub fn notice(alert: &Alert, rule: &AlertRule, told: Option<Timestamp>, now: Timestamp) -> Option<Notice> {
    if !rule.when.contains(&alert.subject.kind) {
        return None;
    }
    match told {
        None => rule.after.is_none_or(|after| now.since(alert.opened_at) >= after.0).then_some(Notice::Raised),
        Some(last) => (now.since(last) >= rule.repeat.0).then_some(Notice::Repeated),
    }
}

/// After so many tries in vain: 10 s, doubled each time up to 15 minutes; `None` after a day's worth of them.
pub fn again_in(tries: u32) -> Option<Duration> {
    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(15 * 60);
    const TRIES: u32 = 100;
    (tries < TRIES).then(|| (FIRST * (1 << tries.saturating_sub(1).min(10))).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    const MINUTE: Duration = Duration::from_secs(60);

    fn alert() -> Alert {
        let subject = Subject { tenant: Id(1), job: Id(2), node: 0, kind: AlertKind::Silent };
        Alert { id: Id(3), subject, message: "no success".into(), opened_at: Timestamp(0), closed_at: None }
    }

    fn rule(after: Option<Span>) -> AlertRule {
        serde_json::from_value::<AlertRule>(serde_json::json!({ "when": ["silent"], "mail": "a@b", "repeat": "4h" }))
            .map(|rule| AlertRule { after, ..rule })
            .unwrap()
    }

    #[test]
    fn it_is_told_once_and_again_after_a_while() {
        let (alert, rule) = (alert(), rule(None));
        assert_eq!(notice(&alert, &rule, None, Timestamp(0)), Some(Notice::Raised));
        let told = Some(Timestamp(0));
        assert_eq!(notice(&alert, &rule, told, Timestamp(0).plus(239 * MINUTE)), None);
        assert_eq!(notice(&alert, &rule, told, Timestamp(0).plus(240 * MINUTE)), Some(Notice::Repeated));
        let other = AlertRule { when: vec![AlertKind::Dead], ..rule };
        assert_eq!(notice(&alert, &other, None, Timestamp(0)), None);
    }

    #[test]
    fn who_is_called_last_hears_of_what_has_lasted() {
        let (alert, rule) = (alert(), rule(Some(Span::secs(1800))));
        assert_eq!(notice(&alert, &rule, None, Timestamp(0).plus(29 * MINUTE)), None);
        assert_eq!(notice(&alert, &rule, None, Timestamp(0).plus(30 * MINUTE)), Some(Notice::Raised));
    }

    #[test]
    fn a_silence_covers_its_own_for_its_time() {
        let subject = alert().subject;
        let silence = |tenant, job, kind| Silence {
            tenant: Id(tenant),
            job: Id(job),
            node: 0,
            kind,
            until: Timestamp(10),
            by: "ann".into(),
            made_at: Timestamp(0),
        };
        assert!(silence(1, 2, None).covers(&subject, Timestamp(9)));
        assert!(silence(1, 0, Some(AlertKind::Silent)).covers(&subject, Timestamp(9)));
        assert!(!silence(1, 2, None).covers(&subject, Timestamp(10)), "it is over");
        assert!(!silence(2, 0, None).covers(&subject, Timestamp(9)));
        assert!(!silence(1, 2, Some(AlertKind::Dead)).covers(&subject, Timestamp(9)));
        let of_node = Silence { node: 3, ..silence(0, 0, Some(AlertKind::Node)) };
        let node = |node| Subject { tenant: Id(0), job: Id(0), node, kind: AlertKind::Node };
        assert!(
            of_node.covers(&node(3), Timestamp(9)) && !of_node.covers(&node(4), Timestamp(9)),
            "another node is another alert"
        );
    }

    #[test]
    fn a_sink_that_fails_is_tried_for_a_day() {
        assert_eq!(again_in(1), Some(Duration::from_secs(10)));
        assert_eq!(again_in(2), Some(Duration::from_secs(20)));
        assert_eq!(again_in(50), Some(15 * MINUTE));
        let all: Duration = (1..).map_while(again_in).sum();
        assert!(all > Duration::from_secs(20 * 3600) && all < Duration::from_secs(30 * 3600), "{all:?}");
    }
}
