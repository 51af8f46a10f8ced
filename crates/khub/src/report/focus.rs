//! FOCUS 1.2, the FinOps Open Cost and Usage Specification (focus.finops.org): the columns that it makes mandatory for
//! usage, and those that tell where the machines are and whose job it was.
//!
//! Won have no smaller unit, and consumption is in PFLOP-hours to nine decimals. There are no discounts, taxes or
//! commitments, so the four costs of a row are the same.

use super::Charge;
use crate::members::csv::cell;
use consortium::State;

const COLUMNS: [&str; 34] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ServiceCategory",
    "ServiceName",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
];

pub(super) fn csv(state: &State, charges: &[Charge]) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for charge in charges {
        let row = row(state, charge);
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn row(state: &State, charge: &Charge) -> [String; 34] {
    let name = |id| {
        state
            .organisations
            .get(id)
            .map_or_else(String::new, |it| it.name.clone())
    };
    let cost = charge.won.0.to_string();
    let hours = charge.compute.pflop_hours();
    // A month in Korea, in the UTC that FOCUS wants: it begins nine hours before the month in UTC does.
    let (start, end) = (begin(charge.month), begin(charge.month.next()));
    let price = state
        .sites
        .get(&charge.site)
        .map_or(0, |site| site.price.0)
        .to_string();
    let title = state
        .projects
        .get(&charge.project)
        .map_or_else(String::new, |it| it.title.clone());
    let (provider, site) = (name(&charge.owner), charge.site.to_string());
    let tags = serde_json::json!({ "programme": charge.programme }).to_string();
    [
        cost.clone(),
        charge.organisation.to_string(),
        name(&charge.organisation),
        "Organisation".into(),
        "KRW".into(),
        end.clone(),
        start.clone(),
        "Usage".into(),
        String::new(),
        format!("{} at {site}", charge.job),
        "Usage-Based".into(),
        end,
        start,
        hours.clone(),
        "PFLOP-hours".into(),
        cost.clone(),
        cost.clone(),
        provider.clone(),
        cost,
        price,
        "Standard".into(),
        hours,
        "PFLOP-hours".into(),
        provider.clone(),
        provider,
        site.clone(),
        site,
        charge.job.to_string(),
        "AI and Machine Learning".into(),
        "khub".into(),
        charge.project.to_string(),
        title,
        "Project".into(),
        tags,
    ]
}

/// The first moment of a month in Korea, in UTC: 15:00 of the day before.
fn begin(month: super::Month) -> String {
    let (year, before) = match month.month {
        1 => (month.year - 1, 12),
        later => (month.year, later - 1),
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match before {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    format!("{year:04}-{before:02}-{days}T15:00:00Z")
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
