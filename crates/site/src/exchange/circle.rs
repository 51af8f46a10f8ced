use api::Orders;
use consortium::{Contact, JobId, SiteId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the hub's last word on who is in a job holds.
const LEASE: Duration = Duration::from_secs(60);

/// Whom a site hands what its jobs' sites share: those that the hub named as sites of the same job, as long as the hub was
/// heard lately. A site that the hub has put out of a job gets nothing from one that the hub can't tell of it.
///
/// ```
/// use site::Circle;
/// use std::time::Duration;
///
/// let mut circle = Circle::default();
/// circle.hear(Some(&api::Orders::default()), Duration::ZERO);
/// assert!(!circle.hands(consortium::JobId(1), &"busan-1".parse()?, Duration::ZERO)); // it is in no job here
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Circle {
    heard: Option<Duration>,
    jobs: BTreeMap<JobId, BTreeMap<SiteId, Contact>>,
}

impl Circle {
    /// The hub said what there is to do; or that it is as before. It was `asked` then: however long its answer took, that
    /// is no older.
    pub fn hear(&mut self, orders: Option<&Orders>, asked: Duration) {
        self.heard = Some(asked);
        if let Some(orders) = orders {
            let jobs = orders.jobs.iter();
            self.jobs = jobs.map(|job| (job.id, job.peers.clone())).collect();
        }
    }

    /// Whether `site` may have what is here of the job.
    pub fn hands(&self, job: JobId, site: &SiteId, now: Duration) -> bool {
        let lately = self.heard.is_some_and(|heard| now.saturating_sub(heard) <= LEASE);
        lately && self.contact(job, site).is_some()
    }

    /// How another site of the job is known.
    pub(super) fn contact(&self, job: JobId, site: &SiteId) -> Option<&Contact> {
        self.jobs.get(&job)?.get(site)
    }

    /// The site whose certificate that is, in base64.
    pub(super) fn bearer(&self, certificate: &str) -> Option<&SiteId> {
        let mut sites = self.jobs.values().flatten();
        let site = sites.find(|(_, contact)| contact.certificate == certificate);
        site.map(|(site, _)| site)
    }

    pub(super) fn is_in(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::tests::job;

    #[test]
    fn the_hubs_word_on_who_is_in_a_job_holds_for_a_minute() {
        let (busan, fjord): (SiteId, SiteId) = ("busan-1".parse().unwrap(), "fjord-1".parse().unwrap());
        let contact = |certificate: &str| Contact {
            certificate: certificate.into(),
            address: None,
        };
        let mut ours = job(0);
        ours.peers = BTreeMap::from([(busan.clone(), contact("b")), (fjord.clone(), contact("f"))]);
        let mut circle = Circle::default();
        let second = Duration::from_secs(1);
        assert!(!circle.hands(ours.id, &busan, second), "nothing was heard");
        circle.hear(
            Some(&Orders {
                jobs: vec![ours.clone()],
            }),
            second,
        );
        assert!(circle.hands(ours.id, &busan, 61 * second));
        assert!(!circle.hands(ours.id, &busan, 62 * second), "that was long ago");
        assert!(!circle.hands(JobId(7), &busan, second), "it is another job's");
        circle.hear(None, 62 * second);
        assert!(circle.hands(ours.id, &fjord, 100 * second));
        assert_eq!(circle.bearer("f"), Some(&fjord));
        ours.peers.remove(&fjord);
        circle.hear(
            Some(&Orders {
                jobs: vec![ours.clone()],
            }),
            100 * second,
        );
        assert!(!circle.hands(ours.id, &fjord, 100 * second), "it was put out");
        assert_eq!(circle.bearer("f"), None);
        assert!(circle.hands(ours.id, &busan, 100 * second));
    }
}
