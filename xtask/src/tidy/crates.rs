//! Rules about crates and what they depend on, from `cargo metadata`.

use super::{Finding, Project, Verdict, licence, rules::Rules, tree::Tree};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A crate of the workspace.
#[derive(Debug, Default)]
pub(super) struct Crate {
    pub(super) name: String,
    /// From the root: `crates/store`.
    pub(super) folder: String,
    /// Crates of the workspace that it is built with.
    pub(super) uses: BTreeSet<String>,
    /// Crates of the workspace that only its tests use.
    pub(super) tests_use: BTreeSet<String>,
}

/// Something that ends up in a build, on any platform.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: Option<String>,
}

/// Reads both from `Cargo.lock` and the manifests.
pub(super) fn from_cargo(root: &Path) -> Result<(Vec<Crate>, Vec<Package>), String> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .other_options(["--locked".to_owned()])
        .exec()
        .map_err(|e| e.to_string())?;
    let members = metadata.workspace_packages();
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let crates = members.iter().map(|member| {
        let uses = |tests: bool| {
            let inside = member
                .dependencies
                .iter()
                .filter(|d| names.contains(d.name.as_str()) && d.path.is_some());
            let wanted = inside.filter(|d| (d.kind == DependencyKind::Development) == tests);
            wanted.map(|d| d.name.clone()).collect()
        };
        let folder = member
            .manifest_path
            .parent()
            .and_then(|p| p.strip_prefix(&metadata.workspace_root).ok());
        let folder = folder
            .map(|path| path.as_str().replace('\\', "/"))
            .unwrap_or_default();
        Crate {
            name: member.name.to_string(),
            folder,
            uses: uses(false),
            tests_use: uses(true),
        }
    });
    let packages = metadata.packages.iter().map(|package| Package {
        name: package.name.to_string(),
        version: package.version.to_string(),
        licence: package.license.clone(),
    });
    Ok((crates.collect(), packages.collect()))
}

/// A crate uses what the table allows.
pub(super) fn edges(project: &Project) -> Verdict {
    let programmes: BTreeSet<&str> = project.programmes().collect();
    let mut findings = Vec::new();
    for one in &project.crates {
        let Some(allowed) = project.rules.may_use(&one.name, &one.folder) else {
            let what = format!("`{}` has no row under [edges]", one.name);
            findings.push(Finding::at(
                Rules::FILE,
                1,
                what,
                format!("add `{} = []`, or what it may use", one.name),
            ));
            continue;
        };
        let is_allowed = |used: &str| allowed.iter().any(|name| name == "*" || name == used);
        for used in one.uses.iter().filter(|used| !is_allowed(used)) {
            let what = format!("`{}` may not use `{used}`", one.name);
            let attempt = "move what is needed down to a crate that both may use, or argue for the edge in xtask/tidy.toml";
            findings.push(one.finding(&project.tree, used, what, attempt));
        }
        let is_programme = programmes.contains(one.name.as_str());
        for used in one
            .tests_use
            .iter()
            .filter(|used| is_programme && programmes.contains(used.as_str()))
        {
            let what = format!("the tests of programme `{}` use programme `{used}`", one.name);
            findings.push(one.finding(
                &project.tree,
                used,
                what,
                "move the test to khub, which knows both",
            ));
        }
    }
    let edges: usize = project.crates.iter().map(|one| one.uses.len()).sum();
    Verdict {
        measure: format!("{} of {edges} not allowed", findings.len()),
        findings,
    }
}

/// No chain of crates is longer than the bar.
pub(super) fn longest_path(project: &Project) -> Verdict {
    let uses: BTreeMap<&str, &BTreeSet<String>> = project
        .crates
        .iter()
        .map(|one| (one.name.as_str(), &one.uses))
        .collect();
    let paths = project.crates.iter().map(|one| longest_from(&one.name, &uses));
    let longest = paths.max_by_key(Vec::len).unwrap_or_default();
    let bar = project.rules.bars.crates_on_a_path;
    let chain = longest.join(" -> ");
    let mut findings = Vec::new();
    if longest.len() > bar {
        let what = format!("{chain} is a path of {} crates", longest.len());
        findings.push(Finding::at(
            "Cargo.toml",
            1,
            what,
            "let a crate near its top do without the one below",
        ));
    }
    Verdict {
        measure: format!("{} crates (bar {bar}): {chain}", longest.len()),
        findings,
    }
}

/// Cargo allows no cycle, so this ends.
fn longest_from<'a>(name: &'a str, uses: &BTreeMap<&str, &'a BTreeSet<String>>) -> Vec<&'a str> {
    let below = uses.get(name).into_iter().flat_map(|used| used.iter());
    let mut path = vec![name];
    path.extend(
        below
            .map(|used| longest_from(used, uses))
            .max_by_key(Vec::len)
            .unwrap_or_default(),
    );
    path
}

/// The versions of a dependency beyond its first are as many as recorded: no more, and no fewer either, or
/// the record would leave room for the next one.
pub(super) fn second_versions(project: &Project) -> Verdict {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &project.packages {
        versions
            .entry(&package.name)
            .or_default()
            .insert(&package.version);
    }
    let count: usize = versions.values().map(|of_one| of_one.len() - 1).sum();
    let recorded = project.rules.ratchet.second_versions;
    let lock = project.tree.text("Cargo.lock").unwrap_or_default();
    let mut findings = Vec::new();
    if count > recorded {
        for (name, of_one) in versions.iter().filter(|(_, of_one)| of_one.len() > 1) {
            let several: Vec<&str> = of_one.iter().copied().collect();
            let what = format!("{name} is there {} times: {}", several.len(), several.join(", "));
            let attempt = format!(
                "`cargo tree -i {name}@{}`, and bring its users to one version",
                several[0]
            );
            findings.push(Finding::at(
                "Cargo.lock",
                line_of(lock, &format!("name = \"{name}\"")),
                what,
                attempt,
            ));
        }
    }
    if count < recorded {
        let what = format!("second_versions is {recorded}, and only {count} are left");
        findings.push(Finding::at(
            Rules::FILE,
            1,
            what,
            format!("write `second_versions = {count}`"),
        ));
    }
    Verdict {
        measure: format!("{count} (ratchet at {recorded})"),
        findings,
    }
}

/// Every dependency comes under a licence of the list.
pub(super) fn licences(project: &Project) -> Verdict {
    let allowed = |name: &str| project.rules.words.licences.iter().any(|one| one == name);
    let lock = project.tree.text("Cargo.lock").unwrap_or_default();
    let mut findings = Vec::new();
    for package in &project.packages {
        let what = match &package.licence {
            None => "states no licence expression".to_owned(),
            Some(expression) => match licence::permits(expression, allowed) {
                Ok(true) => continue,
                Ok(false) => format!("comes under {expression}"),
                Err(why) => format!("comes under `{expression}`: {why}"),
            },
        };
        let line = line_of(lock, &format!("name = \"{}\"", package.name));
        let what = format!("{} {} {what}", package.name, package.version);
        let attempt = "another crate, or argue for the licence in xtask/tidy.toml";
        findings.push(Finding::at("Cargo.lock", line, what, attempt));
    }
    Verdict {
        measure: format!(
            "{} of {} packages not allowed",
            findings.len(),
            project.packages.len()
        ),
        findings,
    }
}

impl Project {
    /// The crates under `programs/`.
    pub(super) fn programmes(&self) -> impl Iterator<Item = &str> {
        self.crates
            .iter()
            .filter(|one| one.folder.starts_with("programs/"))
            .map(|one| one.name.as_str())
    }
}

impl Crate {
    /// At the line of the manifest that names `used`.
    fn finding(&self, tree: &Tree, used: &str, what: String, attempt: &str) -> Finding {
        let manifest = format!("{}/Cargo.toml", self.folder);
        let line = line_of(tree.text(&manifest).unwrap_or_default(), used);
        Finding::at(&manifest, line, what, attempt)
    }
}

/// The first line that starts with `start`, or 1.
fn line_of(text: &str, start: &str) -> usize {
    text.lines()
        .position(|line| line.starts_with(start))
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(folder: &str, uses: &[&str], tests_use: &[&str]) -> Crate {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let name = folder.rsplit('/').next().unwrap().to_owned();
        Crate {
            name,
            folder: folder.into(),
            uses: set(uses),
            tests_use: set(tests_use),
        }
    }

    fn with_crates(crates: Vec<Crate>) -> Project {
        let manifest = "[dependencies]\nserde.workspace = true\nstore.workspace = true\n";
        Project {
            crates,
            ..Project::made_up(&[("crates/rules/Cargo.toml", manifest)])
        }
    }

    fn with_packages(packages: &[(&str, &str, Option<&str>)]) -> Project {
        let package = |&(name, version, licence): &(&str, &str, Option<&str>)| Package {
            name: name.into(),
            version: version.into(),
            licence: licence.map(str::to_owned),
        };
        let lock = "[[package]]\nname = \"b\"\n";
        let packages = packages.iter().map(package).collect();
        Project {
            packages,
            ..Project::made_up(&[("Cargo.lock", lock)])
        }
    }

    #[test]
    fn an_edge_must_be_in_the_table() {
        let good = [
            one("crates/rules", &[], &["store"]),
            one("crates/store", &["rules"], &[]),
            one("crates/hub", &["rules", "store", "folding"], &[]),
            one("programs/folding", &["rules"], &["store"]),
        ];
        assert!(edges(&with_crates(good.into())).findings.is_empty());

        let check = |bad: Crate, place: &str, what: &str| {
            let verdict = edges(&with_crates(vec![bad, one("programs/speech", &[], &[])]));
            assert_eq!(verdict.places(), [place]);
            assert_eq!(verdict.findings[0].what, what);
        };
        check(
            one("crates/rules", &["store"], &[]),
            "crates/rules/Cargo.toml:3",
            "`rules` may not use `store`",
        );
        check(
            one("crates/new", &[], &[]),
            "xtask/tidy.toml:1",
            "`new` has no row under [edges]",
        );
        check(
            one("programs/folding", &["speech"], &[]),
            "programs/folding/Cargo.toml:1",
            "`folding` may not use `speech`",
        );
        check(
            one("programs/folding", &[], &["speech"]),
            "programs/folding/Cargo.toml:1",
            "the tests of programme `folding` use programme `speech`",
        );
    }

    #[test]
    fn a_long_path_is_found() {
        let mut crates = vec![
            one("c", &["b"], &[]),
            one("b", &["a"], &[]),
            one("a", &[], &["c"]),
        ];
        let verdict = longest_path(&with_crates(crates));
        assert_eq!(
            (verdict.measure.as_str(), verdict.findings.len()),
            ("3 crates (bar 3): c -> b -> a", 0)
        );

        crates = vec![
            one("d", &["a", "c"], &[]),
            one("c", &["b"], &[]),
            one("b", &["a"], &[]),
            one("a", &[], &[]),
        ];
        let verdict = longest_path(&with_crates(crates));
        assert_eq!(verdict.findings[0].what, "d -> c -> b -> a is a path of 4 crates");
    }

    #[test]
    fn the_ratchet_holds_and_tightens() {
        let mit = Some("MIT");
        let none = with_packages(&[("a", "1.0.0", mit), ("b", "1.0.0", mit)]);
        let verdict = second_versions(&none);
        assert_eq!(verdict.findings[0].attempt, "write `second_versions = 0`");

        let as_recorded = with_packages(&[("b", "1.0.0", mit), ("b", "2.0.0", mit)]);
        assert!(second_versions(&as_recorded).findings.is_empty());

        let more = with_packages(&[("b", "1.0.0", mit), ("b", "2.0.0", mit), ("b", "3.0.0", mit)]);
        let verdict = second_versions(&more);
        assert_eq!(verdict.places(), ["Cargo.lock:2"]);
        assert_eq!(
            verdict.findings[0].what,
            "b is there 3 times: 1.0.0, 2.0.0, 3.0.0"
        );
    }

    #[test]
    fn a_licence_must_be_in_the_list() {
        let project = with_packages(&[
            ("a", "1.0.0", Some("MIT OR GPL-3.0-only")),
            ("b", "1.0.0", Some("GPL-3.0-only")),
            ("c", "1.0.0", None),
            ("d", "1.0.0", Some("MIT OR")),
        ]);
        let verdict = licences(&project);
        assert_eq!(verdict.places(), ["Cargo.lock:2", "Cargo.lock:1", "Cargo.lock:1"]);
        assert_eq!(verdict.findings[0].what, "b 1.0.0 comes under GPL-3.0-only");
        assert_eq!(verdict.findings[1].what, "c 1.0.0 states no licence expression");
        assert_eq!(
            verdict.findings[2].what,
            "d 1.0.0 comes under `MIT OR`: it ends where a licence should stand"
        );
    }
}
