//! Things that are made when they are first asked for, and forgotten when there are too many: never one that is in use, and
//! an open one only when it is its own tenant that invents them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// So many are remembered without a look at what could be forgotten.
const USUAL: usize = 4_096;
/// So many that are open can only be one tenant's doing.
const FLOOD: usize = 4 * USUAL;

pub struct Remembered<K, V> {
    /// With the tenant that asked first.
    known: HashMap<K, (Arc<str>, Arc<V>)>,
    /// So many are looked through.
    sweep_at: usize,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), sweep_at: USUAL }
    }
}

impl<K: Clone + Eq + Hash, V> Remembered<K, V> {
    /// The thing under this key, made when it is not there.
    pub fn get(&mut self, tenant: &Arc<str>, key: &K, is_open: impl Fn(&V) -> bool, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some((_, standing)) = self.known.get(key) {
            return Arc::clone(standing);
        }
        if self.known.len() >= self.sweep_at {
            self.sweep(is_open);
        }
        let made = Arc::new(make());
        self.known.insert(key.clone(), (Arc::clone(tenant), Arc::clone(&made)));
        made
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    fn sweep(&mut self, is_open: impl Fn(&V) -> bool) {
        self.known.retain(|_, (_, one)| is_used(one) || is_open(one));
        if self.known.len() >= FLOOD
            && let Some(flooding) = self.most()
        {
            self.known.retain(|_, (of, one)| is_used(one) || *of != flooding);
        }
        // Not at each new one, however many have to stay.
        self.sweep_at = USUAL.max(2 * self.known.len());
    }

    /// The tenant with the most that nobody uses.
    fn most(&self) -> Option<Arc<str>> {
        let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
        for (of, _) in self.known.values().filter(|(_, one)| !is_used(one)) {
            *counts.entry(of).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(of, _)| Arc::clone(of))
    }
}

fn is_used<V>(one: &Arc<V>) -> bool {
    Arc::strong_count(one) > 1
}
