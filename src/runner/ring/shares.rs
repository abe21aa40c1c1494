//! Who has had least worker time is next: tenants in the ring, and jobs of one priority among those of their tenant.

use std::collections::HashMap;

use crate::id::Id;
use crate::runner::queue::Queue;

#[derive(Debug, Default)]
pub struct Shares {
    /// Those that may have work, by what they have had.
    turn: Queue<i128>,
    /// The same of all, in turn or not.
    had: HashMap<Id, i128>,
    /// What the last one that was next had had: who comes later is owed nothing from before.
    floor: i128,
}

impl Shares {
    /// It may have work. Nobody is owed for what it did not want, or could not take.
    pub fn add(&mut self, id: Id) {
        if !self.turn.contains(id) {
            let had = self.had.entry(id).or_default();
            *had = (*had).max(self.floor);
            self.turn.put(id, *had);
        }
    }

    /// It has no work, or can have nothing now; what it has had is remembered.
    pub fn remove(&mut self, id: Id) {
        self.turn.remove(id);
    }

    /// Who is next; to be asked only when it can be given something, for who comes later begins where this one stands.
    pub fn least(&mut self) -> Option<Id> {
        let (had, id) = self.turn.first()?;
        self.floor = self.floor.max(had);
        Some(id)
    }

    pub fn contains(&self, id: Id) -> bool {
        self.turn.contains(id)
    }

    pub fn len(&self) -> usize {
        self.turn.len()
    }

    pub fn is_empty(&self) -> bool {
        self.turn.is_empty()
    }

    /// Charges it for so many runs at once.
    pub fn take(&mut self, id: Id, charge: i128, runs: u32) {
        self.charge(id, charge * i128::from(runs));
        // Where it would stand had they been taken one by one.
        let last = self.had.get(&id).copied().unwrap_or_default() - charge;
        self.floor = self.turn.first().map_or(last, |(next, _)| next.min(last)).max(self.floor);
    }

    pub fn charge(&mut self, id: Id, more: i128) {
        let had = self.had.entry(id).or_default();
        *had += more;
        if more < 0 {
            // Behind whoever comes new.
            *had = (*had).max(self.floor + 1);
        }
        if self.turn.contains(id) {
            self.turn.put(id, *had);
        }
    }
}
