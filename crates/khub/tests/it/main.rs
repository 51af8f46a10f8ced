//! The binary from outside.

mod kill;
mod quickstart;
