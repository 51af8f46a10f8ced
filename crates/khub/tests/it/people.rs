//! People who come, change and go, by the real commands.

use crate::errors::Terminal;

#[test]
fn people_come_change_and_go() {
    let mut terminal = Terminal::new();
    let hub = terminal.hub();
    terminal.write("khub-data/hub.json", format!(r#"{{"url": "{}"}}"#, hub.url()));
    let added = terminal
        .output("khub people add minho --organisation gaon-university --project korean-reviews --as office");
    let token = added.lines().last().unwrap().trim().to_owned();
    assert!(token.starts_with("khub_"), "{added}");
    let me = |terminal: &Terminal| terminal.output(&format!("KHUB_TOKEN={token} khub jobs"));
    assert!(me(&terminal).contains("exit code 0"));
    for line in [
        "khub people list --as minji",
        "khub people roles minho auditor cleared --ground decision-14 --as office",
        "khub people enrol korean-reviews --join nobody --as office",
        "khub people enrol korean-reviews --leave minji --as office",
        "khub people standing minho suspended --ground decision-15 --as office",
        "khub people standing office left --ground tired --as office",
        "khub people list --as office",
    ] {
        terminal.run(line);
    }
    terminal.shown.push_str(&me(&terminal));
    insta::assert_snapshot!("people", terminal.shown);
}
