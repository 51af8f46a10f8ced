//! The binary from outside.
#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

mod audit;
mod awards;
mod batch;
mod browser;
mod bucket;
mod data;
mod deploy;
mod errors;
mod exchange;
mod fold;
mod help;
mod hub;
mod invoices;
mod kill;
mod login;
mod offers;
mod pages;
mod people;
mod private;
mod quickstart;
mod run;
mod sign_in;
mod simulate;
mod train;
mod uploads;
