//! Workers that take turns, and what their turns amount to.

use super::worker::{End, Ready, Turn, Worker};
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Threads of a worker that has just answered may spin a while before they sleep; the next one waits for it.
pub(super) const REST: Duration = Duration::from_millis(50);

/// How a race is run.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// What asks a worker for a turn.
    pub(super) word: &'static str,
    /// How often each worker but the first has its turn; the first has one before each of theirs.
    pub(super) rounds: usize,
    /// Pause before each turn.
    pub(super) rest: Duration,
    /// Folder for what the workers write to stderr.
    pub(super) logs: &'a Path,
}

/// What a worker did in a race.
#[derive(Debug)]
pub(super) struct Course {
    /// The worker.
    pub(super) name: String,
    /// Its first line.
    pub(super) ready: Ready,
    /// Its turns, at least one.
    pub(super) turns: Vec<Turn>,
    /// Its last line.
    pub(super) end: End,
}

/// Starts the workers one after the other, lets them take turns and ends them; progress goes to stderr.
/// The courses come in the order of `commands`. The first failure ends all workers.
pub(super) fn race(commands: Vec<(&str, Command)>, rules: &Rules<'_>) -> Result<Vec<Course>, String> {
    let mut workers = Vec::new();
    let mut ready = Vec::new();
    for (name, mut command) in commands {
        eprintln!("{name}: warming up");
        let mut worker = Worker::start(name, &mut command, rules.logs)?;
        let said: Ready = worker.hear()?;
        if !said.ready {
            return Err(format!("{name} says that it is not ready"));
        }
        eprintln!("{name}: ready, {} with {} weights", said.version, said.params);
        workers.push(worker);
        ready.push(said);
    }
    let turns = take_turns(&mut workers, rules)?;
    let mut courses = Vec::new();
    for ((mut worker, ready), turns) in workers.into_iter().zip(ready).zip(turns) {
        let end = worker.ask("end")?;
        let name = worker.name.clone();
        worker.finish()?;
        courses.push(Course {
            name,
            ready,
            turns,
            end,
        });
    }
    Ok(courses)
}

fn take_turns(workers: &mut [Worker], rules: &Rules<'_>) -> Result<Vec<Vec<Turn>>, String> {
    let mut turns = vec![Vec::new(); workers.len()];
    for round in 1..=rules.rounds {
        let mut line = format!("round {round}/{}:", rules.rounds);
        for i in order(workers.len()) {
            std::thread::sleep(rules.rest);
            let worker = &mut workers[i];
            let turn: Turn = worker.ask(rules.word)?;
            if !(turn.seconds.is_finite() && turn.seconds > 0.0) {
                return Err(format!(
                    "{} says that a turn took {} s",
                    worker.name, turn.seconds
                ));
            }
            line.push_str(&format!(" {} {:.1} ms", worker.name, turn.seconds * 1e3));
            turns[i].push(turn);
        }
        eprintln!("{line}");
    }
    Ok(turns)
}

/// Whose turn it is in a round: the first before each of the others, so that the machine's moods meet both.
fn order(workers: usize) -> Vec<usize> {
    match workers {
        1 => vec![0],
        _ => (1..workers).flat_map(|other| [0, other]).collect(),
    }
}

impl Course {
    /// The median turn.
    pub(super) fn seconds(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.seconds).collect())
    }

    /// What to report, if a turn is worth `tokens`.
    pub(super) fn figures(&self, tokens: u64) -> Figures {
        let seconds = self.seconds();
        let quickest = self
            .turns
            .iter()
            .map(|turn| turn.seconds)
            .fold(f64::INFINITY, f64::min);
        let import = self.ready.import_rss_bytes;
        Figures {
            version: self.ready.version.clone(),
            params: self.ready.params,
            turns: self.turns.len(),
            tokens_per_s: tokens as f64 / seconds,
            step_ms: seconds * 1e3,
            quickest_ms: quickest * 1e3,
            last_loss: self.turns.last().and_then(|turn| turn.loss),
            peak_rss_bytes: self.end.peak_rss_bytes,
            over_import_bytes: import.map(|import| self.end.peak_rss_bytes.saturating_sub(import)),
        }
    }
}

/// What is reported of a worker.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    version: String,
    params: u64,
    turns: usize,
    pub(super) tokens_per_s: f64,
    pub(super) step_ms: f64,
    quickest_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_loss: Option<f64>,
    pub(super) peak_rss_bytes: u64,
    /// The peak less what importing its libraries had taken already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) over_import_bytes: Option<u64>,
}

impl Figures {
    /// The columns of a table row.
    pub(super) const COLUMNS: [&'static str; 6] = [
        "",
        "tokens/s",
        "turn ms",
        "quickest ms",
        "peak MB",
        "over import MB",
    ];

    /// The row of the worker `name`.
    pub(super) fn row(&self, name: &str) -> Vec<String> {
        let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
        vec![
            format!("{name} ({})", self.version),
            format!("{:.0}", self.tokens_per_s),
            format!("{:.1}", self.step_ms),
            format!("{:.1}", self.quickest_ms),
            mb(self.peak_rss_bytes),
            self.over_import_bytes.map(mb).unwrap_or_default(),
        ]
    }
}

/// The middle value, or the mean of the two middle ones. NaN if there are none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A worker whose turns take what `seconds` says, in shell words, and that notes its turns in `$NOTES`.
    pub(in crate::bench) fn fake(name: &str, seconds: &str, peak: u64) -> Command {
        let script = format!(
            r#"echo '{{"ready":true,"params":5,"version":"{name} 1","import_rss_bytes":100}}'
               set -- {seconds}
               while read word; do case $word in
                 step) echo {name} >> "${{NOTES:-/dev/null}}"; echo "{{\"seconds\":$1,\"loss\":2.5}}"; shift;;
                 end) echo '{{"peak_rss_bytes":{peak}}}'; exit 0;;
               esac; done"#
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    }

    fn rules(logs: &Path, rounds: usize) -> Rules<'_> {
        Rules {
            word: "step",
            rounds,
            rest: Duration::ZERO,
            logs,
        }
    }

    #[test]
    fn the_first_has_a_turn_before_each_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        let workers = ["khub", "eager", "compile"].map(|name| {
            let mut command = fake(name, "0.4 0.2 0.3 0.9", 1000);
            command.env("NOTES", &notes);
            (name, command)
        });
        let courses = race(workers.into(), &rules(folder.path(), 2)).unwrap();
        let notes = std::fs::read_to_string(notes).unwrap();
        let round = ["khub", "eager", "khub", "compile"];
        assert_eq!(notes.lines().collect::<Vec<_>>(), [round, round].concat());

        let turns: Vec<usize> = courses.iter().map(|course| course.turns.len()).collect();
        assert_eq!(turns, [4, 2, 2]);
        assert_eq!(courses[1].name, "eager");
        let khub = courses[0].figures(70);
        assert!((khub.step_ms - 350.0).abs() < 1e-9 && (khub.tokens_per_s - 200.0).abs() < 1e-9);
        assert_eq!((khub.quickest_ms, khub.last_loss), (200.0, Some(2.5)));
        assert_eq!((khub.peak_rss_bytes, khub.over_import_bytes), (1000, Some(900)));
    }

    #[test]
    fn one_alone_just_takes_its_turns() {
        let folder = tempfile::tempdir().unwrap();
        let courses = race(vec![("khub", fake("khub", "1 2 3", 7))], &rules(folder.path(), 3)).unwrap();
        assert_eq!(courses[0].seconds(), 2.0);
    }

    #[test]
    fn a_failure_names_its_worker() {
        let folder = tempfile::tempdir().unwrap();
        let ready = r#"echo '{"ready":true,"params":1,"version":"x"}'; read word; "#;
        let cases = [
            (
                format!("{ready} echo no memory >&2; exit 1"),
                "eager ended without an answer\n  no memory",
            ),
            (format!("{ready} echo Killed"), "eager said `Killed`"),
            (
                format!("{ready} echo '{{\"seconds\":0}}'"),
                "eager says that a turn took 0 s",
            ),
            (format!("{ready} echo '{{\"seconds\":1}}'; exit 1"), "eager ended"),
            (
                "echo '{\"ready\":false,\"params\":1,\"version\":\"x\"}'".into(),
                "eager says that it is not ready",
            ),
        ];
        for (script, expected) in cases {
            let mut bad = Command::new("sh");
            bad.args(["-c", &script]);
            let workers = vec![("khub", fake("khub", "1 1", 1)), ("eager", bad)];
            let error = race(workers, &rules(folder.path(), 1)).unwrap_err();
            assert!(error.starts_with(expected), "{script}: {error}");
        }
    }

    #[test]
    fn medians() {
        let cases = [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 3.0, 2.0], 2.5),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values), expected);
        }
        assert!(median(Vec::new()).is_nan());
    }
}
