//! What must hold in a [`Story`] after each command.

use super::Story;
use crate::world::id;
use consortium::{
    Account, Actor, ArtifactId, Correction, Digest, Event, FiscalYear, FlopSeconds, Interval, Invoice,
    InvoiceId, Job, JobId, Label, Mode, Person, Phase, Presence, ProjectId, Rejection, Role, Round, SiteId,
    State, Time, Went, Won, apply,
};
use std::collections::{BTreeMap, BTreeSet};

impl Story {
    pub(super) fn check(&mut self) {
        let then = self.twin.invoices.clone();
        self.follow_in_the_twin();
        let state = &self.world.state;
        check_invoices(state, &then);
        // Also after a refusal, when nothing was told to the twin: it changed nothing.
        assert!(*state == self.twin, "the log gives another state");
        state.ledger.audit().expect("the books balance");
        check_awards(state);
        check_years(state);
        check_labels(state);
        check_office(state);
        check_finding(state);
        let mut holders: BTreeMap<&SiteId, JobId> = BTreeMap::new();
        for job in state.jobs.values() {
            check_phase(state, job);
            check_money(state, job);
            check_samples(job);
            check_rounds(job);
            let holding = job.members.iter().filter(|(_, m)| m.presence != Presence::Left);
            for (site, _) in holding.filter(|_| job.is_active()) {
                let other = holders.insert(site, job.id);
                assert_eq!(other, None, "{site} is held twice");
            }
        }
        self.check_closed_rounds();
    }

    fn follow_in_the_twin(&mut self) {
        for (event, at) in &self.world.log[self.told..] {
            let json = serde_json::to_string(event).expect("an event is plain data");
            let read: Event = serde_json::from_str(&json).expect("it was just written");
            assert!(read == *event, "{json} reads as {read:?}");
            check_commit(&self.twin, event, *at);
            apply(&mut self.twin, &read, *at);
            let (job, sites) = match event {
                Event::Placed { job, sites, .. } => (job, sites.iter().map(|p| &p.site).collect()),
                Event::Joined { job, site, .. } => (job, vec![site]),
                _ => continue,
            };
            let abroad = sites.contains(&&id("rhein"));
            let restricted = self.twin.jobs[job].label == Label::Restricted;
            assert!(!(restricted && abroad), "restricted weights go abroad: {event:?}");
        }
        self.told = self.world.log.len();
    }

    /// What was committed stays: who took part, on what, with which updates.
    fn check_closed_rounds(&mut self) {
        for job in self.world.state.jobs.values() {
            for round in job.rounds.iter().filter(|round| round.is_closed()) {
                let now = Round {
                    outer: BTreeMap::new(),
                    ..round.clone()
                };
                let then = self
                    .closed
                    .entry((job.id, round.number))
                    .or_insert_with(|| now.clone());
                assert_eq!(*then, now, "a closed round of {} changed", job.id);
            }
        }
    }

    /// Two digests of one round stand side by side only while somebody is there who may decide between them.
    pub(super) fn check_disputes(&self) {
        for job in self.world.state.jobs.values().filter(|job| job.is_active()) {
            for (i, round) in job
                .rounds
                .iter()
                .enumerate()
                .filter(|(_, round)| round.is_disputed())
            {
                let silent = |site: &SiteId| !job.rounds[i..].iter().any(|r| r.outer.contains_key(site));
                let awaited = job.present().any(|(site, _)| silent(site));
                assert!(awaited, "two weights after round {} of {}", round.number, job.id);
            }
        }
    }
}

/// A round is committed once, after the one before it, with a quorum, in site order; and whoever is there and
/// has given nothing was waited for.
fn check_commit(state: &State, event: &Event, at: Time) {
    if let Event::InspectionBegan { job, round } = event {
        let job = &state.jobs[job];
        return check_waited(job, &job.rounds[*round as usize], at);
    }
    if let Event::UnmaskingBegan { job, round, gone } = event {
        let job = &state.jobs[job];
        let round = &job.rounds[*round as usize];
        return match &round.unmasking {
            None => check_waited(job, round, at),
            Some(unmasking) => {
                let bare = gone.iter().find(|site| unmasking.told.contains_key(*site));
                assert_eq!(bare, None, "its own mask is told, and the others' were to be");
            }
        };
    }
    let Event::RoundClosed {
        job,
        round: number,
        accepted,
        scales,
        rejected,
        ..
    } = event
    else {
        return;
    };
    let job = &state.jobs[job];
    let of = format!("round {number} of {}", job.id);
    assert_eq!(*number, job.committed(), "{of} is out of turn");
    let round = &job.rounds[*number as usize];
    let came = Vec::from_iter(
        round
            .updates
            .iter()
            .map(|(site, update)| (site.clone(), update.digest)),
    );
    let counts = came.iter().filter(|(site, _)| !rejected.contains_key(site));
    assert!(accepted.iter().eq(counts), "{of}");
    if let Some(Mode::Private(_)) = job.spec.rounds.mode {
        return check_sum(job, round, accepted, rejected);
    }
    let inspected = job.spec.rounds.mode.is_some() && !came.is_empty();
    assert_eq!(round.inspection.is_some(), inspected, "{of}");
    let of_counted = |site: &SiteId| accepted.iter().any(|(other, _)| other == site);
    assert!(scales.keys().all(of_counted), "{of} scales what doesn't count");
    if let Some(inspection) = &round.inspection {
        assert!(
            !inspection.reports.is_empty(),
            "{of} closes before anyone has told of it"
        );
        // Who has an update in the round has a voice, so less than half of those can't bring about a no.
        let there = came
            .iter()
            .filter(|(site, _)| job.members[site].presence != Presence::Left);
        let most = 2 * inspection.reports.len() > there.count();
        let by_few = |why: &Rejection| matches!(why, Rejection::Tokens { .. } | Rejection::Doubtful);
        assert!(most || rejected.values().all(by_few), "{of}");
    }
    assert!(inspected || rejected.is_empty() && scales.is_empty(), "{of}");
    assert!(accepted.is_sorted_by(|(a, _), (b, _)| a < b), "{of} has no order");
    if !inspected {
        check_waited(job, round, at);
    }
}

/// A sum is of three or more, whose own masks are told, and those they share with the others that made some.
fn check_sum(
    job: &Job,
    round: &Round,
    accepted: &[(SiteId, Digest)],
    rejected: &BTreeMap<SiteId, Rejection>,
) {
    let of = format!("round {} of {}", round.number, job.id);
    let known = |why: &Rejection| matches!(why, Rejection::Gone | Rejection::Few | Rejection::Masked);
    assert!(rejected.values().all(known), "{of}: {rejected:?}");
    if accepted.is_empty() {
        return;
    }
    assert!(accepted.len() >= 3, "{of} is a sum of {}", accepted.len());
    let unmasking = round.unmasking.as_ref().expect("its masks are lifted");
    let counts = |site: &SiteId| accepted.iter().any(|(other, _)| other == site);
    for (site, _) in accepted {
        let with = &unmasking.told[site].with;
        let left_out = round.keys.keys().filter(|other| !counts(other));
        assert!(
            left_out.eq(with.keys()),
            "{of}: {site} tells of {:?}",
            with.keys()
        );
    }
}

/// Before a round closes, or is inspected, there is a quorum, and whoever is there was waited for.
fn check_waited(job: &Job, round: &Round, at: Time) {
    let of = format!("round {} of {}", round.number, job.id);
    // In a private job whoever has another key now than the others made masks with has no part in the round.
    let private = matches!(job.spec.rounds.mode, Some(Mode::Private(_)));
    let knows = |site: &SiteId| !private || round.keys.get(site).copied() == job.members[site].key;
    let is_member = |site: &SiteId| round.members.contains_key(site) && knows(site);
    let missing = |site: &SiteId| is_member(site) && !round.updates.contains_key(site);
    let awaited = job.present().any(|(site, _)| missing(site));
    let quorum = job.spec.rounds.quorum_of(round.number, round.members.len());
    if round.updates.len() < quorum {
        // Only a round for what was left over is given up: with what came, or to others.
        let others = job.present().any(|(site, _)| !is_member(site));
        let extra = round.number >= job.spec.rounds.count || private && others;
        let some = others || !round.updates.is_empty();
        assert!(extra && some && !awaited, "{of} has no quorum");
    } else if awaited {
        let since = round.quorum_at.expect("it has a quorum");
        let grace = u64::from(job.spec.rounds.grace_seconds) * 1_000;
        assert!(at.since(since) >= grace, "{of} didn't wait");
    }
}

/// Those that are open are the last, and no more than the overlap allows.
fn check_rounds(job: &Job) {
    let open = job.rounds.iter().filter(|round| !round.is_closed()).count();
    let first = job.rounds.len() - open;
    assert!(
        job.rounds[first..].iter().all(|round| !round.is_closed()),
        "{}",
        job.id
    );
    assert!(open <= 1 + job.spec.rounds.overlap as usize, "{}", job.id);
    assert_eq!(job.committed() as usize, first, "{}", job.id);
    for (i, round) in job.rounds.iter().enumerate() {
        assert_eq!(round.number as usize, i, "{}", job.id);
    }
}

/// What is kept to find jobs by is what a look at all of them would find.
fn check_finding(state: &State) {
    let mut by_project: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut by_person: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for job in state.jobs.values() {
        by_person.entry(job.submitter.clone()).or_default().insert(job.id);
        let of_project = by_project.entry(job.spec.project.clone()).or_default();
        of_project.insert(job.id);
    }
    assert_eq!(
        (&state.jobs_by_project, &state.jobs_by_person),
        (&by_project, &by_person)
    );
    let active = state.jobs.values().filter(|job| job.is_active());
    assert_eq!(state.active, active.map(|job| job.id).collect());
}

/// Somebody can always undo what was done about people.
fn check_office(state: &State) {
    let office = state
        .people
        .values()
        .filter(|person| person.roles.contains(&Role::Office));
    let acts = |person: &Person| state.kept_out(&Actor::Person(person.id.clone())).is_none();
    assert!(
        office.clone().next().is_none() || office.clone().any(acts),
        "nobody runs the office"
    );
}

/// A project's money is in its award, set aside, earned by sites, or taken back for machines that were held idle;
/// there is no fifth place.
fn check_awards(state: &State) {
    let (mut granted, mut taken_back) = (Won(0), Won(0));
    let told = state.holdings();
    for award in state.awards.values() {
        let held = state.ledger.balance(&Account::Award(award.id.clone()));
        let (mut won, mut compute) = (held.won, held.compute);
        let mut used = Won(0);
        for job in state
            .jobs
            .values()
            .filter(|job| job.award.as_ref() == Some(&award.id))
        {
            won += job.spent();
            used += job.spent();
            compute += job.used();
            for site in job.members.keys() {
                let aside = state.ledger.balance(&Account::Reserved(job.id, site.clone()));
                won += aside.won;
                compute += aside.compute;
            }
        }
        let stays = state.jobs.values().flat_map(Job::stays);
        let taken = stays.filter_map(|member| member.watch.taken.as_ref());
        for taken in taken.filter(|taken| taken.award == award.id) {
            won += taken.won;
            compute += taken.compute;
            taken_back += taken.won;
        }
        let corrected = corrections(state).filter(|it| it.award == award.id);
        let corrected: Won = corrected.map(|it| it.won).sum();
        won += corrected;
        used += corrected;
        assert_eq!((won, compute), (award.won, award.compute), "award {}", award.id);
        let told = told[&award.id];
        assert_eq!((told.used.won, told.left), (used, held), "award {}", award.id);
        granted += award.won;
    }
    let years = state.fiscal_years();
    let of_all = |part: fn(&FiscalYear) -> Won| years.iter().map(part).sum::<Won>();
    assert_eq!(of_all(|year| year.book.awarded), granted - taken_back);
    assert_eq!(
        of_all(|year| year.book.appropriated),
        state.appropriations.values().copied().sum()
    );
    assert_eq!(
        of_all(|year| year.spent),
        told.values().map(|of| of.used.won).sum()
    );
    for site in state.sites.keys() {
        let members = state.jobs.values().filter_map(|job| job.members.get(site));
        let charged: Won = members.map(|member| member.charged).sum();
        let of_site = |it: &&Correction| it.invoice.site == *site;
        let corrected: Won = corrections(state).filter(of_site).map(|it| it.won).sum();
        let held = |account| state.ledger.balance(&account).won;
        let (earned, paid) = (Account::Earned(site.clone()), Account::PaidOut(site.clone()));
        assert_eq!(charged + corrected, held(earned) + held(paid), "earned by {site}");
    }
}

/// What came into a year's account, less what went, is what it holds; what its awards have spent was given to them; and
/// what was carried or given back was decided by somebody.
fn check_years(state: &State) {
    let decided = |year: Option<u16>, carried: bool| -> Won {
        let of = state.year_ends.iter();
        let of = of.filter(|it| it.year == year && matches!(it.went, Went::Carried { .. }) == carried);
        of.map(|it| it.won).sum()
    };
    for of in state.fiscal_years() {
        let (year, book) = (of.year, of.book);
        let came = book.appropriated + book.carried_in;
        let went = book.awarded + book.carried_out + book.returned;
        assert_eq!(came - went, of.left, "{year:?}");
        assert!(Won(0) <= of.spent && of.spent <= book.awarded, "{of:?}");
        assert_eq!(
            (book.carried_out, book.returned),
            (decided(year, true), decided(year, false)),
            "{year:?}"
        );
        assert!(year.is_some(), "nothing is undated any more");
    }
}

fn corrections(state: &State) -> impl Iterator<Item = &Correction> {
    state.invoices.values().flat_map(|invoice| &invoice.corrections)
}

/// All that a site has earned is on one of its invoices, to the won and to the FLOP-second; and what was issued stays as it
/// was.
fn check_invoices(state: &State, then: &BTreeMap<InvoiceId, Invoice>) {
    for site in state.sites.keys() {
        let of_site = || state.invoices.values().filter(|it| it.id.site == *site);
        let earned = state.ledger.balance(&Account::Earned(site.clone()));
        let paid = state.ledger.balance(&Account::PaidOut(site.clone())).won;
        let total: Won = of_site().map(Invoice::total).sum();
        let lines = of_site().flat_map(|it| it.lines.values().flatten());
        let compute = lines.fold(FlopSeconds(0), |sum, line| sum + line.compute);
        assert_eq!((total, compute), (earned.won + paid, earned.compute), "{site}");
        let paid_of_each = of_site().map(|it| it.total() - it.unpaid());
        assert_eq!(paid_of_each.sum::<Won>(), paid, "{site}");
    }
    for before in then.values().filter(|it| it.issued.is_some()) {
        let now = &state.invoices[&before.id];
        assert_eq!(
            (&before.lines, &before.corrections, &before.issued),
            (&now.lines, &now.corrections, &now.issued),
            "{} was changed",
            before.id
        );
    }
}

/// What is made from restricted things is restricted.
fn check_labels(state: &State) {
    let label = |project: &ProjectId, digest: &Digest| {
        let id = ArtifactId {
            project: project.clone(),
            digest: *digest,
        };
        state
            .artifacts
            .get(&id)
            .map_or(Label::Open, |artifact| artifact.label)
    };
    for artifact in state.artifacts.values() {
        for from in &artifact.made_from {
            let least = label(&artifact.id.project, from);
            assert!(
                artifact.label >= least,
                "{} is less strict than {from}",
                artifact.id
            );
        }
    }
    for job in state.jobs.values() {
        for input in job.spec.inputs.values() {
            assert!(
                job.label >= label(&job.spec.project, input),
                "{} is less strict than {input}",
                job.id
            );
        }
    }
}

fn check_phase(state: &State, job: &Job) {
    assert_eq!(job.is_active(), state.active.contains(&job.id), "{}", job.id);
    assert_eq!(job.is_active(), job.ended.is_none(), "{}", job.id);
    assert!(job.phase != Phase::Queued || job.award.is_none(), "{}", job.id);
    match job.phase {
        Phase::Done => {
            assert!(
                !job.outputs.is_empty() && job.committed() >= job.spec.rounds.count,
                "{}",
                job.id
            );
            check_nothing_is_left(job);
        }
        Phase::Failed { .. } => assert!(job.outputs.is_empty(), "{} has results and failed", job.id),
        _ => {}
    }
}

/// A finished job has used all that its sites would take in `count` rounds, unless some site had no time for more.
fn check_nothing_is_left(job: &Job) {
    let (rounds, closed) = (&job.spec.rounds, i128::from(job.committed()));
    let updates: u64 = job.rounds.iter().map(|round| round.updates.len() as u64).sum();
    let all = u64::from(rounds.count) * u64::from(job.spec.sites);
    let mut members = job.members.values();
    let late = members.any(|m| m.used().0 + 2 * (m.used().0 / closed) > m.placed.reserved_compute.0);
    assert!(
        updates == all || updates < all && late,
        "{}: {updates} of {all} intervals",
        job.id
    );
}

/// What is set aside is what may still be charged, to the won and to the FLOP-second; nothing once it ended.
fn check_money(state: &State, job: &Job) {
    for (site, member) in &job.members {
        let held = state.ledger.balance(&Account::Reserved(job.id, site.clone()));
        let (rest, unused) = if job.is_active() {
            (
                member.placed.reserved - member.charged,
                member.placed.reserved_compute - member.used(),
            )
        } else {
            (Won(0), FlopSeconds(0))
        };
        assert_eq!((held.won, held.compute), (rest, unused), "{} at {site}", job.id);
        assert!(member.placed.reserved >= member.placed.price.of(member.placed.reserved_compute));
        assert_eq!(
            member.charged,
            member.placed.price.of(member.used()),
            "{} at {site}",
            job.id
        );
    }
}

/// Every sample that was given out is in a closed round once, in the open round, or in the queue again: none
/// twice, none lost.
fn check_samples(job: &Job) {
    let mut all: Vec<Interval> = job.returned.clone();
    for round in &job.rounds {
        let counts = |site: &SiteId| !round.is_closed() || round.updates.contains_key(site);
        all.extend(
            round
                .members
                .iter()
                .filter(|(site, _)| counts(site))
                .map(|(_, interval)| *interval),
        );
        let extra = round.number >= job.spec.rounds.count;
        let came = round.updates.len() + round.rejected.len();
        let private = matches!(job.spec.rounds.mode, Some(Mode::Private(_)));
        let given_up = extra || private && round.updates.is_empty();
        let enough = given_up || came >= job.spec.rounds.quorum as usize;
        assert!(
            enough || !round.is_closed(),
            "round {} of {} had no quorum",
            round.number,
            job.id
        );
        assert!(round.updates.keys().all(|site| round.members.contains_key(site)));
    }
    all.sort_unstable();
    let mut next = 0;
    for interval in all {
        assert_eq!(interval.first, next, "samples of {}", job.id);
        assert_eq!(interval.end - interval.first, job.spec.rounds.samples);
        next = interval.end;
    }
    assert_eq!(next, job.next_sample, "samples of {}", job.id);
}
