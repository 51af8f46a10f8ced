//! The store on a real disk.
#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

mod backup;
mod blobs;
mod bucket;
mod damage;
mod kill;
mod leftovers;
mod log;
mod points;
mod postgres;
mod s3;
mod seals;
mod server;
mod story;
mod upgrade;
mod uploads;
