//! Coming in by an invitation, signing in and out.

use crate::world::{Hands, World};
use api::{ApiError, Client};
use consortium::{Actor, Guest, INVITATION_MILLIS, Scope};

fn status<T>(answer: Result<T, ApiError>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(error) => error.status().unwrap_or_else(|| panic!("{error}")),
    }
}

fn stranger(world: &World) -> Client {
    Client::new(&world.hub.url(), "").unwrap()
}

fn guest() -> Guest {
    Guest::New {
        organisation: "gaon".parse().unwrap(),
        roles: [].into(),
        projects: ["reviews".parse().unwrap()].into(),
        name: None,
    }
}

#[test]
fn an_invitation_is_accepted_once_also_after_a_restart() {
    let world = World::new();
    let invited = world
        .person("head")
        .invite("minho@gaon.example", &guest())
        .unwrap();
    let world = world.restarted();
    let listed = world.person("head").invitations().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].invitation.expires, listed[0].expired),
        (invited.expires, false)
    );
    let nameless = stranger(&world).accept(&invited.code, None).unwrap_err();
    assert_eq!(nameless.status(), Some(422), "{nameless}");
    let minho = "minho".parse().unwrap();
    let welcome = stranger(&world).accept(&invited.code, Some(&minho)).unwrap();
    let client = Client::new(&world.hub.url(), &welcome.token).unwrap();
    assert_eq!(client.me().unwrap().actor, Actor::Person(minho));
    assert_eq!(status(stranger(&world).accept(&invited.code, None)), 404);
    assert!(world.person("head").invitations().unwrap().is_empty());
}

#[test]
fn who_tries_codes_is_locked_out() {
    let world = World::new();
    let answers: Vec<u16> = (0..35)
        .map(|n| status(stranger(&world).accept(&format!("invitation_{n}"), None)))
        .collect();
    assert_eq!(answers.iter().filter(|status| **status == 404).count(), 30);
    assert_eq!(answers[30..], [429; 5]);
}

#[test]
fn an_invitation_ends() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let head = world.person("head");
    let late = head.invite("minho@gaon.example", &guest()).unwrap();
    hands.advance(INVITATION_MILLIS + 1);
    let minho = "minho".parse().unwrap();
    assert_eq!(status(stranger(&world).accept(&late.code, Some(&minho))), 409);
    assert!(head.invitations().unwrap()[0].expired);
    let withdrawn = head.invite("minho@gaon.example", &guest()).unwrap();
    let digest = head.invitations().unwrap()[0].digest;
    head.withdraw_invitation(&digest).unwrap();
    assert_eq!(
        status(stranger(&world).accept(&withdrawn.code, Some(&minho))),
        404
    );
}

#[test]
fn who_signs_out_needs_no_token_that_may_do_more() {
    let world = World::new();
    let holder = consortium::Holder::Person("minji".parse().unwrap());
    let minji = world.person("minji");
    for scope in [Scope::Full, Scope::Read] {
        let token = minji.issue_limited(holder.clone(), Some(1), scope).unwrap().token;
        let client = Client::new(&world.hub.url(), &token).unwrap();
        client.sign_out().unwrap();
        assert_eq!(status(client.me()), 401);
    }
    minji.me().unwrap();
}
