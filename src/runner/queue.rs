//! Ids in the order of a key that changes.

use std::collections::{BTreeSet, HashMap};

use crate::id::Id;

/// The least key is first; of equal keys, who was put first.
#[derive(Debug)]
pub struct Queue<K> {
    order: BTreeSet<(K, u64, Id)>,
    places: HashMap<Id, (K, u64)>,
    puts: u64,
}

impl<K: Ord + Copy> Queue<K> {
    /// Puts it in, or moves it: behind all of the same key.
    pub fn put(&mut self, id: Id, key: K) {
        self.remove(id);
        self.puts += 1;
        self.order.insert((key, self.puts, id));
        self.places.insert(id, (key, self.puts));
    }

    pub fn remove(&mut self, id: Id) {
        if let Some((key, put)) = self.places.remove(&id) {
            self.order.remove(&(key, put, id));
        }
    }

    pub fn first(&self) -> Option<(K, Id)> {
        self.order.first().map(|(key, _, id)| (*key, *id))
    }

    pub fn contains(&self, id: Id) -> bool {
        self.places.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), places: HashMap::new(), puts: 0 }
    }
}
