//! Pays awards from the years' accounts and back, within one decision: what is paid later sees what was paid before.

use crate::{Account, Amount, AwardId, Event, FlopSeconds, State, Transfer, Won};
use std::collections::BTreeMap;

/// The transfers of one decision.
pub(crate) struct Till<'a> {
    state: &'a State,
    /// What the accounts hold after the transfers.
    holds: BTreeMap<Option<u16>, Won>,
    /// What the awards have of each year after them.
    drawn: BTreeMap<AwardId, BTreeMap<u16, Won>>,
    transfers: Vec<Transfer>,
}

/// Parts of a sum, each of a year's money; the undated last.
pub(crate) type Parts = Vec<(Option<u16>, Won)>;

impl<'a> Till<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        Self {
            state,
            holds: BTreeMap::new(),
            drawn: BTreeMap::new(),
            transfers: Vec::new(),
        }
    }

    /// Money out of the accounts of `years`, the first first, and compute, which is a right to use machines and no stock.
    /// What they don't hold is asked of the first, whose refusal tells what is missing.
    pub(crate) fn give(&mut self, award: &AwardId, years: &[Option<u16>], amount: Amount) {
        let mut rest = amount.won;
        let mut parts: Parts = Vec::new();
        for year in years {
            if parts.iter().any(|(other, _)| other == year) {
                continue;
            }
            let part = rest.min(self.holds(*year)).max(Won(0));
            rest = rest - part;
            parts.push((*year, part));
        }
        if let Some((_, first)) = parts.first_mut() {
            *first += rest;
        }
        for (year, part) in parts {
            self.pay(award, year, part);
        }
        let to = Account::Award(award.clone());
        self.post(Transfer::both(Account::Source, to, Won(0), amount.compute));
    }

    /// So much of the money of one year.
    pub(crate) fn pay(&mut self, award: &AwardId, year: Option<u16>, won: Won) {
        let to = Account::Award(award.clone());
        self.post(Transfer::won(Account::Pool(year), to, won));
        self.moved(award, year, won);
    }

    /// Back to the accounts it came from: that of `first`, if it has some of that, then those of its last years. Tells which.
    pub(crate) fn take(&mut self, award: &AwardId, first: Option<u16>, amount: Amount) -> Parts {
        let mut rest = amount.won;
        let mut drawn: Vec<(u16, Won)> = self.of(award).iter().map(|(year, won)| (*year, *won)).collect();
        drawn.sort_by_key(|(year, _)| (Some(*year) != first, std::cmp::Reverse(*year)));
        let mut parts: Parts = Vec::new();
        for (year, has) in drawn {
            let part = rest.min(has).max(Won(0));
            rest = rest - part;
            parts.push((Some(year), part));
        }
        parts.push((None, rest));
        parts.retain(|(_, won)| *won != Won(0));
        let from = Account::Award(award.clone());
        for (year, part) in &parts {
            self.post(Transfer::won(from.clone(), Account::Pool(*year), *part));
            self.moved(award, *year, Won(part.0.saturating_neg()));
        }
        self.post(Transfer::both(from, Account::Source, Won(0), amount.compute));
        parts
    }

    /// Whether all that was asked can be paid.
    pub(crate) fn is_covered(&self) -> bool {
        self.state.ledger.check(&self.transfers).is_ok()
    }

    pub(crate) fn into_events(self) -> impl Iterator<Item = Event> {
        self.transfers.into_iter().map(Event::Posted)
    }

    fn post(&mut self, transfer: Transfer) {
        if transfer.won != Won(0) || transfer.compute != FlopSeconds(0) {
            self.transfers.push(transfer);
        }
    }

    fn moved(&mut self, award: &AwardId, year: Option<u16>, won: Won) {
        let after = Won(self.holds(year).0.saturating_sub(won.0));
        self.holds.insert(year, after);
        if let Some(year) = year {
            let has = self.of(award).entry(year).or_default();
            *has = has.saturating_add(won);
        }
    }

    fn holds(&self, year: Option<u16>) -> Won {
        let before = || self.state.ledger.balance(&Account::Pool(year)).won;
        self.holds.get(&year).copied().unwrap_or_else(before)
    }

    fn of(&mut self, award: &AwardId) -> &mut BTreeMap<u16, Won> {
        let before = || self.state.ledger.by_year().drawn(award);
        self.drawn.entry(award.clone()).or_insert_with(before)
    }
}
