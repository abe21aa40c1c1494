//! How fast a backlog flows in and out: plain arithmetic over what was counted and measured.

use std::time::Duration;

use crate::clock::Timestamp;

/// Rates are taken over so long.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Pieces are counted when their run ends: over less than this, one end would look like a flood.
const SHORTEST: Duration = Duration::from_secs(60);

/// What moves in one job's backlog, a minute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flow {
    pub out_per_min: f64,
    pub in_per_min: f64,
}

/// Rates from the pieces of work done since `since`, and the sizes measured in that time, oldest first. `None` while there
/// are not two sizes to compare.
pub fn flow(done: u64, since: Timestamp, sizes: &[(Timestamp, u64)], now: Timestamp) -> Option<Flow> {
    let (&(first_at, first), &(last_at, last)) = (sizes.first()?, sizes.last()?);
    if last_at <= first_at {
        return None;
    }
    // A job that is watched for three minutes has done its work in three, not in ten.
    let out_per_min = real(done) / minutes(now.since(since.max(first_at)).max(SHORTEST));
    let growth_per_min = (real(last) - real(first)) / minutes(last_at.since(first_at).max(SHORTEST));
    Some(Flow { out_per_min, in_per_min: (out_per_min + growth_per_min).max(0.0) })
}

/// Whether it grew all the time: sizes at the beginning, in the middle and at the end of [`WINDOW`] (scenario V7).
pub fn outgrown([first, middle, last]: [u64; 3]) -> bool {
    first <= middle && middle <= last && first < last
}

impl Flow {
    /// How long until nothing is left at this rate; `None` when it does not shrink.
    pub fn empty_in(self, size: u64) -> Option<Duration> {
        if size == 0 {
            return Some(Duration::ZERO);
        }
        let shrinks_by = self.out_per_min - self.in_per_min;
        if shrinks_by <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64(real(size) / shrinks_by * 60.0).ok()
    }
}

fn minutes(span: Duration) -> f64 {
    span.as_secs_f64() / 60.0
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn real(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: i64) -> Timestamp {
        Timestamp(n * 60_000)
    }

    #[test]
    fn what_comes_in_is_what_went_out_and_what_was_added() {
        let flow = flow(1_000, minute(0), &[(minute(0), 500), (minute(5), 700), (minute(10), 300)], minute(10)).unwrap();
        assert_eq!(flow, Flow { out_per_min: 100.0, in_per_min: 80.0 });
        assert_eq!(flow.empty_in(300), Some(Duration::from_secs(15 * 60)));
    }

    #[test]
    fn a_backlog_that_grows_never_empties_and_an_empty_one_is_empty() {
        let flow = flow(100, minute(0), &[(minute(0), 100), (minute(10), 200)], minute(10)).unwrap();
        assert_eq!(flow, Flow { out_per_min: 10.0, in_per_min: 20.0 });
        assert_eq!(flow.empty_in(200), None);
        assert_eq!(flow.empty_in(0), Some(Duration::ZERO));
    }

    #[test]
    fn a_bump_is_no_growth() {
        assert!(outgrown([100, 150, 200]) && outgrown([0, 0, 5]));
        assert!(!outgrown([100, 300, 200]) && !outgrown([100, 100, 100]) && !outgrown([100, 50, 200]));
    }

    #[test]
    fn a_job_watched_since_three_minutes_has_worked_for_three() {
        let flow = flow(300, minute(0), &[(minute(7), 300), (minute(10), 0)], minute(10)).unwrap();
        assert_eq!(flow, Flow { out_per_min: 100.0, in_per_min: 0.0 });
    }

    #[test]
    fn one_end_within_seconds_is_no_flood_and_one_size_is_no_rate() {
        let now = Timestamp(5_000);
        let flow_of = |sizes: &[(Timestamp, u64)]| flow(50, Timestamp(0), sizes, now);
        assert_eq!(flow_of(&[(Timestamp(0), 50), (now, 0)]), Some(Flow { out_per_min: 50.0, in_per_min: 0.0 }));
        assert_eq!(flow_of(&[(now, 50)]), None);
        assert_eq!(flow_of(&[]), None);
    }
}
