//! What comes next for an invoice, as one of those whom it concerns sees it.

use super::{Invoice, InvoiceState};
use crate::policy::Resource;
use crate::{Account, Action, Actor, Day, State, Time, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InvoiceStep {
    /// More may come.
    AwaitEnd {
        /// When its month is over.
        until: Time,
    },
    /// The site's invoice of an earlier month is issued first.
    AwaitEarlier,
    /// The office issues it.
    Issue,
    /// It is for the office to issue.
    AwaitIssue,
    /// The site's owner hands in the bill.
    Bill,
    /// The office decides what of the bill is right.
    Correct,
    /// It is for the office to decide.
    AwaitDecision,
    /// The office pays.
    Pay {
        /// So much at most: what is left of it, if the site still has that to get.
        most: Won,
    },
    /// It is for the office to pay.
    AwaitPayment,
    /// It is paid, or there is nothing to pay.
    Nothing,
}

impl InvoiceStep {
    /// Whether whoever is told it has something to do.
    pub fn is_to_do(&self) -> bool {
        match self {
            Self::Issue | Self::Bill | Self::Correct | Self::Pay { .. } => true,
            Self::AwaitEnd { .. }
            | Self::AwaitEarlier
            | Self::AwaitIssue
            | Self::AwaitDecision
            | Self::AwaitPayment
            | Self::Nothing => false,
        }
    }
}

impl State {
    /// What comes next for an invoice, for `actor`. An invoice may be paid before its bill is in.
    pub fn next_step_of_invoice(&self, invoice: &Invoice, actor: &Actor, now: Time) -> InvoiceStep {
        let may = |action, resource: Resource<'_>| self.permit(actor, action, &resource).is_ok();
        let office = may(Action::Administer, Resource::Consortium);
        let site = self.sites.get(&invoice.id.site);
        let bills = || site.is_some_and(|site| may(Action::Bill, Resource::Site(site)));
        let most = self.payable(invoice);
        match invoice.state(self) {
            InvoiceState::Draft => self.before_issue(invoice, office, now),
            InvoiceState::Issued if invoice.payments.is_empty() && bills() => InvoiceStep::Bill,
            InvoiceState::Disputed if office => InvoiceStep::Correct,
            InvoiceState::Disputed => InvoiceStep::AwaitDecision,
            InvoiceState::Paid => InvoiceStep::Nothing,
            _ if most <= Won(0) => InvoiceStep::Nothing,
            _ if office => InvoiceStep::Pay { most },
            _ => InvoiceStep::AwaitPayment,
        }
    }

    fn before_issue(&self, invoice: &Invoice, office: bool, now: Time) -> InvoiceStep {
        let until = invoice.id.month.next().begins();
        let first = self.first_draft(&invoice.id.site);
        if now < until {
            InvoiceStep::AwaitEnd { until }
        } else if first.is_some_and(|first| first.id != invoice.id) {
            InvoiceStep::AwaitEarlier
        } else if office {
            InvoiceStep::Issue
        } else {
            InvoiceStep::AwaitIssue
        }
    }

    /// The site's next invoice to be issued.
    pub(super) fn first_draft(&self, site: &crate::SiteId) -> Option<&Invoice> {
        self.invoices_of(site).find(|it| it.issued.is_none())
    }

    /// The most that can be paid on it: what is left of it, if the site still has that to get. What was taken back since
    /// is set off on the next.
    pub(super) fn payable(&self, invoice: &Invoice) -> Won {
        let earned = Account::Earned(invoice.id.site.clone());
        invoice.unpaid().min(self.ledger.balance(&earned).won)
    }
}

impl fmt::Display for InvoiceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitEnd { until } => write!(f, "more may come until {}", Day::of(Time(until.0 - 1))),
            Self::AwaitEarlier => f.write_str("waits for the site's earlier invoice to be issued"),
            Self::Issue => f.write_str("issue it"),
            Self::AwaitIssue => f.write_str("waits for the programme office to issue it"),
            Self::Bill => f.write_str("hand in the site's own bill"),
            Self::Correct => f.write_str("decide on the bill, which differs"),
            Self::AwaitDecision => f.write_str("waits for the programme office to decide on the bill"),
            Self::Pay { most } => write!(f, "pay {most}"),
            Self::AwaitPayment => f.write_str("waits for payment"),
            Self::Nothing => f.write_str("nothing more"),
        }
    }
}
