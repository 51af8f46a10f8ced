//! `khub report --years`: where the ministry's money of each fiscal year is, from the log.

use super::{Args, Format, lines, replay};
use crate::failure::Failure;
use crate::money::{HEAD, rows};
use crate::show;
use store::Reader;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let state = replay(&Reader::open(args.data.log())?, &mut |_, _, _| {})?;
    let rows = rows(&state.fiscal_years());
    match args.format {
        Format::Table => show::print(&show::table(&HEAD, &rows)),
        Format::Csv => show::print(&lines(&HEAD, &rows)),
        Format::Focus | Format::Page => {
            return Err(Failure::new("fiscal years are told as a table or as CSV")
                .hint("--format table or --format csv; `khub report --format page` has them as well"));
        }
    }
    Ok(())
}
