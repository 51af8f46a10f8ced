//! Processes of an `mpirun` train one model: after every number comes the next. Each says what came out; all
//! say the same.
#![allow(clippy::print_stdout, reason = "an example has somebody to tell")]

use nn::{Batch, Element, Error, Init, Layout, Model, Network, Param, Tape};
use std::error;
use train::{AllReduce, Flow, GroupError, Mpi, Rule, Samples, TrainConfig, Trainer};

struct Next {
    layout: Layout,
    table: Param,
    up: Param,
    head: Param,
}

struct Numbers(Vec<u32>, Vec<u32>);

struct Counting;

fn main() -> Result<(), Box<dyn error::Error>> {
    let group = Mpi::start()?;
    check_sums(group).and_then(train)
}

/// Numbers whose sum depends on the order in which they are added up, in several blocks.
fn check_sums(mut group: Mpi) -> Result<Mpi, Box<dyn error::Error>> {
    let number = |rank: usize, i: usize| {
        ((i * 37 + rank * 101) as f32 * 0.7).sin() * 10f32.powi((i + 3 * rank) as i32 % 7)
    };
    for len in [1, 3, 4097, 5_000_000] {
        let mut values: Vec<f32> = (0..len).map(|i| number(group.rank(), i)).collect();
        group.sum(&mut values)?;
        let plain = |i| (1..group.size()).fold(number(0, i), |sum, rank| sum + number(rank, i));
        assert!(values.iter().copied().eq((0..len).map(plain)), "{len} numbers");
    }
    let mut values = vec![1.0; if group.rank() == 0 { 4 } else { 5 }];
    match group.sum(&mut values) {
        Err(GroupError::Apart { .. }) => (),
        other => assert!(group.size() == 1, "other lengths are an error: {other:?}"),
    }
    Ok(group)
}

fn train(group: Mpi) -> Result<(), Box<dyn error::Error>> {
    let mut layout = Layout::default();
    let table = layout.add("embed", &[32, 16], Init::Normal(1.0));
    let up = layout.add("up", &[32, 16], Init::Normal(0.3));
    let head = layout.add("head", &[32, 32], Init::Normal(0.1));
    let model = Model::new(
        Next {
            layout,
            table,
            up,
            head,
        },
        1,
    );
    let config = TrainConfig {
        batch: 8,
        warmup: 2,
        steps: 100,
        learning_rate: 1e-2,
        optimizer: Rule::Muon,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::in_group(model, config, Box::new(group))?;
    let mut last = 0.0;
    let report = trainer.train(&Counting, 0, 801, &mut |step| {
        last = step.loss;
        Flow::GoOn
    })?;
    let bytes: Vec<u8> = trainer
        .model
        .params
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let (digest, rank, size) = (
        blake3::hash(&bytes),
        trainer.group().rank(),
        trainer.group().size(),
    );
    println!(
        "rank {rank} of {size}: {} steps, loss {last:.5}, params {digest}",
        report.steps
    );
    Ok(())
}

impl Batch for Numbers {
    fn weight(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Network for Next {
    type Batch = Numbers;

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn check(&self, _: &Numbers) -> Result<(), Error> {
        Ok(())
    }

    fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, batch: &'a Numbers) {
        let x = tape.embed(&batch.0, self.table);
        let x = tape.linear(&x, self.up, None);
        tape.cross_entropy(&x, self.head, &batch.1);
    }
}

impl Samples<Numbers> for Counting {
    fn len(&self) -> u64 {
        31
    }

    fn batch(&self, samples: &[u64]) -> Numbers {
        let numbers = samples.iter().map(|&sample| sample as u32);
        Numbers(
            numbers.clone().collect(),
            numbers.map(|number| number + 1).collect(),
        )
    }
}
