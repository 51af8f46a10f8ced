//! The hub over real HTTP: whole jobs, refusals, restarts.

mod access;
mod jobs;
mod world;
