//! What whoever runs the hub reads of its requests, and what an account gets that asks too often.

use crate::matrix::request;
use crate::world::World;
use consortium::Holder;
use serde_json::Value;
use server::HubConfig;

#[test]
fn every_answer_has_a_line_and_no_token_comes_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.jsonl");
    let world = World::with(|config| HubConfig {
        access_log: Some(file.clone()),
        ..config
    });
    let token = world.hub.issue(Holder::Person("minji".parse().unwrap())).unwrap();
    let ask = |token: &str, path: &str| request(&world.hub.url(), token, "GET", path, &Value::Null);
    let (status, answer) = ask(&token, "/api/v1/me?token=khub_secret");
    assert_eq!(status, 200);
    assert_eq!(ask("khub_forged", "/api/v1/jobs").0, 401);
    assert_eq!(ask(&token, "/api/v1/nothing/here").0, 404);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("khub_"), "{text}");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |line: &Value| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (
            text("who"),
            text("method"),
            text("path"),
            line["status"].as_u64().unwrap(),
        )
    };
    let expected = [
        ("person minji", "/api/v1/me", 200),
        ("", "/api/v1/jobs", 401),
        ("", "/api/v1/nothing/here", 404),
    ];
    let expected =
        expected.map(|(who, path, status)| (who.to_owned(), "GET".to_owned(), path.to_owned(), status));
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), expected);
    let id = lines[0]["id"].as_str().unwrap();
    assert!(answer.contains(&format!("x-request-id: {id}")), "{answer}");
}

#[test]
fn an_account_that_asks_too_often_is_told_when_to_ask_again() {
    let world = World::with(|config| HubConfig { rate: 1, ..config });
    let token = |name: &str| world.hub.issue(Holder::Person(name.parse().unwrap())).unwrap();
    let (minji, jun) = (token("minji"), token("jun"));
    let me = |token: &str| request(&world.hub.url(), token, "GET", "/api/v1/me", &Value::Null);
    let answers: Vec<_> = (0..30).map(|_| me(&minji)).collect();
    let (well, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 200);
    assert!(well.len() >= 10, "ten seconds' worth at once");
    let (status, answer) = refused.first().expect("thirty within less than twenty seconds");
    assert_eq!(*status, 429);
    assert!(
        answer.contains("retry-after: 1\r\n") && answer.contains("too-many-requests"),
        "{answer}"
    );
    assert_eq!(me(&jun).0, 200, "others have their own");
}
