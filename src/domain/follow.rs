//! Jobs that begin when a run of another job has ended.

use serde::{Deserialize, Serialize};

use super::job::JobSpec;
use super::run::Final;
use crate::error::{Problem, did_you_mean};

/// `{ after = { job = "import", on = "succeeded" } }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowSpec {
    /// Of the same tenant.
    pub job: String,
    #[serde(default)]
    pub on: On,
}

/// Which ends are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    #[default]
    Succeeded,
    Dead,
    /// However it ended, cancelled too.
    Ended,
}

impl On {
    pub fn follows(self, end: Final) -> bool {
        match self {
            Self::Succeeded => end == Final::Succeeded,
            Self::Dead => matches!(end, Final::Dead(_)),
            Self::Ended => true,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Ended => "ended",
        }
    }
}

/// Jobs that are followed and are not there, and rings, in which each would start the next for ever.
pub fn contradictions(jobs: &[JobSpec]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (n, job) in jobs.iter().enumerate() {
        for (m, after) in job.triggers.iter().enumerate().filter_map(|(m, trigger)| Some((m, trigger.after()?))) {
            let names = || jobs.iter().map(|job| job.name.as_str());
            let message = if !names().any(|name| name == after.job) {
                let near = did_you_mean(&after.job, names());
                format!("this file has no job {:?}{near}; a job follows one of its own tenant", after.job)
            } else if let Some(way) = way(jobs, &after.job, &job.name) {
                let ring: Vec<&str> = way.into_iter().chain([after.job.as_str()]).collect();
                format!("{} is a ring: each run would start the next for ever; leave one of its triggers out", ring.join(" → "))
            } else {
                continue;
            };
            problems.push(Problem::new(format!("job[{n}].triggers[{m}].after.job"), message));
        }
    }
    problems
}

/// The jobs by which `to` is among what `from` follows at last, both included; the shortest way.
fn way<'a>(jobs: &'a [JobSpec], from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut ways = std::collections::VecDeque::from([vec![from]]);
    let mut seen = std::collections::HashSet::from([from]);
    while let Some(way) = ways.pop_front() {
        let last = *way.last()?;
        if last == to {
            return Some(way.into_iter().rev().collect());
        }
        let followed =
            jobs.iter().filter(|job| job.name == last).flat_map(|job| &job.triggers).filter_map(|trigger| trigger.after());
        for next in followed.map(|after| after.job.as_str()) {
            if seen.insert(next) {
                ways.push_back(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn jobs(follows: &[(&str, &[&str])]) -> Vec<JobSpec> {
        let job = |(name, after): &(&str, &[&str])| {
            let triggers: Vec<_> = after.iter().map(|job| json!({ "after": { "job": job } })).collect();
            serde_json::from_value(json!({ "name": name, "plugin": "noop", "triggers": triggers })).unwrap()
        };
        follows.iter().map(job).collect()
    }

    #[test]
    fn a_ring_is_refused_naming_its_jobs_and_a_chain_is_not() {
        assert_eq!(contradictions(&jobs(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])])), []);
        let found = contradictions(&jobs(&[("a", &["c"]), ("b", &["a"]), ("c", &["b"]), ("d", &["c"])]));
        assert_eq!(found.len(), 3, "d hangs on the ring and is not of it: {found:?}");
        assert!(found[0].message.starts_with("a → b → c → a is a ring"), "{}", found[0].message);
        assert_eq!(found[0].field, "job[0].triggers[0].after.job");
        let found = contradictions(&jobs(&[("a", &["a"])]));
        assert!(found[0].message.starts_with("a → a is a ring"), "{}", found[0].message);
    }

    #[test]
    fn a_job_that_is_not_there_is_named_with_the_nearest() {
        let found = contradictions(&jobs(&[("import", &[]), ("report", &["imports"])]));
        assert!(found[0].message.contains("did you mean \"import\""), "{}", found[0].message);
    }
}
