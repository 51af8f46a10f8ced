//! The blocks of an artifact, by which any part of it is checked without the rest.
//!
//! BLAKE3 is a tree of hashes. A block is a subtree of it, and the values of all blocks give the digest; so a list of
//! these values is proved by the digest, and a block by its value.

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use consortium::Digest;

/// How many bytes a block has; the last may have fewer. A power of two of BLAKE3's chunks.
pub(crate) const BLOCK: usize = 512 << 10;

/// The blocks of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocks {
    digest: Digest,
    /// Of each block; none if there is one block at most, which the digest proves.
    values: Vec<ChainingValue>,
}

/// Takes bytes in the order they have, and gives their digest and their blocks.
#[derive(Debug, Default)]
pub(crate) struct BlockHasher {
    /// Of the last block.
    hasher: blake3::Hasher,
    /// All bytes.
    bytes: u64,
    /// Of the blocks before.
    values: Vec<ChainingValue>,
}

impl BlockHasher {
    pub(crate) fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            // What comes after a full block shows that it isn't the last; until then it may be the only one.
            if self.hasher.count() == BLOCK as u64 {
                self.values.push(self.hasher.finalize_non_root());
                self.hasher = blake3::Hasher::new();
                self.hasher.set_input_offset(self.bytes);
            }
            let room = BLOCK - self.hasher.count() as usize;
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.hasher.update(now);
            self.bytes += now.len() as u64;
            piece = later;
        }
    }

    pub(crate) fn finish(mut self) -> Blocks {
        if self.values.is_empty() {
            return Blocks {
                digest: Digest(self.hasher.finalize().into()),
                values: Vec::new(),
            };
        }
        self.values.push(self.hasher.finalize_non_root());
        Blocks {
            digest: root(&self.values),
            values: self.values,
        }
    }
}

impl Blocks {
    /// How many blocks so many bytes have.
    pub(crate) fn count(bytes: u64) -> u64 {
        bytes.div_ceil(BLOCK as u64)
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The blocks of `digest`, which has so many bytes, from [`Blocks::to_bytes`]; none if these aren't they.
    pub(crate) fn from_bytes(digest: Digest, bytes: u64, text: &[u8]) -> Option<Self> {
        let (values, rest) = text.as_chunks::<32>();
        let fits = rest.is_empty() && values.len() as u64 == Self::count(bytes) && values.len() > 1;
        (fits && root(values) == digest).then(|| Self {
            digest,
            values: values.to_vec(),
        })
    }

    /// Bytes that have one block at most.
    pub(crate) fn single(digest: Digest) -> Self {
        let values = Vec::new();
        Self { digest, values }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.values.concat()
    }

    /// Whether `block` is the one at `index`.
    pub(crate) fn has(&self, index: u64, block: &[u8]) -> bool {
        if self.values.is_empty() {
            return index == 0 && Digest::of(block) == self.digest;
        }
        let value = usize::try_from(index)
            .ok()
            .and_then(|index| self.values.get(index));
        value.is_some_and(|value| !block.is_empty() && value_of(index, block) == *value)
    }
}

fn value_of(index: u64, block: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * BLOCK as u64).update(block);
    hasher.finalize_non_root()
}

/// The digest of two blocks or more.
fn root(values: &[ChainingValue]) -> Digest {
    let (left, right) = values.split_at(left_of(values.len()));
    Digest(merge_subtrees_root(&joined(left), &joined(right), Mode::Hash).into())
}

fn joined(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(left_of(values.len()));
            merge_subtrees_non_root(&joined(left), &joined(right), Mode::Hash)
        }
    }
}

/// Of a tree's blocks, how many are on the left: the largest power of two that leaves some for the right.
fn left_of(blocks: usize) -> usize {
    blocks.div_ceil(2).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|i| (i / 7 % 251) as u8).collect()
    }

    #[test]
    fn blocks_give_the_digest_and_prove_each_block() {
        for count in [
            0,
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            2 * BLOCK,
            3 * BLOCK - 1,
            5 * BLOCK + 77,
            9 * BLOCK,
        ] {
            let bytes = bytes(count);
            let mut hasher = BlockHasher::default();
            bytes.chunks(100_003).for_each(|piece| hasher.update(piece));
            let blocks = hasher.finish();
            assert_eq!(blocks.digest(), Digest::of(&bytes), "{count}");
            for (index, block) in bytes.chunks(BLOCK).enumerate() {
                let index = index as u64;
                assert!(blocks.has(index, block), "{count}: {index}");
                let mut wrong = block.to_vec();
                wrong[block.len() / 2] ^= 1;
                assert!(!blocks.has(index, &wrong) && !blocks.has(index, &block[1..]));
                assert!(!blocks.has(index + 1, block));
            }
        }
    }

    #[test]
    fn a_list_of_blocks_is_proved_by_the_digest() {
        let bytes = bytes(3 * BLOCK + 5);
        let mut hasher = BlockHasher::default();
        hasher.update(&bytes);
        let blocks = hasher.finish();
        let (digest, count, text) = (blocks.digest(), bytes.len() as u64, blocks.to_bytes());
        assert_eq!(Blocks::from_bytes(digest, count, &text), Some(blocks));
        for at in 0..text.len() {
            let mut wrong = text.clone();
            wrong[at] ^= 1;
            assert_eq!(Blocks::from_bytes(digest, count, &wrong), None);
            assert_eq!(Blocks::from_bytes(digest, count, &text[..at]), None);
        }
        assert_eq!(Blocks::from_bytes(digest, 9, &text), None);
    }
}
