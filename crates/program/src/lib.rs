//! A programme as a job across sites: obeying a site's orders, keeping what a stop must not lose, and applying
//! rounds, for any network.
//!
//! A programme brings a [`Programme`]: its settings, its network, what it learns from, what comes out. Whatever
//! is the same for all of them is here: [`run`] is the whole process that a site starts.
//!
//! ```no_run
//! # use program::{Programme, RunError};
//! # fn go<P: Programme>() -> Result<(), RunError> {
//! use std::io::{BufReader, stdin, stdout};
//! let folder = sync::JobFolder::new("jobs/job-7");
//! program::run::<P>(&folder, None, Box::new(BufReader::new(stdin())), &mut stdout())
//! # }
//! ```

mod run;
mod settings;
mod state;

pub use run::{Programme, RunError, at, read_job, run, written};
pub use settings::{BadSetting, JobSettings, check};
pub use state::{Agreed, AgreedWords};
