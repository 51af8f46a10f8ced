//! Workers that `mpirun` has started, on one machine or on many.
//!
//! An all-reduce of MPI's own may add up in any order. Here each worker gets everyone's values of its part,
//! adds them up in the order of ranks, and gives the sums to all: as many bytes on the wire, and the same
//! bits whatever library and network it is.
//!
//! ```text
//! cargo build --release -p train --features mpi --example mpi
//! mpirun -np 2 target/release/examples/mpi
//! ```

use crate::group::{AllReduce, GroupError, MOST};
use mpi::Threading;
use mpi::environment::{Universe, initialize_with_threading};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

/// Values that go round at one time: they bound the memory this takes, and MPI counts in 31 bits.
const BLOCK: usize = 1 << 22;

/// All processes of an `mpirun`, seen from one of them. One that dies ends all: `mpirun` stops the others.
pub struct Mpi {
    rank: usize,
    size: usize,
    outgoing: Vec<f32>,
    incoming: Vec<f32>,
    /// MPI ends with it.
    _universe: Universe,
}

impl Mpi {
    /// Joins the others; once in a process.
    pub fn start() -> Result<Self, GroupError> {
        let started = initialize_with_threading(Threading::Serialized);
        let (universe, threading) = started.ok_or(GroupError::Mpi("it was started already"))?;
        if threading < Threading::Serialized {
            return Err(GroupError::Mpi(
                "this library allows calls from the main thread only",
            ));
        }
        let world = universe.world();
        // Ranks and sizes are i32 there, and not below 0.
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if size > MOST {
            return Err(GroupError::Size(size));
        }
        Ok(Self {
            rank,
            size,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            _universe: universe,
        })
    }

    fn sum_block(&mut self, values: &mut [f32]) {
        let world = SimpleCommunicator::world();
        let part = values.len().div_ceil(self.size);
        let Self {
            outgoing, incoming, ..
        } = self;
        outgoing.clear();
        outgoing.extend_from_slice(values);
        outgoing.resize(part * self.size, 0.0);
        incoming.resize(part * self.size, 0.0);
        world.all_to_all_into(&outgoing[..], &mut incoming[..]);
        let (sum, others) = incoming.split_at_mut(part);
        for other in others.chunks_exact(part) {
            sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
        }
        world.all_gather_into(&*sum, &mut outgoing[..]);
        values.copy_from_slice(&outgoing[..values.len()]);
    }
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mpi {{ rank: {}, size: {} }}", self.rank, self.size)
    }
}

impl AllReduce for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), GroupError> {
        let ours = values.len() as u64;
        let mut lengths = vec![0; self.size];
        SimpleCommunicator::world().all_gather_into(&ours, &mut lengths[..]);
        if let Some(rank) = lengths.iter().position(|theirs| *theirs != ours) {
            return Err(GroupError::apart(rank, lengths[rank], ours));
        }
        values.chunks_mut(BLOCK).for_each(|block| self.sum_block(block));
        Ok(())
    }
}
