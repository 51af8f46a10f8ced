//! Updates that nobody can read by themselves, and whose sum everyone can (secure aggregation, Bonawitz et al., 2017).
//!
//! A summand tells each weight's change as a whole number of steps, which are the same at every site. Sites put masks on it, as
//! `consortium` has the protocol, and what they send tells nothing.
//! The masks add up to what is known once the round is over, so the sum of all comes out exactly:
//!
//! ```
//! use sync::private::{Mask, Secret, Summand, mask, sum};
//! use sync::{Codec, Update};
//!
//! // Two sites (the rules take three) that trained on 60 and 30 of up to 60 samples.
//! let (seoul, busan) = (Secret([7; 32]), Secret([8; 32]));
//! let write = |samples, change: [f32; 2]| {
//!     let summand = Summand { codec: Codec::Int8, clip: 1000, samples, of: 60 };
//!     summand.write(&change, &mut [0.0; 2])
//! };
//! let own = [seoul.own("job-7", 3), busan.own("job-7", 3)];
//! let shared = seoul.with(&busan.key(), "job-7", 3)?;
//! assert_eq!(shared, busan.with(&seoul.key(), "job-7", 3)?);
//! let sent = [
//!     mask(&write(60, [0.25, -0.5])?, &[Mask::Add(own[0]), Mask::Add(shared)])?,
//!     mask(&write(30, [0.5, 0.0])?, &[Mask::Add(own[1]), Mask::Take(shared)])?,
//! ];
//! let lifted = own.map(Mask::Take);
//! let mean = Update::parse(&sum(sent.iter().map(Vec::as_slice), &lifted, 60, 60 + 30)?)?;
//! let expected = [(0.25 * 60.0 + 0.5 * 30.0) / 90.0, -0.5 * 60.0 / 90.0];
//! assert!(mean.decode().iter().zip(expected).all(|(told, x)| (told - x).abs() < 0.005));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bytes
//!
//! ```text
//! offset  bytes   what
//! 0       8       "KHUBSUM1", or "KHUBMSK1" under masks
//! 8       7       number of weights, little-endian
//! 15      1       1 int8, 2 int4
//! 16      1       an exponent e
//! 17      ...     an integer for each weight, little-endian
//! ```
//!
//! An integer q stands for a change of `q * 2^(e - 7)` in int8 and `q * 2^(e - 3)` in int4. It has a byte, but under masks two
//! in int8: so much room has the sum of 258 sites, and a byte that of 18 in int4.

use crate::codec::{Codec, CodecError, encode, highest};
use x25519_dalek::{PublicKey, StaticSecret};

const PLAIN: &[u8; 8] = b"KHUBSUM1";
const MASKED: &[u8; 8] = b"KHUBMSK1";
const HEADER: usize = 17;
const CODEC: usize = 15;
/// Weights that are looked at together.
const PART: usize = 4096;

/// What a mask is made from.
pub type Seed = [u8; 32];

/// A site's secret in a job: the private half of a key on Curve25519.
#[derive(Clone)]
pub struct Secret(pub [u8; 32]);

/// A mask, and which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// It is added.
    Add(Seed),
    /// It is taken away.
    Take(Seed),
}

/// How a site's update is written for a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summand {
    /// How exactly: int8 or int4.
    pub codec: Codec,
    /// How far a weight may go in a round, in thousandths.
    pub clip: u32,
    /// Samples it was trained on: its weight in the mean.
    pub samples: u64,
    /// Samples of a whole share.
    pub of: u64,
}

/// How an update is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By itself.
    Alone(Codec),
    /// As a part of a sum.
    Summed(Summand),
}

/// Why there is no sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// Other bytes.
    #[error("no update for a sum: {0}; let every site run the same version of khub")]
    Bytes(&'static str),
    /// Updates that don't belong together.
    #[error(
        "update {index} of the sum is of other weights, or in another codec or step, than the first: ask its site"
    )]
    Different {
        /// Which.
        index: usize,
    },
    /// None came.
    #[error("a sum of no updates")]
    None,
    /// A key that hides nothing.
    #[error("a key of low order: everyone knows what it is shared with; let its site join again")]
    Key,
    /// What came out is no training.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Secret {
    /// The public half.
    pub fn key(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(self.0)).to_bytes()
    }

    /// The seed of the site's own mask in a round.
    pub fn own(&self, job: &str, round: u32) -> Seed {
        derive("khub 2026 own mask", &self.0, job, round)
    }

    /// The seed of the mask that it shares with the site of that key; that one comes to the same.
    ///
    /// # Errors
    /// A key that makes the secret known to all.
    pub fn with(&self, key: &[u8; 32], job: &str, round: u32) -> Result<Seed, SumError> {
        let shared = StaticSecret::from(self.0).diffie_hellman(&PublicKey::from(*key));
        if !shared.was_contributory() {
            return Err(SumError::Key);
        }
        Ok(derive("khub 2026 shared mask", shared.as_bytes(), job, round))
    }
}

/// A seed tells nothing of others that come from the same secret.
fn derive(purpose: &str, secret: &[u8; 32], job: &str, round: u32) -> Seed {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    hasher.update(secret);
    hasher.update(&round.to_le_bytes());
    hasher.update(job.as_bytes());
    hasher.finalize().into()
}

impl Mask {
    /// What takes it off again.
    pub fn lifted(self) -> Self {
        match self {
            Self::Add(seed) => Self::Take(seed),
            Self::Take(seed) => Self::Add(seed),
        }
    }
}

impl From<Codec> for Form {
    fn from(codec: Codec) -> Self {
        Self::Alone(codec)
    }
}

impl Form {
    /// Writes the change of weights. What it can't tell is left in `residual`, which is added first; a codec that tells
    /// all has none.
    ///
    /// # Errors
    /// As [`encode`] has them.
    pub fn write(&self, delta: &[f32], residual: Option<&mut [f32]>) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Alone(codec) => encode(*codec, delta, residual),
            Self::Summed(summand) => summand.write(delta, residual.unwrap_or_default()),
        }
    }
}

impl Summand {
    /// Writes the change of weights, each cut off at the largest power of two within `clip`. What is cut off or rounded off
    /// is left in `residual`, which is added first.
    ///
    /// # Errors
    /// A residual of another length, and changes that are no training.
    pub fn write(&self, delta: &[f32], residual: &mut [f32]) -> Result<Vec<u8>, CodecError> {
        if residual.len() != delta.len() {
            let (wanted, found) = (delta.len(), residual.len());
            return Err(CodecError::Residual { wanted, found });
        }
        let exponent = exponent_below(self.clip as f32 / 1_000.0);
        let (bits, most) = steps(self.codec);
        let step = 2f32.powi(exponent - bits);
        let part = (self.samples as f64 / self.of.max(1) as f64) as f32;
        let mut bytes = header(PLAIN, delta.len(), self.codec, exponent as i8);
        bytes.reserve(delta.len());
        for (i, (delta, residual)) in delta.chunks(PART).zip(residual.chunks_mut(PART)).enumerate() {
            for (x, change) in residual.iter_mut().zip(delta) {
                *x += change;
            }
            if highest(residual).is_none() {
                return Err(diverged(i * PART, residual));
            }
            for x in residual.iter_mut() {
                let q = (*x * part / step).round_ties_even().clamp(-most, most);
                bytes.push((q as i8).cast_unsigned());
                *x -= q * step / part;
            }
        }
        Ok(bytes)
    }
}

/// How many bits a step is below the bound, and the most steps.
fn steps(codec: Codec) -> (i32, f32) {
    match codec {
        Codec::Int4 => (3, 7.0),
        _ => (7, 127.0),
    }
}

fn diverged(from: usize, changes: &[f32]) -> CodecError {
    let place = changes.iter().position(|x| highest(&[*x]).is_none()).unwrap_or(0);
    CodecError::Diverged {
        index: from + place,
        value: changes[place].to_string(),
    }
}

/// The largest e with 2^e <= x, of a normal number.
fn exponent_below(x: f32) -> i32 {
    ((x.to_bits() >> 23) & 0xFF) as i32 - 127
}

fn header(magic: &[u8; 8], weights: usize, codec: Codec, exponent: i8) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend((weights as u64).to_le_bytes());
    bytes[CODEC] = codec as u8;
    bytes.push(exponent.cast_unsigned());
    bytes
}

/// What bytes hold whose header says so.
struct Integers<'a> {
    codec: Codec,
    exponent: i8,
    weights: usize,
    /// Bytes of each.
    word: usize,
    bytes: &'a [u8],
}

impl<'a> Integers<'a> {
    fn parse(magic: &[u8; 8], bytes: &'a [u8]) -> Result<Self, SumError> {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(SumError::Bytes("it is cut off"))?;
        if &header[..8] != magic {
            return Err(SumError::Bytes("its first bytes are others"));
        }
        let codec = match header[CODEC] {
            1 => Codec::Int8,
            2 => Codec::Int4,
            _ => return Err(SumError::Bytes("it is neither in int8 nor in int4")),
        };
        let word = if codec == Codec::Int8 && magic == MASKED {
            2
        } else {
            1
        };
        let mut count = [0; 8];
        count[..7].copy_from_slice(&header[8..CODEC]);
        let (weights, integers) = (u64::from_le_bytes(count), &bytes[HEADER..]);
        if weights.saturating_mul(word as u64) != integers.len() as u64 {
            return Err(SumError::Bytes("it has another length than it says"));
        }
        Ok(Self {
            codec,
            exponent: header[HEADER - 1].cast_signed(),
            weights: integers.len() / word,
            word,
            bytes: integers,
        })
    }

    /// Each as it is, without its sign.
    fn each(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.bytes.chunks_exact(self.word).map(integer)
    }

    /// What an integer of that many bytes stands for.
    fn signed(&self, sum: u16) -> i16 {
        match self.codec {
            Codec::Int4 => i16::from(sum as i8),
            _ => sum.cast_signed(),
        }
    }
}

fn integer(bytes: &[u8]) -> u16 {
    match bytes {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => u16::from(bytes[0]),
    }
}

/// Whether these are the bytes of a whole summand.
pub fn is_summand(bytes: &[u8]) -> bool {
    Integers::parse(PLAIN, bytes).is_ok()
}

/// What a site sends: the summand under `masks`.
///
/// # Errors
/// Bytes that are no summand.
pub fn mask(summand: &[u8], masks: &[Mask]) -> Result<Vec<u8>, SumError> {
    let plain = Integers::parse(PLAIN, summand)?;
    // The sign is carried into the upper byte, which int4 doesn't send.
    let signed = plain
        .bytes
        .iter()
        .map(|q| i16::from(q.cast_signed()).cast_unsigned());
    let mut sums: Vec<u16> = signed.collect();
    for mask in masks {
        put(&mut sums, *mask, plain.codec);
    }
    let mut bytes = header(MASKED, plain.weights, plain.codec, plain.exponent);
    match plain.codec {
        Codec::Int8 => bytes.extend(sums.iter().flat_map(|sum| sum.to_le_bytes())),
        _ => bytes.extend(sums.iter().map(|sum| *sum as u8)),
    }
    Ok(bytes)
}

/// What updates under masks come to, once the masks that don't cancel out are `lifted`: an update in fp32 that tells the mean
/// change. Each came from a part of `of` samples, all together from `samples`.
///
/// # Errors
/// Bytes that aren't such updates, or not of one round.
pub fn sum<'a>(
    sent: impl IntoIterator<Item = &'a [u8]>,
    lifted: &[Mask],
    of: u64,
    samples: u64,
) -> Result<Vec<u8>, SumError> {
    let sent = sent.into_iter().map(|bytes| Integers::parse(MASKED, bytes));
    let sent: Vec<Integers<'_>> = sent.collect::<Result<_, SumError>>()?;
    let first = sent.first().ok_or(SumError::None)?;
    let mut sums = vec![0u16; first.weights];
    for (index, site) in sent.iter().enumerate() {
        let kind = |of: &Integers<'_>| (of.codec, of.exponent, of.weights);
        if kind(site) != kind(first) {
            return Err(SumError::Different { index });
        }
        for (sum, integer) in sums.iter_mut().zip(site.each()) {
            *sum = sum.wrapping_add(integer);
        }
    }
    for mask in lifted {
        put(&mut sums, *mask, first.codec);
    }
    let (bits, _) = steps(first.codec);
    // All but the division is exact in f64: an integer of 16 bits, a power of two, samples.
    let unit = 2f64.powi(i32::from(first.exponent) - bits) * of as f64;
    let mean = |sum: &u16| (f64::from(first.signed(*sum)) * unit / samples.max(1) as f64) as f32;
    let mean: Vec<f32> = sums.iter().map(mean).collect();
    Ok(encode(Codec::Fp32, &mean, None)?)
}

/// Puts a mask on integers, or takes it off. Of int4 the lower bytes count.
fn put(sums: &mut [u16], mask: Mask, codec: Codec) {
    let (seed, sign) = match mask {
        Mask::Add(seed) => (seed, 1u16),
        Mask::Take(seed) => (seed, u16::MAX), // -1
    };
    let mut stream = blake3::Hasher::new_keyed(&seed).finalize_xof();
    let mut bytes = [0; PART];
    let word = if codec == Codec::Int8 { 2 } else { 1 };
    for sums in sums.chunks_mut(PART / word) {
        let bytes = &mut bytes[..sums.len() * word];
        stream.fill(bytes);
        for (sum, bytes) in sums.iter_mut().zip(bytes.chunks_exact(word)) {
            *sum = sum.wrapping_add(integer(bytes).wrapping_mul(sign));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Update;
    use proptest::prelude::*;

    const JOB: &str = "job-7";

    fn secrets(sites: usize) -> Vec<Secret> {
        (0..sites).map(|i| Secret([i as u8 + 1; 32])).collect()
    }

    /// The masks of site `i` among `members`.
    fn masks(secrets: &[Secret], i: usize, round: u32) -> Vec<Mask> {
        let others = (0..secrets.len()).filter(|j| *j != i);
        let shared = others.map(|j| {
            let seed = secrets[i].with(&secrets[j].key(), JOB, round).unwrap();
            if i < j { Mask::Add(seed) } else { Mask::Take(seed) }
        });
        shared.chain([Mask::Add(secrets[i].own(JOB, round))]).collect()
    }

    /// What is lifted where the updates of `came` came.
    fn lifted(secrets: &[Secret], came: &[usize], round: u32) -> Vec<Mask> {
        let own = came.iter().map(|i| Mask::Take(secrets[*i].own(JOB, round)));
        let missing: Vec<usize> = (0..secrets.len()).filter(|j| !came.contains(j)).collect();
        let shared = came.iter().flat_map(|i| {
            let (i, missing) = (*i, &missing);
            missing.iter().map(move |j| {
                let seed = secrets[i].with(&secrets[*j].key(), JOB, round).unwrap();
                if i < *j { Mask::Take(seed) } else { Mask::Add(seed) }
            })
        });
        own.chain(shared).collect()
    }

    proptest! {
        #[test]
        fn the_sum_is_the_mean_by_samples_whoever_came(
            changes in prop::collection::vec(prop::collection::vec(-0.9f32..0.9, 300), 2..8),
            samples in prop::collection::vec(1u64..=64, 8),
            came in prop::collection::vec(any::<bool>(), 8),
            int4 in any::<bool>(),
            round in 0u32..5,
        ) {
            let codec = if int4 { Codec::Int4 } else { Codec::Int8 };
            let secrets = secrets(changes.len());
            let came: Vec<usize> = (0..changes.len()).filter(|i| came[*i]).collect();
            prop_assume!(!came.is_empty());
            let mut told = vec![0f64; 300];
            let mut sent = Vec::new();
            for i in &came {
                let summand = Summand { codec, clip: 1_000, samples: samples[*i], of: 64 };
                let mut residual = vec![0.0; 300];
                let plain = summand.write(&changes[*i], &mut residual).unwrap();
                for (j, told) in told.iter_mut().enumerate() {
                    *told += f64::from(changes[*i][j] - residual[j]) * samples[*i] as f64;
                }
                sent.push(mask(&plain, &masks(&secrets, *i, round)).unwrap());
            }
            let all: u64 = came.iter().map(|i| samples[*i]).sum();
            let sum = sum(sent.iter().map(Vec::as_slice), &lifted(&secrets, &came, round), 64, all).unwrap();
            let mean = Update::parse(&sum).unwrap().decode();
            for (mean, told) in mean.iter().zip(&told) {
                prop_assert!((f64::from(*mean) - told / all as f64).abs() < 1e-5, "{mean} {told} {all}");
            }
        }

        #[test]
        fn any_bytes_give_a_sum_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic && bytes.len() >= HEADER {
                let magic = if bytes[8] % 2 == 0 { PLAIN } else { MASKED };
                bytes[..8].copy_from_slice(magic);
                bytes[8..HEADER].copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 2, 0]);
            }
            let _ = (is_summand(&bytes), mask(&bytes, &[]), sum([bytes.as_slice()], &[], 1, 1));
        }
    }

    #[test]
    fn one_mask_too_few_and_the_sum_is_noise() {
        let secrets = secrets(3);
        let summand = Summand {
            codec: Codec::Int8,
            clip: 1_000,
            samples: 8,
            of: 8,
        };
        let plain = summand.write(&[0.5; 512], &mut [0.0; 512]).unwrap();
        let sent: Vec<Vec<u8>> = (0..3)
            .map(|i| mask(&plain, &masks(&secrets, i, 0)).unwrap())
            .collect();
        let sum_of = |lifted: &[Mask]| {
            let sum = sum(sent.iter().map(Vec::as_slice), lifted, 8, 24).unwrap();
            Update::parse(&sum).unwrap().decode()
        };
        let all = lifted(&secrets, &[0, 1, 2], 0);
        assert!(sum_of(&all).iter().all(|x| *x == 0.5));
        // Without one of them each integer of 16 bits is as likely as any other: few come out as they were.
        let near = |x: &&f32| (**x - 0.5).abs() < 0.1;
        assert!(sum_of(&all[1..]).iter().filter(near).count() < 16);
        // And what is sent tells nothing either: the same change looks otherwise in each round and from each site.
        let again = mask(&plain, &masks(&secrets, 0, 1)).unwrap();
        let same = |a: &[u8], b: &[u8]| a.iter().zip(b).skip(HEADER).filter(|(a, b)| a == b).count();
        assert!(same(&sent[0], &again) < 40 && same(&sent[0], &sent[1]) < 40);
    }

    #[test]
    fn what_is_cut_off_or_rounded_off_waits() {
        let summand = Summand {
            codec: Codec::Int4,
            clip: 100,
            samples: 1,
            of: 1,
        };
        let mut residual = [0.0; 3];
        let mut told = [0.0; 3];
        for round in 0..40 {
            let change = if round == 0 { [1.0, 0.001, -0.03] } else { [0.0; 3] };
            let plain = summand.write(&change, &mut residual).unwrap();
            let sum = sum([mask(&plain, &[]).unwrap().as_slice()], &[], 1, 1).unwrap();
            for (told, x) in told.iter_mut().zip(Update::parse(&sum).unwrap().decode()) {
                assert!(x.abs() <= 0.0625, "{x} in one round");
                *told += x;
            }
        }
        assert!(
            (told[0] - 1.0f32).abs() < 0.01 && (told[2] + 0.03f32).abs() < 0.005,
            "{told:?}"
        );
        assert!((told[0] + residual[0] - 1.0).abs() < 1e-5);
    }

    #[test]
    fn updates_of_different_jobs_have_no_sum() {
        let write = |clip| {
            let summand = Summand {
                codec: Codec::Int8,
                clip,
                samples: 1,
                of: 1,
            };
            mask(&summand.write(&[0.01], &mut [0.0]).unwrap(), &[]).unwrap()
        };
        let sent = [write(100), write(1_000)];
        let error = sum(sent.iter().map(Vec::as_slice), &[], 1, 2).unwrap_err();
        assert_eq!(error, SumError::Different { index: 1 });
        let summand = Summand {
            codec: Codec::Int8,
            clip: 100,
            samples: 1,
            of: 1,
        };
        let diverged = summand.write(&[0.0, f32::NAN], &mut [0.0; 2]);
        assert!(matches!(diverged, Err(CodecError::Diverged { index: 1, .. })));
    }

    #[test]
    fn a_key_that_everyone_can_use_is_refused() {
        assert_eq!(Secret([3; 32]).with(&[0; 32], JOB, 0), Err(SumError::Key));
    }
}
