//! The files beside the database: the lock that keeps a second hub out, and the note of the last confirmed
//! record.

use crate::StoreError;
use crate::log::Head;
use std::fs::{File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// Where things lie in a hub's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
}

impl Folder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("khub.db")
    }

    /// Makes the folder if need be and takes it for one hub. The system lets go when the file is closed,
    /// also by a kill.
    pub(crate) fn lock(&self) -> Result<File, StoreError> {
        std::fs::create_dir_all(&self.dir).map_err(StoreError::io(&self.dir))?;
        let path = self.dir.join("khub.lock");
        let file = File::create(&path).map_err(StoreError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy {
                place: self.dir.display().to_string(),
            }),
            Err(TryLockError::Error(why)) => Err(StoreError::Io { path, why }),
        }
    }

    fn head(&self) -> PathBuf {
        self.dir.join("khub.head")
    }

    /// The last confirmed record, as far as it was noted.
    pub(crate) fn noted_head(&self) -> Option<Head> {
        parse_head(&std::fs::read_to_string(self.head()).ok()?)
    }
}

/// Notes every confirmed record outside the database, in `khub.head`.
///
/// SQLite drops the end of a damaged or missing `khub.db-wal` without a word, and what is left is a whole
/// chain, only shorter. This note tells. It is written after the commit, so it is never ahead of the log; it
/// is not flushed, so after a power cut it may be behind or unreadable, and then it proves less.
#[derive(Debug)]
pub(crate) struct HeadNote {
    file: File,
}

impl HeadNote {
    /// A new note, empty until the first [`HeadNote::write`].
    pub(crate) fn create(folder: &Folder) -> Result<Self, StoreError> {
        let path = folder.head();
        let file = File::create(&path).map_err(StoreError::io(&path))?;
        Ok(Self { file })
    }

    /// Always of one length, so that it is replaced in place and whole.
    pub(crate) fn write(&mut self, head: &Head) -> io::Result<()> {
        self.file.rewind()?;
        self.file
            .write_all(format!("{:020} {}\n", head.seq, head.hash).as_bytes())
    }
}

fn parse_head(text: &str) -> Option<Head> {
    let (seq, hash) = text.strip_suffix('\n')?.split_once(' ')?;
    Some(Head {
        seq: seq.parse().ok()?,
        hash: hash.parse().ok()?,
    })
}

/// Makes new names in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_text_and_nothing_else_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        assert_eq!(folder.noted_head(), None);
        let mut note = HeadNote::create(&folder).unwrap();
        for seq in [u64::MAX, 0, 7] {
            let head = Head {
                seq,
                ..Head::genesis()
            };
            note.write(&head).unwrap();
            assert_eq!(folder.noted_head(), Some(head));
        }
        let text = std::fs::read(folder.head()).unwrap();
        for cut in 0..text.len() {
            std::fs::write(folder.head(), &text[..cut]).unwrap();
            assert_eq!(folder.noted_head(), None, "{cut} bytes");
        }
        std::fs::write(folder.head(), vec![0; text.len()]).unwrap();
        assert_eq!(folder.noted_head(), None);
    }
}
