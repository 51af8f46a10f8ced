//! What must hold where updates are inspected, by books of its own: no honest site's update is rejected but where an honest
//! inspector, too, finds that it does harm; a spoiled one is, where more than half of the job's sites are honest and have told that it does harm; and nobody is out of a
//! job but for updates that were rejected, so many in a row as the job says.

use crate::cast::Cast;
use crate::private::unsummed;
use consortium::{Bounds, Event, JobId, Mode, Rejection, Report, SiteId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Inspections {
    jobs: BTreeMap<JobId, OfJob>,
    /// Spoiled updates that came in where more than half of the sites are honest, and those of them that were rejected.
    pub(crate) spoiled: u64,
    pub(crate) rejected: u64,
    /// Updates of honest sites that were rejected, as they would have done harm.
    pub(crate) stale: u64,
    /// Updates that counted for less than all of it.
    pub(crate) scaled: u64,
}

struct OfJob {
    name: String,
    bounds: Bounds,
    sites: usize,
    /// By round.
    reports: BTreeMap<u32, BTreeMap<SiteId, Report>>,
    strikes: BTreeMap<SiteId, u32>,
    out: BTreeSet<SiteId>,
    /// Who has left has no voice any more.
    left: BTreeSet<SiteId>,
}

impl Inspections {
    pub(crate) fn see(&mut self, cast: &Cast, event: &Event) -> Result<(), String> {
        if let Event::Submitted { job, spec, .. } = event {
            if let Some(Mode::Inspected(bounds)) = &spec.rounds.mode {
                let of_job = OfJob {
                    name: spec.name.clone(),
                    bounds: bounds.clone(),
                    sites: spec.sites as usize,
                    reports: BTreeMap::new(),
                    strikes: BTreeMap::new(),
                    out: BTreeSet::new(),
                    left: BTreeSet::new(),
                };
                self.jobs.insert(*job, of_job);
            }
            return Ok(());
        }
        match event {
            Event::Inspected {
                job,
                round,
                site,
                report,
            } => {
                let reports = &mut self.of(*job)?.reports;
                let told = reports
                    .entry(*round)
                    .or_default()
                    .insert(site.clone(), report.clone());
                told.map_or(Ok(()), |_| {
                    Err(format!("{site} tells of round {round} of {job} twice"))
                })
            }
            Event::RoundClosed {
                job,
                round,
                accepted,
                scales,
                rejected,
                ..
            } => {
                let Some(of_job) = self.jobs.get_mut(job) else {
                    let plain = scales.is_empty() && rejected.values().all(unsummed);
                    return plain.then_some(()).ok_or(format!("{job} is not inspected"));
                };
                let accepted: Vec<&SiteId> = accepted.iter().map(|(site, _)| site).collect();
                let judged = of_job.judged(cast, *round, &accepted, rejected);
                let [spoiled, caught, stale] =
                    judged.map_err(|why| format!("{job}, round {round}: {why}"))?;
                self.spoiled += spoiled;
                self.rejected += caught;
                self.stale += stale;
                self.scaled += scales.len() as u64;
                Ok(())
            }
            Event::StruckOut { job, site, strikes } => {
                let of_job = self.of(*job)?;
                let counted = of_job.strikes.get(site).copied().unwrap_or(0);
                let due = counted >= of_job.bounds.strikes && counted == *strikes;
                let first = of_job.out.insert(site.clone());
                (due && first)
                    .then_some(())
                    .ok_or(format!("{site} is out of {job} after {counted} rejected updates"))
            }
            Event::Left { job, site, .. } => {
                if let Some(of_job) = self.jobs.get_mut(job) {
                    of_job.left.insert(site.clone());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a site is out of the job.
    pub(crate) fn somebody_is_out(&self, job: JobId) -> bool {
        let strikes = |of: &OfJob| of.strikes.values().any(|strikes| *strikes >= of.bounds.strikes);
        self.jobs.get(&job).is_some_and(strikes)
    }

    fn of(&mut self, job: JobId) -> Result<&mut OfJob, String> {
        self.jobs
            .get_mut(&job)
            .ok_or_else(|| format!("{job} is not inspected"))
    }
}

impl OfJob {
    /// How many spoiled updates came in, and how many of those were rejected, where the honest are not too few; and how many
    /// updates of honest sites were rejected.
    fn judged(
        &mut self,
        cast: &Cast,
        round: u32,
        accepted: &[&SiteId],
        rejected: &BTreeMap<SiteId, Rejection>,
    ) -> Result<[u64; 3], String> {
        let is_foul = |site: &SiteId| cast.foul_at(site).is_some_and(|foul| foul.spoils(&self.name));
        let reports = self.reports.remove(&round).unwrap_or_default();
        let honest: Vec<&Report> = reports
            .iter()
            .filter(|(site, _)| !is_foul(site) && !self.left.contains(*site))
            .map(|(_, report)| report)
            .collect();
        let (mut spoiled, mut stale) = (0, 0);
        for (site, why) in rejected {
            // One that was trained long ago may do harm though its site is honest. But no lie makes it so.
            let does_harm = || honest.iter().any(|report| self.does_harm(report, site));
            if is_foul(site) {
                spoiled += 1;
            } else if !does_harm() {
                return Err(format!("{site} is honest, and its update is rejected: {why}"));
            } else {
                stale += 1;
            }
        }
        let caught = spoiled;
        for site in accepted.iter().filter(|site| is_foul(site)) {
            let harmed = honest
                .iter()
                .filter(|report| self.does_harm(report, site))
                .count();
            if 2 * harmed > self.sites {
                return Err(format!(
                    "{harmed} honest sites tell that the update of {site} does harm, and it counts"
                ));
            }
            spoiled += 1;
        }
        let strikes = rejected.iter().filter(|(_, why)| **why != Rejection::Doubtful);
        for (site, _) in strikes {
            *self.strikes.entry(site.clone()).or_default() += 1;
        }
        for site in accepted.iter().filter(|site| !self.out.contains(**site)) {
            self.strikes.remove(*site);
        }
        let honest_are_most = 2 * cast.foul_in(&self.name) < self.sites;
        Ok(match honest_are_most {
            true => [spoiled, caught, stale],
            false => [0, 0, stale],
        })
    }

    fn does_harm(&self, report: &Report, site: &SiteId) -> bool {
        let Some(found) = report.found.get(site) else {
            return false;
        };
        let others = report.found.iter().filter(|(other, _)| *other != site);
        let mut others: Vec<i64> = others.filter_map(|(_, found)| found.loss).collect();
        others.sort_unstable();
        let worse = |before: i64, after: i64| {
            let most = others.get(others.len().saturating_sub(1) / 2).copied();
            let (good, worse) = most.map_or((before, 1_000), |most| (before.max(most), self.bounds.worse));
            i128::from(after) * 1_000 > i128::from(good) * i128::from(1_000 + worse)
        };
        found.norm.is_none()
            || report
                .before
                .zip(found.loss)
                .is_some_and(|(before, after)| worse(before, after))
    }
}
