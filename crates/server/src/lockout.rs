//! Whoever tries tokens that the hub doesn't know is soon answered no more.

use api::Problem;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Too many unknown tokens from one address within this time lock it out until the window is over. A token has
/// 256 random bits: this keeps noise away, and nobody who guesses was ever near.
const WINDOW: Duration = Duration::from_secs(60);
/// Beyond so many addresses the old ones are dropped; whoever has that many can't be stopped here.
const ADDRESSES: usize = 10_000;

/// Unknown tokens by address.
pub(crate) struct Lockout {
    most: u32,
    tries: Mutex<BTreeMap<IpAddr, Tries>>,
}

#[derive(Clone, Copy)]
struct Tries {
    since: Instant,
    count: u32,
}

impl Lockout {
    /// One that `most` tries from an address set off.
    pub(crate) fn of(most: u32) -> Self {
        Self {
            most,
            tries: Mutex::default(),
        }
    }

    /// Refuses an address that is locked out, also with a token that is known: who guesses isn't told that.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        let locked = |tries: &Tries| tries.count >= self.most && tries.since.elapsed() < WINDOW;
        if !self.tries().get(&address).is_some_and(locked) {
            return Ok(());
        }
        let detail = "too many unknown tokens came from this address";
        Err(Problem::new(429, "locked-out", detail)
            .hint("try again in a minute")
            .retry_after(WINDOW))
    }

    /// Notes an unknown token.
    pub(crate) fn note(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let mut all = self.tries();
        if all.len() >= ADDRESSES {
            all.retain(|_, tries| tries.since.elapsed() < WINDOW);
        }
        let now = Instant::now();
        let tries = all.entry(address).or_insert(Tries { since: now, count: 0 });
        if tries.since.elapsed() >= WINDOW {
            *tries = Tries { since: now, count: 0 };
        }
        tries.count += 1;
    }

    fn tries(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
