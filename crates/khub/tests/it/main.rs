//! The binary from outside.

mod kill;
