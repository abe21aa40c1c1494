//! The drain in flight, kept in the job's state. A client that gives up does not stop the wiki's work, and a blind retry
//! would run a second drain beside the first: so each batch is written down before it is sent and struck out when the wiki
//! has answered, and an attempt that finds one standing waits until it must be over.

use serde::{Deserialize, Serialize};
use windlass_plugin::{Failure, Work, log, now_ms, state};

use crate::plan::{MARGIN_MS, Plan};

const KEY: &str = "drain";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    started: u64,
    may_run_until: u64,
    run: String,
    attempt: u32,
}

/// A batch that is written down. Dropped without `ended` it stays, which is what an unknown end calls for.
#[must_use]
pub struct InFlight {
    version: u64,
}

/// Refuses while an earlier attempt's drain may still run.
pub fn check() -> Result<Option<u64>, Failure> {
    let Some(entry) = state::get(KEY)? else {
        return Ok(None);
    };
    standing(&entry.value, now_ms())?;
    Ok(Some(entry.version))
}

/// Writes down a batch that is about to be sent.
pub fn begin(work: &Work, plan: Plan) -> Result<InFlight, Failure> {
    let version = check()?;
    let started = now_ms();
    let may_run_until = started + plan.max_time_s * 1000 + MARGIN_MS;
    let record = Record { started, may_run_until, run: work.run.clone(), attempt: work.attempt };
    match state::set(KEY, &serde_json::to_vec(&record)?, Some(version.unwrap_or(0))) {
        Ok(version) => Ok(InFlight { version }),
        Err(refusal) if refusal.is_conflict() => {
            Err(Failure::snooze(may_run_until - started, "another run of this job has just started a drain of this wiki"))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

impl InFlight {
    /// The wiki has answered: nothing of this batch runs there any more.
    pub fn ended(self) {
        if let Err(refusal) = state::delete(KEY, Some(self.version)) {
            log::warn!("the record of the drain in flight could not be struck out: {refusal}");
        }
    }
}

fn standing(record: &[u8], now_ms: u64) -> Result<(), Failure> {
    let Ok(record) = serde_json::from_slice::<Record>(record) else {
        // Written by no version of this plugin; the next batch overwrites it.
        return Ok(());
    };
    let left_ms = record.may_run_until.saturating_sub(now_ms);
    // A record from the future is a clock that was set back: it must not hold the job for longer than it ever could.
    let longest_ms = record.may_run_until.saturating_sub(record.started);
    if left_ms == 0 || now_ms + MARGIN_MS < record.started {
        return Ok(());
    }
    let message = format!(
        "a drain that run {} (attempt {}) started {} s ago was never answered and may still run in the wiki for {} s; \
         a second one beside it is not started",
        record.run,
        record.attempt,
        now_ms.saturating_sub(record.started) / 1000,
        left_ms.div_ceil(1000)
    );
    Err(Failure::snooze(left_ms.min(longest_ms), message))
}

#[cfg(test)]
mod tests {
    use windlass_plugin::Class;

    use super::*;

    const RECORD: &[u8] = br#"{"started":1000000,"may_run_until":1030000,"run":"01R","attempt":2}"#;

    #[test]
    fn an_unanswered_drain_holds_the_next_until_it_must_be_over() {
        let failure = standing(RECORD, 1_020_500).unwrap_err();
        assert_eq!((failure.class(), failure.delay_ms()), (Class::Snooze, Some(9_500)));
        for words in ["run 01R (attempt 2)", "20 s ago", "for 10 s"] {
            assert!(failure.message().contains(words), "{failure}");
        }
        assert!(standing(RECORD, 1_029_999).is_err());
        assert!(standing(RECORD, 1_030_000).is_ok());
    }

    #[test]
    fn a_clock_set_back_or_a_foreign_record_does_not_hold() {
        assert!(standing(RECORD, 900_000).is_ok());
        assert_eq!(standing(RECORD, 995_000).unwrap_err().delay_ms(), Some(30_000));
        assert!(standing(b"\xff", 0).is_ok());
    }
}
