//! Money belongs to its fiscal year. Each year has an account of its own, which the ministry fills; an award's part of a
//! year is paid from that account and no other, and what comes back from an award goes back to the accounts that it came
//! from. When the year is over nothing more is awarded of it: the office carries what is left into the year that runs, on
//! some ground, or gives it back to the ministry.
//!
//! What an award was given stays its own until it ends: it was committed in its year. Of what it spends the oldest money
//! counts as spent first, so what it gives back is of its last years.
//!
//! Logs from before years had accounts keep their money in one pool, which is *undated*: it pays what a year's own money
//! doesn't cover, until the office carries it into a year.

mod till;

pub(crate) use till::{Parts, Till};

use crate::award::rules::MOST_GROUND;
use crate::call::rules::{somebody, written};
use crate::policy::Resource;
use crate::{
    Account, Action, Actor, AwardId, Budget, Event, Month, PersonId, Refusal, RefusalKind, State, Time,
    Transfer, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What can be asked about what is left of a fiscal year's money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MoneyCommand {
    /// Let a year that is over leave it to the one that runs.
    Carry {
        /// Which year; none for what is undated.
        from: Option<u16>,
        /// The year that runs.
        to: u16,
        /// How much; all of it if not said.
        won: Option<Won>,
        /// Why.
        ground: String,
    },
    /// Give it back to the ministry.
    Return {
        /// Of which year; none for what is undated.
        from: Option<u16>,
        /// How much; all of it if not said.
        won: Option<Won>,
    },
}

/// What can have happened to it; a transfer follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as in the commands")]
pub enum MoneyEvent {
    Carried {
        from: Option<u16>,
        to: u16,
        won: Won,
        ground: String,
        by: PersonId,
    },
    Returned {
        from: Option<u16>,
        won: Won,
        by: PersonId,
    },
}

/// What was left of a fiscal year, and what the office did with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct YearEnd {
    /// Of which year; none for what was undated.
    pub year: Option<u16>,
    /// How much.
    pub won: Won,
    /// Where it is.
    pub went: Went,
    /// Who decided that.
    pub by: PersonId,
    /// When.
    pub at: Time,
}

/// Where what was left of a fiscal year is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Went {
    /// In a later year.
    Carried {
        /// Which.
        to: u16,
        /// Why.
        ground: String,
    },
    /// With the ministry again.
    Returned,
}

/// The money of all fiscal years, as the postings tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ByYear {
    /// What went through each year's account.
    books: BTreeMap<Account, Book>,
    /// What each award has of each year's money, spent or not.
    drawn: BTreeMap<AwardId, BTreeMap<u16, Won>>,
}

/// What went through the account of one fiscal year. What came, less what went, is what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Book {
    /// Given by the ministry.
    pub appropriated: Won,
    /// Come from earlier years.
    pub carried_in: Won,
    /// Given to awards, less what came back from them.
    pub awarded: Won,
    /// Gone to later years.
    pub carried_out: Won,
    /// Given back to the ministry.
    pub returned: Won,
}

/// Where the money of one fiscal year is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FiscalYear {
    /// Which; none for what came before years had accounts.
    pub year: Option<u16>,
    /// What went through its account.
    #[serde(flatten)]
    pub book: Book,
    /// What of `awarded` was spent on jobs; the rest is with its awards still.
    pub spent: Won,
    /// What its account holds: awarded to nobody, carried nowhere.
    pub left: Won,
}

pub(crate) fn ask(
    state: &State,
    actor: &Actor,
    command: &MoneyCommand,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let (by, _) = somebody(state, actor)?;
    let this = Month::of(now).year();
    let (event, transfer) = match command {
        MoneyCommand::Carry {
            from,
            to,
            won,
            ground,
        } => {
            written("ground", ground, MOST_GROUND)?;
            if !is_over(*from, this) {
                return Err(Refusal::conflict(format!("{} isn't over", named(*from)))
                    .hint("what is left of it is carried over when it is; until then it is awarded"));
            }
            if *to != this {
                return Err(
                    Refusal::conflict(format!("{} isn't the year that runs", named(Some(*to))))
                        .hint(format!("carry it into {this}")),
                );
            }
            let won = some(state, *from, *won)?;
            let event = MoneyEvent::Carried {
                from: *from,
                to: *to,
                won,
                ground: ground.clone(),
                by: by.clone(),
            };
            (
                event,
                Transfer::won(Account::Pool(*from), Account::Pool(Some(*to)), won),
            )
        }
        MoneyCommand::Return { from, won } => {
            let (from, won, by) = (*from, some(state, *from, *won)?, by.clone());
            let transfer = Transfer::won(Account::Pool(from), Account::Source, won);
            (MoneyEvent::Returned { from, won, by }, transfer)
        }
    };
    Ok(vec![Event::Money(event), Event::Posted(transfer)])
}

/// Money of the ministry for a year.
pub(crate) fn appropriate(state: &State, year: u16, won: Won) -> Result<Vec<Event>, Refusal> {
    // What was given back may be given anew, so that the source keeps no count of all that ever came.
    let before: Won = state.appropriations.values().copied().sum();
    if before.checked_add(won).is_none() {
        let why = format!("the appropriations can't keep count of {won} more");
        return Err(Refusal::invalid(why));
    }
    let transfer = Transfer::won(Account::Source, Account::Pool(Some(year)), won);
    Ok(vec![Event::Appropriated { year, won }, Event::Posted(transfer)])
}

/// As much as is asked, or all there is.
fn some(state: &State, year: Option<u16>, asked: Option<Won>) -> Result<Won, Refusal> {
    let left = state.ledger.balance(&Account::Pool(year)).won;
    let won = asked.unwrap_or(left);
    if won <= Won(0) || won > left {
        let of = named(year);
        let message = match asked {
            Some(asked) => format!("of {of} {left} is left, and {asked} is asked"),
            None => format!("of {of} nothing is left"),
        };
        return Err(Refusal::new(RefusalKind::Insufficient, message)
            .hint("`khub money list` has what is left of each year"));
    }
    Ok(won)
}

/// Changes `state` by one `event` that happened at `at`; the books follow the postings.
pub(crate) fn apply(state: &mut State, event: &MoneyEvent, at: Time) {
    let (year, won, by, went) = match event {
        MoneyEvent::Carried {
            from,
            to,
            won,
            ground,
            by,
        } => {
            let (to, ground) = (*to, ground.clone());
            (*from, *won, by, Went::Carried { to, ground })
        }
        MoneyEvent::Returned { from, won, by } => (*from, *won, by, Went::Returned),
    };
    let by = by.clone();
    state.year_ends.push(YearEnd {
        year,
        won,
        went,
        by,
        at,
    });
}

/// Refuses a budget that has more of a year that is over than `before`.
pub(crate) fn still_open(before: &Budget, budget: &Budget, now: Time) -> Result<(), Refusal> {
    let this = Month::of(now).year();
    let of = |year| before.get(year).map_or(Won(0), |amount| amount.won);
    let late = budget
        .iter()
        .find(|(year, amount)| **year < this && amount.won > of(year));
    match late {
        None => Ok(()),
        Some((year, _)) => Err(Refusal::conflict(format!(
            "{} is over, and no more of its money is awarded",
            named(Some(*year))
        ))
        .hint(format!(
            "award it for {this}; what is left of {year} is carried over by `khub money carry {year} {this}`"
        ))),
    }
}

/// The accounts that pay what is awarded for `year`, the first first.
pub(crate) fn of(year: u16) -> [Option<u16>; 2] {
    [Some(year), None]
}

/// What is undated is of years that were over before they had accounts.
pub(crate) fn is_over(year: Option<u16>, this: u16) -> bool {
    year.is_none_or(|year| year < this)
}

fn named(year: Option<u16>) -> String {
    year.map_or("the undated money".to_owned(), |year| {
        format!("fiscal year {year}")
    })
}

impl ByYear {
    /// What awards have of each year's money.
    pub(crate) fn drawn(&self, award: &AwardId) -> BTreeMap<u16, Won> {
        self.drawn.get(award).cloned().unwrap_or_default()
    }

    pub(crate) fn post(&mut self, transfer: &Transfer) {
        let won = transfer.won;
        if let Account::Pool(year) = transfer.from {
            let book = self.books.entry(Account::Pool(year)).or_default();
            match transfer.to {
                Account::Source => add(&mut book.returned, won),
                Account::Pool(_) => add(&mut book.carried_out, won),
                _ => add(&mut book.awarded, won),
            }
            self.draw(&transfer.to, year, won);
        }
        if let Account::Pool(year) = transfer.to {
            let book = self.books.entry(Account::Pool(year)).or_default();
            match transfer.from {
                Account::Source => add(&mut book.appropriated, won),
                Account::Pool(_) => add(&mut book.carried_in, won),
                _ => add(&mut book.awarded, -won),
            }
            self.draw(&transfer.from, year, -won);
        }
    }

    fn draw(&mut self, by: &Account, year: Option<u16>, won: Won) {
        let (Account::Award(award), Some(year)) = (by, year) else {
            return;
        };
        let years = self.drawn.entry(award.clone()).or_default();
        add(years.entry(year).or_default(), won);
        years.retain(|_, won| *won != Won(0));
        if years.is_empty() {
            self.drawn.remove(award);
        }
    }
}

impl FiscalYear {
    /// Whether the office has to decide about what is left, in the year `this`.
    pub fn is_due(&self, this: u16) -> bool {
        self.left > Won(0) && is_over(self.year, this)
    }
}

fn add(sum: &mut Won, won: Won) {
    *sum = sum.saturating_add(won);
}

impl State {
    /// Where the money of each fiscal year is, what is undated first.
    pub fn fiscal_years(&self) -> Vec<FiscalYear> {
        let spent = self.spent_by_year();
        let year = |(account, book): (&Account, &Book)| {
            let Account::Pool(year) = *account else {
                return None;
            };
            Some(FiscalYear {
                year,
                book: *book,
                spent: spent.get(&year).copied().unwrap_or_default(),
                left: self.ledger.balance(account).won,
            })
        };
        self.ledger.by_year().books.iter().filter_map(year).collect()
    }

    /// What awards have spent of each year's money, the oldest first.
    fn spent_by_year(&self) -> BTreeMap<Option<u16>, Won> {
        let mut spent: BTreeMap<Option<u16>, Won> = BTreeMap::new();
        for (award, holdings) in self.holdings() {
            let drawn = self.ledger.by_year().drawn(award);
            let dated: Won = drawn.values().copied().sum();
            let undated = holdings.given.won - holdings.reduced.won - dated;
            let mut rest = holdings.used.won;
            let dated = drawn.into_iter().map(|(year, won)| (Some(year), won));
            for (year, won) in std::iter::once((None, undated)).chain(dated) {
                let part = won.min(rest);
                rest = rest - part;
                add(spent.entry(year).or_default(), part);
            }
        }
        spent
    }
}
