//! Who takes part in a story: organisations, sites, the researcher, and the jobs that she asks for.
//!
//! | organisation | sites | may read what is restricted |
//! |---|---|---|
//! | `office`, the programme office | | yes |
//! | `gaon`, a university, where `minji` works | | yes |
//! | `hangang`, a cloud company | `hangang`, `namsan` | yes |
//! | `bada`, a telephone company | `bada`, `dokdo` | yes |
//! | `rhein`, a foreign institute | `rhein`, `seine` | no |

use crate::dice::Dice;
use crate::disk::Bytes;
use crate::foul::{Foul, Lies};
use crate::stage::Peer;
use crate::trainer::Settings;
use consortium::{
    Abilities, Actor, ArtifactId, ArtifactKind, Award, Bounds, Clipping, CodecSpec, Command, Contact, Digest,
    FlopSeconds, FlopsPerSecond, Home, JobSpec, Kind, Label, Mode, Organisation, Output, Person, Price,
    Programme, Project, Request, Role, RoundSpec, Site, SiteId, Tenure, Won,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

const SITES: [(&str, &str, Price); 6] = [
    ("hangang", "hangang", Price(9_000_000)),
    ("bada", "bada", Price(8_000_000)),
    ("namsan", "hangang", Price(6_000_000)),
    ("dokdo", "bada", Price(10_000_000)),
    ("rhein", "rhein", Price(7_000_000)),
    ("seine", "rhein", Price(5_000_000)),
];
/// The first four are at home.
const AT_HOME: usize = 4;
/// Those that others can't reach ask, and are never asked.
const BEHIND_A_WALL: [&str; 2] = ["namsan", "seine"];

#[derive(Debug, Clone)]
pub(crate) struct Cast {
    /// Their places in the table of sites.
    sites: Vec<usize>,
    pub(crate) jobs: Vec<JobSpec>,
    /// Sites that do harm where updates are inspected, by their places in the story.
    foul: BTreeMap<usize, Foul>,
}

impl Cast {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut sites: Vec<usize> = (0..dice.between(1, AT_HOME as u64) as usize).collect();
        sites.extend((AT_HOME..SITES.len()).take(dice.between(1, 2) as usize));
        let at_home = sites.iter().filter(|site| **site < AT_HOME).count();
        let jobs = if dice.one_in(4) { 2 } else { 1 };
        let jobs = (0..jobs).map(|job| draw_job(job, at_home, sites.len(), dice));
        let mut jobs: Vec<JobSpec> = jobs.collect();
        // Dice of their own, so that the other stories stay as they were.
        let mut dice = Dice::new(dice.clone().roll() ^ 0x1275_9ec7);
        jobs.iter_mut().for_each(|job| draw_mode(job, &mut dice));
        let foul = draw_foul(&jobs, sites.len(), &mut dice);
        Self { sites, jobs, foul }
    }

    /// The harm that the site does, if it does any.
    pub(crate) fn foul(&self, index: usize) -> Option<&Foul> {
        self.foul.get(&index)
    }

    pub(crate) fn foul_at(&self, site: &SiteId) -> Option<&Foul> {
        let mut foul = self.foul.iter();
        foul.find(|(index, _)| self.site(**index) == *site)
            .map(|(_, foul)| foul)
    }

    /// How many sites spoil the job of that name if they are in it; they may end up with no part in it.
    pub(crate) fn foul_in(&self, job: &str) -> usize {
        self.foul.values().filter(|foul| foul.spoils(job)).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.sites.len()
    }

    pub(crate) fn site(&self, index: usize) -> SiteId {
        name(SITES[self.sites[index]].0)
    }

    pub(crate) fn place(&self, site: &SiteId) -> Option<usize> {
        (0..self.len()).find(|index| self.site(*index) == *site)
    }

    /// Whether the site's owner may not read what is restricted.
    pub(crate) fn is_foreign(&self, site: &SiteId) -> bool {
        SITES[AT_HOME..].iter().any(|(other, ..)| *other == site.as_str())
    }

    pub(crate) fn actor(&self, peer: Peer) -> Actor {
        match peer {
            Peer::Site { site, .. } => Actor::Site(self.site(site)),
            Peer::Person => Actor::Person(name("minji")),
        }
    }

    /// The data sets' bytes.
    pub(crate) fn data(&self) -> impl Iterator<Item = (Digest, Bytes)> {
        [Label::Open, Label::Restricted].into_iter().map(|label| {
            let bytes = data(label);
            (Digest::of(&bytes), bytes)
        })
    }

    /// What makes the consortium.
    pub(crate) fn founding(&self) -> Vec<Request> {
        let mut commands = vec![
            organisation("office", Kind::Public, Home::Domestic),
            organisation("gaon", Kind::University, Home::Domestic),
            organisation("hangang", Kind::Company, Home::Domestic),
            organisation("bada", Kind::Company, Home::Domestic),
            organisation("rhein", Kind::Institute, Home::Foreign),
            person("director", "office", Some(Role::Office)),
            person("minji", "gaon", None),
            Command::OpenProject(Project {
                id: name("reviews"),
                title: "Reviews".into(),
                organisation: name("gaon"),
                programme: Programme::Language,
                members: [name("minji")].into(),
            }),
            Command::Appropriate {
                year: 2021,
                won: Won(100_000_000),
            },
            Command::Grant(Award {
                id: name("first"),
                project: name("reviews"),
                won: Won(100_000_000),
                compute: FlopSeconds::from_pflop_hours(10_000),
            }),
        ];
        commands.extend(self.sites.iter().map(|site| {
            let (id, owner, price) = SITES[*site];
            Command::AddSite(Site {
                id: name(id),
                owner: name(owner),
                tenure: Tenure::Member,
                rated: FlopsPerSecond(3_000_000_000_000),
                price,
                gpus: 1,
                gpu: None,
                marginal: None,
            })
        }));
        let mut requests: Vec<Request> = commands
            .into_iter()
            .map(|command| Request::new(Actor::Hub, command))
            .collect();
        for site in (0..self.len()).map(|index| self.site(index)) {
            let reached = !BEHIND_A_WALL.contains(&site.as_str());
            let contact = Contact {
                certificate: site.to_string(),
                address: reached.then(|| format!("https://{site}")),
            };
            let told = Command::TellAbilities(Abilities {
                contact: Some(contact),
                ..Abilities::default()
            });
            requests.push(Request::new(Actor::Site(site), told));
        }
        for label in [Label::Open, Label::Restricted] {
            requests.push(Request::new(Actor::Person(name("minji")), register(label, label)));
        }
        requests
    }
}

/// Keeps the data set that was made with `made`, under `label`.
pub(crate) fn register(made: Label, label: Label) -> Command {
    let bytes = data(made);
    Command::Register(Output {
        id: ArtifactId {
            project: name("reviews"),
            digest: Digest::of(&bytes),
        },
        name: format!("{made}.tokens"),
        kind: ArtifactKind::Dataset,
        bytes: bytes.len() as u64,
        label,
        made_from: Vec::new(),
    })
}

fn data(label: Label) -> Bytes {
    format!("the {label} data set").into_bytes().into()
}

fn draw_job(job: u64, at_home: usize, all: usize, dice: &mut Dice) -> JobSpec {
    let label = dice.pick(&[Label::Open, Label::Restricted]);
    let input = dice.pick(&[Label::Open, Label::Open, Label::Restricted]);
    let restricted = label == Label::Restricted || input == Label::Restricted;
    let sites = dice.between(1, if restricted { at_home } else { all } as u64) as u32;
    let count = dice.between(1, 7);
    JobSpec {
        name: format!("job {job}"),
        project: name("reviews"),
        program: "trainer".into(),
        label,
        sites,
        wall_minutes: 60 * 24,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs: BTreeMap::from([("train.tokens".to_owned(), Digest::of(&data(input)))]),
        rounds: RoundSpec {
            count: count as u32,
            samples: dice.pick(&[8, 16]),
            quorum: dice.between(1, u64::from(sites)) as u32,
            grace_seconds: dice.pick(&[0, 1, 5, 30]),
            fragments: dice.between(1, count.min(3)) as u32,
            overlap: if count > 1 { dice.pick(&[0, 1]) } else { 0 },
            codec: match dice.one_in(2) {
                true => CodecSpec::Auto,
                false => dice.pick(&[
                    CodecSpec::Fp32,
                    CodecSpec::Int8,
                    CodecSpec::Int4,
                    CodecSpec::Sparse,
                ]),
            },
            checkpoint_every: dice.pick(&[0, 1, 2, 3]),
            mode: None,
        },
        settings: serde_json::to_value(Settings {
            seed: dice.below(1 << 40),
        })
        .expect("settings are plain data"),
    }
}

/// Every other job is inspected; of the others, half of those that have sites enough are private.
fn draw_mode(job: &mut JobSpec, dice: &mut Dice) {
    let bounds = Bounds {
        held_out: Some("train.tokens".to_owned()),
        samples: 64,
        worse: 200,
        strikes: dice.pick(&[1, 2, 3]),
        ..Bounds::default()
    };
    job.rounds.mode = dice.one_in(2).then_some(Mode::Inspected(bounds));
    // By the job's own number, so that the other stories stay what they are.
    let number = job.settings["seed"].as_u64().unwrap_or(0);
    if job.rounds.mode.is_none() && job.sites >= 3 && number.is_multiple_of(2) {
        let rounds = &mut job.rounds;
        rounds.mode = Some(Mode::Private(Clipping { clip: 4_000 }));
        rounds.quorum = rounds.quorum.max(3);
        let int4 = number.is_multiple_of(4);
        rounds.codec = if int4 { CodecSpec::Int4 } else { CodecSpec::Int8 };
    }
}

/// In every other story that has them, a site of three or more does harm; of five or more, two. One tells lies at most:
/// where many are away, two could be more than half of those who are left.
fn draw_foul(jobs: &[JobSpec], sites: usize, dice: &mut Dice) -> BTreeMap<usize, Foul> {
    let inspected = jobs
        .iter()
        .any(|job| matches!(job.rounds.mode, Some(Mode::Inspected(_))));
    if !inspected || sites < 3 || dice.one_in(2) {
        return BTreeMap::new();
    }
    let first = dice.index(sites);
    let second = (sites >= 5 && dice.one_in(2)).then(|| (first + 1) % sites);
    let [one, other] = match dice.one_in(2) {
        true => [Lies::This, Lies::Another],
        false => [Lies::Nobody; 2],
    };
    let mut foul = BTreeMap::from([(first, Foul::draw(jobs, one, dice))]);
    foul.extend(second.map(|second| (second, Foul::draw(jobs, other, dice))));
    foul
}

fn organisation(id: &str, kind: Kind, home: Home) -> Command {
    Command::Admit(Organisation {
        id: name(id),
        name: id.into(),
        name_ko: id.into(),
        kind,
        home,
    })
}

fn person(id: &str, organisation: &str, role: Option<Role>) -> Command {
    Command::AddPerson(Person {
        id: name(id),
        organisation: name(organisation),
        roles: role.into_iter().collect(),
    })
}

fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("names of a story are well formed")
}
