//! What travels between the hub and everyone else: JSON under `/api/v1`, and a typed client for it.
//!
//! ```no_run
//! use api::Client;
//! let client = Client::new("http://127.0.0.1:7777", "khub_...")?;
//! for job in client.jobs()? {
//!     println!("{} {} {}", job.id, job.name, job.spent);
//! }
//! # Ok::<(), api::ApiError>(())
//! ```
//!
//! Whatever the hub refuses comes back as [`Problem`], an `application/problem+json` of RFC 9457.

mod calls;
mod client;
mod invoices;
mod money;
mod problem;
mod runs;
mod sign_in;
mod transfer;
mod wire;

pub use calls::{AwardView, CallView, Opinion, ProposalView, ReviewView, WhichProposals};
pub use client::{ApiError, Client, measure};
pub use invoices::{InvoiceCorrection, InvoiceLine, InvoiceSheet, InvoiceView, WhichInvoices};
pub use money::MoneyView;
pub use problem::Problem;
pub use runs::{HistoryView, MetricView, Number, PointView, RunView};
pub use sign_in::{
    Acceptance, DeviceAnswer, DeviceCodes, DeviceTold, DeviceView, InvitationView, Invite, Invited,
    SignInView, SignInWith, ToProvider, Welcome,
};
pub use transfer::PartFile;
pub use wire::{
    Behalf, Board, Bytes, Credential, Done, Health, Issued, JobLine, JobView, KeptOuter, LedgerView,
    LeftoversView, LogPart, Me, OfferView, OpenRound, Orders, OrganisationView, PersonView, PostingView,
    Progress, ProjectView, Ranked, Ranking, RatingView, ReleaseView, Ruling, RulingPolicy, SiteJob, SiteView,
    ToInspect, ToUnmask, Training, UploadView,
};
