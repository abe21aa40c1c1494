//! What a run's batches came to, summed up for people and for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_plugin::Counts;
use windlass_plugin::text::cut;

use crate::answer::{Answer, Job};

/// Errors often carry a page title, so there can be as many as jobs; beyond this many they are summed up.
const MAX_KINDS: usize = 50;
const MAX_ERROR: usize = 500;
const SHOWN: usize = 3;

#[derive(Debug, Default)]
pub struct Tally {
    pub done: u64,
    pub failed: u64,
    pub batches: u64,
    /// Type → (done, failed).
    types: BTreeMap<String, (u64, u64)>,
    failures: Failures,
}

/// (Type, error) → how often.
pub type Failures = BTreeMap<(String, String), u64>;

impl Tally {
    /// Adds a batch and answers its own failures.
    pub fn add(&mut self, answer: &Answer) -> Failures {
        self.batches += 1;
        let mut batch = Failures::new();
        for job in &answer.jobs {
            let ended = self.types.entry(cut(&job.job_type, MAX_ERROR)).or_default();
            if job.failed() {
                ended.1 += 1;
                self.failed += 1;
                let key = kind(job, &self.failures);
                *batch.entry(key.clone()).or_default() += 1;
                *self.failures.entry(key).or_default() += 1;
            } else {
                ended.0 += 1;
                self.done += 1;
            }
        }
        batch
    }

    pub fn taken(&self) -> u64 {
        self.done + self.failed
    }

    pub fn counts(&self, left: Option<u64>) -> Counts {
        Counts { taken: self.taken(), done: self.done, failed: self.failed, left }
    }

    /// One line; `end` says why it ended, where more may wait.
    pub fn summary(&self, end: Option<&str>) -> String {
        let what = match (self.done, self.failed) {
            (0, 0) if end.is_none() => return "nothing to do".to_owned(),
            (done, 0) => format!("{done} {} done", if done == 1 { "job" } else { "jobs" }),
            (_, failed) => format!("partly failed {failed} of {}: {}", self.taken(), self.failures_in_words()),
        };
        match end {
            Some(end) => format!("{what}; {end}"),
            None if self.failed > 0 => what,
            None => format!("{what}, none left"),
        }
    }

    fn failures_in_words(&self) -> String {
        let mut kinds: Vec<_> = self.failures.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let words = kinds.iter().take(SHOWN).map(|((job_type, error), count)| {
            let times = if kinds.len() > 1 { format!(" ({count})") } else { String::new() };
            format!("{job_type}: {}{times}", cut(error, 200))
        });
        let mut words = words.collect::<Vec<_>>().join(", ");
        if kinds.len() > SHOWN {
            words.push_str(&format!(", … and {} more kinds", kinds.len() - SHOWN));
        }
        words
    }

    pub fn data(&self, backlog_at_start: Option<u64>, answer: Option<&Answer>) -> Value {
        let types: serde_json::Map<_, _> =
            self.types.iter().map(|(name, (done, failed))| (name.clone(), json!({ "done": done, "failed": failed }))).collect();
        let failures: Vec<_> = self
            .failures
            .iter()
            .map(|((job_type, error), count)| json!({ "type": job_type, "error": error, "count": count }))
            .collect();
        json!({
            "taken": self.taken(),
            "done": self.done,
            "failed": self.failed,
            "batches": self.batches,
            "backlog_at_start": backlog_at_start,
            "types": types,
            "failures": failures,
            "backoffs": answer.map(|answer| &answer.backoffs),
        })
    }
}

fn kind(job: &Job, known: &Failures) -> (String, String) {
    let error = job.error.as_deref().unwrap_or("no error text");
    let key = (cut(&job.job_type, MAX_ERROR), cut(error, MAX_ERROR));
    let room = known.len() < MAX_KINDS || known.contains_key(&key);
    if room { key } else { ("other".to_owned(), "other errors".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::decode;

    fn batch(jobs: &[(&str, Option<&str>)]) -> Answer {
        let jobs: Vec<_> = jobs
            .iter()
            .map(|(job_type, error)| {
                json!({ "type": job_type, "status": if error.is_some() { "failed" } else { "ok" }, "error": error, "time": 1 })
            })
            .collect();
        decode(&json!({ "jobs": jobs, "reached": "none-ready", "backoffs": [] }).to_string()).unwrap()
    }

    #[test]
    fn all_failed_alike() {
        let mut tally = Tally::default();
        let failures = tally.add(&batch(&[("poison", Some("it is poison")); 15]));
        assert_eq!(failures.into_values().collect::<Vec<_>>(), [15]);
        assert_eq!(tally.summary(None), "partly failed 15 of 15: poison: it is poison");
        let counts = tally.counts(Some(0));
        assert_eq!((counts.taken, counts.done, counts.failed, counts.left), (15, 0, 15, Some(0)));
    }

    #[test]
    fn two_batches_add_up_and_the_commonest_failure_is_first() {
        let mut tally = Tally::default();
        tally.add(&batch(&[("a", None), ("b", Some("x")), ("a", Some("y"))]));
        tally.add(&batch(&[("a", None), ("a", Some("y"))]));
        assert_eq!(tally.summary(None), "partly failed 3 of 5: a: y (2), b: x (1)");
        let data = tally.data(Some(5), None);
        assert_eq!(data["types"]["a"], json!({ "done": 2, "failed": 2 }));
        assert_eq!((data["batches"].as_u64(), data["backlog_at_start"].as_u64()), (Some(2), Some(5)));
    }

    #[test]
    fn summaries_of_runs_without_failures() {
        let mut tally = Tally::default();
        assert_eq!(tally.summary(None), "nothing to do");
        tally.add(&batch(&[("a", None)]));
        assert_eq!(tally.summary(None), "1 job done, none left");
        tally.add(&batch(&[("a", None)]));
        assert_eq!(tally.summary(Some("the time is nearly over")), "2 jobs done; the time is nearly over");
    }

    #[test]
    fn a_thousand_different_errors_stay_small() {
        let errors: Vec<_> = (0..1000).map(|n| format!("title {n}")).collect();
        let mut tally = Tally::default();
        tally.add(&batch(&errors.iter().map(|error| ("a", Some(error.as_str()))).collect::<Vec<_>>()));
        assert_eq!(tally.failures.len(), MAX_KINDS + 1);
        assert_eq!(tally.failures.values().sum::<u64>(), 1000);
        assert!(tally.summary(None).ends_with("… and 48 more kinds"));
    }
}
