//! The store on a real disk.

mod blobs;
mod damage;
mod kill;
mod log;
mod story;
