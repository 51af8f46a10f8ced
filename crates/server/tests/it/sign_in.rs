//! Coming in by an invitation, signing in and out, sessions, and what waits to be let in. Signing in with a real provider is
//! in `crates/khub/tests/it/sign_in.rs`.

use crate::world::{Hands, World};
use api::{ApiError, Client, DeviceTold};
use consortium::{
    Actor, Command, Credential, Digest, Guest, Holder, INVITATION_MILLIS, PeopleCommand, Scope, Standing,
};
use server::{HubConfig, ProviderConfig};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

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
    let holder = Holder::Person("minji".parse().unwrap());
    let minji = world.person("minji");
    for scope in [Scope::Full, Scope::Read] {
        let token = minji.issue_limited(holder.clone(), Some(1), scope).unwrap().token;
        let client = Client::new(&world.hub.url(), &token).unwrap();
        client.sign_out().unwrap();
        assert_eq!(status(client.me()), 401);
    }
    minji.me().unwrap();
}

// ---- sessions ----

/// The status and the whole answer of a request with these lines in its head.
fn ask(world: &World, request: &str, lines: &[&str], body: &str) -> (u16, String) {
    let url = world.hub.url();
    let host = url.strip_prefix("http://").unwrap();
    let mut line = TcpStream::connect(host).unwrap();
    let more: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    write!(
        line,
        "{request} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// A session of somebody's, as signing in makes it.
fn session(world: &World, who: &str, hands: &Hands) -> String {
    let session = format!("session_of_{who}");
    let credential = Credential {
        expires: Some(hands.now().plus(12 * 3_600_000)),
        session: true,
        ..Credential::full(Holder::Person(who.parse().unwrap()))
    };
    let token = Digest::of(session.as_bytes());
    world
        .hub
        .ask(&session, Command::IssueCredential { token, credential })
        .unwrap();
    session
}

const NEW: &str =
    r#"{"id": "mokpo", "name": "Mokpo", "name_ko": "목포", "kind": "university", "home": "domestic"}"#;

#[test]
fn a_session_travels_in_a_cookie_and_a_token_in_a_header() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let session = session(&world, "minji", &hands);
    let token = world.hub.issue(Holder::Person("minji".parse().unwrap())).unwrap();
    let me = |line: &str| ask(&world, "GET /api/v1/me", &[line], "").0;
    assert_eq!(me(&format!("Cookie: other=1; khub={session}")), 200);
    assert_eq!(me(&format!("Authorization: Bearer {token}")), 200);
    assert_eq!(me(&format!("Authorization: Bearer {session}")), 401);
    assert_eq!(me(&format!("Cookie: khub={token}")), 401);
    assert_eq!(me("Cookie: khub=session_forged"), 401);
    assert_eq!(me("Cookie: khub="), 401);
    hands.advance(12 * 3_600_000);
    assert_eq!(me(&format!("Cookie: khub={session}")), 401);
}

#[test]
fn with_a_session_only_the_hubs_own_pages_change_something() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let cookie = format!("Cookie: khub={}", session(&world, "head", &hands));
    let own = format!("Origin: {}", world.hub.url());
    let forged: [&[&str]; 7] = [
        &[],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &["Sec-Fetch-Site: none"],
        &["Origin: https://evil.example"],
        &["Origin: null"],
        // What the browser says of the site goes before an origin.
        &["Sec-Fetch-Site: cross-site", &own],
    ];
    for lines in forged {
        let lines = [&[cookie.as_str()], lines].concat();
        for (request, body) in [
            ("POST /api/v1/organisations", NEW),
            ("DELETE /api/v1/session", ""),
        ] {
            let (status, answer) = ask(&world, request, &lines, body);
            assert!(
                status == 403 && answer.contains("own pages"),
                "{lines:?} {answer}"
            );
        }
    }
    let (status, answer) = ask(&world, "POST /api/v1/organisations", &[&cookie, &own], NEW);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(
        &world,
        "DELETE /api/v1/session",
        &[&cookie, "Sec-Fetch-Site: same-origin"],
        "",
    );
    assert!(
        status == 200 && answer.contains("khub=; Path=/; Max-Age=0"),
        "{answer}"
    );
    assert_eq!(ask(&world, "GET /api/v1/me", &[&cookie], "").0, 401);
}

#[test]
fn a_session_is_as_much_as_its_person() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let session = session(&world, "jun", &hands);
    let lines = [&format!("Cookie: khub={session}"), "Sec-Fetch-Site: same-origin"];
    let (status, answer) = ask(&world, "POST /api/v1/organisations", &lines, NEW);
    assert!(status == 403 && answer.contains("may not administer"), "{answer}");
    let suspended = PeopleCommand::SetStanding {
        person: "jun".parse().unwrap(),
        standing: Standing::Suspended,
        ground: "letter 3".into(),
    };
    world.hub.ask("suspend", Command::People(suspended)).unwrap();
    let (status, answer) = ask(&world, "GET /api/v1/projects", &lines, "");
    assert!(status == 403 && answer.contains("is suspended"), "{answer}");
}

// ---- the provider ----

fn with_provider(issuer: &str) -> impl FnOnce(HubConfig) -> HubConfig {
    let provider = ProviderConfig {
        issuer: issuer.to_owned(),
        client: "khub".into(),
        secret: None,
    };
    |config| HubConfig {
        provider: Some(provider),
        public_url: Some("https://hub.example".into()),
        ..config
    }
}

/// Something at an address of its own that answers every request with `body`; `ADDRESS` in it is that.
fn answering(body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let body = body.replace("ADDRESS", &address);
    std::thread::spawn(move || {
        for line in listener.incoming() {
            let mut line = line.unwrap();
            let _ = line.read(&mut [0; 4_096]);
            let length = body.len();
            let _ = write!(
                line,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

const METADATA: &str = r#"{"issuer": "ADDRESS", "authorization_endpoint": "https://id.example/auth?tenant=1",
    "token_endpoint": "https://id.example/token", "jwks_uri": "https://id.example/keys"}"#;
const OWN_PAGE: &str = "Sec-Fetch-Site: same-origin";

#[test]
fn a_provider_that_is_down_or_strange_is_named_and_hurts_nobody_else() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (issuer, words) in [
        (format!("http://{nobody}"), "doesn't answer"),
        (answering("hello"), "otherwise than a provider"),
        (
            answering(&METADATA.replace("ADDRESS", "https://other.example")),
            "it calls itself",
        ),
        (
            answering(&METADATA.replace("https://id.example/token", "http://id.example/token")),
            "without encryption",
        ),
    ] {
        let world = World::with(with_provider(&issuer));
        let (status, answer) = ask(&world, "POST /api/v1/sign-in", &[OWN_PAGE], "{}");
        assert!(
            status == 502 && answer.contains(words) && answer.contains(&issuer),
            "{answer}"
        );
        world.person("minji").me().unwrap();
    }
}

#[test]
fn the_browser_is_sent_to_the_provider_with_what_it_has_to_bring_back() {
    let world = World::with(with_provider(&answering(METADATA)));
    let (status, answer) = ask(&world, "POST /api/v1/sign-in", &[OWN_PAGE], "{}");
    assert_eq!(status, 200, "{answer}");
    for part in [
        "https://id.example/auth?tenant=1&response_type=code&scope=openid&client_id=khub",
        "redirect_uri=https%3A%2F%2Fhub.example%2Fsign-in%2Fcallback",
        "&state=",
        "&nonce=",
        "code_challenge_method=S256",
        "set-cookie: __Host-khub-attempt=",
        "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert_eq!(
        ask(
            &world,
            "POST /api/v1/sign-in",
            &["Sec-Fetch-Site: cross-site"],
            "{}"
        )
        .0,
        403
    );
    // Whoever comes back with another state, or to another browser, isn't signed in.
    let cookie = answer
        .split("set-cookie: ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let kept = format!("Cookie: {cookie}");
    let state = answer.split("&state=").nth(1).unwrap().split('&').next().unwrap();
    let back = |query: &str, lines: &[&str]| ask(&world, &format!("GET /sign-in/callback{query}"), lines, "");
    for (query, lines) in [
        (format!("?code=c&state={state}"), vec![]),
        ("?code=c&state=forged".to_owned(), vec![kept.as_str()]),
        ("?code=c".to_owned(), vec![kept.as_str()]),
        (
            format!("?code=c&state={state}&iss=https://evil.example"),
            vec![kept.as_str()],
        ),
        (
            format!("?code=c&state={state}"),
            vec!["Cookie: __Host-khub-attempt=e30"],
        ),
        (String::new(), vec![kept.as_str()]),
    ] {
        let (status, answer) = back(&query, &lines);
        assert!(
            status == 400 && answer.contains("not begun in this browser"),
            "{query} {answer}"
        );
        assert!(!answer.contains("session_"), "{answer}");
    }
    let (status, answer) = back(&format!("?error=%3Cb%3Eno&state={state}"), &[&kept]);
    assert!(status == 403 && answer.contains("&lt;b&gt;no"), "{answer}");
}

#[test]
fn where_there_is_a_provider_an_invitation_gives_no_token() {
    let world = World::with(with_provider("https://id.example"));
    let invited = world
        .person("head")
        .invite("minho@gaon.example", &guest())
        .unwrap();
    let no = stranger(&world)
        .accept(&invited.code, Some(&"minho".parse().unwrap()))
        .unwrap_err();
    assert!(
        no.status() == Some(409)
            && no
                .problem()
                .unwrap()
                .hint
                .as_ref()
                .unwrap()
                .contains("hub.example"),
        "{no}"
    );
    assert_eq!(
        stranger(&world).sign_in().unwrap().provider.as_deref(),
        Some("https://id.example")
    );
}

// ---- devices ----

#[test]
fn a_device_gets_a_token_once_its_person_says_yes() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let (device, minji) = (stranger(&world), world.person("minji"));
    let codes = device.device(Scope::Read).unwrap();
    assert_eq!(codes.verification_uri, format!("{}/#/device", world.hub.url()));
    assert_eq!(device.device_token(&codes).unwrap(), DeviceTold::Pending);
    assert_eq!(device.device_token(&codes).unwrap(), DeviceTold::SlowDown);
    let seen = minji.device_under(&codes.user_code).unwrap();
    assert_eq!(
        (seen.scope, seen.from.as_deref()),
        (Scope::Read, Some("127.0.0.1"))
    );
    minji
        .answer_device(&codes.user_code.to_lowercase(), true)
        .unwrap();
    assert_eq!(status(minji.answer_device(&codes.user_code, false)), 404);
    let DeviceTold::Token(token) = device.device_token(&codes).unwrap() else {
        panic!("it was let in")
    };
    let client = Client::new(&world.hub.url(), &token).unwrap();
    assert_eq!(
        client.me().unwrap().actor,
        Actor::Person("minji".parse().unwrap())
    );
    assert_eq!(
        status(client.answer_device(&codes.user_code, true)),
        403,
        "it only reads"
    );
    assert_eq!(
        device.device_token(&codes).unwrap(),
        DeviceTold::Expired,
        "a code is used once"
    );
    hands.advance(30 * 86_400_000);
    assert_eq!(status(client.me()), 401);
}

#[test]
fn what_is_refused_or_late_gets_no_token() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let (device, minji) = (stranger(&world), world.person("minji"));
    let (refused, late) = (
        device.device(Scope::Full).unwrap(),
        device.device(Scope::Full).unwrap(),
    );
    minji.answer_device(&refused.user_code, false).unwrap();
    assert_eq!(device.device_token(&refused).unwrap(), DeviceTold::Denied);
    assert_eq!(status(world.site("a").answer_device(&late.user_code, true)), 403);
    hands.advance(600_000);
    assert_eq!(status(minji.answer_device(&late.user_code, true)), 404);
    assert_eq!(device.device_token(&late).unwrap(), DeviceTold::Expired);
}

#[test]
fn who_tries_codes_of_devices_is_locked_out() {
    let world = World::new();
    let minji = world.person("minji");
    let answers: Vec<u16> = (0..35).map(|_| status(minji.device_under("BBBBBBBB"))).collect();
    assert_eq!(answers.iter().filter(|status| **status == 404).count(), 30);
    assert_eq!(answers[30..], [429; 5]);
}

#[test]
fn another_program_is_told_what_rfc_8628_has() {
    let world = World::with(|config| HubConfig {
        device_interval: Duration::from_secs(7),
        ..config
    });
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let (status, answer) = ask(
        &world,
        "POST /oauth/device_authorization",
        &form,
        "client_id=other",
    );
    assert!(
        status == 200 && answer.contains("\"interval\":7") && answer.contains("no-store"),
        "{answer}"
    );
    for (body, error) in [
        ("grant_type=password", "unsupported_grant_type"),
        (
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code",
            "invalid_request",
        ),
        (
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=x",
            "invalid_grant",
        ),
        ("", "invalid_request"),
    ] {
        let (status, answer) = ask(&world, "POST /oauth/token", &form, body);
        assert!(
            status == 400 && answer.contains(&format!("{{\"error\":\"{error}\"}}")),
            "{body} {answer}"
        );
    }
    let (status, answer) = ask(
        &world,
        "POST /oauth/device_authorization",
        &form,
        "scope=everything",
    );
    assert!(status == 400 && answer.contains("invalid_scope"), "{answer}");
    let (_, about) = ask(&world, "GET /.well-known/oauth-authorization-server", &[], "");
    assert!(about.contains("device_authorization_endpoint"), "{about}");
}
