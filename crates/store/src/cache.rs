//! What a cache holds, and what goes first when there is too much.

use consortium::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The files of a cache in the order of their last use. It knows names and sizes only.
#[derive(Debug)]
pub(crate) struct Cache {
    /// How many bytes there may be.
    limit: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    /// Of the next use.
    turn: u64,
    files: BTreeMap<Digest, (u64, u64)>,
    by_turn: BTreeMap<u64, Digest>,
}

impl Cache {
    pub(crate) fn new(limit: u64) -> Self {
        let held = Mutex::default();
        Self { limit, held }
    }

    /// A file of so many bytes was used just now.
    pub(crate) fn note(&self, digest: Digest, bytes: u64) {
        let mut held = self.lock();
        held.forget(&digest);
        let turn = held.turn;
        held.turn += 1;
        held.bytes += bytes;
        held.files.insert(digest, (turn, bytes));
        held.by_turn.insert(turn, digest);
    }

    /// A file isn't there any more.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.lock().forget(digest);
    }

    /// If there is too much, what was used longest ago besides what is `kept`. What was used last is never too much.
    pub(crate) fn surplus(&self, kept: &BTreeSet<Digest>) -> Option<Digest> {
        let held = self.lock();
        if held.bytes <= self.limit {
            return None;
        }
        let mut older = held.by_turn.values().take(held.by_turn.len().saturating_sub(1));
        older.find(|digest| !kept.contains(digest)).copied()
    }

    /// All statements under this lock leave it whole.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn forget(&mut self, digest: &Digest) {
        if let Some((turn, bytes)) = self.files.remove(digest) {
            self.by_turn.remove(&turn);
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let digest = |n: u8| Digest([n; 32]);
        let cache = Cache::new(10);
        (1..=3).for_each(|n| cache.note(digest(n), 4));
        let none = BTreeSet::new();
        assert_eq!(cache.surplus(&none), Some(digest(1)));
        cache.note(digest(1), 4);
        assert_eq!(cache.surplus(&none), Some(digest(2)));
        assert_eq!(cache.surplus(&[digest(2)].into()), Some(digest(3)));
        cache.forget(&digest(2));
        assert_eq!(cache.surplus(&none), None);
        cache.note(digest(4), 40);
        assert_eq!(cache.surplus(&none), Some(digest(3)));
        cache.forget(&digest(3));
        cache.forget(&digest(1));
        assert_eq!(cache.surplus(&none), None, "the last one stays, however large");
    }
}
