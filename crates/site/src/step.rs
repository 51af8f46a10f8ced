//! The next step of a site in a job: a function of how the job stands and what the site has done. It holds
//! no history, so whatever was lost or happened twice, the next step is the right one.

use api::SiteJob;
use consortium::{Interval, Phase, Presence};

/// What the site has done in a job, as far as the next step depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// The inputs are here.
    pub(crate) fetched: bool,
    /// The attempt it is in.
    pub(crate) attempt: Option<u32>,
    /// The program runs.
    pub(crate) started: bool,
    /// How many rounds the program has applied; none before it said so.
    pub(crate) committed: Option<u32>,
    /// The program works on an order.
    pub(crate) busy: bool,
    /// The round that the update at hand is for.
    pub(crate) update: Option<u32>,
    /// The last round that the hub has this site's update of.
    pub(crate) contributed: Option<u32>,
    /// A round that was applied and not told yet.
    pub(crate) untold: bool,
    /// The results are written.
    pub(crate) finished: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Get the inputs.
    Fetch,
    /// Forget weights that differ from the others', and begin again from the first round.
    Reset,
    /// Begin an attempt.
    Join,
    /// Start the program.
    Start,
    /// Tell the digest of an applied round.
    Tell,
    /// Have a closed round applied.
    Commit(u32),
    /// Train.
    Train(u32, Interval),
    /// Hand in the update.
    Contribute,
    /// An update came too late; drop it.
    Drop,
    /// Have the results written.
    Finish,
    /// Leave, with the results or without.
    Leave,
    /// Nothing until something is heard.
    Wait,
}

pub(crate) fn next(job: &SiteJob, done: &Done) -> Step {
    if !done.fetched {
        return Step::Fetch;
    }
    // Orders may be older than the attempt that this site began after them; those say nothing about it.
    let absent = job.attempt == done.attempt.unwrap_or(0) && !matches!(job.presence, Presence::Present(_));
    if done.attempt.is_none_or(|attempt| job.attempt > attempt) || absent {
        let reset = job.presence == Presence::Diverged && done.started;
        return if reset { Step::Reset } else { Step::Join };
    }
    if !done.started {
        return Step::Start;
    }
    if done.untold {
        return Step::Tell;
    }
    let (Some(committed), false) = (done.committed, done.busy) else {
        return Step::Wait;
    };
    if job.closed.iter().any(|round| round.number == committed) {
        return Step::Commit(committed);
    }
    if let Some(round) = done.update {
        let wanted = job
            .open
            .as_ref()
            .is_some_and(|open| open.number == round && open.contributed.is_none());
        return if wanted { Step::Contribute } else { Step::Drop };
    }
    if let Some(open) = &job.open {
        let mine = open.contributed.is_some() || done.contributed == Some(open.number);
        if open.number == committed && !mine {
            return Step::Train(open.number, open.interval);
        }
    }
    if job.phase != Phase::Finishing || committed < job.spec.rounds.count {
        return Step::Wait;
    }
    match (job.results, job.lead, done.finished) {
        (true, ..) | (false, true, true) => Step::Leave,
        (false, true, false) => Step::Finish,
        (false, false, _) => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::OpenRound;
    use consortium::{Digest, JobId, JobSpec, Label, Round, RoundSpec, Time};
    use std::collections::BTreeMap;

    const INTERVAL: Interval = Interval { first: 0, end: 64 };

    /// A job of two rounds in attempt 1, with `closed` rounds, as a site that is present sees it.
    fn job(closed: u32) -> SiteJob {
        let round = |number| Round {
            number,
            opened: Time(0),
            members: BTreeMap::new(),
            updates: BTreeMap::new(),
            quorum_at: None,
            closed: Some(Time(1)),
            outer: BTreeMap::new(),
        };
        let open = OpenRound {
            number: closed,
            interval: INTERVAL,
            contributed: None,
        };
        SiteJob {
            id: JobId(1),
            spec: JobSpec {
                name: "n".into(),
                project: "p".parse().unwrap(),
                program: "language".into(),
                label: Label::Open,
                sites: 1,
                wall_minutes: 1,
                inputs: BTreeMap::new(),
                rounds: RoundSpec {
                    count: 2,
                    samples: 64,
                    quorum: 1,
                    grace_seconds: 1,
                    ..RoundSpec::default()
                },
                settings: serde_json::Value::Null,
            },
            label: Label::Open,
            phase: if closed < 2 {
                Phase::Running
            } else {
                Phase::Finishing
            },
            attempt: 1,
            presence: Presence::Present(Time(0)),
            lead: true,
            results: false,
            closed: (0..closed).map(round).collect(),
            open: (closed < 2).then_some(open),
        }
    }

    /// A site whose program runs and has applied `committed` rounds.
    fn done(committed: u32) -> Done {
        Done {
            fetched: true,
            attempt: Some(1),
            started: true,
            committed: Some(committed),
            ..Done::default()
        }
    }

    #[test]
    fn the_way_through_a_job() {
        let fresh = Done::default();
        let fetched = Done {
            fetched: true,
            ..fresh.clone()
        };
        let joined = Done {
            attempt: Some(1),
            ..fetched.clone()
        };
        let started = Done {
            started: true,
            ..joined.clone()
        };
        let before = SiteJob {
            attempt: 0,
            presence: Presence::Expected,
            ..job(0)
        };
        let contributed = OpenRound {
            number: 0,
            interval: INTERVAL,
            contributed: Some(Digest::of(b"u")),
        };
        let cases = [
            ("inputs first", before.clone(), fresh, Step::Fetch),
            ("then a place", before.clone(), fetched, Step::Join),
            (
                "old orders don't make it join twice",
                before,
                joined.clone(),
                Step::Start,
            ),
            ("then the program", job(0), joined, Step::Start),
            ("which takes its time", job(0), started, Step::Wait),
            ("train", job(0), done(0), Step::Train(0, INTERVAL)),
            (
                "while it trains",
                job(0),
                Done {
                    busy: true,
                    ..done(0)
                },
                Step::Wait,
            ),
            (
                "hand in",
                job(0),
                Done {
                    update: Some(0),
                    ..done(0)
                },
                Step::Contribute,
            ),
            (
                "the orders are older",
                job(0),
                Done {
                    contributed: Some(0),
                    ..done(0)
                },
                Step::Wait,
            ),
            (
                "the orders know",
                SiteJob {
                    open: Some(contributed),
                    ..job(0)
                },
                done(0),
                Step::Wait,
            ),
            (
                "apply",
                job(1),
                Done {
                    contributed: Some(0),
                    ..done(0)
                },
                Step::Commit(0),
            ),
            (
                "tell",
                job(1),
                Done {
                    untold: true,
                    ..done(1)
                },
                Step::Tell,
            ),
            (
                "too late for round 0",
                job(1),
                Done {
                    update: Some(0),
                    ..done(1)
                },
                Step::Drop,
            ),
            ("behind by two", job(2), done(0), Step::Commit(0)),
            ("the lead writes", job(2), done(2), Step::Finish),
            (
                "and brings",
                job(2),
                Done {
                    finished: true,
                    ..done(2)
                },
                Step::Leave,
            ),
            (
                "others wait",
                SiteJob {
                    lead: false,
                    ..job(2)
                },
                done(2),
                Step::Wait,
            ),
            (
                "until it has",
                SiteJob {
                    lead: false,
                    results: true,
                    ..job(2)
                },
                done(2),
                Step::Leave,
            ),
        ];
        for (what, job, done, expected) in cases {
            assert_eq!(next(&job, &done), expected, "{what}");
        }
    }

    #[test]
    fn the_way_back() {
        let lost = SiteJob {
            presence: Presence::Lost,
            ..job(1)
        };
        assert_eq!(
            next(&lost, &done(1)),
            Step::Join,
            "lost: a new attempt, the program goes on"
        );
        let newer = SiteJob { attempt: 3, ..job(1) };
        assert_eq!(
            next(&newer, &done(1)),
            Step::Join,
            "a process of this site joined meanwhile"
        );
        let diverged = SiteJob {
            presence: Presence::Diverged,
            ..job(1)
        };
        assert_eq!(next(&diverged, &done(1)), Step::Reset);
        let reset = Done {
            started: false,
            committed: None,
            ..done(0)
        };
        assert_eq!(next(&diverged, &reset), Step::Join, "after the reset");
    }
}
