//! A node that has stopped taking one job, while others take it: it looks well by everything else (scenario V5).

use std::collections::{HashMap, HashSet};

use crate::clock::Timestamp;
use crate::id::Id;

/// Fewer ends than this for each node that takes the job tell nothing: who takes a run is chance.
const ENOUGH: u64 = 10;

/// What a node did of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub tenant: Id,
    pub job: Id,
    pub node: i64,
    /// Attempts that ended lately, however.
    pub lately: u64,
    /// The minute in which a run last succeeded.
    pub last_success: Option<Timestamp>,
}

/// Shares of nodes that took a job before and nothing of it lately, while others did, each with why it stands apart. `busy`: what
/// a node works on now, which will end.
pub fn apart<'a>(shares: &'a [Share], busy: &HashSet<(Id, i64)>) -> Vec<(&'a Share, String)> {
    let mut all: HashMap<Id, u64> = HashMap::new();
    for share in shares {
        *all.entry(share.job).or_default() += share.lately;
    }
    let mut takers: HashMap<Id, u64> = HashMap::new();
    let mut active: HashSet<i64> = HashSet::new();
    for share in shares {
        *takers.entry(share.job).or_default() += 1;
        if share.lately > 0 {
            active.insert(share.node);
        }
    }
    // It works on something long and ends nothing of any job: it is full, not apart.
    let full = |node: i64| !active.contains(&node) && busy.iter().any(|(_, of)| *of == node);
    let few = |job: Id| all[&job] < ENOUGH * takers[&job];
    let idle =
        |share: &&Share| share.lately == 0 && !few(share.job) && !busy.contains(&(share.job, share.node)) && !full(share.node);
    let told = |share: &'a Share| {
        let last = share.last_success.map_or("not of the last hour".to_owned(), |at| at.utc().format("of %H:%M UTC").to_string());
        let others = all[&share.job];
        let why = format!(
            "node {} has stopped taking it: others have just ended {others} of it, its last success is {last}",
            share.node
        );
        (share, why)
    };
    shares.iter().filter(idle).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(node: i64, lately: u64) -> Share {
        Share { tenant: Id(1), job: Id(2), node, lately, last_success: Some(Timestamp(0)) }
    }

    #[test]
    fn v5_who_takes_nothing_while_others_do_stands_apart() {
        let nobody = HashSet::new();
        let shares = [share(1, 0), share(2, 40)];
        let found = apart(&shares, &nobody);
        assert_eq!(found.iter().map(|(share, _)| share.node).collect::<Vec<_>>(), [1]);
        assert!(found[0].1.contains("others have just ended 40 of it, its last success is of 00:00"), "{}", found[0].1);
        assert!(apart(&shares, &HashSet::from([(Id(2), 1)])).is_empty(), "it works on one");
        assert!(apart(&[share(1, 0), share(2, 3)], &nobody).is_empty(), "too few to tell");
        assert!(apart(&[share(1, 0), share(2, 14), share(3, 14)], &nobody).is_empty(), "too few for three nodes");
        assert!(apart(&shares, &HashSet::from([(Id(7), 1)])).is_empty(), "it is full of something long");
        assert!(apart(&[share(1, 1), share(2, 40)], &nobody).is_empty());
    }
}
