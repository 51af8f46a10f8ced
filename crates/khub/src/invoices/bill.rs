//! A site's own bill as CSV: a line for each job, or for all of a project's jobs that have no line of their own.

use crate::members::csv;
use consortium::{Bill, BillLine, Billed, FlopSeconds, Won};
use std::collections::BTreeMap;
use std::fmt::Display;

pub(super) const EXAMPLE: &str = include_str!("../bill.csv");

/// The bill in `text`; the message says in which line and column something is wrong.
pub(super) fn read(text: &[u8]) -> Result<Bill, String> {
    let mut rows = csv::rows(text)?.into_iter();
    let (_, head) = rows.next().ok_or("it is empty")?;
    let place = |name: &str| head.iter().position(|title| title.trim() == name);
    let won = place("won").ok_or("line 1: there is no column won")?;
    let columns = Columns {
        job: place("job"),
        project: place("project"),
        won,
        compute: place("pflop_hours"),
    };
    if columns.job.or(columns.project).is_none() {
        return Err("line 1: there is no column job, and no column project".to_owned());
    }
    let mut seen = BTreeMap::new();
    let mut lines = Vec::new();
    for (number, cells) in rows {
        let row = Row { number, cells };
        let line = row.line(&columns)?;
        if let Some(first) = seen.insert(line.of.clone(), number) {
            return Err(format!("line {number}: {} is in line {first} too", line.of));
        }
        lines.push(line);
    }
    match lines.is_empty() {
        true => Err("it has no line below the names of its columns".to_owned()),
        false => Ok(Bill { lines }),
    }
}

/// Where each is.
struct Columns {
    job: Option<usize>,
    project: Option<usize>,
    won: usize,
    compute: Option<usize>,
}

struct Row {
    /// Of the line that it begins in.
    number: usize,
    cells: Vec<String>,
}

impl Row {
    fn line(&self, columns: &Columns) -> Result<BillLine, String> {
        let of = match (self.cell(columns.job), self.cell(columns.project)) {
            (Some(job), None) => Billed::Job(job.parse().map_err(|e| self.wrong("job", e))?),
            (None, Some(project)) => Billed::Project(project.parse().map_err(|e| self.wrong("project", e))?),
            (Some(_), Some(_)) => return Err(self.wrong("project", "the line is for a job already")),
            (None, None) => return Err(self.wrong("job", "a job or a project is missing")),
        };
        let won = self.cell(Some(columns.won));
        let won = won.ok_or_else(|| self.wrong("won", "it is missing"))?;
        let compute = self.cell(columns.compute).map(|text| {
            let wanted = || {
                format!("{text:?} is no number of PFLOP-hours; write it as 1.5, with nine decimals at most")
            };
            hours(text).ok_or_else(|| self.wrong("pflop_hours", wanted()))
        });
        Ok(BillLine {
            of,
            won: money(won).ok_or_else(|| {
                self.wrong(
                    "won",
                    format!("{won:?} is no whole number of won; write it as 184000"),
                )
            })?,
            compute: compute.transpose()?,
        })
    }

    /// What is there, if something is.
    fn cell(&self, column: Option<usize>) -> Option<&str> {
        let cell = self.cells.get(column?)?.trim();
        (!cell.is_empty()).then_some(cell)
    }

    fn wrong(&self, column: &str, why: impl Display) -> String {
        format!("line {}, column {column}: {why}", self.number)
    }
}

fn money(text: &str) -> Option<Won> {
    digits(text).then(|| text.parse().ok().map(Won))?
}

/// PFLOP-hours as people write them, in FLOP-seconds.
fn hours(text: &str) -> Option<FlopSeconds> {
    const NANO: i128 = 3_600_000_000;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    // So many digits, and the product is counted in 128 bits.
    let fits = digits(whole) && digits(part) && whole.len() <= 18 && part.len() <= 9;
    let billionths: i128 = fits.then(|| format!("{whole}{part:0<9}").parse().ok())??;
    Some(FlopSeconds(billionths * NANO))
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use consortium::JobId;
    use proptest::prelude::*;

    #[test]
    fn the_example_is_a_bill() {
        let bill = read(EXAMPLE.as_bytes()).unwrap();
        let told: Vec<_> = bill.lines.iter().map(|line| line.of.to_string()).collect();
        assert_eq!(told, ["job-12", "job-15", "project korean-reviews"]);
        assert_eq!(bill.lines[1].compute, None);
        let metered = bill.lines[0].compute.map(FlopSeconds::pflop_hours);
        assert_eq!(metered.as_deref(), Some("0.020444444"));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        for (text, told) in [
            ("", "it is empty"),
            ("job,won\n", "it has no line below"),
            ("job,price\njob-1,2\n", "line 1: there is no column won"),
            (
                "won\n2\n",
                "line 1: there is no column job, and no column project",
            ),
            (
                "job,won\njob-1,2\njob-x,3\n",
                "line 3, column job: \"job-x\" is no job",
            ),
            (
                "project,won\nKorea,2\n",
                "line 2, column project: \"Korea\" is no project",
            ),
            ("job,won\njob-1\n", "line 2, column won: it is missing"),
            (
                "job,won\n,7\n",
                "line 2, column job: a job or a project is missing",
            ),
            (
                "job,project,won\njob-1,a,7\n",
                "line 2, column project: the line is for a job already",
            ),
            (
                "job,won\njob-1,\"1,800\"\n",
                "line 2, column won: \"1,800\" is no whole number",
            ),
            (
                "job,won\njob-1,-5\n",
                "line 2, column won: \"-5\" is no whole number",
            ),
            ("job,won\njob-1,99999999999999999999\n", "line 2, column won: "),
            (
                "job,won,pflop_hours\njob-1,1,1e3\n",
                "line 2, column pflop_hours: \"1e3\" is no number",
            ),
            (
                "job,won,pflop_hours\njob-1,1,1.0123456789\n",
                "line 2, column pflop_hours: ",
            ),
            ("job,won\njob-1,1\n\njob-1,1\n", "line 4: job-1 is in line 2 too"),
        ] {
            let why = read(text.as_bytes()).unwrap_err();
            assert!(why.starts_with(told), "{why}");
        }
        // Columns in any order, more of them, the marks of other systems.
        let odd = "\u{feff}note, won ,job\r\n\"x\ny\", 7 ,job-3\r\n";
        let line = BillLine {
            of: Billed::Job(JobId(3)),
            won: Won(7),
            compute: None,
        };
        assert_eq!(read(odd.as_bytes()).unwrap().lines, [line]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&text);
            let _ = read(&[b"job,project,won,pflop_hours\n", &text[..]].concat());
        }

        #[test]
        fn any_cells_are_read_or_refused(cells in proptest::collection::vec("[a-z0-9.,\"\n-]{0,22}", 4)) {
            let _ = read(format!("job,project,won,pflop_hours\n{}\n", cells.join(",")).as_bytes());
        }

        #[test]
        fn hours_come_back_as_they_were_written(billionths in 0..i64::MAX) {
            let written = FlopSeconds(i128::from(billionths) * 3_600_000_000).pflop_hours();
            prop_assert_eq!(hours(&written).map(FlopSeconds::pflop_hours), Some(written));
        }
    }
}
