//! The hub over real HTTP: whole jobs, refusals, restarts.
#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

mod access;
mod access_log;
mod board;
mod calls;
mod invoices;
mod jobs;
mod matrix;
mod models;
mod openapi;
mod pages;
mod runs;
mod sign_in;
mod tokens;
mod uploads;
mod world;
