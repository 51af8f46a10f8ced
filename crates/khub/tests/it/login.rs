//! Coming in by an invitation, and going, by the real commands.

use crate::errors::Terminal;

#[test]
fn who_is_invited_comes_in_and_goes() {
    let mut terminal = Terminal::new();
    let hub = terminal.hub();
    let url = hub.url();
    terminal.write("khub-data/hub.json", format!(r#"{{"url": "{url}"}}"#));
    let invited = terminal.output(
        "khub people invite minho@gaon.example --organisation gaon-university --project korean-reviews --as office",
    );
    let code = invited
        .lines()
        .find(|line| line.starts_with("invitation_"))
        .unwrap();
    let listed = terminal.output("khub people invitations --as office");
    assert!(listed.contains("minho@gaon.example  gaon-university"), "{listed}");
    let login = |terminal: &Terminal, rest: &str| {
        terminal.output(&format!(
            "khub login --hub {url} --folder mine --invitation {code}{rest}"
        ))
    };
    let nameless = login(&terminal, "");
    assert!(
        nameless.contains("exit code 3") && nameless.contains("under which name"),
        "{nameless}"
    );
    let came = login(&terminal, " --name minho");
    assert!(came.contains(&format!("signed in at {url} as minho")), "{came}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let kept = std::fs::metadata(terminal.path("mine/credentials/minho")).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    }
    // Beside it, commands ask that hub as minho.
    let jobs = terminal.output("khub sites --folder mine");
    assert!(jobs.contains("exit code 0"), "{jobs}");
    let out = terminal.output("khub logout --folder mine");
    assert!(out.contains("signed out"), "{out}");
    assert!(!terminal.path("mine/credentials/minho").exists());
    terminal.run("khub logout --folder mine");
    terminal.run("khub sites --folder mine");
    terminal.run("khub people invite nobody --organisation gaon-university --as office");
    terminal.run("khub people invite minji@gaon.example --person minji --as minji");
    terminal.run("khub people withdraw minji@gaon.example --as office");
    terminal.run("khub people invite --help");
    terminal.run("khub login --help");
    insta::assert_snapshot!("login", terminal.shown);
}
