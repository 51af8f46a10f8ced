//! `cargo xtask tidy`: how far the tree keeps its own rules.
//!
//! A rule is a function from a [`Project`] to a [`Verdict`]: a measure for people, and a finding for each
//! place that breaks it. [`RULES`] is the whole list; bars, words and the allowed edges stand in
//! `xtask/tidy.toml`.
//!
//! One sign of rot is not measured: more than three types for one noun. Which types stand for the same noun
//! is a judgement, and a count of similar names would mostly find honest pairs such as `Job` and `JobSpec`.

mod crates;
mod history;
mod licence;
mod links;
mod rules;
mod source;
mod text;
mod tree;

use rules::Rules;
use std::fmt;
use std::path::Path;
use tree::Tree;

/// Every rule, by the name it is printed under.
const RULES: [(&str, Rule); 19] = [
    ("edges between crates", crates::edges),
    ("longest dependency path", crates::longest_path),
    ("second versions", crates::second_versions),
    ("licences", crates::licences),
    ("crates touched per commit", history::crates_per_commit),
    ("functions over their bar", source::long_functions),
    ("files over their bar", source::long_files),
    ("empty names", source::empty_names),
    ("programmes named in train", source::programmes_in_train),
    ("vendors named in consortium", text::vendors),
    ("sleeps in tests", source::sleeps_in_tests),
    ("test binaries per crate", text::test_binaries),
    ("paths of a machine", text::machine_paths),
    ("registry hosts", text::registry_hosts),
    ("sources in Cargo.lock", text::lock_sources),
    ("crates that open with //!", text::crate_docs),
    ("crates in ARCHITECTURE.md", text::architecture),
    ("commands in README.md", text::readme_commands),
    ("relative links", links::relative_links),
];

type Rule = fn(&Project) -> Verdict;

/// Measures the tree at `root`, prints a line for each rule, and fails if there are findings.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let project = Project::load(root)?;
    let mut findings = 0;
    for (name, rule) in RULES {
        let verdict = rule(&project);
        let mark = if verdict.findings.is_empty() {
            "ok  "
        } else {
            "FAIL"
        };
        println!("{mark}  {name:<28}  {}", verdict.measure);
        for finding in &verdict.findings {
            println!("      {finding}");
        }
        findings += verdict.findings.len();
    }
    match findings {
        0 => Ok(()),
        1 => Err("tidy has one finding".into()),
        n => Err(format!("tidy has {n} findings")),
    }
}

/// All that the rules look at.
#[derive(Debug, Default)]
struct Project {
    rules: Rules,
    tree: Tree,
    crates: Vec<crates::Crate>,
    packages: Vec<crates::Package>,
    /// The crates each of the last commits touched, newest first; none where there is no git.
    commits: Option<Vec<history::Touched>>,
}

/// What a rule says.
#[derive(Debug)]
struct Verdict {
    /// A number and its bar.
    measure: String,
    findings: Vec<Finding>,
}

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// Counts from 1.
    line: usize,
    what: String,
    attempt: String,
}

impl Project {
    fn load(root: &Path) -> Result<Self, String> {
        let rules = Rules::load(&root.join(Rules::FILE))?;
        let (crates, packages) = crates::from_cargo(root)?;
        Ok(Self {
            rules,
            tree: Tree::load(root)?,
            crates,
            packages,
            commits: history::from_git(root),
        })
    }
}

impl Verdict {
    /// The measure is how many findings there are, and there may be none.
    fn none_allowed(findings: Vec<Finding>) -> Self {
        Self {
            measure: findings.len().to_string(),
            findings,
        }
    }
}

impl Finding {
    /// In `file` at `line`: `what` is wrong, `attempt` is what to try.
    fn at(file: &str, line: usize, what: String, attempt: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line,
            what,
            attempt: attempt.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; try: {}",
            self.file, self.line, self.what, self.attempt
        )
    }
}

#[cfg(test)]
impl Project {
    /// A made-up tree under made-up rules.
    fn made_up(files: &[(&str, &str)]) -> Self {
        Self {
            rules: Rules::made_up(),
            tree: Tree::made_up(files),
            ..Self::default()
        }
    }
}

#[cfg(test)]
impl Verdict {
    /// Where the findings are, as `file:line`.
    fn places(&self) -> Vec<String> {
        self.findings
            .iter()
            .map(|finding| format!("{}:{}", finding.file, finding.line))
            .collect()
    }
}
