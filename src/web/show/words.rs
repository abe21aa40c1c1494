//! Sentences: what triggers a job, why a run exists, what its end means.

use chrono_tz::Tz;

use super::number::{commas, plural};
use crate::domain::attempt::Counts;
use crate::domain::follow::{FollowSpec, On};
use crate::domain::health::words;
use crate::domain::hook::HookSpec;
use crate::domain::run::{Reason, Run, State};
use crate::domain::trigger::{BacklogSpec, CatchUp, Cause, Overlap, ProbeKind, ScheduleSpec, TriggerSpec};
use crate::id::Id;

/// One trigger of a job, for its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerWords {
    pub kind: &'static str,
    pub words: String,
    /// The cron line as it was written.
    pub line: Option<String>,
}

pub fn trigger(spec: &TriggerSpec, job: Id, zone: Tz) -> TriggerWords {
    match spec {
        TriggerSpec::Schedule(spec) => {
            TriggerWords { kind: "Schedule", words: schedule(spec, job, zone), line: Some(spec.schedule.clone()) }
        }
        TriggerSpec::Backlog { backlog: spec } => TriggerWords { kind: "Backlog", words: backlog(spec), line: None },
        TriggerSpec::Webhook { webhook: spec } => TriggerWords { kind: "Webhook", words: webhook(spec), line: None },
        TriggerSpec::After { after } => TriggerWords { kind: "After", words: follow(after), line: None },
    }
}

/// "notifications signed with the secret hook-key, or with a token; what comes within 30 s is one run's"
fn webhook(spec: &HookSpec) -> String {
    let gathered = if spec.debounce.0.is_zero() {
        "each is a run".into()
    } else {
        format!("what comes within {} is one run's", words(spec.debounce.0))
    };
    let by =
        spec.secret.as_ref().map_or("with a token".into(), |secret| format!("signed with the secret {secret}, or with a token"));
    format!("notifications {by}; {gathered}")
}

/// "when a run of import has succeeded"
fn follow(spec: &FollowSpec) -> String {
    let how = match spec.on {
        On::Succeeded => "has succeeded",
        On::Dead => "is dead",
        On::Ended => "has ended, however",
    };
    format!("when a run of {} {how}", spec.job)
}

/// "whenever work waits: one run for each 500, at most 1 at once; measured every 15 s by the plugin"
fn backlog(spec: &BacklogSpec) -> String {
    let by = measured_by(spec);
    let above = if spec.start_above > 0 {
        format!("more than {} wait, until nothing does", commas(spec.start_above))
    } else {
        "work waits".into()
    };
    let rest = spec.cool_down.map(|rest| format!(", {} after the one before", words(rest.0))).unwrap_or_default();
    let promise = spec.lag_limit.map(|limit| format!("; nothing shall wait longer than {}", words(limit.0))).unwrap_or_default();
    format!(
        "whenever {above}: one run for each {}, at most {} at once{rest}; measured every {} by {by}{promise}",
        commas(spec.per_run),
        spec.max_parallel,
        words(spec.every.0)
    )
}

/// What measures it, and where.
fn measured_by(spec: &BacklogSpec) -> String {
    let of = |key: &Option<String>| key.clone().unwrap_or_default();
    let host = || of(&spec.url).split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default().to_owned();
    match spec.probe {
        ProbeKind::Plugin => "the plugin".into(),
        ProbeKind::Http => format!("a JSON answer of {} ({})", host(), of(&spec.path)),
        ProbeKind::Prometheus => format!("a query of Prometheus at {} ({})", host(), of(&spec.query)),
        ProbeKind::Sql if host().is_empty() => format!("a query of {}", of(&spec.url)),
        ProbeKind::Sql => format!("a query of the database at {}", host()),
        ProbeKind::Redis => match (&spec.key, &spec.group) {
            (Some(key), _) => format!("the list {key} in Redis at {}", host()),
            (None, Some(group)) => format!("the lag of {group} in the stream {} in Redis at {}", of(&spec.stream), host()),
            (None, None) => format!("the stream {} in Redis at {}", of(&spec.stream), host()),
        },
        ProbeKind::Rabbitmq => format!("the queue {} of RabbitMQ at {}", of(&spec.queue), host()),
        ProbeKind::Nats => format!("what is pending for {} in {} of NATS at {}", of(&spec.consumer), of(&spec.stream), host()),
        ProbeKind::Queue => format!("the waiting runs of {}", of(&spec.job)),
    }
}

/// "at 02:30, Europe/Berlin; skipped while a run is unfinished; after downtime the last one missed"
fn schedule(spec: &ScheduleSpec, job: Id, zone: Tz) -> String {
    let when = match spec.of(job, zone) {
        Ok(schedule) => lower_first(schedule.describe().trim_end_matches('.')),
        Err(wrong) => wrong,
    };
    let overlap = match spec.overlap {
        Overlap::Skip => "skipped while a run is unfinished",
        Overlap::Queue => "while a run is unfinished one waits",
        Overlap::Allow => "also while a run is unfinished",
        Overlap::Cancel => "cancels a run that is unfinished",
    };
    let catch_up = match spec.catch_up {
        CatchUp::None => "after downtime nothing is made up for",
        CatchUp::Last => "after downtime the last one missed is run",
        CatchUp::All => "after downtime all that were missed are run",
    };
    let zone = spec.zone.unwrap_or(zone).name();
    let except: Vec<String> = spec.except.iter().map(ToString::to_string).collect();
    let except = if except.is_empty() { String::new() } else { format!(", except {}", except.join(", ")) };
    let jitter = spec.jitter.map(|jitter| format!(", up to {} later", words(jitter.0))).unwrap_or_default();
    format!("{when}, {zone}{except}{jitter}; {overlap}; {catch_up}")
}

/// A row of a table has room for the kind and the time only.
pub fn trigger_short(spec: &TriggerSpec, job: Id, zone: Tz) -> String {
    match spec {
        TriggerSpec::Backlog { .. } => "when work waits".into(),
        TriggerSpec::Webhook { .. } => "by webhook".into(),
        TriggerSpec::After { after } => format!("after {}", after.job),
        TriggerSpec::Schedule(spec) => spec
            .of(job, zone)
            .map_or_else(|_| spec.schedule.clone(), |schedule| lower_first(schedule.describe().trim_end_matches('.'))),
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Why a run exists: "backlog 900", "manual, ann", "re-run of 4T9F2C, ann".
pub fn cause(cause: Cause, parent: Option<Id>, by: Option<&str>) -> String {
    // A backlog says how large it was: "backlog 900".
    if let (Cause::Backlog, Some(by)) = (cause, by) {
        return by.to_owned();
    }
    let mut words = match (cause, parent) {
        (Cause::Rerun, Some(parent)) => format!("re-run of {}", parent.short()),
        (Cause::Rerun, None) => "re-run".into(),
        (cause, _) => cause.word().into(),
    };
    if let Some(by) = by {
        words.push_str(", ");
        words.push_str(by);
    }
    words
}

/// Why a run is dead, in a few words.
pub fn reason(reason: Reason, failed: u32, lost: u32) -> String {
    match reason {
        Reason::Permanent => "a permanent failure: trying again would not help".into(),
        Reason::AttemptsSpent => format!("{failed} {} spent", plural(u64::from(failed), "attempt", "attempts")),
        Reason::LostTooOften => format!("its node was lost {} times", lost.max(1)),
        Reason::TotalLimit => "the limit over all attempts was reached".into(),
        Reason::StartDeadline => "it could not start in time".into(),
        Reason::ItemsFailed => "too many of its pieces failed".into(),
        Reason::Undecodable => "it could not be given to its plugin".into(),
    }
}

/// "500 of 544 done, 44 failed"; empty when nothing was counted.
pub fn counts(counts: &Counts) -> String {
    let ended = counts.done + counts.failed;
    if ended == 0 {
        return String::new();
    }
    if counts.failed == 0 {
        return format!("{} done", commas(counts.done));
    }
    format!("{} of {} done, {} failed", commas(counts.done), commas(ended), commas(counts.failed))
}

/// The state as pages say it, longer than the pill where the table of states asks for it.
pub fn state(run: &Run) -> String {
    match (&run.state, &run.counts) {
        (State::Succeeded { .. }, Some(counts)) if counts.failed > 0 => {
            format!("succeeded, {} of {} failed", commas(counts.failed), commas(counts.done + counts.failed))
        }
        (State::Waiting { why: Some(why), .. }, _) => why.clone(),
        _ => run.page_state().to_owned(),
    }
}

/// The first line of a message: what a row shows of an error.
pub fn first_line(message: &str) -> &str {
    message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// "sha256:b1946ac9…2611184"
pub fn short_digest(digest: &str) -> String {
    match (digest.get(..15), digest.len().checked_sub(7).and_then(|from| digest.get(from..))) {
        (Some(head), Some(tail)) if digest.len() > 24 => format!("{head}…{tail}"),
        _ => digest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::days::Days;
    use crate::domain::span::Span;

    #[test]
    fn triggers_are_sentences() {
        let backlog = BacklogSpec { lag_limit: Some(Span::secs(180)), ..BacklogSpec::default() };
        let spec = TriggerSpec::Backlog { backlog: Box::new(backlog) };
        let said = trigger(&spec, Id(1), Tz::UTC);
        assert_eq!(
            said.words,
            "whenever work waits: one run for each 500, at most 1 at once; measured every 15 s by the plugin; nothing shall wait longer than 3 min"
        );
        let spec = TriggerSpec::Schedule(ScheduleSpec {
            schedule: "30 2 * * *".into(),
            zone: None,
            overlap: Overlap::Skip,
            catch_up: CatchUp::Last,
            start_deadline: None,
            jitter: None,
            input: None,
            except: vec![Days::Yearly(12, 25)],
        });
        let said = trigger(&spec, Id(1), Tz::Europe__Berlin);
        assert!(said.words.starts_with("at 02:30, Europe/Berlin, except 12-25; skipped while"), "{}", said.words);
    }

    #[test]
    fn ends_are_words() {
        assert_eq!(reason(Reason::AttemptsSpent, 5, 0), "5 attempts spent");
        assert_eq!(counts(&Counts { taken: 544, done: 528, failed: 16, left: None }), "528 of 544 done, 16 failed");
        assert_eq!(cause(Cause::Rerun, Some(Id(0)), Some("ann")), "re-run of 000000, ann");
        assert_eq!(cause(Cause::Backlog, None, Some("backlog 900")), "backlog 900");
        assert_eq!(cause(Cause::Backlog, None, None), "backlog");
    }
}
