//! Preemption: who stops so that a waiting job can start.
//!
//! Two things are put right by it. An organisation that holds less than its share gets back what others hold
//! beyond theirs: only as much as leaves them with no less than it has itself then, so that nobody can take it
//! back. And in a project the job that has had little goes before the one that has had much, by levels that
//! only rise. So nothing is ever stopped in turns. And in any case nothing is stopped before its minimum run
//! time, which grows each time it was stopped: whoever is stopped has got further.

use super::backfill::Reservation;
use super::pool::{Held, Pool};
use super::{Handle, Places, Queue, Run, Status};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What a round has found out about who may be stopped.
#[derive(Debug, Default)]
pub(super) struct Stops {
    /// Who may be stopped, by site: who holds most and has had most first, as things stood when the site was
    /// first asked for.
    candidates: BTreeMap<u32, Vec<Candidate>>,
    /// Tries that found nobody, by project and room: its jobs that are no higher won't either.
    in_vain: BTreeMap<(u32, u32), u8>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    job: Handle,
    run: u32,
    level: u8,
}

impl Queue {
    /// Who has to stop so that `job` can start, and where it starts then.
    pub(super) fn victims(
        &self,
        job: Handle,
        now: u64,
        reserved: Option<&Reservation>,
        stops: &mut Stops,
    ) -> Option<(Vec<Handle>, Places)> {
        self.rules.preemption?;
        let known = &self.jobs[job as usize];
        let fit = &self.shapes[known.shape as usize];
        let (level, key) = (self.level(known, now), (known.ask.project, fit.room));
        if stops.in_vain.get(&key).is_some_and(|tried| level >= *tried) {
            return None;
        }
        let free_for_us = |site: u32| reserved.is_none_or(|r| r.job == job || r.spare(site).is_none());
        let mut stopped = Vec::new();
        let mut places = Vec::new();
        for (_, site) in fit.candidates.iter().filter(|(_, site)| free_for_us(*site)) {
            let pool = &self.pools[*site as usize];
            if let Some(held) = pool.find(fit.shape.gpus, None) {
                places.push((*site, held));
            } else {
                let candidates = stops
                    .candidates
                    .entry(*site)
                    .or_insert_with(|| self.candidates(*site, now));
                if let Some((victims, held)) = self.victims_at(job, *site, level, candidates, &stopped) {
                    stopped.extend(victims);
                    places.push((*site, held));
                }
            }
            if places.len() == fit.shape.sites as usize {
                return Some((stopped, places));
            }
        }
        stops.in_vain.insert(key, level);
        None
    }

    /// Everyone at `site` who has run long enough to be stopped.
    fn candidates(&self, site: u32, now: u64) -> Vec<Candidate> {
        let least = self.rules.preemption.map_or(u64::MAX, |rules| rules.min_run_ms);
        let mut candidates = Vec::new();
        for run in &self.at[site as usize] {
            let Run { job, start, .. } = self.runs[*run as usize];
            let known = &self.jobs[job as usize];
            let ran = now.saturating_sub(start);
            if !known.ask.fixed && ran >= least.saturating_mul(u64::from(known.preempted) + 1) {
                let level = self.rules.level(self.had(known, ran));
                let share = self.shares.of_organisation(known.ask.project);
                let candidate = Candidate {
                    job,
                    run: *run,
                    level,
                };
                candidates.push((Reverse((share, level, start)), known.ask.id, candidate));
            }
        }
        candidates.sort_unstable_by_key(|(first, id, _)| (*first, *id));
        candidates
            .into_iter()
            .map(|(_, _, candidate)| candidate)
            .collect()
    }

    fn victims_at(
        &self,
        job: Handle,
        site: u32,
        level: u8,
        candidates: &[Candidate],
        stopped: &[Handle],
    ) -> Option<(Vec<Handle>, Vec<Held>)> {
        let (gpus, project) = (
            self.jobs[job as usize].ask.shape.gpus,
            self.jobs[job as usize].ask.project,
        );
        // Mostly nobody may be stopped, and a copy of a large pool is dear.
        let mut pool = None;
        let mut taken: Vec<&Run> = Vec::new();
        let mut less = BTreeMap::new();
        let mut held = None;
        for candidate in candidates {
            let other = &self.jobs[candidate.job as usize];
            let gone = other.state != Status::Running(candidate.run) || stopped.contains(&candidate.job);
            let no_less = other.ask.project == project && candidate.level <= level;
            let run = &self.runs[candidate.run as usize];
            if gone || no_less || !self.may_give(job, run, site, &mut less) {
                continue;
            }
            let pool = pool.get_or_insert_with(|| self.pools[site as usize].clone());
            free(pool, run, site);
            taken.push(run);
            held = pool.find(gpus, None);
            if held.is_some() {
                break;
            }
        }
        let mut held = held?;
        // Who was stopped early in the search may not be needed in the end.
        for i in (0..taken.len().saturating_sub(1)).rev() {
            let mut pool = self.pools[site as usize].clone();
            let others = taken.iter().enumerate().filter(|(j, _)| *j != i);
            others.for_each(|(_, run)| free(&mut pool, run, site));
            if let Some(better) = pool.find(gpus, None) {
                held = better;
                taken.remove(i);
            }
        }
        Some((taken.iter().map(|run| run.job).collect(), held))
    }

    /// Whether the share of who stops stays at least that of who starts; `less` counts what was given so far.
    /// Inside a project the levels have decided.
    fn may_give(&self, job: Handle, run: &Run, site: u32, less: &mut BTreeMap<(bool, u32), i64>) -> bool {
        let (waiting, other) = (&self.jobs[job as usize], &self.jobs[run.job as usize]);
        let (ours, theirs) = (waiting.ask.project, other.ask.project);
        if ours == theirs {
            return true;
        }
        let (shares, kind) = (&self.shares, self.pools[site as usize].machines.kind);
        let more = i64::try_from(self.wanted(waiting)).unwrap_or(i64::MAX);
        let gives = i64::try_from(run.gpus).unwrap_or(i64::MAX);
        let organisation = |project: u32| shares.projects[project as usize].organisation;
        let inside = organisation(ours) == organisation(theirs);
        let wanted = || shares.of_organisation_with(ours, kind, more);
        // To give only lowers a share.
        if !inside && shares.of_organisation(theirs) < wanted() {
            return false;
        }
        let key = if inside { theirs } else { organisation(theirs) };
        let given = less.entry((inside, key)).or_insert(0);
        let left = -given.saturating_add(gives);
        let fair = if inside {
            shares.of_project_with(theirs, kind, left) >= shares.of_project_with(ours, kind, more)
        } else {
            shares.of_organisation_with(theirs, kind, left) >= wanted()
        };
        if fair {
            *given = -left;
        }
        fair
    }
}

fn free(pool: &mut Pool, run: &Run, site: u32) {
    let held = run.held.iter().filter(|(other, _)| *other == site);
    held.for_each(|(_, held)| pool.give_back(held));
}
