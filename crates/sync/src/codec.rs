//! Updates as one byte a weight and one a block of 256 weights.
//!
//! ```text
//! offset  bytes        what
//! 0       8            "KHUBUPD1"
//! 8       8            number of weights, little-endian
//! 16      blocks       an exponent e for each block of 256 weights, -128 for a block of zeros
//! ...     weights      an integer q for each weight: the weight's change is q * 2^e
//! ```
//!
//! The scale of a block is a power of two. That costs at most one of the eight bits, and makes the sum of
//! several sites' updates an addition of integers, which has the same result on every machine.

/// Weights that share an exponent.
pub const BLOCK: usize = 256;
/// The exponent of a block of zeros.
const ZEROS: i8 = i8::MIN;
/// Changes below this power of two are none: no outer step would show them.
const SMALLEST: i32 = -100;
const MAGIC: &[u8; 8] = b"KHUBUPD1";
const HEADER: usize = 16;

/// How far a site came in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    exponents: Vec<i8>,
    values: Vec<i8>,
}

/// What is wrong with an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The training has gone wrong.
    #[error("weight {index} changed by {value}: the site's training diverged; try a lower learning rate")]
    NotFinite {
        /// Which weight.
        index: usize,
        /// Its change.
        value: String,
    },
    /// Not an update at all.
    #[error("no update: the first bytes are not KHUBUPD1")]
    Magic,
    /// An update that is cut off or has something behind it.
    #[error("an update of {weights} weights has {wanted} bytes, this has {found}; fetch it again")]
    Length {
        /// Weights it says it has.
        weights: u64,
        /// Bytes that takes.
        wanted: u64,
        /// Bytes there are.
        found: u64,
    },
}

/// Encodes the change of every weight: start of the round minus where the site is now.
pub fn encode(delta: &[f32]) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(HEADER + delta.len().div_ceil(BLOCK) + delta.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(delta.len() as u64).to_le_bytes());
    for (i, block) in delta.chunks(BLOCK).enumerate() {
        let e = exponent(block).ok_or_else(|| not_finite(delta, i * BLOCK))?;
        bytes.push(e.to_le_bytes()[0]);
    }
    for (i, block) in delta.chunks(BLOCK).enumerate() {
        let e = i8::from_le_bytes([bytes[HEADER + i]]);
        if e == ZEROS {
            bytes.resize(bytes.len() + block.len(), 0);
            continue;
        }
        let inverse = power_of_two(-i32::from(e));
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even; |q| is at most 127.
        bytes.extend(
            block
                .iter()
                .map(|x| ((x * inverse + 12_582_912.0) - 12_582_912.0) as i8 as u8),
        );
    }
    Ok(bytes)
}

impl Update {
    /// Reads what [`encode`] wrote. Any bytes give an update or an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, CodecError> {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(CodecError::Magic)?;
        if &header[..8] != MAGIC {
            return Err(CodecError::Magic);
        }
        let weights = u64::from_le_bytes(header[8..].try_into().expect("eight bytes are left of sixteen"));
        let blocks = weights.div_ceil(BLOCK as u64);
        let (wanted, found) = (
            (HEADER as u64).saturating_add(blocks).saturating_add(weights),
            bytes.len() as u64,
        );
        if wanted != found {
            return Err(CodecError::Length {
                weights,
                wanted,
                found,
            });
        }
        let (exponents, values) = bytes[HEADER..].split_at(blocks as usize);
        let signed = |bytes: &[u8]| bytes.iter().map(|b| i8::from_le_bytes([*b])).collect();
        Ok(Self {
            exponents: signed(exponents),
            values: signed(values),
        })
    }

    /// Weights.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has no weights.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Blocks: exponent and integers; no exponent means zeros.
    pub(crate) fn block(&self, i: usize) -> (Option<i32>, &[i8]) {
        let end = ((i + 1) * BLOCK).min(self.values.len());
        // An exponent below what `encode` writes would let a forged update shift by more than the sum allows.
        let e = i32::from(self.exponents[i]);
        ((e >= SMALLEST - 7).then_some(e), &self.values[i * BLOCK..end])
    }

    /// The changes, as near as the update tells them.
    pub fn decode(&self) -> Vec<f32> {
        let blocks = (0..self.exponents.len()).map(|i| self.block(i));
        let value = |(e, values): (Option<i32>, &[i8])| {
            let scale = e.map_or(0.0, power_of_two);
            values.iter().map(|q| f32::from(*q) * scale).collect::<Vec<_>>()
        };
        blocks.flat_map(value).collect()
    }
}

/// The smallest e with max|x| <= 127 * 2^e; none if a number isn't finite.
fn exponent(block: &[f32]) -> Option<i8> {
    // The bits of non-negative floats are ordered as the floats are, NaN and infinity above all.
    let highest = block.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0);
    if highest >= f32::INFINITY.to_bits() {
        return None;
    }
    let e = (highest >> 23) as i32 - 127; // 2^e <= max < 2^(e+1)
    if e < SMALLEST {
        return Some(ZEROS);
    }
    // 127 * 2^(e-6) = 1.984 * 2^e: enough unless the fraction is above that.
    let fits = f32::from_bits(highest) <= 127.0 * power_of_two(e - 6);
    i8::try_from(if fits { e - 6 } else { e - 5 }).ok()
}

pub(crate) fn power_of_two(e: i32) -> f32 {
    f32::from_bits(((e + 127).clamp(1, 254) as u32) << 23)
}

fn not_finite(delta: &[f32], from: usize) -> CodecError {
    let index = (from..delta.len())
        .find(|i| !delta[*i].is_finite())
        .unwrap_or(from);
    CodecError::NotFinite {
        index,
        value: delta[index].to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_weight_is_within_half_a_unit(delta in prop::collection::vec(-1e3f32..1e3, 0..700)) {
            let update = Update::parse(&encode(&delta).unwrap()).unwrap();
            let decoded = update.decode();
            prop_assert_eq!(decoded.len(), delta.len());
            for (block, decoded) in delta.chunks(BLOCK).zip(decoded.chunks(BLOCK)) {
                let highest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, y) in block.iter().zip(decoded) {
                    // A unit is at most highest / 63.5, since a smaller power of two would not have reached.
                    prop_assert!((x - y).abs() <= highest / 127.0 + 1e-30, "{} {}", x, y);
                }
            }
        }

        #[test]
        fn any_bytes_give_an_update_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..600), magic: bool) {
            if magic && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(MAGIC);
            }
            let _ = Update::parse(&bytes).map(|update| update.decode());
        }
    }

    #[test]
    fn a_cut_update_says_so() {
        let bytes = encode(&[1.0; 300]).unwrap();
        for cut in 0..bytes.len() {
            assert!(Update::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let error = Update::parse(&bytes[..100]).unwrap_err().to_string();
        assert_eq!(
            error,
            "an update of 300 weights has 318 bytes, this has 100; fetch it again"
        );
    }

    #[test]
    fn edges() {
        let check = |delta: &[f32], expected: &[f32]| {
            assert_eq!(
                Update::parse(&encode(delta).unwrap()).unwrap().decode(),
                expected,
                "{delta:?}"
            );
        };
        check(&[], &[]);
        check(&[0.0, -0.0], &[0.0, 0.0]);
        check(&[1e-38, 0.0], &[0.0, 0.0]);
        check(&[127.0, -127.0, 1.0], &[127.0, -127.0, 1.0]);
        check(&[128.0, 1.0, 3.0], &[128.0, 0.0, 4.0]);
        check(&[f32::MAX], &[127.0 * 2f32.powi(121) * 1.007_874]);
        for bad in [f32::NAN, f32::INFINITY] {
            let error = encode(&[0.0, bad]).unwrap_err().to_string();
            assert!(error.contains("weight 1 changed by"), "{error}");
        }
    }
}
