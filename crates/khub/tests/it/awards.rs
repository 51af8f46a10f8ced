//! From a call to a closed award, by the real commands, as each of those whom it concerns types them: the programme
//! office, two universities' people, a reviewer. The hub's clock is told; a year goes by in seconds.

use crate::errors::Terminal;
use crate::run::Process;
use api::{Client, JobView};
use consortium::{Command, Day, JobId, Phase, Stage, Time, Won};
use insta::assert_snapshot;
use serde_json::Value;
use server::{Clock, Hub, HubConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) struct World {
    pub(crate) terminal: Terminal,
    hub: Hub,
    /// What the hub's clock was last put to, milliseconds since 1970.
    hands: Arc<AtomicU64>,
}

impl World {
    /// The example's consortium with more people, on the first day of the example's call.
    fn start() -> Self {
        Self::with(|example| example)
    }

    /// The same, but for a change of its file.
    pub(crate) fn with(change: impl FnOnce(String) -> String) -> Self {
        let terminal = Terminal::new();
        let more = r#"people = [
          { id = "deputy", organisation = "khub-office", roles = ["office"] },
          { id = "yuna", organisation = "gaon-university" },
          { id = "jun", organisation = "namsan-telecom" },
          { id = "sora", organisation = "hangang-cloud" },
        "#;
        let example = include_str!("../../example.toml").replacen("people = [", more, 1);
        terminal.write("consortium.toml", change(example));
        let founded = terminal.output("khub found consortium.toml");
        assert!(founded.contains("exit code 0"), "{founded}");
        let hands = Arc::new(AtomicU64::new(at("2026-01-05")));
        let (told, since) = (Arc::clone(&hands), Instant::now());
        let going = move || Time(told.load(Ordering::SeqCst)).plus(since.elapsed().as_millis() as u64);
        let hub = Hub::start(&HubConfig {
            clock: Clock::told(going),
            ..HubConfig::new(terminal.path("khub-data"))
        });
        let hub = hub.unwrap();
        terminal.write("khub-data/hub.json", format!(r#"{{"url": "{}"}}"#, hub.url()));
        Self { terminal, hub, hands }
    }

    /// Puts the hub's clock to the morning of `day`, and has it look what is due.
    pub(crate) fn it_is(&self, day: &str) {
        self.hands.store(at(day), Ordering::SeqCst);
        self.hub.ask(day, Command::Tick).unwrap();
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        let token = std::fs::read_to_string(self.terminal.path("khub-data/credentials").join(name));
        Client::new(&self.hub.url(), token.unwrap().trim()).unwrap()
    }

    pub(crate) fn run(&mut self, lines: &[&str]) {
        for line in lines {
            self.terminal.run(&format!("khub {line}"));
        }
    }

    /// What is printed without being shown: it has figures that differ from run to run.
    pub(crate) fn done(&self, line: &str) -> String {
        let output = self.terminal.output(&format!("khub {line}"));
        assert!(output.starts_with("exit code 0\n"), "{output}");
        output
    }

    /// Runs a script for the project at a real site, to its end.
    pub(crate) fn run_a_job(&self, project: &str) -> JobView {
        let url = self.hub.url();
        let [credential, home] = ["khub-data/credentials/hangang-1", "site"].map(|it| self.terminal.path(it));
        let _site = Process::khub(&[
            "site",
            "--with-parent",
            "--gpus",
            "1",
            "--hub",
            &url,
            "--credential",
            credential.to_str().unwrap(),
            "--folder",
            home.to_str().unwrap(),
        ]);
        let script = "#!/bin/sh\n#SBATCH --time=1\n#KHUB --label=restricted\ni=0; while [ $i -lt 9999 ]; do i=$((i+1)); done\n";
        self.terminal.write("job.sh", script);
        let told = self.done(&format!("submit job.sh --project {project}"));
        let job: JobId = told.lines().last().unwrap().parse().unwrap();
        let member = self.client("minji");
        let mut view = member.job(job).unwrap();
        while view.job.is_active() {
            view = member.job_after(job, view.seq, Duration::from_secs(30)).unwrap();
        }
        assert_eq!(view.job.phase, Phase::Done);
        assert!(view.used.0 > 0, "{view:?}");
        self.check_listed(&view);
        view
    }
}

impl World {
    /// A list has a line for each job, a job alone is told whole.
    fn check_listed(&self, view: &JobView) {
        let json = |line: String| -> Value {
            let output = self.done(&line);
            serde_json::from_str(output.split_once("---- standard output\n").unwrap().1).unwrap()
        };
        let id = view.job.id;
        let listed = json("jobs --json --as minji".to_owned());
        let listed = listed.as_array().unwrap().iter();
        let line = listed.clone().find(|it| it["id"] == id.to_string()).unwrap();
        assert_eq!(line["phase"]["phase"], "done");
        assert_eq!(line["spent"], view.spent.0);
        assert!(
            line.get("candidates").is_none() && line.get("training").is_none(),
            "{line}"
        );
        let whole = json(format!("jobs {id} --json --as minji"));
        assert_eq!(
            whole["job"]["candidates"].as_array().unwrap().len(),
            view.job.candidates.len()
        );
        let table = self.done(&format!("jobs {id} --as minji"));
        assert!(
            table.contains(&format!("\n{id} ")) && table.contains(" done "),
            "{table}"
        );
    }
}

fn at(day: &str) -> u64 {
    day.parse::<Day>().unwrap().begins().0
}

#[test]
fn an_office_takes_a_call_to_a_closed_award() {
    let mut world = World::start();
    let example = world.done("calls open --example");
    let call = example.split_once("---- standard output\n").unwrap().1;
    world.terminal.write("call.toml", call);
    let example = world.done("proposals propose --example");
    let proposal = example.split_once("---- standard output\n").unwrap().1;
    world.terminal.write("proposal.toml", proposal);
    let other = proposal
        .replace("gaon-university/morphemes", "namsan-telecom/dialects")
        .replace("Morphemes instead of bytes", "Dialects")
        .replace(r#"["minji", "ingrid"]"#, r#"["jun"]"#);
    world.terminal.write("other.toml", other);

    world.run(&[
        "calls open call.toml --as office",
        "calls open call.toml --as minji",
        "calls list --as ingrid",
        "proposals propose proposal.toml",
        "proposals propose proposal.toml --as yuna",
        "proposals propose other.toml --as jun",
        "proposals show namsan-telecom/dialects",
        "reviews ask gaon-university/morphemes --reviewer sora --as office",
    ]);
    world.it_is("2026-02-28");
    world.run(&[
        "proposals propose proposal.toml",
        "proposals list --as office",
        "reviews ask gaon-university/morphemes --reviewer yuna --as office",
        "reviews ask gaon-university/morphemes --reviewer sora --as office",
        "reviews ask gaon-university/morphemes --reviewer jun --as office",
        "reviews list --as sora",
        "next --as sora",
        "next --as office",
        "reviews give gaon-university/morphemes --score 4 --text Sound. --as sora",
        "reviews declare gaon-university/morphemes --none --as sora",
        "reviews give gaon-university/morphemes --score 4 --text Sound. --as sora",
        "reviews declare gaon-university/morphemes --conflict competitor --as jun",
        "proposals award gaon-university/morphemes --ground panel --as office",
        "proposals list --as minji",
        // The example's money is of 2021.
        "money list --as minji",
        "money carry 2021 2025 --ground letter --as office",
        "money carry 2026 2026 --ground letter --as office",
        "money carry 2021 2026 --won 100000000 --ground letter --as office",
        "money return 2021 --won 44000000000 --as office",
        "money return 2020 --as office",
        "money carry 2O21 2026 --ground letter --as office",
    ]);
    for line in [
        "reviews ask gaon-university/morphemes --reviewer deputy --as office",
        "reviews ask namsan-telecom/dialects --reviewer deputy --as office",
        "reviews ask namsan-telecom/dialects --reviewer sora --as office",
    ] {
        world.done(line);
    }
    for (who, id) in [
        ("deputy", "gaon-university/morphemes"),
        ("deputy", "namsan-telecom/dialects"),
        ("sora", "namsan-telecom/dialects"),
    ] {
        world.done(&format!("reviews declare {id} --none --as {who}"));
        world.done(&format!("reviews give {id} --score 3 --text Fair. --as {who}"));
    }
    world.run(&[
        "proposals show gaon-university/morphemes --as office",
        "proposals award gaon-university/morphemes --ground panel --as office",
        "proposals wait namsan-telecom/dialects --won 10000000 --ground panel --as office",
        "proposals show gaon-university/morphemes",
        "proposals list --as office",
        "awards list",
    ]);

    let view = world.run_a_job("morphemes");
    assert_eq!(view.job.award, Some("morphemes".parse().unwrap()));
    let told = world.done("awards show morphemes --as office");
    assert!(told.contains("for proposal gaon-university/morphemes"), "{told}");
    let notice = "awards notice morphemes --won 12000000 --ground unused --as office";
    world.run(&[&format!("{notice} --until 2026-03-07")]);
    world.done(&format!("{notice} --until 2026-03-20"));
    let next = world.done("next");
    assert!(next.contains("use it or appeal until 2026-03-20"), "{next}");
    assert!(
        next.contains("khub awards appeal morphemes --ground WHY"),
        "{next}"
    );
    let told = world.done("awards appeal morphemes --ground outage");
    assert!(told.contains("waits for another"), "{told}");
    world.run(&["awards answer morphemes --dismiss --ground short --as office"]);
    world.it_is("2026-03-21");
    let held = |name: &str| {
        let awards = world.client("office").awards(None).unwrap();
        let mut named = awards.iter().filter(|view| view.award.id.as_str() == name);
        named.next().unwrap().holdings
    };
    let used = held("morphemes").used.won;
    assert_eq!(
        held("morphemes").left.won,
        Won(40_000_000) - used,
        "the appeal is open"
    );
    world.done("awards answer morphemes --dismiss --ground short --as deputy");
    assert_eq!(held("morphemes").left.won, Won(28_000_000) - used);
    assert_eq!(
        held("dialects").left.won,
        Won(10_000_000),
        "and no more was waited for"
    );
    let waited = world
        .client("office")
        .proposal(&"namsan-telecom/dialects".parse().unwrap());
    assert_eq!(waited.unwrap().stage, Stage::Awarded);

    world.run(&[
        "next --as jun",
        "awards show dialects --as jun",
        "awards show dialects",
        "awards extend dialects --until 2027-06-30 --ground letter --as office",
        "awards close dialects --ground letter --as office",
        "awards close dialects --ground letter --as office",
    ]);
    world.it_is("2027-01-01");
    let ended = world.client("minji").award(&"morphemes".parse().unwrap());
    assert_eq!(ended.unwrap().holdings.left, consortium::Amount::default());
    world.done("ledger verify");
    // What the jobs of 2026 didn't use waits for the office, and goes to 2027.
    let next = world.done("next --as office");
    assert!(
        next.contains("khub money carry 2026 2027 --ground TEXT"),
        "{next}"
    );
    world.done("money carry 2026 2027 --ground letter --as office");
    world.done("money return 2021 --as office");
    let next = world.done("next --as office");
    assert!(!next.contains("fiscal year"), "{next}");
    let carried = 100_000_000 - used.0;
    let expected = format!(
        "year,appropriated,carried_in,awarded,spent,carried_out,returned,left\n\
         2021,44500000000,0,2000000,0,100000000,44398000000,0\n\
         2026,0,100000000,{used},{used},{carried},0,0\n\
         2027,0,{carried},0,0,0,0,{carried}\n",
        used = used.0
    );
    let told = world.done("report --years --format csv");
    assert!(told.contains(&expected), "{told}");
    assert!(world.done("report --format page").contains("회계연도별"));
    assert_snapshot!("awards", world.terminal.shown);
}
