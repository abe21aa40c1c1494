//! What items make of their run: whether an attempt has done its work, and how the run ends.

use super::{ItemCounts, ItemState, listed, of_items};
use crate::domain::attempt::{Class, Outcome};
use crate::domain::job::{ItemsSpec, Order};
use crate::domain::retry::Decision;
use crate::domain::run::{Final, Reason};

/// What the items that are still open come to, when their run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    pub state: ItemState,
    pub message: String,
    /// In a strict order the run died of the first that is open: those behind it are skipped.
    pub in_order: bool,
}

/// How a run with items goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub decision: Decision,
    /// Set when items are open that have no further chance.
    pub closing: Option<Closing>,
    /// As they are when it is so.
    pub counts: ItemCounts,
}

/// A guest that ended well but left items open has not done its work: it gets another attempt at them.
pub fn unless_left_open(outcome: Outcome, counts: &ItemCounts, spec: &ItemsSpec) -> Outcome {
    match outcome {
        Outcome::Succeeded { .. } if counts.open() > 0 && !spec.are_handed_out() => Outcome::failed(
            Class::Transient,
            format!("it ended with {} of {} still open", counts.open(), of_items(counts.total())),
        ),
        outcome => outcome,
    }
}

/// What the attempt's decision means for a run with items. `why` says what happened to it last.
pub fn judge(decision: Decision, counts: ItemCounts, spec: &ItemsSpec, why: &str) -> Verdict {
    let same = |decision| Verdict { decision, closing: None, counts };
    let Decision::End(end) = decision else { return same(decision) };
    if counts.total() == 0 {
        return same(decision);
    }
    let close = |state, message: String| (counts.open() > 0).then_some(Closing { state, message, in_order: false });
    match end {
        Final::Succeeded if counts.open() > 0 && spec.are_handed_out() => same(Decision::Outside),
        Final::Succeeded => same(by_counts(&counts, spec)),
        Final::Cancelled => {
            Verdict { decision, closing: close(ItemState::Skipped, why.to_owned()), counts: counts.closed(ItemState::Skipped) }
        }
        Final::Dead(reason) => {
            let strict = spec.order == Order::Strict && counts.open() > 0;
            let closed = if strict { of_the_first(&counts) } else { counts.closed(ItemState::Failed) };
            let gave_up = matches!(reason, Reason::AttemptsSpent | Reason::TotalLimit | Reason::LostTooOften);
            // With nothing open it is not the items that the run died of.
            let decision = if gave_up && counts.open() > 0 { by_counts(&closed, spec) } else { decision };
            let closing = if strict {
                Some(Closing { state: ItemState::Failed, message: why.to_owned(), in_order: true })
            } else {
                close(ItemState::Failed, format!("lost: {why}"))
            };
            Verdict { decision, closing, counts: closed }
        }
    }
}

/// When the first that is open fails, and the others are skipped for it.
fn of_the_first(counts: &ItemCounts) -> ItemCounts {
    let skipped = counts.skipped + counts.open() - 1;
    ItemCounts { failed: counts.failed + 1, skipped, pending: 0, running: 0, ..*counts }
}

fn by_counts(counts: &ItemCounts, spec: &ItemsSpec) -> Decision {
    let failed = counts.share_failed() > spec.threshold();
    Decision::End(if failed { Final::Dead(Reason::ItemsFailed) } else { Final::Succeeded })
}

/// Names of what a run's end has to tell, in the order of the items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub failed: Vec<String>,
    /// Open when the run ended.
    pub lost: Vec<String>,
}

impl Verdict {
    /// The run's message: what the attempt said, and which items it concerns. `None`: what was said is enough.
    pub fn message(&self, said: &str, names: &Names) -> Option<String> {
        let Decision::End(end) = self.decision else { return None };
        let total = of_items(self.counts.total());
        let lost = match (&self.closing, names.lost.len()) {
            (Some(Closing { state: ItemState::Failed, in_order: false, .. }), n @ 1..) => {
                format!("lost {n} of {total}: {}", listed(&names.lost))
            }
            _ => String::new(),
        };
        let of_order = self.closing.as_ref().filter(|closing| closing.in_order).and(names.lost.first());
        let names: Vec<String> = names.failed.iter().chain(of_order).cloned().collect();
        let failed = match names.len() {
            0 => String::new(),
            n => format!("{n} of {total} failed: {}", listed(&names)),
        };
        let told: Vec<&str> = [failed.as_str(), lost.as_str()].into_iter().filter(|text| !text.is_empty()).collect();
        match end {
            _ if told.is_empty() => None,
            Final::Succeeded if lost.is_empty() => None,
            Final::Dead(Reason::ItemsFailed) | Final::Succeeded => Some(told.join("; ")),
            Final::Dead(_) => Some(format!("{said}; {}", told.join("; "))),
            Final::Cancelled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(done: u64, failed: u64, pending: u64) -> ItemCounts {
        ItemCounts { pending, done, failed, ..ItemCounts::default() }
    }

    fn end(reason: Option<Reason>) -> Decision {
        Decision::End(reason.map_or(Final::Succeeded, Final::Dead))
    }

    #[test]
    fn a2_half_failed_is_success_and_more_is_not() {
        let spec = ItemsSpec::default();
        let spent = |counts| judge(end(Some(Reason::AttemptsSpent)), counts, &spec, "timed out").decision;
        assert_eq!(spent(counts(17, 0, 3)), end(None));
        assert_eq!(spent(counts(10, 10, 0)), end(Some(Reason::AttemptsSpent)), "nothing was open: it died of something else");
        assert_eq!(spent(counts(10, 9, 1)), end(None), "half is not more than half");
        assert_eq!(spent(counts(9, 9, 2)), end(Some(Reason::ItemsFailed)));
        assert_eq!(judge(end(None), counts(9, 11, 0), &spec, "").decision, end(Some(Reason::ItemsFailed)));
        assert_eq!(judge(end(None), counts(10, 10, 0), &spec, "").decision, end(None));
    }

    #[test]
    fn t5_in_a_strict_order_the_first_that_is_open_is_what_it_died_of() {
        let spec = ItemsSpec { order: Order::Strict, ..ItemsSpec::default() };
        let verdict = judge(end(Some(Reason::AttemptsSpent)), counts(8, 0, 9), &spec, "no answer in time");
        assert_eq!(
            (verdict.counts.failed, verdict.counts.skipped, verdict.decision.clone()),
            (1, 8, end(Some(Reason::ItemsFailed)))
        );
        let closing = verdict.closing.clone().unwrap();
        assert_eq!((closing.message.as_str(), closing.in_order), ("no answer in time", true));
        let names = Names { failed: Vec::new(), lost: vec!["step-09".into(), "step-10".into()] };
        assert_eq!(verdict.message("no answer in time", &names).unwrap(), "1 of 17 items failed: step-09");
    }

    #[test]
    fn a3_failed_and_lost_are_counted_once() {
        let verdict = judge(end(Some(Reason::AttemptsSpent)), counts(15, 3, 2), &ItemsSpec::default(), "timed out");
        assert_eq!((verdict.counts.failed, verdict.counts.open(), verdict.counts.total()), (5, 0, 20));
        let (failed, lost) = (vec!["a".into(), "b".into(), "c".into()], vec!["d".into(), "e".into()]);
        let message = verdict.message("timed out", &Names { failed, lost }).unwrap();
        assert_eq!(message, "3 of 20 items failed: a, b, c; lost 2 of 20 items: d, e");
    }

    #[test]
    fn a6_ten_names_and_how_many_more() {
        let names: Vec<String> = (2868..2884).map(|id| id.to_string()).collect();
        let said = listed(&names);
        assert!(said.starts_with("2868, 2869") && said.ends_with("2877 … and 6 more") && !said.contains("2883"), "{said}");
        assert_eq!(listed(&names[..2]), "2868, 2869");
    }
}
