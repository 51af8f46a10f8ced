//! A consortium's first days, as the entries of its log.

use consortium::{
    Account, Actor, Command, Digest, FlopSeconds, JobId, Reading, Request, SiteId, State, Time, Update,
    Usage, Won, apply, decide,
};
use serde_json::{Value, json};
use store::Entry;

/// What was decided so far, and the state that came of it.
pub(crate) struct Story {
    pub(crate) state: State,
    pub(crate) entries: Vec<Entry>,
    now: Time,
}

impl Story {
    /// Two sites, a project with an award, and `jobs` jobs: the first ends by itself, the others are cancelled
    /// half way. Money is reserved, settled and released.
    pub(crate) fn of_jobs(jobs: u64) -> Self {
        let mut story = Self {
            state: State::default(),
            entries: Vec::new(),
            now: Time(1_625_000_000_000),
        };
        story.found();
        for job in 1..=jobs {
            story.run(JobId(job));
        }
        story
    }

    fn found(&mut self) {
        let organisation = |id: &str, kind: &str| json!({"admit": {"id": id, "name": id, "name_ko": "기관", "kind": kind, "home": "domestic"}});
        self.ask(&Actor::Hub, organisation("office", "public"));
        self.ask(&Actor::Hub, organisation("gaon", "university"));
        for (id, organisation, roles) in [("dana", "office", json!(["office"])), ("yuna", "gaon", json!([]))]
        {
            let person = json!({"id": id, "organisation": organisation, "roles": roles});
            self.ask(&Actor::Hub, json!({"add-person": person}));
        }
        for (id, price) in [("hangang", 9_000_000), ("mirae", 7_000_000)] {
            let site = json!({
                "id": id, "owner": "gaon", "tenure": "member", "rated": 100_000_000_000_u64, "price": price,
            });
            self.ask(&Actor::Hub, json!({"add-site": site}));
        }
        let project = json!({
            "id": "reviews", "title": "Reviews", "organisation": "gaon", "programme": "language",
            "members": ["yuna"],
        });
        self.ask(&Actor::Hub, json!({"open-project": project}));
        self.ask(
            &person("dana"),
            json!({"appropriate": {"year": 2021, "won": 44_500_000_000_i64}}),
        );
        let compute = FlopSeconds::from_pflop_hours(40);
        let award = json!({"id": "a-1", "project": "reviews", "won": 1_000_000, "compute": compute});
        self.ask(&person("dana"), json!({"grant": award}));
        let holder = json!({"person": "yuna"});
        self.ask(
            &Actor::Hub,
            json!({"issue-credential": {"token": Digest::of(b"token"), "holder": holder}}),
        );
    }

    fn run(&mut self, job: JobId) {
        let spec = json!({
            "name": format!("일 {job}"), "project": "reviews", "program": "language", "label": "restricted",
            "sites": 2, "wall_minutes": 10, "inputs": {}, "settings": {"width": 192, "rate": 0.1 + 0.2},
            "rounds": {"count": 1, "samples": 64, "quorum": 2, "grace_seconds": 1},
        });
        let request = Request::new(
            person("yuna"),
            serde_json::from_value(json!({"submit": spec})).unwrap(),
        );
        self.carry_out(&request.keyed(format!("submit {job}")));
        let sites: Vec<SiteId> = self.state.jobs[&job].members.keys().cloned().collect();
        assert_eq!(sites.len(), 2, "{job} is placed");
        for site in &sites {
            self.ask(&Actor::Site(site.clone()), json!({"join": {"job": job}}));
        }
        self.now = self.now.plus(60_000);
        for site in &sites {
            let total = Usage {
                millis: 60_000,
                sent: 5,
                received: 7,
                ..Usage::default()
            };
            let reading = Reading { attempt: 1, total };
            self.ask(
                &Actor::Site(site.clone()),
                json!({"meter": {"job": job, "reading": reading}}),
            );
        }
        if job == JobId(1) {
            self.finish(job, &sites);
        } else {
            self.ask(&person("yuna"), json!({"cancel": job}));
        }
    }

    fn finish(&mut self, job: JobId, sites: &[SiteId]) {
        for site in sites {
            let update = Update {
                digest: Digest::of(site.as_str().as_bytes()),
                bytes: 100,
                tokens: 64,
                parameters: 1_000,
                steps: 4,
                loss_micronats: 5_432_100,
                pace: None,
            };
            let said = json!({"job": job, "round": 0, "attempt": 1, "update": update});
            self.ask(&Actor::Site(site.clone()), json!({"contribute": said}));
        }
        for site in sites {
            let said = json!({"job": job, "round": 0, "attempt": 1, "outer": Digest::of(b"weights")});
            self.ask(&Actor::Site(site.clone()), json!({"applied": said}));
        }
        for (n, site) in sites.iter().enumerate() {
            let model = json!({
                "id": format!("reviews/{}", Digest::of(b"model")), "name": "model.safetensors",
                "kind": "model", "bytes": 5, "label": "open",
            });
            let outputs = if n == 0 { vec![model] } else { vec![] };
            let said = json!({"job": job, "attempt": 1, "outputs": outputs});
            self.ask(&Actor::Site(site.clone()), json!({"leave": said}));
        }
        assert!(self.state.jobs[&job].ended.is_some(), "{job} has ended");
    }

    fn ask(&mut self, actor: &Actor, command: Value) {
        self.carry_out(&Request::new(
            actor.clone(),
            serde_json::from_value(command).unwrap(),
        ));
    }

    /// As a hub does it: the request, then what follows from it.
    fn carry_out(&mut self, request: &Request) {
        let tick = Request::new(Actor::Hub, Command::Tick);
        let mut request = request;
        loop {
            let events = decide(&self.state, request, self.now).unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                apply(&mut self.state, event, self.now);
            }
            self.entries.push(Entry {
                actor: request.actor.clone(),
                at: self.now,
                events,
            });
            self.now = self.now.plus(1);
            request = &tick;
        }
    }
}

/// The state that `entries` make.
pub(crate) fn state_of(entries: &[Entry]) -> State {
    let mut state = State::default();
    for entry in entries {
        for event in &entry.events {
            apply(&mut state, event, entry.at);
        }
    }
    state
}

fn person(id: &str) -> Actor {
    Actor::Person(id.parse().unwrap())
}

#[test]
fn the_story_moves_money_in_all_ways() {
    let story = Story::of_jobs(2);
    let held = |account: &str| {
        story
            .state
            .ledger
            .balance(&Account::try_from(account.to_owned()).unwrap())
    };
    assert!(held("earned:mirae").won > Won(0));
    assert!(held("award:a-1").won < Won(1_000_000));
    assert_eq!(story.state, state_of(&story.entries));
    story.state.ledger.audit().unwrap();
}
