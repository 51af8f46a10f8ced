//! Invitations, and who comes by them.

use crate::world::{World, id, person};
use consortium::{
    Actor, Command, Credential, Digest, Event, Guest, Holder, INVITATION_MILLIS, Identity, InvitationCommand,
    PeopleCommand, PeopleEvent, Refusal, RefusalKind, Role, SignIn, Standing, State, Time,
};

fn code(word: &str) -> Digest {
    Digest::of(word.as_bytes())
}

fn guest(organisation: &str) -> Guest {
    Guest::New {
        organisation: id(organisation),
        roles: [Role::Auditor].into(),
        projects: [id("reviews")].into(),
        name: Some(id("minho")),
    }
}

fn account(subject: &str) -> SignIn {
    SignIn::Identity(id(&format!("https://id.example {subject}")))
}

fn send(word: &str, email: &str, guest: Guest) -> Command {
    Command::Invitation(InvitationCommand::Send {
        code: code(word),
        email: email.into(),
        guest,
    })
}

fn accept(world: &mut World, word: &str, name: Option<&str>, sign_in: SignIn) -> Result<Vec<Event>, Refusal> {
    let accept = InvitationCommand::Accept {
        code: code(word),
        name: name.map(id),
        sign_in,
    };
    world.ask(Actor::Hub, Command::Invitation(accept))
}

/// A world in which minho is invited by the code `word`.
fn invited(guest: Guest) -> World {
    let mut world = World::founded();
    world.must(person("director"), send("word", "minho@gaon.example", guest));
    world
}

#[test]
fn who_is_invited_comes_once_and_is_what_the_invitation_says() {
    let mut world = invited(guest("gaon"));
    accept(&mut world, "word", None, account("7")).unwrap();
    let state = &world.state;
    let minho = &state.people[&id("minho")];
    assert_eq!(
        (minho.organisation.as_str(), minho.roles.clone()),
        ("gaon", [Role::Auditor].into())
    );
    assert!(state.projects[&id("reviews")].members.contains(&minho.id));
    let identity = Identity::new("https://id.example", "7").unwrap();
    assert_eq!(state.identities[&identity], minho.id);
    assert!(state.invitations.is_empty());
    let again = accept(&mut world, "word", Some("other"), account("8")).unwrap_err();
    assert_eq!(again.kind, RefusalKind::NotFound);
}

#[test]
fn a_chosen_name_goes_before_the_proposed_one() {
    let mut world = invited(guest("gaon"));
    let taken = accept(&mut world, "word", Some("minji"), account("7")).unwrap_err();
    assert_eq!(taken.kind, RefusalKind::Conflict);
    accept(&mut world, "word", Some("minho-kim"), account("7")).unwrap();
    assert!(world.state.people.contains_key(&id("minho-kim")));
    assert!(!world.state.people.contains_key(&id("minho")));
}

#[test]
fn without_a_provider_the_first_token_comes_with_it() {
    let mut world = invited(guest("gaon"));
    let token = Digest::of(b"khub_first");
    let expires = world.now.plus(1_000);
    accept(&mut world, "word", None, SignIn::Token { token, expires }).unwrap();
    let credential = &world.state.credentials[&token];
    assert_eq!(credential.holder, Holder::Person(id("minho")));
    assert_eq!(credential.expires, Some(expires));
}

#[test]
fn a_known_person_gets_another_way_to_sign_in() {
    let mut world = invited(Guest::Known(id("minji")));
    let named = accept(&mut world, "word", Some("minho"), account("7")).unwrap_err();
    assert_eq!(named.kind, RefusalKind::Invalid);
    let people = world.state.people.clone();
    accept(&mut world, "word", None, account("7")).unwrap();
    assert_eq!(world.state.people, people);
    // Another account of the same provider takes the place of the first, and one elsewhere stands beside it.
    for (word, sign_in) in [
        ("second", account("8")),
        (
            "third",
            SignIn::Identity(Identity::new("https://other.example", "7").unwrap()),
        ),
    ] {
        world.must(
            person("director"),
            send(word, "minji@gaon.example", Guest::Known(id("minji"))),
        );
        accept(&mut world, word, None, sign_in).unwrap();
    }
    let known: Vec<String> = world.state.identities.keys().map(ToString::to_string).collect();
    assert_eq!(known, ["https://id.example 8", "https://other.example 7"]);
}

#[test]
fn an_account_is_one_persons() {
    let mut world = invited(guest("gaon"));
    accept(&mut world, "word", None, account("7")).unwrap();
    world.must(
        person("director"),
        send("other", "minji@gaon.example", Guest::Known(id("minji"))),
    );
    let no = accept(&mut world, "other", None, account("7")).unwrap_err();
    assert_eq!(
        (no.kind, no.message.as_str()),
        (RefusalKind::Conflict, "you are minho here already")
    );
}

#[test]
fn an_invitation_ends_by_time_by_withdrawal_and_with_its_giver() {
    let mut world = invited(guest("gaon"));
    world.now = Time(world.now.0 + INVITATION_MILLIS);
    let late = accept(&mut world, "word", None, account("7")).unwrap_err();
    assert_eq!(late.kind, RefusalKind::Conflict);
    // The address may be invited again, and the old code is gone.
    world.must(
        person("director"),
        send("second", "minho@gaon.example", guest("gaon")),
    );
    assert_eq!(world.state.invitations.len(), 1);
    let withdraw = |word| Command::Invitation(InvitationCommand::Withdraw { code: code(word) });
    assert_eq!(
        world.ask(person("minji"), withdraw("second")).unwrap_err().kind,
        RefusalKind::Forbidden
    );
    world.must(person("director"), withdraw("second"));
    assert_eq!(
        world
            .ask(person("director"), withdraw("second"))
            .unwrap_err()
            .kind,
        RefusalKind::NotFound
    );
    accept(&mut world, "second", None, account("7")).unwrap_err();

    let office = PeopleCommand::SetRoles {
        person: id("inspector"),
        roles: [Role::Office].into(),
        ground: "decision 3".into(),
    };
    world.must(person("director"), Command::People(office));
    world.must(
        person("inspector"),
        send("third", "minho@gaon.example", guest("gaon")),
    );
    let suspended = PeopleCommand::SetStanding {
        person: id("inspector"),
        standing: Standing::Suspended,
        ground: "decision 4".into(),
    };
    world.must(person("director"), Command::People(suspended));
    let void = accept(&mut world, "third", None, account("7")).unwrap_err();
    assert!(void.message.contains("may let nobody in"), "{void}");
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut world = invited(guest("gaon"));
    let hub_alone = Command::Invitation(InvitationCommand::Accept {
        code: code("word"),
        name: None,
        sign_in: account("7"),
    });
    let stood = Command::SetStanding {
        organisation: id("rhein"),
        standing: Standing::Suspended,
        ground: "letter 3".into(),
    };
    world.must(person("director"), stood);
    let nowhere = Guest::New {
        organisation: id("gaon"),
        roles: [].into(),
        projects: [id("nothing")].into(),
        name: None,
    };
    for (who, command, kind) in [
        (
            "minji",
            send("a", "x@gaon.example", guest("gaon")),
            RefusalKind::Forbidden,
        ),
        ("director", hub_alone, RefusalKind::Forbidden),
        (
            "director",
            send("a", "minho@gaon.example", guest("gaon")),
            RefusalKind::Conflict,
        ),
        (
            "director",
            send("word", "x@gaon.example", guest("gaon")),
            RefusalKind::Conflict,
        ),
        (
            "director",
            send("a", "x@gaon.example", guest("nothing")),
            RefusalKind::NotFound,
        ),
        (
            "director",
            send("a", "x@gaon.example", guest("rhein")),
            RefusalKind::Conflict,
        ),
        (
            "director",
            send("a", "x@gaon.example", nowhere),
            RefusalKind::NotFound,
        ),
        (
            "director",
            send("a", "x@gaon.example", Guest::Known(id("nobody"))),
            RefusalKind::NotFound,
        ),
        (
            "director",
            send("a", "no address", guest("gaon")),
            RefusalKind::Invalid,
        ),
        (
            "director",
            send("a", "@gaon.example", guest("gaon")),
            RefusalKind::Invalid,
        ),
    ] {
        let before = world.state.clone();
        assert_eq!(
            world.ask(person(who), command.clone()).unwrap_err().kind,
            kind,
            "{command:?}"
        );
        assert!(world.state == before);
    }
}

#[test]
fn the_log_keeps_an_identity_as_text_and_a_state_of_before_is_read() {
    let event = Event::People(PeopleEvent::IdentityBound {
        identity: Identity::new("https://id.example", "a b").unwrap(),
        person: id("minho"),
    });
    let text = serde_json::to_string(&event).unwrap();
    let expected = r#"{"people":{"identity-bound":{"identity":"https://id.example a b","person":"minho"}}}"#;
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    let state = serde_json::to_string(&State::default()).unwrap();
    assert!(
        !state.contains("identities") && !state.contains("invitations"),
        "{state}"
    );
}

#[test]
fn a_session_is_short_and_those_that_are_over_are_forgotten() {
    let mut world = World::founded();
    let day = 24 * 3_600_000;
    let issue = |word: &str, holder, expires| Command::IssueCredential {
        token: code(word),
        credential: Credential {
            expires,
            session: true,
            ..Credential::full(holder)
        },
    };
    let minji = || Holder::Person(id("minji"));
    let end = |world: &World, millis| Some(world.now.plus(millis));
    let site = Holder::Site(id("hangang"));
    for (holder, expires) in [
        (minji(), end(&world, day + 1)),
        (minji(), None),
        (site, end(&world, day)),
    ] {
        let no = world.ask(Actor::Hub, issue("a", holder, expires)).unwrap_err();
        assert_eq!(no.kind, RefusalKind::Invalid);
    }
    let others = world
        .ask(person("jun"), issue("a", minji(), end(&world, day)))
        .unwrap_err();
    assert_eq!(others.kind, RefusalKind::Forbidden);
    let first = issue("a", minji(), end(&world, day));
    world.must(person("minji"), first);
    world.now = world.now.plus(day);
    let second = issue("b", minji(), end(&world, day));
    world.must(person("minji"), second);
    let known: Vec<_> = world.state.credentials.keys().collect();
    assert_eq!(known, [&code("b")]);
}
