use crate::world::{PROJECT, World, output, spec};
use api::{ApiError, Client};
use consortium::{ArtifactId, Command, Digest, Home, Label, Person, Role, SiteId, Standing};
use server::{Hub, HubConfig, HubError};
use std::time::Duration;

fn status<T>(answer: Result<T, ApiError>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(error) => error.status().unwrap_or_else(|| panic!("{error}")),
    }
}

#[test]
fn who_gets_an_artifact() {
    let world = World::new();
    let member = world.person("minji");
    let file = world.folder.path().join("to-send");
    let restricted = world.bring(&member, b"a model", Label::Restricted);
    member.put(&file, &restricted).unwrap();
    let open = world.bring(&member, b"a table", Label::Open);
    member.put(&file, &open).unwrap();

    let askers = ["minji", "head", "jun", "ingrid"].map(|name| (name, world.person(name)));
    let sites = ["a", "f"].map(|name| (name, world.site(name)));
    let table: Vec<String> = askers
        .iter()
        .chain(&sites)
        .map(|(name, client)| {
            let (read, closed) = (
                status(client.fetch(&open.id)),
                status(client.fetch(&restricted.id)),
            );
            let listed = client.artifacts(&open.id.project);
            let listed = listed.map_or("nothing".to_owned(), |all| all.len().to_string());
            format!("{name}: open {read}, restricted {closed}, sees {listed}")
        })
        .collect();
    let expected = [
        "minji: open 200, restricted 200, sees 2",
        "head: open 200, restricted 200, sees 2",
        "jun: open 200, restricted 403, sees 1",
        "ingrid: open 200, restricted 403, sees 1",
        "a: open 404, restricted 404, sees nothing",
        "f: open 404, restricted 404, sees nothing",
    ];
    assert_eq!(table, expected);

    let no = world
        .person("ingrid")
        .fetch(&restricted.id)
        .map(drop)
        .unwrap_err();
    assert_eq!(
        no.problem().unwrap().policies,
        ["restricted-stays-closed-to-foreign-partners"]
    );
}

#[test]
fn a_digest_alone_is_worth_nothing() {
    let world = World::new();
    let member = world.person("minji");
    let secret = world.bring(&member, b"a model", Label::Restricted);
    member.put(&world.folder.path().join("to-send"), &secret).unwrap();
    // The partner learned the digest and would like the bytes under a label of her own. She has others.
    let partner = world.person("ingrid");
    let other = world.folder.path().join("other");
    std::fs::write(&other, b"not the model").unwrap();
    let claim = output(b"a model", Label::Open);
    let no = partner.put(&other, &claim).unwrap_err();
    assert_eq!(no.status(), Some(422), "{no}");
    assert!(no.to_string().contains("blake3:"), "{no}");
    assert_eq!(status(partner.fetch(&secret.id)), 403);
}

#[test]
fn a_release_takes_two_and_a_standing_its_ground() {
    let world = World::new();
    let person = Person {
        id: "deputy".parse().unwrap(),
        organisation: "office".parse().unwrap(),
        roles: [Role::Office].into(),
    };
    world.hub.ask("deputy", Command::AddPerson(person)).unwrap();
    let (member, ingrid) = (world.person("minji"), world.person("ingrid"));
    let (head, deputy) = (world.person("head"), world.person("deputy"));
    let closed = world.bring(&member, b"a model", Label::Restricted);
    member.put(&world.folder.path().join("to-send"), &closed).unwrap();
    head.release(&closed.id, Label::Open).unwrap();
    let waits = &deputy.releases().unwrap()[0];
    assert_eq!(
        (waits.artifact.label, waits.proposed.to),
        (Label::Restricted, Label::Open)
    );
    assert_eq!(status(ingrid.fetch(&closed.id)), 403);
    deputy.release(&closed.id, Label::Open).unwrap();
    assert!(head.releases().unwrap().is_empty());
    assert_eq!(status(ingrid.fetch(&closed.id)), 200);

    let fjord = "fjord".parse().unwrap();
    head.set_standing(&fjord, Standing::Suspended, "letter 3")
        .unwrap();
    let world = world.restarted();
    let no = world.person("ingrid").me().unwrap_err();
    assert!(
        no.status() == Some(403) && no.to_string().contains("fjord is suspended"),
        "{no}"
    );
    let told = ["head", "minji"].map(|who| {
        let all = world.person(who).organisations().unwrap();
        let it = all.into_iter().find(|it| it.organisation.id == fjord).unwrap();
        (it.standing, it.since.is_some(), it.ground)
    });
    let ground = Some("letter 3".to_owned());
    assert_eq!(
        told,
        [
            (Standing::Suspended, true, ground),
            (Standing::Suspended, true, None)
        ]
    );
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let world = World::new();
    let member = world.person("minji");
    let nobody = Client::new(&world.hub.url(), "khub_forged").unwrap();
    let id = ArtifactId {
        project: PROJECT.parse().unwrap(),
        digest: Digest::of(b"nothing"),
    };
    let site: SiteId = "a".parse().unwrap();
    let mut unplaceable = spec();
    unplaceable.rounds.quorum = 3;
    let cases: [(&str, u16, ApiError); 7] = [
        ("doesn't know this token", 401, nobody.me().unwrap_err()),
        (
            "there is no job job-9",
            404,
            member.job("job-9".parse().unwrap()).unwrap_err(),
        ),
        ("has no artifact", 404, member.fetch(&id).map(drop).unwrap_err()),
        (
            "there is no project nothing",
            404,
            member.artifacts(&"nothing".parse().unwrap()).unwrap_err(),
        ),
        (
            "can't read the orders",
            403,
            member.orders(&site, 0, "", Duration::ZERO).unwrap_err(),
        ),
        (
            "rounds.quorum is 3",
            422,
            member.submit(&unplaceable, "k").unwrap_err(),
        ),
        ("may not audit", 403, member.ledger().unwrap_err()),
    ];
    for (words, status, error) in cases {
        assert_eq!(error.status(), Some(status), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(world.person("ingrid").me().unwrap().home, Some(Home::Foreign));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = HubConfig {
        listen: taken.local_addr().unwrap(),
        ..HubConfig::new(folder.path())
    };
    let Err(error) = Hub::start(&config) else {
        panic!("two listeners at one port")
    };
    assert!(matches!(error, HubError::PortInUse(_)), "{error}");
}

#[test]
fn metrics_are_for_auditors() {
    let world = World::new();
    let head = world.person("head");
    let page = head.metrics().unwrap();
    let number = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        let value = line
            .unwrap_or_else(|| panic!("{page}"))
            .rsplit(' ')
            .next()
            .unwrap();
        value.parse::<f64>().unwrap()
    };
    assert!(number("khub_log_records ") >= 14.0);
    assert!(number("khub_commits_total ") > 0.0 && number("khub_commit_seconds_total ") > 0.0);
    assert_eq!(number("khub_organisations "), 4.0);
    assert_eq!(number("khub_active_jobs{phase=\"queued\"}"), 0.0);
    assert_eq!(status(world.person("minji").metrics()), 403);
    assert_eq!(status(world.site("a").metrics()), 403);
}
