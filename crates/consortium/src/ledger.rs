//! Double entry in won and FLOP-seconds. Money and compute only ever move: a [`Transfer`] takes from one
//! account what it gives to another, so the postings of any set of transfers sum to zero by construction,
//! and [`Ledger::check`] refuses what would leave an account below zero.
//!
//! ```
//! use consortium::{Account, Ledger, Transfer, Won};
//! let mut ledger = Ledger::default();
//! let award = Account::Award("a-1".parse().unwrap());
//! ledger.post(&Transfer::won(Account::Source, Account::Pool(Some(2021)), Won(500)));
//! let too_much = Transfer::won(Account::Pool(Some(2021)), award, Won(501));
//! assert!(ledger.check(&[too_much]).is_err());
//! ```

use crate::id::{job_pattern, slug_pattern};
use crate::money::ByYear;
use crate::{Amount, AwardId, FlopSeconds, JobId, SiteId, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Who holds money or compute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!(
    "^(source|pool(:[0-9]{1,5})?|(award|earned|paid):", slug_pattern!(), "|reserved:", job_pattern!(), ":", slug_pattern!(), ")$"
)))]
pub enum Account {
    /// Where it all comes from: the ministry's money, the machines' compute. The mirror image of everything
    /// else in the books, and so the one account that is below zero.
    Source,
    /// Appropriated to the programme office for a fiscal year, awarded to nobody yet; what logs hold from before years had
    /// accounts is of none.
    Pool(Option<u16>),
    /// What a project may still spend.
    Award(AwardId),
    /// Set aside for a job at a site.
    Reserved(JobId, SiteId),
    /// Earned by a site's owner.
    Earned(SiteId),
    /// Paid to a site's owner.
    PaidOut(SiteId),
}

/// So much of one unit from one account to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who gives.
    pub from: Account,
    /// Who gets.
    pub to: Account,
    /// Money.
    #[serde(default)]
    pub won: Won,
    /// Compute.
    #[serde(default)]
    pub compute: FlopSeconds,
}

impl Transfer {
    /// Money alone.
    pub fn won(from: Account, to: Account, won: Won) -> Self {
        Self {
            from,
            to,
            won,
            compute: FlopSeconds(0),
        }
    }

    /// Money and compute.
    pub fn both(from: Account, to: Account, won: Won, compute: FlopSeconds) -> Self {
        Self {
            from,
            to,
            won,
            compute,
        }
    }

    /// The two postings it stands for: account, won, compute; they sum to zero.
    pub fn postings(&self) -> [(&Account, Won, FlopSeconds); 2] {
        [
            (&self.from, -self.won, -self.compute),
            (&self.to, self.won, self.compute),
        ]
    }
}

/// Every account's balance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    balances: BTreeMap<Account, Amount>,
    #[serde(default)]
    by_year: ByYear,
}

/// A transfer that can't be posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The account holds less.
    #[error("account {account} holds {held} and can't give {asked}")]
    Short {
        /// Which account.
        account: Account,
        /// What it holds.
        held: String,
        /// What was asked of it.
        asked: String,
    },
    /// More than an account, or the source on its behalf, can count.
    #[error("account {account} can't keep count of {asked} more")]
    Flood {
        /// Which account.
        account: Account,
        /// What was to be added.
        asked: String,
    },
    /// Transfers go one way; what is undone is a transfer back.
    #[error("a transfer from {from} to {to} of less than nothing")]
    Negative {
        /// Who would give.
        from: Account,
        /// Who would get.
        to: Account,
    },
}

impl Ledger {
    /// What `account` holds.
    pub fn balance(&self, account: &Account) -> Amount {
        self.balances.get(account).copied().unwrap_or_default()
    }

    pub(crate) fn by_year(&self) -> &ByYear {
        &self.by_year
    }

    /// Every account that was ever used, in order.
    pub fn balances(&self) -> impl Iterator<Item = (&Account, Amount)> {
        self.balances.iter().map(|(account, balance)| (account, *balance))
    }

    /// Whether `transfers`, posted in order, leave every account but the source at zero or above, and every
    /// account where it can be counted.
    pub fn check(&self, transfers: &[Transfer]) -> Result<(), LedgerError> {
        let mut after = BTreeMap::new();
        for transfer in transfers {
            if transfer.won < Won(0) || transfer.compute < FlopSeconds(0) {
                return Err(LedgerError::Negative {
                    from: transfer.from.clone(),
                    to: transfer.to.clone(),
                });
            }
            for (account, won, compute) in transfer.postings() {
                let held = after.entry(account).or_insert_with(|| self.balance(account));
                let flood = |asked: &dyn fmt::Display| LedgerError::Flood {
                    account: account.clone(),
                    asked: asked.to_string(),
                };
                let short = |held: &dyn fmt::Display, asked: &dyn fmt::Display| LedgerError::Short {
                    account: account.clone(),
                    held: held.to_string(),
                    asked: asked.to_string(),
                };
                let sum = Amount {
                    won: held.won.checked_add(won).ok_or_else(|| flood(&transfer.won))?,
                    compute: held
                        .compute
                        .checked_add(compute)
                        .ok_or_else(|| flood(&transfer.compute))?,
                };
                if *account != Account::Source && sum.won < Won(0) {
                    return Err(short(&held.won, &transfer.won));
                }
                if *account != Account::Source && sum.compute < FlopSeconds(0) {
                    return Err(short(&held.compute, &transfer.compute));
                }
                *held = sum;
            }
        }
        Ok(())
    }

    /// Moves it. What the log holds was checked before it got there.
    pub fn post(&mut self, transfer: &Transfer) {
        for (account, won, compute) in transfer.postings() {
            let balance = self.balances.entry(account.clone()).or_default();
            balance.won += won;
            balance.compute += compute;
        }
        self.by_year.post(transfer);
    }

    /// The two things that must always hold: the sum is zero, and only the source is below it.
    pub fn audit(&self) -> Result<(), String> {
        let flood = || "the postings sum to more than can be counted, not to zero".to_owned();
        let (mut won, mut compute) = (Won(0), FlopSeconds(0));
        for (account, balance) in self.balances() {
            won = won.checked_add(balance.won).ok_or_else(flood)?;
            compute = compute.checked_add(balance.compute).ok_or_else(flood)?;
            if *account != Account::Source && (balance.won < Won(0) || balance.compute < FlopSeconds(0)) {
                return Err(format!(
                    "account {account} is below zero: {}, {}",
                    balance.won, balance.compute
                ));
            }
        }
        if (won, compute) != (Won(0), FlopSeconds(0)) {
            return Err(format!("the postings sum to {won} and {compute}, not to zero"));
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Source => "source".to_owned(),
            Self::Pool(None) => "pool".to_owned(),
            Self::Pool(Some(year)) => format!("pool:{year}"),
            Self::Award(award) => format!("award:{award}"),
            Self::Reserved(job, site) => format!("reserved:{job}:{site}"),
            Self::Earned(site) => format!("earned:{site}"),
            Self::PaidOut(site) => format!("paid:{site}"),
        })
    }
}

impl From<Account> for String {
    fn from(account: Account) -> String {
        account.to_string()
    }
}

impl TryFrom<String> for Account {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = |why: crate::BadId| format!("{text:?} is not an account: {why}");
        let no_year = |why: std::num::ParseIntError| format!("{text:?} is not an account: {why}");
        let parts: Vec<&str> = text.split(':').collect();
        Ok(match parts.as_slice() {
            ["source"] => Self::Source,
            ["pool"] => Self::Pool(None),
            ["pool", year] => Self::Pool(Some(year.parse().map_err(no_year)?)),
            ["award", award] => Self::Award(award.parse().map_err(bad)?),
            ["reserved", job, site] => Self::Reserved(job.parse().map_err(bad)?, site.parse().map_err(bad)?),
            ["earned", site] => Self::Earned(site.parse().map_err(bad)?),
            ["paid", site] => Self::PaidOut(site.parse().map_err(bad)?),
            _ => return Err(format!("{text:?} is not an account")),
        })
    }
}
