//! The files that are in git or about to be, with their text.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Text by path from the root, with `/` between folders; none for a file that isn't UTF-8.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// What git tracks or doesn't ignore. A tree without git (an unpacked archive) is walked.
    pub(super) fn load(root: &Path) -> Result<Self, String> {
        let listed = git(
            root,
            &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        );
        let paths = match listed {
            Some(listed) => listed
                .split('\0')
                .filter(|path| !path.is_empty())
                .map(str::to_owned)
                .collect(),
            None => walk(root)?,
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let on_disk = root.join(&path);
            // git also lists what was deleted and not yet committed, and a symbolic link to a folder.
            if on_disk.is_file() {
                let bytes = std::fs::read(&on_disk).map_err(|e| format!("{}: {e}", on_disk.display()))?;
                files.insert(path, String::from_utf8(bytes).ok());
            }
        }
        Ok(Self { files })
    }

    /// The text of one file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Every file whose path `is` true of, with its text.
    pub(super) fn texts(&self, is: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, &str)> {
        let texts = self
            .files
            .iter()
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)));
        texts.filter(move |(path, _)| is(path))
    }

    /// Every file, text or not.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether it is a file, or a folder with files.
    pub(super) fn holds(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&folder))
    }
}

/// What git prints about the work tree at `root`; none without git or without a work tree there.
pub(super) fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // A tree unpacked inside another repository must not be taken for part of it.
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a build or a run leaves at the root.
const MADE: [&str; 3] = ["target", "khub-data", ".git"];

fn walk(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let on_disk = root.join(&folder);
        let entries = std::fs::read_dir(&on_disk).map_err(|e| format!("{}: {e}", on_disk.display()))?;
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !MADE.contains(&path.as_str()) => folders.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
impl Tree {
    pub(super) fn made_up(files: &[(&str, &str)]) -> Self {
        let entry = |(path, text): &(&str, &str)| ((*path).to_owned(), Some((*text).to_owned()));
        Self {
            files: files.iter().map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_git_is_walked() {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("a/b.rs", &b"fn f() {}"[..]),
            ("a/image", b"\xff\xfe"),
            ("target/x", b"built"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let tree = Tree::load(folder.path()).unwrap();
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["a/b.rs", "a/image"]);
        assert_eq!(
            (tree.text("a/b.rs"), tree.text("a/image")),
            (Some("fn f() {}"), None)
        );
        for (path, held) in [
            ("a", true),
            ("a/", true),
            ("a/b.rs", true),
            ("a/b", false),
            ("target", false),
        ] {
            assert_eq!(tree.holds(path), held, "{path}");
        }
    }
}
