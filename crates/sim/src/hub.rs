//! The hub as `server` runs it: what is decided is [`server::desk`], and around it are a log on a disk, the
//! artifacts, open requests for orders, and a memory that a crash wipes.

use crate::Bug;
use crate::cast::Cast;
use crate::disk::Bytes;
use crate::holds::Watch;
use crate::stage::{Ask, Asked, Event, Millis, Peer, Reply, Stage};
use api::Problem;
use consortium::{Actor, Command, Digest, Request, SiteId, State, Time};
use server::Granted;
use server::desk::{self, Turn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use store::Entry;

/// How long a request for orders stays open, as in `site`.
const WAIT: Millis = 20_000;
/// How long a site may be silent, as in `server::HubConfig`.
const LOSE_AFTER: Millis = 15_000;
const TICK: Millis = 1_000;
/// When the story begins, by the hub's clock.
const BEGINNING: u64 = 1_000_000_000;

pub(crate) struct Hub {
    /// The log: what survives anything.
    pub(crate) log: Vec<Bytes>,
    /// The artifacts' bytes; they are synced before an upload is confirmed.
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
    pub(crate) life: u32,
    /// How long the disk takes at most.
    pub(crate) sync: Millis,
    /// How far the clock is off, milliseconds.
    pub(crate) skew: i64,
    memory: Option<Memory>,
    cast: Cast,
    bug: Option<Bug>,
}

struct Memory {
    state: State,
    started: Millis,
    /// When a site was last heard, and how many of its requests are open.
    heard: BTreeMap<SiteId, (Millis, usize)>,
    uploads: BTreeSet<(String, Digest)>,
    polls: Vec<Poll>,
    /// What waits until the disk has the batch under way.
    waiting: Vec<Asked>,
    /// What the hub itself wants done.
    chores: Vec<Command>,
    writing: Option<Writing>,
}

/// A batch whose commit the disk has not confirmed.
struct Writing {
    entries: Vec<Entry>,
    answers: Vec<(Peer, u64, Reply)>,
}

struct Poll {
    peer: Peer,
    number: u64,
    from: u32,
    known: String,
}

impl Hub {
    /// Switched off, with the consortium founded.
    pub(crate) fn new(cast: Cast, watch: &mut Watch, bug: Option<Bug>) -> Self {
        let mut hub = Self {
            log: Vec::new(),
            blobs: BTreeMap::new(),
            life: 0,
            sync: 20,
            skew: 0,
            memory: None,
            cast,
            bug,
        };
        let founding: Vec<Request> = hub.cast.founding().into_iter().collect();
        for (digest, bytes) in hub.cast.data() {
            hub.blobs.insert(digest, bytes);
        }
        let mut state = empty().clone();
        let turn = desk::carry_out(&mut state, &founding, Time(BEGINNING));
        for answer in turn.answers {
            answer.expect("the founding is granted");
        }
        hub.commit(&turn.entries, watch);
        hub
    }

    pub(crate) fn cast(&self) -> &Cast {
        &self.cast
    }

    pub(crate) fn state(&self) -> Option<&State> {
        self.memory.as_ref().map(|memory| &memory.state)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.memory
            .as_ref()
            .is_some_and(|memory| memory.writing.is_none() && memory.waiting.is_empty())
    }

    pub(crate) fn boot(&mut self, stage: &mut Stage, watch: &mut Watch) {
        if self.memory.is_some() {
            return;
        }
        self.life += 1;
        stage.tell("hub starts", || format!("with {} records", self.log.len()));
        watch.restarted(self.log.len());
        self.memory = Some(Memory {
            state: replay(&self.log),
            started: stage.now,
            heard: BTreeMap::new(),
            uploads: BTreeSet::new(),
            polls: Vec::new(),
            waiting: Vec::new(),
            chores: Vec::new(),
            writing: None,
        });
        stage.after(TICK, Event::Tick(self.life));
    }

    /// The process ends. A batch that the disk was writing is there whole or not at all. Without power nobody
    /// is left to close the connections.
    pub(crate) fn crash(&mut self, power: bool, stage: &mut Stage, watch: &mut Watch) {
        let Some(memory) = self.memory.take() else { return };
        let mut askers: Vec<(Peer, u64)> = memory.polls.iter().map(|poll| (poll.peer, poll.number)).collect();
        askers.extend(memory.waiting.iter().map(|asked| (asked.from, asked.number)));
        let mut kept = 0;
        if let Some(writing) = memory.writing {
            askers.extend(writing.answers.iter().map(|(peer, number, _)| (*peer, *number)));
            if stage.dice.one_in(2) {
                kept = writing.entries.len();
                self.commit(&writing.entries, watch);
            }
        }
        stage.tell("hub crashes", || {
            format!("power lost: {power}, records kept: {kept}")
        });
        if !power {
            for (peer, number) in askers {
                stage.answer(peer, number, &Reply::Away);
            }
        }
    }

    pub(crate) fn asked(&mut self, asked: Asked, stage: &mut Stage, watch: &mut Watch) {
        let Some(memory) = &mut self.memory else {
            stage.answer(asked.from, asked.number, &Reply::Away);
            return;
        };
        if let Actor::Site(site) = self.cast.actor(asked.from) {
            memory.heard.entry(site).or_insert((0, 0)).0 = stage.now;
        }
        memory.waiting.push(asked);
        self.work(stage, watch);
    }

    pub(crate) fn tick(&mut self, life: u32, stage: &mut Stage, watch: &mut Watch) {
        let Some(memory) = self.memory.as_mut().filter(|_| life == self.life) else {
            return;
        };
        stage.after(TICK, Event::Tick(life));
        if memory.writing.is_none() {
            let silent = |site: &SiteId| {
                let since = match memory.heard.get(site) {
                    Some((_, open)) if *open > 0 => stage.now,
                    Some((last, _)) => *last,
                    None => memory.started,
                };
                stage.now - since > LOSE_AFTER
            };
            if self.bug != Some(Bug::NeverLosesASite) {
                memory.chores = desk::losses(&memory.state, silent);
            }
            memory.chores.push(Command::Tick);
            self.work(stage, watch);
        }
    }

    pub(crate) fn synced(&mut self, life: u32, stage: &mut Stage, watch: &mut Watch) {
        let Some(memory) = self.memory.as_mut().filter(|_| life == self.life) else {
            return;
        };
        let Some(writing) = memory.writing.take() else {
            return;
        };
        self.commit(&writing.entries, watch);
        let seq = self.log.len() as u64;
        for (peer, number, reply) in writing.answers {
            self.reply(peer, number, &fill_in(reply, seq), stage, watch);
        }
        // A meter reading changes nothing that a site is told.
        let metering = |event: &consortium::Event| {
            matches!(
                event,
                consortium::Event::Metered { .. } | consortium::Event::Posted(_)
            )
        };
        if !writing
            .entries
            .iter()
            .all(|entry| entry.events.iter().all(metering))
        {
            self.look_at_polls(stage, watch);
        }
        self.work(stage, watch);
    }

    pub(crate) fn poll_ends(
        &mut self,
        life: u32,
        peer: Peer,
        number: u64,
        stage: &mut Stage,
        watch: &mut Watch,
    ) {
        if life == self.life
            && let Some(poll) = self.close_poll(peer, Some(number), stage.now)
        {
            self.reply(poll.peer, poll.number, &Reply::Orders(None), stage, watch);
        }
    }

    pub(crate) fn hung_up(&mut self, peer: Peer, stage: &Stage) {
        while self.close_poll(peer, None, stage.now).is_some() {}
    }

    // ---- inside ----------------------------------------------------------------------------------------

    fn now(&self, stage: &Stage) -> Time {
        Time((BEGINNING + stage.now).saturating_add_signed(self.skew))
    }

    /// The records are safe from here on.
    fn commit(&mut self, entries: &[Entry], watch: &mut Watch) {
        for entry in entries {
            let record = serde_json::to_vec(&(&entry.actor, entry.at, &entry.events));
            self.log.push(record.expect("events are plain data").into());
        }
        watch.committed(entries, &self.blobs);
    }

    /// Reads are served, commands become a batch; while the disk writes one, everything waits.
    fn work(&mut self, stage: &mut Stage, watch: &mut Watch) {
        while let Some(memory) = self.memory.as_mut().filter(|memory| memory.writing.is_none()) {
            if memory.waiting.is_empty() && memory.chores.is_empty() {
                return;
            }
            let waiting = std::mem::take(&mut memory.waiting);
            let chores = std::mem::take(&mut memory.chores);
            let mut requests: Vec<Request> = chores
                .into_iter()
                .map(|command| Request::new(Actor::Hub, command))
                .collect();
            let mut askers = vec![None; requests.len()];
            for asked in waiting {
                let (peer, number) = (asked.from, asked.number);
                match asked.ask {
                    Ask::Command(command, key) => {
                        let actor = self.cast.actor(peer);
                        if let Err(problem) = self.require_uploads(&actor, &command) {
                            self.reply(peer, number, &Reply::Refused(problem), stage, watch);
                            continue;
                        }
                        stage.tell("asked", || format!("{actor}: {command:?}"));
                        requests.push(Request {
                            actor,
                            key,
                            command: *command,
                        });
                        askers.push(Some((peer, number)));
                    }
                    read => {
                        let asked = Asked {
                            from: peer,
                            number,
                            ask: read,
                        };
                        self.read(asked, stage, watch);
                    }
                }
            }
            self.turn(&requests, askers, stage, watch);
        }
    }

    fn turn(
        &mut self,
        requests: &[Request],
        askers: Vec<Option<(Peer, u64)>>,
        stage: &mut Stage,
        watch: &mut Watch,
    ) {
        let now = self.now(stage);
        let Some(memory) = &mut self.memory else { return };
        let Turn { mut entries, answers } = desk::carry_out(&mut memory.state, requests, now);
        if let Some(bug) = self.bug {
            bug.tamper(&mut memory.state, &mut entries);
        }
        for entry in &entries {
            stage.tell("decided", || format!("{:?}", entry.events));
        }
        let answers = askers.into_iter().zip(answers).filter_map(|(asker, answer)| {
            let (peer, number) = asker?;
            let reply = match answer {
                Ok(granted) => Reply::Granted(granted),
                Err(refusal) => Reply::Refused(refusal.into()),
            };
            Some((peer, number, reply))
        });
        let answers: Vec<(Peer, u64, Reply)> = answers.collect();
        if entries.is_empty() {
            let seq = self.log.len() as u64;
            for (peer, number, reply) in answers {
                self.reply(peer, number, &fill_in(reply, seq), stage, watch);
            }
            return;
        }
        let mut writing = Writing { entries, answers };
        if self.bug == Some(Bug::ConfirmsBeforeCommit) {
            let seq = (self.log.len() + writing.entries.len()) as u64;
            for (peer, number, reply) in writing.answers.drain(..) {
                self.reply(peer, number, &fill_in(reply, seq), stage, watch);
            }
        }
        let Some(memory) = &mut self.memory else { return };
        memory.writing = Some(writing);
        let delay = stage.dice.between(1, self.sync);
        stage.after(delay, Event::Synced(self.life));
    }

    /// Everything but commands.
    fn read(&mut self, asked: Asked, stage: &mut Stage, watch: &mut Watch) {
        let (peer, number) = (asked.from, asked.number);
        let actor = self.cast.actor(peer);
        let Some(memory) = &mut self.memory else { return };
        let reply = match asked.ask {
            Ask::Orders { from, known } => {
                let Actor::Site(site) = actor else { return };
                memory.heard.entry(site).or_insert((0, 0)).1 += 1;
                stage.after(WAIT, Event::PollEnds(self.life, peer, number));
                memory.polls.push(Poll {
                    peer,
                    number,
                    from,
                    known,
                });
                return self.look_at_polls(stage, watch);
            }
            Ask::Upload(bytes) => {
                let digest = Digest::of(&bytes);
                let len = bytes.len() as u64;
                self.blobs.insert(digest, bytes);
                memory.uploads.insert((actor.to_string(), digest));
                Reply::Stored(digest, len)
            }
            Ask::Fetch(id) => {
                let allowed = match self.bug {
                    Some(Bug::LetsAnyoneRead) => Ok(()),
                    _ => desk::readable(&memory.state, &actor, &id).map(drop),
                };
                match (allowed, self.blobs.get(&id.digest)) {
                    (Ok(()), Some(bytes)) => {
                        watch.let_out(&actor, &id);
                        Reply::Bytes(bytes.clone())
                    }
                    (Ok(()), None) => Reply::Refused(Problem::new(404, "not-found", "no such bytes")),
                    (Err(problem), _) => Reply::Refused(problem),
                }
            }
            Ask::Progress => Reply::Heard,
            Ask::Command(..) | Ask::Hand { .. } => return,
        };
        self.reply(peer, number, &reply, stage, watch);
    }

    /// Answers every open request for orders that has news.
    fn look_at_polls(&mut self, stage: &mut Stage, watch: &mut Watch) {
        let Some(memory) = &self.memory else { return };
        let mut news = Vec::new();
        for poll in &memory.polls {
            let Actor::Site(site) = self.cast.actor(poll.peer) else {
                continue;
            };
            let orders = desk::orders(&memory.state, &site, poll.from);
            let body = serde_json::to_vec(&orders).expect("orders are plain data");
            let tag = Digest::of(&body).to_string();
            if tag != poll.known {
                news.push((poll.peer, poll.number, Reply::Orders(Some((tag, orders)))));
            }
        }
        for (peer, number, reply) in news {
            self.close_poll(peer, Some(number), stage.now);
            self.reply(peer, number, &reply, stage, watch);
        }
    }

    fn close_poll(&mut self, peer: Peer, number: Option<u64>, now: Millis) -> Option<Poll> {
        let memory = self.memory.as_mut()?;
        let which = |poll: &Poll| poll.peer == peer && number.is_none_or(|number| number == poll.number);
        let index = memory.polls.iter().position(which)?;
        let poll = memory.polls.remove(index);
        if let Actor::Site(site) = self.cast.actor(peer)
            && let Some((last, open)) = memory.heard.get_mut(&site)
        {
            (*last, *open) = (now, *open - 1);
        }
        Some(poll)
    }

    fn reply(&self, peer: Peer, number: u64, reply: &Reply, stage: &mut Stage, watch: &mut Watch) {
        match reply {
            Reply::Granted(granted) => watch.confirmed(granted.seq),
            Reply::Refused(problem) => {
                stage.tell("refused", || format!("{}: {problem}", self.cast.actor(peer)));
            }
            _ => {}
        }
        stage.answer(peer, number, reply);
    }

    /// As the handlers of `server` do before they ask the rules.
    fn require_uploads(&self, actor: &Actor, command: &Command) -> Result<(), Problem> {
        let digests: Vec<Digest> = match command {
            Command::Contribute { update, .. } => vec![update.digest],
            Command::Checkpoint { digest, .. } => vec![*digest],
            Command::Leave { outputs, .. } => outputs.iter().map(|output| output.id.digest).collect(),
            _ => Vec::new(),
        };
        let who = actor.to_string();
        let has = |digest: &Digest| {
            let memory = self.memory.as_ref();
            memory.is_some_and(|memory| memory.uploads.contains(&(who.clone(), *digest)))
        };
        match digests.iter().find(|digest| !has(digest)) {
            Some(digest) => Err(Problem::new(
                422,
                "not-uploaded",
                format!("no bytes of {digest} from {who}"),
            )),
            None => Ok(()),
        }
    }
}

fn fill_in(reply: Reply, seq: u64) -> Reply {
    match reply {
        Reply::Granted(granted) => Reply::Granted(Granted { seq, ..granted }),
        other => other,
    }
}

/// A state before everything; parsing its policy takes longer than all the rest of a start.
pub(crate) fn empty() -> &'static State {
    static EMPTY: OnceLock<State> = OnceLock::new();
    EMPTY.get_or_init(State::default)
}

/// The entries that a log's bytes hold.
pub(crate) fn entries(log: &[Bytes]) -> impl Iterator<Item = Entry> {
    log.iter().map(|record| {
        let (actor, at, events) = serde_json::from_slice(record).expect("the log holds what was written");
        Entry { actor, at, events }
    })
}

/// The state that a log's bytes give.
pub(crate) fn replay(log: &[Bytes]) -> State {
    let mut state = empty().clone();
    for entry in entries(log) {
        for event in &entry.events {
            consortium::apply(&mut state, event, entry.at);
        }
    }
    state
}
