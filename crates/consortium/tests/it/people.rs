//! Roles that change, people who pause or leave, and who works in which project.

use crate::world::{World, id, person, spec};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, Command, Event, PeopleCommand, Person, Refusal, RefusalKind, Role, Standing,
};
use std::collections::BTreeSet;

fn ask(world: &mut World, who: &str, command: PeopleCommand) -> Result<Vec<Event>, Refusal> {
    world.ask(person(who), Command::People(command))
}

fn roles(who: &str, roles: &[Role]) -> PeopleCommand {
    PeopleCommand::SetRoles {
        person: id(who),
        roles: roles.iter().copied().collect(),
        ground: "decision 14".into(),
    }
}

fn stand(who: &str, standing: Standing) -> PeopleCommand {
    PeopleCommand::SetStanding {
        person: id(who),
        standing,
        ground: "decision 14".into(),
    }
}

fn enrol(join: &[&str], leave: &[&str]) -> PeopleCommand {
    let set = |people: &[&str]| people.iter().map(|who| id(who)).collect();
    PeopleCommand::Enrol {
        project: id("reviews"),
        join: set(join),
        leave: set(leave),
    }
}

fn audits(world: &World, who: &str) -> bool {
    let answer = world
        .state
        .permit(&person(who), Action::Audit, &Resource::Consortium);
    answer.is_ok()
}

fn add(world: &mut World, who: &str, organisation: &str, roles: &[Role]) {
    let person = Person {
        id: id(who),
        organisation: id(organisation),
        roles: roles.iter().copied().collect(),
    };
    world.must(Actor::Hub, Command::AddPerson(person));
}

#[test]
fn a_role_holds_as_long_as_it_is_given() {
    let mut world = World::founded();
    assert!(!audits(&world, "minji"));
    ask(&mut world, "director", roles("minji", &[Role::Auditor])).unwrap();
    assert!(audits(&world, "minji"));
    assert!(
        ask(&mut world, "director", roles("minji", &[Role::Auditor]))
            .unwrap()
            .is_empty()
    );
    ask(&mut world, "director", roles("minji", &[])).unwrap();
    assert!(!audits(&world, "minji"));
}

#[test]
fn who_is_suspended_does_nothing_and_is_told_so() {
    let mut world = World::founded();
    ask(&mut world, "director", stand("minji", Standing::Suspended)).unwrap();
    let refusal = world.ask(person("minji"), Command::Submit(spec())).unwrap_err();
    assert_eq!(refusal.policies, ["people-of-active-organisations-act"]);
    let minji = person("minji");
    let why = world.state.kept_out(&minji).unwrap();
    assert_eq!(why, "person minji is suspended and takes no part");
    // Her colleagues go on, and so does she when she is back.
    assert_eq!(world.state.kept_out(&person("jun")), None);
    ask(&mut world, "director", stand("minji", Standing::Active)).unwrap();
    world.must(minji, Command::Submit(spec()));
}

#[test]
fn a_project_gains_and_loses_people() {
    let mut world = World::founded();
    add(&mut world, "minho", "gaon", &[]);
    let contributes = |world: &World, who: &str| {
        let project = &world.state.projects[&id("reviews")];
        let answer = world
            .state
            .permit(&person(who), Action::Contribute, &Resource::Project(project));
        answer.is_ok()
    };
    assert!(!contributes(&world, "minho"));
    ask(&mut world, "director", enrol(&["minho"], &["minji"])).unwrap();
    assert!(contributes(&world, "minho") && !contributes(&world, "minji"));
    assert!(
        ask(&mut world, "director", enrol(&["minho"], &["minji"]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut world = World::founded();
    let members: BTreeSet<_> = world.state.projects[&id("reviews")].members.clone();
    let members: Vec<&str> = members.iter().map(|it| it.as_str()).collect();
    let no_ground = PeopleCommand::SetStanding {
        person: id("minji"),
        standing: Standing::Left,
        ground: " ".into(),
    };
    for (who, command, kind) in [
        ("minji", roles("minji", &[Role::Office]), RefusalKind::Forbidden),
        ("minji", enrol(&["anna"], &[]), RefusalKind::Forbidden),
        ("director", no_ground, RefusalKind::Invalid),
        ("director", roles("nobody-known", &[]), RefusalKind::NotFound),
        ("director", enrol(&["nobody-known"], &[]), RefusalKind::NotFound),
        ("director", enrol(&["minji"], &["minji"]), RefusalKind::Invalid),
        ("director", enrol(&[], &members), RefusalKind::Conflict),
        (
            "director",
            roles("director", &[Role::Auditor]),
            RefusalKind::Conflict,
        ),
        (
            "director",
            stand("director", Standing::Left),
            RefusalKind::Conflict,
        ),
    ] {
        let before = world.state.clone();
        assert_eq!(
            ask(&mut world, who, command.clone()).unwrap_err().kind,
            kind,
            "{command:?}"
        );
        assert!(world.state == before);
    }
}

#[test]
fn the_office_never_locks_itself_out() {
    let mut world = World::founded();
    add(&mut world, "deputy", "office", &[Role::Office]);
    ask(&mut world, "deputy", stand("director", Standing::Suspended)).unwrap();
    // Who is suspended doesn't count.
    let last = ask(&mut world, "deputy", roles("deputy", &[])).unwrap_err();
    assert_eq!(last.kind, RefusalKind::Conflict);
    ask(&mut world, "deputy", stand("director", Standing::Active)).unwrap();
    ask(&mut world, "deputy", roles("deputy", &[])).unwrap();
}
