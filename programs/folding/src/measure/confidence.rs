//! Whether a predictor knows what it knows.

/// Pearson's correlation; None if there are fewer than two pairs or one side doesn't vary.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let (mx, my) = (
        pairs.iter().map(|(x, _)| x).sum::<f64>() / n,
        pairs.iter().map(|(_, y)| y).sum::<f64>() / n,
    );
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xx += (x - mx) * (x - mx);
        xy += (x - mx) * (y - my);
        yy += (y - my) * (y - my);
    }
    (pairs.len() > 1 && xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

/// What came true of the residues that a predictor was about equally sure of.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bin {
    /// How many residues.
    pub count: usize,
    /// Their mean confidence, 0 to 1.
    pub expected: f64,
    /// Their mean true lDDT, 0 to 1.
    pub found: f64,
}

/// The reliability diagram of pairs of confidence and truth, both 0 to 1: `bins` of equal width, without the empty
/// ones; and the mean gap between the two, weighted by count (the expected calibration error: Naeini, Cooper and
/// Hauskrecht 2015, AAAI).
pub fn reliability(pairs: &[(f64, f64)], bins: usize) -> (Vec<Bin>, f64) {
    let mut sums = vec![(0usize, 0.0, 0.0); bins];
    for (expected, found) in pairs {
        let place = (expected * bins as f64).floor().clamp(0.0, bins as f64 - 1.0) as usize;
        let sum = &mut sums[place];
        *sum = (sum.0 + 1, sum.1 + expected, sum.2 + found);
    }
    let full = sums.into_iter().filter(|(count, _, _)| *count > 0);
    let bins: Vec<Bin> = full
        .map(|(count, expected, found)| Bin {
            count,
            expected: expected / count as f64,
            found: found / count as f64,
        })
        .collect();
    let gaps = bins
        .iter()
        .map(|bin| bin.count as f64 * (bin.expected - bin.found).abs());
    let error = gaps.sum::<f64>() / pairs.len().max(1) as f64;
    (bins, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_is_that_of_the_textbook() {
        let line = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)];
        assert!((pearson(&line).unwrap() - 1.0).abs() < 1e-12);
        // Anscombe's first set (1973): 0.816.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
        let pairs: Vec<(f64, f64)> = x.into_iter().zip(y).collect();
        assert!((pearson(&pairs).unwrap() - 0.81642).abs() < 1e-5);
        assert_eq!(pearson(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(pearson(&[]), None);
    }

    #[test]
    fn a_predictor_that_is_right_has_no_gap() {
        let (bins, error) = reliability(&[(0.05, 0.05), (0.5, 0.5), (1.0, 1.0)], 10);
        assert_eq!(bins.len(), 3);
        assert_eq!(error, 0.0);
        let (bins, error) = reliability(&[(0.91, 0.5), (0.99, 0.5)], 10);
        assert_eq!(bins.len(), 1);
        assert!((error - 0.45).abs() < 1e-12);
    }
}
