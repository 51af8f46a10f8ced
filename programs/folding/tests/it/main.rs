//! The crate from outside.
#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

mod baselines;
mod esm;
mod referees;
