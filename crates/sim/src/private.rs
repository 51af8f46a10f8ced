//! What must hold in a private job, by books of its own: of a site's masks in a round either its own or those it shares are
//! lifted, never both; a sum is of three updates or of none; and no two updates of a site are under the same masks. What
//! comes out is what the updates come to that the masks were put on, which only a simulator can know.

use crate::disk::Bytes;
use consortium::{Codec, Event, Interval, JobId, Rejection, SiteId};
use std::collections::{BTreeMap, BTreeSet};
use sync::Update;
use sync::private::{mask, sum};

#[derive(Default)]
pub(crate) struct Privacy {
    jobs: BTreeMap<JobId, OfJob>,
    /// What each site put its masks on.
    pub(crate) bare: BTreeMap<(JobId, u32, SiteId), Bytes>,
    /// Rounds whose updates were summed up unseen.
    pub(crate) sums: u64,
    /// Updates that came and were left out of a sum, because their sites were gone.
    pub(crate) gone: u64,
}

/// By round.
#[derive(Default)]
struct OfJob {
    samples: u64,
    members: BTreeMap<(u32, SiteId), Interval>,
    /// Whose own masks were told, and those of whom others told the masks that they share.
    own: BTreeSet<(u32, SiteId)>,
    shared: BTreeSet<(u32, SiteId)>,
}

impl Privacy {
    pub(crate) fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Submitted { job, spec, .. } if spec.rounds.is_private() => {
                let samples = spec.rounds.samples;
                self.jobs.insert(
                    *job,
                    OfJob {
                        samples,
                        ..OfJob::default()
                    },
                );
            }
            Event::RoundOpened {
                job, round, members, ..
            } => {
                if let Some(of_job) = self.jobs.get_mut(job) {
                    let members = members.iter().cloned();
                    let members = members.map(|(site, interval)| ((*round, site), interval));
                    of_job.members.extend(members);
                }
            }
            Event::Unmasked {
                job,
                round,
                site,
                seeds,
            } => {
                let of_job = self.jobs.get_mut(job).ok_or(format!("{job} has no masks"))?;
                of_job.own.insert((*round, site.clone()));
                let shared = seeds.with.keys().map(|other| (*round, other.clone()));
                of_job.shared.extend(shared);
                if let Some((_, bare)) = of_job.own.intersection(&of_job.shared).next() {
                    return Err(format!(
                        "the update of {bare} in round {round} of {job} lies bare"
                    ));
                }
            }
            Event::RoundClosed {
                job,
                round,
                accepted,
                rejected,
                scales,
                ..
            } => {
                if !self.jobs.contains_key(job) {
                    let seen = !rejected.values().any(unsummed);
                    return seen.then_some(()).ok_or(format!("{job} has no masks"));
                }
                let hidden = accepted.is_empty() || accepted.len() >= 3;
                if !hidden || !rejected.values().all(unsummed) || !scales.is_empty() {
                    return Err(format!(
                        "{job} closes round {round} with {accepted:?} and without {rejected:?}"
                    ));
                }
                self.sums += u64::from(!accepted.is_empty());
                self.gone += rejected.values().filter(|why| **why == Rejection::Gone).count() as u64;
            }
            _ => {}
        }
        Ok(())
    }

    /// A site puts its masks of a round on an update.
    pub(crate) fn masks(&mut self, of: (JobId, u32, SiteId), update: &Bytes) -> Result<(), String> {
        let (job, round, site) = &of;
        let twice = format!("{site} puts its masks of round {round} of {job} on two updates");
        let known = self.bare.entry(of).or_insert_with(|| update.clone());
        (known == update).then_some(()).ok_or(twice)
    }

    /// What the updates of a private round come to; none in another job.
    pub(crate) fn mean<'a>(
        &self,
        job: JobId,
        round: u32,
        sites: impl Iterator<Item = &'a SiteId>,
        codec: Option<&Codec>,
    ) -> Option<Result<Update, String>> {
        let of_job = self.jobs.get(&job)?;
        let mut samples = 0;
        let mut told = Vec::new();
        for site in sites {
            let Some(bare) = self.bare.get(&(job, round, site.clone())) else {
                return Some(Err(format!("{site} put its masks on nothing")));
            };
            if codec.map(|codec| *codec as u8) != bare.get(15).copied() {
                return Some(Err(format!("{site}'s update isn't in {codec:?}")));
            }
            samples += of_job
                .members
                .get(&(round, site.clone()))
                .map_or(0, Interval::samples);
            told.push(mask(bare, &[]).map_err(|e| e.to_string()));
        }
        let told: Result<Vec<Vec<u8>>, String> = told.into_iter().collect();
        Some(told.and_then(|told| {
            let sum = sum(told.iter().map(Vec::as_slice), &[], of_job.samples, samples);
            Update::parse(&sum.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
        }))
    }
}

/// Whether an update has no part in a sum, which says nothing against it.
pub(crate) fn unsummed(why: &Rejection) -> bool {
    matches!(why, Rejection::Gone | Rejection::Few | Rejection::Masked)
}
