//! A new version of a job's plugin beside the old one: which runs take it, and when it is taken back.

use serde::{Deserialize, Serialize};

use super::plugin::{PluginRef, Want};
use crate::clock::Timestamp;
use crate::error::Problem;
use crate::id::Id;

/// Failures in a row after which a new version is taken back, when the old one had none in the same time.
pub const IN_A_ROW: u64 = 3;
/// A new version that took all runs at once is in use for good after so many that went well.
pub const PROVEN: u64 = 20;
/// Of the runs, in parts of a million.
pub const ALL: u32 = 1_000_000;
/// The chance that two versions which are equally good look as different as they do, below which the new one is worse. So
/// small because it is asked after every run: at 1 in 20 the sixtieth look would take back every third good version.
const CHANCE: f64 = 0.001;

/// `canary = { version = "1.5.0", share = 0.1 }` of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Of the same plugin.
    pub version: String,
    /// Of the job's new runs: above 0, at most 1.
    pub share: f64,
}

impl Canary {
    /// What is wrong with it. `field` is its path in its file.
    pub fn contradictions(&self, plugin: &PluginRef, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(self.share > 0.0 && self.share <= 1.0) {
            let message = format!("{} is no share; write more than 0 and at most 1, as in 0.1", self.share);
            problems.push(Problem::new(format!("{field}.share"), message));
        }
        if !self.of(plugin).is_some_and(|wanted| matches!(wanted.want, Want::Exactly(_))) {
            let message = format!("{:?} is no version; write a whole one, as in \"1.5.0\"", self.version);
            problems.push(Problem::new(format!("{field}.version"), message));
        }
        problems
    }

    /// The plugin that it means; none when its version is no version.
    pub fn of(&self, plugin: &PluginRef) -> Option<PluginRef> {
        format!("{}@{}", plugin.name, self.version).parse().ok()
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its share of the new runs takes the new version.
    Running,
    /// New runs take the old one for now.
    Paused,
    /// New runs take the old one.
    RolledBack,
    /// New runs take the new one.
    Promoted,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::RolledBack, Self::Promoted];

    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
            Self::Promoted => "promoted",
        }
    }

    /// In words for people.
    pub fn said(self) -> &'static str {
        match self {
            Self::Running => "on trial",
            Self::Paused => "paused",
            Self::RolledBack => "rolled back",
            Self::Promoted => "in use",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }

    /// Whether a person may bring it from the one to the other.
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::Running => self == Self::Paused,
            Self::Paused => self == Self::Running,
            Self::RolledBack => self != Self::RolledBack,
            Self::Promoted => matches!(self, Self::Running | Self::Paused),
        }
    }
}

/// A job's new version and its old one.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    pub job: Id,
    pub tenant: Id,
    /// Digests.
    pub old: String,
    pub new: String,
    /// While it is running, in parts of a million.
    pub share: u32,
    pub stage: Stage,
    /// Runs that began with the new version go on with the old one.
    pub moved: bool,
    /// Why it stands so, for a person.
    pub why: Option<String>,
    pub began_at: Timestamp,
    pub changed_at: Timestamp,
    pub changed_by: String,
    pub tally: Tally,
}

/// Attempts since it began. What says nothing of a version is not among them: deferred, cancelled, lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub old_done: u64,
    pub old_failed: u64,
    pub new_done: u64,
    pub new_failed: u64,
    /// Failures of the new version since its last success.
    pub in_a_row: u64,
}

impl Rollout {
    /// The digest that an attempt of a run takes. `used` is what the run has used before: it keeps that, unless it was told
    /// to leave the new version. A first attempt is decided by the run's id, so that it is the same wherever it is asked.
    pub fn digest<'a>(&'a self, run: Id, used: Option<&'a str>) -> &'a str {
        match used {
            Some(used) if self.stage == Stage::RolledBack && self.moved && used == self.new => &self.old,
            Some(used) => used,
            None if self.takes(run) => &self.new,
            None => &self.old,
        }
    }

    fn takes(&self, run: Id) -> bool {
        part_of_a_million(run) < self.share_now()
    }

    /// How many of the new runs take the new version now, in parts of a million.
    pub fn share_now(&self) -> u32 {
        match self.stage {
            Stage::Running => self.share,
            Stage::Paused | Stage::RolledBack => 0,
            Stage::Promoted => ALL,
        }
    }

    /// The digest that new runs take, all of them or all but a share.
    pub fn current(&self) -> &str {
        if self.share_now() == ALL { &self.new } else { &self.old }
    }

    /// Why the new version is to be taken back now; `None`: nothing speaks against it.
    ///
    /// Either of two rules. [`IN_A_ROW`] failures in a row while the old version had none. Or Fisher's exact test, one-sided
    /// (R. A. Fisher, *Statistical Methods for Research Workers*, 5th edition 1934, § 21.02): were both versions equally good,
    /// the failures would be spread over all attempts by chance; the probability that the new version gets as many of them as
    /// it did, or more, is the tail of a hypergeometric distribution. Below [`CHANCE`] it is worse. The test is exact for
    /// few attempts, where a comparison of rates by the normal distribution is not.
    pub fn verdict(&self) -> Option<String> {
        let Tally { old_done, old_failed, new_done, new_failed, in_a_row } = self.tally;
        if self.stage != Stage::Running {
            return None;
        }
        if in_a_row >= IN_A_ROW && old_failed == 0 {
            return Some(format!("{in_a_row} failures in a row, and the old version had none in the same time"));
        }
        let (old, new) = (old_done + old_failed, new_done + new_failed);
        if old == 0 || chance(old_failed + new_failed, new, old, new_failed) >= CHANCE {
            return None;
        }
        Some(format!("{new_failed} of {new} attempts failed, of the old version {old_failed} of {old}: that is no accident"))
    }
}

/// Evenly spread over runs, whichever node and millisecond they are from (the finaliser of `SplitMix64`).
fn part_of_a_million(run: Id) -> u32 {
    let mut x = run.0.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((x ^ (x >> 31)) % u64::from(ALL)).unwrap_or(0)
}

/// The probability that of `failed` failures among `new + old` attempts at least `seen` fall on the `new` ones.
fn chance(failed: u64, new: u64, old: u64, seen: u64) -> f64 {
    let ways = |n: u64, k: u64| factorial(n) - factorial(k) - factorial(n - k);
    let all = ways(new + old, failed);
    (seen..=failed.min(new)).filter(|at| failed - at <= old).map(|at| (ways(new, at) + ways(old, failed - at) - all).exp()).sum()
}

/// The logarithm of `n!`: exact for small ones, by Stirling's series for large ones.
#[expect(clippy::cast_precision_loss, reason = "a probability")]
fn factorial(n: u64) -> f64 {
    if n < 256 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let n = n as f64;
    n * n.ln() - n + (2.0 * std::f64::consts::PI * n).ln() / 2.0 + 1.0 / (12.0 * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(stage: Stage, share: u32) -> Rollout {
        Rollout {
            job: Id(1),
            tenant: Id(1),
            old: "old".into(),
            new: "new".into(),
            share,
            stage,
            moved: false,
            why: None,
            began_at: Timestamp(0),
            changed_at: Timestamp(0),
            changed_by: "ann".into(),
            tally: Tally::default(),
        }
    }

    #[test]
    fn a_share_of_the_runs_takes_the_new_version_and_a_run_keeps_what_it_used() {
        let tenth = rollout(Stage::Running, 100_000);
        let taken = (0..100_000).filter(|n| tenth.digest(Id(n * 2_097_152), None) == "new").count();
        assert!((9_500..10_500).contains(&taken), "{taken}");
        assert_eq!(tenth.digest(Id(7), None), tenth.digest(Id(7), None));
        for stage in Stage::ALL {
            let mut one = rollout(stage, ALL);
            let fresh = if matches!(stage, Stage::Running | Stage::Promoted) { "new" } else { "old" };
            assert_eq!(one.digest(Id(7), None), fresh, "{stage:?}");
            assert_eq!((one.digest(Id(7), Some("old")), one.digest(Id(7), Some("new"))), ("old", "new"));
            one.moved = true;
            let kept = if stage == Stage::RolledBack { "old" } else { "new" };
            assert_eq!(one.digest(Id(7), Some("new")), kept, "{stage:?}");
        }
    }

    #[test]
    fn three_failures_in_a_row_take_it_back_unless_the_old_one_fails_too() {
        let mut one = rollout(Stage::Running, ALL);
        one.tally = Tally { new_failed: 2, in_a_row: 2, ..Tally::default() };
        assert_eq!(one.verdict(), None);
        one.tally = Tally { new_failed: 3, in_a_row: 3, ..Tally::default() };
        assert!(one.verdict().unwrap().starts_with("3 failures in a row"));
        one.tally.old_failed = 1;
        assert_eq!(one.verdict(), None, "the target is to blame");
        one.tally.old_failed = 0;
        one.stage = Stage::Paused;
        assert_eq!(one.verdict(), None);
    }

    #[test]
    fn a_clearly_greater_rate_of_failures_takes_it_back() {
        let mut one = rollout(Stage::Running, 100_000);
        for (old_done, old_failed, new_done, new_failed, worse) in [
            (950, 50, 90, 10, false),
            (950, 50, 70, 30, true),
            (990, 10, 97, 3, false),
            (9, 1, 5, 5, false),
            (100, 1, 5, 5, true),
            (50, 50, 5, 5, false),
            (900_000, 100, 99_900, 100, true),
        ] {
            one.tally = Tally { old_done, old_failed, new_done, new_failed, in_a_row: 0 };
            assert_eq!(one.verdict().is_some(), worse, "{:?}", one.tally);
        }
    }

    #[test]
    fn the_test_is_fisher_s() {
        // The lady who tastes tea: all four of eight cups by chance, 1 of 70.
        assert!((chance(4, 4, 4, 4) - 1.0 / 70.0).abs() < 1e-12);
        assert!((chance(4, 4, 4, 3) - 17.0 / 70.0).abs() < 1e-12);
        assert!((factorial(300) - (2..=300).map(|k| f64::from(k).ln()).sum::<f64>()).abs() < 1e-9);
    }
}
