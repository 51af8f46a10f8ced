//! Runs: who begins one, who reads it, what it becomes with its job, and where it ends.

use crate::world::{World, id, person, spec};
use consortium::policy::Resource;
use consortium::*;
use std::collections::BTreeMap;

/// A run as the log has it at its beginning.
pub(crate) fn run(number: u64, project: &str, by: &str) -> Run {
    let mut name = [0; 16];
    name[8..].copy_from_slice(&number.to_be_bytes());
    Run {
        id: RunId(name),
        project: id(project),
        by: id(by),
        name: "a try".into(),
        label: Label::Restricted,
        job: None,
        made_from: vec![],
        status: RunStatus::Running,
        started: Time(0),
        ended: None,
        deleted: None,
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        files: BTreeMap::new(),
        noted: 0,
    }
}

const FIRST: RunId = RunId([1; 16]);

fn begin(label: Option<Label>, job: Option<JobId>) -> RunCommand {
    RunCommand::Begin {
        project: id("reviews"),
        name: "a try".into(),
        started: Time(5),
        label,
        job,
        made_from: vec![],
        tags: BTreeMap::new(),
    }
}

fn texts(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = all
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    pairs.collect()
}

fn params(all: &[(&str, &str)]) -> RunCommand {
    RunCommand::Note {
        params: texts(all),
        tags: BTreeMap::new(),
    }
}

fn tags(all: &[(&str, &str)]) -> RunCommand {
    RunCommand::Note {
        params: BTreeMap::new(),
        tags: texts(all),
    }
}

/// What kind of no, and its words.
fn no(world: &World, who: &str, run: RunId, command: RunCommand) -> (RefusalKind, String) {
    let request = Request::new(person(who), Command::Run(run, command));
    let refusal = decide(&world.state, &request, world.now).expect_err("it was granted");
    (refusal.kind, refusal.message)
}

fn reads(world: &World, who: &str, run: RunId) -> bool {
    world.state.run_for(&person(who), run).is_ok()
}

#[test]
fn a_run_is_begun_noted_and_ended_by_its_person() {
    let mut world = World::founded();
    let mut does = |command| world.must(person("minji"), Command::Run(FIRST, command));
    does(begin(None, None));
    does(params(&[("lr", "0.1"), ("depth", "3")]));
    does(params(&[("lr", "0.1")]));
    does(tags(&[("note", "one")]));
    does(tags(&[("note", "two"), ("other", "x")]));
    does(RunCommand::Untag("other".into()));
    does(RunCommand::Update {
        status: Some(RunStatus::Failed),
        ended: None,
        name: Some("another name".into()),
    });
    let run = Run::clone(&world.state.runs.all[&FIRST]);
    assert_eq!(run.params, texts(&[("lr", "0.1"), ("depth", "3")]));
    assert_eq!(run.tags, texts(&[("note", "two")]));
    assert_eq!(
        (run.status, run.ended, run.name.as_str()),
        (RunStatus::Failed, Some(world.now), "another name")
    );
    assert_eq!(
        run.label,
        Label::Restricted,
        "where there is no job, it is closed"
    );
    let other = no(&world, "minji", FIRST, params(&[("lr", "0.2")]));
    assert!(
        other.0 == RefusalKind::Invalid && other.1.contains("is \"0.1\" already"),
        "{other:?}"
    );
    let mut does = |command| world.must(person("minji"), Command::Run(FIRST, command));
    does(RunCommand::Delete);
    assert!(
        no(&world, "minji", FIRST, tags(&[("a", "b")]))
            .1
            .contains("is deleted")
    );
    world.must(person("minji"), Command::Run(FIRST, RunCommand::Restore));
    assert_eq!(world.state.runs.all[&FIRST].deleted, None);
}

#[test]
fn what_is_hidden_sounds_like_what_is_not_there() {
    let mut world = World::founded();
    world.must(
        person("minji"),
        Command::Run(FIRST, begin(Some(Label::Restricted), None)),
    );
    let absent = RunId([9; 16]);
    for who in ["anna", "otto", "jun"] {
        assert!(!reads(&world, who, FIRST));
        for command in [
            params(&[("a", "b")]),
            RunCommand::Delete,
            RunCommand::Restrict(Label::Security),
        ] {
            let hidden = no(&world, who, FIRST, command.clone());
            let gone = no(&world, who, absent, command);
            assert_eq!(hidden.0, RefusalKind::NotFound);
            assert_eq!(
                hidden.1.replace(&FIRST.to_string(), ""),
                gone.1.replace(&absent.to_string(), "")
            );
        }
    }
    assert!(reads(&world, "director", FIRST));
    assert_eq!(
        no(&world, "director", FIRST, RunCommand::Delete).0,
        RefusalKind::Forbidden
    );
}

#[test]
fn a_partner_logs_and_reads_her_own() {
    let mut world = World::founded();
    world.must(person("anna"), Command::Run(FIRST, begin(None, None)));
    assert!(reads(&world, "anna", FIRST) && reads(&world, "minji", FIRST));
    assert!(!reads(&world, "otto", FIRST));
    world.must(person("anna"), Command::Run(FIRST, params(&[("lr", "1")])));
    let security = no(&world, "anna", FIRST, RunCommand::Restrict(Label::Security));
    assert_eq!(
        security.0,
        RefusalKind::Forbidden,
        "she could not read it any more"
    );
    let elsewhere = no(&world, "jun", RunId([2; 16]), begin(None, None));
    assert_eq!(elsewhere.0, RefusalKind::NotFound, "he doesn't work there");
}

#[test]
fn a_run_is_as_closed_as_its_projects_jobs_and_its_own() {
    let mut world = World::founded();
    let open = world.submit(JobSpec {
        label: Label::Open,
        ..spec()
    });
    world.must(person("minji"), Command::Run(FIRST, begin(None, None)));
    assert_eq!(world.state.runs.all[&FIRST].label, Label::Open);
    let closed = world.submit(JobSpec {
        label: Label::Restricted,
        ..spec()
    });
    // Of the closed job the partner learns nothing: neither by its name nor by a label.
    let (second, third, fourth) = (RunId([2; 16]), RunId([3; 16]), RunId([4; 16]));
    world.must(person("anna"), Command::Run(second, begin(None, None)));
    assert_eq!(world.state.runs.all[&second].label, Label::Open);
    let hidden = no(&world, "anna", third, begin(None, Some(closed)));
    let absent = no(&world, "anna", third, begin(None, Some(JobId(999))));
    assert_eq!(
        hidden.1.replace(&closed.to_string(), ""),
        absent.1.replace("job-999", "")
    );
    world.must(person("minji"), Command::Run(third, begin(None, None)));
    assert_eq!(world.state.runs.all[&third].label, Label::Restricted);
    world.must(
        person("minji"),
        Command::Run(fourth, begin(Some(Label::Open), Some(open))),
    );
    assert_eq!(
        world.state.label_of_run(&world.state.runs.all[&fourth]),
        Label::Open
    );
    // The job turns out to be restricted, and so does the run.
    world.state.jobs.get_mut(&open).unwrap().label = Label::Restricted;
    assert_eq!(
        world.state.label_of_run(&world.state.runs.all[&fourth]),
        Label::Restricted
    );
    assert!(!reads(&world, "otto", fourth));
    world.state.jobs.get_mut(&open).unwrap().label = Label::Open;
}

#[test]
fn files_are_artifacts_with_label_and_lineage() {
    let mut world = World::founded();
    let data = world.register("reviews.tokens", Label::Restricted, &[]);
    let mut command = begin(Some(Label::Open), None);
    if let RunCommand::Begin { made_from, .. } = &mut command {
        made_from.push(data);
    }
    let absent = no(&world, "anna", FIRST, command.clone());
    assert!(absent.1.starts_with("there is no artifact"), "{absent:?}");
    world.must(person("minji"), Command::Run(FIRST, command));
    let file = |path: &str, bytes: &[u8]| RunCommand::File {
        path: path.into(),
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
    };
    world.must(
        person("minji"),
        Command::Run(FIRST, file("plots/loss.png", b"a plot")),
    );
    let kept = world.artifact(Digest::of(b"a plot"));
    assert_eq!((kept.name.as_str(), kept.label), ("loss.png", Label::Restricted));
    assert_eq!((&kept.made_from[..], kept.by.len()), (&[data][..], 1));
    world.must(
        person("minji"),
        Command::Run(FIRST, file("plots/loss.png", b"another")),
    );
    assert_eq!(
        world.state.runs.all[&FIRST].files["plots/loss.png"],
        Digest::of(b"another")
    );
    for path in [
        "../up",
        "/root",
        "a//b",
        "",
        ".hidden",
        "a/..",
        "a\\b",
        "c:x",
        &"x".repeat(600),
    ] {
        let no = no(&world, "minji", FIRST, file(path, b"x"));
        assert!(no.1.contains("can't be the path"), "{path}: {no:?}");
    }
    let less = no(&world, "minji", FIRST, RunCommand::Restrict(Label::Open));
    assert_eq!(less.0, RefusalKind::Conflict);
}

#[test]
fn a_run_that_is_closed_takes_its_files_along() {
    let mut world = World::founded();
    world.must(
        person("minji"),
        Command::Run(FIRST, begin(Some(Label::Open), None)),
    );
    let digest = Digest::of(b"a plot");
    world.must(
        person("minji"),
        Command::Run(
            FIRST,
            RunCommand::File {
                path: "loss.png".into(),
                digest,
                bytes: 6,
            },
        ),
    );
    assert!(reads(&world, "otto", FIRST));
    world.must(
        person("minji"),
        Command::Run(FIRST, RunCommand::Restrict(Label::Restricted)),
    );
    assert!(!reads(&world, "otto", FIRST));
    let artifact = world.artifact(digest);
    let otto = world
        .state
        .permit(&person("otto"), Action::Read, &Resource::Artifact(artifact));
    assert!(otto.is_err());
}

#[test]
fn nobody_fills_the_log() {
    let mut world = World::founded();
    world.must(person("minji"), Command::Run(FIRST, begin(None, None)));
    let long = "x".repeat(8_000);
    let mut written = 0;
    let refusal = loop {
        let value = format!("{long:.7990}{written}");
        let command = Command::Run(FIRST, tags(&[("note", &value)]));
        let request = Request::new(person("minji"), command.clone());
        match decide(&world.state, &request, world.now) {
            Ok(_) => world.must(person("minji"), command),
            Err(refusal) => break refusal,
        };
        written += 1;
    };
    assert!(refusal.message.contains("more than 1024 KiB"), "{refusal:?}");
    assert!((100..140).contains(&written), "{written}");
    for (key, value) in [
        ("", "x"),
        ("a//b", "x"),
        ("../a", "x"),
        ("한글 키", "x\0"),
        ("k\n", "x"),
    ] {
        assert_eq!(
            no(&world, "minji", FIRST, tags(&[(key, value)])).0,
            RefusalKind::Invalid,
            "{key:?}"
        );
    }
    let second = RunId([2; 16]);
    world.must(person("minji"), Command::Run(second, begin(None, None)));
    world.must(person("minji"), Command::Run(second, tags(&[("한글 키", "값")])));
    let too_long = no(&world, "minji", second, params(&[("p", &"y".repeat(6_001))]));
    assert!(too_long.1.contains("6001 characters"), "{too_long:?}");
}

#[test]
fn a_name_is_32_digits() {
    let text = "0123456789abcdef0123456789abcdef";
    assert_eq!(text.parse::<RunId>().unwrap().to_string(), text);
    for bad in [
        "",
        "0",
        "0123456789ABCDEF0123456789abcdef",
        "+123456789abcdef0123456789abcdef",
        "각".repeat(11).as_str(),
    ] {
        assert!(bad.parse::<RunId>().is_err(), "{bad}");
    }
}
