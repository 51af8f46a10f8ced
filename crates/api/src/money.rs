//! Money by fiscal year, and how a client asks for it.

use crate::client::Answer;
use crate::{Client, Done};
use consortium::{FiscalYear, MoneyCommand, YearEnd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the money of each fiscal year is, and what was decided about what was left of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoneyView {
    /// The fiscal year that runs.
    pub this: u16,
    /// Each year, the first first; what is of no year comes before them.
    pub years: Vec<FiscalYear>,
    /// What was carried into another year or given back, the first first.
    pub year_ends: Vec<YearEnd>,
}

impl Client {
    /// Where the money of each fiscal year is, for whoever may audit.
    pub fn money(&self) -> Answer<MoneyView> {
        self.get("/money")
    }

    /// Decides about what is left of a year's money.
    pub fn end_year(&self, command: &MoneyCommand) -> Answer<Done> {
        self.post("/money", command)
    }
}
