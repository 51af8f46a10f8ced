//! Templates: known backbones laid along a query, to begin a folding with.
//!
//! Few sequences have relatives. So every chain of the library is laid along the torsions that the network expects
//! of the query too, as threading does (Jones, Taylor and Thornton 1992, Nature 358, 86): often one that turns
//! alike is folded alike.

use super::geometry::{Known, TURNS};
use super::relatives::{fours, too_close};
use super::trunk::Likely;
use crate::Point;
use crate::align::BLOSUM62;
use rayon::prelude::*;

/// Templates that are looked at.
const MOST: usize = 20;
/// What BLOSUM62 and the odds of torsions weigh; the latter in bits, none beyond [`SUREST`].
const SEQUENCE: f32 = 0.3;
const TURN: f32 = 1.2;
const SUREST: f32 = 4.0;
/// How far the network's torsions are believed.
const BELIEVED: f32 = 0.9;
/// What a gap's first residue costs, and each further one.
const GAP: (f32, f32) = (11.0, 1.0);
/// A template of this score is as likely to be right as wrong, and how fast that changes.
const EVEN: (f32, f32) = (50.0, 8.0);
/// A class for torsions that aren't known.
const UNKNOWN: usize = TURNS * TURNS;

/// A known backbone along a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    /// The alignment's score.
    pub(super) score: f32,
    /// N, CA and C of each residue's partner, if it has one.
    pub(super) places: Vec<Option<[Point; 3]>>,
    /// And its phi and psi, in radians.
    pub(super) turns: Vec<Option<[f32; 2]>>,
}

impl Template {
    fn new(score: f32, partners: &[Option<usize>], known: &Known) -> Self {
        let turns = |k: usize| Some([known.phi[k]?, known.psi[k]?]);
        Self {
            score,
            places: partners.iter().map(|k| Some(known.frames[(*k)?])).collect(),
            turns: partners.iter().map(|k| turns((*k)?)).collect(),
        }
    }

    /// How far it is to be trusted, 0 to 1.
    pub(super) fn trust(&self) -> f32 {
        1.0 / (1.0 + ((EVEN.0 - self.score) / EVEN.1).exp())
    }
}

/// The chains of `library` that lie best along the query, the best first; with `strict`, without those that are too
/// close to it for the data's split.
pub(super) fn templates(query: &[u8], told: &Likely, library: &[Known], strict: bool) -> Vec<Template> {
    if library.is_empty() {
        return Vec::new();
    }
    let wins = wins(query, told, library);
    let own = fours(query);
    let allowed = |known: &Known| !strict || (known.kinds != query && !too_close(&own, &fours(&known.kinds)));
    let chains = library.par_iter().enumerate().filter(|(_, known)| allowed(known));
    let mut laid: Vec<(f32, usize)> = chains
        .map(|(chain, known)| (lay(&wins, known).0, chain))
        .collect();
    // Of equal ones the first chain of the library.
    laid.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    laid.truncate(MOST);
    let template = |(score, chain): &(f32, usize)| {
        let known = &library[*chain];
        Template::new(*score, &lay(&wins, known).1, known)
    };
    laid.iter().map(template).collect()
}

/// What it wins to put a residue of the query beside one of a known chain.
struct Win {
    /// By the known residue's type.
    kind: &'static [i8; crate::AminoAcid::COUNT],
    /// By its torsions.
    turn: [f32; UNKNOWN + 1],
}

fn wins(query: &[u8], told: &Likely, library: &[Known]) -> Vec<Win> {
    let mut often = [1f32; UNKNOWN];
    for known in library {
        let turns = (0..known.len()).filter_map(|i| known.turn(i));
        turns.for_each(|turn| often[turn as usize] += 1.0);
    }
    let all: f32 = often.iter().sum();
    let win = |(kind, likely): (&u8, &[f32])| Win {
        kind: &BLOSUM62[usize::from(*kind)],
        turn: std::array::from_fn(|turn| {
            let Some(likely) = likely.get(turn) else {
                return 0.0;
            };
            let odds = BELIEVED * likely * all / often[turn] + 1.0 - BELIEVED;
            TURN * odds.log2().clamp(-SUREST, SUREST)
        }),
    };
    query
        .iter()
        .zip(told.turns.chunks_exact(UNKNOWN))
        .map(win)
        .collect()
}

/// What an alignment ends in: a pair, a residue of the query against a gap, one of the known chain against a gap.
const PAIR: u8 = 0;
const DOWN: u8 = 1;
const ALONG: u8 = 2;
const NEVER: f32 = f32::MIN / 4.0;

/// The best alignment with a known chain in which gaps at the ends cost nothing: its score, and each residue's
/// partner.
fn lay(wins: &[Win], known: &Known) -> (f32, Vec<Option<usize>>) {
    let (n, m) = (wins.len(), known.len());
    let turns: Vec<usize> = (0..m)
        .map(|k| known.turn(k).map_or(UNKNOWN, |turn| turn as usize))
        .collect();
    let width = m + 1;
    let row = || [vec![0f32; width], vec![NEVER; width], vec![NEVER; width]];
    let (mut before, mut from) = (row(), vec![[PAIR; 3]; (n + 1) * width]);
    let mut best = (NEVER, (0, 0));
    for (i, win) in wins.iter().enumerate() {
        let mut here = row();
        for j in 0..m {
            let met = SEQUENCE * f32::from(win.kind[usize::from(known.kinds[j])]) + win.turn[turns[j]];
            let pair = most([before[0][j], before[1][j], before[2][j]]);
            let [a, b, c] = [0, 1, 2].map(|ends: usize| before[ends][j + 1]);
            let down = most([a - GAP.0, b - GAP.1, c - GAP.0]);
            let [a, b, c] = [0, 1, 2].map(|ends: usize| here[ends][j]);
            let along = most([a - GAP.0, b - GAP.0, c - GAP.1]);
            from[(i + 1) * width + j + 1] = [pair.1, down.1, along.1];
            (here[0][j + 1], here[1][j + 1], here[2][j + 1]) = (pair.0 + met, down.0, along.0);
            if (i + 1 == n || j + 1 == m) && here[0][j + 1] > best.0 {
                best = (here[0][j + 1], (i + 1, j + 1));
            }
        }
        before = here;
    }
    let mut partners = vec![None; n];
    let (score, (mut i, mut j)) = best;
    let mut ends = PAIR;
    while i > 0 && j > 0 {
        let came = from[i * width + j][usize::from(ends)];
        match ends {
            PAIR => {
                partners[i - 1] = Some(j - 1);
                (i, j) = (i - 1, j - 1);
            }
            DOWN => i -= 1,
            _ => j -= 1,
        }
        ends = came;
    }
    (score, partners)
}

/// The largest of three and which it is, the first of equals.
fn most([pair, down, along]: [f32; 3]) -> (f32, u8) {
    if pair >= down && pair >= along {
        (pair, PAIR)
    } else if down >= along {
        (down, DOWN)
    } else {
        (along, ALONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Dihedrals;
    use crate::{Random, backbone};

    /// A chain that turns so, of types drawn by chance.
    fn chain(turns: &[(f64, f64)], random: &mut Random) -> Known {
        let angles: Vec<Dihedrals> = turns
            .iter()
            .map(|&(phi, psi)| Dihedrals {
                phi: Some(phi),
                psi: Some(psi),
                omega: Some(180.0),
            })
            .collect();
        let kinds = turns.iter().map(|_| random.below(20) as u8).collect();
        let atoms = backbone(&angles);
        let frames = atoms.iter().map(|[n, ca, c, _, _]| [*n, *ca, *c]);
        Known::new(kinds, frames.collect())
    }

    fn told(turns: &[(f64, f64)], random: &mut Random) -> Likely {
        let sure = chain(turns, random);
        let row = |i: usize| {
            let own = sure.turn(i).map_or(UNKNOWN, |turn| turn as usize);
            (0..UNKNOWN).map(move |turn| if turn == own { 0.9 } else { 0.1 / UNKNOWN as f32 })
        };
        Likely {
            alpha: Vec::new(),
            beta: Vec::new(),
            turns: (0..turns.len()).flat_map(row).collect(),
            states: Vec::new(),
        }
    }

    // Amid their classes.
    const HELIX: (f64, f64) = (-62.0, -43.0);
    const STRAND: (f64, f64) = (-110.0, 130.0);
    /// What most residues of these libraries do, so that a helix and a strand say something.
    const OTHER: (f64, f64) = (65.0, 35.0);

    #[test]
    fn what_turns_alike_is_found_and_laid_in_place() {
        let mut random = Random::new(6);
        let wanted = [vec![HELIX; 14], vec![STRAND; 9], vec![HELIX; 12]].concat();
        let longer = [vec![STRAND; 5], wanted.clone(), vec![STRAND; 4]].concat();
        let library = [
            chain(&[HELIX; 40], &mut random),
            chain(&longer, &mut random),
            chain(&[STRAND; 40], &mut random),
            chain(&[OTHER; 600], &mut random),
        ];
        let query: Vec<u8> = wanted.iter().map(|_| random.below(20) as u8).collect();
        let told = told(&wanted, &mut random);
        let found = templates(&query, &told, &library, false);
        assert_eq!(found.len(), 4);
        for i in 1..wanted.len() - 1 {
            assert_eq!(found[0].places[i], Some(library[1].frames[i + 5]), "{i}");
        }
        assert!(found[0].trust() > found[1].trust());
        let own = library[1].kinds[5..40].to_vec();
        assert!(
            templates(&own, &told, &library, true).len() < 4,
            "too close to be told of"
        );
        assert!(templates(&query, &told, &[], false).is_empty());
    }

    #[test]
    fn a_gap_is_laid_where_the_known_chain_has_more() {
        let mut random = Random::new(7);
        let wanted = [vec![HELIX; 20], vec![STRAND; 20]].concat();
        let longer = [vec![HELIX; 20], vec![OTHER; 4], vec![STRAND; 20]].concat();
        let library = [chain(&longer, &mut random), chain(&[OTHER; 600], &mut random)];
        let query: Vec<u8> = wanted.iter().map(|_| random.below(20) as u8).collect();
        let found = templates(&query, &told(&wanted, &mut random), &library, false);
        assert_eq!(found[0].places[8], Some(library[0].frames[8]));
        assert_eq!(found[0].places[32], Some(library[0].frames[36]));
    }
}
