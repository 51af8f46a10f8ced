//! Rules about text: what may not be written anywhere, and what must be written somewhere.

use super::{Finding, Project, Verdict, crates::Crate, rules::Rules};

/// The rules of a consortium name no vendor, not even in a comment.
pub(super) fn vendors(project: &Project) -> Verdict {
    let mut findings = Vec::new();
    for (path, text) in project.tree.texts(|path| path.starts_with("crates/consortium/")) {
        for (number, line) in numbered(text) {
            // `_` and punctuation end a word, and any space is one space.
            let words: Vec<String> = line
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect();
            let line = format!(" {} ", words.join(" "));
            for vendor in &project.rules.words.vendors {
                if line.contains(&format!(" {vendor} ")) {
                    let what = format!("consortium names the vendor `{vendor}`");
                    findings.push(Finding::at(
                        path,
                        number,
                        what,
                        "say what is meant: a site, an owner, an offer",
                    ));
                }
            }
        }
    }
    Verdict::none_allowed(findings)
}

/// A crate links its integration tests once.
pub(super) fn test_binaries(project: &Project) -> Verdict {
    let mut findings = Vec::new();
    for path in project.tree.paths() {
        let Some((folder, test)) = path.split_once("/tests/") else {
            continue;
        };
        let is_crate = project.tree.holds(&format!("{folder}/Cargo.toml"));
        let is_binary = test.ends_with(".rs") && (!test.contains('/') || test.ends_with("/main.rs"));
        if is_crate && is_binary && test.matches('/').count() < 2 && test != "it/main.rs" {
            let what = "a second test binary costs a second link".to_owned();
            findings.push(Finding::at(
                path,
                1,
                what,
                format!("make it a module of {folder}/tests/it/main.rs"),
            ));
        }
    }
    Verdict {
        measure: format!("{} besides tests/it/main.rs", findings.len()),
        findings,
    }
}

/// No file knows one machine's folders.
pub(super) fn machine_paths(project: &Project) -> Verdict {
    let names = &project.rules.words.machine_folders;
    let folders: Vec<String> = names.iter().map(|name| format!("/{name}/")).collect();
    let mut findings = Vec::new();
    for (path, text) in shared_files(project) {
        for (number, line) in numbered(text) {
            for folder in folders.iter().filter(|folder| starts_path(line, folder)) {
                let what = format!("`{folder}...` is there on some machines only");
                findings.push(Finding::at(
                    path,
                    number,
                    what,
                    "a path from the root, an argument, or a variable",
                ));
            }
        }
    }
    Verdict::none_allowed(findings)
}

/// Whether `folder` begins a path in `line`, rather than goes on with one, as after `a`, `~` or `{x}`.
fn starts_path(line: &str, folder: &str) -> bool {
    let goes_on = |before: char| before.is_alphanumeric() || "._-~})>*".contains(before);
    line.match_indices(folder)
        .any(|(index, _)| !line[..index].ends_with(goes_on))
}

/// No file says where packages come from.
pub(super) fn registry_hosts(project: &Project) -> Verdict {
    let mut findings = Vec::new();
    for (path, text) in shared_files(project) {
        for (number, line) in numbered(text) {
            for host in project
                .rules
                .words
                .registry_hosts
                .iter()
                .filter(|host| line.contains(host.as_str()))
            {
                let what = format!("`{host}` names a registry");
                findings.push(Finding::at(
                    path,
                    number,
                    what,
                    "leave it to the configuration of whoever builds",
                ));
            }
        }
    }
    Verdict::none_allowed(findings)
}

/// The one source a lock file may name.
const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// The lock file knows no other registry, and no git.
pub(super) fn lock_sources(project: &Project) -> Verdict {
    let lock = project.tree.text("Cargo.lock").unwrap_or_default();
    let other = numbered(lock).filter(|(_, line)| line.starts_with("source = ") && *line != CRATES_IO);
    let findings = other.map(|(number, line)| {
        let what = format!("`{line}` is not crates.io");
        Finding::at("Cargo.lock", number, what, "a published version of the crate")
    });
    Verdict::none_allowed(findings.collect())
}

/// A crate's first line says what it is.
pub(super) fn crate_docs(project: &Project) -> Verdict {
    let mut all = 0;
    let mut findings = Vec::new();
    for one in &project.crates {
        for root in ["src/lib.rs", "src/main.rs"] {
            let path = format!("{}/{root}", one.folder);
            let Some(text) = project.tree.text(&path) else {
                continue;
            };
            all += 1;
            if !text.starts_with("//!") {
                let what = format!("`{}` doesn't open with `//!`", one.name);
                findings.push(Finding::at(&path, 1, what, "one sentence that says what it is"));
            }
        }
    }
    Verdict {
        measure: format!("{} of {all}", all - findings.len()),
        findings,
    }
}

/// A crate earns its place with one sentence.
pub(super) fn architecture(project: &Project) -> Verdict {
    let page = project.tree.text("ARCHITECTURE.md").unwrap_or_default();
    let is_named = |one: &&Crate| {
        [&one.name, &one.folder]
            .iter()
            .any(|name| page.contains(&format!("`{name}`")))
    };
    let missing = project.crates.iter().filter(|one| !is_named(one));
    let findings: Vec<Finding> = missing
        .map(|one| {
            let what = format!("no line names `{}`", one.name);
            Finding::at(
                "ARCHITECTURE.md",
                1,
                what,
                "one sentence that earns the crate its place",
            )
        })
        .collect();
    let all = project.crates.len();
    Verdict {
        measure: format!("{} of {all}", all - findings.len()),
        findings,
    }
}

/// The README's commands are there to the letter, each on a line of its own; a comment may follow.
pub(super) fn readme_commands(project: &Project) -> Verdict {
    let page = project.tree.text("README.md").unwrap_or_default();
    let lines: Vec<&str> = page
        .lines()
        .filter_map(|line| line.split(" #").next())
        .map(str::trim)
        .collect();
    let commands = &project.rules.words.readme_commands;
    let missing = commands
        .iter()
        .filter(|command| !lines.contains(&command.as_str()));
    let findings: Vec<Finding> = missing
        .map(|command| {
            let what = format!("no line is `{command}`");
            Finding::at(
                "README.md",
                1,
                what,
                "a block of code with just this command on a line",
            )
        })
        .collect();
    Verdict {
        measure: format!("{} of {}", commands.len() - findings.len(), commands.len()),
        findings,
    }
}

/// All files but the one that lists what may not be written.
fn shared_files(project: &Project) -> impl Iterator<Item = (&str, &str)> {
    project.tree.texts(|path| path != Rules::FILE)
}

/// Lines, counted from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Project) -> Verdict;

    /// What `rule` finds in a tree with one crate, `store`.
    fn check(rule: Rule, files: &[(&str, &str)], places: &[&str]) {
        let store = Crate {
            name: "store".into(),
            folder: "crates/store".into(),
            ..Crate::default()
        };
        let project = Project {
            crates: vec![store],
            ..Project::made_up(files)
        };
        assert_eq!(rule(&project).places(), places, "{files:?}");
    }

    #[test]
    fn a_vendor_is_a_word() {
        let check = |text, lines: &[&str]| {
            check(
                vendors,
                &[
                    ("crates/consortium/policies/p.cedar", text),
                    ("crates/site/a.rs", text),
                ],
                lines,
            );
        };
        check("// the acmeist\n// big\n// cloud\n", &[]);
        check(
            "\nlet acme_site = 1;\n",
            &["crates/consortium/policies/p.cedar:2"],
        );
        check(
            "// Acme, Big  Cloud.\n",
            &["crates/consortium/policies/p.cedar:1"; 2],
        );
    }

    #[test]
    fn a_crate_has_one_test_binary() {
        let file = |path| [("crates/store/Cargo.toml", ""), (path, "")];
        let rule = test_binaries as Rule;
        check(rule, &file("crates/store/tests/it/main.rs"), &[]);
        check(rule, &file("crates/store/tests/it/deep/main.rs"), &[]);
        check(rule, &file("crates/store/tests/it/snapshots/a.snap"), &[]);
        check(rule, &file("crates/store/src/tests/a.rs"), &[]);
        check(
            rule,
            &file("crates/store/tests/more.rs"),
            &["crates/store/tests/more.rs:1"],
        );
        check(
            rule,
            &file("crates/store/tests/more/main.rs"),
            &["crates/store/tests/more/main.rs:1"],
        );
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        let check =
            |text, places: &[&str]| check(machine_paths, &[("a.md", text), (Rules::FILE, text)], places);
        check(
            "machine/ ./machine/x ~/machine/x https://example.org/machine/x {dir}/machine/x",
            &[],
        );
        for text in [
            "/machine/x",
            "cd /machine/x",
            "\"/machine/x\"",
            "file:///machine/x",
            "X=/machine/x",
        ] {
            check(text, &["a.md:1"]);
        }
    }

    #[test]
    fn a_registry_is_found() {
        let file = [("a/pip.conf", "\nindex = https://registry.example/simple\n")];
        check(registry_hosts, &file, &["a/pip.conf:2"]);
        check(registry_hosts, &[("a.md", "a registry, for example")], &[]);
    }

    #[test]
    fn the_lock_file_knows_only_crates_io() {
        let lock = format!("{CRATES_IO}\nsource = \"git+https://example.org/x#1\"\n");
        check(lock_sources, &[("Cargo.lock", &lock)], &["Cargo.lock:2"]);
    }

    #[test]
    fn a_crate_opens_with_its_sentence() {
        let rule = crate_docs as Rule;
        check(rule, &[("crates/store/src/lib.rs", "//! It stores.\n")], &[]);
        check(
            rule,
            &[("crates/store/src/lib.rs", "use x;\n//! Late.\n")],
            &["crates/store/src/lib.rs:1"],
        );
        check(
            rule,
            &[("crates/store/src/main.rs", "")],
            &["crates/store/src/main.rs:1"],
        );
    }

    #[test]
    fn a_crate_is_on_the_architecture_page() {
        let rule = architecture as Rule;
        check(rule, &[("ARCHITECTURE.md", "- `store` keeps things.")], &[]);
        check(
            rule,
            &[("ARCHITECTURE.md", "- `crates/store` keeps things.")],
            &[],
        );
        check(
            rule,
            &[("ARCHITECTURE.md", "The store keeps things.")],
            &["ARCHITECTURE.md:1"],
        );
        check(rule, &[], &["ARCHITECTURE.md:1"]);
    }

    #[test]
    fn the_readme_has_its_commands() {
        let rule = readme_commands as Rule;
        check(
            rule,
            &[("README.md", "```sh\ncargo run -- start  # now\n```\n")],
            &[],
        );
        check(rule, &[("README.md", "cargo run -- stop")], &["README.md:1"]);
        check(
            rule,
            &[("README.md", "cargo run -- start --now")],
            &["README.md:1"],
        );
    }
}
