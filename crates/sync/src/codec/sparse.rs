//! The blocks of `sparse`: of 4,096 weights the 64 that changed most.
//!
//! ```text
//! offset  bytes  what
//! 0       2      the smaller magnitude, a bf16
//! 2       2      the larger one
//! 4       16     bit (index / 64 + j) is set for the j-th of the 64, in the order of their indices
//! 20      48     index mod 64 of each: four to three bytes, the first in the lowest bits
//! 68      16     two bits each: 1 for the larger magnitude, 2 for a minus; four to a byte, likewise
//! ```
//!
//! An index costs eight bits so (Elias-Fano), where writing it out costs twelve. Of equal changes the first
//! count; a weight that didn't change is never told, so there may be fewer. The two magnitudes are the means of the smaller and of the larger ones among the 64, parted where
//! two-means parts them.

use super::scaled::{check_scale, wide};
use super::{SMALLEST, highest};

/// Weights of a block.
pub(super) const BLOCK: usize = 4096;
pub(super) const BYTES: usize = 84;
/// How many of them are told.
const TOLD: usize = 64;
const LOW: usize = 20;
const VALUES: usize = 68;
/// Turns of two-means: from the middle between least and most it moves no further than that.
const TURNS: usize = 4;

#[inline(always)]
pub(super) fn write(x: &mut [f32; BLOCK], out: &mut [u8; BYTES]) -> bool {
    let Some(highest) = highest(x) else { return false };
    let mut indices = [0; TOLD];
    let mut told = [0f32; TOLD];
    let count = if highest < SMALLEST {
        0
    } else {
        largest(x, &mut indices)
    };
    for (told, index) in told.iter_mut().zip(&indices[..count]) {
        *told = x[usize::from(*index)].abs();
    }
    let (small, large) = magnitudes(&told[..count]);
    out[..2].copy_from_slice(&small.to_le_bytes());
    out[2..4].copy_from_slice(&large.to_le_bytes());
    let (small, large) = (wide(small), wide(large));
    let middle = (small + large) * 0.5;
    let mut high = 0u128;
    out[LOW..].fill(0);
    for (j, index) in indices[..count].iter().map(|i| usize::from(*i)).enumerate() {
        high |= 1 << (index / TOLD + j);
        let low = ((index % TOLD) as u32) << (j % 4 * 6);
        for (out, byte) in out[LOW + j / 4 * 3..].iter_mut().zip(low.to_le_bytes()).take(3) {
            *out |= byte;
        }
        let change = x[index];
        let (minus, is_large) = (change.is_sign_negative(), change.abs() > middle);
        out[VALUES + j / 4] |= (u8::from(is_large) | u8::from(minus) << 1) << (j % 4 * 2);
        let told = if is_large { large } else { small };
        x[index] = change - told.copysign(change);
    }
    out[4..LOW].copy_from_slice(&high.to_le_bytes());
    true
}

/// Where the largest changes are, in order; returns how many.
#[inline(always)]
fn largest(x: &[f32; BLOCK], indices: &mut [u16; TOLD]) -> usize {
    let keys = x.map(|x| x.to_bits() & 0x7FFF_FFFF);
    let mut sorted = keys;
    let (above, least, _) = sorted.select_nth_unstable_by(TOLD - 1, |a, b| b.cmp(a));
    let least = *least;
    let mut equal = TOLD - above.iter().filter(|key| **key > least).count();
    let mut found = 0;
    for (i, key) in (0u16..).zip(&keys) {
        let counts = *key > least || (*key == least && equal > 0);
        if counts && *key > 0 {
            indices[found] = i;
            found += 1;
            equal -= usize::from(*key == least);
        }
    }
    found
}

/// Two bf16, the smaller first; zeros for nothing.
fn magnitudes(told: &[f32]) -> (u16, u16) {
    if told.is_empty() {
        return (0, 0);
    }
    let (least, most) = told
        .iter()
        .fold((f32::MAX, 0f32), |(a, b), x| (a.min(*x), b.max(*x)));
    let (mut small, mut large) = (least, most);
    for _ in 0..TURNS {
        let middle = (small + large) * 0.5;
        let (mut sums, mut counts) = ([0f32; 2], [0f32; 2]);
        for x in told {
            let side = usize::from(*x > middle);
            sums[side] += x;
            counts[side] += 1.0;
        }
        // Either side may be empty: then it has nothing to say.
        small = if counts[0] > 0.0 {
            sums[0] / counts[0]
        } else {
            small
        };
        large = if counts[1] > 0.0 {
            sums[1] / counts[1]
        } else {
            large
        };
    }
    let nearest = |x: f32| {
        if x < SMALLEST {
            0
        } else {
            ((x.to_bits() + 0x8000) >> 16) as u16
        }
    };
    (nearest(small), nearest(large))
}

/// Index and value bits of each that is told.
fn entries(block: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let high: &[u8; 16] = block[4..LOW].first_chunk().expect("a block has its bytes");
    let mut high = u128::from_le_bytes(*high);
    (0..TOLD).map_while(move |j| {
        let bit = (high != 0).then(|| high.trailing_zeros() as usize)?;
        high &= high - 1;
        let at = LOW + j / 4 * 3;
        let low = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], 0]) >> (j % 4 * 6);
        let index = (bit - j) * TOLD + low as usize % TOLD;
        Some((index, block[VALUES + j / 4] >> (j % 4 * 2) & 3))
    })
}

pub(super) fn check(block: &[u8]) -> Result<(), &'static str> {
    check_scale([block[0], block[1]])?;
    check_scale([block[2], block[3]])?;
    let mut next = 0;
    for (index, _) in entries(block) {
        if index < next || index >= BLOCK {
            return Err("indices out of order");
        }
        next = index + 1;
    }
    let told: u32 = block[4..LOW].iter().map(|byte| byte.count_ones()).sum();
    if told as usize > TOLD {
        return Err("more than 64 changes");
    }
    Ok(())
}

#[inline(always)]
pub(super) fn read(block: &[u8; BYTES], x: &mut [f32; BLOCK]) {
    x.fill(0.0);
    let small = wide(u16::from_le_bytes([block[0], block[1]]));
    let large = wide(u16::from_le_bytes([block[2], block[3]]));
    for (index, bits) in entries(block) {
        let value = if bits & 1 == 0 { small } else { large };
        x[index] = if bits & 2 == 0 { value } else { -value };
    }
}
