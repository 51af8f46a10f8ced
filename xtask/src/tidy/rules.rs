//! `xtask/tidy.toml`: bars, ratchets, edges and words.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The whole file; its comments say what each entry is for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) bars: Bars,
    pub(super) ratchet: Ratchet,
    pub(super) edges: BTreeMap<String, Vec<String>>,
    pub(super) words: Words,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bars {
    pub(super) crates_per_commit: f64,
    pub(super) commits_to_judge: usize,
    pub(super) crates_on_a_path: usize,
    pub(super) function_lines: usize,
    pub(super) long_functions_percent: f64,
    pub(super) file_lines: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ratchet {
    pub(super) second_versions: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    pub(super) licences: Vec<String>,
    pub(super) vendors: Vec<String>,
    pub(super) empty_names: Vec<String>,
    pub(super) machine_folders: Vec<String>,
    pub(super) registry_hosts: Vec<String>,
    pub(super) readme_commands: Vec<String>,
}

impl Rules {
    /// Where it is, from the root.
    pub(super) const FILE: &str = "xtask/tidy.toml";

    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// What the crate `name` in `folder` may use of the workspace; none if nobody has decided yet.
    pub(super) fn may_use(&self, name: &str, folder: &str) -> Option<&[String]> {
        let programme = || {
            folder
                .starts_with("programs/")
                .then(|| self.edges.get("programs/*"))
                .flatten()
        };
        self.edges.get(name).or_else(programme).map(Vec::as_slice)
    }
}

#[cfg(test)]
impl Rules {
    pub(super) fn made_up() -> Self {
        toml::from_str(
            r#"
            [bars]
            crates_per_commit = 2.0
            commits_to_judge = 3
            crates_on_a_path = 3
            function_lines = 4
            long_functions_percent = 50.0
            file_lines = 10
            [ratchet]
            second_versions = 1
            [edges]
            rules = []
            store = ["rules"]
            "programs/*" = ["rules"]
            hub = ["*"]
            [words]
            licences = ["MIT", "Zlib"]
            vendors = ["acme", "big cloud"]
            empty_names = ["util"]
            machine_folders = ["machine"]
            registry_hosts = ["registry.example"]
            readme_commands = ["cargo run -- start"]
            "#,
        )
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_file_reads() {
        let rules = Rules::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tidy.toml"))).unwrap();
        assert_eq!(
            rules.may_use("train", "crates/train"),
            Some(&["nn".to_owned()][..])
        );
        assert_eq!(
            rules
                .may_use("language", "programs/language")
                .map(<[String]>::len),
            Some(4)
        );
        assert_eq!(rules.may_use("newcomer", "crates/newcomer"), None);
    }

    #[test]
    fn a_misspelt_entry_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidy.toml");
        std::fs::write(&path, "[bars]\nfile_line = 3\n").unwrap();
        let why = Rules::load(&path).unwrap_err();
        assert!(why.contains("tidy.toml") && why.contains("file_line"), "{why}");
    }
}
