//! What is to be expected of a queue, if nobody else comes and every job takes as long as it is thought to.

use super::{Handle, Queue, Status};

/// When a waiting job is to be expected to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreseen {
    /// At this time.
    At(u64),
    /// After this time; further than that nothing is reckoned.
    After(u64),
    /// Not by what is known: there are no sites for it, or no money.
    Never,
}

/// How many rounds are looked ahead: a foresight that takes long is of no use while somebody waits for it.
const MOST_ROUNDS: usize = 100;
/// What ends within this part of the time from now on is taken to end with the last of it. So the estimate is late by
/// as much at most, and the rounds reach from minutes to months.
const COARSE: u64 = 8;

impl Queue {
    /// Who waits, in the order in which they would start if there were room for everyone one after the other.
    pub fn line(&self, now: u64) -> Vec<Handle> {
        let mut queue = self.clone();
        queue.shares.advance(now);
        let mut handles = Vec::with_capacity(self.waiting);
        let mut line = queue.line_up(now);
        while let Some((lane, job)) = line.next(&queue) {
            handles.push(job);
            queue.take_head(lane);
            let known = &queue.jobs[job as usize];
            let (project, wanted) = (known.ask.project, queue.wanted(known));
            let site = queue.shapes[known.shape as usize].candidates.first();
            let kind = site.map_or(0, |(_, site)| queue.pools[*site as usize].machines.kind);
            queue.shares.hold(project, kind, wanted);
            line.again(&queue, lane, now);
        }
        handles
    }

    /// When `job` is to be expected to start, if none is stopped for another; `pay` as for [`Queue::round`].
    pub fn foresee(mut self, job: Handle, now: u64, pay: &mut dyn FnMut(Handle, &[u32]) -> bool) -> Foreseen {
        self.rules.preemption = None;
        let (began, mut now) = (now, now);
        for _ in 0..MOST_ROUNDS {
            self.round(now, pay);
            if self.jobs[job as usize].state != Status::Waiting {
                return Foreseen::At(now);
            }
            let mut ends: Vec<(u64, Handle)> = Vec::new();
            for run in self.at.iter().flatten().map(|run| &self.runs[*run as usize]) {
                ends.push((self.ends(run, now), run.job));
            }
            let Some(first) = ends.iter().map(|(end, _)| *end).min() else {
                return Foreseen::Never;
            };
            let last = first.saturating_add((first - began) / COARSE);
            ends.retain(|(end, _)| *end <= last);
            // One at several sites is there as often.
            ends.sort_unstable();
            ends.dedup();
            now = ends.last().map_or(first, |(end, _)| *end);
            ends.into_iter().for_each(|(_, job)| self.end(job, now));
        }
        Foreseen::After(now)
    }
}
