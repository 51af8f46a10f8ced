//! The hub's pages in a real browser: signing in, a structure in Mol*, a partner's refusal, the leaderboard, calls and
//! awards, invoices.

use crate::browser::{Browser, dev};
use api::Client;
use consortium::{
    Amount, ArtifactId, ArtifactKind, Award, Bill, BillLine, Billed, Budget, Call, CallCommand, Command,
    Digest, FlopSeconds, FlopsPerSecond, Holder, Home, InvoiceCommand, InvoiceId, JobId, JobSpec, Kind,
    Label, Month, Organisation, Output, Person, Price, Programme, Project, Proposal, Reading, RoundSpec,
    Site, Tenure, Usage, Won,
};
use folding::{Helix, Predictor as _, mmcif};
use server::{Clock, Hub, HubConfig};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct World {
    // In this order: the hub stops before its folder goes.
    pub(crate) hub: Hub,
    pub(crate) folder: TempDir,
}

#[test]
fn a_structure_is_shown_to_whom_it_may_be() {
    let Some(assets) = molstar() else { return };
    let Some(mut browser) = Browser::start("en-GB") else {
        return;
    };
    let world = World::start(&assets);
    let chain = Helix.predict(&["MKTAYIAKQRQISFVK".parse().unwrap()])[0].chain();
    let cif = mmcif(&chain, true);
    let name = "<img src=x onerror='document.title=1'>.cif";
    let id = world.keep(name, &cif, ArtifactKind::Dataset, Label::Restricted);
    let page = format!("{}/#/projects/folds/artifacts/{}", world.hub.url(), id.digest);

    browser.open(&page);
    assert!(
        browser
            .wait_for("body[data-page=sign-in]")
            .contains("Paste a token")
    );
    sign_in(&mut browser, "khub_forged");
    let told = browser.wait_for("[role=alert]");
    assert!(told.contains("doesn't know this token"), "{told}");
    sign_in(&mut browser, &world.token("minji"));
    let facts = browser.wait_for("#facts");
    assert!(
        facts.contains("restricted") && facts.contains(&id.digest.to_string()),
        "{facts}"
    );
    // A name is text, whatever it looks like.
    assert_eq!(browser.wait_for("h1"), name);
    browser.wait_for("[data-structure]:not([data-structure=loading])");
    let shown = browser.evaluate("({ ...document.querySelector('[data-structure]').dataset })");
    let atoms = cif.lines().filter(|line| line.starts_with("ATOM ")).count();
    assert_eq!(shown["atoms"], atoms.to_string(), "{shown}");
    assert_eq!(shown["colour"], "plddt-confidence", "{shown}");
    assert_eq!(
        browser.evaluate("location.href"),
        page,
        "the token is in no address"
    );

    // Another partner's tab: nothing is known of it.
    let mut browser = Browser::start("ko-KR").expect("it started before");
    browser.open(&page);
    assert!(browser.wait_for("body[data-page=sign-in]").contains("토큰"));
    sign_in(&mut browser, &world.token("ingrid"));
    let told = browser.wait_for("body[data-page=refused] [role=alert]");
    assert!(
        told.contains("restricted-stays-closed-to-foreign-partners"),
        "{told}"
    );
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#facts, .structure').length"),
        0
    );
}

#[test]
fn a_leaderboard_is_shown_the_best_first() {
    let Some(mut browser) = Browser::start("en-GB") else {
        return;
    };
    let world = World::start(Path::new("nowhere"));
    for (name, score) in [("middle", 0.5), ("best", 0.75), ("worst", 0.25)] {
        let set = Digest::of(b"a set");
        let report = format!(
            r#"{{"board": {{"judged_on": "{set}", "rank_by": "lddt_ca", "higher_is_better": true,
                "scores": {{"lddt_ca": {score}, "tm_score": 0.1}}}}}}"#
        );
        world.keep(name, &report, ArtifactKind::Report, Label::Open);
    }
    let cif = world.keep("one.cif", "data_one", ArtifactKind::Dataset, Label::Open);
    browser.open(&format!("{}/#/programmes/folding", world.hub.url()));
    browser.wait_for("body[data-page=sign-in]");
    sign_in(&mut browser, &world.token("ingrid"));
    browser.wait_for(".board");
    let cells = "[...document.querySelectorAll('.board tbody tr')].map(row => [...row.cells].map(it => it.innerText))";
    let row = |place: &str, name: &str, score: &str| {
        serde_json::json!([place, name, "", "folds", "gaon", score, "0.1000", "Report"])
    };
    let expected = [
        row("1", "best", "0.7500"),
        row("2", "middle", "0.5000"),
        row("3", "worst", "0.2500"),
    ];
    assert_eq!(browser.evaluate(cells), serde_json::json!(expected));
    // This hub has no viewer, and says how to get one.
    browser.evaluate(&format!(
        "location.hash = '#/projects/folds/artifacts/{}'",
        cif.digest
    ));
    let told = browser.wait_for("[data-structure=missing]");
    assert!(told.contains("dev/molstar"), "{told}");
}

#[test]
fn calls_and_awards_are_on_one_page() {
    let Some(mut browser) = Browser::start("ko-KR") else {
        return;
    };
    let world = World::start(Path::new("nowhere"));
    let now = Clock::machine().now();
    let year = Month::of(now).year();
    let amount = Amount {
        won: Won(3_000_000),
        compute: FlopSeconds::from_pflop_hours(12),
    };
    let call = Call {
        id: "autumn".parse().unwrap(),
        programme: Programme::Folding,
        title: "Folds".into(),
        title_ko: "단백질 구조 공모".into(),
        text: "Propose.".into(),
        label: Label::Open,
        opens: now,
        closes: now.plus(86_400_000),
        reviews: 1,
        budget: Budget::from([(year, amount)]),
    };
    let award = Award {
        id: "folds-1".parse().unwrap(),
        project: "folds".parse().unwrap(),
        won: Won(0),
        compute: FlopSeconds::from_pflop_hours(12),
    };
    let opened = Command::Call(CallCommand::Open(call));
    world.hub.ask("call", opened).unwrap();
    world.hub.ask("award", Command::Grant(award)).unwrap();
    let minji = Client::new(&world.hub.url(), &world.token("minji")).unwrap();
    let proposal = Proposal {
        id: "gaon/loops".parse().unwrap(),
        call: "autumn".parse().unwrap(),
        title: "<b>Loops</b>".into(),
        text: "We would.".into(),
        people: ["minji".parse().unwrap()].into(),
        budget: Budget::from([(year, amount)]),
    };
    minji.propose(&proposal).unwrap();
    browser.open(&format!("{}/#/calls", world.hub.url()));
    browser.wait_for("body[data-page=sign-in]");
    sign_in(&mut browser, &world.token("minji"));
    browser.wait_for("#awards");
    let mut text = |place: &str| {
        let text = browser.evaluate(&format!("document.querySelector('{place}').innerText"));
        text.as_str().unwrap_or_default().to_owned()
    };
    let calls = text("#calls tbody");
    assert!(
        calls.contains("단백질 구조 공모") && calls.contains("₩3,000,000") && calls.contains("접수 중"),
        "{calls}"
    );
    let todo = text("#todo");
    assert!(
        todo.contains("gaon/loops") && todo.contains("khub proposals propose FILE"),
        "{todo}"
    );
    assert!(text("#proposals tbody").contains("<b>Loops</b>"));
    let award = text("[data-award=folds-1]");
    assert!(
        award.contains("페타플롭시: 잔여 12") && award.contains("배정됨"),
        "{award}"
    );
    let wide = browser.evaluate("document.querySelector('[data-award=folds-1] .shares .left').clientWidth");
    assert!(
        wide.as_f64().unwrap_or_default() > 100.0,
        "all of it is left: {wide}"
    );

    browser.evaluate("document.querySelector('#proposals a').click()");
    let facts = browser.wait_for("#facts");
    assert!(facts.contains("autumn") && facts.contains("접수됨"), "{facts}");
    assert_eq!(browser.wait_for("h1"), "<b>Loops</b>");
    assert_eq!(browser.wait_for(".text"), "We would.");

    // The partner reads the call, and nothing of the proposal.
    let mut browser = Browser::start("en-GB").expect("it started before");
    browser.open(&format!("{}/#/calls", world.hub.url()));
    sign_in(&mut browser, &world.token("ingrid"));
    let calls = browser.wait_for("#calls tbody");
    assert!(
        calls.contains("Folds") && calls.contains("takes proposals"),
        "{calls}"
    );
    let page = browser
        .evaluate("document.querySelector('main').innerText")
        .to_string();
    assert!(
        !page.contains("loops") && page.contains("Nothing waits for you now."),
        "{page}"
    );
    browser.evaluate("location.hash = '#/proposals/gaon/loops'");
    let told = browser.wait_for("body[data-page=refused] [role=alert]");
    assert!(told.contains("there is no proposal gaon/loops"), "{told}");
}

#[test]
fn an_invoice_is_shown_as_it_is_printed() {
    let Some(mut browser) = Browser::start("ko-KR") else {
        return;
    };
    let ahead = Arc::new(AtomicU64::new(0));
    let hands = Arc::clone(&ahead);
    let clock = Clock::told(move || Clock::machine().now().plus(hands.load(Ordering::SeqCst)));
    let world = World::with(|config| HubConfig { clock, ..config });
    let job = world.run_at_a_site();
    let month = Month::of(Clock::machine().now());
    ahead.fetch_add(32 * 86_400_000, Ordering::SeqCst);
    let id: InvoiceId = format!("{month}/loch-1").parse().unwrap();
    let issue = Command::Invoice(id.clone(), InvoiceCommand::Issue);
    world.hub.ask("issue", issue).unwrap();
    let line = BillLine {
        of: Billed::Job(job),
        won: Won(700),
        compute: None,
    };
    let owner = Client::new(&world.hub.url(), &world.token("ingrid")).unwrap();
    owner.bill(&id, &Bill { lines: vec![line] }).unwrap();

    browser.open(&format!("{}/#/invoices", world.hub.url()));
    sign_in(&mut browser, &world.token("ingrid"));
    let listed = browser.wait_for("#invoices tbody");
    assert!(
        listed.contains("₩833") && listed.contains("이의 있음"),
        "{listed}"
    );
    browser.evaluate("document.querySelector('#invoices a').click()");
    let facts = browser.wait_for("#facts");
    for told in ["받는 기관\t피오르", "번호\t1", "사업단의 결정을 기다립니다"] {
        assert!(facts.contains(told), "{facts}");
    }
    let lines = browser.wait_for("#lines tbody");
    let expected = format!("{job}\tfolds\t{month}\t0.000000833\t₩1,000,000,000\t₩833");
    assert_eq!(lines.trim(), expected, "and not which award pays");
    let differs = browser.wait_for("#differences tbody");
    assert!(
        differs.contains("₩700") && differs.contains("연산량"),
        "{differs}"
    );
    browser.on_paper();
    let shown = |what: &str| format!("getComputedStyle(document.querySelector('{what}')).display");
    assert_eq!(browser.evaluate(&shown("header")), "none");
    assert_eq!(browser.evaluate(&shown("main > button")), "none");
    assert_ne!(browser.evaluate(&shown("#lines")), "none");

    // To the university, whose job it was, there is none.
    let mut browser = Browser::start("en-GB").expect("it started before");
    browser.open(&format!("{}/#/invoices", world.hub.url()));
    sign_in(&mut browser, &world.token("minji"));
    let listed = browser.wait_for("#invoices");
    assert_eq!(listed, "There is nothing here that you may read.");
    browser.evaluate(&format!("location.hash = '#/invoices/{id}'"));
    let told = browser.wait_for("body[data-page=refused] [role=alert]");
    assert!(told.contains(&format!("there is no invoice {id}")), "{told}");
}

#[test]
fn runs_are_listed_drawn_and_compared() {
    let Some(mut browser) = Browser::start("ko-KR") else {
        return;
    };
    let world = World::start(Path::new("nowhere"));
    let first = world.log("<b>first</b>", Label::Open, 0.5);
    let second = world.log("second", Label::Restricted, 0.25);
    browser.open(&format!("{}/#/projects/folds/runs", world.hub.url()));
    browser.wait_for("body[data-page=sign-in]");
    sign_in(&mut browser, &world.token("minji"));
    let rows = browser.wait_for("#runs tbody");
    assert!(
        rows.contains("<b>first</b>") && rows.contains("second") && rows.contains("진행 중"),
        "{rows}"
    );
    let compare = "document.querySelectorAll('#runs input').forEach(it => it.click());
         [...document.querySelectorAll('main p button')].at(-1).click()";
    browser.evaluate(compare);
    browser.wait_for("[data-curve=drawn]");
    let lines = browser.evaluate(
        "[...document.querySelectorAll('polyline')].map(it => it.getAttribute('points').split(' ').length)",
    );
    assert_eq!(lines, serde_json::json!([20, 20]));
    let facts = browser.wait_for("#facts");
    assert!(facts.contains(&first) && facts.contains(&second), "{facts}");
    let wanted = "location.hash = '#/projects/folds/runs/' + encodeURIComponent(\"params.lr = '0.25'\")";
    browser.evaluate(wanted);
    let row = browser.wait_for("#runs tbody tr:only-child");
    assert!(row.contains("second"), "{row}");

    // The partner sees the open one alone, and of the other not that it is there.
    let mut browser = Browser::start("en-GB").expect("it started before");
    browser.open(&format!("{}/#/projects/folds/runs", world.hub.url()));
    sign_in(&mut browser, &world.token("ingrid"));
    let rows = browser.wait_for("#runs tbody");
    assert!(rows.contains("first") && !rows.contains("second"), "{rows}");
    browser.evaluate(&format!("location.hash = '#/runs/{first},{second}'"));
    let told = browser.wait_for("body[data-page=refused] [role=alert]");
    assert!(told.contains("there is no run"), "{told}");
}

fn sign_in(browser: &mut Browser, token: &str) {
    browser.wait_for("#token");
    browser.evaluate(&format!("document.querySelector('#token').value = {token:?}"));
    browser.evaluate("document.querySelector('#with-token button').click()");
}

/// The folder of assets, fetched once for all runs.
fn molstar() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("assets");
    dev("molstar", &[folder.to_str().unwrap()])?;
    Some(folder)
}

impl World {
    /// A university with a project in which a foreign partner works too.
    fn start(assets: &Path) -> Self {
        let assets = assets.to_owned();
        Self::with(|config| HubConfig { assets, ..config })
    }

    pub(crate) fn with(change: impl FnOnce(HubConfig) -> HubConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::start(&change(HubConfig::new(folder.path()))).unwrap();
        let organisation = |id: &str, name_ko: &str, home| {
            Command::Admit(Organisation {
                id: id.parse().unwrap(),
                name: id.into(),
                name_ko: name_ko.into(),
                kind: Kind::University,
                home,
            })
        };
        let person = |id: &str, organisation: &str| {
            Command::AddPerson(Person {
                id: id.parse().unwrap(),
                organisation: organisation.parse().unwrap(),
                roles: [].into(),
            })
        };
        let members = ["minji", "ingrid"].map(|name| name.parse().unwrap());
        let commands = [
            organisation("gaon", "가온", Home::Domestic),
            organisation("fjord", "피오르", Home::Foreign),
            person("minji", "gaon"),
            person("ingrid", "fjord"),
            Command::OpenProject(Project {
                id: "folds".parse().unwrap(),
                title: "Folds".into(),
                organisation: "gaon".parse().unwrap(),
                programme: Programme::Folding,
                members: members.into(),
            }),
        ];
        for (i, command) in commands.into_iter().enumerate() {
            hub.ask(&format!("found {i}"), command).unwrap();
        }
        Self { hub, folder }
    }

    /// Has the partner's site run an open job of the project for three seconds, for 833 won.
    fn run_at_a_site(&self) -> JobId {
        let site = "loch-1".parse().unwrap();
        let commands = [
            Command::AddSite(Site {
                id: "loch-1".parse().unwrap(),
                owner: "fjord".parse().unwrap(),
                tenure: Tenure::Member,
                rated: FlopsPerSecond(1_000_000_000_000),
                price: Price(1_000_000_000),
                gpus: 1,
                gpu: None,
                marginal: None,
            }),
            Command::Appropriate {
                year: 2021,
                won: Won(1_000_000),
            },
            Command::Grant(Award {
                id: "folds-1".parse().unwrap(),
                project: "folds".parse().unwrap(),
                won: Won(1_000_000),
                compute: FlopSeconds::from_pflop_hours(1),
            }),
        ];
        for (i, command) in commands.into_iter().enumerate() {
            self.hub.ask(&format!("site {i}"), command).unwrap();
        }
        let spec = JobSpec {
            name: "small".into(),
            project: "folds".parse().unwrap(),
            program: "folding".into(),
            label: Label::Open,
            sites: 1,
            wall_minutes: 10,
            gpus: None,
            gpu: None,
            due_minutes: None,
            batch: None,
            inputs: BTreeMap::new(),
            rounds: RoundSpec {
                count: 1,
                samples: 64,
                quorum: 1,
                grace_seconds: 600,
                ..RoundSpec::default()
            },
            settings: serde_json::json!({}),
        };
        let minji = Client::new(&self.hub.url(), &self.token("minji")).unwrap();
        let job = minji.submit(&spec, "once").unwrap();
        let token = self.hub.issue(Holder::Site("loch-1".parse().unwrap())).unwrap();
        let client = Client::new(&self.hub.url(), &token).unwrap();
        let mut known = String::new();
        loop {
            let orders = client.orders(&site, 0, &known, Duration::from_secs(30)).unwrap();
            let (tag, orders) = orders.expect("in good time");
            if orders.jobs.iter().any(|it| it.id == job) {
                break;
            }
            known = tag;
        }
        let attempt = client.join(job).unwrap();
        let total = Usage {
            millis: 3_000,
            ..Usage::default()
        };
        client.meter(job, &Reading { attempt, total }).unwrap();
        job
    }

    fn token(&self, name: &str) -> String {
        self.hub.issue(Holder::Person(name.parse().unwrap())).unwrap()
    }

    /// Has minji log a run whose loss falls to `loss` in twenty steps.
    fn log(&self, name: &str, label: Label, loss: f64) -> String {
        let tags = serde_json::json!([{"key": "khub.label", "value": label}]);
        let begin = serde_json::json!({"experiment_id": "folds", "run_name": name, "tags": tags});
        let told = self.post("/api/2.0/mlflow/runs/create", &begin);
        let run = told["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let point = |step: u32| serde_json::json!({"key": "loss", "value": loss + 1.0 / f64::from(step + 1), "step": step, "timestamp": step});
        let metrics: Vec<serde_json::Value> = (0..20).map(point).collect();
        let params = serde_json::json!([{"key": "lr", "value": loss.to_string()}]);
        let batch = serde_json::json!({"run_id": run, "metrics": metrics, "params": params});
        self.post("/api/2.0/mlflow/runs/log-batch", &batch);
        run
    }

    fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let (token, body) = (self.token("minji"), body.to_string());
        let url = self.hub.url();
        let mut line = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        write!(
            line,
            "POST {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Has minji keep a file in the project.
    fn keep(&self, name: &str, text: &str, kind: ArtifactKind, label: Label) -> ArtifactId {
        let path = self.folder.path().join("to-send");
        std::fs::write(&path, text).unwrap();
        let id = ArtifactId {
            project: "folds".parse().unwrap(),
            digest: Digest::of(text.as_bytes()),
        };
        let output = Output {
            id: id.clone(),
            name: name.into(),
            kind,
            bytes: text.len() as u64,
            label,
            made_from: Vec::new(),
        };
        let client = Client::new(&self.hub.url(), &self.token("minji")).unwrap();
        client.put(&path, &output).unwrap();
        id
    }
}
