//! The blocks of `fp32`, `int8` and `int4`.

use super::{LARGEST, SMALLEST, highest};

/// Weights that share a scale.
pub(super) const BLOCK: usize = 256;
const HALF: usize = BLOCK / 2;
/// A scale takes two bytes.
pub(super) const INT8_BYTES: usize = 2 + BLOCK;
pub(super) const INT4_BYTES: usize = 2 + HALF;
/// Adding it to a small number and taking it away again rounds to the nearest integer, ties to even; in
/// between, that integer stands in the lowest bits.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// The smallest scale with which integers up to `most` reach `highest`; 0 if nothing is worth telling.
#[inline(always)]
fn scale(highest: f32, most: f32) -> u16 {
    if highest < SMALLEST {
        return 0;
    }
    // A bf16 is the upper half of an f32; carrying into it rounds up.
    ((highest / most).to_bits().wrapping_add(0xFFFF) >> 16) as u16
}

/// The number that a bf16 stands for.
#[inline(always)]
pub(super) fn wide(scale: u16) -> f32 {
    f32::from_bits(u32::from(scale) << 16)
}

/// 1 / scale, so that a scale of 0 makes every integer 0.
#[inline(always)]
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Whether a site would write it.
pub(super) fn check_scale(bytes: [u8; 2]) -> Result<(), &'static str> {
    let scale = wide(u16::from_le_bytes(bytes));
    let told = scale == 0.0 && scale.is_sign_positive() || (SMALLEST / 256.0..LARGEST).contains(&scale);
    told.then_some(()).ok_or("a scale out of range")
}

pub(super) fn check(block: &[u8]) -> Result<(), &'static str> {
    check_scale([block[0], block[1]])
}

pub(super) fn check_fp32(block: &[u8]) -> Result<(), &'static str> {
    let (numbers, _) = block.as_chunks::<4>();
    let fits = |x: &[u8; 4]| f32::from_le_bytes(*x).abs() < LARGEST;
    numbers
        .iter()
        .all(fits)
        .then_some(())
        .ok_or("a change out of range")
}

#[inline(always)]
pub(super) fn write_fp32(x: &mut [f32; BLOCK], out: &mut [u8; 4 * BLOCK]) -> bool {
    let fits = highest(x).is_some();
    let (out, _) = out.as_chunks_mut::<4>();
    for (out, x) in out.iter_mut().zip(x) {
        *out = x.to_le_bytes();
        *x = 0.0;
    }
    fits
}

#[inline(always)]
pub(super) fn read_fp32(block: &[u8; 4 * BLOCK], x: &mut [f32; BLOCK]) {
    let (numbers, _) = block.as_chunks::<4>();
    for (x, number) in x.iter_mut().zip(numbers) {
        *x = f32::from_le_bytes(*number);
    }
}

#[inline(always)]
pub(super) fn write_int8(x: &mut [f32; BLOCK], out: &mut [u8; INT8_BYTES]) -> bool {
    let Some(highest) = highest(x) else { return false };
    let scale = scale(highest, 127.0);
    out[..2].copy_from_slice(&scale.to_le_bytes());
    let (scale, inverse) = (wide(scale), inverse(wide(scale)));
    for (out, x) in out[2..].iter_mut().zip(x) {
        let q = *x * inverse + ROUND;
        *out = q.to_bits() as u8;
        *x -= (q - ROUND) * scale;
    }
    true
}

#[inline(always)]
pub(super) fn read_int8(block: &[u8; INT8_BYTES], x: &mut [f32; BLOCK]) {
    let scale = wide(u16::from_le_bytes([block[0], block[1]]));
    for (x, q) in x.iter_mut().zip(&block[2..]) {
        *x = f32::from(q.cast_signed()) * scale;
    }
}

#[inline(always)]
pub(super) fn write_int4(x: &mut [f32; BLOCK], out: &mut [u8; INT4_BYTES]) -> bool {
    let Some(highest) = highest(x) else { return false };
    let scale = scale(highest, 7.0);
    out[..2].copy_from_slice(&scale.to_le_bytes());
    let (scale, inverse) = (wide(scale), inverse(wide(scale)));
    let (low, high) = x.split_at_mut(HALF);
    for ((out, a), b) in out[2..].iter_mut().zip(low).zip(high) {
        let (p, q) = (*a * inverse + (ROUND + 8.0), *b * inverse + (ROUND + 8.0));
        *out = ((p.to_bits() & 15) | (q.to_bits() << 4)) as u8;
        *a -= (p - (ROUND + 8.0)) * scale;
        *b -= (q - (ROUND + 8.0)) * scale;
    }
    true
}

#[inline(always)]
pub(super) fn read_int4(block: &[u8; INT4_BYTES], x: &mut [f32; BLOCK]) {
    let scale = wide(u16::from_le_bytes([block[0], block[1]]));
    let (low, high) = x.split_at_mut(HALF);
    for ((byte, a), b) in block[2..].iter().zip(low).zip(high) {
        *a = (i32::from(byte & 15) - 8) as f32 * scale;
        *b = (i32::from(byte >> 4) - 8) as f32 * scale;
    }
}
