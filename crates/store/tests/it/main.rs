//! The store on a real disk.
#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

mod blobs;
mod damage;
mod kill;
mod log;
mod story;
