//! An invoice as it is read at a terminal, and as CSV.

use super::next;
use crate::members::csv::cell;
use crate::{budget, show};
use api::{InvoiceCorrection, InvoiceLine, InvoiceSheet};
use consortium::{Difference, Payment, Won};

pub(super) fn in_words(sheet: &InvoiceSheet) -> String {
    let view = &sheet.invoice;
    let issued = view.issued.as_ref().map(|issued| {
        format!(
            ", no. {} of the site, issued on {}",
            issued.serial,
            budget::day(issued.at)
        )
    });
    let mut text = format!(
        "invoice {}{}\nowed to {} for site {}: {}\n",
        view.id,
        issued.unwrap_or_default(),
        view.owner,
        view.id.site,
        view.state,
    );
    let award = |award: &Option<_>| award.as_ref().map_or_else(String::new, ToString::to_string);
    let of_line = |line: &InvoiceLine| {
        vec![
            line.job.to_string(),
            line.project.to_string(),
            award(&line.award),
            line.of.to_string(),
            line.compute.pflop_hours(),
            line.price.0.to_string(),
            line.won.0.to_string(),
        ]
    };
    let head = [
        "job",
        "project",
        "award",
        "used in",
        "PFLOP-h",
        "won/PFLOP-h",
        "won",
    ];
    text += &part("", &head, &sheet.lines, of_line);
    let of_correction = |it: &InvoiceCorrection| {
        vec![
            it.job.to_string(),
            it.invoice.to_string(),
            award(&it.award),
            it.won.0.to_string(),
            it.ground.clone(),
        ]
    };
    let head = ["job", "of invoice", "award", "won", "ground"];
    text += &part("corrections\n", &head, &sheet.corrections, of_correction);
    text += &format!(
        "\nsettled {}, corrected by {}: {} in all, {} not paid\n",
        view.settled, view.corrected, view.total, view.unpaid
    );
    let of_payment = |it: &Payment| {
        vec![
            budget::day(it.at),
            it.won.0.to_string(),
            it.by.to_string(),
            it.reference.clone(),
        ]
    };
    let head = ["paid on", "won", "by", "reference"];
    text += &part("", &head, &sheet.payments, of_payment);
    text + &of_bill(sheet) + "\n" + &next(view)
}

/// What the site's own bill says, and where it differs.
fn of_bill(sheet: &InvoiceSheet) -> String {
    let Some(bill) = &sheet.bill else {
        return String::new();
    };
    // The rules bound a bill's sum.
    let billed: Won = bill.lines.iter().map(|line| line.won).sum();
    let mut text = format!("\nthe site's bill has {billed}\n");
    let row = |it: &Difference| {
        vec![
            it.of.to_string(),
            it.invoiced.0.to_string(),
            it.billed.0.to_string(),
            it.metered.pflop_hours(),
            it.compute
                .map_or_else(String::new, |compute| compute.pflop_hours()),
            it.reason.to_string(),
        ]
    };
    let head = [
        "differs in",
        "invoiced",
        "billed",
        "metered PFLOP-h",
        "billed PFLOP-h",
        "likely because of",
    ];
    text += &part("", &head, &sheet.differences, row);
    if let Some(ground) = &sheet.resolved {
        text += &format!("\ndecided: {ground}\n");
    }
    text
}

/// A table under its title; nothing if it would be empty.
fn part<T>(title: &str, head: &[&str], all: &[T], row: impl Fn(&T) -> Vec<String>) -> String {
    match all.is_empty() {
        true => String::new(),
        false => {
            let rows: Vec<Vec<String>> = all.iter().map(row).collect();
            format!("\n{title}{}", show::table(head, &rows))
        }
    }
}

/// A row for each line and each correction; their won sum to what is owed.
pub(super) fn csv(sheet: &InvoiceSheet) -> String {
    let id = sheet.invoice.id.to_string();
    let mut text =
        "invoice,charge,job,project,award,used_in,price,pflop_hours,flop_seconds,won,corrects,ground\n"
            .to_owned();
    let award = |award: &Option<_>| award.as_ref().map_or_else(String::new, ToString::to_string);
    let mut add = |cells: [String; 12]| {
        text.push_str(&cells.map(|it| cell(&it)).join(","));
        text.push('\n');
    };
    let none = String::new;
    for line in &sheet.lines {
        add([
            id.clone(),
            "usage".to_owned(),
            line.job.to_string(),
            line.project.to_string(),
            award(&line.award),
            line.of.to_string(),
            line.price.0.to_string(),
            line.compute.pflop_hours(),
            line.compute.0.to_string(),
            line.won.0.to_string(),
            none(),
            none(),
        ]);
    }
    for it in &sheet.corrections {
        add([
            id.clone(),
            "correction".to_owned(),
            it.job.to_string(),
            none(),
            award(&it.award),
            none(),
            none(),
            none(),
            none(),
            it.won.0.to_string(),
            it.invoice.to_string(),
            it.ground.clone(),
        ]);
    }
    text
}
