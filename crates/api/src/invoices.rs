//! Invoices: as the hub tells them to a site's owner and to whoever may audit, and how a client asks.

use crate::client::Answer;
use crate::{Client, Done};
use consortium::{
    AwardId, Bill, Difference, FlopSeconds, InvoiceId, InvoiceState, InvoiceStep, Issued, JobId, Month,
    OrganisationId, Payment, Price, ProjectId, SiteId, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An invoice in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceView {
    /// Its number.
    pub id: InvoiceId,
    /// Whose site it is.
    pub owner: OrganisationId,
    /// How far it is.
    pub state: InvoiceState,
    /// When it was issued; a draft without.
    pub issued: Option<Issued>,
    /// Compute that was settled.
    pub compute: FlopSeconds,
    /// Money that was settled.
    pub settled: Won,
    /// What corrections of earlier invoices come to; below zero if they take back.
    pub corrected: Won,
    /// Both: what is owed.
    pub total: Won,
    /// What of it isn't paid.
    pub unpaid: Won,
    /// What comes next, for the asker.
    pub step: InvoiceStep,
}

/// The whole of an invoice, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceSheet {
    /// Its head.
    pub invoice: InvoiceView,
    /// What was settled, by job; a job that was settled at several prices, or for several months, has several.
    pub lines: Vec<InvoiceLine>,
    /// What was corrected since the invoice before.
    pub corrections: Vec<InvoiceCorrection>,
    /// The site's own, as it last handed it in.
    pub bill: Option<Bill>,
    /// Where that differs.
    pub differences: Vec<Difference>,
    /// Why a dispute is over, if there was one and it is.
    pub resolved: Option<String>,
    /// What was paid.
    pub payments: Vec<Payment>,
}

/// What was settled for a job, at one price and for one month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLine {
    /// Which.
    pub job: JobId,
    /// Whose job.
    pub project: ProjectId,
    /// What it was paid from; told to whoever may audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub award: Option<AwardId>,
    /// The price that was in force when the job was placed, won per PFLOP-hour.
    pub price: Price,
    /// The month of the use; an earlier one than the invoice's if its reading came late.
    pub of: Month,
    /// Compute.
    pub compute: FlopSeconds,
    /// Money.
    pub won: Won,
}

/// So much more or less for a job of an earlier invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceCorrection {
    /// The invoice that was disputed.
    pub invoice: InvoiceId,
    /// For which job.
    pub job: JobId,
    /// What pays, or gets it back; told to whoever may audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub award: Option<AwardId>,
    /// Money.
    pub won: Won,
    /// Why.
    pub ground: String,
}

/// Which invoices are asked for; all without a word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhichInvoices {
    /// Only those of one site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Only those of one month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<Month>,
    /// Only those that are so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<InvoiceState>,
}

impl Client {
    /// The invoices of sites whose owner the bearer acts for, or all for whoever may audit, by site and month.
    pub fn invoices(&self, which: &WhichInvoices) -> Answer<Vec<InvoiceView>> {
        let filters = [
            which.site.as_ref().map(|site| format!("site={site}")),
            which.month.map(|month| format!("month={month}")),
            which.state.map(|state| format!("state={state}")),
        ];
        let filters: Vec<String> = filters.into_iter().flatten().collect();
        let sign = if filters.is_empty() { "" } else { "?" };
        let path = format!("/invoices{sign}{}", filters.join("&"));
        self.list(&path, "after", |it: &InvoiceView| &it.id)
    }

    /// One invoice.
    pub fn invoice(&self, id: &InvoiceId) -> Answer<InvoiceSheet> {
        self.get(&format!("/invoices/{id}"))
    }

    /// Fixes an invoice.
    pub fn issue_invoice(&self, id: &InvoiceId) -> Answer<Done> {
        self.bare("POST", &format!("/invoices/{id}/issue"))
    }

    /// Hands in the site's own bill.
    pub fn bill(&self, id: &InvoiceId, bill: &Bill) -> Answer<Done> {
        self.post(&format!("/invoices/{id}/bill"), bill)
    }

    /// Decides on a bill that differs: so much more or less for each job, on some ground. Other jobs stay as they are.
    pub fn correct_invoice(
        &self,
        id: &InvoiceId,
        corrections: &BTreeMap<JobId, Won>,
        ground: &str,
    ) -> Answer<Done> {
        self.post(&format!("/invoices/{id}/corrections"), &(corrections, ground))
    }

    /// Notes a payment: so much, or all that is left.
    pub fn pay_invoice(&self, id: &InvoiceId, won: Option<Won>, reference: &str) -> Answer<Done> {
        self.post(&format!("/invoices/{id}/payments"), &(won, reference))
    }
}
