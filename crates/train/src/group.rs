//! Several workers that train one model: each computes the gradient of its share of a step's samples, and
//! the sum of all, the same bits everywhere, moves the parameters of each.
//!
//! ```text
//! a step's samples   0 1 2 | 3 4 5 | 6 7      contiguous shares, whatever their number: the same samples
//! worker             0     | 1     | 2
//! gradient           g0    + g1    + g2       added up in this order, by AllReduce::sum
//! ```

use std::fmt::Debug;
use std::io;
use std::ops::Range;

/// How the workers' numbers are added up.
pub trait AllReduce: Debug + Send {
    /// Which worker this is, from 0 on.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Makes `values`, as many in every worker, the sum of all workers' values: added up in the order of
    /// ranks, and the same bits in each. Waits for the others; one that is gone is an error in all.
    fn sum(&mut self, values: &mut [f32]) -> Result<(), GroupError>;

    /// Waits until the workers that this one has started have ended, and tells of one that failed. There is
    /// nothing to add up after this.
    fn finish(&mut self) -> Result<(), GroupError> {
        Ok(())
    }
}

/// One worker.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl AllReduce for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&mut self, _: &mut [f32]) -> Result<(), GroupError> {
        Ok(())
    }
}

/// Why a group can't work together.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A process or its memory can't be had.
    #[error("worker {rank} can't be started: {error}")]
    Start {
        /// Which worker.
        rank: usize,
        /// What the system said.
        error: io::Error,
    },
    /// The memory in which numbers are added up can't be had.
    #[error("{bytes} bytes of memory that all workers see (/dev/shm, where there is one): {error}")]
    Memory {
        /// How much was asked for.
        bytes: u64,
        /// What the system said.
        error: io::Error,
    },
    /// A worker is gone.
    #[error("worker {rank} is gone ({what}); the others stop too. Go on from the last checkpoint")]
    Gone {
        /// Which worker, as far as this one can tell.
        rank: usize,
        /// How that was noticed.
        what: String,
    },
    /// Workers that do different things.
    #[error("worker {rank} is at something else: {what}; all need the same configuration and checkpoint")]
    Apart {
        /// Which worker.
        rank: usize,
        /// What differs.
        what: String,
    },
    /// More workers than can count tokens together.
    #[error("a group of {0}: it takes 1 to 1024")]
    Size(usize),
    /// Words that a parent left for its worker and that aren't its own.
    #[error("{name} is {value:?}: it is set by the process that starts workers, and by nobody else")]
    Invitation {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// What MPI said.
    #[cfg(feature = "mpi")]
    #[error("MPI: {0}")]
    Mpi(&'static str),
}

impl GroupError {
    /// Workers that add up `theirs` and `ours` numbers.
    pub(crate) fn apart(rank: usize, theirs: u64, ours: u64) -> Self {
        let what = format!("it adds up {theirs} numbers, and this one {ours}");
        Self::Apart { rank, what }
    }
}

/// The most workers of a group.
pub(crate) const MOST: usize = 1024;
/// Digits of a count, 12 bits each: the sum of [`MOST`] of them is a whole number in an f32.
const DIGITS: usize = 5;
const DIGIT_BITS: usize = 12;

/// The share of `rank` in a step of `samples` samples.
pub(crate) fn share(samples: usize, rank: usize, size: usize) -> Range<usize> {
    let start = |rank: usize| samples * rank / size;
    start(rank)..start(rank + 1)
}

/// The sum of every worker's count, exactly.
pub(crate) fn total(group: &mut dyn AllReduce, count: u64) -> Result<u64, GroupError> {
    if group.size() == 1 {
        return Ok(count);
    }
    let digit = |i: usize| (count >> (i * DIGIT_BITS)) & ((1 << DIGIT_BITS) - 1);
    let mut digits: [f32; DIGITS] = std::array::from_fn(|i| digit(i) as f32);
    group.sum(&mut digits)?;
    let places = digits.iter().enumerate();
    Ok(places.map(|(i, digit)| (*digit as u64) << (i * DIGIT_BITS)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if so many workers had the same numbers.
    #[derive(Debug)]
    struct Alike(usize);

    impl AllReduce for Alike {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            self.0
        }

        fn sum(&mut self, values: &mut [f32]) -> Result<(), GroupError> {
            let one = values.to_vec();
            for _ in 1..self.0 {
                values.iter_mut().zip(&one).for_each(|(sum, x)| *sum += x);
            }
            Ok(())
        }
    }

    #[test]
    fn counts_are_added_up_exactly() {
        for size in [1, 2, 3, MOST] {
            for count in [0, 1, 4095, 4096, (1 << 24) + 1, (1 << 40) + 12345, (1 << 45) - 1] {
                assert_eq!(total(&mut Alike(size), count).unwrap(), count * size as u64);
            }
        }
    }

    #[test]
    fn shares_are_all_there_is() {
        for samples in 0..20 {
            for size in 1..6 {
                let shares: Vec<usize> = (0..size).flat_map(|rank| share(samples, rank, size)).collect();
                assert_eq!(shares, (0..samples).collect::<Vec<_>>());
                let most = (0..size).map(|rank| share(samples, rank, size).len()).max();
                assert_eq!(most, Some(samples.div_ceil(size)));
            }
        }
    }
}
