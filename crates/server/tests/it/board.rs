//! A programme's leaderboard, and which projects an asker may know of.

use crate::world::World;
use api::Client;
use consortium::{ArtifactKind, Command, Digest, Label, Output, Programme, Project, ProjectId};

/// Another project of gaon's, in the programme folding: minji and ingrid work in it.
const FOLDS: &str = "folds";

fn world() -> World {
    let world = World::new();
    let members = ["minji", "ingrid"].map(|name| name.parse().unwrap());
    let project = Project {
        id: FOLDS.parse().unwrap(),
        title: "Folds".into(),
        organisation: "gaon".parse().unwrap(),
        programme: Programme::Folding,
        members: members.into(),
    };
    world.hub.ask("folds", Command::OpenProject(project)).unwrap();
    world
}

/// Keeps `text` as a report of the project.
fn keep(world: &World, who: &Client, name: &str, text: &str, label: Label, kind: ArtifactKind) {
    let sent = world.bring(who, text.as_bytes(), label);
    let mut output = Output {
        name: name.into(),
        kind,
        ..sent
    };
    output.id.project = FOLDS.parse::<ProjectId>().unwrap();
    who.put(&world.folder.path().join("to-send"), &output).unwrap();
}

fn report(set: &str, by: &str, up: bool, score: f64) -> String {
    let judged_on = Digest::of(set.as_bytes());
    format!(
        r#"{{"words": "of {score}", "board": {{"judged_on": "{judged_on}", "rank_by": "{by}",
            "higher_is_better": {up}, "scores": {{"{by}": {score}, "other": 1, "unknown": null}}}}}}"#
    )
}

/// `judged on: name, name; ...` as an asker sees it.
fn seen(client: &Client, programme: Programme) -> String {
    let board = client.board(programme).unwrap();
    let ranking = |ranking: &api::Ranking| {
        let results = ranking.results.iter();
        let names: Vec<_> = results
            .map(|result| format!("{} {}", result.name, result.scores[&ranking.rank_by]))
            .collect();
        format!("{}: {}", ranking.rank_by, names.join(", "))
    };
    let mut rankings: Vec<String> = board.rankings.iter().map(ranking).collect();
    rankings.sort();
    rankings.join("; ")
}

#[test]
fn a_board_shows_what_the_asker_may_read_the_best_first() {
    let world = world();
    let minji = world.person("minji");
    let (open, restricted) = (Label::Open, Label::Restricted);
    let kind = ArtifactKind::Report;
    let add = |name: &str, text: &str, label, kind| keep(&world, &minji, name, text, label, kind);
    add("middle", &report("valid", "lddt", true, 0.5), open, kind);
    add("best", &report("valid", "lddt", true, 0.75), restricted, kind);
    add("worst", &report("valid", "lddt", true, -0.25), open, kind);
    add("slow", &report("valid", "seconds", false, 9.0), open, kind);
    add("quick", &report("valid", "seconds", false, 2.0), restricted, kind);
    add("elsewhere", &report("test", "tm", true, 0.9), restricted, kind);
    let board = minji.board(Programme::Folding).unwrap();
    let scores: Vec<_> = board.rankings[0].results[0].scores.keys().collect();
    assert!(!scores.contains(&&"unknown".to_owned()), "{scores:?}");
    // What says nothing for a board: no report, none of its words, no JSON, no score to rank by, too large.
    add(
        "data",
        &report("valid", "lddt", true, 1.0),
        open,
        ArtifactKind::Dataset,
    );
    add("silent", r#"{"lddt": 1}"#, open, kind);
    add("broken", r#"{"board": "#, open, kind);
    add(
        "unranked",
        &report("valid", "lddt", true, 1.0).replace("\"rank_by\": \"lddt\"", "\"rank_by\": \"x\""),
        open,
        kind,
    );
    let mut large = report("valid", "lddt", true, 0.875);
    large.push_str(&" ".repeat(1_000_001));
    add("large", &large, open, kind);

    let all = "lddt: best 0.75, middle 0.5, worst -0.25; seconds: quick 2, slow 9; tm: elsewhere 0.9";
    let some = "lddt: middle 0.5, worst -0.25; seconds: slow 9";
    for (name, expected) in [("minji", all), ("head", all), ("jun", some), ("ingrid", some)] {
        assert_eq!(seen(&world.person(name), Programme::Folding), expected, "{name}");
        assert_eq!(seen(&world.person(name), Programme::Language), "", "{name}");
    }
    for site in ["a", "f"] {
        assert_eq!(seen(&world.site(site), Programme::Folding), "", "{site}");
    }
    // Nothing of a report that can't be read, its number least of all.
    let text = serde_json::to_string(&world.person("ingrid").board(Programme::Folding).unwrap()).unwrap();
    assert!(!text.contains("0.75") && !text.contains("tm"), "{text}");
}

#[test]
fn projects_are_listed_for_whom_they_concern() {
    let world = world();
    let listed = |client: &Client| {
        let projects = client.projects().unwrap();
        let names: Vec<String> = projects.iter().map(|p| p.id.to_string()).collect();
        names.join(" ")
    };
    let askers = ["minji", "head", "jun", "ingrid"];
    let table = askers.map(|name| listed(&world.person(name)));
    assert_eq!(table, ["folds reviews", "folds reviews", "", "folds reviews"]);
    assert_eq!(listed(&world.site("a")), "");
    // A file that everyone may read makes its project known; a restricted one doesn't.
    let minji = world.person("minji");
    keep(
        &world,
        &minji,
        "a",
        "closed",
        Label::Restricted,
        ArtifactKind::Dataset,
    );
    assert_eq!(listed(&world.person("jun")), "");
    keep(&world, &minji, "b", "open", Label::Open, ArtifactKind::Dataset);
    assert_eq!(listed(&world.person("jun")), "folds");
}
