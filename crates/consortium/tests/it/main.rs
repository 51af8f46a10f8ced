//! The rules at work: told as stories in [`jobs`], [`batch`], [`placement`], [`rounds`] and [`requests`], measured in
//! [`money`], printed in [`policy`], told of standings and releases in [`standing`], of idle machines in [`watch`], of calls
//! and awards in [`calls`] and [`awards`], of what sites are owed in [`invoices`], of what people log in [`runs`], of
//! fiscal years' money in [`years`], of updates that are looked at before they count in [`inspection`] and of those that nobody
//! sees in [`private`], and hunted with
//! random commands in [`simulate`].

mod awards;
mod batch;
mod calls;
mod inspection;
mod invitations;
mod invoices;
mod jobs;
mod money;
mod offers;
mod people;
mod placement;
mod policy;
mod private;
mod queue;
mod requests;
mod rounds;
mod runs;
mod sight;
mod simulate;
mod standing;
mod watch;
mod world;
mod years;
