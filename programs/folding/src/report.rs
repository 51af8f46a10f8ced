//! The whole judgement of a predictor: what it gets right, beside baselines and a control that can only guess.

use crate::{
    Chain, Helix, Lead, Logistic, Nearest, Predictor, Random, Scores, Secondary, Separation, Sequence,
    Square, Summary, evaluate, evaluate_contacts, lead, score, shuffled, summarise,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// What [`report`] finds. Measures are means over chains; intervals hold 95 % of bootstrap samples.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Chains that were judged.
    pub chains: usize,
    /// Chains that baselines looked things up in.
    pub known: usize,
    /// Of the `L / 2` likeliest pairs at least twelve apart, the share that touches.
    pub contact_precision_l2_sep12: Option<f64>,
    /// TM-score.
    pub tm_score: Option<f64>,
    /// lDDT over CA.
    pub lddt_ca: Option<f64>,
    /// GDT-TS.
    pub gdt_ts: Option<f64>,
    /// Correlation of confidence and true lDDT-CA over residues.
    pub confidence_pearson: Option<f64>,
    /// All of the predictor's measures; none if only baselines were judged.
    pub predictor: Option<Summary>,
    /// The predictor on shuffled sequences.
    pub control: Option<Control>,
    /// Predictions that need no network.
    pub baselines: Vec<Baseline>,
    /// The predictor on each chain.
    pub each: Vec<Scores>,
}

/// The same predictor asked for sequences whose residues are in a random order, judged by the true structures: what
/// length and composition alone give. Its confidence should be lower, too.
#[derive(Debug, Clone, Serialize)]
pub struct Control {
    /// Its measures.
    pub summary: Summary,
    /// How far the predictor leads its control in each measure.
    pub lead: BTreeMap<&'static str, Lead>,
    /// How probable it is that confidence falls so much on shuffled sequences by chance.
    pub p_confidence: f64,
}

/// A baseline.
#[derive(Debug, Clone, Serialize)]
pub struct Baseline {
    /// What it is.
    pub name: &'static str,
    /// Its measures.
    pub summary: Summary,
    /// How far the predictor leads it in each measure; none without predictor.
    pub lead: BTreeMap<&'static str, Lead>,
}

/// What is compared; of the rest only the means are told.
const COMPARED: [&str; 4] = ["contact_precision_l2_sep12", "tm_score", "lddt_ca", "gdt_ts"];

/// Judges a predictor, or the baselines alone, on `chains`. Baselines that learn do so from `known`; without any only
/// the ideal helix and random contacts are left. `told` hears what is done.
pub fn report(
    predictor: Option<&dyn Predictor>,
    chains: &[Chain],
    known: &[Chain],
    seed: u64,
    told: &mut dyn FnMut(&str, usize),
) -> Report {
    let each = predictor.map(|own| evaluate(own, chains, &mut |done| told("predicting", done)));
    let each = each.unwrap_or_default();
    let summary = predictor.map(|_| summarise(&each, seed));
    let control = predictor.map(|own| control(own, &each, chains, seed, told));
    let baselines = baselines(chains, known, told)
        .into_iter()
        .map(|(name, scores)| Baseline {
            name,
            lead: leads(&each, &scores, seed),
            summary: summarise(&scores, seed),
        });
    let mean = |name: &str| Some(summary.as_ref()?.measures.get(name)?.mean);
    Report {
        chains: chains.len(),
        known: known.len(),
        contact_precision_l2_sep12: mean("contact_precision_l2_sep12"),
        tm_score: mean("tm_score"),
        lddt_ca: mean("lddt_ca"),
        gdt_ts: mean("gdt_ts"),
        confidence_pearson: summary.as_ref().and_then(|own| own.confidence_pearson),
        control,
        baselines: baselines.collect(),
        predictor: summary,
        each,
    }
}

fn control(
    predictor: &dyn Predictor,
    each: &[Scores],
    chains: &[Chain],
    seed: u64,
    told: &mut dyn FnMut(&str, usize),
) -> Control {
    let mut random = Random::new(seed);
    let sequences: Vec<Sequence> = chains.iter().map(|chain| shuffled(chain, &mut random)).collect();
    let told = &mut |done| told("predicting shuffled sequences", done);
    let predictions = crate::predict_all(predictor, &sequences, crate::MEMORY, told);
    let pairs = predictions.iter().zip(chains);
    let scores: Vec<Scores> = pairs
        .map(|(prediction, chain)| score(prediction, chain))
        .collect();
    let confidence = |scores: &[Scores]| scores.iter().map(|one| one.confidence).collect::<Vec<_>>();
    Control {
        lead: leads(each, &scores, seed),
        p_confidence: crate::measure::paired_p(&confidence(each), &confidence(&scores), seed),
        summary: summarise(&scores, seed),
    }
}

fn baselines(
    chains: &[Chain],
    known: &[Chain],
    told: &mut dyn FnMut(&str, usize),
) -> Vec<(&'static str, Vec<Scores>)> {
    let nothing = |sequence: &Sequence| Square::from_fn(sequence.len(), |_, _| 0.0);
    let mut found = vec![
        (
            "ideal helix",
            evaluate(&Helix, chains, &mut |done| told("ideal helix", done)),
        ),
        ("random contacts", evaluate_contacts(nothing, chains)),
    ];
    if known.is_empty() {
        return found;
    }
    let nearest = Nearest::new(known);
    found.push((
        "nearest known chain",
        evaluate(&nearest, chains, &mut |done| told("nearest known chain", done)),
    ));
    let secondary = Secondary::learn(known);
    found.push((
        "secondary structure only",
        evaluate(&secondary, chains, &mut |_| {}),
    ));
    let separation = Separation::learn(known);
    found.push((
        "separation only",
        evaluate_contacts(|sequence| separation.contacts(sequence), chains),
    ));
    told("logistic regression of contacts", 0);
    let logistic = Logistic::learn(known);
    found.push((
        "logistic contacts",
        evaluate_contacts(|sequence| logistic.contacts(sequence), chains),
    ));
    found
}

/// The lead over `others` in each measure that both have.
fn leads(each: &[Scores], others: &[Scores], seed: u64) -> BTreeMap<&'static str, Lead> {
    if each.is_empty() {
        return BTreeMap::new();
    }
    let both = |name: &&str| others.iter().any(|one| one.measures.contains_key(*name));
    let compared = COMPARED.into_iter().filter(both);
    compared
        .map(|name| (name, lead(each, others, name, seed)))
        .collect()
}
