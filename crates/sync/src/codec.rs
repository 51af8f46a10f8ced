//! How far a site's weights came, on the wire.
//!
//! ```text
//! offset  bytes   what
//! 0       8       "KHUBUPD2"
//! 8       7       number of weights, little-endian
//! 15      1       codec: 0 fp32, 1 int8, 2 int4, 3 sparse
//! 16      ...     blocks, the last filled up with zeros
//!
//! codec   weights of a block   bytes of a block
//! fp32    256                  1,024: f32, little-endian
//! int8    256                  258: a scale, and an integer q for each weight: its change is q * scale
//! int4    256                  130: the same; byte i has the q + 8 of weight i (low half) and of i + 128
//! sparse  4,096                84: the 64 largest changes, see `codec/sparse.rs`
//! ```
//!
//! So a weight takes 32, 8.06, 4.06 or 0.164 bits. A scale is a bf16: its eight bits times those of q fit an
//! f32, so every reader gets exactly the numbers the writer meant.
//!
//! What the codec could not tell stays with the site, as a residual, and is added to the next round's change
//! (error feedback; Seide et al. 2014). `sparse` tells 1.6 % of the weights in a round, so its residual is a
//! momentum that the site keeps to itself, and old changes fade: by [`Codec::decay`] a round (SparseLoCo,
//! arXiv 2508.15706, where it takes the place of the outer momentum).
//!
//! ```
//! use sync::{Codec, Update, encode};
//! let delta = [0.7f32, -0.1, 0.03];
//! let mut residual = [0f32; 3];
//! let update = Update::parse(&encode(Codec::Int4, &delta, Some(&mut residual))?)?;
//! let told = update.decode();
//! assert!((told[0] - 0.7).abs() < 0.01);
//! assert_eq!(told[1] + residual[1], -0.1);
//! # Ok::<(), sync::CodecError>(())
//! ```

mod link;
mod scaled;
pub(crate) mod simd;
mod sparse;

pub use link::Link;

use serde::{Deserialize, Serialize};
use simd::{Level, vectorised};
use std::fmt;
use std::str::FromStr;

const MAGIC: &[u8; 8] = b"KHUBUPD2";
const HEADER: usize = 16;
/// Changes from here on are no training any more; below it, every product of a scale and its integer is finite.
const LARGEST: f32 = 1.267_650_6e30; // 2^100
/// A block whose changes are all below this is a block of zeros: no outer step would show them.
const SMALLEST: f32 = 7.888_609e-31; // 2^-100

/// How updates are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// 32 bits a weight: the reference that the others are judged by.
    Fp32,
    /// 8.06 bits a weight.
    Int8,
    /// 4.06 bits a weight.
    Int4,
    /// 0.164 bits a weight: of 4,096 weights the 64 that changed most, each rounded to one of four values.
    Sparse,
}

impl Codec {
    /// All of them, the most exact first.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Int8, Self::Int4, Self::Sparse];

    /// As job files and the command line have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Sparse => "sparse",
        }
    }

    /// Bytes of an update of so many weights; `u64::MAX` if they can't be counted.
    pub fn bytes(self, weights: u64) -> u64 {
        let (block, bytes) = self.block();
        let blocks = weights.div_ceil(block as u64);
        blocks.saturating_mul(bytes as u64).saturating_add(HEADER as u64)
    }

    /// What a residual is multiplied by before the next change is added: 0.95 for `sparse`, else 1.
    pub fn decay(self) -> f32 {
        match self {
            Self::Fp32 | Self::Int8 | Self::Int4 => 1.0,
            Self::Sparse => 0.95,
        }
    }

    /// Weights and bytes of a block.
    fn block(self) -> (usize, usize) {
        match self {
            Self::Fp32 => (scaled::BLOCK, 4 * scaled::BLOCK),
            Self::Int8 => (scaled::BLOCK, scaled::INT8_BYTES),
            Self::Int4 => (scaled::BLOCK, scaled::INT4_BYTES),
            Self::Sparse => (sparse::BLOCK, sparse::BYTES),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = CodecError;

    fn from_str(name: &str) -> Result<Self, CodecError> {
        let named = Self::ALL.into_iter().find(|codec| codec.name() == name);
        named.ok_or_else(|| CodecError::Name(name.chars().take(40).collect()))
    }
}

/// What is wrong with an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A codec that there is none of.
    #[error("there is no codec {0:?}: it is fp32, int8, int4 or sparse")]
    Name(String),
    /// The training has gone wrong.
    #[error("weight {index} changed by {value}: the site's training diverged; try a lower learning rate")]
    Diverged {
        /// Which weight.
        index: usize,
        /// Its change, with what the residual added.
        value: String,
    },
    /// A residual of something else.
    #[error("the residual has {found} numbers and the change {wanted}: a residual goes with one fragment")]
    Residual {
        /// Weights.
        wanted: usize,
        /// Numbers of the residual.
        found: usize,
    },
    /// Not an update at all.
    #[error("no update: the first bytes are not KHUBUPD2; let every site run the same version of khub")]
    Magic,
    /// An update of a later version.
    #[error(
        "an update in codec {0}, and this khub knows 0 to 3: let every site run the same version of khub"
    )]
    Unknown(u8),
    /// An update that is cut off or has something behind it.
    #[error("an update of {weights} weights has {wanted} bytes in {codec}, this has {found}; fetch it again")]
    Length {
        /// Its codec.
        codec: Codec,
        /// Weights it says it has.
        weights: u64,
        /// Bytes that takes.
        wanted: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Numbers that no site writes.
    #[error("block {block} of the update has {what}; fetch it again, and if that doesn't help, ask its site")]
    Damaged {
        /// Which block.
        block: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Writes the change of every weight: start of the round minus where the site is now.
///
/// `residual` is what earlier rounds couldn't tell of the same weights, zeros at first. It is added to the
/// change, and what this update can't tell is left in it. After an error it holds nothing of use.
pub fn encode(codec: Codec, delta: &[f32], residual: Option<&mut [f32]>) -> Result<Vec<u8>, CodecError> {
    encode_at(simd::level(), codec, delta, residual)
}

fn encode_at(
    level: Level,
    codec: Codec,
    delta: &[f32],
    mut residual: Option<&mut [f32]>,
) -> Result<Vec<u8>, CodecError> {
    if let Some(found) = residual.as_ref().map(|residual| residual.len())
        && found != delta.len()
    {
        let wanted = delta.len();
        return Err(CodecError::Residual { wanted, found });
    }
    let mut bytes = vec![0; usize::try_from(codec.bytes(delta.len() as u64)).expect("it fits in memory")];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..HEADER].copy_from_slice(&(delta.len() as u64).to_le_bytes());
    bytes[HEADER - 1] = codec as u8;
    let body = &mut bytes[HEADER..];
    match write_blocks(level, codec, delta, residual.as_deref_mut(), body) {
        Ok(()) => Ok(bytes),
        Err(block) => Err(diverged(codec, delta, residual.as_deref(), block)),
    }
}

/// Which weight it was, in a block that could not be written.
fn diverged(codec: Codec, delta: &[f32], residual: Option<&[f32]>, block: usize) -> CodecError {
    let size = codec.block().0;
    let change = |i: usize| delta[i] + residual.map_or(0.0, |residual| codec.decay() * residual[i]);
    let mut weights = block * size..delta.len().min((block + 1) * size);
    let trains = |i: usize| change(i).abs() < LARGEST;
    let index = weights.find(|i| !trains(*i)).unwrap_or(block * size);
    let value = change(index).to_string();
    CodecError::Diverged { index, value }
}

vectorised! {
    /// The blocks of an update; an error is the block that has a change out of range.
    fn write_blocks(
        codec: Codec,
        delta: &[f32],
        residual: Option<&mut [f32]>,
        out: &mut [u8],
    ) -> Result<(), usize> {
        let decay = codec.decay();
        match codec {
            Codec::Fp32 => each_block(delta, residual, decay, out, scaled::write_fp32),
            Codec::Int8 => each_block(delta, residual, decay, out, scaled::write_int8),
            Codec::Int4 => each_block(delta, residual, decay, out, scaled::write_int4),
            Codec::Sparse => each_block(delta, residual, decay, out, sparse::write),
        }
    }
}

/// Feeds `write` a block of changes at a time; it writes them and leaves what it couldn't tell in their place.
#[inline(always)]
fn each_block<const N: usize, const BYTES: usize>(
    delta: &[f32],
    mut residual: Option<&mut [f32]>,
    decay: f32,
    out: &mut [u8],
    write: impl Fn(&mut [f32; N], &mut [u8; BYTES]) -> bool,
) -> Result<(), usize> {
    let (out, _) = out.as_chunks_mut::<BYTES>();
    let mut x = [0f32; N];
    for (i, out) in out.iter_mut().enumerate() {
        let from = i * N;
        let n = N.min(delta.len() - from);
        x[n..].fill(0.0);
        x[..n].copy_from_slice(&delta[from..from + n]);
        if let Some(residual) = &residual {
            for (x, r) in x[..n].iter_mut().zip(&residual[from..from + n]) {
                *x += decay * r;
            }
        }
        if !write(&mut x, out) {
            return Err(i);
        }
        if let Some(residual) = &mut residual {
            residual[from..from + n].copy_from_slice(&x[..n]);
        }
    }
    Ok(())
}

/// The highest of the changes' magnitudes; none if one is out of range.
#[inline(always)]
pub(crate) fn highest(x: &[f32]) -> Option<f32> {
    // The bits of non-negative floats are ordered as the floats are, NaN and infinity above all.
    let bits = x.iter().map(|x| x.to_bits() & 0x7FFF_FFFF).fold(0, u32::max);
    (bits < LARGEST.to_bits()).then_some(f32::from_bits(bits))
}

/// How far a site came in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    codec: Codec,
    weights: usize,
    blocks: Vec<u8>,
}

impl Update {
    /// Reads what [`encode`] wrote. Any bytes give an update or an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, CodecError> {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(CodecError::Magic)?;
        if &header[..8] != MAGIC {
            return Err(CodecError::Magic);
        }
        let code = header[HEADER - 1];
        let codec = Codec::ALL
            .get(usize::from(code))
            .ok_or(CodecError::Unknown(code))?;
        let mut count = [0; 8];
        count[..7].copy_from_slice(&header[8..HEADER - 1]);
        let weights = u64::from_le_bytes(count);
        let (wanted, found) = (codec.bytes(weights), bytes.len() as u64);
        if wanted != found {
            return Err(CodecError::Length {
                codec: *codec,
                weights,
                wanted,
                found,
            });
        }
        let update = Self {
            codec: *codec,
            weights: usize::try_from(weights)
                .expect("there are no more weights than bytes, or 64 times as many"),
            blocks: bytes[HEADER..].to_vec(),
        };
        update.check()?;
        Ok(update)
    }

    /// How it is written.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Weights.
    pub fn len(&self) -> usize {
        self.weights
    }

    /// Whether it has no weights.
    pub fn is_empty(&self) -> bool {
        self.weights == 0
    }

    /// The changes, as near as the update tells them.
    pub fn decode(&self) -> Vec<f32> {
        let mut changes = vec![0.0; self.weights];
        self.decode_into(&mut changes);
        changes
    }

    /// The same in a place that is there; panics unless it has [`Update::len`] numbers.
    pub fn decode_into(&self, changes: &mut [f32]) {
        assert_eq!(changes.len(), self.weights, "a place for every change");
        read_blocks(simd::level(), self.codec, &self.blocks, changes);
    }

    /// The changes of the weights from `from` on, a multiple of [`PART`].
    pub(crate) fn decode_part(&self, from: usize, changes: &mut [f32]) {
        debug_assert!(from.is_multiple_of(PART) && from + changes.len() <= self.weights);
        let (size, bytes) = self.codec.block();
        let blocks = &self.blocks[from / size * bytes..];
        read_blocks(simd::level(), self.codec, blocks, changes);
    }

    /// The length of the changes as a vector, in billionths: the same bits everywhere, whatever the machine. Each of
    /// sixteen sums takes every sixteenth weight, in f64, and they are added in their order.
    pub fn norm(&self) -> u64 {
        let mut sums = [0f64; LANES];
        let mut changes = [0f32; PART];
        for from in (0..self.weights).step_by(PART) {
            let changes = &mut changes[..PART.min(self.weights - from)];
            self.decode_part(from, changes);
            add_squares(simd::level(), &mut sums, changes);
        }
        // As a cast has it, more than fits is the largest number.
        (sums.iter().sum::<f64>().sqrt() * 1e9) as u64
    }

    fn check(&self) -> Result<(), CodecError> {
        let blocks = self.blocks.chunks_exact(self.codec.block().1);
        let check = match self.codec {
            Codec::Fp32 => scaled::check_fp32,
            Codec::Int8 | Codec::Int4 => scaled::check,
            Codec::Sparse => sparse::check,
        };
        for (block, bytes) in blocks.enumerate() {
            check(bytes).map_err(|what| CodecError::Damaged { block, what })?;
        }
        Ok(())
    }
}

/// Every codec's blocks fill a whole number of times so many weights.
pub(crate) const PART: usize = 4096;

/// Sums that a norm is added up in; a part is a whole number of times so many weights.
const LANES: usize = 16;

vectorised! {
    fn add_squares(sums: &mut [f64; LANES], changes: &[f32]) -> () {
        for changes in changes.chunks(LANES) {
            for (sum, x) in sums.iter_mut().zip(changes) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
    }
}

vectorised! {
    /// What the blocks say, as far as `changes` has room.
    fn read_blocks(codec: Codec, blocks: &[u8], changes: &mut [f32]) -> () {
        match codec {
            Codec::Fp32 => read_each(blocks, changes, scaled::read_fp32),
            Codec::Int8 => read_each(blocks, changes, scaled::read_int8),
            Codec::Int4 => read_each(blocks, changes, scaled::read_int4),
            Codec::Sparse => read_each(blocks, changes, sparse::read),
        }
    }
}

#[inline(always)]
fn read_each<const N: usize, const BYTES: usize>(
    blocks: &[u8],
    changes: &mut [f32],
    read: impl Fn(&[u8; BYTES], &mut [f32; N]),
) {
    let (blocks, _) = blocks.as_chunks::<BYTES>();
    let (whole, rest) = changes.as_chunks_mut::<N>();
    for (x, block) in whole.iter_mut().zip(blocks) {
        read(block, x);
    }
    if let Some(block) = blocks.get(whole.len()) {
        let mut x = [0f32; N];
        read(block, &mut x);
        rest.copy_from_slice(&x[..rest.len()]);
    }
}

#[cfg(test)]
mod tests;
