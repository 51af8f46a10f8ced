//! The learning rate by step: a linear warm-up, then half a cosine down to a floor.

/// A learning rate for each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f32,
    /// Steps until it is reached.
    pub warmup: u64,
    /// Steps until the floor is reached.
    pub steps: u64,
    /// The last rate, as a part of the highest.
    pub floor: f32,
}

impl Schedule {
    /// The rate of `step`, which counts from 0.
    pub fn rate(&self, step: u64) -> f32 {
        if step < self.warmup {
            return self.peak * (step + 1) as f32 / self.warmup as f32;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f32 / rest as f32).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_falls_and_stays() {
        let schedule = Schedule {
            peak: 1.0,
            warmup: 4,
            steps: 104,
            floor: 0.1,
        };
        let cases = [
            (0, 0.25),
            (3, 1.0),
            (4, 1.0),
            (54, 0.55),
            (104, 0.1),
            (10_000, 0.1),
        ];
        for (step, expected) in cases {
            assert!(
                (schedule.rate(step) - expected).abs() < 1e-5,
                "step {step}: {}",
                schedule.rate(step)
            );
        }
    }
}
