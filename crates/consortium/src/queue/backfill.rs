//! EASY backfill: the first that can't start has its start reserved, and whoever doesn't delay it may go
//! before it.
//!
//! One start is reserved, not all of them (that is conservative backfill): a round then costs nothing for each
//! job that waits, and where lengths are estimates, a plan for all of them is wrong before it is needed.

use super::pool::Held;
use super::{Handle, Queue};

/// The start of one job, and what others may use of its sites after that.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) job: Handle,
    pub(super) at: u64,
    /// For each of its sites the GPUs of each node that are free then, without those it takes.
    spares: Vec<(u32, Vec<u32>)>,
}

impl Reservation {
    pub(super) fn spare(&self, site: u32) -> Option<&[u32]> {
        let known = self.spares.iter().find(|(other, _)| *other == site);
        known.map(|(_, spare)| spare.as_slice())
    }

    /// A job that runs past the start takes these.
    pub(super) fn takes(&mut self, site: u32, held: &[Held]) {
        if let Some((_, spare)) = self.spares.iter_mut().find(|(other, _)| *other == site) {
            for h in held {
                let left = &mut spare[h.node as usize];
                *left = left.saturating_sub(h.gpus);
            }
        }
    }
}

impl Queue {
    /// Reserves the earliest start of `job`, as long as running jobs are thought to run. None if it is too
    /// large for the sites that it may run on.
    pub(super) fn reserve(&self, job: Handle, now: u64) -> Option<Reservation> {
        let fit = &self.shapes[self.jobs[job as usize].shape as usize];
        let sites = fit.shape.sites as usize;
        let mut starts: Vec<(u64, u64, u32)> = Vec::new();
        for (cost, site) in &fit.candidates {
            starts.push((self.room_at(*site, fit.shape.gpus, now), *cost, *site));
        }
        starts.sort_unstable();
        if sites == 0 || starts.len() < sites {
            return None;
        }
        let at = starts[sites - 1].0;
        let spare = |site: u32| {
            let mut pool = self.pools[site as usize].clone();
            for run in self.at[site as usize].iter().map(|run| &self.runs[*run as usize]) {
                if self.ends(run, now) <= at {
                    run.held
                        .iter()
                        .filter(|(other, _)| *other == site)
                        .for_each(|(_, held)| pool.give_back(held));
                }
            }
            let held = pool.find(fit.shape.gpus, None).unwrap_or_default();
            pool.take(&held);
            (
                site,
                (0..pool.machines.nodes).map(|node| pool.free(node)).collect(),
            )
        };
        Some(Reservation {
            job,
            at,
            spares: starts[..sites].iter().map(|(_, _, site)| spare(*site)).collect(),
        })
    }

    /// When `site` is thought to have room for `gpus`.
    fn room_at(&self, site: u32, gpus: u32, now: u64) -> u64 {
        let mut pool = self.pools[site as usize].clone();
        if pool.fits(gpus) {
            return now;
        }
        let runs = self.at[site as usize].iter().map(|run| &self.runs[*run as usize]);
        let mut ends: Vec<(u64, u64, &super::Run)> = runs
            .map(|run| (self.ends(run, now), self.id(run.job), run))
            .collect();
        ends.sort_unstable_by_key(|(end, id, _)| (*end, *id));
        for (end, _, run) in ends {
            run.held
                .iter()
                .filter(|(other, _)| *other == site)
                .for_each(|(_, held)| pool.give_back(held));
            if pool.fits(gpus) {
                return end;
            }
        }
        u64::MAX
    }
}
