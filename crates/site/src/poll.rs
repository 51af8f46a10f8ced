//! Fetches the orders: one request is always open at the hub, which answers when there is something new.
//! That open request is also how the hub knows that the site is there.

use crate::edge::Word;
use crate::exchange::Exchange;
use crate::machine::Heard;
use api::{ApiError, Client};
use consortium::SiteId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How long a request stays open.
const WAIT: Duration = Duration::from_secs(20);
/// How long a hub that can't be reached is left alone, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

pub(crate) struct Poller {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The first round that the site wants to hear of.
    from: AtomicU32,
    /// Whether the next request takes any orders for new.
    refresh: AtomicBool,
}

impl Poller {
    pub(crate) fn start(client: Client, site: SiteId, exchange: Arc<Exchange>, tell: Sender<Word>) -> Self {
        let shared = Arc::new(Shared::default());
        let polling = Arc::clone(&shared);
        std::thread::spawn(move || poll(&client, &site, &exchange, &tell, &polling));
        Self { shared }
    }

    /// Rounds before `from` are applied and need not be told again.
    pub(crate) fn wants(&self, from: u32) {
        self.shared.from.store(from, Ordering::Relaxed);
    }

    /// The next request gets the orders even if they are the known ones.
    pub(crate) fn refresh(&self) {
        self.shared.refresh.store(true, Ordering::Relaxed);
    }
}

/// Ends when the site has, or when the hub refuses for good.
fn poll(client: &Client, site: &SiteId, exchange: &Exchange, tell: &Sender<Word>, shared: &Shared) {
    let mut known = String::new();
    let mut pause = PAUSES.0;
    loop {
        if shared.refresh.swap(false, Ordering::Relaxed) {
            known.clear();
        }
        let asked = exchange.now();
        let word = match client.orders(site, shared.from.load(Ordering::Relaxed), &known, WAIT) {
            Ok(orders) => {
                pause = PAUSES.0;
                exchange.hear(orders.as_ref().map(|(_, orders)| orders), asked);
                let Some((tag, orders)) = orders else { continue };
                known = tag;
                Word::Heard(Heard::Orders(orders))
            }
            Err(error @ ApiError::Refused(_)) if error.status().is_some_and(|status| status < 500) => {
                Word::Refused(error)
            }
            Err(_) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        let last = matches!(word, Word::Refused(_));
        if tell.send(word).is_err() || last {
            return;
        }
    }
}
