//! How fast a site may send and take, link by link.

use consortium::SiteId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast a site's links may be used, in bits a second each way; none is as fast as they go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    /// The link to the hub.
    pub hub: Option<f64>,
    /// The links to some sites.
    pub sites: BTreeMap<SiteId, f64>,
    /// Those to all others.
    pub others: Option<f64>,
}

impl Rates {
    pub(super) fn of(&self, site: &SiteId) -> Option<f64> {
        self.sites.get(site).copied().or(self.others)
    }
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    lane: Mutex<Lane>,
}

impl Pace {
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            began: Instant::now(),
            lane: Mutex::new(Lane {
                rate,
                free: Duration::ZERO,
            }),
        }
    }

    /// Takes so many bytes' time; returns how long to wait before they may go.
    pub(crate) fn take(&self, bytes: u64) -> Duration {
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        lane.take(bytes, self.began.elapsed())
    }
}

/// What goes on a link, one after the other.
#[derive(Debug)]
struct Lane {
    /// Bits a second.
    rate: f64,
    /// When what was let on it is through.
    free: Duration,
}

impl Lane {
    fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let wait = self.free.saturating_sub(now);
        let through = bytes as f64 * 8.0 / self.rate;
        self.free = self.free.max(now) + Duration::from_secs_f64(through.min(1e9));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_time_that_the_rate_gives_them() {
        let mut lane = Lane {
            rate: 8_000.0,
            free: Duration::ZERO,
        };
        let second = Duration::from_secs(1);
        assert_eq!(lane.take(1_000, Duration::ZERO), Duration::ZERO);
        assert_eq!(lane.take(500, Duration::ZERO), second);
        assert_eq!(lane.take(500, second), second / 2);
        // Time in which nothing went is not made up for.
        assert_eq!(lane.take(1_000, 100 * second), Duration::ZERO);
        assert_eq!(lane.take(1, 100 * second), second);
    }

    #[test]
    fn each_site_has_its_own_rate_or_that_of_all() {
        let busan = "busan-1".parse().unwrap();
        let rates = Rates {
            others: Some(2.0),
            sites: BTreeMap::from([(busan, 1.0)]),
            hub: None,
        };
        assert_eq!(rates.of(&"busan-1".parse().unwrap()), Some(1.0));
        assert_eq!(rates.of(&"seoul-1".parse().unwrap()), Some(2.0));
        assert_eq!(Rates::default().of(&"seoul-1".parse().unwrap()), None);
    }
}
