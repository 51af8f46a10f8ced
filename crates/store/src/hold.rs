//! Who needs bytes that no record of the log names yet.

use consortium::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps bytes from being collected as long as it, or a clone, is there. Whoever brings bytes gets one before they
/// have their name, and a command that names them has one until its record is safe; so bytes are always held, or
/// named, or nobody's.
#[derive(Debug)]
pub struct Hold {
    digest: Digest,
    bytes: u64,
    holds: Arc<Holds>,
}

/// How many holds there are of what.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<BTreeMap<Digest, usize>>);

/// Nobody gets a hold while this is there.
pub(crate) struct NoMoreHolds<'a>(MutexGuard<'a, BTreeMap<Digest, usize>>);

impl Holds {
    pub(crate) fn take(self: &Arc<Self>, digest: Digest, bytes: u64) -> Hold {
        *self.lock().entry(digest).or_default() += 1;
        let holds = Arc::clone(self);
        Hold { digest, bytes, holds }
    }

    pub(crate) fn close(&self) -> NoMoreHolds<'_> {
        NoMoreHolds(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NoMoreHolds<'_> {
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}

impl Hold {
    /// Of which bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many they are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.holds.take(self.digest, self.bytes)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.holds.lock();
        if let Some(count) = held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.digest);
            }
        }
    }
}
