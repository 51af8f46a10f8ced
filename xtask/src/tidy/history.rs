//! How many crates a commit touches, from git's log.

use super::{Finding, Project, Verdict, tree::git};
use std::collections::BTreeSet;
use std::path::Path;

/// The crates that one commit touched.
pub(super) type Touched = BTreeSet<String>;

/// The last 50 commits, newest first. Merges repeat what their commits said, and a commit without a parent
/// (the first one, or where a shallow clone ends) touches everything; neither counts.
pub(super) fn from_git(root: &Path) -> Option<Vec<Touched>> {
    let log = git(
        root,
        &[
            "log",
            "-50",
            "--no-merges",
            "--min-parents=1",
            "--name-only",
            "--format=%x00",
        ],
    )?;
    Some(commits(&log))
}

/// Commits keep to few crates. The history can't be mended, so few commits are not judged yet.
pub(super) fn crates_per_commit(project: &Project) -> Verdict {
    let bars = &project.rules.bars;
    let Some(commits) = &project.commits else {
        return Verdict {
            measure: "skipped: no git history here".into(),
            findings: Vec::new(),
        };
    };
    let touched: usize = commits.iter().map(BTreeSet::len).sum();
    let mean = touched as f64 / commits.len().max(1) as f64;
    let mut measure = format!(
        "{mean:.1} over {} commits (bar {:.1})",
        commits.len(),
        bars.crates_per_commit
    );
    let mut findings = Vec::new();
    if commits.len() < bars.commits_to_judge {
        measure.push_str(&format!(", judged from {} commits on", bars.commits_to_judge));
    } else if mean > bars.crates_per_commit {
        let what = format!("a commit touches {mean:.1} crates");
        let attempt = "one idea a commit; if one idea keeps reaching many crates, move it into one";
        findings.push(Finding::at("Cargo.toml", 1, what, attempt));
    }
    Verdict { measure, findings }
}

/// `log` has a NUL before each commit's paths.
fn commits(log: &str) -> Vec<Touched> {
    log.split('\0')
        .skip(1)
        .map(|paths| paths.lines().filter_map(crate_of).collect())
        .collect()
}

fn crate_of(path: &str) -> Option<String> {
    let mut folders = path.split('/');
    match (folders.next()?, folders.next()?) {
        ("crates" | "programs", name) => Some(name.to_owned()),
        ("xtask", _) => Some("xtask".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\0\n\ncrates/a/src/lib.rs\ncrates/a/Cargo.toml\nCargo.lock\n\
                       \0\n\ncrates/a/x.rs\nprograms/b/y.rs\nxtask/src/main.rs\ncrates/c/z.rs\n\
                       \0\n\nREADME.md\n";

    #[test]
    fn the_log_is_read_by_commit() {
        let counts: Vec<usize> = commits(LOG).iter().map(BTreeSet::len).collect();
        assert_eq!(counts, [1, 4, 0]);
        assert_eq!(commits(""), Vec::<Touched>::new());
    }

    #[test]
    fn wide_commits_are_found_once_there_are_enough() {
        let check = |log: Option<&str>, measure: &str, findings: usize| {
            let project = Project {
                commits: log.map(commits),
                ..Project::made_up(&[])
            };
            let verdict = crates_per_commit(&project);
            assert_eq!(
                (verdict.measure.as_str(), verdict.findings.len()),
                (measure, findings)
            );
        };
        let wide = "\0\ncrates/a/x\ncrates/b/x\ncrates/c/x\n";
        check(None, "skipped: no git history here", 0);
        check(Some(LOG), "1.7 over 3 commits (bar 2.0)", 0);
        check(
            Some(wide),
            "3.0 over 1 commits (bar 2.0), judged from 3 commits on",
            0,
        );
        check(Some(&wide.repeat(3)), "3.0 over 3 commits (bar 2.0)", 1);
    }
}
