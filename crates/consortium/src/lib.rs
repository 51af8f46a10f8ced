//! The rules of the consortium: who may do what, who owes whom, where a job runs, when a round closes.
//!
//! Everything here is a function of the state, a request and the time. There is no file, no network, no
//! clock, no randomness and no float in this crate (its `clippy.toml` forbids them), so a simulator can
//! take the place of the world, and replaying the log of events gives the same state on any machine.
//!
//! ```
//! use consortium::{apply, decide, Actor, Command, Home, Kind, Organisation, Request, State, Time};
//!
//! let mut state = State::default();
//! let admit = Request::new(Actor::Hub, Command::Admit(Organisation {
//!     id: "gaon".parse()?, name: "Gaon University".into(), name_ko: "가온대학교".into(),
//!     kind: Kind::University, home: Home::Domestic,
//! }));
//! for event in decide(&state, &admit, Time(0))? {
//!     apply(&mut state, &event, Time(0));
//! }
//! assert_eq!(state.organisations.len(), 1);
//! assert!(decide(&state, &admit, Time(1)).is_err(), "an organisation is admitted once");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where to read on: [`command`] says what can be asked, [`event`] what can have happened, [`decide()`]
//! how one becomes the other, [`apply()`] what an event changes, [`ledger`] how money and compute move,
//! [`policy`] who may read what, [`queue`] who goes first, [`mod@explain`] why a job is where it is,
//! [`watch`] what follows for machines that are held idle, [`run`] what people log of their own.
#![deny(clippy::float_arithmetic)]

mod abilities;
mod amount;
mod apply;
mod award;
mod batch;
mod calendar;
mod call;
mod codec;
pub mod command;
mod consequence;
mod credential;
mod decide;
pub mod event;
pub mod explain;
mod id;
mod identity;
mod inspection;
mod invitation;
mod invoice;
mod job;
pub mod ledger;
mod member;
mod money;
mod offer;
mod people;
mod place;
pub mod policy;
mod private;
mod publication;
pub mod queue;
mod refusal;
mod release;
mod round;
pub mod run;
mod seat;
mod sight;
mod standing;
mod state;
pub mod watch;

pub use abilities::{Abilities, Contact};
pub use amount::{Amount, Budget, FlopSeconds, FlopsPerSecond, Price, Time, Won};
pub use apply::apply;
pub use award::{Agenda, Appeal, AwardCommand, AwardEvent, AwardStep, Course, Holdings, Notice};
pub use batch::{Again, Batch, Exit, Stop};
pub use calendar::{Day, Month};
pub use call::{
    Call, CallCommand, CallEvent, Case, Judged, Judgement, Proposal, Review, Reviewer, Stage, Step,
};
pub use codec::{Codec, CodecSpec, Link, Pace};
pub use command::{Actor, Command, Output, Reading, Request};
pub use consequence::follow;
pub use decide::decide;
pub use event::{Event, Outcome};
pub use explain::explain;
pub use id::{
    ArtifactId, AwardId, BadId, CallId, Digest, JobId, ModelId, OrganisationId, PersonId, ProjectId,
    ProposalId, SiteId,
};
pub use identity::Identity;
pub use inspection::{Bounds, Found, Inspection, Mode, Rejection, Report, Scale};
pub use invitation::{Guest, INVITATION_MILLIS, Invitation, InvitationCommand, InvitationEvent, SignIn};
pub use invoice::{
    Bill, BillLine, Billed, Correction, Difference, Invoice, InvoiceCommand, InvoiceEvent, InvoiceId,
    InvoiceState, InvoiceStep, Issued, Line, Payment, Reason,
};
pub use job::{Job, JobSpec, Member, Past, Phase, Placed, Presence, Usage};
pub use ledger::{Account, Ledger, Transfer};
pub use member::{
    Artifact, ArtifactKind, Award, Credential, Holder, Home, Kind, Label, Organisation, Person, Programme,
    Project, Role, Scope, Site, Tenure,
};
pub use money::{Book, FiscalYear, MoneyCommand, MoneyEvent, Went, YearEnd};
pub use offer::{Asking, Factor, NewOffer, Offer, OfferCommand, OfferEvent, OfferTerms, Rating};
pub use people::{PeopleCommand, PeopleEvent};
pub use place::{Candidate, Verdict};
pub use policy::{Action, Decision, Policy};
pub use private::{Clipping, MaskKey, MaskSeed, Seeds, Unmasking};
pub use publication::{Publication, Published, Revision};
pub use refusal::{Refusal, RefusalKind};
pub use release::Proposed;
pub use round::{Interval, OuterCheckpoint, Round, RoundSpec, Update};
pub use run::{Run, RunCommand, RunEvent, RunId, RunStatus, Runs};
pub use sight::Sight;
pub use standing::{Standing, Stands};
pub use state::{Remembered, State};
