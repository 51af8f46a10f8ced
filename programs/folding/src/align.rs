//! Alignments of two sequences.

use crate::{AminoAcid, Sequence};

/// Which residues of two sequences belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aligned {
    /// Pairs of places, in order in both.
    pub pairs: Vec<(usize, usize)>,
    /// The sum of BLOSUM62 and gap penalties.
    pub score: i32,
}

impl Aligned {
    /// The share of equal residues among the residues of the shorter sequence, 0 to 1.
    pub fn identity(&self, a: &Sequence, b: &Sequence) -> f64 {
        let equal = |(i, j): &&(usize, usize)| a.residues[*i] == b.residues[*j];
        let equal = self.pairs.iter().filter(equal).count();
        equal as f64 / a.len().min(b.len()).max(1) as f64
    }
}

/// The first residue of a gap, and each further one: the defaults of BLASTP.
const OPEN: i32 = 12;
const EXTEND: i32 = 1;

/// The best alignment of two whole sequences where gaps at the ends cost nothing (Needleman and Wunsch 1970, with
/// the affine gaps of Gotoh 1982), scored by BLOSUM62.
pub fn align(a: &Sequence, b: &Sequence) -> Aligned {
    /// Where the best way to a cell comes from.
    const PAIR: u8 = 0;
    const GAP_A: u8 = 1;
    const GAP_B: u8 = 2;
    const NEVER: i32 = i32::MIN / 2;
    let (n, m) = (a.len(), b.len());
    let width = m + 1;
    // Best sums that end in a pair, in a residue of b against a gap, in a residue of a against a gap.
    let (mut pair, mut gap_a, mut gap_b) = (vec![0; width], vec![NEVER; width], vec![NEVER; width]);
    let mut from = vec![[PAIR; 3]; (n + 1) * width];
    let mut best = (NEVER, (0, 0));
    for i in 1..=n {
        let (mut diagonal, mut diagonal_gaps) = (pair[0], (gap_a[0], gap_b[0]));
        let scores = &BLOSUM62[a.residues[i - 1].index()];
        (pair[0], gap_a[0], gap_b[0]) = (0, NEVER, NEVER);
        for j in 1..=m {
            let cell = &mut from[i * width + j];
            let (above, above_b, above_a) = (pair[j], gap_b[j], gap_a[j]);
            let before = most([
                (diagonal, PAIR),
                (diagonal_gaps.0, GAP_A),
                (diagonal_gaps.1, GAP_B),
            ]);
            let down = most([
                (above - OPEN, PAIR),
                (above_a - OPEN, GAP_A),
                (above_b - EXTEND, GAP_B),
            ]);
            let right = most([
                (pair[j - 1] - OPEN, PAIR),
                (gap_a[j - 1] - EXTEND, GAP_A),
                (gap_b[j - 1] - OPEN, GAP_B),
            ]);
            *cell = [before.1, right.1, down.1];
            (diagonal, diagonal_gaps) = (above, (above_a, above_b));
            pair[j] = before.0 + i32::from(scores[b.residues[j - 1].index()]);
            (gap_a[j], gap_b[j]) = (right.0, down.0);
            if (i == n || j == m) && pair[j] > best.0 {
                best = (pair[j], (i, j));
            }
        }
    }
    let (score, (mut i, mut j)) = best;
    let mut pairs = Vec::new();
    let mut state = PAIR;
    while i > 0 && j > 0 {
        let came = from[i * width + j][usize::from(state)];
        match state {
            PAIR => {
                pairs.push((i - 1, j - 1));
                (i, j) = (i - 1, j - 1);
            }
            GAP_A => j -= 1,
            _ => i -= 1,
        }
        state = came;
    }
    pairs.reverse();
    Aligned {
        score: if pairs.is_empty() { 0 } else { score },
        pairs,
    }
}

/// The largest, the first of equals.
fn most(ways: [(i32, u8); 3]) -> (i32, u8) {
    let better = |best: (i32, u8), way: (i32, u8)| if way.0 > best.0 { way } else { best };
    better(better(ways[0], ways[1]), ways[2])
}

/// BLOSUM62 (Henikoff and Henikoff 1992, PNAS 89, 10915), in the order of [`AminoAcid`].
#[rustfmt::skip]
pub(crate) const BLOSUM62: [[i8; AminoAcid::COUNT]; AminoAcid::COUNT] = [
    // A  R   N   D   C   Q   E   G   H   I   L   K   M   F   P   S   T   W   Y   V   X
    [ 4, -1, -2, -2,  0, -1, -1,  0, -2, -1, -1, -1, -1, -2, -1,  1,  0, -3, -2,  0,  0],
    [-1,  5,  0, -2, -3,  1,  0, -2,  0, -3, -2,  2, -1, -3, -2, -1, -1, -3, -2, -3, -1],
    [-2,  0,  6,  1, -3,  0,  0,  0,  1, -3, -3,  0, -2, -3, -2,  1,  0, -4, -2, -3, -1],
    [-2, -2,  1,  6, -3,  0,  2, -1, -1, -3, -4, -1, -3, -3, -1,  0, -1, -4, -3, -3, -1],
    [ 0, -3, -3, -3,  9, -3, -4, -3, -3, -1, -1, -3, -1, -2, -3, -1, -1, -2, -2, -1, -2],
    [-1,  1,  0,  0, -3,  5,  2, -2,  0, -3, -2,  1,  0, -3, -1,  0, -1, -2, -1, -2, -1],
    [-1,  0,  0,  2, -4,  2,  5, -2,  0, -3, -3,  1, -2, -3, -1,  0, -1, -3, -2, -2, -1],
    [ 0, -2,  0, -1, -3, -2, -2,  6, -2, -4, -4, -2, -3, -3, -2,  0, -2, -2, -3, -3, -1],
    [-2,  0,  1, -1, -3,  0,  0, -2,  8, -3, -3, -1, -2, -1, -2, -1, -2, -2,  2, -3, -1],
    [-1, -3, -3, -3, -1, -3, -3, -4, -3,  4,  2, -3,  1,  0, -3, -2, -1, -3, -1,  3, -1],
    [-1, -2, -3, -4, -1, -2, -3, -4, -3,  2,  4, -2,  2,  0, -3, -2, -1, -2, -1,  1, -1],
    [-1,  2,  0, -1, -3,  1,  1, -2, -1, -3, -2,  5, -1, -3, -1,  0, -1, -3, -2, -2, -1],
    [-1, -1, -2, -3, -1,  0, -2, -3, -2,  1,  2, -1,  5,  0, -2, -1, -1, -1, -1,  1, -1],
    [-2, -3, -3, -3, -2, -3, -3, -3, -1,  0,  0, -3,  0,  6, -4, -2, -2,  1,  3, -1, -1],
    [-1, -2, -2, -1, -3, -1, -1, -2, -2, -3, -3, -1, -2, -4,  7, -1, -1, -4, -3, -2, -2],
    [ 1, -1,  1,  0, -1,  0,  0,  0, -1, -2, -2,  0, -1, -2, -1,  4,  1, -3, -2, -2,  0],
    [ 0, -1,  0, -1, -1, -1, -1, -2, -2, -1, -1, -1, -1, -2, -1,  1,  5, -2, -2,  0,  0],
    [-3, -3, -4, -4, -2, -2, -3, -2, -2, -3, -2, -3, -1,  1, -4, -3, -2, 11,  2, -3, -2],
    [-2, -2, -2, -3, -2, -1, -2, -3,  2, -1, -1, -2, -1,  3, -3, -2, -2,  2,  7, -1, -1],
    [ 0, -3, -3, -3, -1, -2, -2, -3, -3,  3,  1, -2,  1, -1, -2, -2,  0, -3, -1,  4, -1],
    [ 0, -1, -1, -1, -2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -2,  0,  0, -2, -1, -1, -1],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(a: &str, b: &str) -> (i32, String, f64) {
        let (a, b): (Sequence, Sequence) = (a.parse().unwrap(), b.parse().unwrap());
        let found = align(&a, &b);
        let pairs = found.pairs.iter().map(|(i, j)| format!("{i}{j}"));
        (
            found.score,
            pairs.collect::<Vec<_>>().join(" "),
            found.identity(&a, &b),
        )
    }

    #[test]
    fn the_table_is_symmetric() {
        for (i, row) in BLOSUM62.iter().enumerate() {
            for (j, score) in row.iter().enumerate() {
                assert_eq!(*score, BLOSUM62[j][i]);
            }
        }
    }

    #[test]
    fn alignments_made_by_hand_are_found() {
        // W-W is 11, C-C is 9, a gap of two is 13.
        assert_eq!(aligned("WWCC", "WWCC"), (40, "00 11 22 33".to_owned(), 1.0));
        assert_eq!(aligned("WWCC", "AAWWCCGG"), (40, "02 13 24 35".to_owned(), 1.0));
        assert_eq!(
            aligned("WWWCCC", "WWWGGCCC"),
            (60 - 13, "00 11 22 35 46 57".to_owned(), 1.0)
        );
        assert_eq!(aligned("WWWGGCCC", "WWWCCC").0, 60 - 13);
        assert_eq!(aligned("", "WW"), (0, String::new(), 0.0));
        // Overlaps at the ends cost nothing.
        assert_eq!(aligned("GGGGWCW", "WCWAAAA").0, 31);
    }
}
