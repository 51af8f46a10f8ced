//! A small consortium in a hub of its own.

use api::Client;
use consortium::*;
use server::{Clock, Hub, HubConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct World {
    // In this order: the hub stops before its folder goes.
    pub(crate) hub: Hub,
    pub(crate) folder: TempDir,
}

pub(crate) const PROJECT: &str = "reviews";

/// The hands of a hub's clock: it goes as the machine's does, and further ahead when it is moved.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn of(&self, config: HubConfig) -> HubConfig {
        let hands = self.clone();
        let clock = Clock::told(move || hands.now());
        HubConfig { clock, ..config }
    }

    pub(crate) fn now(&self) -> Time {
        Clock::machine().now().plus(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl World {
    /// An office, a university with a project and an award, a partner; sites `a` and `b` of companies at home
    /// and `f` of the partner, all free of work.
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(HubConfig) -> HubConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::start(&change(HubConfig::new(folder.path()))).unwrap();
        for (i, command) in commands().into_iter().enumerate() {
            hub.ask(&format!("found {i}"), command).unwrap();
        }
        Self { hub, folder }
    }

    pub(crate) fn person(&self, name: &str) -> Client {
        let token = self.hub.issue(Holder::Person(name.parse().unwrap())).unwrap();
        Client::new(&self.hub.url(), &token).unwrap()
    }

    pub(crate) fn site(&self, name: &str) -> Client {
        let token = self.hub.issue(Holder::Site(name.parse().unwrap())).unwrap();
        Client::new(&self.hub.url(), &token).unwrap()
    }

    /// Stops the hub and starts it again on the same folder.
    pub(crate) fn restarted(self) -> Self {
        let Self { hub, folder } = self;
        drop(hub);
        let hub = Hub::start(&HubConfig::new(folder.path())).unwrap();
        Self { hub, folder }
    }

    /// Has `who` send `bytes`, and returns what to register them as.
    pub(crate) fn bring(&self, who: &Client, bytes: &[u8], label: Label) -> Output {
        let path = self.folder.path().join("to-send");
        std::fs::write(&path, bytes).unwrap();
        let output = output(bytes, label);
        who.upload(&path, &output.id).unwrap();
        output
    }
}

pub(crate) fn output(bytes: &[u8], label: Label) -> Output {
    Output {
        id: ArtifactId {
            project: PROJECT.parse().unwrap(),
            digest: Digest::of(bytes),
        },
        name: "some.bytes".into(),
        kind: ArtifactKind::Dataset,
        bytes: bytes.len() as u64,
        label,
        made_from: Vec::new(),
    }
}

/// A job of one round at two sites.
pub(crate) fn spec() -> JobSpec {
    JobSpec {
        name: "small".into(),
        project: PROJECT.parse().unwrap(),
        program: "language".into(),
        label: Label::Restricted,
        sites: 2,
        wall_minutes: 10,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs: std::collections::BTreeMap::new(),
        rounds: RoundSpec {
            count: 1,
            samples: 64,
            quorum: 1,
            grace_seconds: 600,
            ..RoundSpec::default()
        },
        settings: serde_json::json!({ "width": 16 }),
    }
}

pub(crate) const LONG: Duration = Duration::from_secs(30);

fn commands() -> Vec<Command> {
    let organisation = |id: &str, kind, home| {
        let id: OrganisationId = id.parse().unwrap();
        Command::Admit(Organisation {
            name: id.to_string(),
            name_ko: id.to_string(),
            id,
            kind,
            home,
        })
    };
    let person = |id: &str, organisation: &str, role: Option<Role>| {
        let (id, organisation) = (id.parse().unwrap(), organisation.parse().unwrap());
        Command::AddPerson(Person {
            id,
            organisation,
            roles: role.into_iter().collect(),
        })
    };
    let site = |id: &str, owner: &str, price| {
        Command::AddSite(Site {
            id: id.parse().unwrap(),
            owner: owner.parse().unwrap(),
            tenure: Tenure::Rented,
            rated: FlopsPerSecond(1_000_000_000_000),
            price: Price(price),
            gpus: 1,
            gpu: None,
            marginal: None,
        })
    };
    let members: [PersonId; 2] = ["minji".parse().unwrap(), "ingrid".parse().unwrap()];
    vec![
        organisation("office", Kind::Public, Home::Domestic),
        organisation("cloud", Kind::Company, Home::Domestic),
        organisation("gaon", Kind::University, Home::Domestic),
        organisation("fjord", Kind::Institute, Home::Foreign),
        person("head", "office", Some(Role::Office)),
        person("minji", "gaon", None),
        person("jun", "gaon", None),
        person("ingrid", "fjord", None),
        site("a", "cloud", 1_000_000),
        site("b", "cloud", 1_100_000),
        site("f", "fjord", 900_000),
        Command::OpenProject(Project {
            id: PROJECT.parse().unwrap(),
            title: "Reviews".into(),
            organisation: "gaon".parse().unwrap(),
            programme: Programme::Language,
            members: members.into(),
        }),
        Command::Appropriate {
            year: 2021,
            won: Won(1_000_000_000),
        },
        Command::Grant(Award {
            id: "reviews-2021".parse().unwrap(),
            project: PROJECT.parse().unwrap(),
            won: Won(10_000_000),
            compute: FlopSeconds::from_pflop_hours(100),
        }),
    ]
}
