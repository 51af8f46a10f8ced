//! The hub's pages in a real browser: signing in, a structure in Mol*, a partner's refusal, the leaderboard.

use crate::browser::{Browser, dev};
use api::Client;
use consortium::{
    ArtifactId, ArtifactKind, Command, Digest, Holder, Home, Kind, Label, Organisation, Output, Person,
    Programme, Project,
};
use folding::{Helix, Predictor as _, mmcif};
use server::{Hub, HubConfig};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct World {
    // In this order: the hub stops before its folder goes.
    hub: Hub,
    folder: TempDir,
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

fn sign_in(browser: &mut Browser, token: &str) {
    browser.wait_for("#token");
    browser.evaluate(&format!("document.querySelector('#token').value = {token:?}"));
    browser.evaluate("document.querySelector('form button').click()");
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
        let folder = tempfile::tempdir().unwrap();
        let config = HubConfig {
            assets: assets.to_owned(),
            ..HubConfig::new(folder.path())
        };
        let hub = Hub::start(&config).unwrap();
        let organisation = |id: &str, home| {
            Command::Admit(Organisation {
                id: id.parse().unwrap(),
                name: id.into(),
                name_ko: id.into(),
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
            organisation("gaon", Home::Domestic),
            organisation("fjord", Home::Foreign),
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

    fn token(&self, name: &str) -> String {
        self.hub.issue(Holder::Person(name.parse().unwrap())).unwrap()
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
