//! Whose turn it is: deficit round robin over tenants by weight, and over a tenant's jobs in turn. In memory; what it
//! knows of work are hints from commits, and what it counts are the leases this node holds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id::Id;

#[derive(Debug, Default)]
pub struct Ring {
    /// Tenants that may have work, in turn.
    turn: VecDeque<Id>,
    tenants: BTreeMap<Id, Share>,
    running: HashMap<Id, u32>,
}

#[derive(Debug, Default)]
struct Share {
    lanes: VecDeque<Id>,
    /// Runs it may still take before the turn goes on; negative after it took more.
    credit: u32,
}

/// What limits a tenant's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub weight: u32,
    /// Runs of the tenant that may run at a time.
    pub running: u32,
}

impl Ring {
    /// The job has got work.
    pub fn add(&mut self, tenant: Id, job: Id) {
        let share = self.tenants.entry(tenant).or_default();
        if share.lanes.is_empty() {
            self.turn.push_back(tenant);
        }
        if !share.lanes.contains(&job) {
            share.lanes.push_back(job);
        }
    }

    pub fn started(&mut self, tenant: Id, runs: u32) {
        *self.running.entry(tenant).or_default() += runs;
    }

    pub fn ended(&mut self, tenant: Id, runs: u32) {
        if let Some(running) = self.running.get_mut(&tenant) {
            *running = running.saturating_sub(runs);
        }
    }

    /// The job has no work left, as far as a claim saw.
    pub fn empty(&mut self, tenant: Id, job: Id) {
        if let Some(share) = self.tenants.get_mut(&tenant) {
            share.lanes.retain(|lane| *lane != job);
            if share.lanes.is_empty() {
                share.credit = 0;
                self.turn.retain(|turn| *turn != tenant);
            }
        }
    }

    /// Up to `slots` runs: which jobs to claim from, how many of each. Each tenant with work gets its weight's share of
    /// the slots before the turn goes on; a tenant at its limit is passed over. `open` tells whether runs of a job may be
    /// claimed here: not paused, plugin loaded.
    pub fn choose(&mut self, slots: u32, rule: impl Fn(Id) -> Rule, open: impl Fn(Id) -> bool) -> Vec<(Id, Id, u32)> {
        let mut chosen: Vec<(Id, Id, u32)> = Vec::new();
        let mut taken: HashMap<Id, u32> = HashMap::new();
        let weights: u32 = self.turn.iter().map(|tenant| rule(*tenant).weight.max(1)).sum();
        let mut left = slots;
        // Each round passes every tenant once; a round in which nobody may take anything ends it.
        while left > 0 && !self.turn.is_empty() {
            let before = left;
            for _ in 0..self.turn.len() {
                let Some(tenant) = self.turn.pop_front() else { break };
                self.turn.push_back(tenant);
                let Rule { weight, running } = rule(tenant);
                let room = running
                    .saturating_sub(self.running.get(&tenant).copied().unwrap_or(0) + taken.get(&tenant).copied().unwrap_or(0));
                let Some(share) = self.tenants.get_mut(&tenant) else { continue };
                share.credit += (slots * weight.max(1)).div_ceil(weights.max(1));
                let lanes: Vec<Id> = share.lanes.iter().copied().filter(|job| open(*job)).collect();
                let most = share.credit.min(room).min(left);
                if lanes.is_empty() || most == 0 {
                    share.credit = 0;
                    continue;
                }
                let each = most.div_ceil(u32::try_from(lanes.len()).unwrap_or(u32::MAX));
                let mut rest = most;
                for job in lanes {
                    let n = each.min(rest);
                    if n == 0 {
                        break;
                    }
                    rest -= n;
                    match chosen.iter_mut().find(|(_, lane, _)| *lane == job) {
                        Some((_, _, count)) => *count += n,
                        None => chosen.push((tenant, job, n)),
                    }
                }
                share.lanes.rotate_left(1);
                share.credit -= most;
                *taken.entry(tenant).or_default() += most;
                left -= most;
                if left == 0 {
                    break;
                }
            }
            if left == before {
                break;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(running: u32) -> impl Fn(Id) -> Rule {
        move |tenant| Rule { weight: if tenant == Id(3) { 3 } else { 1 }, running }
    }

    fn open(job: Id) -> bool {
        job != Id(99)
    }

    fn of(chosen: &[(Id, Id, u32)], tenant: i64) -> u32 {
        chosen.iter().filter(|(t, _, _)| *t == Id(tenant)).map(|(_, _, n)| n).sum()
    }

    #[test]
    fn tenants_share_by_weight_whatever_they_have_waiting() {
        let mut ring = Ring::default();
        for tenant in 1..=3 {
            ring.add(Id(tenant), Id(tenant * 10));
        }
        let chosen = ring.choose(100, rule(1_000), open);
        assert_eq!((of(&chosen, 1), of(&chosen, 2), of(&chosen, 3)), (20, 20, 60));
        assert_eq!(chosen.iter().map(|(_, _, n)| n).sum::<u32>(), 100);
    }

    #[test]
    fn a_tenant_at_its_limit_leaves_its_slots_to_others() {
        let mut ring = Ring::default();
        ring.add(Id(1), Id(10));
        ring.add(Id(2), Id(20));
        ring.started(Id(1), 8);
        let chosen = ring.choose(20, rule(10), open);
        assert_eq!((of(&chosen, 1), of(&chosen, 2)), (2, 10));
        ring.ended(Id(1), 8);
        assert_eq!(of(&ring.choose(20, rule(10), open), 1), 10);
    }

    #[test]
    fn with_one_slot_everybody_has_a_turn() {
        let mut ring = Ring::default();
        for tenant in 1..=4 {
            ring.add(Id(tenant), Id(tenant * 10));
        }
        let mut seen: Vec<i64> = (0..4).flat_map(|_| ring.choose(1, rule(100), open)).map(|(tenant, _, _)| tenant.0).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4]);
    }

    #[test]
    fn a_closed_job_is_not_chosen_and_an_empty_one_is_forgotten() {
        let mut ring = Ring::default();
        ring.add(Id(1), Id(99));
        assert!(ring.choose(5, rule(100), open).is_empty());
        ring.add(Id(1), Id(10));
        ring.add(Id(1), Id(10));
        assert_eq!(ring.choose(5, rule(100), open), [(Id(1), Id(10), 5)]);
        ring.empty(Id(1), Id(10));
        assert!(ring.choose(5, rule(100), open).is_empty());
    }
}
