//! What is asked in a [`Story`]: by good members of the consortium, and by anyone at all.

use super::{Dice, Story};
use crate::world::{award, id, output, person, site, spec, update};
use consortium::policy::SHIPPED;
use consortium::watch::Terms;
use consortium::{
    Actor, ArtifactId, ArtifactKind, Asking, Award, Bounds, Clipping, CodecSpec, Command, Credential, Digest,
    FlopSeconds, FlopsPerSecond, Found, Holder, Home, Job, JobId, JobSpec, Label, MaskKey, MaskSeed, Mode,
    MoneyCommand, Month, NewOffer, OfferCommand, Organisation, Output, Pace, PeopleCommand, Person, Phase,
    Presence, Price, Project, ProjectId, Reading, Report, Round, RoundSpec, Seeds, Site, SiteId, Standing,
    Tenure, Update, Usage, Won,
};
use std::collections::{BTreeMap, BTreeSet};

const SITES: [&str; 5] = ["hangang", "bada", "rhein", "gaon", "nowhere"];
const PEOPLE: [&str; 7] = ["director", "inspector", "jun", "minji", "anna", "otto", "nobody"];
const FILES: [&str; 6] = ["raw", "tokens", "notes", "model", "job-1 0 bada", "elsewhere"];

impl Story {
    fn job(&mut self) -> JobId {
        let last = self.world.state.jobs.len() as u64;
        JobId(1 + self.dice.below(last + 1))
    }

    /// What becomes of a year's money: mostly of one that is over.
    pub(super) fn year_end(&mut self) -> MoneyCommand {
        let this = Month::of(self.world.now).year();
        let years: Vec<Option<u16>> = self
            .world
            .state
            .appropriations
            .keys()
            .map(|year| Some(*year))
            .collect();
        let from = match self.dice.one_in(8) {
            true => self.dice.pick(&[None, Some(this), Some(u16::MAX)]),
            false => self.dice.pick(&years),
        };
        let won = self.dice.one_in(2).then(|| Won(self.dice.amount(200_000)));
        if self.dice.one_in(3) {
            return MoneyCommand::Return { from, won };
        }
        let to = match self.dice.one_in(8) {
            true => self.dice.pick(&[2021, 2022, 0]),
            false => this,
        };
        MoneyCommand::Carry {
            from,
            to,
            won,
            ground: "a letter".into(),
        }
    }

    /// What a good member of the consortium might ask now.
    pub(super) fn honest(&mut self) -> (Actor, Command) {
        let active: Vec<JobId> = self.world.state.active.iter().copied().collect();
        let placed: Vec<Job> = active
            .iter()
            .map(|id| self.world.job(*id).clone())
            .filter(|job| job.phase != Phase::Queued)
            .collect();
        let room = active.len() < 3;
        match self.dice.below(12) {
            0 if room => return (person("minji"), Command::Submit(self.plausible_spec())),
            1 if self.dice.one_in(10) => return self.office(),
            _ if placed.is_empty() && room => {
                return (person("minji"), Command::Submit(self.plausible_spec()));
            }
            _ if placed.is_empty() => return (person("minji"), Command::Cancel(self.job())),
            _ => {}
        }
        let job = self.dice.pick(&placed);
        let members: Vec<SiteId> = job.members.keys().cloned().collect();
        let site = self.dice.pick(&members);
        if self.dice.one_in(12) {
            let attempt = job.members[&site].attempt;
            return (
                Actor::Hub,
                Command::Lose {
                    job: job.id,
                    site,
                    attempt,
                },
            );
        }
        let command = self.next_of(&job, &site);
        (Actor::Site(site), command)
    }

    /// The next thing that an honest site does in a job.
    fn next_of(&mut self, job: &Job, site: &SiteId) -> Command {
        let (member, id) = (&job.members[site], job.id);
        let attempt = member.attempt;
        let Presence::Present(since) = member.presence else {
            return Command::Join { job: id };
        };
        if self.dice.one_in(5) {
            let last = member.usage.get(&attempt).copied().unwrap_or_default();
            let millis = last.millis.max(self.world.now.since(since));
            let (sent, received) = (last.sent.saturating_add(999), last.received.saturating_add(999));
            let total = Usage {
                millis,
                sent,
                received,
                watched: millis,
                busy: last.busy,
            };
            return Command::Meter {
                job: id,
                reading: Reading { attempt, total },
            };
        }
        let inspected = job.open_rounds().find_map(|round| {
            let told = round.inspection.as_ref()?.reports.contains_key(site);
            (!told).then_some(round)
        });
        if let Some(round) = inspected {
            let updates: Vec<SiteId> = round.updates.keys().cloned().collect();
            return Command::Inspect {
                job: id,
                round: round.number,
                attempt,
                report: self.report(id, round.number, &updates),
            };
        }
        if matches!(job.spec.rounds.mode, Some(Mode::Private(_))) && member.key.is_none() {
            let key = self.mask_key(site);
            return Command::TellKey {
                job: id,
                attempt,
                key,
            };
        }
        if let Some(round) = job.open_rounds().find(|round| round.awaits_seeds_of(site)) {
            let (round, seeds) = (round.number, self.seeds(site, round.left_out()));
            return Command::Unmask {
                job: id,
                round,
                attempt,
                seeds,
            };
        }
        let untold = job
            .rounds
            .iter()
            .find(|round| round.is_closed() && !round.outer.contains_key(site));
        if let Some(round) = untold {
            let weights = if self.dice.one_in(12) {
                "elsewhere"
            } else {
                "after"
            };
            let outer = Digest::of(format!("{id} {weights} {}", round.number).as_bytes());
            return Command::Applied {
                job: id,
                round: round.number,
                attempt,
                outer,
            };
        }
        let told = job
            .rounds
            .iter()
            .rev()
            .find(|round| round.outer.contains_key(site));
        if let Some(round) = told.filter(|_| self.dice.one_in(12)) {
            return Command::Checkpoint {
                job: id,
                round: round.number,
                attempt,
                digest: Digest::of(format!("{id} checkpoint {}", round.number).as_bytes()),
                bytes: 999,
            };
        }
        if attempt > 1 && self.dice.one_in(12) {
            return Command::Reset {
                job: id,
                attempt,
                applied: 0,
            };
        }
        // What it trains next; with an overlap it need not wait for the others.
        let mine = |round: &&Round| round.members.contains_key(site) && !round.updates.contains_key(site);
        if let Some(open) = job.open_rounds().find(mine).or(job.open_round()) {
            let update = update(&format!("{id} {} {site}", open.number));
            return Command::Contribute {
                job: id,
                round: open.number,
                attempt,
                update,
            };
        }
        let results = job.lead() == Some(site) && job.outputs.is_empty();
        let outputs = if results {
            vec![output(&format!("model of {id}"))]
        } else {
            Vec::new()
        };
        Command::Leave {
            job: id,
            attempt,
            outputs,
        }
    }

    /// What a site finds of a round's updates: mostly what they are, which is the same for all who look, else anything.
    fn report(&mut self, job: JobId, round: u32, updates: &[SiteId]) -> Report {
        let mut truth = Dice(job.0 << 32 | u64::from(round));
        let dice = match self.dice.one_in(8) {
            true => &mut self.dice,
            false => &mut truth,
        };
        let found = updates.iter().map(|site| {
            let norm = dice.pick(&[1_000, 1_000, 2_000, 2_000, 99_000]);
            let loss = dice.pick(&[900_000, 900_000, 900_000, 900_000, 2_000_000, i64::MAX]);
            let [norm_told, loss_told] = [(); 2].map(|()| !dice.one_in(12));
            let found = Found {
                norm: norm_told.then_some(norm),
                loss: loss_told.then_some(loss),
            };
            (site.clone(), found)
        });
        Report {
            found: found.collect(),
            before: dice.pick(&[Some(1_000_000), Some(1_000_000), None]),
        }
    }

    fn office(&mut self) -> (Actor, Command) {
        let this = Month::of(self.world.now).year();
        let command = match self.dice.below(10) {
            0 => Command::Appropriate {
                year: this,
                won: Won(1_000_000),
            },
            9 => Command::Money(self.year_end()),
            1 => Command::Grant(award(&self.name("award"), 100_000, 10)),
            2 => Command::AdoptPolicy(self.policy()),
            3 => Command::SetWatch(Some(Terms {
                busy_percent: 50,
                sample_seconds: 1,
                report_minutes: 0,
                warn_minutes: 0,
                reduce_minutes: 1,
                reduce_percent: self.dice.small(100),
            })),
            4 => Command::GiveBack {
                job: self.job(),
                ground: "an appeal".into(),
            },
            5 => Command::People(PeopleCommand::SetStanding {
                person: id(self.dice.pick(&PEOPLE)),
                standing: self
                    .dice
                    .pick(&[Standing::Active, Standing::Active, Standing::Suspended]),
                ground: "a letter".into(),
            }),
            6 => Command::People(PeopleCommand::Enrol {
                project: id("reviews"),
                join: [id(self.dice.pick(&PEOPLE)), id("minji")].into(),
                leave: [id(self.dice.pick(&PEOPLE))].into(),
            }),
            7 => Command::Offer(OfferCommand::Take(
                id(self.dice.pick(&SITES)),
                NewOffer {
                    asking: Asking::GpuHour(Won(self.dice.small(20_000).into())),
                    marginal: None,
                    gpus: Some(self.dice.small(3)),
                    ground: "a contract".into(),
                },
            )),
            _ => Command::AddSite(Site {
                id: id("gaon"),
                owner: id("gaon"),
                tenure: Tenure::Member,
                rated: FlopsPerSecond(1_000_000_000_000),
                price: Price(8_500_000),
                gpus: 1,
                gpu: None,
                marginal: None,
            }),
        };
        (person("director"), command)
    }

    /// Any command by anyone, with any numbers.
    pub(super) fn anything(&mut self) -> (Actor, Command) {
        let actor = match self.dice.below(3) {
            0 => site(self.dice.pick(&SITES)),
            1 => person(self.dice.pick(&PEOPLE)),
            _ => Actor::Hub,
        };
        match self.dice.below(16) {
            0 => (actor, self.founding()),
            1 => (person("director"), self.founding()),
            2 => (person(self.dice.pick(&PEOPLE)), Command::Register(self.output())),
            3 => (person(self.dice.pick(&PEOPLE)), Command::Submit(self.any_spec())),
            4 => {
                let cancelling = self.dice.one_in(3).then(|| self.job());
                (actor, cancelling.map_or(Command::Tick, Command::Cancel))
            }
            5 | 6 => {
                let (job, site) = (self.job(), id::<SiteId>(self.dice.pick(&SITES)));
                let attempt = self.attempt(job, &site);
                (Actor::Hub, Command::Lose { job, site, attempt })
            }
            _ => {
                let name = id::<SiteId>(self.dice.pick(&SITES));
                let command = self.of_site(&name);
                (Actor::Site(name), command)
            }
        }
    }

    /// Something that a site says of a job, which need not be so.
    fn of_site(&mut self, name: &SiteId) -> Command {
        let job = self.job();
        let attempt = self.attempt(job, name);
        let rounds = self
            .world
            .state
            .jobs
            .get(&job)
            .map_or(0, |job| job.rounds.len() as u64);
        let round = self.dice.small(rounds + 1);
        match self.dice.below(12) {
            0 | 1 => Command::Join { job },
            2..=4 => Command::Contribute {
                job,
                round,
                attempt,
                update: self.update(job, round, name),
            },
            5 | 6 => {
                let weights = self.dice.pick(&["after", "after", "elsewhere"]);
                let outer = Digest::of(format!("{job} {weights} {round}").as_bytes());
                Command::Applied {
                    job,
                    round,
                    attempt,
                    outer,
                }
            }
            7..=9 => {
                let millis = self.dice.number(4_000_000);
                let total = Usage {
                    millis,
                    sent: self.dice.number(9_999),
                    received: self.dice.number(9_999),
                    watched: self.dice.number(4_000_000),
                    busy: self.dice.number(4_000_000),
                };
                Command::Meter {
                    job,
                    reading: Reading { attempt, total },
                }
            }
            10 if self.dice.one_in(2) => Command::Checkpoint {
                job,
                round,
                attempt,
                digest: Digest::of(self.dice.pick(&FILES).as_bytes()),
                bytes: self.dice.number(1_000),
            },
            10 if self.dice.one_in(3) => Command::Inspect {
                job,
                round,
                attempt,
                report: self.report(job, round, &[id("bada"), id("rhein")]),
            },
            10 if self.dice.one_in(4) => Command::TellKey {
                job,
                attempt,
                key: self.mask_key(&id("bada")),
            },
            10 if self.dice.one_in(3) => Command::Unmask {
                job,
                round,
                attempt,
                seeds: self.seeds(&id("bada"), [&id("rhein")].into_iter()),
            },
            10 if self.dice.one_in(2) => Command::Reset {
                job,
                attempt,
                applied: round,
            },
            10 => {
                let outputs = (0..self.dice.below(3)).map(|_| self.output()).collect();
                Command::Leave {
                    job,
                    attempt,
                    outputs,
                }
            }
            _ if self.dice.one_in(4) => Command::Fail {
                job,
                attempt,
                message: "out of memory".into(),
            },
            _ => Command::Join { job },
        }
    }

    /// A site's own, or sometimes another one.
    fn mask_key(&mut self, site: &SiteId) -> MaskKey {
        let number = u8::from(self.dice.one_in(8));
        MaskKey(Digest::of(format!("{site} {number}").as_bytes()).0)
    }

    fn seeds<'a>(&mut self, site: &SiteId, with: impl Iterator<Item = &'a SiteId>) -> Seeds {
        let number = u8::from(self.dice.one_in(8));
        let seed = |of: &SiteId| MaskSeed(Digest::of(format!("{site} {of} {number}").as_bytes()).0);
        Seeds {
            own: seed(site),
            with: with.map(|other| (other.clone(), seed(other))).collect(),
        }
    }

    fn attempt(&mut self, job: JobId, site: &SiteId) -> u32 {
        let job = self.world.state.jobs.get(&job);
        let current = job
            .and_then(|job| job.members.get(site))
            .map_or(0, |member| member.attempt);
        if self.dice.one_in(6) {
            self.dice.small(4)
        } else {
            current
        }
    }

    fn update(&mut self, job: JobId, round: u32, site: &SiteId) -> Update {
        let good = update(&format!("{job} {round} {site}"));
        if !self.dice.one_in(4) {
            return good;
        }
        Update {
            digest: Digest::of(self.dice.pick(&FILES).as_bytes()),
            bytes: self.dice.number(1_000),
            tokens: self.dice.number(1_000),
            parameters: self.dice.pick(&[1_000_000, 1_000_000, 0, u64::MAX]),
            steps: self.dice.small(100),
            loss_micronats: self.dice.amount(9_000_000),
            pace: self.dice.one_in(2).then(|| Pace {
                sent: self.dice.pick(&[0, 1_000, u64::MAX]),
                sending_ms: self.dice.pick(&[0, 10, u64::MAX]),
                received: self.dice.pick(&[0, 1_000, u64::MAX]),
                receiving_ms: self.dice.pick(&[0, 10, u64::MAX]),
                training_ms: self.dice.pick(&[0, 10, u64::MAX]),
            }),
        }
    }

    fn output(&mut self) -> Output {
        let from = self.dice.below(3);
        let made_from = (0..from)
            .map(|_| Digest::of(self.dice.pick(&FILES).as_bytes()))
            .collect();
        let file = self.dice.pick(&FILES);
        let project = id::<ProjectId>(self.dice.pick(&["reviews", "reviews", "reviews", "nothing"]));
        Output {
            id: ArtifactId {
                project,
                digest: Digest::of(file.as_bytes()),
            },
            kind: self
                .dice
                .pick(&[ArtifactKind::Dataset, ArtifactKind::Model, ArtifactKind::Update]),
            bytes: self.dice.number(1_000),
            label: self.dice.pick(&[Label::Open, Label::Open, Label::Restricted]),
            made_from,
            ..output(file)
        }
    }

    fn plausible_spec(&mut self) -> JobSpec {
        let sites = 1 + self.dice.small(3).min(3);
        let known: Vec<Digest> = self.world.state.artifacts.keys().map(|id| id.digest).collect();
        let input = ("train.tokens".to_owned(), self.dice.pick(&known));
        let count = self.dice.pick(&[1, 2, 3, 4]);
        let inspected = Mode::Inspected(Bounds {
            strikes: self.dice.pick(&[1, 3]),
            ..Bounds::default()
        });
        // Fewer could not be compared, and there may be nothing to try them on; and fewer hide nothing.
        let mode = match self.dice.below(6) {
            _ if sites < 3 => None,
            0 => None,
            1 => Some(Mode::Private(Clipping::default())),
            _ => Some(inspected),
        };
        let private = matches!(mode, Some(Mode::Private(_)));
        JobSpec {
            label: self.dice.pick(&[Label::Open, Label::Restricted]),
            sites: sites.min(3),
            wall_minutes: self.dice.pick(&[5, 200, 600]),
            inputs: if self.dice.one_in(2) {
                [input].into()
            } else {
                BTreeMap::new()
            },
            rounds: RoundSpec {
                count,
                samples: self.dice.pick(&[1, 100, 1 << 40]),
                quorum: match private {
                    true => 3,
                    false => self.dice.pick(&[1, 2, 2, 3]).min(sites.min(3)),
                },
                grace_seconds: self.dice.pick(&[0, 30]),
                fragments: self.dice.pick(&[1, 2]).min(count),
                overlap: self.dice.pick(&[0, 1]).min(count - 1),
                codec: match private {
                    true => CodecSpec::Int8,
                    false => self
                        .dice
                        .pick(&[CodecSpec::Int8, CodecSpec::Sparse, CodecSpec::Auto]),
                },
                checkpoint_every: self.dice.pick(&[0, 1, 50]),
                mode,
            },
            ..spec()
        }
    }

    fn any_spec(&mut self) -> JobSpec {
        let plausible = self.plausible_spec();
        if self.world.state.active.len() < 3 && self.dice.one_in(2) {
            return plausible;
        }
        JobSpec {
            project: id(self.dice.pick(&["reviews", "nothing"])),
            sites: self.dice.small(5_000),
            wall_minutes: self.dice.small(200_000),
            inputs: [("in".to_owned(), Digest::of(self.dice.pick(&FILES).as_bytes()))].into(),
            rounds: RoundSpec {
                count: self.dice.small(2_000_000),
                samples: self.dice.number(1 << 41),
                quorum: self.dice.small(5),
                grace_seconds: self.dice.small(100),
                fragments: self.dice.small(4),
                overlap: self.dice.small(3),
                ..plausible.rounds
            },
            ..plausible
        }
    }

    fn name(&mut self, noun: &str) -> String {
        format!("{noun}-{}", self.dice.below(20))
    }

    fn policy(&mut self) -> String {
        let closed = "@id(\"rhein-rests\") forbid (principal is Site, action == Action::\"hold\", resource)\n\
                      when { principal.owner == \"rhein\" };";
        self.dice.pick(&[
            SHIPPED.to_owned(),
            format!("{SHIPPED}\n{closed}"),
            String::new(),
            "permit".into(),
        ])
    }

    /// What the programme office asks, with names and numbers that may not fit.
    fn founding(&mut self) -> Command {
        let organisations = ["office", "gaon", "rhein", "nobody"];
        match self.dice.below(8) {
            0 => Command::Admit(Organisation {
                id: id(&self.name("organisation")),
                home: self.dice.pick(&[Home::Domestic, Home::Foreign]),
                ..self.world.state.organisations[&id("gaon")].clone()
            }),
            1 => Command::AddPerson(Person {
                id: id(&self.name("person")),
                organisation: id(self.dice.pick(&organisations)),
                roles: BTreeSet::new(),
            }),
            2 => Command::AddSite(Site {
                id: id(&self.name("site")),
                owner: id(self.dice.pick(&organisations)),
                tenure: Tenure::Rented,
                rated: FlopsPerSecond(self.dice.pick(&[0, 0, 0, u64::MAX])),
                price: Price(self.dice.pick(&[-1, 1_000_000_000_000, i64::MAX])),
                gpus: self.dice.small(4),
                gpu: None,
                marginal: None,
            }),
            3 => Command::OpenProject(Project {
                id: id(&self.name("project")),
                members: [id(self.dice.pick(&PEOPLE))].into(),
                ..self.world.state.projects[&id("reviews")].clone()
            }),
            4 => Command::Appropriate {
                year: 2021,
                won: Won(self.dice.amount(1_000_000)),
            },
            5 => {
                let (won, hours) = (self.dice.amount(100_000), self.dice.amount(100));
                let edge = self.dice.pick(&[i128::MIN, -1, i128::MAX]);
                let compute = FlopSeconds(if self.dice.one_in(8) {
                    edge
                } else {
                    i128::from(hours) << 60
                });
                Command::Grant(Award {
                    compute,
                    ..award(&self.name("award"), won, 0)
                })
            }
            6 => Command::IssueCredential {
                token: Digest::of(self.name("token").as_bytes()),
                credential: Credential::full(match self.dice.below(2) {
                    0 => Holder::Person(id(self.dice.pick(&PEOPLE))),
                    _ => Holder::Site(id(self.dice.pick(&SITES))),
                }),
            },
            _ => Command::AdoptPolicy(self.policy()),
        }
    }
}
