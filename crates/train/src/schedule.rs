//! The learning rate by step: a linear warm-up, then a way down to a floor.
//!
//! ```text
//! cosine     warm-up /‾‾--..__ floor        half a cosine from the peak on
//! wsd        warm-up /‾‾‾‾‾‾\_ floor        the peak is kept, and only the last part of the steps goes down
//! ```

use serde::{Deserialize, Serialize};

/// A learning rate for each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// How it goes down.
    pub curve: Curve,
    /// The highest rate.
    pub peak: f32,
    /// Steps until it is reached.
    pub warmup: u64,
    /// Steps until the floor is reached.
    pub steps: u64,
    /// The last rate, as a part of the highest.
    pub floor: f32,
    /// The part of the steps in which [`Curve::Wsd`] goes down.
    pub decay: f32,
}

/// How a learning rate goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// As half a cosine, from the end of the warm-up on.
    #[default]
    Cosine,
    /// Warm-up, stable, decay: as a line, and only at the end (Hu et al., arXiv 2404.06395). A run can be
    /// made longer from any checkpoint before that.
    Wsd,
}

impl Schedule {
    /// The rate of `step`, which counts from 0.
    pub fn rate(&self, step: u64) -> f32 {
        if step < self.warmup {
            return self.peak * (step + 1) as f32 / self.warmup as f32;
        }
        let start = match self.curve {
            Curve::Cosine => self.warmup,
            Curve::Wsd => {
                let decay = (self.steps as f64 * f64::from(self.decay)).round() as u64;
                self.steps.saturating_sub(decay).max(self.warmup)
            }
        };
        let rest = self.steps.saturating_sub(start).max(1);
        let done = (step.saturating_sub(start) as f32 / rest as f32).min(1.0);
        let left = match self.curve {
            Curve::Cosine => 0.5 * (1.0 + (std::f32::consts::PI * done).cos()),
            Curve::Wsd => 1.0 - done,
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_falls_and_stays() {
        let schedule = |curve, decay| Schedule {
            curve,
            peak: 1.0,
            warmup: 4,
            steps: 104,
            floor: 0.1,
            decay,
        };
        let cosine: &[(u64, f32)] = &[
            (0, 0.25),
            (3, 1.0),
            (4, 1.0),
            (54, 0.55),
            (104, 0.1),
            (10_000, 0.1),
        ];
        let wsd: &[(u64, f32)] = &[
            (0, 0.25),
            (4, 1.0),
            (78, 1.0),
            (91, 0.55),
            (104, 0.1),
            (10_000, 0.1),
        ];
        // All of it is decay: the warm-up still comes first.
        let line: &[(u64, f32)] = &[(3, 1.0), (4, 1.0), (54, 0.55), (104, 0.1)];
        let never: &[(u64, f32)] = &[(103, 1.0), (105, 0.1)];
        let cases = [
            (Curve::Cosine, 0.25, cosine),
            (Curve::Wsd, 0.25, wsd),
            (Curve::Wsd, 1.0, line),
            (Curve::Wsd, 0.0, never),
        ];
        for (curve, decay, expected) in cases {
            for &(step, expected) in expected {
                let rate = schedule(curve, decay).rate(step);
                assert!(
                    (rate - expected).abs() < 1e-5,
                    "{curve:?} {decay}, step {step}: {rate}"
                );
            }
        }
    }
}
