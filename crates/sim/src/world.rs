//! A story from its seed to its end: the loop over what happens next.

use crate::cast::{Cast, register};
use crate::dice::Dice;
use crate::faults::{Fault, Plan};
use crate::holds::Watch;
use crate::hub::Hub;
use crate::place::Place;
use crate::stage::{Ask, Event, Millis, Peer, Reply, Stage, Trouble};
use crate::{Bug, Failure, Told};
use consortium::{ArtifactId, Command, JobId, Label};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long everything may take once nothing goes wrong any more.
const LONGEST: Millis = 60 * 60 * 1000;
/// How often a site's program is killed at most: after four ends without a word a job fails, as it should.
const PROGRAM_DEATHS: usize = 3;

/// Bits a second of a site's link. An update has 36 to 532 bytes, and a round's training takes some seconds.
const SPEEDS: [u64; 4] = [1_000, 2_000, 8_000, 1_000_000];

pub(crate) struct World {
    seed: u64,
    stage: Stage,
    plan: Plan,
    hub: Hub,
    places: Vec<Place>,
    person: Person,
    watch: Watch,
    deaths: Vec<usize>,
    cancelled: bool,
    /// A site that is not there any more once everything is put right, where the jobs can do without it.
    gone: Option<usize>,
    faults: BTreeMap<&'static str, u64>,
    /// When everything was put right again.
    healed: Option<Millis>,
}

/// The researcher's command line, which asks until it is answered.
#[derive(Default)]
struct Person {
    requests: u64,
    /// Which job a request was for; none for one that is not repeated.
    asked: BTreeMap<u64, Option<usize>>,
    jobs: BTreeMap<usize, JobId>,
}

impl World {
    pub(crate) fn new(seed: u64, tell: bool, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed);
        let cast = Cast::draw(&mut dice);
        let plan = Plan::draw(&mut dice);
        let mut watch = Watch::new(cast.clone());
        let mut stage = Stage::new(dice.roll(), tell);
        stage.net = plan.net.clone();
        stage.net.speeds = (0..cast.len()).map(|_| dice.pick(&SPEEDS)).collect();
        let hub = Hub::new(cast.clone(), &mut watch, bug);
        let places: Vec<Place> = (0..cast.len())
            .map(|index| Place::new(index, &cast, bug))
            .collect();
        stage.after(0, Event::BootHub);
        for site in 0..places.len() {
            let delay = stage.dice.pick(&[10, 1_000, 10_000, 45_000]);
            stage.after(delay, Event::BootSite(site));
        }
        for job in 0..cast.jobs.len() {
            let delay = stage.dice.below(20_000);
            stage.after(delay, Event::Submit(job));
        }
        stage.after(1, Event::Fault);
        let mut jobs = cast.jobs.iter();
        let can_do_without =
            jobs.all(|job| job.rounds.quorum as usize + cast.foul_in(&job.name) < job.sites as usize);
        let gone = stage.dice.index(2 * places.len());
        Self {
            gone: Some(gone).filter(|gone| can_do_without && *gone < places.len()),
            seed,
            deaths: vec![0; places.len()],
            cancelled: false,
            faults: BTreeMap::new(),
            healed: None,
            person: Person::default(),
            stage,
            plan,
            hub,
            places,
            watch,
        }
    }

    /// Lets everything happen until all jobs have ended.
    pub(crate) fn run(mut self) -> Result<Told, Failure> {
        while let Some(event) = self.stage.next() {
            self.happen(event);
            if let Some(why) = self.watch.broken() {
                return Err(self.failure(why.to_owned()));
            }
            if self.has_ended() {
                return self.end();
            }
            if self.healed.is_some_and(|at| self.stage.now > at + LONGEST) {
                return Err(
                    self.failure("nothing has gone wrong for an hour, and there are jobs that go on".into())
                );
            }
        }
        Err(self.failure("nothing happens any more".into()))
    }

    fn has_ended(&self) -> bool {
        let all = self.person.jobs.len() == self.hub.cast().jobs.len() && self.healed.is_some();
        all && self.hub.is_idle() && self.watch.all_ended()
    }

    fn end(mut self) -> Result<Told, Failure> {
        let ends = match self.hub.state() {
            Some(state) => self
                .watch
                .end(state, &self.hub.log, &self.hub.blobs, self.cancelled),
            None => Err("the hub is gone".into()),
        };
        match ends {
            Err(why) => Err(self.failure(why)),
            Ok(()) => Ok(Told {
                seed: self.seed,
                took: Duration::from_millis(self.stage.now),
                events: self.stage.events,
                records: self.hub.log.len(),
                jobs: self.watch.jobs.len(),
                rounds: self.watch.rounds(),
                changes: self.watch.changes(),
                spoiled: self.watch.inspections.spoiled,
                rejected: self.watch.inspections.rejected,
                stale: self.watch.inspections.stale,
                scaled: self.watch.inspections.scaled,
                sums: self.watch.privacy.sums,
                gone: self.watch.privacy.gone,
                handed: self.watch.handed,
                faults: std::mem::take(&mut self.faults),
                schedule: self.stage.schedule,
            }),
        }
    }

    fn failure(&mut self, why: String) -> Failure {
        Failure {
            seed: self.seed,
            at: Duration::from_millis(self.stage.now),
            why,
            last: self.stage.story(),
        }
    }

    fn happen(&mut self, event: Event) {
        self.watch.now = self.stage.now;
        let (stage, watch) = (&mut self.stage, &mut self.watch);
        match event {
            Event::Asked(asked) => match asked.ask {
                Ask::Hand { by, .. } => self.places[by].asked(&asked, stage, watch),
                _ => self.hub.asked(asked, stage, watch),
            },
            Event::Synced(life) => self.hub.synced(life, stage, watch),
            Event::Tick(life) => self.hub.tick(life, stage, watch),
            Event::PollEnds(life, peer, number) => self.hub.poll_ends(life, peer, number, stage, watch),
            Event::HungUp(peer) => self.hub.hung_up(peer, stage),
            Event::BootHub => self.hub.boot(stage, watch),
            Event::Answered(Peer::Site { site, life }, number, reply) => {
                self.places[site].answered(life, number, reply, stage, watch);
            }
            Event::Timeout(Peer::Site { site, life }, number) => {
                self.places[site].answered(life, number, Reply::Away, stage, watch);
            }
            Event::Answered(Peer::Person, number, reply) => self.person_hears(number, &reply),
            Event::Timeout(Peer::Person, number) => self.person_hears(number, &Reply::Away),
            Event::Submit(job) => self.submit(job),
            Event::Wake(site, life) => self.places[site].wake(life, stage, watch),
            Event::Poll(site, life) => self.places[site].poll(life, stage),
            Event::Program(site, life, number) => self.places[site].program(life, number, stage, watch),
            Event::BootSite(site) if self.healed.is_some() && self.gone == Some(site) => {}
            Event::BootSite(site) => self.places[site].boot(stage),
            Event::Fault => self.fault(),
            Event::Heal(trouble) => self.heal(trouble),
        }
    }

    // ---- the researcher --------------------------------------------------------------------------------

    fn submit(&mut self, job: usize) {
        if !self.person.jobs.contains_key(&job) {
            let command = Command::Submit(self.hub.cast().jobs[job].clone());
            self.person_asks(command, Some(format!("job-{job}")), Some(job));
        }
    }

    fn person_asks(&mut self, command: Command, key: Option<String>, job: Option<usize>) {
        self.person.requests += 1;
        let number = self.person.requests;
        self.person.asked.insert(number, job);
        let ask = Ask::Command(Box::new(command), key);
        self.stage.ask(Peer::Person, number, &ask);
    }

    fn person_hears(&mut self, number: u64, reply: &Reply) {
        let Some(Some(job)) = self.person.asked.remove(&number) else {
            return;
        };
        match reply {
            Reply::Granted(granted) => match granted.job {
                Some(id) => drop(self.person.jobs.insert(job, id)),
                None => self
                    .watch
                    .break_off(format!("job {job} was submitted and got no number")),
            },
            Reply::Refused(problem) => self.watch.break_off(format!("job {job} is refused: {problem}")),
            _ => {
                let delay = self.stage.dice.between(500, 5_000);
                self.stage.after(delay, Event::Submit(job));
            }
        }
    }

    // ---- faults ----------------------------------------------------------------------------------------

    fn fault(&mut self) {
        let Some(delay) = self.plan.next(self.stage.now, &mut self.stage.dice) else {
            return self.put_right();
        };
        if self.stage.now > 1 {
            let fault = self.plan.pick(&mut self.stage.dice);
            if self.go_wrong(fault) {
                self.stage.tell("fault", || fault.name().to_owned());
                *self.faults.entry(fault.name()).or_default() += 1;
            }
        }
        self.stage.after(delay, Event::Fault);
    }

    /// Whether there was anything to go wrong.
    fn go_wrong(&mut self, fault: Fault) -> bool {
        let (stage, watch) = (&mut self.stage, &mut self.watch);
        let site = stage.dice.index(self.places.len());
        let long = stage.dice.pick(&[300, 3_000, 30_000, 70_000]);
        match fault {
            Fault::KillSite | Fault::CutSitePower => {
                let delay = stage.dice.pick(&[200, 3_000, 20_000, 60_000]);
                stage.after(delay, Event::BootSite(site));
                return self.places[site].crash(fault == Fault::CutSitePower, stage);
            }
            Fault::KillProgram => {
                let may = self.deaths[site] < PROGRAM_DEATHS;
                let did = may && self.places[site].kill_program(stage, watch);
                self.deaths[site] += usize::from(did);
                return did;
            }
            Fault::KillHub | Fault::CutHubPower => {
                let delay = stage.dice.pick(&[200, 2_000, 20_000]);
                self.hub.crash(fault == Fault::CutHubPower, stage, watch);
                stage.after(delay, Event::BootHub);
            }
            Fault::CutOff => {
                let way = stage
                    .dice
                    .pick(&[(true, true), (true, true), (true, false), (false, true)]);
                stage.net.cut.insert(site, way);
                stage.after(long, Event::Heal(Trouble::Cut(site)));
            }
            Fault::SlowNet => {
                stage.net.slow = stage.dice.between(2, 60);
                stage.after(long, Event::Heal(Trouble::SlowNet));
            }
            Fault::SlowHub => {
                self.hub.sync = stage.dice.between(100, 5_000);
                stage.after(long, Event::Heal(Trouble::SlowHub));
            }
            Fault::SlowSite => {
                self.places[site].slow = stage.dice.between(100, 5_000);
                stage.after(long, Event::Heal(Trouble::SlowSite(site)));
            }
            Fault::Jump => {
                // Back by two minutes at most: the rules measure by the hub's clock, so what they wait for takes
                // that much longer.
                let step = stage.dice.pick(&[-120_000, -5_000, -100, 100, 5_000, 3_600_000]);
                self.hub.skew += step;
            }
            Fault::Pry => return self.pry(site),
            Fault::Cancel => {
                let Some(job) = self.person.jobs.values().next().copied() else {
                    return false;
                };
                self.cancelled = true;
                self.person_asks(Command::Cancel(job), Some("cancel".into()), None);
            }
            Fault::Restrict => {
                // It may cost a job its sites abroad; then it can't do without another one.
                self.gone = None;
                self.person_asks(register(Label::Open, Label::Restricted), None, None);
            }
        }
        true
    }

    /// A site asks for anything that the hub keeps, the hub or another site.
    fn pry(&mut self, site: usize) -> bool {
        let Some(state) = self.hub.state() else {
            return false;
        };
        let artifacts: Vec<ArtifactId> = state.artifacts.keys().cloned().collect();
        let id = artifacts[self.stage.dice.index(artifacts.len())].clone();
        let peer = self.places[site].peer();
        let job = self.person.jobs.values().next().copied();
        let ask = match job.filter(|_| self.stage.dice.one_in(2)) {
            Some(job) => {
                let by = self.stage.dice.index(self.places.len());
                Ask::Hand { by, job, id }
            }
            None => Ask::Fetch(id),
        };
        // A number that no request of the machine has: the answer goes nowhere.
        self.stage.ask(peer, u64::MAX, &ask);
        true
    }

    fn heal(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Cut(site) => drop(self.stage.net.cut.remove(&site)),
            Trouble::SlowNet => self.stage.net.slow = 1,
            Trouble::SlowHub => self.hub.sync = 20,
            Trouble::SlowSite(site) => self.places[site].slow = 0,
        }
    }

    /// From here on nothing goes wrong any more.
    fn put_right(&mut self) {
        let stage = &mut self.stage;
        stage.tell("all is put right", String::new);
        self.healed = Some(stage.now);
        let net = &mut stage.net;
        (net.lost, net.twice, net.late, net.slow) = (0, 0, 0, 1);
        net.cut.clear();
        self.hub.sync = 20;
        for place in &mut self.places {
            place.slow = 0;
        }
        stage.after(0, Event::BootHub);
        if let Some(gone) = self.gone {
            self.places[gone].crash(true, stage);
        }
        for site in 0..self.places.len() {
            stage.after(50_000, Event::BootSite(site));
        }
    }
}
