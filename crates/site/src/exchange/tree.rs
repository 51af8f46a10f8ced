//! What a file's chunks are checked by, before its digest could be.
//!
//! A digest of BLAKE3 is the root of a tree over the file. Each chunk of a mebibyte is a subtree, and has a value of 32
//! bytes; all values together lead to the digest. So whoever knows the digest can tell that the values are right before
//! it has any chunk, and that a chunk is right before it takes the next, whoever sends them.

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, left_subtree_len};
use blake3::hazmat::{merge_subtrees_non_root, merge_subtrees_root};
use consortium::Digest;
use std::io::{self, Read};

/// Bytes of a chunk; the last of a file has what is left.
pub(super) const CHUNK: u64 = 1 << 20;
/// Larger files come from the hub: 128 MB of values are enough to read before anything is known.
pub(super) const LARGEST: u64 = 1 << 42;

/// A file's length and the values of its chunks; none for a file of a single chunk, which its digest tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) len: u64,
    pub(super) values: Vec<ChainingValue>,
}

impl Tree {
    /// Reads all of a file, and tells its digest too.
    pub(super) fn of(file: &mut impl Read) -> io::Result<(Self, Digest)> {
        let (mut whole, mut len, mut values) = (blake3::Hasher::new(), 0, Vec::new());
        let mut chunk = Vec::with_capacity(CHUNK as usize);
        loop {
            chunk.clear();
            let count = file.by_ref().take(CHUNK).read_to_end(&mut chunk)? as u64;
            if count == 0 {
                break;
            }
            whole.update(&chunk);
            values.push(value(values.len() as u64, &chunk));
            len += count;
        }
        if values.len() == 1 {
            values.clear();
        }
        let digest = Digest(whole.finalize().into());
        Ok((Self { len, values }, digest))
    }

    /// How many values a file of that length has.
    pub(super) fn values_of(len: u64) -> u64 {
        match len.div_ceil(CHUNK) {
            0 | 1 => 0,
            many => many,
        }
    }

    /// Whether the values lead to the digest. Those of a single chunk are none, and lead anywhere.
    pub(super) fn leads_to(&self, digest: &Digest) -> bool {
        if self.values.len() as u64 != Self::values_of(self.len) {
            return false;
        }
        match self.split() {
            None => true,
            Some((left, right)) => {
                merge_subtrees_root(&left.root(), &right.root(), Mode::Hash).as_bytes() == &digest.0
            }
        }
    }

    /// Whether that is the chunk of that number of a file with that digest.
    pub(super) fn has(&self, number: u64, chunk: &[u8], digest: &Digest) -> bool {
        let len = CHUNK.min(self.len.saturating_sub(number * CHUNK));
        if chunk.len() as u64 != len {
            return false;
        }
        match self.values.get(number as usize) {
            Some(known) => value(number, chunk) == *known,
            None => Digest::of(chunk) == *digest,
        }
    }

    fn split(&self) -> Option<(Part<'_>, Part<'_>)> {
        let all = Part {
            len: self.len,
            values: &self.values,
        };
        all.split()
    }
}

/// Some of a tree.
#[derive(Clone, Copy)]
struct Part<'a> {
    len: u64,
    values: &'a [ChainingValue],
}

impl<'a> Part<'a> {
    fn split(self) -> Option<(Self, Self)> {
        if self.values.len() < 2 {
            return None;
        }
        let len = left_subtree_len(self.len);
        let (left, right) = self.values.split_at((len / CHUNK) as usize);
        let right = Self {
            len: self.len - len,
            values: right,
        };
        Some((Self { len, values: left }, right))
    }

    fn root(self) -> ChainingValue {
        match self.split() {
            Some((left, right)) => merge_subtrees_non_root(&left.root(), &right.root(), Mode::Hash),
            None => self.values[0],
        }
    }
}

fn value(number: u64, chunk: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(number * CHUNK).update(chunk);
    hasher.finalize_non_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: u64) -> Vec<u8> {
        (0..len).map(|i| (i * 31 / 7 + i / 1009) as u8).collect()
    }

    #[test]
    fn values_lead_to_the_digest_of_files_of_any_length() {
        for len in [
            0,
            1,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            2 * CHUNK,
            3 * CHUNK - 5,
            5 * CHUNK,
            8 * CHUNK + 1023,
        ] {
            let file = bytes(len);
            let (tree, digest) = Tree::of(&mut file.as_slice()).unwrap();
            assert_eq!((tree.len, digest), (len, Digest::of(&file)));
            assert!(tree.leads_to(&digest), "{len}");
            for (number, chunk) in (0..).zip(file.chunks(CHUNK as usize)) {
                assert!(tree.has(number, chunk, &digest), "chunk {number} of {len}");
                let mut wrong = chunk.to_vec();
                wrong[chunk.len() / 2] ^= 1;
                assert!(!tree.has(number, &wrong, &digest));
                assert!(!tree.has(number, &chunk[1..], &digest));
                assert!(!tree.has(number + 1, chunk, &digest));
            }
        }
    }

    #[test]
    fn values_that_are_not_the_files_lead_elsewhere() {
        let file = bytes(3 * CHUNK + 7);
        let (tree, digest) = Tree::of(&mut file.as_slice()).unwrap();
        let mut wrong = tree.clone();
        wrong.values[2][0] ^= 1;
        assert!(!wrong.leads_to(&digest));
        wrong = tree.clone();
        wrong.values.swap(0, 1);
        assert!(!wrong.leads_to(&digest));
        for len in [0, 1, 3 * CHUNK, 4 * CHUNK + 1, u64::MAX] {
            assert!(!Tree { len, ..tree.clone() }.leads_to(&digest), "{len}");
        }
        let none = Tree {
            values: Vec::new(),
            ..tree
        };
        assert!(!none.leads_to(&digest));
    }
}
