//! What came of a replay, in numbers.

use super::replay::{Replayed, Service};
use super::sites::Site;
use super::swf::Trace;
use crate::show;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a policy did with a workload.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) policy: &'static str,
    jobs: usize,
    /// Jobs of the trace that never ran there.
    skipped: usize,
    /// Seconds from submission to the end, less the run time: also what passed between being stopped and
    /// going on, and what restarts cost.
    mean_wait_s: f64,
    median_wait_s: f64,
    p95_wait_s: f64,
    /// (wait + run) / run, where a run counts as 10 s at least.
    mean_slowdown: f64,
    /// Work done from the first submission to the last, as a part of all GPU time of that span.
    utilisation: f64,
    /// All work, as a part of all GPU time until the last job has ended.
    utilisation_to_end: f64,
    /// Jain's index of the groups' service over their max-min fair share, while somebody waited.
    jain_by_group: f64,
    /// Jain's index of the groups' mean slowdowns.
    jain_of_slowdowns: f64,
    makespan_s: f64,
    cost_krw: u64,
    preemptions: u64,
    groups: Vec<GroupReport>,
    sites: Vec<SiteReport>,
    #[serde(skip)]
    pub(crate) waits: Vec<f64>,
}

/// One group's.
#[derive(Debug, Serialize)]
struct GroupReport {
    group: i64,
    name: Option<String>,
    jobs: usize,
    mean_wait_s: f64,
    mean_slowdown: f64,
    /// GPU time held while somebody waited, over the group's max-min fair share of it; none if it wanted
    /// nothing then.
    service: Option<f64>,
}

/// One site's.
#[derive(Debug, Serialize)]
struct SiteReport {
    name: String,
    owner: Option<String>,
    gpu_hours: f64,
    cost_krw: u64,
}

impl Report {
    pub(crate) fn mean_wait_s(&self) -> f64 {
        self.mean_wait_s
    }

    pub(crate) fn new(policy: &'static str, trace: &Trace, sites: &[Site], done: &Replayed) -> Self {
        let jobs = trace.jobs.iter().zip(&done.jobs);
        let waits: Vec<f64> = jobs
            .map(|(job, done)| {
                let end = done.end as f64 / 1e3;
                end - (job.submitted + job.ran) as f64
            })
            .collect();
        let ran = |i: usize| trace.jobs[i].ran as f64;
        let slowdowns: Vec<f64> = (0..waits.len())
            .map(|i| ((waits[i] + ran(i)) / ran(i).max(10.0)).max(1.0))
            .collect();
        let groups = groups(trace, &waits, &slowdowns, &done.groups);
        let sites: Vec<SiteReport> = sites
            .iter()
            .zip(&done.held)
            .map(|(s, held)| site(s, *held))
            .collect();
        let mut sorted = waits.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            sorted
                .get((sorted.len() as f64 * part) as usize)
                .copied()
                .unwrap_or(0.0)
        };
        let first = trace.jobs.first().map_or(0, |job| job.submitted * 1_000);
        let end = done.jobs.iter().map(|job| job.end).max().unwrap_or(first);
        let work: u128 = trace
            .jobs
            .iter()
            .map(|j| u128::from(j.ran) * u128::from(j.gpus) * 1_000)
            .sum();
        let span = (done.last - first).max(1);
        let there = done.there as f64 * (end - first) as f64 / span as f64;
        let service: Vec<f64> = groups.iter().filter_map(|group| group.service).collect();
        let slow: Vec<f64> = groups.iter().map(|group| group.mean_slowdown).collect();
        Self {
            policy,
            jobs: trace.jobs.len(),
            skipped: trace.skipped,
            mean_wait_s: mean(&waits),
            median_wait_s: at(0.5),
            p95_wait_s: at(0.95),
            mean_slowdown: mean(&slowdowns),
            utilisation: part(done.worked as f64, done.there as f64),
            utilisation_to_end: part(work as f64, there),
            jain_by_group: jain(&service),
            jain_of_slowdowns: jain(&slow),
            makespan_s: (end - first) as f64 / 1e3,
            cost_krw: sites.iter().map(|site| site.cost_krw).sum(),
            preemptions: done.preemptions,
            groups,
            sites,
            waits: sorted,
        }
    }
}

fn groups(
    trace: &Trace,
    waits: &[f64],
    slowdowns: &[f64],
    services: &BTreeMap<i64, Service>,
) -> Vec<GroupReport> {
    let report = |(group, service): (&i64, &Service)| {
        let own = |values: &[f64]| -> Vec<f64> {
            let all = trace.jobs.iter().zip(values);
            all.filter(|(job, _)| job.group == *group)
                .map(|(_, value)| *value)
                .collect()
        };
        let waits = own(waits);
        GroupReport {
            group: *group,
            name: trace.groups.get(group).cloned(),
            jobs: waits.len(),
            mean_wait_s: mean(&waits),
            mean_slowdown: mean(&own(slowdowns)),
            service: (service.fair > 0).then(|| service.held as f64 / service.fair as f64),
        }
    };
    services.iter().map(report).collect()
}

fn site(site: &Site, held: u128) -> SiteReport {
    let won = held * u128::from(site.price) / 3_600_000;
    SiteReport {
        name: site.name.clone(),
        owner: site.owner.clone(),
        gpu_hours: held as f64 / 3.6e6,
        cost_krw: u64::try_from(won).unwrap_or(u64::MAX),
    }
}

fn mean(values: &[f64]) -> f64 {
    part(values.iter().sum(), values.len() as f64)
}

fn part(some: f64, all: f64) -> f64 {
    if all > 0.0 { some / all } else { 0.0 }
}

/// Jain's index: 1 where all are equal, 1/n where one has everything. Nobody is treated equally.
pub(crate) fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares > 0.0 {
        sum * sum / (values.len() as f64 * squares)
    } else {
        1.0
    }
}

/// The policies side by side.
pub(crate) fn table(reports: &[Report]) -> String {
    let head = [
        "policy",
        "mean wait",
        "median",
        "95 %",
        "slowdown",
        "utilisation",
        "Jain",
        "makespan",
        "cost",
        "stops",
    ];
    let row = |report: &Report| {
        vec![
            report.policy.to_owned(),
            show::span(report.mean_wait_s),
            show::span(report.median_wait_s),
            show::span(report.p95_wait_s),
            format!("{:.1}", report.mean_slowdown),
            format!("{:.3}", report.utilisation),
            format!("{:.3}", report.jain_by_group),
            show::span(report.makespan_s),
            format!("{} won", show::grouped(report.cost_krw)),
            show::grouped(report.preemptions),
        ]
    };
    show::table(&head, &reports.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_tells_equal_from_unequal() {
        for (values, expected) in [
            (&[2.0, 2.0, 2.0][..], 1.0),
            (&[1.0, 0.0, 0.0, 0.0], 0.25),
            (&[], 1.0),
        ] {
            assert_eq!(jain(values), expected);
        }
    }
}
