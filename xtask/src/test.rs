//! `cargo xtask test`: all that a change must pass, the quickest answers first.
//!
//! Each step is a few commands that anyone can run by hand; the step prints them before it runs them. The
//! first step that fails ends the run, and the closing table says how to repeat just that step.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A step, in the order of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    /// rustfmt agrees
    Fmt,
    /// clippy has nothing to say
    Clippy,
    /// unit, integration and doc tests pass
    Tests,
    /// rustdoc builds without a warning
    Docs,
    /// the wheel's tests pass, where PyTorch is installed
    Python,
    /// the hub is as its OpenAPI document says, where Schemathesis is installed
    Api,
    /// the tree keeps its own rules
    Tidy,
}

/// Runs `only`, or every step if there are none.
pub(crate) fn run(root: &Path, only: &[Step]) -> Result<(), String> {
    let steps: Vec<Step> = Step::ALL
        .into_iter()
        .filter(|step| only.is_empty() || only.contains(step))
        .collect();
    let rows = follow(&steps, |step| {
        println!("\n=== {}: {} ===", step.name(), step.goal());
        step.take(root)
    });
    println!("\n{}", table(&rows));
    match rows
        .iter()
        .find_map(|row| row.failure().map(|why| (row.step, why)))
    {
        None => Ok(()),
        Some((step, why)) => Err(format!(
            "{}: {why}; again: cargo xtask test {}",
            step.name(),
            step.name()
        )),
    }
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Fmt,
        Self::Clippy,
        Self::Tests,
        Self::Docs,
        Self::Tidy,
        Self::Api,
        Self::Python,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Tests => "tests",
            Self::Docs => "docs",
            Self::Python => "python",
            Self::Api => "api",
            Self::Tidy => "tidy",
        }
    }

    fn goal(self) -> &'static str {
        match self {
            Self::Fmt => "rustfmt agrees",
            Self::Clippy => "clippy has nothing to say",
            Self::Tests => "unit, integration and doc tests pass",
            Self::Docs => "rustdoc builds without a warning",
            Self::Python => "the wheel's tests pass, where PyTorch is installed",
            Self::Api => "the hub is as its OpenAPI document says, where Schemathesis is installed",
            Self::Tidy => "the tree keeps its own rules",
        }
    }

    fn take(self, root: &Path) -> Result<(), String> {
        let deny = ("RUSTDOCFLAGS", "-D warnings");
        match self {
            Self::Fmt => cargo(root, "fmt --all --check", &[]),
            Self::Clippy => cargo(
                root,
                "clippy --workspace --all-targets --locked -- -D warnings",
                &[],
            ),
            Self::Tests => tests(root),
            Self::Docs => cargo(root, "doc --workspace --no-deps --locked", &[deny]),
            Self::Tidy => crate::tidy::run(root),
            Self::Python => python(root),
            Self::Api => api(root),
        }
    }
}

/// nextest doesn't run doc tests; plain `cargo test` does, so it needs no second command.
fn tests(root: &Path) -> Result<(), String> {
    println!(
        "Tests of PostgreSQL and of buckets start servers of their own: xtask/postgres.sh, xtask/seaweedfs.sh."
    );
    if has_nextest(root) {
        cargo(root, "nextest run --workspace --locked", &[])?;
        cargo(root, "test --workspace --doc --locked", &[])
    } else {
        println!("cargo-nextest is not installed; plain cargo test does as well.");
        cargo(root, "test --workspace --locked", &[])
    }
}

/// PyTorch is some gigabytes: CI installs it, a person is asked to.
fn python(root: &Path) -> Result<(), String> {
    match crate::python::obstacle(root)? {
        Some(why) => println!("skipped: {why}"),
        None => crate::python::run(root, &crate::python::Args::default())?,
    }
    Ok(())
}

fn api(root: &Path) -> Result<(), String> {
    match crate::schemathesis::obstacle(root)? {
        Some(why) => println!("skipped: {why}"),
        None => crate::schemathesis::run_briefly(root)?,
    }
    Ok(())
}

fn has_nextest(root: &Path) -> bool {
    let version = cargo_command(root)
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Runs cargo with `arguments`, none of which holds a space.
fn cargo(root: &Path, arguments: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut line = String::new();
    for (name, value) in environment {
        let _ = write!(line, "{name}=\"{value}\" ");
    }
    line.push_str("cargo ");
    line.push_str(arguments);
    println!("$ {line}");
    let status = cargo_command(root)
        .args(arguments.split(' '))
        .envs(environment.iter().copied())
        .status()
        .map_err(|e| format!("`{line}` did not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}` failed ({status})"))
    }
}

/// The cargo that runs us, so that a toolchain chosen with `cargo +name` holds for every step.
pub(crate) fn cargo_command(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What it tells us of ourselves would have some build scripts run again, in every change of hands.
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    }) {
        command.env_remove(name);
    }
    command.current_dir(root);
    command
}

/// What became of a step.
#[derive(Debug)]
struct Row {
    step: Step,
    /// None if an earlier step failed.
    taken: Option<(Result<(), String>, Duration)>,
}

impl Row {
    fn failure(&self) -> Option<&str> {
        self.taken
            .as_ref()
            .and_then(|(done, _)| done.as_ref().err())
            .map(String::as_str)
    }
}

/// Takes `steps` in order until one fails.
fn follow(steps: &[Step], mut take: impl FnMut(Step) -> Result<(), String>) -> Vec<Row> {
    let mut failed = false;
    let mut row = |&step| {
        let taken = (!failed).then(|| {
            let start = Instant::now();
            let done = take(step);
            failed = done.is_err();
            (done, start.elapsed())
        });
        Row { step, taken }
    };
    steps.iter().map(&mut row).collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<8}{:<9}{:>9}\n", "step", "result", "time");
    for Row { step, taken } in rows {
        let name = step.name();
        let _ = match taken {
            None => writeln!(text, "{name:<8}{:<9}", "not run"),
            Some((Ok(()), time)) => writeln!(text, "{name:<8}{:<9}{:>7.1} s", "passed", time.as_secs_f32()),
            Some((Err(_), time)) => {
                let again = format!("again: cargo xtask test {name}");
                writeln!(
                    text,
                    "{name:<8}{:<9}{:>7.1} s   {again}",
                    "FAILED",
                    time.as_secs_f32()
                )
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run_and_says_how_to_repeat_it() {
        let mut seen = Vec::new();
        let rows = follow(&Step::ALL, |step| {
            seen.push(step);
            if step == Step::Clippy {
                Err("a warning".into())
            } else {
                Ok(())
            }
        });
        assert_eq!(seen, [Step::Fmt, Step::Clippy]);
        assert_eq!(rows[1].failure(), Some("a warning"));

        let table = table(&rows);
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        assert!(lines[1].starts_with("fmt     passed"), "{table}");
        assert!(lines[2].ends_with("again: cargo xtask test clippy"), "{table}");
        assert_eq!(lines[5], "tidy    not run");
    }

    #[test]
    fn a_command_that_fails_or_is_missing_is_named() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let why = cargo(here, "no-such-command --at-all", &[]).unwrap_err();
        assert!(why.contains("`cargo no-such-command --at-all` failed"), "{why}");
        assert_eq!(
            cargo(here, "--version", &[("RUSTDOCFLAGS", "-D warnings")]),
            Ok(())
        );
    }
}
