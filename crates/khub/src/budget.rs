//! Budgets as people write and read them: won and whole PFLOP-hours by fiscal year.

use crate::show;
use consortium::{Amount, Budget, Day, FlopSeconds, Time, Won};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A year's part of a budget in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct Part {
    won: i64,
    pflop_hours: i64,
}

/// The budget in a file's table `[budget.YEAR]`.
pub(crate) fn of_parts(parts: BTreeMap<String, Part>) -> Result<Budget, String> {
    let part = |(year, part): (String, Part)| {
        let year = year
            .parse()
            .map_err(|_| format!("budget.{year}: {year:?} is no year"))?;
        Ok((year, amount(part.won, part.pflop_hours)))
    };
    parts.into_iter().map(part).collect()
}

/// A year's part on the command line: `2026=WON:PFLOP-HOURS`.
pub(crate) fn part(text: &str) -> Result<(u16, Amount), String> {
    let wanted =
        || format!("{text:?} is no part of a budget; write it as 2026=40000000:20, won and PFLOP-hours");
    let (year, rest) = text.split_once('=').ok_or_else(wanted)?;
    let (won, hours) = rest.split_once(':').ok_or_else(wanted)?;
    let number = |digits: &str| digits.replace('_', "").parse::<i64>().map_err(|_| wanted());
    let year = year.parse().map_err(|_| wanted())?;
    Ok((year, amount(number(won)?, number(hours)?)))
}

pub(crate) fn amount(won: i64, pflop_hours: i64) -> Amount {
    Amount {
        won: Won(won),
        compute: FlopSeconds::from_pflop_hours(pflop_hours),
    }
}

/// The last day of a budget's last year, when an award ends unless it is said otherwise.
pub(crate) fn last_day(budget: &Budget) -> Option<Day> {
    let year = budget.keys().next_back()?;
    format!("{year:04}-12-31").parse().ok()
}

/// A table of years: what each budget has for them.
pub(crate) fn table(budgets: &[(&str, &Budget)]) -> String {
    let years: std::collections::BTreeSet<u16> = budgets
        .iter()
        .flat_map(|(_, budget)| budget.keys().copied())
        .collect();
    let row = |year: u16| {
        let cells = budgets.iter().flat_map(|(_, budget)| {
            let amount = budget.get(&year).copied().unwrap_or_default();
            [amount.won.to_string(), hours(amount.compute)]
        });
        std::iter::once(year.to_string()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = years.into_iter().map(row).collect();
    let names = budgets
        .iter()
        .flat_map(|(name, _)| [(*name).to_owned(), "PFLOP-h".to_owned()]);
    let head: Vec<String> = std::iter::once("year".to_owned()).chain(names).collect();
    show::table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// PFLOP-hours without the zeros behind.
pub(crate) fn hours(compute: FlopSeconds) -> String {
    let text = compute.pflop_hours();
    let short = text.trim_end_matches('0').trim_end_matches('.');
    short.to_owned()
}

/// Both of an amount, in one cell.
pub(crate) fn both(amount: Amount) -> String {
    format!("{}, {} PFLOP-h", amount.won, hours(amount.compute))
}

/// All years of a budget together.
pub(crate) fn whole(budget: &Budget) -> Amount {
    let fold = |sum: Amount, it: &Amount| Amount {
        won: Won(sum.won.0.saturating_add(it.won.0)),
        compute: FlopSeconds(sum.compute.0.saturating_add(it.compute.0)),
    };
    budget.values().fold(Amount::default(), fold)
}

/// The day in Korea that `at` is in.
pub(crate) fn day(at: Time) -> String {
    Day::of(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_are_meant() {
        assert_eq!(part("2026=40_000_000:20"), Ok((2026, amount(40_000_000, 20))));
        for bad in [
            "2026",
            "2026=1",
            "x=1:2",
            "2026=1:x",
            "2026=1:2:3",
            "=:",
            "70000=1:1",
        ] {
            let why = part(bad).unwrap_err();
            assert!(why.contains("2026=40000000:20"), "{why}");
        }
    }

    #[test]
    fn hours_are_short() {
        for (pflop_hours, text) in [(0, "0"), (20, "20"), (100, "100")] {
            assert_eq!(hours(FlopSeconds::from_pflop_hours(pflop_hours)), text);
        }
        assert_eq!(hours(FlopSeconds(1_800_000_000_000_000_000)), "0.5");
    }
}
