use super::*;
use proptest::prelude::*;
use std::f32::consts::PI;

/// Changes as they are in training: many small ones, some large.
fn changes(n: usize, seed: u32) -> Vec<f32> {
    let change = |i: u32| {
        let x = (i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
        let uniform = (x >> 8) as f32 / 8_388_608.0 - 1.0;
        uniform * uniform * uniform * 1e-2
    };
    (0..n as u32).map(change).collect()
}

fn told(codec: Codec, delta: &[f32], residual: Option<&mut [f32]>) -> Vec<f32> {
    Update::parse(&encode(codec, delta, residual).unwrap())
        .unwrap()
        .decode()
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

/// The bits themselves: sites compare what they tell, so a machine that adds otherwise would be found out.
#[test]
fn a_norm_is_the_same_on_every_machine_and_level() {
    let delta = changes(10_007, 3);
    let update = |codec| Update::parse(&encode(codec, &delta, None).unwrap()).unwrap();
    let norms = Codec::ALL.map(|codec| update(codec).norm());
    assert_eq!(norms[0], 377_754_056);
    // What a codec doesn't tell of the small ones hardly shows.
    for (codec, norm) in Codec::ALL.into_iter().zip(norms) {
        let part = norm as f64 / norms[0] as f64;
        let least = if codec == Codec::Sparse { 0.2 } else { 0.99 };
        assert!((least..1.01).contains(&part), "{codec}: {part}");
    }
    let run = |level| {
        let mut sums = [0.5; LANES];
        delta
            .chunks(PART)
            .for_each(|part| add_squares(level, &mut sums, part));
        sums
    };
    for level in Level::all() {
        assert!(run(level) == run(Level::Portable), "{level:?}");
    }
    let norm = |change: &[f32]| {
        Update::parse(&encode(Codec::Fp32, change, None).unwrap())
            .unwrap()
            .norm()
    };
    assert_eq!((norm(&[]), norm(&[-3.0, 4.0])), (0, 5_000_000_000));
    assert_eq!(norm(&[1e30, 1e30]), u64::MAX, "as much as can be told");
}

proptest! {
    #[test]
    fn every_weight_is_within_half_a_unit(delta in prop::collection::vec(-1e3f32..1e3, 0..700)) {
        // A scale is rounded up to eight bits.
        let most = [(Codec::Fp32, 0.0), (Codec::Int8, 1.01 / 254.0), (Codec::Int4, 1.01 / 14.0)];
        for (codec, most) in most {
            let told = told(codec, &delta, None);
            prop_assert_eq!(told.len(), delta.len());
            for (block, told) in delta.chunks(scaled::BLOCK).zip(told.chunks(scaled::BLOCK)) {
                let highest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, y) in block.iter().zip(told) {
                    prop_assert!((x - y).abs() <= highest * most, "{}: {} {}", codec, x, y);
                }
            }
        }
    }

    #[test]
    fn sparse_tells_the_largest(n in 1usize..9000, seed: u32) {
        let delta = changes(n, seed);
        let told = told(Codec::Sparse, &delta, None);
        for (block, told) in delta.chunks(sparse::BLOCK).zip(told.chunks(sparse::BLOCK)) {
            let mut sorted: Vec<f32> = block.iter().map(|x| x.abs()).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted[sorted.len().min(64) - 1];
            prop_assert!(told.iter().filter(|y| **y != 0.0).count() <= 64);
            for (x, y) in block.iter().zip(told) {
                let is_told = *y != 0.0;
                prop_assert!(is_told || x.abs() <= least, "{} is not told, and {} is", x, least);
                prop_assert!(!is_told || (x.signum() == y.signum() && x.abs() >= least), "{} {}", x, y);
            }
        }
    }

    #[test]
    fn what_is_told_and_what_stays_is_what_there_was(codec in codecs(), n in 1usize..5000, seed: u32) {
        let (delta, before) = (changes(n, seed), changes(n, !seed));
        let mut residual = before.clone();
        let told = told(codec, &delta, Some(&mut residual));
        for i in 0..n {
            let there_was = delta[i] + codec.decay() * before[i];
            let most = (there_was.abs() + told[i].abs()) * 1e-6;
            prop_assert!((told[i] + residual[i] - there_was).abs() <= most, "{codec} {i}");
        }
    }

    #[test]
    fn every_level_writes_and_reads_the_same_bits(codec in codecs(), n in 1usize..9000, seed: u32) {
        let delta = changes(n, seed);
        let run = |level| {
            let mut residual = changes(n, !seed);
            let bytes = encode_at(level, codec, &delta, Some(&mut residual)).unwrap();
            let mut told = vec![0.0; n];
            read_blocks(level, codec, &bytes[HEADER..], &mut told);
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            (bits(&residual), bits(&told), bytes)
        };
        let portable = run(Level::Portable);
        for level in Level::all() {
            prop_assert!(run(level) == portable, "{codec} {level:?}");
        }
    }

    #[test]
    fn any_bytes_give_an_update_or_an_error(
        codec in codecs(),
        blocks in 0u64..4,
        mut body in prop::collection::vec(any::<u8>(), 0..5000),
        fits: bool,
        magic in prop::bool::weighted(0.9),
    ) {
        let (size, bytes) = codec.block();
        let mut update = MAGIC.to_vec();
        update.extend((blocks * size as u64).to_le_bytes());
        update[HEADER - 1] = codec as u8;
        update[0] ^= u8::from(!magic);
        if fits {
            body.resize(blocks as usize * bytes, 1);
        }
        update.extend(body);
        if let Ok(update) = Update::parse(&update) {
            prop_assert!(update.decode().iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn a_flipped_bit_gives_an_update_or_an_error(codec in codecs(), seed: u32, at: prop::sample::Index, bit in 0..8) {
        let mut bytes = encode(codec, &changes(5000, seed), None).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok(update) = Update::parse(&bytes) {
            prop_assert!(update.decode().iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn error_feedback_tells_everything_in_time() {
    // The same change every round: what was told adds up to what there was, but for the last residual.
    for (codec, most) in [(Codec::Int8, 1e-3), (Codec::Int4, 1e-2)] {
        let delta: Vec<f32> = (0..1000).map(|i| (i as f32 * PI * 0.01).sin()).collect();
        let (mut residual, mut sum) = (vec![0.0; 1000], vec![0.0; 1000]);
        for _ in 0..50 {
            let told = told(codec, &delta, Some(&mut residual));
            sum.iter_mut().zip(told).for_each(|(sum, told)| *sum += told);
        }
        for (sum, x) in sum.iter().zip(&delta) {
            assert!((sum / 50.0 - x).abs() < most, "{codec}: {sum} {x}");
        }
    }
}

#[test]
fn sizes_are_what_is_written() {
    for codec in Codec::ALL {
        for n in [0, 1, 255, 256, 257, 4095, 4097, 10_000] {
            let bytes = encode(codec, &vec![0.5; n], None).unwrap();
            assert_eq!(bytes.len() as u64, codec.bytes(n as u64), "{codec} {n}");
        }
        assert!(
            codec.bytes(u64::MAX) > codec.bytes(u64::MAX / 64),
            "it does not wrap"
        );
    }
    let bits = Codec::ALL.map(|codec| (codec.bytes(1 << 40) - HEADER as u64) as f64 * 8.0 / 2f64.powi(40));
    assert_eq!(bits, [32.0, 8.0625, 4.0625, 0.1640625]);
}

#[test]
fn names_are_those_of_job_files() {
    for (codec, name) in Codec::ALL.into_iter().zip(["fp32", "int8", "int4", "sparse"]) {
        assert_eq!(serde_json::to_string(&codec).unwrap(), format!("{name:?}"));
        assert_eq!((codec.to_string(), name.parse()), (name.to_owned(), Ok(codec)));
    }
    let error = "int3".parse::<Codec>().unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no codec \"int3\": it is fp32, int8, int4 or sparse"
    );
}

#[test]
fn a_bad_update_says_what_to_do() {
    let whole = encode(Codec::Int4, &[1.0; 300], None).unwrap();
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let error = Update::parse(&bytes).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    check(
        &|bytes| bytes.truncate(100),
        "an update of 300 weights has 276 bytes in int4, this has 100; fetch it again",
    );
    let other = "let every site run the same version of khub";
    check(
        &|bytes| bytes[7] = b'1',
        &format!("no update: the first bytes are not KHUBUPD2; {other}"),
    );
    check(
        &|bytes| bytes[15] = 9,
        &format!("an update in codec 9, and this khub knows 0 to 3: {other}"),
    );
    check(
        &|bytes| bytes[HEADER + 131] = 0xFF,
        "block 1 of the update has a scale out of range; fetch it again, and if that doesn't help, ask its site",
    );
    for cut in 0..whole.len() {
        assert!(Update::parse(&whole[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn training_that_went_wrong_is_told() {
    for codec in Codec::ALL {
        for bad in [f32::NAN, f32::INFINITY, -2e30] {
            let mut delta = vec![0.0; 5000];
            delta[4500] = bad;
            let error = encode(codec, &delta, None).unwrap_err().to_string();
            assert!(error.starts_with("weight 4500 changed by"), "{codec}: {error}");
        }
        let error = encode(codec, &[0.0; 4], Some(&mut [0.0; 3]))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the residual has 3 numbers and the change 4"),
            "{error}"
        );
        let error = encode(codec, &[1.0], Some(&mut [f32::NAN]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("weight 0 changed by NaN"), "{error}");
    }
}

#[test]
fn edges() {
    let check = |codec, delta: &[f32], expected: &[f32]| {
        assert_eq!(told(codec, delta, None), expected, "{codec} {delta:?}");
    };
    for codec in Codec::ALL {
        check(codec, &[], &[]);
        check(codec, &[0.0, -0.0], &[0.0, 0.0]);
    }
    for codec in [Codec::Fp32, Codec::Sparse] {
        check(codec, &[1.5, -1.5, 0.0], &[1.5, -1.5, 0.0]);
    }
    for codec in [Codec::Int8, Codec::Int4, Codec::Sparse] {
        check(codec, &[1e-38, 0.0], &[0.0, 0.0]);
        assert_eq!(told(codec, &[1.0, 1e-38], None)[1], 0.0);
    }
    check(Codec::Int8, &[127.0, -127.0, 1.0], &[127.0, -127.0, 1.0]);
    check(Codec::Int4, &[7.0, -7.0, 1.0, 0.4], &[7.0, -7.0, 1.0, 0.0]);
    check(Codec::Sparse, &[4.0, -2.0, 2.0], &[4.0, -2.0, 2.0]);
    let large = [1e30, -1e30, 1e-30];
    for codec in Codec::ALL {
        assert!(
            (told(codec, &large, None)[0] / 1e30 - 1.0).abs() < 0.01,
            "{codec}"
        );
    }
}

/// The bytes themselves, so that a change of the format is meant.
#[test]
fn the_bytes_stay_what_they_were() {
    let digests = Codec::ALL.map(|codec| {
        let bytes = encode(codec, &changes(5000, 7), Some(&mut changes(5000, 8))).unwrap();
        blake3::hash(&bytes).to_hex()[..16].to_owned()
    });
    assert_eq!(
        digests,
        [
            "be3efcfcf45dc223",
            "d12d8cc371804ef0",
            "5423ef9b0e846c28",
            "8752d9fa5d914e77"
        ]
    );
}
