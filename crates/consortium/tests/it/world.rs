//! A small consortium for the stories beside this file, with a clock that the test turns:
//!
//! | organisation | people | site, won a PFLOP-hour |
//! |---|---|---|
//! | `office` | `director`, `inspector` (the auditor) | |
//! | `hangang`, a cloud company | `jun` | `hangang`, 9,000,000 |
//! | `bada`, a telephone company | | `bada`, 8,000,000 |
//! | `gaon`, a university | `minji` | |
//! | `rhein`, a foreign institute | `anna`, `otto` | `rhein`, 7,000,000 |
//!
//! `minji` and `anna` work on the project `reviews`, which has the award `first`.

use consortium::{
    Account, Actor, Artifact, ArtifactId, ArtifactKind, Award, Command, Digest, Event, Exit, FlopSeconds,
    FlopsPerSecond, Home, Job, JobId, JobSpec, Kind, Label, Ledger, Organisation, Output, Person, Price,
    Programme, Project, Reading, Refusal, Request, Role, RoundSpec, Site, SiteId, State, Tenure, Time,
    Update, Usage, Won, apply, decide,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

/// More ticks than any command has consequences; a tick that always finds something to do is a defect.
const MOST_TICKS: usize = 1_000;

/// The state, the clock, and everything that has happened. When a story ends, its log is replayed and must
/// give the same state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Time,
    pub(crate) log: Vec<(Event, Time)>,
}

impl World {
    /// Everyone is there, nobody has a site.
    pub(crate) fn without_sites() -> Self {
        let mut world = Self {
            state: State::default(),
            now: Time(1_000_000),
            log: Vec::new(),
        };
        let organisations = [
            (
                "office",
                "Programme Office",
                "사업단",
                Kind::Public,
                Home::Domestic,
            ),
            (
                "hangang",
                "Hangang Cloud",
                "한강클라우드",
                Kind::Company,
                Home::Domestic,
            ),
            (
                "bada",
                "Bada Telephone",
                "바다전화",
                Kind::Company,
                Home::Domestic,
            ),
            (
                "gaon",
                "Gaon University",
                "가온대학교",
                Kind::University,
                Home::Domestic,
            ),
            (
                "rhein",
                "Rhein Institute",
                "라인연구소",
                Kind::Institute,
                Home::Foreign,
            ),
        ];
        for (name, english, korean, kind, home) in organisations {
            world.must(
                Actor::Hub,
                Command::Admit(Organisation {
                    id: id(name),
                    name: english.into(),
                    name_ko: korean.into(),
                    kind,
                    home,
                }),
            );
        }
        let people = [
            ("director", "office", Some(Role::Office)),
            ("inspector", "office", Some(Role::Auditor)),
            ("jun", "hangang", None),
            ("minji", "gaon", None),
            ("anna", "rhein", None),
            ("otto", "rhein", None),
        ];
        for (name, organisation, role) in people {
            world.must(
                Actor::Hub,
                Command::AddPerson(Person {
                    id: id(name),
                    organisation: id(organisation),
                    roles: role.into_iter().collect(),
                }),
            );
        }
        let office = person("director");
        world.must(
            office.clone(),
            Command::OpenProject(Project {
                id: id("reviews"),
                title: "Reviews in Korean".into(),
                organisation: id("gaon"),
                programme: Programme::Language,
                members: [id("minji"), id("anna")].into(),
            }),
        );
        world.must(
            office,
            Command::Appropriate {
                year: 2021,
                won: Won(10_000_000),
            },
        );
        world.must(Actor::Hub, Command::Grant(award("first", 1_000_000, 100)));
        world
    }

    /// Everyone is there, with three sites.
    pub(crate) fn founded() -> Self {
        let mut world = Self::without_sites();
        for (name, price) in [("hangang", 9_000_000), ("bada", 8_000_000), ("rhein", 7_000_000)] {
            world.add_site(name, name, Price(price), RATED);
        }
        world
    }

    /// Everyone is there, with one site of eight GPUs, where a GPU for an hour costs 3,000 won.
    pub(crate) fn with_gpus() -> Self {
        let mut world = Self::without_sites();
        world.must(
            person("director"),
            Command::AddSite(Site {
                id: id("hangang"),
                owner: id("hangang"),
                tenure: Tenure::Rented,
                rated: RATED,
                price: Price(8_000_000),
                gpus: 8,
                gpu: Some("a100".into()),
                marginal: None,
            }),
        );
        world
    }

    pub(crate) fn add_site(&mut self, name: &str, owner: &str, price: Price, rated: FlopsPerSecond) {
        let tenure = Tenure::Member;
        let (id, owner) = (id(name), id(owner));
        self.must(
            person("director"),
            Command::AddSite(Site {
                id,
                owner,
                tenure,
                rated,
                price,
                gpus: 1,
                gpu: None,
                marginal: None,
            }),
        );
    }

    // ---- asking --------------------------------------------------------------------------------------

    /// Decides, applies, and then ticks until nothing follows, as the hub does. Answers all that happened.
    pub(crate) fn ask(&mut self, actor: Actor, command: Command) -> Result<Vec<Event>, Refusal> {
        self.request(&Request::new(actor, command))
    }

    /// The same for a request that may have a key.
    pub(crate) fn request(&mut self, request: &Request) -> Result<Vec<Event>, Refusal> {
        let mut happened = self.request_only(request)?;
        happened.extend(self.tick());
        Ok(happened)
    }

    /// Without what follows: the hub decides several requests before it ticks when they come together.
    pub(crate) fn request_only(&mut self, request: &Request) -> Result<Vec<Event>, Refusal> {
        let events = decide(&self.state, request, self.now)?;
        self.happen(&events);
        Ok(events)
    }

    /// What follows by now.
    pub(crate) fn tick(&mut self) -> Vec<Event> {
        let tick = Request::new(Actor::Hub, Command::Tick);
        let mut happened = Vec::new();
        for _ in 0..MOST_TICKS {
            let events = decide(&self.state, &tick, self.now).expect("a tick is never refused");
            if events.is_empty() {
                return happened;
            }
            self.happen(&events);
            happened.extend(events);
        }
        panic!("something always follows; last: {:?}", happened.last());
    }

    /// Lets `seconds` pass, and what follows from that happen.
    pub(crate) fn wait(&mut self, seconds: u64) -> Vec<Event> {
        self.now = self.now.plus(seconds * 1_000);
        self.tick()
    }

    /// What is awarded to nobody, of all years.
    pub(crate) fn pool(&self) -> i64 {
        let pools = self.state.ledger.balances();
        let pools = pools.filter(|(account, _)| matches!(account, Account::Pool(_)));
        pools.map(|(_, balance)| balance.won.0).sum()
    }

    /// What must be granted for the story to go on.
    pub(crate) fn must(&mut self, actor: Actor, command: Command) -> Vec<Event> {
        let asked = format!("{command:?}");
        self.ask(actor, command)
            .unwrap_or_else(|refusal| panic!("{refusal}\nasked: {asked}"))
    }

    fn happen(&mut self, events: &[Event]) {
        for event in events {
            apply(&mut self.state, event, self.now);
            self.log.push((event.clone(), self.now));
        }
        self.state.ledger.audit().expect("the books balance");
    }

    // ---- what people and sites of a story do -----------------------------------------------------------

    /// Submits by `minji`.
    pub(crate) fn submit(&mut self, spec: JobSpec) -> JobId {
        let happened = self.must(person("minji"), Command::Submit(spec));
        let submitted = |event: &Event| match event {
            Event::Submitted { job, .. } => Some(*job),
            _ => None,
        };
        happened.iter().find_map(submitted).expect("a job was submitted")
    }

    /// Keeps a data set of the project `reviews`.
    pub(crate) fn register(&mut self, text: &str, label: Label, made_from: &[Digest]) -> Digest {
        let made_from = made_from.to_vec();
        let output = Output {
            label,
            made_from,
            kind: ArtifactKind::Dataset,
            ..output(text)
        };
        let digest = output.id.digest;
        self.must(person("minji"), Command::Register(output));
        digest
    }

    pub(crate) fn join(&mut self, job: JobId, sites: &[&str]) -> Vec<Event> {
        sites
            .iter()
            .flat_map(|name| self.must(site(name), Command::Join { job }))
            .collect()
    }

    pub(crate) fn contribute(&mut self, job: JobId, round: u32, name: &str) -> Result<Vec<Event>, Refusal> {
        let attempt = self.attempt(job, name);
        let update = update(&format!("{job} {round} {name}"));
        self.ask(
            site(name),
            Command::Contribute {
                job,
                round,
                attempt,
                update,
            },
        )
    }

    /// `outer` is any text that stands for the weights that the site reached.
    pub(crate) fn applied(
        &mut self,
        job: JobId,
        round: u32,
        name: &str,
        outer: &str,
    ) -> Result<Vec<Event>, Refusal> {
        let attempt = self.attempt(job, name);
        let outer = Digest::of(outer.as_bytes());
        self.ask(
            site(name),
            Command::Applied {
                job,
                round,
                attempt,
                outer,
            },
        )
    }

    /// Keeps a checkpoint after `round`.
    pub(crate) fn checkpoint(&mut self, job: JobId, round: u32, name: &str) -> Result<Vec<Event>, Refusal> {
        let attempt = self.attempt(job, name);
        let digest = Digest::of(format!("{job} after {round}").as_bytes());
        self.ask(
            site(name),
            Command::Checkpoint {
                job,
                round,
                attempt,
                digest,
                bytes: 8_000_000,
            },
        )
    }

    /// Meters so many milliseconds in all of the site's attempt.
    pub(crate) fn meter(&mut self, job: JobId, name: &str, millis: u64) -> Result<Vec<Event>, Refusal> {
        let (attempt, total) = (
            self.attempt(job, name),
            Usage {
                millis,
                sent: millis,
                received: millis,
                ..Usage::default()
            },
        );
        self.ask(
            site(name),
            Command::Meter {
                job,
                reading: Reading { attempt, total },
            },
        )
    }

    pub(crate) fn leave(
        &mut self,
        job: JobId,
        name: &str,
        outputs: &[Output],
    ) -> Result<Vec<Event>, Refusal> {
        let (attempt, outputs) = (self.attempt(job, name), outputs.to_vec());
        self.ask(
            site(name),
            Command::Leave {
                job,
                attempt,
                outputs,
            },
        )
    }

    pub(crate) fn fail(&mut self, job: JobId, name: &str, message: &str) -> Result<Vec<Event>, Refusal> {
        let (attempt, message) = (self.attempt(job, name), message.to_owned());
        self.ask(
            site(name),
            Command::Fail {
                job,
                attempt,
                message,
            },
        )
    }

    pub(crate) fn lose(&mut self, job: JobId, name: &str) -> Vec<Event> {
        let (attempt, site) = (self.attempt(job, name), id(name));
        self.must(Actor::Hub, Command::Lose { job, site, attempt })
    }

    /// Every site of an open round contributes, then applies the same weights.
    pub(crate) fn train(&mut self, job: JobId) {
        let round = self
            .job(job)
            .open_rounds()
            .next()
            .expect("a round is open")
            .clone();
        for site in round.members.keys() {
            self.contribute(job, round.number, site.as_str())
                .expect("the round is open");
        }
        for site in round.members.keys() {
            let weights = format!("weights after {}", round.number);
            self.applied(job, round.number, site.as_str(), &weights)
                .expect("the round is closed");
        }
    }

    // ---- looking -------------------------------------------------------------------------------------

    pub(crate) fn job(&self, job: JobId) -> &Job {
        &self.state.jobs[&job]
    }

    /// The site's current attempt in the job; 0 before the first.
    /// A batch job ends at a site.
    pub(crate) fn end(&mut self, job: JobId, name: &str, exit: Exit, outputs: Vec<Output>) -> Vec<Event> {
        let attempt = self.attempt(job, name);
        let end = Command::End {
            job,
            attempt,
            exit,
            outputs,
        };
        self.must(site(name), end)
    }

    pub(crate) fn attempt(&self, job: JobId, site: &str) -> u32 {
        let member = self.job(job).members.get(&id::<SiteId>(site));
        member.map_or(0, |member| member.attempt)
    }

    pub(crate) fn won(&self, account: &Account) -> i64 {
        self.state.ledger.balance(account).won.0
    }

    pub(crate) fn artifact(&self, digest: Digest) -> &Artifact {
        &self.state.artifacts[&ArtifactId {
            project: id("reviews"),
            digest,
        }]
    }

    /// Nothing is set aside any more; what was not spent is the project's again.
    pub(crate) fn assert_settled(&self, job: JobId) {
        let ended = self.job(job);
        assert!(!self.state.active.contains(&job) && ended.ended == Some(self.now));
        for site in ended.members.keys() {
            let held = self.state.ledger.balance(&reserved(job, site.as_str()));
            assert_eq!((held.won.0, held.compute.0), (0, 0), "set aside at {site}");
        }
        let award = self.state.ledger.balance(&first_award());
        assert_eq!(award.won, Won(1_000_000) - ended.spent());
        assert_eq!(
            award.compute,
            self.state.awards[&id("first")].compute - ended.used()
        );
    }

    /// The state as the log alone gives it.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::default();
        for (event, at) in &self.log {
            apply(&mut state, event, *at);
        }
        state
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.replayed() == self.state, "the log gives another state");
        }
    }
}

// ---- the nouns of a story ------------------------------------------------------------------------------

/// At this speed a minute costs 50 won per million of price.
pub(crate) const RATED: FlopsPerSecond = FlopsPerSecond(3_000_000_000_000);

pub(crate) fn id<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("names in tests are well formed")
}

pub(crate) fn person(name: &str) -> Actor {
    Actor::Person(id(name))
}

pub(crate) fn site(name: &str) -> Actor {
    Actor::Site(id(name))
}

pub(crate) fn award(name: &str, won: i64, pflop_hours: i64) -> Award {
    Award {
        id: id(name),
        project: id("reviews"),
        won: Won(won),
        compute: FlopSeconds::from_pflop_hours(pflop_hours),
    }
}

/// Restricted, on two sites for twenty minutes: 9,000 won at `hangang`, 8,000 at `bada`, 7,000 at `rhein`.
pub(crate) fn spec() -> JobSpec {
    JobSpec {
        name: "korean-small".into(),
        project: id("reviews"),
        program: "language".into(),
        label: Label::Restricted,
        sites: 2,
        wall_minutes: 20,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs: BTreeMap::new(),
        rounds: RoundSpec {
            count: 2,
            samples: 100,
            quorum: 1,
            grace_seconds: 30,
            ..RoundSpec::default()
        },
        settings: json!({ "width": 192 }),
    }
}

pub(crate) fn update(text: &str) -> Update {
    Update {
        digest: Digest::of(text.as_bytes()),
        bytes: 1_000,
        tokens: 6_400,
        parameters: 1_000_000,
        steps: 10,
        loss_micronats: 3_000_000,
        pace: None,
    }
}

/// An open model of the project `reviews`, whose bytes are `text`.
pub(crate) fn output(text: &str) -> Output {
    Output {
        id: ArtifactId {
            project: id("reviews"),
            digest: Digest::of(text.as_bytes()),
        },
        name: format!("{text}.bin"),
        kind: ArtifactKind::Model,
        bytes: text.len() as u64,
        label: Label::Open,
        made_from: Vec::new(),
    }
}

/// What is set aside for `job` at `site`.
pub(crate) fn reserved(job: JobId, site: &str) -> Account {
    Account::Reserved(job, id(site))
}

/// What `site` has earned.
pub(crate) fn earned(site: &str) -> Account {
    Account::Earned(id(site))
}

/// What the award `first` still holds.
pub(crate) fn first_award() -> Account {
    Account::Award(id("first"))
}

/// The sum of all accounts but the source must be what the source gave.
pub(crate) fn in_circulation(ledger: &Ledger) -> i128 {
    let held = ledger
        .balances()
        .filter(|(account, _)| **account != Account::Source);
    held.map(|(_, balance)| i128::from(balance.won.0)).sum()
}
