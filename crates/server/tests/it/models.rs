//! Models under their names: who publishes, who is told what. The real clients are in `python/tests`.

use crate::world::{PROJECT, World};
use api::{ApiError, Client};
use consortium::{Label, ModelId, Publication};
use std::collections::BTreeMap;

fn publication(world: &World, who: &Client, files: &[(&str, &[u8], Label)]) -> Publication {
    let mut named = BTreeMap::new();
    for (path, bytes, label) in files {
        let output = world.bring(who, bytes, *label);
        who.put(&world.folder.path().join("to-send"), &output).unwrap();
        named.insert((*path).to_owned(), output.id.digest);
    }
    Publication {
        model: "gaon/small".parse().unwrap(),
        project: PROJECT.parse().unwrap(),
        files: named,
    }
}

fn refused<T>(answer: Result<T, ApiError>) -> (u16, String) {
    let Err(error) = answer else {
        panic!("it was granted")
    };
    (error.status().unwrap(), error.to_string())
}

#[test]
fn what_can_be_published() {
    let world = World::new();
    let minji = world.person("minji");
    let good = publication(&world, &minji, &[("config.json", b"{}", Label::Restricted)]);
    let digest = good.files["config.json"];
    let with = |change: &dyn Fn(&mut Publication)| {
        let mut bad = good.clone();
        change(&mut bad);
        minji.publish(&bad)
    };
    let elsewhere: ModelId = "fjord/small".parse().unwrap();
    for (status, words, answer) in [
        (
            422,
            "can't be under fjord",
            with(&|it| it.model = elsewhere.clone()),
        ),
        (
            404,
            "no project",
            with(&|it| it.project = "nothing".parse().unwrap()),
        ),
        (422, "1 to 1000 files", with(&|it| it.files.clear())),
        (
            404,
            "no artifact",
            with(&|it| {
                it.files.insert("b".into(), consortium::Digest::of(b"never seen"));
            }),
        ),
    ] {
        let (found, text) = refused(answer);
        assert!(found == status && text.contains(words), "{found} {text}");
    }
    for path in [
        "../up", "/root", "a//b", ".hidden", "a/.git", "", "a b", "a\\b", "가",
    ] {
        let (status, text) = refused(with(&|it| {
            it.files.insert(path.into(), digest);
        }));
        assert!(
            status == 422 && text.contains("can't be the path"),
            "{path}: {text}"
        );
    }
    assert_eq!(refused(world.person("jun").publish(&good)).0, 404);
    let first = minji.publish(&good).unwrap();
    // The same again is no new revision.
    assert_eq!(minji.publish(&good).unwrap().seq, first.seq);
    // A partner who works in the project may help with it, and still not read it.
    let ingrid = world.person("ingrid");
    let more = publication(&world, &ingrid, &[("notes.md", b"notes", Label::Open)]);
    assert!(ingrid.publish(&more).unwrap().seq > first.seq);
}

#[test]
fn who_may_ask_the_policy_about_whom() {
    let world = World::new();
    let minji = world.person("minji");
    let model = publication(&world, &minji, &[("config.json", b"{}", Label::Restricted)]);
    minji.publish(&model).unwrap();
    let rulings = minji.explain_policy("minji", "gaon/small").unwrap();
    assert!(rulings[0].allowed && rulings[0].policies[0].id == "members-read-their-project");
    let closed = world
        .person("ingrid")
        .explain_policy("ingrid", "gaon/small")
        .unwrap();
    assert_eq!(
        closed[0].policies[0].id,
        "restricted-stays-closed-to-foreign-partners"
    );
    assert!(closed[0].policies[0].text.contains("forbid"));
    assert_eq!(refused(minji.explain_policy("ingrid", "gaon/small")).0, 403);
    let head = world.person("head");
    let rulings = head.explain_policy("site:f", "consortium").unwrap();
    assert!(
        rulings
            .iter()
            .all(|ruling| !ruling.allowed && ruling.policies.is_empty())
    );
    for (who, what, status) in [
        ("nobody", "consortium", 404),
        ("ingrid", "nothing", 404),
        ("ingrid", "job-9", 404),
        ("In Grid", "consortium", 400),
    ] {
        assert_eq!(refused(head.explain_policy(who, what)).0, status, "{who} {what}");
    }
}
