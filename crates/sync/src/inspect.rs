//! What can be told of a round's updates before any of them counts: how long each is, and what it alone would make of
//! the model. Whoever inspects them knows nothing of the others' training, and takes nothing from their bytes on trust.

use crate::contract::Found;
use crate::{Outer, Update};
use std::ops::Range;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// Held-out loss of what is agreed, in millionths of a nat; none if there is nothing to judge by.
    pub before: Option<i64>,
    /// Of each update, in their order.
    pub found: Vec<Found>,
}

/// Tells the held-out loss of weights, in nats.
pub type Loss<'a, E> = &'a mut dyn FnMut(&[f32]) -> Result<f64, E>;

/// Inspects the updates that came of weights `range`: for each its site and its bytes, which may be anything.
/// `loss` tells the held-out loss of weights, in nats, if there is one.
///
/// ```
/// use sync::{Codec, Outer, OuterConfig, encode, inspect};
/// let outer = Outer::new(vec![1.0f32; 4], OuterConfig::default());
/// let came = [("seoul", encode(Codec::Fp32, &[0.5, 0.0], None)?), ("busan", b"no update".to_vec())];
/// let mut sum = |weights: &[f32]| Ok::<f64, std::io::Error>(f64::from(weights.iter().sum::<f32>()));
/// let findings = inspect(&outer, 2..4, came, Some(&mut sum))?;
/// assert_eq!(findings.before, Some(4_000_000));
/// assert_eq!((findings.found[0].norm, findings.found[0].loss), (Some(500_000_000), Some(3_500_000)));
/// assert_eq!((findings.found[1].norm, findings.found[1].loss), (None, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What `loss` has.
pub fn inspect<E>(
    outer: &Outer,
    range: Range<usize>,
    came: impl IntoIterator<Item = (impl Into<String>, Vec<u8>)>,
    mut loss: Option<Loss<'_, E>>,
) -> Result<Findings, E> {
    let mut weights = outer.params().to_vec();
    let mut judge = |weights: &[f32]| loss.as_mut().map(|loss| loss(weights).map(micronats)).transpose();
    let before = judge(&weights)?;
    let mut found = Vec::new();
    for (site, bytes) in came {
        let update = Update::parse(&bytes).ok();
        let update = update.filter(|update| update.len() == range.len());
        let mut of_site = Found {
            site: site.into(),
            norm: update.as_ref().map(Update::norm),
            loss: None,
        };
        if let Some(update) = update {
            let agreed = &outer.params()[range.clone()];
            let changes = agreed.iter().zip(update.decode());
            let moved: Vec<f32> = changes.map(|(agreed, change)| agreed - change).collect();
            weights[range.clone()].copy_from_slice(&moved);
            of_site.loss = judge(&weights)?;
            weights[range.clone()].copy_from_slice(agreed);
        }
        found.push(of_site);
    }
    Ok(Findings { before, found })
}

/// A loss that is no number is worse than any.
fn micronats(loss: f64) -> i64 {
    if loss.is_finite() {
        (loss * 1e6) as i64
    } else {
        i64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, OuterConfig, encode};
    use std::convert::Infallible;

    fn update(change: &[f32]) -> Vec<u8> {
        encode(Codec::Fp32, change, None).unwrap()
    }

    #[test]
    fn each_update_is_tried_alone() {
        let outer = Outer::new(vec![0.0; 3], OuterConfig::default());
        let mut tried = Vec::new();
        let mut loss = |weights: &[f32]| {
            tried.push(weights.to_vec());
            Ok::<f64, Infallible>(f64::NAN)
        };
        let came = [
            ("a", update(&[1.0])),
            ("b", update(&[1.0, 1.0])),
            ("c", update(&[-2.0])),
        ];
        let findings = inspect(&outer, 1..2, came, Some(&mut loss)).unwrap();
        assert_eq!(tried, [[0.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 2.0, 0.0]]);
        assert_eq!(findings.before, Some(i64::MAX));
        let told: Vec<_> = findings.found.iter().map(|it| (it.norm, it.loss)).collect();
        let norms = [Some(1_000_000_000), None, Some(2_000_000_000)];
        assert_eq!(told, norms.map(|norm| (norm, norm.map(|_| i64::MAX))));
    }

    #[test]
    fn without_held_out_samples_norms_alone_are_told() {
        let outer = Outer::new(vec![0.0; 2], OuterConfig::default());
        let findings = inspect::<Infallible>(&outer, 0..2, [("a", update(&[3.0, 4.0]))], None).unwrap();
        assert_eq!(findings.before, None);
        assert_eq!(
            (findings.found[0].norm, findings.found[0].loss),
            (Some(5_000_000_000), None)
        );
    }
}
