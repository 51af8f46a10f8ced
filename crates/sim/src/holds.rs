//! What must hold in every story, whatever goes wrong in it. Each rule keeps books of its own, from the events
//! that the log has committed and from what can be seen from outside; none asks the state that it judges.
//!
//! | rule | says |
//! |---|---|
//! | [`Rounds`] | rounds open and close once, in order; exactly the updates that came in count, in site order |
//! | [`Samples`] | every sample of the data order is trained on once, or waits in the queue; none is left at a job's end |
//! | [`Inspections`] | no honest site's update is rejected, and what most honest sites tell to do harm is |
//! | [`Weights`] | updates are written in their round's codec; all sites reach the weights that the log alone gives, bit for bit; the results are those |
//! | [`Books`] | postings sum to zero, nothing is overdrawn, what was set aside is given back |
//! | [`Confirmed`] | what was confirmed is in the log after any crash, and nothing is done twice |
//! | [`Entitled`] | no byte of a restricted artifact is let out to a site whose owner may not read it; by a site, not a minute after it was restricted |
//! | [`Watch::end`] | every job ends, with results; and the log's bytes alone give all of this again |

use crate::cast::Cast;
use crate::disk::Bytes;
use crate::hub::{entries, replay};
use crate::inspected::Inspections;
use crate::private::Privacy;
use crate::stage::Millis;
use crate::trainer::{self, Settings};
use consortium::{
    Account, Actor, ArtifactId, ArtifactKind, Codec, CodecSpec, Digest, Event, Interval, JobId, JobSpec,
    Label, Outcome, Rejection, RoundSpec, SiteId, State, Usage,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use store::Entry;
use sync::{Contribution, Outer, Scale, Update};

/// What is wrong, in words; nothing as long as all is well.
type Holds = Result<(), String>;

/// Watches a story.
pub(crate) struct Watch {
    cast: Cast,
    rounds: Rounds,
    samples: Samples,
    pub(crate) inspections: Inspections,
    pub(crate) privacy: Privacy,
    weights: Weights,
    books: Books,
    confirmed: Confirmed,
    entitled: Entitled,
    pub(crate) jobs: BTreeMap<JobId, Book>,
    /// Files that sites had from each other.
    pub(crate) handed: u64,
    pub(crate) now: Millis,
    broken: Option<String>,
}

/// How long a site may go by what the hub said of who may have what.
const LEASE: Millis = 60_000;

/// A job as it was asked for, and how it ended.
pub(crate) struct Book {
    pub(crate) spec: JobSpec,
    pub(crate) ended: Option<Outcome>,
    placed: bool,
}

impl Watch {
    pub(crate) fn new(cast: Cast) -> Self {
        Self {
            cast,
            rounds: Rounds::default(),
            samples: Samples::default(),
            inspections: Inspections::default(),
            privacy: Privacy::default(),
            weights: Weights::default(),
            books: Books::default(),
            confirmed: Confirmed::default(),
            entitled: Entitled::default(),
            jobs: BTreeMap::new(),
            handed: 0,
            now: 0,
            broken: None,
        }
    }

    /// The first thing that was wrong.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(crate) fn break_off(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// How many rounds are closed.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.0.values().map(|rounds| rounds.closed as usize).sum()
    }

    /// In how many rounds the codec changed.
    pub(crate) fn changes(&self) -> usize {
        self.rounds.0.values().map(|rounds| rounds.changes).sum()
    }

    /// Whether every job has ended, but for those that wait for more sites than may ever hold them.
    pub(crate) fn all_ended(&self) -> bool {
        let mut jobs = self.jobs.iter();
        jobs.all(|(job, book)| book.ended.is_some() || self.waits_for_good(*job, book))
    }

    /// A job that was not placed before it turned out to be restricted.
    fn waits_for_good(&self, job: JobId, book: &Book) -> bool {
        let sites = (0..self.cast.len()).map(|index| self.cast.site(index));
        let at_home = sites.filter(|site| !self.cast.is_foreign(site)).count();
        let restricted = self.entitled.is_restricted(job, &self.jobs);
        restricted && !book.placed && book.spec.sites as usize > at_home
    }

    /// The log has these entries, safely.
    pub(crate) fn committed(&mut self, entries: &[Entry], blobs: &BTreeMap<Digest, Bytes>) {
        for entry in entries {
            if let Err(why) = self.look_at(entry, blobs) {
                self.break_off(why);
            }
        }
    }

    /// Somebody was told that the log has come this far, with what they asked for in it.
    pub(crate) fn confirmed(&mut self, seq: u64) {
        self.confirmed.told = self.confirmed.told.max(seq);
    }

    /// The hub starts, with so many records.
    pub(crate) fn restarted(&mut self, records: usize) {
        let told = self.confirmed.told;
        if told > records as u64 {
            self.break_off(format!(
                "record {told} was confirmed, and after the crash the log has {records}"
            ));
        }
    }

    /// An artifact's bytes are on their way to `actor`.
    pub(crate) fn let_out(&mut self, actor: &Actor, id: &ArtifactId) {
        if let Actor::Site(site) = actor
            && self.is_closed_to(site, id).is_some()
        {
            self.break_off(format!("{id} is restricted and was let out to {site}"));
        }
    }

    /// They are on their way from a site to another one.
    pub(crate) fn handed(&mut self, site: &SiteId, id: &ArtifactId) {
        self.handed += 1;
        let since = self.is_closed_to(site, id);
        if let Some(since) = since.filter(|since| self.now > since + LEASE) {
            let why = format!(
                "{id} is restricted since {} ms and was handed to {site}",
                self.now - since
            );
            self.break_off(why);
        }
    }

    /// Since when the site's owner may not read it.
    fn is_closed_to(&self, site: &SiteId, id: &ArtifactId) -> Option<Millis> {
        let since = self.entitled.restricted_since(&self.jobs, id);
        since.filter(|_| self.cast.is_foreign(site))
    }

    fn look_at(&mut self, entry: &Entry, blobs: &BTreeMap<Digest, Bytes>) -> Holds {
        self.confirmed.records += 1;
        for event in &entry.events {
            match event {
                Event::Submitted { job, spec, .. } => {
                    let book = Book {
                        spec: (**spec).clone(),
                        ended: None,
                        placed: false,
                    };
                    self.jobs.insert(*job, book);
                }
                Event::Placed { job, .. } => {
                    if let Some(book) = self.jobs.get_mut(job) {
                        book.placed = true;
                    }
                }
                Event::Ended { job, outcome } => {
                    if let Some(book) = self.jobs.get_mut(job) {
                        book.ended = Some(outcome.clone());
                    }
                }
                _ => {}
            }
            self.confirmed.see(event)?;
            self.entitled.see(event, self.now);
            self.rounds.see(event)?;
            self.samples.see(event)?;
            self.inspections.see(&self.cast, event)?;
            self.privacy.see(event)?;
            self.weights.see(event, &self.privacy, blobs)?;
            self.books.see(event)?;
        }
        self.books.after(entry)
    }

    /// The story is over: what must be true now, and again from the log's bytes alone.
    pub(crate) fn end(
        &self,
        state: &State,
        log: &[Bytes],
        blobs: &BTreeMap<Digest, Bytes>,
        cancelled: bool,
    ) -> Holds {
        for (job, book) in &self.jobs {
            match &book.ended {
                Some(Outcome::Done) => {
                    let (closed, wanted) = (self.rounds.closed(*job), book.spec.rounds.count);
                    if closed < wanted {
                        return Err(format!("{job} is done after {closed} of {wanted} rounds"));
                    }
                    self.samples.all_used(*job, &book.spec)?;
                }
                Some(Outcome::Cancelled) if cancelled => {}
                // What was open when the job began may turn out to be restricted.
                Some(Outcome::Failed { reason })
                    if self.entitled.is_restricted(*job, &self.jobs) && reason.contains("may not hold") => {}
                Some(Outcome::Failed { reason })
                    if self.inspections.somebody_is_out(*job)
                        && reason.contains("rejected again and again") => {}
                Some(other) => return Err(format!("{job} ended without results: {other:?}")),
                None if self.waits_for_good(*job, book) => {}
                None => return Err(format!("{job} has not ended")),
            }
        }
        self.samples.end()?;
        state.ledger.audit()?;
        if replay(log) != *state {
            return Err("the log gives another state than the hub has".into());
        }
        nothing_named_is_a_leftover(state, log, blobs)?;
        let mut again = Self::new(self.cast.clone());
        again.privacy.bare.clone_from(&self.privacy.bare);
        again.committed(&entries(log).collect::<Vec<_>>(), blobs);
        match again.broken {
            Some(why) => Err(format!("replayed from the log: {why}")),
            None if again.weights != self.weights => Err("the log's bytes give other weights".into()),
            None => Ok(()),
        }
    }
}

/// Bytes go that the hub doesn't know as named. So it has to know of all whose digests stand anywhere in the log.
fn nothing_named_is_a_leftover(state: &State, log: &[Bytes], blobs: &BTreeMap<Digest, Bytes>) -> Holds {
    let named = server::desk::named(state);
    let leftovers: Vec<String> = blobs
        .keys()
        .filter(|digest| !named.contains(digest))
        .map(Digest::to_string)
        .collect();
    for record in log {
        let text = String::from_utf8_lossy(record);
        if let Some(digest) = leftovers.iter().find(|digest| text.contains(*digest)) {
            return Err(format!("{digest} would be collected, and the log has {text}"));
        }
    }
    Ok(())
}

// ---- rounds ----------------------------------------------------------------------------------------------

/// Rounds open and close once each, in order. A round that closes counts exactly the updates that came in
/// from its members while it was open, in site order.
#[derive(Default)]
struct Rounds(BTreeMap<JobId, JobRounds>);

#[derive(Default)]
struct JobRounds {
    rounds: RoundSpec,
    closed: u32,
    /// The open rounds' members and what came in, in order.
    open: VecDeque<BTreeMap<SiteId, Option<Digest>>>,
    /// The last round's codec, where the links decide, and how often it changed.
    codec: Option<Codec>,
    changes: usize,
    /// How many rounds take no more updates.
    inspected: u32,
}

impl Rounds {
    fn closed(&self, job: JobId) -> u32 {
        self.0.get(&job).map_or(0, |rounds| rounds.closed)
    }

    fn see(&mut self, event: &Event) -> Holds {
        match event {
            Event::Submitted { job, spec, .. } => {
                self.0.entry(*job).or_default().rounds = spec.rounds.clone();
            }
            Event::RoundOpened {
                job,
                round,
                members,
                codec,
            } => {
                let rounds = self.0.entry(*job).or_default();
                let by_link = rounds.rounds.codec == CodecSpec::Auto;
                if codec.is_some() != by_link || *codec == Some(Codec::Fp32) {
                    return Err(format!("{job} opens round {round} in {codec:?}"));
                }
                if *round == rounds.next() {
                    let last = std::mem::replace(&mut rounds.codec, *codec);
                    rounds.changes += usize::from(*round > 0 && last != *codec);
                    if rounds.closed < rounds.rounds.needs(*round) {
                        return Err(format!("{job} opens round {round} after {}", rounds.closed));
                    }
                    rounds.open.push_back(BTreeMap::new());
                }
                let closed = rounds.closed;
                let open = rounds.open(*round);
                let open = open.ok_or_else(|| format!("{job} opens round {round} after {closed}"))?;
                for (site, _) in members {
                    if open.insert(site.clone(), None).is_some() {
                        return Err(format!("{job} takes {site} into round {round} twice"));
                    }
                }
            }
            Event::Contributed {
                job,
                round,
                site,
                update,
            } => {
                let rounds = self.0.entry(*job).or_default();
                if *round < rounds.inspected {
                    return Err(format!(
                        "{job} takes an update of {site} while round {round} is inspected"
                    ));
                }
                let open = rounds.open(*round);
                match open.and_then(|open| open.get_mut(site)) {
                    Some(came @ None) => *came = Some(update.digest),
                    _ => return Err(format!("{job} takes an update of {site} for round {round}")),
                }
            }
            Event::UnmaskingBegan { job, round, gone } if !gone.is_empty() => {
                let rounds = self.0.entry(*job).or_default();
                let gone = gone.len() < rounds.open.front().map_or(0, BTreeMap::len);
                if rounds.inspected != round + 1 || !gone {
                    return Err(format!(
                        "{job} leaves sites out of round {round} too early, or all"
                    ));
                }
            }
            Event::InspectionBegan { job, round } | Event::UnmaskingBegan { job, round, .. } => {
                let rounds = self.0.entry(*job).or_default();
                if *round != rounds.closed || rounds.inspected > *round || rounds.open.is_empty() {
                    return Err(format!(
                        "{job} has round {round} inspected after {}",
                        rounds.inspected
                    ));
                }
                rounds.inspected = round + 1;
            }
            Event::RoundClosed {
                job,
                round,
                accepted,
                rejected,
                ..
            } => {
                let closed = self.0.entry(*job).or_default().close(*round, accepted, rejected);
                closed.map_err(|why| format!("{job} {why}"))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl JobRounds {
    fn next(&self) -> u32 {
        self.closed + self.open.len() as u32
    }

    fn open(&mut self, round: u32) -> Option<&mut BTreeMap<SiteId, Option<Digest>>> {
        let place = round.checked_sub(self.closed)?;
        self.open.get_mut(place as usize)
    }

    fn close(
        &mut self,
        round: u32,
        accepted: &[(SiteId, Digest)],
        rejected: &BTreeMap<SiteId, Rejection>,
    ) -> Holds {
        let open = (round == self.closed).then(|| self.open.pop_front()).flatten();
        let open = open.ok_or_else(|| format!("closes round {round}, which is not open"))?;
        let came = open
            .into_iter()
            .filter_map(|(site, update)| Some((site, update?)));
        let came: Vec<(SiteId, Digest)> = came.collect();
        let private = self.rounds.is_private();
        // A private round that counts nothing may have been given up before its masks were lifted.
        let looked_at = if private {
            accepted.is_empty()
        } else {
            came.is_empty()
        };
        if self.rounds.mode.is_some() && !looked_at && self.inspected <= round {
            return Err(format!("closes round {round} without an inspection"));
        }
        let counts = came.iter().filter(|(site, _)| !rejected.contains_key(site));
        let known = accepted.len() + rejected.len() == came.len();
        // A round for what was left over may be given up.
        let given_up = private && accepted.is_empty();
        let quorum = match round < self.rounds.count && !given_up {
            true => self.rounds.quorum as usize,
            false => 0,
        };
        if !accepted.iter().eq(counts) || !known || came.len() < quorum {
            return Err(format!(
                "counts {accepted:?} in round {round}; what came is {came:?}"
            ));
        }
        self.closed += 1;
        Ok(())
    }
}

// ---- samples ---------------------------------------------------------------------------------------------

/// Samples are given out in order, first those that came back; what an accepted update was trained on is used,
/// and nothing is used twice. Used and waiting samples together are all that were ever given out.
#[derive(Default)]
struct Samples(BTreeMap<JobId, JobSamples>);

#[derive(Default)]
struct JobSamples {
    /// The first sample that nobody was given yet.
    next: u64,
    /// By round and site.
    given: BTreeMap<u32, BTreeMap<SiteId, Interval>>,
    queue: Vec<Interval>,
    used: BTreeSet<Interval>,
}

impl Samples {
    fn see(&mut self, event: &Event) -> Holds {
        match event {
            Event::RoundOpened {
                job, round, members, ..
            } => {
                let samples = self.0.entry(*job).or_default();
                for (site, interval) in members {
                    let holds =
                        |queued: &&mut Interval| queued.first <= interval.first && interval.end <= queued.end;
                    if let Some(queued) = samples.queue.iter_mut().find(holds) {
                        // What came back may be cut into pieces.
                        let after = Interval {
                            first: interval.end,
                            ..*queued
                        };
                        queued.end = interval.first;
                        samples.queue.push(after);
                        samples.queue.retain(|queued| queued.samples() > 0);
                    } else if interval.first == samples.next && interval.end > interval.first {
                        samples.next = interval.end;
                    } else {
                        return Err(format!("{job} gives {interval:?} to {site}, which is not next"));
                    }
                    let given = samples.given.entry(*round).or_default();
                    given.insert(site.clone(), *interval);
                }
            }
            Event::RoundClosed {
                job,
                round,
                accepted,
                returned,
                ..
            } => {
                let samples = self.0.entry(*job).or_default();
                let mut given = samples.given.remove(round).unwrap_or_default();
                for (site, _) in accepted {
                    let interval = given.remove(site);
                    if !interval.is_some_and(|interval| samples.used.insert(interval)) {
                        return Err(format!("{job} uses {interval:?} of {site} twice"));
                    }
                }
                if returned.iter().ne(given.values()) {
                    return Err(format!("{job} gives back {returned:?}; not used are {given:?}"));
                }
                samples.queue.extend(returned);
            }
            _ => {}
        }
        Ok(())
    }

    /// A job with results has used what its sites would have taken if all of them had always been there. In no
    /// story is the wall time too short for that.
    fn all_used(&self, job: JobId, spec: &JobSpec) -> Holds {
        let promised = u64::from(spec.rounds.count) * spec.rounds.samples * u64::from(spec.sites);
        let used = self.0.get(&job).map_or(0, |samples| {
            let sizes = samples.used.iter().map(|interval| interval.end - interval.first);
            sizes.sum()
        });
        // Two samples are no sum of three.
        let private = spec.rounds.is_private();
        if used == promised || private && used < promised && used + 2 >= promised {
            return Ok(());
        }
        Err(format!("{job} is done with {used} of {promised} samples"))
    }

    fn end(&self) -> Holds {
        for (job, samples) in &self.0 {
            let given = samples.given.values().flat_map(BTreeMap::values);
            let mut all: Vec<&Interval> = samples.used.iter().chain(&samples.queue).chain(given).collect();
            all.sort();
            let mut next = 0;
            for interval in all {
                if interval.first != next {
                    return Err(format!("{job}: sample {next} is lost or {interval:?} overlaps"));
                }
                next = interval.end;
            }
            if next != samples.next {
                return Err(format!("{job}: samples {next}..{} are lost", samples.next));
            }
        }
        Ok(())
    }
}

// ---- weights ---------------------------------------------------------------------------------------------

/// A closed round is applied here as any site applies it, from the log and the updates' bytes. What a site
/// tells of a round is the same, and so is the model that comes out.
#[derive(Default, PartialEq)]
struct Weights(BTreeMap<JobId, JobWeights>);

#[derive(PartialEq)]
struct JobWeights {
    /// Before the first round, and after each.
    outer: Vec<Outer>,
    digests: Vec<String>,
    /// The weights in the mean of updates that came in, by round and site.
    tokens: BTreeMap<(u32, SiteId), u64>,
    /// What each round's updates are written in.
    codecs: BTreeMap<u32, Codec>,
    rounds: RoundSpec,
}

impl Weights {
    fn see(&mut self, event: &Event, privacy: &Privacy, blobs: &BTreeMap<Digest, Bytes>) -> Holds {
        match event {
            Event::Submitted { job, spec, .. } => {
                let settings: Settings =
                    serde_json::from_value(spec.settings.clone()).map_err(|e| e.to_string())?;
                let weights = JobWeights {
                    outer: vec![trainer::beginning(settings)],
                    digests: Vec::new(),
                    tokens: BTreeMap::new(),
                    codecs: BTreeMap::new(),
                    rounds: spec.rounds.clone(),
                };
                self.0.insert(*job, weights);
            }
            Event::RoundOpened {
                job, round, codec, ..
            } => {
                let weights = self.of(*job)?;
                let codec = weights.rounds.codec.fixed().or(*codec);
                let codec = codec.ok_or_else(|| format!("{job} opens round {round} in no codec"))?;
                let known = *weights.codecs.entry(*round).or_insert(codec);
                if known != codec {
                    return Err(format!("{job} has round {round} in {known} and in {codec}"));
                }
            }
            Event::Contributed {
                job,
                round,
                site,
                update,
            } => {
                let tokens = &mut self.of(*job)?.tokens;
                tokens.insert((*round, site.clone()), update.tokens);
            }
            Event::RoundClosed {
                job,
                round,
                accepted,
                scales,
                ..
            } => {
                let weights = self.of(*job)?;
                let sites = accepted.iter().map(|(site, _)| site);
                let mean = match accepted.is_empty() {
                    true => None,
                    false => privacy.mean(*job, *round, sites, weights.codecs.get(round)),
                };
                let applied = match mean {
                    Some(mean) => mean.and_then(|mean| weights.apply_mean(*round, accepted, &mean)),
                    None => weights.apply(*round, accepted, scales, blobs),
                };
                applied.map_err(|why| format!("{job}, round {round}: {why}"))?;
            }
            Event::Applied {
                job,
                round,
                site,
                outer,
            } => {
                let expected = self.of(*job)?.digests.get(*round as usize);
                if expected != Some(&outer.to_string()) {
                    return Err(format!(
                        "{site} reached {outer} by round {round} of {job}, the log {expected:?}"
                    ));
                }
            }
            // Nothing in a story changes a site's weights behind its back.
            Event::Diverged { job, round, site, .. } => {
                return Err(format!("{site} is taken for diverged in round {round} of {job}"));
            }
            Event::Checkpointed { job, checkpoint } => {
                let weights = self.of(*job)?;
                let applied = checkpoint.round as usize + 1;
                let agreed = match (weights.digests.get(..applied), weights.outer.get(applied)) {
                    (Some(digests), Some(outer)) => trainer::agreed(digests, outer),
                    _ => return Err(format!("{job} keeps a checkpoint of what isn't there")),
                };
                if blobs.get(&checkpoint.digest) != Some(&agreed) {
                    return Err(format!("{job} keeps a checkpoint that is not what the log gives"));
                }
            }
            Event::Left { job, outputs, .. } => {
                let last = self.of(*job)?.outer.last().map(trainer::model);
                let models = outputs.iter().filter(|output| output.kind == ArtifactKind::Model);
                for model in models {
                    if blobs.get(&model.id.digest) != last.as_ref() {
                        return Err(format!("{job} hands in a model that is not what the log gives"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn of(&mut self, job: JobId) -> Result<&mut JobWeights, String> {
        self.0.get_mut(&job).ok_or_else(|| format!("there is no {job}"))
    }
}

impl JobWeights {
    fn apply(
        &mut self,
        round: u32,
        accepted: &[(SiteId, Digest)],
        scales: &BTreeMap<SiteId, consortium::Scale>,
        blobs: &BTreeMap<Digest, Bytes>,
    ) -> Holds {
        let updates = accepted.iter().map(|(site, digest)| {
            let bytes = blobs
                .get(digest)
                .ok_or_else(|| format!("{site}'s update is gone"))?;
            Update::parse(bytes).map_err(|e| format!("{site}'s update: {e}"))
        });
        let updates: Vec<Update> = updates.collect::<Result<_, String>>()?;
        let codec = self.codecs.get(&round).map(Codec::to_string);
        if let Some(update) = updates
            .iter()
            .find(|update| Some(update.codec().to_string()) != codec)
        {
            return Err(format!(
                "an update in {}, and the round's are in {codec:?}",
                update.codec()
            ));
        }
        let contributions = accepted.iter().zip(&updates);
        let contributions: Vec<_> = contributions
            .map(|((site, _), update)| {
                let parts = scales.get(site).map_or(1 << 16, |scale| u32::from(*scale));
                let (weight, scale) = (self.tokens(round, site), parts.try_into()?);
                Ok(Contribution {
                    weight,
                    scale,
                    update,
                })
            })
            .collect::<Result<_, String>>()?;
        self.step(round, &contributions)
    }

    /// Each site has told the same: what all came to.
    fn apply_mean(&mut self, round: u32, accepted: &[(SiteId, Digest)], mean: &Update) -> Holds {
        let contributions = accepted.iter().map(|(site, _)| Contribution {
            weight: self.tokens(round, site),
            scale: Scale::WHOLE,
            update: mean,
        });
        let contributions: Vec<_> = contributions.collect();
        self.step(round, &contributions)
    }

    fn tokens(&self, round: u32, site: &SiteId) -> u64 {
        self.tokens.get(&(round, site.clone())).copied().unwrap_or(0)
    }

    fn step(&mut self, round: u32, contributions: &[Contribution<'_>]) -> Holds {
        let mut outer = self.outer.last().cloned().ok_or("no beginning")?;
        let range = trainer::sends(&self.rounds, round);
        outer.step(range, contributions).map_err(|e| e.to_string())?;
        self.digests.push(outer.digest());
        self.outer.push(outer);
        Ok(())
    }
}

// ---- the ledger ------------------------------------------------------------------------------------------

/// Every posting is one side of a transfer, no account but the source goes below zero, a meter never runs
/// backwards, and a job that has ended has nothing set aside.
#[derive(Default)]
struct Books {
    /// Won and FLOP-seconds.
    accounts: BTreeMap<Account, (i128, i128)>,
    meters: BTreeMap<(JobId, SiteId, u32), Usage>,
}

impl Books {
    fn see(&mut self, event: &Event) -> Holds {
        match event {
            Event::Posted(transfer) => {
                for (account, won, compute) in transfer.postings() {
                    let held = self.accounts.entry(account.clone()).or_default();
                    held.0 += i128::from(won.0);
                    held.1 += compute.0;
                    if *account != Account::Source && (held.0 < 0 || held.1 < 0) {
                        return Err(format!("{account:?} is overdrawn: {held:?}"));
                    }
                }
            }
            Event::Metered {
                job,
                site,
                attempt,
                total,
                ..
            } => {
                let last = self
                    .meters
                    .insert((*job, site.clone(), *attempt), *total)
                    .unwrap_or_default();
                if total.millis < last.millis || total.sent < last.sent || total.received < last.received {
                    return Err(format!(
                        "the meter of {site} in {job} runs from {last:?} to {total:?}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self, entry: &Entry) -> Holds {
        let won: i128 = self.accounts.values().map(|held| held.0).sum();
        let compute: i128 = self.accounts.values().map(|held| held.1).sum();
        if (won, compute) != (0, 0) {
            return Err(format!(
                "all accounts together hold {won} won and {compute} FLOP-seconds"
            ));
        }
        let ended = entry.events.iter().filter_map(|event| match event {
            Event::Ended { job, .. } => Some(*job),
            _ => None,
        });
        for job in ended {
            let left = self.accounts.iter().find(|(account, held)| {
                matches!(account, Account::Reserved(other, _) if *other == job) && **held != (0, 0)
            });
            if let Some((account, held)) = left {
                return Err(format!("{job} has ended, and {account:?} holds {held:?}"));
            }
        }
        Ok(())
    }
}

// ---- what was confirmed ----------------------------------------------------------------------------------

/// A record that someone was told of is in the log after any crash. A key is used once, an attempt is begun
/// once, results are handed in once.
#[derive(Default)]
struct Confirmed {
    records: u64,
    told: u64,
    keys: BTreeSet<String>,
    names: BTreeSet<String>,
    attempts: BTreeMap<(JobId, SiteId), u32>,
    left: BTreeSet<(JobId, SiteId)>,
    resets: BTreeSet<(JobId, SiteId, u32)>,
    results: BTreeSet<JobId>,
    ended: BTreeSet<JobId>,
}

impl Confirmed {
    fn see(&mut self, event: &Event) -> Holds {
        let once = |new: bool, what: String| if new { Ok(()) } else { Err(format!("{what} twice")) };
        match event {
            Event::Remembered { key, .. } => {
                once(self.keys.insert(key.clone()), format!("key {key:?} is used"))
            }
            // In a story every job has a name of its own, and is asked for until that is confirmed.
            Event::Submitted { spec, .. } => once(
                self.names.insert(spec.name.clone()),
                format!("{:?} is submitted", spec.name),
            ),
            Event::Joined { job, site, attempt } => {
                let last = self.attempts.insert((*job, site.clone()), *attempt).unwrap_or(0);
                if *attempt == last + 1 {
                    return Ok(());
                }
                Err(format!("{site} begins attempt {attempt} in {job} after {last}"))
            }
            Event::Left { job, site, outputs } => {
                once(
                    self.left.insert((*job, site.clone())),
                    format!("{site} leaves {job}"),
                )?;
                let results = outputs.is_empty() || self.results.insert(*job);
                once(results, format!("the results of {job} are handed in"))
            }
            Event::Reset {
                job, site, attempt, ..
            } => {
                let new = self.resets.insert((*job, site.clone(), *attempt));
                once(new, format!("{site} tells a reset in attempt {attempt} of {job}"))
            }
            Event::Ended { job, .. } => once(self.ended.insert(*job), format!("{job} ends")),
            _ => Ok(()),
        }
    }
}

// ---- entitlement -----------------------------------------------------------------------------------------

/// What is restricted, by what is known of it: its own label, or that of the job it comes from, or of
/// anything that went into that job, even if that is found out later.
#[derive(Default)]
struct Entitled {
    restricted: BTreeMap<Digest, Millis>,
    jobs: BTreeMap<JobId, Millis>,
    /// What came from a job.
    made: BTreeMap<Digest, JobId>,
}

impl Entitled {
    fn see(&mut self, event: &Event, now: Millis) {
        match event {
            Event::Kept(artifact) if artifact.label == Label::Restricted => {
                self.restricted.entry(artifact.id.digest).or_insert(now);
            }
            Event::Submitted { job, spec, .. } if spec.label == Label::Restricted => {
                self.jobs.entry(*job).or_insert(now);
            }
            Event::Contributed { job, update, .. } => {
                self.made.insert(update.digest, *job);
            }
            Event::Checkpointed { job, checkpoint } => {
                self.made.insert(checkpoint.digest, *job);
            }
            Event::Left { job, outputs, .. } => {
                let made = outputs.iter().map(|output| (output.id.digest, *job));
                self.made.extend(made);
            }
            _ => {}
        }
    }

    fn is_restricted(&self, job: JobId, jobs: &BTreeMap<JobId, Book>) -> bool {
        self.job_since(job, jobs).is_some()
    }

    fn job_since(&self, job: JobId, jobs: &BTreeMap<JobId, Book>) -> Option<Millis> {
        let book = jobs.get(&job).into_iter();
        let inputs = book.flat_map(|book| book.spec.inputs.values());
        let inputs = inputs.filter_map(|input| self.restricted.get(input));
        inputs.chain(self.jobs.get(&job)).min().copied()
    }

    fn restricted_since(&self, jobs: &BTreeMap<JobId, Book>, id: &ArtifactId) -> Option<Millis> {
        let of_job = self
            .made
            .get(&id.digest)
            .and_then(|job| self.job_since(*job, jobs));
        self.restricted
            .get(&id.digest)
            .copied()
            .into_iter()
            .chain(of_job)
            .min()
    }
}
