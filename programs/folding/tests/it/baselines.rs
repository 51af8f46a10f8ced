//! Baselines and the whole report, on chains that are made so that there is something to find.

use folding::measure::Dihedrals;
use folding::{
    AminoAcid, Chain, Helix, Logistic, Predictor, Random, Separation, Sequence, backbone, evaluate_contacts,
    predict_all, report,
};

/// Hairpins: strand, turn, strand back. Two letters make the strands and one the turn, so that the sequence tells
/// the contacts.
fn hairpins(count: usize, seed: u64) -> Vec<Chain> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|i| {
            let arm = 14 + random.below(8);
            let letters: String = (0..2 * arm + 2)
                .map(|k| match k {
                    _ if k == arm || k == arm + 1 => 'G',
                    _ => ['V', 'I'][random.below(2)],
                })
                .collect();
            let tail = "SKDE".repeat(3);
            let sequence: Sequence = format!("{tail}{letters}{tail}").parse().unwrap();
            hairpin(&format!("hairpin-{i}"), &sequence, tail.len() + arm)
        })
        .collect()
}

/// Two antiparallel lines of CA, 5 A apart, that turn after residue `turn`.
fn hairpin(id: &str, sequence: &Sequence, turn: usize) -> Chain {
    let residue = |(i, kind): (usize, &AminoAcid)| {
        let (along, side) = if i <= turn {
            (i as f32, 0.0)
        } else {
            (
                (2 * turn + 1 - i.min(2 * turn + 1)) as f32 - (i.max(2 * turn + 1) - 2 * turn - 1) as f32,
                5.0,
            )
        };
        folding::Residue {
            kind: *kind,
            number: i as i32 + 1,
            insertion: None,
            atoms: [None, Some([3.5 * along, side, 0.0]), None, None, None],
            b_factor: 0.0,
        }
    };
    Chain {
        id: id.to_owned(),
        residues: sequence.residues.iter().enumerate().map(residue).collect(),
    }
}

fn precision(contacts: impl Fn(&Sequence) -> folding::Square + Sync, chains: &[Chain]) -> f64 {
    let scores = evaluate_contacts(contacts, chains);
    let values = scores
        .iter()
        .map(|one| one.measures["contact_precision_l2_sep12"]);
    values.sum::<f64>() / scores.len() as f64
}

#[test]
fn what_can_be_learned_of_contacts_is_learned() {
    let (known, judged) = (hairpins(60, 1), hairpins(10, 2));
    let separation = Separation::learn(&known);
    let logistic = Logistic::learn(&known);
    let by_separation = precision(|sequence| separation.contacts(sequence), &judged);
    let by_residues = precision(|sequence| logistic.contacts(sequence), &judged);
    // Which residues face each other is told by where the turn is, not by how far they are apart.
    assert!(by_separation < 0.4, "{by_separation}");
    assert!(by_residues > 0.6, "{by_residues}");
}

#[test]
fn the_report_compares_and_controls() {
    /// Knows the hairpins.
    struct Oracle(Vec<Chain>);
    impl Predictor for Oracle {
        fn predict(&self, sequences: &[Sequence]) -> Vec<folding::Prediction> {
            let mut predictions = Helix.predict(sequences);
            for (prediction, sequence) in predictions.iter_mut().zip(sequences) {
                let Some(chain) = self
                    .0
                    .iter()
                    .find(|chain| chain.sequence().residues == sequence.residues)
                else {
                    prediction.plddt.fill(20.0);
                    continue;
                };
                prediction.plddt.fill(90.0);
                for (own, true_one) in prediction.atoms.iter_mut().zip(&chain.residues) {
                    *own = [true_one.ca().unwrap(); 5];
                }
            }
            predictions
        }
        fn memory(&self, count: usize, length: usize) -> u64 {
            (count * length) as u64
        }
    }
    let (known, judged) = (hairpins(20, 3), hairpins(12, 4));
    let found = report(Some(&Oracle(judged.clone())), &judged, &known, 1, &mut |_, _| {});
    assert!((found.tm_score.unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(found.lddt_ca, Some(1.0));
    assert_eq!(found.contact_precision_l2_sep12, Some(1.0));
    assert_eq!(found.confidence_pearson, None, "it is as sure of all");
    let control = found.control.unwrap();
    assert!(control.summary.measures["lddt_ca"].mean < 0.6);
    assert!(control.lead["lddt_ca"].by.low > 0.0);
    assert!(control.lead["lddt_ca"].p < 0.001 && control.p_confidence < 0.001);
    let names: Vec<_> = found.baselines.iter().map(|one| one.name).collect();
    assert_eq!(
        names,
        [
            "ideal helix",
            "random contacts",
            "nearest known chain",
            "secondary structure only",
            "separation only",
            "logistic contacts"
        ]
    );
    for baseline in &found.baselines {
        assert!(
            baseline.lead["contact_precision_l2_sep12"].p < 0.01,
            "{}",
            baseline.name
        );
    }
    let alone = report(None, &judged, &[], 1, &mut |_, _| {});
    assert_eq!((alone.baselines.len(), alone.tm_score), (2, None));
}

#[test]
fn batches_change_nothing_and_keep_to_the_memory() {
    /// Writes down how large its batches are.
    struct Noting(std::sync::Mutex<Vec<usize>>);
    impl Predictor for Noting {
        fn predict(&self, sequences: &[Sequence]) -> Vec<folding::Prediction> {
            let longest = sequences.iter().map(Sequence::len).max().unwrap_or(0);
            self.0.lock().unwrap().push(sequences.len() * longest);
            Helix.predict(sequences)
        }
        fn memory(&self, count: usize, length: usize) -> u64 {
            (count * length) as u64
        }
    }
    let sequences: Vec<Sequence> = [30, 7, 200, 12, 7, 50, 49]
        .iter()
        .enumerate()
        .map(|(i, length)| Sequence {
            name: i.to_string(),
            residues: vec![AminoAcid::Ala; *length],
        })
        .collect();
    let noting = Noting(Vec::new().into());
    let mut told = Vec::new();
    let together = predict_all(&noting, &sequences, 100, &mut |done| told.push(done));
    let alone: Vec<_> = sequences
        .iter()
        .flat_map(|one| Helix.predict(std::slice::from_ref(one)))
        .collect();
    assert_eq!(together, alone);
    // One sequence is always tried, whatever it takes.
    assert_eq!(*noting.0.lock().unwrap(), [36, 98, 50, 200]);
    assert_eq!(told, [3, 5, 6, 7]);
}

#[test]
fn a_backbone_of_no_residues_is_none() {
    assert!(backbone(&[]).is_empty());
    assert_eq!(backbone(&[Dihedrals::default()]).len(), 1);
}
