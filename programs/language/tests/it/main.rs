//! The programme as its users see it: files in, files and text out.

mod data;
mod export;
mod parity;
mod run;
