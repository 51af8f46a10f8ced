//! Signing in with a real provider in a real browser, and `khub login` beside it.

use crate::browser::{Browser, dev_path};
use crate::pages::World;
use consortium::{
    Command as Asked, Digest, Event, Guest, Home, Identity, InvitationCommand, Kind, Organisation,
    OrganisationId, PeopleEvent, Person, Role,
};
use serde_json::Value;
use server::{HubConfig, ProviderConfig};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// oidc-provider; it ends with its standard input.
struct Provider {
    issuer: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Provider {
    /// None where there is no Node.js, which is told; in CI there must be one.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn start() -> Option<Self> {
        let mut child = Command::new(dev_path("oidc-provider/run"))
            .arg(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let Some(issuer) = line(&mut output, |line| line.starts_with("http://")) else {
            let code = child.wait().unwrap().code();
            assert!(code == Some(77) && std::env::var_os("CI").is_none(), "{code:?}");
            eprintln!("skipped: there is no provider, as said above");
            return None;
        };
        Some(Self {
            issuer,
            input: child.stdin.take(),
            child,
            output,
        })
    }

    /// Tells it where the hub is.
    fn admit(&mut self, hub: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{hub}/sign-in/callback").unwrap();
        line(&mut self.output, |line| line == "ready").expect("the provider is ready");
    }

    fn config(&self) -> ProviderConfig {
        ProviderConfig {
            issuer: self.issuer.clone(),
            client: "khub".into(),
            secret: Some("a secret of tests".into()),
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The first line that is as wanted.
fn line(output: &mut impl std::io::BufRead, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut lines = output.lines().map_while(Result::ok);
    lines
        .find(|line| wanted(line.trim()))
        .map(|line| line.trim().to_owned())
}

/// At the provider, as whoever types a login.
fn be(browser: &mut Browser, login: &str) {
    browser.wait_across("input[name=login]");
    browser.evaluate(&format!(
        "document.querySelector('input[name=login]').value = {login:?};
         document.querySelector('input[name=password]').value = 'any';
         document.querySelector('form').submit()"
    ));
    browser.wait_across("input[name=prompt][value=consent]");
    browser.evaluate("document.querySelector('form').submit()");
}

const ME: &str = "fetch('/api/v1/me').then(answer => answer.json())";

#[test]
fn people_sign_in_with_a_provider_and_let_khub_login_in() {
    let Some(mut provider) = Provider::start() else {
        return;
    };
    let Some(mut browser) = Browser::start("en-GB") else {
        return;
    };
    let world = World::with(|config| HubConfig {
        provider: Some(provider.config()),
        device_interval: Duration::ZERO,
        ..config
    });
    let hub = world.hub.url();
    provider.admit(&hub);

    // A stranger with an account at the provider learns nothing.
    browser.open(&hub);
    browser.wait_for("#with-provider");
    assert_eq!(browser.evaluate("document.cookie"), "");
    browser.evaluate("document.querySelector('#with-provider button').click()");
    be(&mut browser, "minho-account");
    let told = browser.wait_across("body[data-page=not-signed-in]");
    assert!(
        told.contains("invitation") && told.contains("초대") && !told.contains("gaon"),
        "{told}"
    );

    // With an invitation he is somebody. The provider still knows him.
    invite(&world, "invitation_of_minho");
    browser.open(&format!("{hub}/#/projects"));
    browser.wait_across("#with-invitation");
    browser.evaluate(
        "document.querySelector('#invitation').value = 'invitation_of_minho';
         document.querySelector('#name').value = 'minho';
         document.querySelector('#with-invitation button').click()",
    );
    let page = browser.wait_across("body[data-page=ready] h1");
    assert_eq!(page, "Projects");
    let me: Value = browser.evaluate(ME);
    assert_eq!(me["actor"]["person"], "minho", "{me}");
    assert_eq!(
        browser.evaluate("document.cookie"),
        "",
        "no script can read the session"
    );
    let kept = browser.evaluate("JSON.stringify(sessionStorage) + location.href");
    assert!(!kept.to_string().contains("session_"), "{kept}");

    // Another site's page can't use the session: neither by a form nor by a script.
    browser.open(&format!("{}/nothing", provider.issuer));
    browser.wait_across("body");
    let forged = format!(
        "fetch('{hub}/api/v1/session', {{ method: 'DELETE', credentials: 'include', mode: 'cors' }})
            .then(answer => answer.status, () => 'failed')"
    );
    assert_eq!(browser.evaluate(&forged), "failed");

    // khub login, refused once, and then let in.
    for (allow, expected) in [(false, "has refused the code"), (true, "signed in at")] {
        let mut khub = login(&world);
        let mut said = BufReader::new(khub.stdout.take().unwrap());
        let page = line(&mut said, |line| line.starts_with("or open")).expect("it says where to confirm");
        browser.open(page.trim_start_matches("or open "));
        let nth = if allow { 1 } else { 2 };
        let facts = browser.wait_across("#facts");
        assert!(
            facts.contains("127.0.0.1") && facts.contains("changes nothing"),
            "{facts}"
        );
        browser.evaluate(&format!(
            "document.querySelector('#answer button:nth-of-type({nth})').click()"
        ));
        browser.wait_across(&format!("[data-answer={allow}]"));
        let mut rest = String::new();
        said.lines()
            .map_while(Result::ok)
            .for_each(|line| rest.push_str(&line));
        let output = khub.wait_with_output().unwrap();
        let rest = rest + &String::from_utf8_lossy(&output.stderr);
        assert!(
            rest.contains(expected) && output.status.success() == allow,
            "{rest}"
        );
        browser.open("about:blank");
    }
    let token = std::fs::read_to_string(mine(&world).join("credentials/minho")).unwrap();
    let minho = api::Client::new(&hub, token.trim()).unwrap();
    assert!(minho.projects().is_ok());
    let folder = mine(&world);
    let out = khub().args(["logout", "--folder"]).arg(folder).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(minho.me().unwrap_err().status(), Some(401));

    // Out, and in again without the invitation, where he wanted to go.
    browser.open(&format!("{hub}/#/calls"));
    browser.wait_across("body[data-page=ready] #awards");
    browser.evaluate("[...document.querySelectorAll('header button')].at(-1).click()");
    browser.wait_across("body[data-page=sign-in]");
    let me: Value = browser.evaluate(ME);
    assert_eq!(me["status"], 401, "{me}");
    browser.evaluate("document.querySelector('#with-provider button').click()");
    browser.wait_across("body[data-page=ready] #awards");
    assert_eq!(browser.evaluate("location.hash"), "#/calls");

    // A provider that is gone hurts those who sign in, and tells them.
    drop(provider);
    let me: Value = browser.evaluate(ME);
    assert_eq!(me["actor"]["person"], "minho", "{me}");
    let identity: Vec<String> = identities(&world);
    assert_eq!(identity.len(), 1, "{identity:?}");
    assert!(
        identity[0].parse::<Identity>().is_ok() && identity[0].ends_with(" minho-account"),
        "{identity:?}"
    );
}

/// The office invites somebody to gaon by a code.
fn invite(world: &World, code: &str) {
    let office = "office".parse::<OrganisationId>().unwrap();
    let commands = [
        Asked::Admit(Organisation {
            id: office.clone(),
            name: "Office".into(),
            name_ko: "사업단".into(),
            kind: Kind::Public,
            home: Home::Domestic,
        }),
        Asked::AddPerson(Person {
            id: "head".parse().unwrap(),
            organisation: office,
            roles: [Role::Office].into(),
        }),
        Asked::Invitation(InvitationCommand::Send {
            code: Digest::of(code.as_bytes()),
            email: "minho@gaon.example".into(),
            guest: Guest::New {
                organisation: "gaon".parse().unwrap(),
                roles: [].into(),
                projects: ["folds".parse().unwrap()].into(),
                name: None,
            },
        }),
    ];
    for (i, command) in commands.into_iter().enumerate() {
        world.hub.ask(&format!("invite {i}"), command).unwrap();
    }
}

fn khub() -> Command {
    let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
    khub.env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    khub
}

/// The folder in which the tokens of this machine are kept.
fn mine(world: &World) -> PathBuf {
    world.folder.path().join("mine")
}

fn login(world: &World) -> Child {
    let mut login = khub();
    login.args(["login", "--read-only", "--hub", &world.hub.url(), "--folder"]);
    login.arg(mine(world)).spawn().unwrap()
}

/// Whom the log binds to which account.
fn identities(world: &World) -> Vec<String> {
    let log = store::Reader::open(world.folder.path()).unwrap();
    let records = log.records(0, 1_000).unwrap();
    let events = records.iter().flat_map(|record| &record.events);
    let bound = events.filter_map(|event| match event {
        Event::People(PeopleEvent::IdentityBound { identity, .. }) => Some(identity.to_string()),
        _ => None,
    });
    bound.collect()
}
