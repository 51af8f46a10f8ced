//! The programme as its users see it: files in, files and text out.

mod data;
mod run;
