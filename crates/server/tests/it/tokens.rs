//! Tokens that expire, that only read, that are revoked; and the answer to those that nobody issued.

use crate::world::World;
use api::{ApiError, Client};
use consortium::{Command, Credential, Digest, Holder, Home, Kind, Organisation, Scope, Time};

fn status<T>(answer: Result<T, ApiError>) -> u16 {
    answer.map_or_else(
        |error| error.status().unwrap_or_else(|| panic!("{error}")),
        |_| 200,
    )
}

fn person(name: &str) -> Holder {
    Holder::Person(name.parse().unwrap())
}

#[test]
fn people_make_tokens_for_themselves_and_for_nobody_else() {
    let world = World::new();
    let (minji, head) = (world.person("minji"), world.person("head"));
    let year = Some(366);
    let cases = [
        (&minji, "minji", Some(1), 200),
        (&minji, "minji", year, 200),
        (&minji, "minji", Some(367), 403),
        (&minji, "minji", Some(0), 422),
        (&minji, "minji", None, 403),
        (&minji, "head", Some(1), 403),
        (&head, "minji", None, 200),
        (&head, "nobody", None, 404),
    ];
    for (who, holder, days, expected) in cases {
        let answer = who.issue_limited(person(holder), days, Scope::Full);
        assert_eq!(status(answer), expected, "{holder} {days:?}");
    }
}

#[test]
fn a_token_that_reads_changes_nothing() {
    let world = World::new();
    let head = world.person("head");
    let token = head
        .issue_limited(person("head"), Some(1), Scope::Read)
        .unwrap()
        .token;
    let reader = Client::new(&world.hub.url(), &token).unwrap();
    reader.ledger().unwrap();
    let organisation = Organisation {
        id: "mokpo".parse().unwrap(),
        name: "Mokpo".into(),
        name_ko: "목포".into(),
        kind: Kind::University,
        home: Home::Domestic,
    };
    assert_eq!(status(reader.admit(&organisation)), 403);
    assert_eq!(
        status(reader.issue_limited(person("head"), Some(1), Scope::Full)),
        403
    );
    assert_eq!(status(reader.revoke(&token)), 403);
    head.admit(&organisation).unwrap();
}

#[test]
fn a_revoked_token_is_worth_nothing_and_stays_so() {
    let world = World::new();
    let (minji, head) = (world.person("minji"), world.person("head"));
    let own = minji
        .issue_limited(person("minji"), Some(1), Scope::Full)
        .unwrap()
        .token;
    let second = Client::new(&world.hub.url(), &own).unwrap();
    second.me().unwrap();
    assert_eq!(status(world.person("jun").revoke(&own)), 403);
    minji.revoke(&own).unwrap();
    assert_eq!(status(second.me()), 401);
    assert_eq!(
        status(minji.revoke(&own)),
        403,
        "nobody learns which tokens there were"
    );
    assert_eq!(status(head.revoke(&own)), 404);
    let world = world.restarted();
    assert_eq!(status(Client::new(&world.hub.url(), &own).unwrap().me()), 401);
}

#[test]
fn an_expired_token_is_worth_nothing() {
    let credential = Credential {
        expires: Some(Time(1_000)),
        ..Credential::full(person("minji"))
    };
    assert!(credential.holds_at(Time(999)) && !credential.holds_at(Time(1_000)));
    let world = World::new();
    let command = Command::IssueCredential {
        token: Digest::of(b"khub_old"),
        credential,
    };
    let refused = world.hub.ask("old", command).unwrap_err();
    assert!(
        refused.detail.contains("worth nothing from the start"),
        "{refused}"
    );
}

#[test]
fn whoever_tries_tokens_is_locked_out() {
    let world = World::new();
    let minji = world.person("minji");
    let forged = Client::new(&world.hub.url(), "khub_forged").unwrap();
    let answers: Vec<u16> = (0..40).map(|_| status(forged.me())).collect();
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 30);
    assert_eq!(answers[30..], [429; 10]);
    assert_eq!(status(minji.me()), 429, "from the same address");
}

#[test]
fn a_log_of_before_tokens_had_limits_is_read() {
    let old = r#"{"credential-issued":{"token":"TOKEN","holder":{"person":"minji"}}}"#;
    let old = old.replace("TOKEN", &Digest::of(b"t").to_string());
    let event: consortium::Event = serde_json::from_str(&old).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), old);
    let mut state = consortium::State::default();
    consortium::apply(&mut state, &event, Time(0));
    assert_eq!(
        state.credentials[&Digest::of(b"t")],
        Credential::full(person("minji"))
    );
}
