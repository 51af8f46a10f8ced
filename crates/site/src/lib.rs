//! The process beside a site's machines. It fetches its orders from the hub, runs programs, takes part in
//! rounds and reads its own meter. It needs no inbound port: the hub never dials in, and other sites only do if the
//! site wants to hand out directly what they share (`exchange.rs`).
//!
//! ```no_run
//! use site::{Batches, ExchangeConfig, Programs, Site, SiteConfig};
//! let client = api::Client::new("http://127.0.0.1:7777", "khub_...")?;
//! let programs = Programs::of(vec!["khub".into(), "program".into()]);
//! let folder = "site-data".into();
//! let (batches, exchange) = (Batches::default(), ExchangeConfig::default());
//! let site = Site::new(SiteConfig { client, folder, programs, threads: None, batches, exchange })?;
//! site.run(&|line| println!("{line}"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The hub never tells a site a single step. The orders say how a job stands; `step.rs` compares that with
//! what the site has done and names the next step, so that a lost message, a restart of either side or an
//! order heard twice lead to the same place. `stay.rs` says what each step takes. None of that does anything
//! by itself: [`Machine`] says what to do, and `edge.rs` does it, `carry.rs` what goes to the hub and comes from it. The
//! simulator does it in another way.

mod batch;
mod carry;
mod edge;
mod exchange;
mod machine;
mod masks;
mod poll;
mod program;
mod stay;
mod step;

pub use batch::{Batches, Container, SlurmConfig};
pub use edge::Site;
pub use exchange::{Circle, ExchangeConfig, Rates};
pub use machine::{Answer, Do, Files, Heard, Machine, Way};
pub use masks::{masks, seeds};
pub use program::{Programs, Source};

use api::{ApiError, Client};
use std::path::PathBuf;

/// How a site works.
pub struct SiteConfig {
    /// The hub, with the site's credential.
    pub client: Client,
    /// Where the site keeps its jobs.
    pub folder: PathBuf,
    /// Where its programs come from.
    pub programs: Programs,
    /// Threads for a program; none takes all.
    pub threads: Option<usize>,
    /// What runs batch jobs.
    pub batches: Batches,
    /// How it exchanges with other sites.
    pub exchange: ExchangeConfig,
}

/// Why a site can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The hub refuses it for good.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The credential is a person's.
    #[error("this credential speaks for {0}, not for a site")]
    NotASite(String),
    /// Its own files.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        why: std::io::Error,
    },
    /// Its exchange with other sites.
    #[error("the exchange with other sites: {0}")]
    Exchange(String),
    /// The masks of a private job.
    #[error("its masks: {0}")]
    Masks(#[from] sync::private::SumError),
}
