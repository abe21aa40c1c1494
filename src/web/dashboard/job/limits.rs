//! What an attempt of a job may take, limit by limit, and who set it.

use super::policy::{DEFAULT, JOB, TENANT, line};
use super::view::PolicyLine;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::limits::{Amount, Limits};
use crate::domain::span::Size;

/// The tenant says where its ceiling is below what the job asks for.
pub fn lines(grant: &Grant, ceiling: &Ceiling) -> Vec<PolicyLine> {
    let usual = Grant::default();
    let source = |lowered: bool, own: bool| match (lowered, own) {
        (true, _) => TENANT,
        (false, true) => JOB,
        (false, false) => DEFAULT,
    };
    let size = |what, asked: Size, most: Size, usual: Size| {
        line(what, asked.min(most).to_string(), source(most < asked, asked != usual))
    };
    let written = grant.limits.written();
    let asked = Limits::of(&grant.limits, &grant.limits).amounts();
    let holds = Limits::of(&grant.limits, &ceiling.limits).amounts();
    let one = |((what, asked), (_, holds)): ((&'static str, Amount), (&'static str, Amount))| {
        line(what, holds.to_string(), source(holds < asked, written.iter().any(|(key, _)| *key == what)))
    };
    let mut lines = vec![
        size("memory", grant.memory, ceiling.memory, usual.memory),
        size("scratch", grant.scratch, ceiling.scratch, usual.scratch),
    ];
    lines.extend(asked.into_iter().zip(holds).map(one));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_of_an_attempt_says_who_set_it() {
        let grant: Grant =
            serde_json::from_value(serde_json::json!({ "memory": "32 MiB", "limits": { "items": 9, "requests": 700 } })).unwrap();
        let ceiling: Ceiling =
            serde_json::from_value(serde_json::json!({ "limits": { "requests": 500, "log_lines": 10 } })).unwrap();
        let told = lines(&grant, &ceiling);
        assert_eq!(told.len(), 2 + Limits::known().len());
        for said in [
            line("memory", "32.0 MiB", JOB),
            line("scratch", "0", DEFAULT),
            line("items", "9", JOB),
            line("requests", "500", TENANT),
            line("log_lines", "10", TENANT),
            line("output_bytes", "1.0 MiB", DEFAULT),
        ] {
            assert!(told.contains(&said), "{said:?} is not in {told:?}");
        }
    }
}
