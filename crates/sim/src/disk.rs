//! A disk as a program meets it: what was written is there for everyone at once, and what was not synced
//! may be gone, old or torn when the power comes back.

use crate::dice::Dice;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A file's content.
pub(crate) type Bytes = Arc<[u8]>;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, File>,
}

/// What is read, and what a loss of power leaves for certain; none where there is no file.
#[derive(Debug, Default)]
struct File {
    now: Option<Bytes>,
    safe: Option<Bytes>,
}

impl Disk {
    pub(crate) fn read(&self, path: &str) -> Option<&Bytes> {
        self.files.get(path)?.now.as_ref()
    }

    /// Writes without a sync.
    pub(crate) fn write(&mut self, path: &str, bytes: impl Into<Bytes>) {
        self.files.entry(path.to_owned()).or_default().now = Some(bytes.into());
    }

    /// Writes a file whole, as `nn::write_whole` does: beside it, synced, renamed.
    pub(crate) fn write_whole(&mut self, path: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let file = File {
            now: Some(Arc::clone(&bytes)),
            safe: Some(bytes),
        };
        self.files.insert(path.to_owned(), file);
    }

    /// Removes every file whose path begins with `prefix`, without a sync.
    pub(crate) fn remove(&mut self, prefix: &str) {
        let all = self.files.range_mut(prefix.to_owned()..);
        for (_, file) in all.take_while(|(path, _)| path.starts_with(prefix)) {
            file.now = None;
        }
        self.files
            .retain(|_, file| file.now.is_some() || file.safe.is_some());
    }

    /// What the power cut leaves of each file that was not synced: the new content, the old one, or a piece of
    /// the new one.
    pub(crate) fn lose_power(&mut self, dice: &mut Dice) {
        for file in self.files.values_mut() {
            if file.now == file.safe {
                continue;
            }
            let left = match (dice.below(3), &file.now) {
                (0, now) => now.clone(),
                (1, Some(now)) => Some(now[..dice.index(now.len() + 1)].into()),
                _ => file.safe.clone(),
            };
            (file.now, file.safe) = (left.clone(), left);
        }
        self.files.retain(|_, file| file.now.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_be_torn() {
        let mut seen = [0; 3];
        for seed in 0..100 {
            let mut disk = Disk::default();
            disk.write_whole("a", *b"whole");
            disk.write_whole("b", *b"old");
            disk.write("b", *b"newer");
            disk.lose_power(&mut Dice::new(seed));
            assert_eq!(disk.read("a").map(|bytes| &bytes[..]), Some(&b"whole"[..]));
            match &**disk.read("b").expect("a file is there") {
                b"newer" => seen[0] += 1,
                b"old" => seen[1] += 1,
                torn => {
                    assert!(b"newer".starts_with(torn));
                    seen[2] += 1;
                }
            }
        }
        assert!(seen.iter().all(|times| *times > 10), "{seen:?}");
    }

    #[test]
    fn a_removed_file_may_come_back() {
        let back = |seed| {
            let mut disk = Disk::default();
            disk.write_whole("job/a", *b"x");
            disk.write_whole("jobs", *b"x");
            disk.remove("job/");
            assert!(disk.read("job/a").is_none() && disk.read("jobs").is_some());
            disk.lose_power(&mut Dice::new(seed));
            disk.read("job/a").is_some()
        };
        let times = (0..100).filter(|seed| back(*seed)).count();
        assert!((20..90).contains(&times), "{times}");
    }
}
