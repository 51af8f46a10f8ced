//! How often one account may ask: so that a loop gone wild at one member leaves the hub to the others.

use api::Problem;
use consortium::Actor;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who was silent for a while may ask for so long's worth at once.
const BURST: Duration = Duration::from_secs(10);
/// Beyond so many accounts those are forgotten that have their whole burst again.
const ACCOUNTS: usize = 10_000;

/// A bucket for each account, as in the generic cell rate algorithm (ITU-T I.371): all that is kept is when the
/// requests so far would have come, had they come evenly.
pub(crate) struct Rate {
    /// Between two requests; none is no limit.
    apart: Option<Duration>,
    due: Mutex<BTreeMap<String, Instant>>,
}

impl Rate {
    /// So many requests a second from each account; 0 is no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            apart: Duration::from_secs(1).checked_div(per_second),
            due: Mutex::default(),
        }
    }

    /// Counts a request of `actor`, or refuses it: then it doesn't count.
    pub(crate) fn take(&self, actor: &Actor, now: Instant) -> Result<(), Problem> {
        let Some(apart) = self.apart else { return Ok(()) };
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ACCOUNTS {
            all.retain(|_, due| *due > now);
        }
        let due = all.entry(actor.to_string()).or_insert(now);
        let next = (*due).max(now) + apart;
        let early = next.duration_since(now).saturating_sub(BURST);
        if early.is_zero() {
            *due = next;
            return Ok(());
        }
        let detail = format!("too many requests came from {actor}");
        Err(Problem::new(429, "too-many-requests", detail)
            .hint("ask less often, and for more at once where a list takes `?limit=`")
            .retry_after(early))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_rate_and_a_burst_and_nobody_pays_for_another() {
        let rate = Rate::new(100);
        let (minji, jun) = (
            Actor::Person("minji".parse().unwrap()),
            Actor::Person("jun".parse().unwrap()),
        );
        let began = Instant::now();
        let taken = |actor: &Actor, now| (0..5_000).filter(|_| rate.take(actor, now).is_ok()).count();
        assert_eq!(taken(&minji, began), 1_000);
        assert_eq!(taken(&jun, began), 1_000);
        let no = rate.take(&minji, began).unwrap_err();
        assert_eq!((no.status, no.retry_after_s), (429, Some(1)));
        assert_eq!(taken(&minji, began + Duration::from_secs(1)), 100);
        assert_eq!(taken(&minji, began + Duration::from_secs(60)), 1_000);
        let none = Rate::new(0);
        assert!((0..5_000).all(|_| none.take(&minji, began).is_ok()));
    }
}
