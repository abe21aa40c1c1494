//! Which dead runs an address or a form asks for. Boxes that are ticked come as one key many times.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::dead::{Standing, Which};
use crate::domain::run::Reason;
use crate::id::Id;
use crate::web::address::Address;
use crate::web::dashboard::run::filter::Chip;

/// Keys and values as they came.
pub type Pairs = Vec<(String, String)>;

/// "Died within": the word in the address, what the page says, and how long that is.
pub const SINCE: [(&str, &str, u64); 3] =
    [("1h", "Last hour", 3_600), ("24h", "Last 24 h", 86_400), ("7d", "Last 7 days", 7 * 86_400)];

#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub tenant: Option<String>,
    pub job: Option<String>,
    pub cause: Option<Reason>,
    pub since: Option<&'static str>,
    pub q: String,
    pub standing: Standing,
    pub groups: Vec<(String, i64)>,
    pub runs: Vec<(String, Id)>,
}

/// The value of a key that comes once; empty is as good as none.
pub fn one<'a>(pairs: &'a Pairs, key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, value)| name == key && !value.is_empty()).map(|(_, value)| value.as_str())
}

impl Asked {
    /// What cannot be read is not asked for.
    pub fn new(pairs: &Pairs) -> Self {
        let some = |key: &str| one(pairs, key).map(str::to_owned);
        let many =
            |key: &'static str| pairs.iter().filter(move |(name, _)| name == key).filter_map(|(_, value)| value.split_once('.'));
        Self {
            tenant: some("tenant"),
            job: some("job"),
            cause: one(pairs, "cause").and_then(|word| Reason::ALL.into_iter().find(|reason| reason.word() == word)),
            since: one(pairs, "since").and_then(|word| SINCE.iter().find(|(key, ..)| *key == word)).map(|(key, ..)| *key),
            q: one(pairs, "q").unwrap_or_default().trim().to_owned(),
            standing: one(pairs, "state").and_then(Standing::parse).unwrap_or_default(),
            groups: many("group").filter_map(|(tenant, print)| Some((tenant.to_owned(), print.parse().ok()?))).collect(),
            runs: many("run").filter_map(|(tenant, run)| Some((tenant.to_owned(), run.parse().ok()?))).collect(),
        }
    }

    pub fn which(&self, now: Timestamp) -> Which {
        let span = self.since.and_then(|word| SINCE.iter().find(|(key, ..)| *key == word)).map(|(_, _, seconds)| *seconds);
        Which {
            tenant: self.tenant.clone(),
            job: self.job.clone(),
            cause: self.cause,
            groups: self.groups.clone(),
            runs: self.runs.clone(),
            since: span.map(|seconds| now.minus(Duration::from_secs(seconds))),
            until: None,
            words: Some(self.q.clone()).filter(|q| !q.is_empty()),
            standing: self.standing,
        }
    }

    /// Everything asked for, as hidden fields of a form or the query of an address.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        let mut some = |key, value: Option<&str>| pairs.extend(value.map(|value| (key, value.to_owned())));
        some("tenant", self.tenant.as_deref());
        some("job", self.job.as_deref());
        some("cause", self.cause.map(Reason::word));
        some("since", self.since);
        some("q", Some(self.q.as_str()).filter(|q| !q.is_empty()));
        some("state", Some(self.standing.word()).filter(|_| self.standing != Standing::Open));
        pairs.extend(self.groups.iter().map(|(tenant, print)| ("group", format!("{tenant}.{print}"))));
        pairs.extend(self.runs.iter().map(|(tenant, run)| ("run", format!("{tenant}.{run}"))));
        pairs
    }

    pub fn address(&self, path: &str) -> Address {
        self.pairs().iter().fold(Address::new(path), |address, (key, value)| address.some(key, Some(value)))
    }

    /// The page about an operation on all of them.
    pub fn operation(&self, action: &str) -> String {
        self.address("/operations/new").some("action", Some(action)).to_string()
    }

    /// The conditions, each with the page without it.
    pub fn chips(&self) -> Vec<Chip> {
        let without = |label: String, rest: Self| Chip { label, href: rest.address("/failures").to_string() };
        let mut chips = Vec::new();
        if let Some(tenant) = &self.tenant {
            chips.push(without(format!("tenant: {tenant}"), Self { tenant: None, ..self.clone() }));
        }
        if let Some(job) = &self.job {
            chips.push(without(format!("job: {job}"), Self { job: None, ..self.clone() }));
        }
        if let Some(cause) = self.cause {
            chips.push(without(format!("cause: {}", cause.word()), Self { cause: None, ..self.clone() }));
        }
        if let Some(since) = self.since {
            chips.push(without(format!("since: {since}"), Self { since: None, ..self.clone() }));
        }
        if !self.q.is_empty() {
            chips.push(without(format!("words: {}", self.q), Self { q: String::new(), ..self.clone() }));
        }
        chips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_asks_for_is_what_the_next_one_says() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let asked = Asked::new(&vec![
            pair("group", "alpha.-7"),
            pair("group", "beta.7"),
            pair("group", "beta.x"),
            pair("run", "alpha.short"),
            pair("since", "24h"),
            pair("cause", "permanent"),
            pair("state", "nonsense"),
            pair("q", " 400 & "),
        ]);
        assert_eq!(asked.groups, [("alpha".into(), -7), ("beta".into(), 7)]);
        assert_eq!(
            asked.operation("discard"),
            "/operations/new?cause=permanent&since=24h&q=400%20%26&group=alpha.-7&group=beta.7&action=discard"
        );
        let which = asked.which(Timestamp(100_000_000));
        assert_eq!(
            (which.since, which.standing, which.words.as_deref()),
            (Some(Timestamp(13_600_000)), Standing::Open, Some("400 &"))
        );
    }
}
