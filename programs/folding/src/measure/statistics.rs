//! How sure a mean over a few dozen chains is.

use crate::random::Random;

/// A mean, and where it lies in 95 of 100 samples of chains like these.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The 2.5th percentile of its bootstrap.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

/// How many samples are drawn.
const SAMPLES: usize = 2000;

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean with its percentile bootstrap interval (Efron 1979, Ann. Stat. 7, 1): the values are drawn again,
/// with replacement, 2,000 times.
pub fn interval(values: &[f64], seed: u64) -> Interval {
    let mut random = Random::new(seed);
    let n = values.len().max(1);
    let mut means: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let drawn = (0..n).map(|_| values.get(random.below(n)).copied().unwrap_or(0.0));
            drawn.sum::<f64>() / n as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Interval {
        mean: mean(values),
        low: means[SAMPLES / 40],
        high: means[SAMPLES - 1 - SAMPLES / 40],
    }
}

/// How probable it is that chains prefer `a` to `b` at least so much, on average, if neither were better: each
/// chain's difference gets a random sign, 100,000 times (Fisher's test of paired samples). One-sided; never below
/// 1 / 100,001.
///
/// # Panics
/// If there are not equally many of both.
pub fn paired_p(a: &[f64], b: &[f64], seed: u64) -> f64 {
    const DRAWS: usize = 100_000;
    assert_eq!(a.len(), b.len(), "each value has a partner");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let seen: f64 = differences.iter().sum();
    let mut random = Random::new(seed);
    let mut as_large = 0;
    for _ in 0..DRAWS {
        let mut sum = 0.0;
        for chunk in differences.chunks(64) {
            let signs = random.bits();
            for (k, difference) in chunk.iter().enumerate() {
                sum += if signs >> k & 1 == 0 {
                    *difference
                } else {
                    -difference
                };
            }
        }
        // A little slack: the sums are rounded in different ways.
        as_large += usize::from(sum >= seen - 1e-12);
    }
    (as_large + 1) as f64 / (DRAWS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_its_mean_and_narrows_with_more_values() {
        let mut random = Random::new(5);
        let values: Vec<f64> = (0..400).map(|_| random.normal()).collect();
        let (few, many) = (interval(&values[..25], 1), interval(&values, 1));
        for found in [few, many] {
            assert!(found.low < found.mean && found.mean < found.high);
        }
        // The standard error of 400 values of spread 1 is 0.05, and 95 % are 1.96 of it to each side.
        assert!((many.high - many.low - 0.196).abs() < 0.03, "{many:?}");
        assert!(few.high - few.low > 2.0 * (many.high - many.low));
        assert_eq!(interval(&[], 1).mean, 0.0);
    }

    #[test]
    fn a_clear_preference_is_improbable_and_none_is_not() {
        let b = [0.0; 12];
        // All twelve of one sign: one of 2^12 ways.
        let p = paired_p(&[1.0; 12], &b, 3);
        assert!((p - 1.0 / 4096.0).abs() < 1e-4, "{p}");
        let even: Vec<f64> = (0..12).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert!((0.4..0.8).contains(&paired_p(&even, &b, 3)));
        assert_eq!(paired_p(&[], &[], 3), 1.0);
    }
}
