//! A network and data for the tests: the sum of two numbers below 8.
#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

use crate::{Flow, Rule, Samples, Step, TrainConfig, Trainer};
use nn::{Batch, Element, Error, Gelu, Init, Layout, Model, Network, Param, Tape};

/// Reads two numbers and guesses their sum.
#[derive(Debug, Clone)]
pub(crate) struct Adder {
    layout: Layout,
    tables: [Param; 2],
    up: Param,
    gain: Param,
    head: Param,
}

/// Some sums.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    numbers: [Vec<u32>; 2],
    sums: Vec<u32>,
}

/// All 64 sums of a number below 8 and one below 8.
pub(crate) struct Sums;

impl Default for Adder {
    fn default() -> Self {
        let mut layout = Layout::default();
        let mut table = |name| layout.add(name, &[16, 16], Init::Normal(0.5));
        let tables = [table("embed.first"), table("embed.second")];
        let up = layout.add("up", &[32, 16], Init::Normal(0.3));
        let gain = layout.add("norm", &[32], Init::Ones);
        let head = layout.add("head", &[16, 32], Init::Normal(0.1));
        Self {
            layout,
            tables,
            up,
            gain,
            head,
        }
    }
}

impl Batch for Pairs {
    fn weight(&self) -> u64 {
        self.sums.len() as u64
    }
}

impl Network for Adder {
    type Batch = Pairs;

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn check(&self, _: &Pairs) -> Result<(), Error> {
        Ok(())
    }

    fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, pairs: &'a Pairs) {
        let x = tape.embed(&pairs.numbers[0], self.tables[0]);
        let y = tape.embed(&pairs.numbers[1], self.tables[1]);
        let x = tape.add(x, &y);
        let h = tape.linear(&x, self.up, None);
        let h = tape.gelu(&h, Gelu::Tanh);
        let h = tape.rms_norm(&h, self.gain, 1e-5);
        tape.cross_entropy(&h, self.head, &pairs.sums);
    }
}

impl Samples<Pairs> for Sums {
    fn len(&self) -> u64 {
        64
    }

    fn batch(&self, samples: &[u64]) -> Pairs {
        let first = samples.iter().map(|sample| *sample as u32 % 8);
        let second = samples.iter().map(|sample| *sample as u32 / 8);
        Pairs {
            sums: first.clone().zip(second.clone()).map(|(a, b)| a + b).collect(),
            numbers: [first.collect(), second.collect()],
        }
    }
}

/// What the tests train with.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        batch: 8,
        learning_rate: 1e-2,
        warmup: 5,
        steps: 60,
        ..TrainConfig::default()
    }
}

/// A new one.
pub(crate) fn trainer(config: TrainConfig) -> Trainer<Adder> {
    Trainer::new(Model::new(Adder::default(), 2), config).unwrap()
}

/// The losses of training on an interval.
pub(crate) fn losses(trainer: &mut Trainer<Adder>, first: u64, end: u64) -> Vec<f32> {
    let mut losses = Vec::new();
    let mut after = |step: &Step| {
        losses.push(step.loss);
        Flow::GoOn
    };
    trainer.train(&Sums, first, end, &mut after).unwrap();
    losses
}

/// All that a trainer is.
pub(crate) fn bits(trainer: &Trainer<Adder>) -> (Vec<u32>, [u64; 2]) {
    let moments = &trainer.optimizer.moments;
    let values = [&trainer.model.params, &moments.m, &moments.v];
    let bits = values.into_iter().flatten().map(|x| x.to_bits()).collect();
    (bits, [trainer.step, moments.step])
}

/// Every rule.
pub(crate) const RULES: [Rule; 2] = [Rule::AdamW, Rule::Muon];
