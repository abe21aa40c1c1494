//! How long the next batch may take, and what comes after it.

use windlass_plugin::Failure;

use crate::answer::Reached;

/// How long past its `maxtime` a wiki may work: it looks at the clock only between two jobs.
pub const MARGIN_MS: u64 = 10_000;
/// When to come back to a wiki that is read-only or whose replicas lag.
pub const REST_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub max_time_s: u64,
    pub first_byte_ms: u64,
}

/// The next batch within the attempt's time, or none when too little is left. A short time limit gets a shorter margin,
/// at the price of giving up on slow jobs sooner.
pub fn next_batch(remaining_ms: u64, at_start_ms: u64, max_time_s: u64) -> Option<Plan> {
    let margin_ms = MARGIN_MS.min(at_start_ms / 3);
    let max_time_s = max_time_s.min(remaining_ms.saturating_sub(margin_ms) / 1000);
    (max_time_s > 0).then_some(Plan { max_time_s, first_byte_ms: max_time_s * 1000 + margin_ms })
}

#[derive(Debug)]
pub enum Next {
    Another,
    /// The target has nothing to hand out.
    NothingReady,
    /// It stopped at a limit of ours without having taken a job: asking again at once would spin.
    NoProgress,
    Fail(Failure),
}

/// What to do after a batch of `taken` jobs that ended with `reached`.
pub fn after_batch(reached: &Reached, taken: usize, job_type: Option<&str>, last_error: Option<&str>) -> Next {
    match (reached, job_type) {
        (Reached::NoneReady, _) => Next::NothingReady,
        // A fresh process gets fresh memory, so it is worth asking again as long as jobs get done.
        (Reached::JobLimit | Reached::TimeLimit | Reached::MemoryLimit | Reached::Other(_), _) if taken > 0 => Next::Another,
        (Reached::MemoryLimit, _) => Next::Fail(Failure::transient(
            "the wiki's PHP reached its memory limit before it ran one job: raise memory_limit there",
        )),
        (Reached::JobLimit | Reached::TimeLimit, _) => Next::NoProgress,
        (Reached::Exception, _) => {
            let why = last_error.map(|error| format!(": {error}")).unwrap_or_default();
            Next::Fail(Failure::transient(format!("a database error stopped the wiki's job runner{why}")))
        }
        (Reached::NonePossible, Some(job_type)) => {
            let message = format!("the wiki knows no job type \"{job_type}\" (none-possible): correct `type` in the config");
            Next::Fail(Failure::permanent(message).extra("field", "type"))
        }
        (Reached::NonePossible, None) => Next::Fail(Failure::transient("the wiki says it cannot run any job (none-possible)")),
        (Reached::ReadOnly, _) => Next::Fail(Failure::snooze(REST_MS, "the wiki is read-only")),
        (Reached::ReplicaLagLimit, _) => Next::Fail(Failure::snooze(REST_MS, "the wiki's database replicas lag")),
        (Reached::Other(word), _) => {
            Next::Fail(Failure::transient(format!("the wiki ran no job and ended with \"{word}\", which is not known here")))
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_plugin::Class;

    use super::*;

    fn failure(reached: Reached, taken: usize, job_type: Option<&str>) -> Failure {
        match after_batch(&reached, taken, job_type, Some("DBQueryError: gone away")) {
            Next::Fail(failure) => failure,
            other => panic!("{reached:?}: {other:?}"),
        }
    }

    #[test]
    fn a_batch_fits_into_what_is_left() {
        let plan = |remaining, at_start| next_batch(remaining, at_start, 20);
        assert_eq!(plan(55_000, 55_000), Some(Plan { max_time_s: 20, first_byte_ms: 30_000 }));
        assert_eq!(plan(15_000, 55_000), Some(Plan { max_time_s: 5, first_byte_ms: 15_000 }));
        assert_eq!(plan(10_999, 55_000), None);
        assert_eq!(plan(9_000, 9_000), Some(Plan { max_time_s: 6, first_byte_ms: 9_000 }));
        assert_eq!(plan(1_000, 1_000), None);
        assert_eq!(plan(0, 0), None);
    }

    #[test]
    fn limits_ask_again_only_when_something_was_taken() {
        for reached in [Reached::JobLimit, Reached::TimeLimit, Reached::MemoryLimit] {
            assert!(matches!(after_batch(&reached, 1, None, None), Next::Another));
        }
        for reached in [Reached::JobLimit, Reached::TimeLimit] {
            assert!(matches!(after_batch(&reached, 0, None, None), Next::NoProgress));
        }
        assert_eq!(failure(Reached::MemoryLimit, 0, None).class(), Class::Transient);
        assert!(matches!(after_batch(&Reached::NoneReady, 0, None, None), Next::NothingReady));
    }

    #[test]
    fn a_wiki_that_cannot_write_is_left_in_peace() {
        for reached in [Reached::ReadOnly, Reached::ReplicaLagLimit] {
            let failure = failure(reached, 3, None);
            assert_eq!((failure.class(), failure.delay_ms()), (Class::Snooze, Some(30_000)));
        }
    }

    #[test]
    fn a_wrong_type_needs_a_person_and_a_lost_database_does_not() {
        assert_eq!(failure(Reached::NonePossible, 0, Some("refreshLink")).class(), Class::Permanent);
        assert_eq!(failure(Reached::NonePossible, 0, None).class(), Class::Transient);
        let exception = failure(Reached::Exception, 9, None);
        assert_eq!(exception.class(), Class::Transient);
        assert!(exception.message().ends_with("DBQueryError: gone away"));
        assert_eq!(failure(Reached::Other("x".into()), 0, None).class(), Class::Transient);
    }
}
