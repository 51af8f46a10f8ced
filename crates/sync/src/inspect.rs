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
    loss: Option<Loss<'_, E>>,
) -> Result<Findings, E> {
    let mut inspection = Inspection::new(outer, range, came);
    if let Some(loss) = loss {
        while let Some(weights) = inspection.asks() {
            let loss = loss(weights)?;
            inspection.tell(loss);
        }
    }
    Ok(inspection.findings())
}

/// The same a loss at a time, for whoever can't be called back.
#[derive(Debug, Clone)]
pub struct Inspection {
    range: Range<usize>,
    /// Those of the range that are agreed.
    agreed: Vec<f32>,
    /// What is to be judged now.
    weights: Vec<f32>,
    /// Those that can be read, and their places in what was found, the next at the end.
    to_try: Vec<(usize, Update)>,
    now: Tried,
    findings: Findings,
}

/// Whose loss is asked for.
#[derive(Debug, Clone, Copy)]
enum Tried {
    Agreed,
    Update(usize),
    All,
}

impl Inspection {
    /// Knows the norms.
    pub fn new(
        outer: &Outer,
        range: Range<usize>,
        came: impl IntoIterator<Item = (impl Into<String>, Vec<u8>)>,
    ) -> Self {
        let mut found = Vec::new();
        let mut to_try = Vec::new();
        for (site, bytes) in came {
            let update = Update::parse(&bytes).ok();
            let update = update.filter(|update| update.len() == range.len());
            let of_site = Found {
                site: site.into(),
                norm: update.as_ref().map(Update::norm),
                loss: None,
            };
            to_try.extend(update.map(|update| (found.len(), update)));
            found.push(of_site);
        }
        to_try.reverse();
        Self {
            agreed: outer.params()[range.clone()].to_vec(),
            weights: outer.params().to_vec(),
            range,
            to_try,
            now: Tried::Agreed,
            findings: Findings { before: None, found },
        }
    }

    /// The weights whose held-out loss is to be told: what is agreed, then what each update alone would make of it.
    pub fn asks(&self) -> Option<&[f32]> {
        match self.now {
            Tried::All => None,
            Tried::Agreed | Tried::Update(_) => Some(&self.weights),
        }
    }

    /// The loss of what was asked for, in nats.
    pub fn tell(&mut self, loss: f64) {
        let loss = Some(micronats(loss));
        match self.now {
            Tried::Agreed => self.findings.before = loss,
            Tried::Update(place) => self.findings.found[place].loss = loss,
            Tried::All => return,
        }
        self.now = match self.to_try.pop() {
            None => Tried::All,
            Some((place, update)) => {
                self.apply(&update);
                Tried::Update(place)
            }
        };
    }

    /// What was found so far.
    pub fn findings(self) -> Findings {
        self.findings
    }

    /// What it alone makes of the model.
    fn apply(&mut self, update: &Update) {
        let weights = self.weights[self.range.clone()].iter_mut();
        for ((weight, agreed), change) in weights.zip(&self.agreed).zip(update.decode()) {
            *weight = agreed - change;
        }
    }
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
