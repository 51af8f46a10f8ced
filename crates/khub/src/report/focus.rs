//! FOCUS 1.2, the FinOps Open Cost and Usage Specification (focus.finops.org): the columns that it makes mandatory for
//! usage, and those that tell where the machines are, what they cost and whose job it was.
//!
//! Won have no smaller unit, and consumption is in PFLOP-hours to nine decimals. There are no discounts, taxes or
//! commitments, so the four costs of a row are the same, and so are the two unit prices. A correction is a row of its own,
//! in the billing period in which it was posted and for the period that it corrects; it is money without a quantity.
//! InvoiceId is always null: that is one billing account's, and an invoice here is a site's, for all whose jobs it ran. So is
//! CommitmentDiscountStatus, which is there because the specification's rules for quantities name it.

use super::Charge;
use crate::members::csv::cell;
use consortium::{Month, State};

/// A charge and what the state says of it.
struct Row<'a> {
    charge: &'a Charge,
    account: &'a str,
    provider: &'a str,
    project: &'a str,
    job: &'a str,
    price: i64,
}

type Column = (&'static str, fn(&Row<'_>) -> String);

const COLUMNS: [Column; 48] = [
    ("BilledCost", cost),
    ("BillingAccountId", |it| it.charge.organisation.to_string()),
    ("BillingAccountName", |it| it.account.into()),
    ("BillingAccountType", |_| "Organisation".into()),
    ("BillingCurrency", |_| "KRW".into()),
    ("BillingPeriodEnd", |it| begin(it.charge.month.next())),
    ("BillingPeriodStart", |it| begin(it.charge.month)),
    ("ChargeCategory", |_| "Usage".into()),
    ("ChargeClass", |it| {
        it.charge
            .corrects
            .as_ref()
            .map_or_else(String::new, |_| "Correction".into())
    }),
    ("ChargeDescription", |it| match &it.charge.corrects {
        Some(invoice) => format!("correction of {invoice} for {}", it.charge.job),
        None => format!("{} at {}", it.charge.job, it.charge.site),
    }),
    ("ChargeFrequency", |_| "Usage-Based".into()),
    ("ChargePeriodEnd", |it| begin(period(it).next())),
    ("ChargePeriodStart", |it| begin(period(it))),
    ("CommitmentDiscountStatus", |_| String::new()),
    ("ConsumedQuantity", hours),
    ("ConsumedUnit", |it| of_usage(it, || UNIT.into())),
    ("ContractedCost", cost),
    ("ContractedUnitPrice", price),
    ("EffectiveCost", cost),
    ("InvoiceId", |_| String::new()),
    ("InvoiceIssuerName", |it| it.provider.into()),
    ("ListCost", cost),
    ("ListUnitPrice", price),
    ("PricingCategory", |it| of_usage(it, || "Standard".into())),
    ("PricingCurrency", |_| "KRW".into()),
    ("PricingCurrencyContractedUnitPrice", price),
    ("PricingCurrencyEffectiveCost", cost),
    ("PricingCurrencyListUnitPrice", price),
    ("PricingQuantity", hours),
    ("PricingUnit", |it| of_usage(it, || UNIT.into())),
    ("ProviderName", |it| it.provider.into()),
    ("PublisherName", |it| it.provider.into()),
    ("RegionId", site),
    ("RegionName", site),
    ("ResourceId", |it| it.charge.job.to_string()),
    ("ResourceName", |it| it.job.into()),
    ("ResourceType", |_| "Job".into()),
    ("ServiceCategory", |_| "AI and Machine Learning".into()),
    ("ServiceName", |_| "khub".into()),
    ("ServiceSubcategory", |_| "Machine Learning".into()),
    ("SkuId", site),
    ("SkuMeter", |_| "Compute".into()),
    ("SkuPriceDetails", |it| {
        of_usage(it, || {
            serde_json::json!({ "x_WonPerPflopHour": it.price }).to_string()
        })
    }),
    ("SkuPriceId", |it| {
        of_usage(it, || format!("{} at {}", it.charge.site, it.price))
    }),
    ("SubAccountId", |it| it.charge.project.to_string()),
    ("SubAccountName", |it| it.project.into()),
    ("SubAccountType", |_| "Project".into()),
    ("Tags", |it| {
        serde_json::json!({ "programme": it.charge.programme }).to_string()
    }),
];

const UNIT: &str = "PFLOP-Hours";

pub(super) fn csv(state: &State, charges: &[Charge]) -> String {
    let mut text = COLUMNS.map(|(title, _)| title).join(",") + "\n";
    for charge in charges {
        let row = row(state, charge);
        let cells = COLUMNS.map(|(_, value)| cell(&value(&row)));
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn row<'a>(state: &'a State, charge: &'a Charge) -> Row<'a> {
    let name = |id| state.organisations.get(id).map_or("", |it| it.name.as_str());
    let job = state.jobs.get(&charge.job);
    let mut stays = job.into_iter().flat_map(|job| {
        let past = job.past.iter().map(|past| (&past.site, &past.member));
        job.members.iter().chain(past)
    });
    let stay = stays.find(|(site, _)| **site == charge.site);
    Row {
        charge,
        account: name(&charge.organisation),
        provider: name(&charge.owner),
        project: state
            .projects
            .get(&charge.project)
            .map_or("", |it| it.title.as_str()),
        job: job.map_or("", |job| job.spec.name.as_str()),
        price: stay.map_or(0, |(_, member)| member.placed.price.0),
    }
}

/// Whole won with a decimal point: a reader that takes a column's type from its values takes this for money.
fn cost(row: &Row<'_>) -> String {
    format!("{}.0", row.charge.won.0)
}

fn hours(row: &Row<'_>) -> String {
    of_usage(row, || row.charge.compute.pflop_hours())
}

fn price(row: &Row<'_>) -> String {
    of_usage(row, || format!("{}.0", row.price))
}

/// What a correction doesn't have.
fn of_usage(row: &Row<'_>, tell: impl FnOnce() -> String) -> String {
    match row.charge.corrects {
        Some(_) => String::new(),
        None => tell(),
    }
}

/// The month that is charged for.
fn period(row: &Row<'_>) -> Month {
    let corrected = row.charge.corrects.as_ref();
    corrected.map_or(row.charge.month, |invoice| invoice.month)
}

fn site(row: &Row<'_>) -> String {
    row.charge.site.to_string()
}

/// The first moment of a month in Korea, in UTC: 15:00 of the day before.
fn begin(month: Month) -> String {
    let before = month.before();
    format!("{before}-{}T15:00:00Z", before.days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_midnight_in_korea() {
        for (month, start) in [
            ("2021-01", "2020-12-31T15:00:00Z"),
            ("2024-03", "2024-02-29T15:00:00Z"),
            ("2100-03", "2100-02-28T15:00:00Z"),
            ("2021-05", "2021-04-30T15:00:00Z"),
        ] {
            assert_eq!(begin(month.parse().unwrap()), start);
        }
    }
}
