//! What a site's owner asks changes, by the real commands.

use crate::errors::Terminal;

#[test]
fn an_offer_follows_another() {
    let mut terminal = Terminal::new();
    let hub = terminal.hub();
    terminal.write("khub-data/hub.json", format!(r#"{{"url": "{}"}}"#, hub.url()));
    for line in [
        "khub gpus rate a100 --tflops 312 --ground data-sheet --as minji",
        "khub gpus rate a100 --tflops 312 --ground data-sheet --as office",
        "khub offers take hangang-1 --ground contract-7 --as office",
        "khub offers take hangang-1 --gpu-hour 3000 --pflop-hour 1 --ground contract-7 --as office",
        "khub offers take hangang-1 --pflops-month 12500000 --gpus 4 --ground contract-7 --as office",
        "khub offers take hangang-1 --pflop-hour 1 --marginal 2 --ground contract-8 --as office",
        "khub offers take nowhere --pflop-hour 1 --ground contract-8 --as office",
        "khub offers list nowhere --as minji",
    ] {
        terminal.run(line);
    }
    // The day is today's.
    let listed = terminal.output("khub offers list hangang-1 --as minji");
    let offers: Vec<&str> = listed.lines().filter(|line| line.contains("KRW")).collect();
    let [first, second] = offers[..] else {
        panic!("{listed}")
    };
    assert!(
        first.contains("KRW 9,000,000 a PFLOP-hour") && second.contains(" 17123 "),
        "{listed}"
    );
    assert!(
        !listed.contains("contract-7"),
        "what it rests on is for those who may audit: {listed}"
    );
    let gpus = terminal.output("khub gpus list --as minji");
    assert!(
        gpus.contains("a100") && gpus.contains(" 312 ") && !gpus.contains("data-sheet"),
        "{gpus}"
    );
    insta::assert_snapshot!("offers", terminal.shown);
}
