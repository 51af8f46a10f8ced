//! A site: the product's own [`Machine`] with simulated hands. What the machine says to do takes time, and the
//! process, its program or the power may be gone before it is done.

use crate::Bug;
use crate::cast::Cast;
use crate::disk::{Bytes, Disk};
use crate::foul::Foul;
use crate::holds::Watch;
use crate::masked;
use crate::stage::{Ask, Asked, Event, Millis, Peer, Reply, Stage};
use crate::trainer::{Act, Trainer};
use api::{ApiError, Problem};
use consortium::{ArtifactId, Command, Digest, JobId, SiteId};
use site::{Answer, Circle, Do, Files, Heard, Machine, SiteError};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;
use sync::{Order, Said};

/// How long the poller leaves a hub alone that can't be reached, at first and at most, as in `site`.
const PAUSES: (Millis, Millis) = (250, 10_000);

pub(crate) struct Place {
    index: usize,
    id: SiteId,
    cast: Cast,
    disk: Disk,
    life: u32,
    process: Option<Process>,
    /// Its disk takes so much longer.
    pub(crate) slow: Millis,
    bug: Option<Bug>,
    foul: Option<Foul>,
}

struct Process {
    machine: Machine,
    began: Millis,
    /// What was heard and is not told yet.
    inbox: VecDeque<Heard>,
    /// What is under way by the request's number, with the machine's.
    doing: BTreeMap<u64, (u64, Do)>,
    poller: Poller,
    program: Option<Program>,
    circle: Circle,
    /// What it can hand to other sites.
    shelf: BTreeMap<(JobId, Digest), String>,
    requests: u64,
    /// When it looks at the clock next.
    wake: Option<Millis>,
}

#[derive(Default)]
struct Poller {
    /// The request that is open, and since when.
    open: Option<u64>,
    asked: Millis,
    refresh: bool,
    known: String,
    pause: Millis,
}

struct Program {
    number: u64,
    folder: String,
    trainer: Option<Trainer>,
    orders: VecDeque<Order>,
    acts: VecDeque<Act>,
    /// A step is scheduled.
    busy: bool,
    ended: bool,
}

impl Place {
    pub(crate) fn new(index: usize, cast: &Cast, bug: Option<Bug>) -> Self {
        Self {
            index,
            id: cast.site(index),
            cast: cast.clone(),
            disk: Disk::default(),
            life: 0,
            process: None,
            slow: 0,
            bug,
            foul: cast.foul(index).cloned(),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::Site {
            site: self.index,
            life: self.life,
        }
    }

    pub(crate) fn boot(&mut self, stage: &mut Stage) {
        if self.process.is_some() {
            return;
        }
        self.life += 1;
        stage.tell("site starts", || self.id.to_string());
        self.process = Some(Process {
            machine: Machine::new(self.id.clone()),
            began: stage.now,
            inbox: VecDeque::new(),
            doing: BTreeMap::new(),
            poller: Poller {
                pause: PAUSES.0,
                ..Poller::default()
            },
            program: None,
            circle: Circle::default(),
            shelf: BTreeMap::new(),
            requests: 0,
            wake: None,
        });
        self.poll(self.life, stage);
    }

    /// The process ends, and its program with it. Its disk is as it was, or as the power cut leaves it.
    pub(crate) fn crash(&mut self, power: bool, stage: &mut Stage) -> bool {
        let was_there = self.process.take().is_some();
        if was_there {
            stage.tell("site crashes", || format!("{}, power lost: {power}", self.id));
            if power {
                self.disk.lose_power(&mut stage.dice);
            } else {
                stage.hang_up(self.peer());
            }
        }
        was_there
    }

    /// Only the program ends.
    pub(crate) fn kill_program(&mut self, stage: &mut Stage, watch: &mut Watch) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        let Some(program) = process.program.take().filter(|program| !program.ended) else {
            return false;
        };
        stage.tell("program crashes", || format!("at {}", self.id));
        process
            .inbox
            .push_back(Heard::Ended(program.number, "it was killed".into()));
        self.pump(stage, watch);
        true
    }

    pub(crate) fn wake(&mut self, life: u32, stage: &mut Stage, watch: &mut Watch) {
        if let Some(process) = self.process.as_mut().filter(|_| life == self.life)
            && process.wake.is_some_and(|at| at <= stage.now)
        {
            process.wake = None;
            self.pump(stage, watch);
        }
    }

    pub(crate) fn answered(
        &mut self,
        life: u32,
        number: u64,
        reply: Reply,
        stage: &mut Stage,
        watch: &mut Watch,
    ) {
        let Some(process) = self.process.as_mut().filter(|_| life == self.life) else {
            return;
        };
        if process.poller.open == Some(number) {
            process.poller.open = None;
            self.polled(reply, stage, watch);
        } else if let Some((number, todo)) = process.doing.remove(&number) {
            let answer = match (todo, reply) {
                (
                    Do::Fetch {
                        job,
                        id,
                        file,
                        mut peers,
                    },
                    Reply::Refused(_) | Reply::Away,
                ) if !peers.is_empty() => {
                    peers.remove(0);
                    self.begin(number, Do::Fetch { job, id, file, peers }, stage)
                }
                (todo, reply) => Some(self.done(&todo, reply)),
            };
            if let Some(answer) = answer {
                self.tell_machine(number, answer, stage, watch);
            }
            self.pump(stage, watch);
        }
    }

    /// Another site wants something of what is here.
    pub(crate) fn asked(&mut self, asked: &Asked, stage: &mut Stage, watch: &mut Watch) {
        let (Ask::Hand { job, id, .. }, Peer::Site { site, .. }) = (&asked.ask, asked.from) else {
            return;
        };
        let by = self.cast.site(site);
        let reply = match &self.process {
            None => Reply::Away,
            Some(process) => match self.hands(process, *job, id, &by, stage.now) {
                Some(bytes) => {
                    watch.handed(&by, id);
                    Reply::Bytes(bytes)
                }
                None => Reply::Refused(Problem::new(404, "not-found", "not here, or not for this site")),
            },
        };
        stage.answer_of(self.index, asked.from, asked.number, &reply);
    }

    fn hands(
        &self,
        process: &Process,
        job: JobId,
        id: &ArtifactId,
        by: &SiteId,
        now: Millis,
    ) -> Option<Bytes> {
        let now = since(process.began, now);
        let may = process.circle.hands(job, by, now) || self.bug == Some(Bug::HandsToAnyone);
        let path = process.shelf.get(&(job, id.digest)).filter(|_| may)?;
        let bytes = self.disk.read(path)?;
        (Digest::of(bytes) == id.digest).then(|| bytes.clone())
    }

    /// The poller's next request.
    pub(crate) fn poll(&mut self, life: u32, stage: &mut Stage) {
        let peer = self.peer();
        let Some(process) = self.process.as_mut().filter(|_| life == self.life) else {
            return;
        };
        let poller = &mut process.poller;
        if std::mem::take(&mut poller.refresh) {
            poller.known.clear();
        }
        process.requests += 1;
        poller.open = Some(process.requests);
        poller.asked = stage.now;
        let ask = Ask::Orders {
            from: process.machine.committed(),
            known: poller.known.clone(),
        };
        stage.ask(peer, process.requests, &ask);
    }

    /// The program's next step.
    pub(crate) fn program(&mut self, life: u32, number: u64, stage: &mut Stage, watch: &mut Watch) {
        let Some(process) = self.process.as_mut().filter(|_| life == self.life) else {
            return;
        };
        let Some(program) = process
            .program
            .as_mut()
            .filter(|program| program.number == number)
        else {
            return;
        };
        program.busy = false;
        match program.acts.pop_front() {
            Some(Act::Write(path, bytes)) => self.disk.write_whole(&path, bytes),
            Some(Act::Say(said)) => {
                program.ended |= matches!(said, Said::Failed { .. } | Said::Done { .. });
                stage.tell("said", || format!("{}: {said:?}", self.id));
                process.inbox.push_back(Heard::Said(number, said));
                if program.ended {
                    process
                        .inbox
                        .push_back(Heard::Ended(number, "it closed its output".into()));
                }
            }
            None => program.go_on(&self.disk, self.bug, self.foul.as_ref()),
        }
        program.schedule(self.index, life, self.slow, stage);
        self.pump(stage, watch);
    }

    // ---- the machine -----------------------------------------------------------------------------------

    /// Lets the machine work until it has to wait.
    fn pump(&mut self, stage: &mut Stage, watch: &mut Watch) {
        while let Some(process) = &mut self.process {
            let now = since(process.began, stage.now);
            if let Some((number, todo)) = process.machine.next(now) {
                if let Err(why) = masked::tell(&todo, &self.disk, &mut watch.privacy) {
                    watch.break_off(why);
                }
                if let Some(answer) = self.begin(number, todo, stage) {
                    self.tell_machine(number, answer, stage, watch);
                }
            } else if let Some(heard) = process.inbox.pop_front() {
                process.machine.hear(heard, now);
            } else {
                let patience = process.machine.patience(now).as_millis() as u64 + 1;
                let at = stage.now + patience;
                if process.wake.is_none_or(|wake| wake > at) {
                    process.wake = Some(at);
                    stage.after(patience, Event::Wake(self.index, self.life));
                }
                return;
            }
        }
    }

    fn tell_machine(
        &mut self,
        number: u64,
        answer: Result<Answer, SiteError>,
        stage: &Stage,
        watch: &mut Watch,
    ) {
        let Some(process) = &mut self.process else { return };
        let now = since(process.began, stage.now);
        if let Err(error) = process.machine.answer(number, answer, now) {
            watch.break_off(format!("site {} gave up: {error}", self.id));
        }
    }

    /// Does at once what needs no one else, and answers; or sends a request.
    fn begin(&mut self, number: u64, todo: Do, stage: &mut Stage) -> Option<Result<Answer, SiteError>> {
        let peer = self.peer();
        let process = self.process.as_mut()?;
        let ask = match &todo {
            Do::Ask(command) => Ask::Command(Box::new(command.clone()), key(command)),
            Do::Fetch { job, id, file, peers } => {
                let here = self.disk.read(&path(*job, file));
                if here.is_some_and(|bytes| Digest::of(bytes) == id.digest) {
                    process.shelf.insert((*job, id.digest), path(*job, file));
                    return Some(Ok(Answer::Fetched(0)));
                }
                match peers.first().and_then(|site| self.cast.place(site)) {
                    Some(by) => Ask::Hand {
                        by,
                        job: *job,
                        id: id.clone(),
                    },
                    None => Ask::Fetch(id.clone()),
                }
            }
            Do::Upload { job, file, .. } => match self.disk.read(&path(*job, file)) {
                Some(bytes) => Ask::Upload(bytes.clone()),
                None => return Some(Err(missing(&path(*job, file)))),
            },
            Do::Progress(..) => Ask::Progress,
            Do::Key(_) | Do::Seeds(..) | Do::Mask { .. } | Do::Sum { .. } => {
                stage.tell("does", || format!("{}: {todo:?}", self.id));
                return Some(masked::carry_out(
                    &todo,
                    &mut self.disk,
                    &mut stage.dice,
                    self.bug,
                ));
            }
            local => {
                stage.tell("does", || format!("{}: {local:?}", self.id));
                self.do_here(todo, stage);
                return Some(Ok(Answer::Done));
            }
        };
        process.requests += 1;
        process.doing.insert(process.requests, (number, todo));
        stage.ask(peer, process.requests, &ask);
        None
    }

    fn do_here(&mut self, todo: Do, stage: &mut Stage) {
        let Some(process) = &mut self.process else { return };
        match todo {
            Do::Prepare { job, text } => self.disk.write(&path(job, "job.toml"), text.into_bytes()),
            Do::Start { job, number, .. } => {
                let mut program = Program::new(number, &path(job, ""));
                program.schedule(self.index, self.life, self.slow, stage);
                process.program = Some(program);
            }
            Do::Order(order) => {
                if let Some(program) = &mut process.program {
                    program.orders.push_back(order);
                    program.schedule(self.index, self.life, self.slow, stage);
                }
            }
            Do::Stop => process.program = None,
            Do::Remove(job, Files::Checkpoint) => self.disk.remove(&path(job, "checkpoint/")),
            Do::Remove(job, Files::Updates(round)) => {
                self.disk.remove(&path(job, &format!("updates/{round:06}-")));
            }
            Do::Remove(job, Files::All) => self.disk.remove(&path(job, "")),
            Do::Refresh => process.poller.refresh = true,
            _ => {}
        }
    }

    /// What the reply means to the machine.
    fn done(&mut self, todo: &Do, reply: Reply) -> Result<Answer, SiteError> {
        match (todo, reply) {
            (_, Reply::Refused(problem)) => Err(ApiError::Refused(Box::new(problem)).into()),
            (Do::Ask(Command::Join { .. }), Reply::Granted(granted)) => {
                Ok(Answer::Joined(granted.attempt.expect("a join begins an attempt")))
            }
            (Do::Fetch { job, id, file, .. }, Reply::Bytes(bytes)) => {
                let len = bytes.len() as u64;
                self.disk.write(&path(*job, file), bytes);
                self.shelve(*job, id.digest, file);
                Ok(Answer::Fetched(len))
            }
            (Do::Upload { job, file, .. }, Reply::Stored(digest, bytes)) => {
                self.shelve(*job, digest, file);
                Ok(Answer::Uploaded(digest, bytes))
            }
            (_, Reply::Granted(_) | Reply::Heard) => Ok(Answer::Done),
            (_, _) => Err(ApiError::Unreachable {
                url: "the hub".into(),
                why: "no answer".into(),
            }
            .into()),
        }
    }

    fn shelve(&mut self, job: JobId, digest: Digest, file: &str) {
        if let Some(process) = &mut self.process {
            process.shelf.insert((job, digest), path(job, file));
        }
    }

    /// The poller has an answer.
    fn polled(&mut self, reply: Reply, stage: &mut Stage, watch: &mut Watch) {
        let Some(process) = &mut self.process else { return };
        let poller = &mut process.poller;
        let delay = match reply {
            Reply::Orders(orders) => {
                poller.pause = PAUSES.0;
                let asked = since(process.began, poller.asked);
                process
                    .circle
                    .hear(orders.as_ref().map(|(_, orders)| orders), asked);
                if let Some((tag, orders)) = orders {
                    poller.known = tag;
                    process.inbox.push_back(Heard::Orders(orders));
                }
                0
            }
            Reply::Refused(problem) => {
                watch.break_off(format!("site {} gets no orders: {problem}", self.id));
                return;
            }
            _ => {
                let pause = poller.pause;
                poller.pause = (pause * 2).min(PAUSES.1);
                pause
            }
        };
        self.pump(stage, watch);
        stage.after(delay, Event::Poll(self.index, self.life));
    }
}

impl Program {
    fn new(number: u64, folder: &str) -> Self {
        Self {
            number,
            folder: folder.trim_end_matches('/').to_owned(),
            trainer: None,
            orders: VecDeque::new(),
            acts: VecDeque::new(),
            busy: false,
            ended: false,
        }
    }

    /// Starts, or obeys the next order; what comes of it is done one act at a time.
    fn go_on(&mut self, disk: &Disk, bug: Option<Bug>, foul: Option<&Foul>) {
        let acts = match &mut self.trainer {
            None => Trainer::start(disk, &self.folder, bug, foul).map(|(trainer, acts)| {
                self.trainer = Some(trainer);
                acts
            }),
            Some(trainer) => match self.orders.pop_front() {
                Some(order) => trainer.obey(&order, disk),
                None => Ok(Vec::new()),
            },
        };
        let failed = |message| vec![Act::Say(Said::Failed { message })];
        self.acts.extend(acts.unwrap_or_else(failed));
    }

    /// How long the next step takes, if there is one.
    fn schedule(&mut self, site: usize, life: u32, slow: Millis, stage: &mut Stage) {
        let (least, most) = match (self.acts.front(), &self.trainer, self.orders.front()) {
            _ if self.busy || self.ended => return,
            (Some(Act::Write(..)), ..) => (1 + slow / 2, 50 + slow),
            (Some(Act::Say(_)), ..) => (0, 3),
            (None, None, _) => (20, 2_000),
            (None, _, Some(Order::Train { .. })) => (200, 6_000),
            (None, _, Some(_)) => (10, 400),
            (None, Some(_), None) => return,
        };
        self.busy = true;
        let delay = stage.dice.between(least, most);
        stage.after(delay, Event::Program(site, life, self.number));
    }
}

/// As `api::Client` makes one.
fn key(command: &Command) -> Option<String> {
    match command {
        Command::Leave { job, attempt, .. } => Some(format!("leave {job} {attempt}")),
        _ => None,
    }
}

fn path(job: JobId, file: &str) -> String {
    format!("{job}/{file}")
}

fn missing(path: &str) -> SiteError {
    SiteError::File {
        path: path.into(),
        why: io::ErrorKind::NotFound.into(),
    }
}

fn since(began: Millis, now: Millis) -> Duration {
    Duration::from_millis(now - began)
}
