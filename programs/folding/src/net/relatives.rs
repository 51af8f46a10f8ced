//! Relatives: chains of the library whose sequences align with a query's, and what their structures say of it.
//!
//! Two thousand chains are too few to learn folds from by heart, and enough to look things up in. The search is
//! Smith and Waterman's with affine gaps (Gotoh 1982, J Mol Biol 162, 705), against every chain, with BLOSUM62
//! (Henikoff and Henikoff 1992, PNAS 89, 10915) and the penalties that BLAST takes with it.

use super::geometry::{Known, STATES};
use crate::AminoAcid;
use crate::align::BLOSUM62;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Relatives that are looked at.
const MOST: usize = 6;
/// Alignments below this score are noise.
const LEAST: i32 = 25;
/// What a gap's first residue costs, and each further one.
const GAP: (i32, i32) = (11, 1);
/// Two chains that share more than this part of a query's 4-mers are not told apart in training: the validation
/// chains share less with every chain of the library.
const SHARED: f64 = 0.3;

/// Chains that are compared with a query at once, in the lanes of vector registers.
const LANES: usize = 32;

/// Distances that a pair's features speak of, in angstrom.
const CENTRES: [f32; 7] = [4.5, 6.0, 7.5, 9.5, 12.0, 15.0, 19.0];
/// Features of a pair: how near the relatives have it to each of [`CENTRES`], and how much is known.
pub(super) const PAIR: usize = CENTRES.len() + 1;
/// Features of a residue: the relatives' residues, their states, sines and cosines of their torsions, and how
/// much is known.
pub(super) const RESIDUE: usize = 20 + STATES + 4 + 1;

/// What relatives say of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hints {
    /// [`PAIR`] numbers for each pair of residues.
    pub(super) pairs: Vec<f32>,
    /// [`RESIDUE`] numbers for each residue.
    pub(super) residues: Vec<f32>,
    /// The best relative's score; 0 if there is none.
    pub(super) best: i32,
}

/// A relative, and where its residues lie along the query.
#[derive(Debug, Clone, PartialEq)]
struct Relative {
    chain: usize,
    score: i32,
    /// For each residue of the query the relative's, if there is one.
    partners: Vec<Option<usize>>,
}

/// What the relatives of `query` in `library` say; with `strict`, without those that share too many 4-mers with
/// it, so that chains of the library learn from what a new chain would find.
pub(super) fn hints(query: &[u8], library: &[Known], strict: bool) -> Hints {
    let found = relatives(query, library, strict);
    let l = query.len();
    let mut hints = Hints {
        best: found.first().map_or(0, |relative| relative.score),
        ..none(l)
    };
    for relative in &found {
        add(&mut hints, relative, &library[relative.chain], l);
    }
    // Means over relatives that fade where little is known, and the root of how much that is.
    for (row, known) in [(&mut hints.pairs, PAIR), (&mut hints.residues, RESIDUE)] {
        for row in row.chunks_exact_mut(known) {
            let (weight, values) = row.split_last_mut().expect("a row has features");
            let scale = 1.0 / (weight.max(1e-3).sqrt() + 0.3);
            values.iter_mut().for_each(|value| *value *= scale);
            *weight = weight.sqrt();
        }
    }
    hints
}

/// What nobody says.
pub(super) fn none(l: usize) -> Hints {
    Hints {
        pairs: vec![0.0; l * l * PAIR],
        residues: vec![0.0; l * RESIDUE],
        best: 0,
    }
}

/// Odds with which one residue stands for another in relatives, by BLOSUM62: what substitutions in training
/// follow.
pub(super) fn odds(from: u8) -> [f32; 20] {
    let scores = &BLOSUM62[usize::from(from)];
    // Half bits: the score is 2 log2 of the odds.
    let mut odds: [f32; 20] =
        std::array::from_fn(|to| (f32::from(scores[to]) * 0.5 * std::f32::consts::LN_2).exp());
    if let Some(own) = odds.get_mut(usize::from(from)) {
        *own = 0.0;
    }
    let sum: f32 = odds.iter().sum();
    odds.map(|odds| odds / sum)
}

/// The part of the 4-mers of `a` that `b` has.
pub(super) fn shared(a: &BTreeSet<[u8; 4]>, b: &BTreeSet<[u8; 4]>) -> f64 {
    a.intersection(b).count() as f64 / a.len().max(1) as f64
}

/// Every run of four residues.
pub(super) fn fours(kinds: &[u8]) -> BTreeSet<[u8; 4]> {
    kinds.windows(4).map(|w| [w[0], w[1], w[2], w[3]]).collect()
}

/// Whether a chain shares so much with the query that the data's split would not have it.
pub(super) fn too_close(a: &BTreeSet<[u8; 4]>, b: &BTreeSet<[u8; 4]>) -> bool {
    shared(a, b) > SHARED
}

fn relatives(query: &[u8], library: &[Known], strict: bool) -> Vec<Relative> {
    // Chains of about one length lie side by side, so that few lanes are empty.
    let mut order: Vec<usize> = (0..library.len()).collect();
    order.sort_by_key(|&chain| library[chain].len());
    let found = order.par_chunks(LANES).flat_map_iter(|chains| {
        let kinds: Vec<&[u8]> = chains
            .iter()
            .map(|&chain| library[chain].kinds.as_slice())
            .collect();
        let scores = scores(query, &kinds);
        chains
            .iter()
            .zip(scores)
            .map(|(&chain, score)| (i32::from(score), chain))
            .collect::<Vec<_>>()
    });
    let mut scores: Vec<(i32, usize)> = found.filter(|(score, _)| *score >= LEAST).collect();
    // Of equal scores the first chain of the library.
    scores.sort_by_key(|&(score, chain)| (-score, chain));
    let own = fours(query);
    let kept = scores.into_iter().filter(|&(_, chain)| {
        let other = &library[chain].kinds;
        !strict || (other != query && !too_close(&own, &fours(other)))
    });
    kept.take(MOST)
        .map(|(score, chain)| Relative {
            chain,
            score,
            partners: align(query, &library[chain].kinds),
        })
        .collect()
}

fn add(hints: &mut Hints, relative: &Relative, known: &Known, l: usize) {
    let trust = 1.0 / (1.0 + (-(relative.score as f32 - 55.0) / 12.0).exp());
    let partners: Vec<(usize, usize)> = (0..l)
        .filter_map(|i| relative.partners[i].map(|j| (i, j)))
        .collect();
    for &(i, k) in &partners {
        for &(j, m) in &partners {
            let row = &mut hints.pairs[(i * l + j) * PAIR..][..PAIR];
            let d = crate::distance(known.beta[k], known.beta[m]);
            for (to, centre) in row.iter_mut().zip(CENTRES) {
                let off = (d - centre) / (0.18 * centre);
                *to += trust * (-0.5 * off * off).exp();
            }
            row[PAIR - 1] += trust;
        }
        let row = &mut hints.residues[i * RESIDUE..][..RESIDUE];
        if let Some(kind) = row[..20].get_mut(usize::from(known.kinds[k])) {
            *kind += trust;
        }
        row[20 + known.states[k] as usize] += trust;
        let turns = &mut row[20 + STATES..];
        for (at, angle) in [known.phi[k], known.psi[k]].into_iter().enumerate() {
            let angle = angle.unwrap_or(0.0);
            turns[at] += trust * angle.sin();
            turns[2 + at] += trust * angle.cos();
        }
        turns[4] += trust;
    }
}

type Lanes = [i16; LANES];

/// The best local alignment's score with each of up to [`LANES`] chains. Scores are far below 2^15: a chain has at
/// most [`super::trunk::LONGEST`] residues of 11 each.
fn scores(query: &[u8], chains: &[&[u8]]) -> Lanes {
    const OPEN: i16 = GAP.0 as i16;
    const EXTEND: i16 = GAP.1 as i16;
    let longest = chains.iter().map(|chain| chain.len()).max().unwrap_or(0);
    // For each column and each type that the query could have there, what it scores. Behind a chain's end nothing
    // is won.
    let column = |j: usize| -> [Lanes; AminoAcid::COUNT] {
        let lane = |own: usize| {
            std::array::from_fn(|lane| {
                let other = chains.get(lane).and_then(|chain| chain.get(j));
                other.map_or(-100, |other| i16::from(BLOSUM62[own][usize::from(*other)]))
            })
        };
        std::array::from_fn(lane)
    };
    let columns: Vec<_> = (0..longest).map(column).collect();
    let (mut ends, mut downs) = (vec![[0; LANES]; longest], vec![[i16::MIN / 2; LANES]; longest]);
    let mut best = [0; LANES];
    for own in query {
        let (mut corner, mut left, mut along) = ([0; LANES], [0; LANES], [i16::MIN / 2; LANES]);
        for ((column, end), down) in columns.iter().zip(&mut ends).zip(&mut downs) {
            let met = &column[usize::from(*own)];
            for lane in 0..LANES {
                let above = end[lane];
                down[lane] = (down[lane] - EXTEND).max(above - OPEN);
                along[lane] = (along[lane] - EXTEND).max(left[lane] - OPEN);
                let here = (corner[lane] + met[lane]).max(down[lane]).max(along[lane]).max(0);
                (corner[lane], end[lane], left[lane]) = (above, here, here);
                best[lane] = best[lane].max(here);
            }
        }
    }
    best
}

/// The best local alignment: for each residue of the query its partner.
fn align(query: &[u8], other: &[u8]) -> Vec<Option<usize>> {
    let (open, extend) = GAP;
    let (l, m) = (query.len(), other.len());
    let low = i32::MIN / 2;
    let at = |i: usize, j: usize| i * (m + 1) + j;
    let (mut ends, mut down, mut along) = (
        vec![0; (l + 1) * (m + 1)],
        vec![low; (l + 1) * (m + 1)],
        vec![low; (l + 1) * (m + 1)],
    );
    let (mut best, mut place) = (0, (0, 0));
    for i in 1..=l {
        for j in 1..=m {
            let score = i32::from(BLOSUM62[usize::from(query[i - 1])][usize::from(other[j - 1])]);
            let above = at(i - 1, j);
            down[at(i, j)] = (down[above] - extend).max(ends[above] - open);
            let left = at(i, j - 1);
            along[at(i, j)] = (along[left] - extend).max(ends[left] - open);
            let met = ends[at(i - 1, j - 1)] + score;
            let here = met.max(down[at(i, j)]).max(along[at(i, j)]).max(0);
            ends[at(i, j)] = here;
            if here > best {
                (best, place) = (here, (i, j));
            }
        }
    }
    let mut partners = vec![None; l];
    let (mut i, mut j) = place;
    // Which of the three tables the way back is in.
    let mut table = 0;
    while i > 0 && j > 0 {
        let here = at(i, j);
        match table {
            0 if ends[here] == 0 => break,
            0 if ends[here] == down[here] => table = 1,
            0 if ends[here] == along[here] => table = 2,
            0 => {
                partners[i - 1] = Some(j - 1);
                (i, j) = (i - 1, j - 1);
            }
            1 => {
                let opened = down[here] == ends[at(i - 1, j)] - open;
                i -= 1;
                table = if opened { 0 } else { 1 };
            }
            _ => {
                let opened = along[here] == ends[at(i, j - 1)] - open;
                j -= 1;
                table = if opened { 0 } else { 2 };
            }
        }
    }
    partners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn kinds(letters: &str) -> Vec<u8> {
        let kind = |letter| AminoAcid::from_letter(letter).unwrap().index() as u8;
        letters.chars().map(kind).collect()
    }

    #[test]
    fn an_alignment_has_its_score() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let mut chain = |l: usize| (0..l).map(|_| random.below(21) as u8).collect::<Vec<_>>();
            let (mut query, other) = (chain(30), chain(40));
            // Half of the time they have a part in common, with a gap in it.
            if query[0] % 2 == 0 {
                query[5..12].copy_from_slice(&other[8..15]);
                query[12..25].copy_from_slice(&other[17..30]);
            }
            let partners = align(&query, &other);
            let mut sum = 0;
            let mut before: Option<(usize, usize)> = None;
            for (i, j) in partners.iter().enumerate().filter_map(|(i, j)| Some((i, (*j)?))) {
                sum += i32::from(BLOSUM62[usize::from(query[i])][usize::from(other[j])]);
                if let Some((i0, j0)) = before {
                    assert!(j > j0, "partners follow each other");
                    for gap in [i - i0 - 1, j - j0 - 1] {
                        if gap > 0 {
                            sum -= GAP.0 + (gap as i32 - 1) * GAP.1;
                        }
                    }
                }
                before = Some((i, j));
            }
            // In any lane, beside shorter and longer chains.
            let found = scores(&query, &[&other[..9], &other, &query]);
            assert_eq!(sum, i32::from(found[1]), "{query:?} {other:?}");
        }
    }

    #[test]
    fn a_known_alignment_has_its_known_score() {
        // By hand, with BLOSUM62: HEAG and HEAG are 8 + 5 + 4 + 6, W with W is 11.
        assert_eq!(scores(&kinds("HEAG"), &[&kinds("WHEAGW")])[0], 23);
        let partners = align(&kinds("PPHEAGPP"), &kinds("HEAG"));
        assert_eq!(partners[2..6], [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(partners[..2], [None, None]);
    }

    #[test]
    fn odds_are_of_others_and_sum_up() {
        for kind in 0..20u8 {
            let odds = odds(kind);
            assert_eq!(odds[usize::from(kind)], 0.0);
            assert!((odds.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let odds = odds(AminoAcid::Ile.index() as u8);
        let most = (0..20).max_by(|a, b| odds[*a].total_cmp(&odds[*b])).unwrap();
        assert_eq!(most, AminoAcid::Val.index());
    }
}
