//! A network with its parameters.

use crate::{Element, Error, Layout, Pool, Tape};

/// What can be trained: parameters by name, and what is recorded to get from a batch to a loss.
pub trait Network: Send + Sync {
    /// What it is trained on.
    type Batch: Batch;

    /// Where its parameters lie.
    fn layout(&self) -> &Layout;

    /// Refuses a batch that it can't take, before anything is computed.
    fn check(&self, batch: &Self::Batch) -> Result<(), Error>;

    /// Records the way to the loss.
    fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, batch: &'a Self::Batch);
}

/// Something to learn from.
pub trait Batch {
    /// How much of it there is, in what the programme counts: predicted tokens, residues, samples.
    fn weight(&self) -> u64;
}

/// A network and its parameters.
#[derive(Debug, Clone)]
pub struct Model<N> {
    /// What it computes.
    pub network: N,
    /// With what; [`Network::layout`] says which is which.
    pub params: Vec<f32>,
}

impl<N: Network> Model<N> {
    /// A new model. A seed means the same bits on every machine.
    pub fn new(network: N, seed: u64) -> Self {
        let params = network.layout().new_params(seed);
        Self { network, params }
    }

    /// The loss of a batch, in nats for what it counts.
    pub fn loss<E: Element>(&self, pool: &Pool<E>, batch: &N::Batch) -> Result<f64, Error> {
        self.network.check(batch)?;
        let mut tape = Tape::inference(pool, &self.params);
        self.network.record(&mut tape, batch);
        Ok(tape.loss())
    }

    /// The loss of a batch; sets `gradient`.
    pub fn loss_and_gradient<E: Element>(
        &self,
        pool: &Pool<E>,
        batch: &N::Batch,
        gradient: &mut [f32],
    ) -> Result<f64, Error> {
        self.part_of_step(pool, batch, gradient, true, 1.0)
    }

    /// The same for a batch that is the part `share` of a step: returns its part of the step's loss, and adds
    /// to `gradient` unless it is the `first`.
    pub fn part_of_step<E: Element>(
        &self,
        pool: &Pool<E>,
        batch: &N::Batch,
        gradient: &mut [f32],
        first: bool,
        share: f32,
    ) -> Result<f64, Error> {
        self.network.check(batch)?;
        let mut tape = Tape::accumulating(pool, &self.params, gradient, first, share);
        self.network.record(&mut tape, batch);
        let loss = tape.loss();
        tape.backward();
        Ok(loss)
    }
}
