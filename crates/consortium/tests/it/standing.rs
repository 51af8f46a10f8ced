//! Who takes part, and how what is closed becomes less so.

use crate::world::{World, id, output, person, site, spec};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, ArtifactId, Command, Digest, Event, JobSpec, Label, Output, Person, Phase, Refusal,
    RefusalKind, Role, Standing,
};

fn stand(world: &mut World, organisation: &str, standing: Standing) -> Result<Vec<Event>, Refusal> {
    let command = Command::SetStanding {
        organisation: id(organisation),
        standing,
        ground: "decision 12".into(),
    };
    world.ask(person("director"), command)
}

#[test]
fn a_suspended_organisation_has_no_part_until_it_is_back() {
    let mut world = World::founded();
    let job = world.submit(JobSpec { sites: 1, ..spec() });
    assert!(world.job(job).members.contains_key(&id("bada")));
    world.join(job, &["bada"]);
    world.now = world.now.plus(5_000);

    stand(&mut world, "bada", Standing::Suspended).unwrap();
    let stands = &world.state.standings[&id("bada")];
    assert_eq!((stands.ground.as_str(), stands.since), ("decision 12", world.now));
    // The only site of the job has no part in it any more, so that is its end; the next goes elsewhere.
    assert!(
        matches!(world.job(job).phase, Phase::Failed { .. }),
        "{:?}",
        world.job(job).phase
    );
    let next = world.submit(JobSpec { sites: 1, ..spec() });
    assert!(world.job(next).members.contains_key(&id("hangang")));
    assert!(
        stand(&mut world, "bada", Standing::Suspended).unwrap().is_empty(),
        "it is already"
    );

    stand(&mut world, "gaon", Standing::Left).unwrap();
    let refusal = world.ask(person("minji"), Command::Submit(spec())).unwrap_err();
    assert_eq!(refusal.policies, ["people-of-active-organisations-act"]);
    stand(&mut world, "gaon", Standing::Active).unwrap();
    world.must(person("minji"), Command::Submit(spec()));
}

#[test]
fn a_standing_is_set_by_the_office_on_some_ground() {
    let mut world = World::founded();
    let set = |organisation: &str, ground: &str| Command::SetStanding {
        organisation: id(organisation),
        standing: Standing::Suspended,
        ground: ground.into(),
    };
    for (who, command, kind) in [
        ("minji", set("bada", "I say so"), RefusalKind::Forbidden),
        ("director", set("bada", "  "), RefusalKind::Invalid),
        ("director", set("bada", &"x".repeat(1_001)), RefusalKind::Invalid),
        ("director", set("nothing", "why"), RefusalKind::NotFound),
        ("director", set("office", "a bad day"), RefusalKind::Conflict),
    ] {
        assert_eq!(world.ask(person(who), command).unwrap_err().kind, kind);
    }
}

/// Beside the director, somebody else of the office, who is cleared.
fn with_a_deputy() -> World {
    let mut world = World::founded();
    world.must(
        Actor::Hub,
        Command::AddPerson(Person {
            id: id("deputy"),
            organisation: id("office"),
            roles: [Role::Office, Role::Cleared].into(),
        }),
    );
    world
}

fn release(world: &mut World, who: &str, digest: Digest, to: Label) -> Result<Vec<Event>, Refusal> {
    let artifact = ArtifactId {
        project: id("reviews"),
        digest,
    };
    world.ask(person(who), Command::Release { artifact, to })
}

#[test]
fn a_release_takes_two() {
    let mut world = with_a_deputy();
    let data = world.register("data", Label::Restricted, &[]);
    let model = world.register("model", Label::Open, &[data]);
    assert_eq!(world.artifact(model).label, Label::Restricted, "it inherits");

    assert_eq!(
        release(&mut world, "minji", model, Label::Open).unwrap_err().kind,
        RefusalKind::Forbidden
    );
    release(&mut world, "director", model, Label::Open).unwrap();
    assert_eq!(world.artifact(model).label, Label::Restricted);
    assert_eq!(
        release(&mut world, "director", model, Label::Open)
            .unwrap_err()
            .kind,
        RefusalKind::Conflict
    );
    // To agree to another label is to propose that.
    release(&mut world, "deputy", model, Label::Consortium).unwrap();
    assert_eq!(world.artifact(model).label, Label::Restricted);
    let done = release(&mut world, "director", model, Label::Consortium).unwrap();
    assert!(matches!(&done[0], Event::Released { by, .. } if by == &[id("deputy"), id("director")]));
    assert_eq!(world.artifact(model).label, Label::Consortium);
    assert_eq!(
        world.artifact(data).label,
        Label::Restricted,
        "what it was made from stays"
    );
    let more = release(&mut world, "deputy", model, Label::Restricted).unwrap_err();
    assert_eq!(
        more.kind,
        RefusalKind::Conflict,
        "a release makes nothing more closed"
    );

    // What is made from what was released may be as open as that; what was made from it before keeps its label.
    let child = world.register("child", Label::Open, &[model]);
    assert_eq!(world.artifact(child).label, Label::Consortium);
}

#[test]
fn a_proposal_is_void_when_it_would_release_something_else() {
    let mut world = with_a_deputy();
    let data = world.register("data", Label::Restricted, &[]);
    let model = world.register("model", Label::Restricted, &[data]);
    release(&mut world, "director", model, Label::Open).unwrap();
    // It turns out that the data are a matter of security, and so is what was made from them.
    world.register("data", Label::Security, &[]);
    assert_eq!(world.artifact(model).label, Label::Security);
    let asked = release(&mut world, "deputy", model, Label::Open).unwrap();
    assert!(matches!(asked[0], Event::ReleaseProposed { .. }), "{asked:?}");

    let more = world.register("more data", Label::Open, &[]);
    world.register("model", Label::Restricted, &[more]);
    let asked = release(&mut world, "deputy", model, Label::Open).unwrap();
    assert!(matches!(asked[0], Event::ReleaseProposed { .. }), "{asked:?}");
}

#[test]
fn a_release_is_decided_by_those_who_may_read_it_and_still_take_part() {
    let mut world = with_a_deputy();
    let secret = world.register("secret", Label::Security, &[]);
    release(&mut world, "deputy", secret, Label::Open).unwrap();
    let refusal = release(&mut world, "director", secret, Label::Open).unwrap_err();
    assert_eq!(refusal.policies, ["security-is-for-the-cleared"]);

    world.must(
        Actor::Hub,
        Command::AddPerson(Person {
            id: id("guest"),
            organisation: id("bada"),
            roles: [Role::Office].into(),
        }),
    );
    let data = world.register("data", Label::Restricted, &[]);
    release(&mut world, "guest", data, Label::Open).unwrap();
    stand(&mut world, "bada", Standing::Suspended).unwrap();
    let asked = release(&mut world, "director", data, Label::Open).unwrap();
    assert!(matches!(asked[0], Event::ReleaseProposed { .. }), "{asked:?}");
    let done = release(&mut world, "deputy", data, Label::Open).unwrap();
    assert!(matches!(&done[0], Event::Released { by, .. } if by == &[id("director"), id("deputy")]));
}

#[test]
fn a_partner_reads_what_she_brought_and_nothing_else() {
    let mut world = World::founded();
    let reads = |world: &World, who: &str, digest| {
        let artifact = world.artifact(digest);
        world
            .state
            .permit(&person(who), Action::Read, &Resource::Artifact(artifact))
            .is_ok()
    };
    let closed = world.register("closed", Label::Restricted, &[]);
    let hers = Output {
        label: Label::Restricted,
        ..output("hers")
    };
    let digest = hers.id.digest;
    world.must(person("anna"), Command::Register(hers.clone()));
    assert!(
        world.must(person("anna"), Command::Register(hers)).is_empty(),
        "told twice, kept once"
    );
    assert!(reads(&world, "anna", digest) && reads(&world, "minji", digest));
    assert!(!reads(&world, "otto", digest) && !reads(&world, "anna", closed));
    // Not even that, once it is a matter of security.
    let secret = Output {
        label: Label::Security,
        ..output("hers")
    };
    world.must(person("anna"), Command::Register(secret));
    assert!(!reads(&world, "anna", digest) && !reads(&world, "minji", digest));
    let at = |name| Resource::Artifact(world.artifact(digest)).to_string() + name;
    assert!(at("").contains("security"));
    assert!(
        world
            .state
            .permit(
                &site("bada"),
                Action::Read,
                &Resource::Artifact(world.artifact(digest))
            )
            .is_err()
    );
}
