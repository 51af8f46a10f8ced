//! The outlook of the queue, which all who ask for the queue or an explanation share: to make one, every active job is looked
//! at. It is made anew when an event has moved the queue, or when it is a second old.

use consortium::explain::Outlook;
use consortium::{Event, State, Time};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use store::Entry;

/// How old one may become: what is awarded goes by minutes and more.
const KEPT_MILLIS: u64 = 1_000;

/// The last one that was made, and how often the queue had been moved by then.
#[derive(Default)]
pub(crate) struct Outlooks {
    moves: AtomicU64,
    last: Mutex<Option<(u64, Arc<Outlook>)>>,
}

impl Outlooks {
    /// Readers see the entries from now on; while this is told, none reads.
    pub(crate) fn follow(&self, entries: &[Entry]) {
        let mut events = entries.iter().flat_map(|entry| &entry.events);
        if events.any(Event::moves_the_queue) {
            self.moves.fetch_add(1, Ordering::Release);
        }
    }

    /// The queue as it is in what readers see now. Who comes while one is made waits for it.
    pub(crate) fn of(&self, state: &State, now: Time) -> Arc<Outlook> {
        let moves = self.moves.load(Ordering::Acquire);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |(then, outlook): &&(u64, Arc<Outlook>)| {
            *then == moves && now.since(outlook.at()) < KEPT_MILLIS && outlook.at() <= now
        };
        if let Some((_, outlook)) = last.as_ref().filter(serves) {
            return Arc::clone(outlook);
        }
        let outlook = Arc::new(Outlook::new(state, now));
        *last = Some((moves, Arc::clone(&outlook)));
        outlook
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consortium::Actor;

    fn entry(event: Event) -> [Entry; 1] {
        [Entry {
            actor: Actor::Hub,
            at: Time(0),
            events: vec![event],
        }]
    }

    #[test]
    fn one_is_kept_until_the_queue_moves_or_a_second_is_over() {
        let (outlooks, state) = (Outlooks::default(), State::default());
        let first = outlooks.of(&state, Time(10_000));
        let same = |at| Arc::ptr_eq(&first, &outlooks.of(&state, Time(at)));
        assert!(same(10_999));
        outlooks.follow(&entry(Event::Appropriated {
            year: 2026,
            won: consortium::Won(1),
        }));
        assert!(same(10_999), "money that nobody was awarded moves nothing");
        outlooks.follow(&entry(Event::PolicyAdopted { text: String::new() }));
        assert!(!same(10_999));

        let second = outlooks.of(&state, Time(10_999));
        let same = |at| Arc::ptr_eq(&second, &outlooks.of(&state, Time(at)));
        assert!(same(11_998));
        assert!(!same(11_999), "it is a second old");
        assert!(!same(10_000), "a clock may be set back");
    }
}
