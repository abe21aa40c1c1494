//! Jobs that begin when a run of another job has ended.

use std::collections::HashMap;

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
}

/// Rings, and strangers, that are told of one file.
const TOLD: usize = 10;
/// Jobs of a ring that are named.
const SHOWN: usize = 20;

/// Jobs that are followed and are not there, and rings, in which each would start the next for ever.
pub fn contradictions(jobs: &[JobSpec]) -> Vec<Problem> {
    let places: HashMap<&str, usize> = jobs.iter().enumerate().map(|(n, job)| (job.name.as_str(), n)).collect();
    let mut problems = Vec::new();
    let mut refuse =
        |n: usize, m: usize, message| problems.push(Problem::new(format!("job[{n}].triggers[{m}].after.job"), message));
    let mut strangers = 0;
    // What each job follows: the job's place, and the trigger that says so.
    let mut follows: Vec<Vec<(usize, usize)>> = vec![Vec::new(); jobs.len()];
    for (n, job) in jobs.iter().enumerate() {
        for (m, after) in job.triggers.iter().enumerate().filter_map(|(m, trigger)| Some((m, trigger.after()?))) {
            match places.get(after.job.as_str()) {
                Some(place) => follows[n].push((*place, m)),
                None if strangers == TOLD => {}
                None => {
                    strangers += 1;
                    let near = did_you_mean(&after.job, jobs.iter().map(|job| job.name.as_str()));
                    refuse(n, m, format!("this file has no job {:?}{near}; a job follows one of its own tenant", after.job));
                }
            }
        }
    }
    for (ring, trigger) in rings(&follows) {
        let mut names: Vec<&str> = ring.iter().chain(ring.first()).map(|n| jobs[*n].name.as_str()).collect();
        if names.len() > SHOWN {
            names.splice(SHOWN - 1..names.len() - 1, ["…"]);
        }
        let message = "is a ring: each run would start the next for ever; leave one of its triggers out";
        refuse(ring[0], trigger, format!("{} {message}", names.join(" → ")));
    }
    problems
}

/// Each ring in the order in which its jobs would start each other, and the trigger of the first that closes it. Every job is
/// looked at once, however long the chains are.
fn rings(follows: &[Vec<(usize, usize)>]) -> Vec<(Vec<usize>, usize)> {
    let (mut seen, mut rings) = (vec![false; follows.len()], Vec::new());
    // The way from where it began, and of each job how many of those it follows have been looked at.
    let (mut way, mut on_the_way): (Vec<(usize, usize)>, Vec<bool>) = (Vec::new(), vec![false; follows.len()]);
    for start in 0..follows.len() {
        if !std::mem::replace(&mut seen[start], true) {
            (way, on_the_way[start]) = (vec![(start, 0)], true);
        }
        while let Some((job, looked)) = way.last_mut() {
            let Some((next, trigger)) = follows[*job].get(*looked).copied() else {
                on_the_way[*job] = false;
                way.pop();
                continue;
            };
            *looked += 1;
            if on_the_way[next] && rings.len() < TOLD {
                let ring = way.iter().rev().map(|(job, _)| *job).take_while(|job| *job != next).chain([next]);
                rings.push((ring.collect(), trigger));
            } else if !std::mem::replace(&mut seen[next], true) {
                on_the_way[next] = true;
                way.push((next, 0));
            }
        }
    }
    rings
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
        assert_eq!(found.len(), 1, "d hangs on the ring and is not of it: {found:?}");
        assert!(found[0].message.starts_with("b → c → a → b is a ring"), "{}", found[0].message);
        assert_eq!(found[0].field, "job[1].triggers[0].after.job");
        let found = contradictions(&jobs(&[("a", &["b"]), ("b", &["a"]), ("c", &["d", "a"]), ("d", &["c"])]));
        let rings: Vec<_> = found.iter().map(|problem| problem.message.split(" is").next().unwrap()).collect();
        assert_eq!(rings, ["b → a → b", "d → c → d"], "each of them");
        let found = contradictions(&jobs(&[("a", &["a"])]));
        assert!(found[0].message.starts_with("a → a is a ring"), "{}", found[0].message);
        // A chain as long as a file can hold is judged at once.
        let names: Vec<String> = (0..20_000).map(|n| format!("j{n}")).collect();
        let chain: Vec<(&str, [&str; 1])> = names.windows(2).map(|pair| (pair[0].as_str(), [pair[1].as_str()])).collect();
        let mut chain: Vec<(&str, &[&str])> = chain.iter().map(|(name, after)| (*name, &after[..])).collect();
        chain.push((names.last().unwrap(), &[]));
        assert_eq!(contradictions(&jobs(&chain)), []);
    }

    #[test]
    fn a_job_that_is_not_there_is_named_with_the_nearest() {
        let found = contradictions(&jobs(&[("import", &[]), ("report", &["imports"])]));
        assert!(found[0].message.contains("did you mean \"import\""), "{}", found[0].message);
    }
}
