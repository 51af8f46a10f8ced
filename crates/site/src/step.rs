//! The next step of a site in a job: a function of how the job stands and what the site has done. It holds
//! no history, so whatever was lost or happened twice, the next step is the right one.
//!
//! The program and the ways to the hub work at the same time: while it trains, updates are handed in and those of
//! closed rounds are collected, so that it need not wait for them when they are to be applied. A step that a way
//! is too busy for is left out, and the next one is taken.

use crate::machine::Way;
use api::{OpenRound, SiteJob, ToUnmask};
use consortium::{Interval, Phase, Presence};
use std::collections::{BTreeMap, BTreeSet};

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
    /// It began with nothing of its own.
    pub(crate) fresh: bool,
    /// What others agree on was given to it, or was no good.
    pub(crate) restored: bool,
    /// The hub knows that what the site had of its own is lost.
    pub(crate) reset: bool,
    /// The program works on an order.
    pub(crate) busy: bool,
    /// What is under way to the hub or from it, by its number.
    pub(crate) under_way: BTreeMap<Way, u64>,
    /// The hub couldn't be reached, and is left alone for a moment.
    pub(crate) away: bool,
    /// The rounds of the updates at hand, in the order they were trained.
    pub(crate) updates: Vec<u32>,
    /// Those of them whose bytes the hub has.
    pub(crate) sent: BTreeSet<u32>,
    /// Rounds that the hub has this site's update of.
    pub(crate) contributed: BTreeSet<u32>,
    /// A round that closed without this site's update: what was trained since is to be undone first.
    pub(crate) missed: Option<u32>,
    /// Closed rounds whose updates are here.
    pub(crate) collected: BTreeSet<u32>,
    /// The last round whose updates came here to be inspected.
    pub(crate) gathered: Option<u32>,
    /// The last round whose updates the program has inspected.
    pub(crate) inspected: Option<u32>,
    /// The last round of which the hub knows what was found.
    pub(crate) reported: Option<u32>,
    /// The hub knows this attempt's key.
    pub(crate) key_told: bool,
    /// What the hub last asked for of the site's masks, and has been told.
    pub(crate) unmasked: Option<ToUnmask>,
    /// A round that was applied and not told yet.
    pub(crate) untold: bool,
    /// The last round after which what all agree on was written for others.
    pub(crate) saved: Option<u32>,
    /// That is at hand, and not at the hub yet.
    pub(crate) unkept: bool,
    /// The hub has the bytes of it, and not the word.
    pub(crate) saved_sent: bool,
    /// The round of what others agree on, as far as it has been fetched.
    pub(crate) agreed_here: Option<u32>,
    /// The results are written.
    pub(crate) finished: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Get the inputs.
    Fetch,
    /// Forget weights that differ from the others', and begin again.
    Reset,
    /// Begin an attempt.
    Join,
    /// Tell with which key the others are to make masks.
    TellKey,
    /// Start the program.
    Start,
    /// Tell the digest of an applied round.
    Tell,
    /// Get what others agree on.
    FetchAgreed,
    /// Have the program begin with it.
    Restore,
    /// Tell that what the site had of its own is lost.
    TellLoss,
    /// Get the updates of a closed round.
    Collect(u32),
    /// Have a closed round applied.
    Commit(u32),
    /// Get the updates that are to be inspected.
    Gather,
    /// Have them inspected.
    Inspect,
    /// Tell what was found.
    Report,
    /// Tell what the site's masks are made from.
    Unmask,
    /// Train.
    Train(u32, Interval),
    /// Send the bytes of an update at hand.
    Send(u32),
    /// Hand in the first of the updates at hand.
    Contribute,
    /// The hub has it already.
    Forget,
    /// It came too late, and those after it rest on it: drop them all.
    Drop,
    /// Have what all agree on written for others.
    Save(u32),
    /// Send that to the hub.
    SendSaved,
    /// Tell the hub that others may begin with it.
    Keep,
    /// Have the results written.
    Finish,
    /// Leave, with the results or without.
    Leave,
    /// Nothing until something is heard.
    Wait,
}

pub(crate) fn next(job: &SiteJob, done: &Done) -> Step {
    if !done.fetched {
        return done.if_free(Way::Fetch, Step::Fetch).unwrap_or(Step::Wait);
    }
    // Orders may be older than the attempt that this site began after them; those say nothing about it.
    let absent = job.attempt == done.attempt.unwrap_or(0) && !matches!(job.presence, Presence::Present(_));
    if done.attempt.is_none_or(|attempt| job.attempt > attempt) || absent {
        if job.presence == Presence::Diverged && done.started {
            return Step::Reset;
        }
        return done.if_free(Way::Ask, Step::Join).unwrap_or(Step::Wait);
    }
    if job.spec.rounds.is_private() && !done.key_told {
        return done.if_free(Way::Ask, Step::TellKey).unwrap_or(Step::Wait);
    }
    if !done.started {
        return Step::Start;
    }
    if done.untold && done.is_free(Way::Ask) {
        return Step::Tell;
    }
    if let Some(step @ (Step::Drop | Step::Forget)) = settled(job, done) {
        return step; // before anything is trained on top of it
    }
    let Some(committed) = done.committed else {
        return Step::Wait;
    };
    let order = if done.busy {
        None
    } else {
        order(job, done, committed).filter(|step| *step != Step::Wait)
    };
    order
        .or_else(|| report(job, done))
        .or_else(|| unmask(job, done))
        .or_else(|| hand_in(job, done))
        .or_else(|| collect(job, done, committed))
        .or_else(|| gather(job, done))
        .or_else(|| keep(job, done))
        .unwrap_or_else(|| finish(job, done, committed))
}

impl Done {
    /// Whether something may be begun on that way.
    pub(crate) fn is_free(&self, way: Way) -> bool {
        !self.away && !self.under_way.contains_key(&way)
    }

    fn if_free(&self, way: Way, step: Step) -> Option<Step> {
        self.is_free(way).then_some(step)
    }
}

/// What the program is to do now, if it can do something; or that it has to wait for the hub first.
fn order(job: &SiteJob, done: &Done, committed: u32) -> Option<Step> {
    if let Some(kept) = &job.checkpoint
        && done.fresh
        && !done.restored
        && committed == 0
    {
        return match done.agreed_here == Some(kept.round) {
            true => Some(Step::Restore),
            false => done.if_free(Way::Fetch, Step::FetchAgreed).or(Some(Step::Wait)),
        };
    }
    if done.fresh && !done.reset && job.contributed {
        return done.if_free(Way::Ask, Step::TellLoss).or(Some(Step::Wait));
    }
    let last = committed.checked_sub(1);
    let due = last.filter(|last| job.lead && job.spec.rounds.keeps_checkpoint(*last));
    // On a slow link the last one may still be on its way.
    let due = due.filter(|_| job.phase == Phase::Running && !done.unkept);
    let known = job.checkpoint.as_ref().map(|kept| kept.round).max(done.saved);
    if let Some(last) = due.filter(|last| known.is_none_or(|known| known < *last)) {
        return Some(Step::Save(last));
    }
    // Nobody gets on before the round is closed, so it comes before any training.
    if inspects(job, done, committed) {
        return Some(Step::Inspect);
    }
    if let Some(open) = job.open.iter().find(|open| trains(open, done, committed)) {
        return Some(Step::Train(open.number, open.interval));
    }
    let closed = job.closed.iter().any(|round| round.number == committed);
    (closed && done.collected.contains(&committed)).then_some(Step::Commit(committed))
}

/// A round is trained once, on weights to which the rounds are applied that it needs, and not on top of what
/// is to be undone.
fn trains(open: &OpenRound, done: &Done, committed: u32) -> bool {
    let round = open.number;
    let trained =
        open.contributed.is_some() || done.contributed.contains(&round) || done.updates.contains(&round);
    !trained && done.missed.is_none() && (open.needs..=round).contains(&committed)
}

/// What has become of the first update at hand, if its round doesn't wait for it any more. Updates are handed in in
/// the order they were trained: each rests on those before it.
fn settled(job: &SiteJob, done: &Done) -> Option<Step> {
    let round = *done.updates.first()?;
    let open = job.open.iter().find(|open| open.number == round);
    match open.map(|open| open.contributed) {
        Some(None) => None,
        Some(Some(_)) => Some(Step::Forget),
        None if job.counted.contains(&round) => Some(Step::Forget),
        None => Some(Step::Drop),
    }
}

/// First the bytes, then the word; the bytes of the next update travel while the word is given. Not in a private job: if this
/// one came too late, the next would be trained again, and two updates under the same masks tell their difference.
fn hand_in(job: &SiteJob, done: &Done) -> Option<Step> {
    let first = done.updates.first()?;
    let ready = done.sent.contains(first) && done.is_free(Way::Ask);
    let travel = if job.spec.rounds.is_private() {
        1
    } else {
        usize::MAX
    };
    let unsent = done
        .updates
        .iter()
        .take(travel)
        .find(|round| !done.sent.contains(round));
    let send = || done.if_free(Way::Send, Step::Send(*unsent?));
    ready.then_some(Step::Contribute).or_else(send)
}

/// Updates are inspected on what all agree on after the rounds before, once they are here.
fn inspects(job: &SiteJob, done: &Done, committed: u32) -> bool {
    let round = job.inspect.as_ref().map(|inspect| inspect.round);
    round == Some(committed) && done.gathered == round && done.inspected != round && done.reported != round
}

fn report(job: &SiteJob, done: &Done) -> Option<Step> {
    let round = job.inspect.as_ref()?.round;
    let untold = done.inspected == Some(round) && done.reported != Some(round);
    done.if_free(Way::Ask, Step::Report).filter(|_| untold)
}

fn unmask(job: &SiteJob, done: &Done) -> Option<Step> {
    let untold = job.unmask.is_some() && job.unmask != done.unmasked;
    done.if_free(Way::Ask, Step::Unmask).filter(|_| untold)
}

fn gather(job: &SiteJob, done: &Done) -> Option<Step> {
    let round = job.inspect.as_ref()?.round;
    let wanted = done.gathered != Some(round) && done.reported != Some(round);
    done.if_free(Way::Fetch, Step::Gather).filter(|_| wanted)
}

fn collect(job: &SiteJob, done: &Done, committed: u32) -> Option<Step> {
    let mut missing = job.closed.iter().map(|round| round.number);
    let missing = missing.find(|round| *round >= committed && !done.collected.contains(round));
    done.if_free(Way::Fetch, Step::Collect(missing?))
}

/// At the end there are the results.
fn keep(job: &SiteJob, done: &Done) -> Option<Step> {
    if !done.unkept || job.phase != Phase::Running {
        return None;
    }
    match done.saved_sent {
        true => done.if_free(Way::Ask, Step::Keep),
        false => done.if_free(Way::Keep, Step::SendSaved),
    }
}

fn finish(job: &SiteJob, done: &Done, committed: u32) -> Step {
    // A hub that doesn't tell how many are closed closes as many as were asked for.
    let all = job.committed.max(job.spec.rounds.count);
    if done.busy || job.phase != Phase::Finishing || committed < all {
        return Step::Wait;
    }
    match (job.results, job.lead, done.finished) {
        (true, ..) => Step::Leave,
        (false, true, true) if job.agreed => Step::Leave,
        (false, true, false) => Step::Finish,
        _ => Step::Wait,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use api::{OpenRound, ToInspect};
    use consortium::{Digest, JobId, JobSpec, Label, Mode, Round, RoundSpec, Time};
    use std::collections::BTreeMap;

    const INTERVAL: Interval = Interval { first: 0, end: 64 };

    /// A job of two rounds in attempt 1, with `closed` rounds, as a site that is present sees it.
    pub(crate) fn job(closed: u32) -> SiteJob {
        let round = |number| Round {
            number,
            opened: Time(0),
            members: BTreeMap::new(),
            codec: None,
            updates: BTreeMap::new(),
            quorum_at: None,
            closed: Some(Time(1)),
            outer: BTreeMap::new(),
            inspection: None,
            scales: BTreeMap::new(),
            rejected: BTreeMap::new(),
            keys: BTreeMap::new(),
            unmasking: None,
        };
        let open = OpenRound {
            number: closed,
            interval: INTERVAL,
            needs: closed,
            contributed: None,
            codec: None,
            keys: BTreeMap::new(),
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
                gpus: None,
                gpu: None,
                due_minutes: None,
                batch: None,
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
            agreed: true,
            contributed: false,
            checkpoint: None,
            kept: [].into(),
            peers: [].into(),
            committed: closed,
            closed: (0..closed).map(round).collect(),
            counted: Vec::new(),
            open: (closed < 2).then_some(open).into_iter().collect(),
            inspect: None,
            unmask: None,
            behalf: None,
        }
    }

    /// A site whose program runs and has applied `committed` rounds; all updates of closed rounds are here.
    fn done(committed: u32) -> Done {
        Done {
            fetched: true,
            attempt: Some(1),
            started: true,
            committed: Some(committed),
            collected: [0, 1].into(),
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
            needs: 0,
            contributed: Some(Digest::of(b"u")),
            codec: None,
            keys: BTreeMap::new(),
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
                "send",
                job(0),
                Done {
                    updates: vec![0],
                    ..done(0)
                },
                Step::Send(0),
            ),
            (
                "then hand in",
                job(0),
                Done {
                    updates: vec![0],
                    sent: [0].into(),
                    ..done(0)
                },
                Step::Contribute,
            ),
            (
                "the orders are older",
                job(0),
                Done {
                    contributed: [0].into(),
                    ..done(0)
                },
                Step::Wait,
            ),
            (
                "the orders know",
                SiteJob {
                    open: vec![contributed],
                    ..job(0)
                },
                done(0),
                Step::Wait,
            ),
            (
                "what was handed in counts",
                SiteJob {
                    counted: vec![0],
                    ..job(1)
                },
                Done {
                    updates: vec![0],
                    busy: true,
                    ..done(0)
                },
                Step::Forget,
            ),
            (
                "get the others'",
                job(1),
                Done {
                    contributed: [0].into(),
                    collected: BTreeSet::new(),
                    ..done(0)
                },
                Step::Collect(0),
            ),
            (
                "apply",
                job(1),
                Done {
                    contributed: [0].into(),
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
                    updates: vec![0],
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
                "not before all have told theirs",
                SiteJob {
                    agreed: false,
                    ..job(2)
                },
                Done {
                    finished: true,
                    ..done(2)
                },
                Step::Wait,
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
    fn rounds_beyond_the_count_are_applied_before_the_end() {
        let mut job = job(2);
        job.committed = 3;
        assert_eq!(
            next(&job, &done(2)),
            Step::Wait,
            "orders tell of later rounds only"
        );
        let more = Round {
            number: 2,
            ..job.closed[1].clone()
        };
        job.closed.push(more);
        assert_eq!(next(&job, &done(2)), Step::Collect(2));
        let collected = Done {
            collected: [2].into(),
            ..done(2)
        };
        assert_eq!(next(&job, &collected), Step::Commit(2));
        assert_eq!(next(&job, &done(3)), Step::Finish);
        // As long as rounds go on there is no end, and checkpoints are kept.
        (job.phase, job.spec.rounds.checkpoint_every) = (Phase::Running, 3);
        assert_eq!(next(&job, &done(3)), Step::Save(2));
        job.phase = Phase::Finishing;
        assert_eq!(next(&job, &done(3)), Step::Finish);
    }

    /// Rounds 1 and 2 of an overlapping job are open, round 0 is closed.
    fn overlapping() -> SiteJob {
        let open = |number: u32| OpenRound {
            number,
            interval: INTERVAL,
            needs: number - 1,
            contributed: None,
            codec: None,
            keys: BTreeMap::new(),
        };
        let mut job = job(1);
        job.spec.rounds.count = 9;
        job.spec.rounds.overlap = 1;
        job.counted = vec![0];
        job.open = vec![open(1), open(2)];
        job
    }

    #[test]
    fn while_the_program_trains_updates_travel() {
        let job = overlapping();
        let training = |updates: &[u32], collected: &[u32]| Done {
            busy: true,
            updates: updates.into(),
            contributed: [0].into(),
            collected: collected.iter().copied().collect(),
            ..done(0)
        };
        assert_eq!(next(&job, &training(&[1], &[])), Step::Send(1));
        let sent = Done {
            sent: [1].into(),
            ..training(&[1], &[])
        };
        assert_eq!(next(&job, &sent), Step::Contribute);
        assert_eq!(next(&job, &training(&[], &[])), Step::Collect(0));
        assert_eq!(next(&job, &training(&[], &[0])), Step::Wait);
        let idle = |done: Done| Done { busy: false, ..done };
        assert_eq!(
            next(&job, &idle(training(&[], &[0]))),
            Step::Train(1, INTERVAL),
            "it needs no round"
        );
        assert_eq!(
            next(&job, &idle(training(&[1], &[0]))),
            Step::Commit(0),
            "round 2 needs round 0"
        );
        let applied = Done {
            committed: Some(1),
            ..idle(training(&[1], &[0]))
        };
        assert_eq!(
            next(&job, &applied),
            Step::Train(2, INTERVAL),
            "and is trained before 1 is handed in"
        );
    }

    #[test]
    fn a_busy_way_holds_up_neither_the_program_nor_the_other_ways() {
        let mut job = overlapping();
        let on = |ways: &[Way], done: Done| Done {
            under_way: ways.iter().map(|way| (*way, 1)).collect(),
            ..done
        };
        // The word of an applied round and an update are under way: the program trains.
        let applied = Done {
            updates: vec![1],
            untold: true,
            ..done(1)
        };
        assert_eq!(next(&job, &applied), Step::Tell);
        let telling = on(&[Way::Ask, Way::Send], applied.clone());
        assert_eq!(next(&job, &telling), Step::Train(2, INTERVAL));
        // It is at work: each way that is free has its step.
        let training = |done: Done| Done { busy: true, ..done };
        let behind = training(Done {
            updates: vec![1, 2],
            sent: [1].into(),
            collected: BTreeSet::new(),
            unkept: true,
            ..done(0)
        });
        let steps = [
            (vec![], Step::Contribute),
            (vec![Way::Ask], Step::Send(2)),
            (vec![Way::Ask, Way::Send], Step::Collect(0)),
            (vec![Way::Ask, Way::Send, Way::Fetch], Step::SendSaved),
            (vec![Way::Ask, Way::Send, Way::Fetch, Way::Keep], Step::Wait),
        ];
        for (ways, step) in steps {
            assert_eq!(next(&job, &on(&ways, behind.clone())), step, "{ways:?}");
        }
        // A hub that can't be reached is left alone, and the program goes on.
        let away = |done: Done| Done { away: true, ..done };
        assert_eq!(next(&job, &away(behind)), Step::Wait);
        assert_eq!(next(&job, &away(applied)), Step::Train(2, INTERVAL));
        // But it waits for what it is to begin with.
        job.checkpoint = Some(api::KeptOuter {
            round: 0,
            digest: Digest::of(b"c"),
            outer: Digest::of(b"o"),
        });
        let fresh = Done {
            fresh: true,
            ..done(0)
        };
        assert_eq!(next(&job, &on(&[Way::Fetch], fresh)), Step::Wait);
    }

    #[test]
    fn updates_are_inspected_before_the_next_training_and_while_it_goes_on_they_are_fetched() {
        let mut job = overlapping();
        job.inspect = Some(ToInspect {
            round: 1,
            updates: BTreeMap::new(),
        });
        let training = Done {
            busy: true,
            contributed: [0, 1].into(),
            ..done(1)
        };
        assert_eq!(next(&job, &training), Step::Gather);
        let idle = |done: Done| Done { busy: false, ..done };
        assert_eq!(
            next(&job, &idle(training.clone())),
            Step::Train(2, INTERVAL),
            "they are still on their way"
        );
        let gathered = Done {
            gathered: Some(1),
            ..training
        };
        assert_eq!(next(&job, &gathered), Step::Wait);
        assert_eq!(next(&job, &idle(gathered.clone())), Step::Inspect);
        let behind = Done {
            committed: Some(0),
            ..idle(gathered.clone())
        };
        assert_eq!(next(&job, &behind), Step::Commit(0), "on what all agree on");
        let inspected = Done {
            inspected: Some(1),
            ..idle(gathered)
        };
        assert_eq!(next(&job, &inspected), Step::Train(2, INTERVAL));
        let training = Done {
            busy: true,
            ..inspected
        };
        assert_eq!(next(&job, &training), Step::Report);
        let told = Done {
            reported: Some(1),
            ..training
        };
        assert_eq!(next(&job, &told), Step::Wait, "the orders are older");
    }

    #[test]
    fn a_private_job_has_a_key_first_and_sends_one_update_at_a_time() {
        let mut job = overlapping();
        job.spec.rounds.mode = Some(Mode::Private(consortium::Clipping::default()));
        let joined = Done {
            started: false,
            ..done(1)
        };
        assert_eq!(next(&job, &joined), Step::TellKey);
        let told = |done: Done| Done {
            key_told: true,
            ..done
        };
        assert_eq!(next(&job, &told(joined)), Step::Start);
        let trained = told(Done {
            busy: true,
            updates: vec![1, 2],
            ..done(1)
        });
        assert_eq!(next(&job, &trained), Step::Send(1));
        let sent = Done {
            sent: [1].into(),
            under_way: [(Way::Ask, 1)].into(),
            ..trained.clone()
        };
        assert_eq!(
            next(&job, &sent),
            Step::Wait,
            "round 2 may have to be trained again: its masks are for one update"
        );
        let asked = ToUnmask {
            round: 1,
            with: BTreeMap::new(),
        };
        job.unmask = Some(asked.clone());
        assert_eq!(next(&job, &trained), Step::Unmask);
        let unmasked = Done {
            unmasked: Some(asked),
            ..trained
        };
        assert_eq!(next(&job, &unmasked), Step::Send(1), "the orders are older");
    }

    #[test]
    fn what_rests_on_a_late_update_is_dropped_with_it() {
        let mut job = overlapping();
        // Round 1 has closed without this site.
        let late = job.open.remove(0);
        job.closed.push(Round {
            number: late.number,
            ..job.closed[0].clone()
        });
        let trained = Done {
            updates: vec![1, 2],
            ..done(1)
        };
        assert_eq!(next(&job, &trained), Step::Drop);
        let dropped = Done {
            missed: Some(1),
            ..done(1)
        };
        assert_eq!(
            next(&job, &dropped),
            Step::Commit(1),
            "the program undoes it with the round"
        );
        assert_eq!(next(&job, &done(2)), Step::Train(2, INTERVAL));
    }

    #[test]
    fn the_lead_keeps_a_checkpoint_and_who_joins_begins_with_it() {
        let mut job = overlapping();
        job.spec.rounds.checkpoint_every = 1;
        assert_eq!(next(&job, &done(1)), Step::Save(0));
        let saved = Done {
            saved: Some(0),
            unkept: true,
            busy: true,
            ..done(1)
        };
        assert_eq!(next(&job, &saved), Step::SendSaved);
        let sent = Done {
            saved_sent: true,
            ..saved
        };
        assert_eq!(next(&job, &sent), Step::Keep);
        job.checkpoint = Some(api::KeptOuter {
            round: 0,
            digest: Digest::of(b"c"),
            outer: Digest::of(b"o"),
        });
        assert_eq!(next(&job, &done(1)), Step::Train(1, INTERVAL), "it is kept");
        let fresh = Done {
            fresh: true,
            ..done(0)
        };
        assert_eq!(next(&job, &fresh), Step::FetchAgreed);
        let fetched = Done {
            agreed_here: Some(0),
            ..fresh.clone()
        };
        assert_eq!(next(&job, &fetched), Step::Restore);
        job.contributed = true;
        let restored = Done {
            restored: true,
            ..fresh
        };
        assert_eq!(next(&job, &restored), Step::TellLoss, "it was here before");
        let told = Done {
            reset: true,
            ..restored
        };
        assert_eq!(next(&job, &told), Step::Train(1, INTERVAL));
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
