//! Chains to learn from and chains to be judged on, so that none of the second is like one of the first.
//!
//! Two sequences are alike by the four-residue words that they share: the share of the distinct words of the one
//! with fewer. Unrelated chains share hardly any; it needs no alignment, so all pairs of thousands of chains are
//! compared in a second. [`check`] also aligns, which finds likeness that words miss.

use crate::{Random, Sequence, align};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How to split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitSettings {
    /// Chains that share more than this part of their words stay together.
    pub most: f64,
    /// About which part of the chains is to be judged on.
    pub valid: f64,
    /// Which groups those are.
    pub seed: u64,
}

/// Places in the list of sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To learn from; in order.
    pub train: Vec<usize>,
    /// To be judged on; in order.
    pub valid: Vec<usize>,
    /// How many groups of chains there are that are alike, each in one part.
    pub groups: usize,
}

/// Splits chains so that no two of different parts share more than `most` of their words.
///
/// Chains that are alike form groups, and what is like either of two is in the group of both (single linkage). Groups
/// are taken in a random order for the second part while they fit.
pub fn split(sequences: &[Sequence], settings: SplitSettings) -> Split {
    let mut groups = groups(sequences, settings.most);
    let wanted = (settings.valid * sequences.len() as f64).round() as usize;
    let count = groups.len();
    Random::new(settings.seed).shuffle(&mut groups);
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for group in groups {
        let part = if valid.len() + group.len() <= wanted {
            &mut valid
        } else {
            &mut train
        };
        part.extend(group);
    }
    train.sort_unstable();
    valid.sort_unstable();
    Split {
        train,
        valid,
        groups: count,
    }
}

/// The two most alike chains of different parts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alike {
    /// How alike they are, 0 to 1.
    pub share: f64,
    /// The chain to learn from.
    pub train: String,
    /// The chain to be judged on.
    pub valid: String,
}

/// What two parts have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The largest share of words.
    pub words: Option<Alike>,
    /// The largest share of equal residues in an alignment, of the shorter chain's; among those of 30 residues and
    /// more, as short ones agree by chance.
    pub identity: Option<Alike>,
}

/// Compares every chain of one part with every chain of the other, by words and by alignment.
pub fn check(train: &[Sequence], valid: &[Sequence]) -> Check {
    const LONG_ENOUGH: usize = 30;
    let spellings: Vec<BTreeSet<u32>> = train.par_iter().map(words).collect();
    let alike = |measure: &(dyn Fn(usize, &Sequence) -> Option<f64> + Sync)| {
        let nearest = valid.par_iter().filter_map(|own| {
            let shares = (0..train.len()).filter_map(|i| Some((measure(i, own)?, i)));
            let (share, i) = shares.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
            Some(Alike {
                share,
                train: train[i].name.clone(),
                valid: own.name.clone(),
            })
        });
        // Collected, so that of equals the first is taken whatever the number of threads.
        let nearest: Vec<Alike> = nearest.collect();
        nearest
            .into_iter()
            .rev()
            .max_by(|a, b| a.share.total_cmp(&b.share))
    };
    Check {
        words: alike(&|i, own| Some(shared(&words(own), &spellings[i]))),
        identity: alike(&|i, own| {
            let long = own.len().min(train[i].len()) >= LONG_ENOUGH;
            long.then(|| align(own, &train[i]).identity(own, &train[i]))
        }),
    }
}

/// The distinct words of a sequence, each as a number; a shorter sequence is one word.
fn words(sequence: &Sequence) -> BTreeSet<u32> {
    const LENGTH: usize = 4;
    // A digit that no residue has keeps short words apart from long ones.
    let number = |word: &[crate::AminoAcid]| word.iter().fold(1, |sum, kind| sum * 32 + kind.index() as u32);
    match sequence.len() {
        0 => BTreeSet::new(),
        1..LENGTH => BTreeSet::from([number(&sequence.residues)]),
        _ => sequence.residues.windows(LENGTH).map(number).collect(),
    }
}

/// The share of the words of the one with fewer that the other has too.
fn shared(a: &BTreeSet<u32>, b: &BTreeSet<u32>) -> f64 {
    let both = a.iter().filter(|word| b.contains(word)).count();
    both as f64 / a.len().min(b.len()).max(1) as f64
}

/// Chains that are linked by likeness; groups in the order of their first chains.
fn groups(sequences: &[Sequence], most: f64) -> Vec<Vec<usize>> {
    let spellings: Vec<BTreeSet<u32>> = sequences.iter().map(words).collect();
    let mut spelt: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, words) in spellings.iter().enumerate() {
        for word in words {
            spelt.entry(*word).or_default().push(i);
        }
    }
    // Each chain's group is named by a chain of it; following the names leads to the first.
    let mut name: Vec<usize> = (0..sequences.len()).collect();
    let mut first = |mut i: usize, join: Option<usize>| {
        while name[i] != i {
            name[i] = name[name[i]];
            i = name[i];
        }
        if let Some(other) = join {
            name[i] = other;
        }
        i
    };
    for (i, words) in spellings.iter().enumerate() {
        let mut common: BTreeMap<usize, usize> = BTreeMap::new();
        for word in words {
            for other in spelt[word].iter().filter(|other| **other < i) {
                *common.entry(*other).or_default() += 1;
            }
        }
        for (other, count) in common {
            let fewer = words.len().min(spellings[other].len());
            if count as f64 / fewer as f64 > most {
                let (a, b) = (first(i, None), first(other, None));
                first(a.max(b), Some(a.min(b)));
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in 0..sequences.len() {
        groups.entry(first(i, None)).or_default().push(i);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A random sequence.
    fn random(random: &mut Random, length: usize, name: usize) -> Sequence {
        let kinds: Vec<_> = crate::AminoAcid::all().collect();
        Sequence {
            name: name.to_string(),
            residues: (0..length).map(|_| kinds[random.below(20)]).collect(),
        }
    }

    /// 40 families of three: a sequence, its middle, and a copy that is half changed.
    fn families() -> Vec<Sequence> {
        let mut numbers = Random::new(1);
        let mut sequences = Vec::new();
        for family in 0..40 {
            let one = random(&mut numbers, 80, 3 * family);
            let mut part = one.clone();
            part.residues = one.residues[20..60].to_vec();
            let mut changed = one.clone();
            changed.residues[..30].reverse();
            sequences.extend([one, part, changed]);
        }
        for (name, sequence) in sequences.iter_mut().enumerate() {
            sequence.name = name.to_string();
        }
        sequences
    }

    #[test]
    fn families_stay_together_and_the_check_agrees() {
        let sequences = families();
        let settings = SplitSettings {
            most: 0.3,
            valid: 0.2,
            seed: 4,
        };
        let parts = split(&sequences, settings);
        assert_eq!((parts.groups, parts.valid.len(), parts.train.len()), (40, 24, 96));
        let family = |i: &usize| i / 3;
        assert!(
            !parts
                .valid
                .iter()
                .any(|i| parts.train.iter().map(family).any(|other| other == family(i)))
        );
        let take = |places: &[usize]| places.iter().map(|i| sequences[*i].clone()).collect::<Vec<_>>();
        let checked = check(&take(&parts.train), &take(&parts.valid));
        assert!(checked.words.unwrap().share <= 0.3);
        assert!(checked.identity.unwrap().share < 0.5);
        assert_ne!(parts, split(&sequences, SplitSettings { seed: 5, ..settings }));
    }

    #[test]
    fn what_two_parts_share_is_told() {
        let mut numbers = Random::new(2);
        let (own, other) = (random(&mut numbers, 50, 1), random(&mut numbers, 50, 2));
        let checked = check(&[other.clone(), own.clone()], std::slice::from_ref(&own));
        let found = checked.words.unwrap();
        assert_eq!(
            (found.share, found.train.as_str(), found.valid.as_str()),
            (1.0, "1", "1")
        );
        assert_eq!(checked.identity.unwrap().share, 1.0);
        assert!(check(&[other], &[own]).words.unwrap().share < 0.1);
        assert_eq!(check(&[], &[]).words, None);
    }

    #[test]
    fn short_sequences_are_words_of_their_own() {
        let sequences: Vec<Sequence> = ["MK", "MK", "MKV", ""]
            .map(|letters| letters.parse().unwrap())
            .to_vec();
        assert_eq!(groups(&sequences, 0.3), [vec![0, 1], vec![2], vec![3]]);
    }
}
