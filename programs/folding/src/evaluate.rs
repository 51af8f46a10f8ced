//! Judging a predictor on chains of known structure: what it gets right, how sure that is, what it is compared with.

use crate::measure::{
    self, ContactSettings, Dihedrals, Interval, Region, beta, contact_precision, interval, paired_p, pearson,
    reliability,
};
use crate::{Chain, Point, Prediction, Predictor, Random, Sequence, Square, distance};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a predictor got right of one chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Which chain.
    pub id: String,
    /// How many residues it has.
    pub length: usize,
    /// Each measure by its name; contact precision only for chains of [`CONTACTS_FROM`] residues and more.
    pub measures: BTreeMap<&'static str, f64>,
    /// The mean confidence, 0 to 1.
    pub confidence: f64,
    /// For each residue that has a true lDDT-CA: how sure the predictor was of it, and the lDDT-CA, 0 to 1.
    #[serde(skip)]
    pub confidences: Vec<(f64, f64)>,
}

/// Contacts of shorter chains are not judged: hardly a pair is far apart.
pub const CONTACTS_FROM: usize = 30;

/// How contact precision is measured, by name.
pub const CONTACT_MEASURES: [(&str, ContactSettings); 5] = [
    ("contact_precision_l2_sep12", settings(12, 2)),
    ("contact_precision_l_sep12", settings(12, 1)),
    ("contact_precision_l5_sep12", settings(12, 5)),
    ("contact_precision_l2_sep6", settings(6, 2)),
    ("contact_precision_l2_sep24", settings(24, 2)),
];

const fn settings(separation: usize, part: usize) -> ContactSettings {
    ContactSettings { separation, part }
}

/// Predicts every chain from its sequence alone and judges the predictions.
///
/// `told` hears of each batch how many chains are done.
pub fn evaluate(predictor: &dyn Predictor, chains: &[Chain], told: &mut dyn FnMut(usize)) -> Vec<Scores> {
    let sequences: Vec<Sequence> = chains.iter().map(Chain::sequence).collect();
    let predictions = predict_all(predictor, &sequences, MEMORY, told);
    let pairs = predictions.par_iter().zip(chains);
    pairs
        .map(|(prediction, chain)| score(prediction, chain))
        .collect()
}

/// Predicts the contacts of every chain and judges them; of a predictor that knows no structures.
pub fn evaluate_contacts(contacts: impl Fn(&Sequence) -> Square + Sync, chains: &[Chain]) -> Vec<Scores> {
    let score = |chain: &Chain| {
        let mut scores = Scores::new(chain);
        scores.contacts(&contacts(&chain.sequence()), chain);
        scores
    };
    chains.par_iter().map(score).collect()
}

/// How much memory a batch may take, in bytes, unless somebody says otherwise.
pub const MEMORY: u64 = 1 << 30;

/// Predicts all sequences, those of like length together as far as `memory` bytes allow (one sequence always), and
/// returns the predictions in the order of the sequences. `told` hears after each batch how many are done.
pub fn predict_all(
    predictor: &dyn Predictor,
    sequences: &[Sequence],
    memory: u64,
    told: &mut dyn FnMut(usize),
) -> Vec<Prediction> {
    const LARGEST_BATCH: usize = 32;
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|i| sequences[*i].len());
    let mut predictions: Vec<Option<Prediction>> = vec![None; sequences.len()];
    let mut done = 0;
    while done < order.len() {
        let fits = |count: &usize| {
            let longest = sequences[order[done + count - 1]].len();
            predictor.memory(*count, longest) <= memory
        };
        let most = LARGEST_BATCH.min(order.len() - done);
        let count = (2..=most).take_while(fits).last().unwrap_or(1);
        let batch = &order[done..done + count];
        let together: Vec<Sequence> = batch.iter().map(|i| sequences[*i].clone()).collect();
        for (i, prediction) in batch.iter().zip(predictor.predict(&together)) {
            predictions[*i] = Some(prediction);
        }
        done += count;
        told(done);
    }
    let predictions = predictions.into_iter();
    predictions
        .map(|one| one.expect("a predictor answers every sequence"))
        .collect()
}

/// Judges one prediction.
///
/// # Panics
/// If it isn't of the chain's residues.
pub fn score(prediction: &Prediction, chain: &Chain) -> Scores {
    let model = prediction.chain();
    let mut scores = compare(&model, chain);
    let sure = |i: usize| f64::from(prediction.plddt[i]) / 100.0;
    let residues = measure::lddt_ca(&model, chain).residues.into_iter().enumerate();
    scores.confidences = residues
        .filter_map(|(i, found)| Some((sure(i), found?)))
        .collect();
    scores.confidence = measure::mean(&(0..chain.len()).map(sure).collect::<Vec<_>>());
    let contacts = prediction.contacts.clone();
    scores.contacts(&contacts.unwrap_or_else(|| contacts_of(prediction)), chain);
    scores
}

/// Compares a structure with the true one of the same residues, which may lack some; see [`Chain::matched_to`].
///
/// # Panics
/// If there are not equally many residues in both.
pub fn compare(model: &Chain, chain: &Chain) -> Scores {
    assert_eq!(model.len(), chain.len(), "a structure of the chain's residues");
    let mut scores = Scores::new(chain);
    scores.superposed(model, chain);
    scores.measures.insert("lddt", measure::lddt(model, chain).score);
    scores
        .measures
        .insert("lddt_ca", measure::lddt_ca(model, chain).score);
    scores.plausible(model);
    scores
}

impl Scores {
    fn new(chain: &Chain) -> Self {
        Self {
            id: chain.id.clone(),
            length: chain.len(),
            measures: BTreeMap::new(),
            confidence: 0.0,
            confidences: Vec::new(),
        }
    }

    fn superposed(&mut self, model: &Chain, chain: &Chain) {
        let pairs = model.residues.iter().zip(&chain.residues);
        let both = pairs.filter_map(|(own, true_one)| Some((own.ca()?, true_one.ca()?)));
        let (own, true_one): (Vec<[f64; 3]>, Vec<[f64; 3]>) =
            both.map(|(a, b)| (a.map(f64::from), b.map(f64::from))).unzip();
        if own.is_empty() {
            return;
        }
        // The true structure's length is that of what was seen of it, whatever the model lacks.
        let length = chain
            .residues
            .iter()
            .filter(|residue| residue.ca().is_some())
            .count();
        let found = measure::tm_score(&own, &true_one, length);
        self.measures.insert("tm_score", found.tm_score);
        self.measures.insert("gdt_ts", found.gdt_ts);
        self.measures.insert("rmsd", measure::rmsd(&own, &true_one));
    }

    fn contacts(&mut self, likely: &Square, chain: &Chain) {
        if chain.len() < CONTACTS_FROM {
            return;
        }
        for (name, settings) in CONTACT_MEASURES {
            if let Some(found) = contact_precision(likely, chain, settings) {
                self.measures.insert(name, found);
            }
        }
    }

    /// What the prediction is worth as a backbone, whatever the truth.
    fn plausible(&mut self, model: &Chain) {
        let clashes = measure::clashes(model) as f64;
        self.measures.insert(
            "clashes_per_100_residues",
            100.0 * clashes / model.len().max(1) as f64,
        );
        let angles = measure::dihedrals(model);
        let pairs = angles.iter().zip(&model.residues);
        let others = pairs.filter(|(_, residue)| residue.kind != crate::AminoAcid::Gly);
        let regions: Vec<Region> = others
            .filter_map(|(angles, _): (&Dihedrals, _)| angles.region())
            .collect();
        let usual = regions
            .iter()
            .filter(|region| matches!(region, Region::A | Region::B))
            .count();
        if !regions.is_empty() {
            self.measures
                .insert("ramachandran_left", usual as f64 / regions.len() as f64);
        }
    }
}

/// The contacts of a predicted structure: the nearer the likelier.
fn contacts_of(prediction: &Prediction) -> Square {
    let chain = prediction.chain();
    let places: Vec<Option<Point>> = chain.residues.iter().map(beta).collect();
    Square::from_fn(places.len(), |i, j| match (places[i], places[j]) {
        (Some(a), Some(b)) => 1.0 / (1.0 + (distance(a, b) - measure::CONTACT as f32).exp()),
        _ => 0.0,
    })
}

/// The sequence with its residues in a random order: as long, of the same composition, and of no protein.
pub fn shuffled(chain: &Chain, random: &mut Random) -> Sequence {
    let mut sequence = chain.sequence();
    random.shuffle(&mut sequence.residues);
    sequence
}

/// What a predictor got right, over all chains.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Each measure's mean over the chains that have it.
    pub measures: BTreeMap<&'static str, Interval>,
    /// Pearson's correlation of the confidence with the true lDDT-CA over all residues; none if the confidence
    /// doesn't vary.
    pub confidence_pearson: Option<f64>,
    /// The same over chains.
    pub confidence_pearson_chains: Option<f64>,
    /// The mean confidence over chains, 0 to 1.
    pub confidence: f64,
    /// The mean gap between confidence and truth.
    pub calibration_error: f64,
    /// The reliability diagram.
    pub reliability: Vec<measure::Bin>,
}

/// Means with their bootstrap intervals over chains.
pub fn summarise(scores: &[Scores], seed: u64) -> Summary {
    const BINS: usize = 10;
    let names: std::collections::BTreeSet<&'static str> = scores
        .iter()
        .flat_map(|one| one.measures.keys().copied())
        .collect();
    let measures = names
        .into_iter()
        .map(|name| (name, interval(&values(scores, name), seed)));
    let residues: Vec<(f64, f64)> = scores
        .iter()
        .flat_map(|one| one.confidences.iter().copied())
        .collect();
    let chains = scores
        .iter()
        .filter_map(|one| Some((one.confidence, *one.measures.get("lddt_ca")?)));
    let (reliability, calibration_error) = reliability(&residues, BINS);
    Summary {
        measures: measures.collect(),
        confidence_pearson: pearson(&residues),
        confidence_pearson_chains: pearson(&chains.collect::<Vec<_>>()),
        confidence: measure::mean(&scores.iter().map(|one| one.confidence).collect::<Vec<_>>()),
        calibration_error,
        reliability,
    }
}

/// A measure of the chains that have it.
fn values(scores: &[Scores], name: &str) -> Vec<f64> {
    scores
        .iter()
        .filter_map(|one| one.measures.get(name).copied())
        .collect()
}

/// How far one predictor is ahead of another.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Lead {
    /// The mean difference over chains.
    pub by: Interval,
    /// How probable it is that it leads by so much by chance (paired, one-sided).
    pub p: f64,
}

/// How far `own` leads `others` in a measure, over the chains that have it in both.
///
/// # Panics
/// If they are not of the same chains.
pub fn lead(own: &[Scores], others: &[Scores], name: &str, seed: u64) -> Lead {
    assert_eq!(own.len(), others.len(), "scores of the same chains");
    let pairs = own.iter().zip(others);
    let both = pairs.filter_map(|(a, b)| Some((*a.measures.get(name)?, *b.measures.get(name)?)));
    let (a, b): (Vec<f64>, Vec<f64>) = both.unzip();
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    Lead {
        by: interval(&differences, seed),
        p: paired_p(&a, &b, seed),
    }
}
