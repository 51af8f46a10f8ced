//! The report as one page of HTML in Korean and English, with charts in SVG. It loads nothing, so it can be mailed and
//! printed anywhere.

use super::{By, Charge, Sum};
use crate::money::sums;
use crate::show::grouped;
use consortium::{Account, FiscalYear, Month, State, Won};
use std::collections::BTreeMap;

pub(super) fn html(state: &State, charges: &[Charge]) -> String {
    let months: Vec<Month> = charges.iter().map(|charge| charge.month).collect();
    let period = match (months.iter().min(), months.iter().max()) {
        (Some(first), Some(last)) if first == last => first.to_string(),
        (Some(first), Some(last)) => format!("{first} – {last}"),
        _ => "–".to_owned(),
    };
    let mut body = format!(
        "<h1>컨소시엄 이용 보고서 <small>Report on the consortium's use</small></h1>\n<p>{period}</p>\n{}",
        money(state, charges)
    );
    for (by, title) in [
        (By::Programme, "연구 프로그램별 <small>By programme</small>"),
        (By::Organisation, "기관별 <small>By organisation</small>"),
        (By::Site, "사이트별 <small>By site</small>"),
    ] {
        body.push_str(&format!("<h2>{title}</h2>\n{}", section(state, charges, by)));
    }
    body.push_str(&format!(
        "<h2>회계연도별 <small>By fiscal year</small></h2>\n{}",
        by_year(state)
    ));
    body.push_str(&format!(
        "<h2>월별 <small>By month</small></h2>\n{}",
        by_month(charges)
    ));
    format!(
        "<!doctype html>\n<html lang=\"ko\"><head><meta charset=\"utf-8\"><title>khub {period}</title>\n<style>{STYLE}</style>\
         </head>\n<body>\n{body}</body></html>\n"
    )
}

const STYLE: &str = "body{font:11pt/1.5 'Noto Sans KR','Malgun Gothic',sans-serif;max-width:48em;margin:2em auto;color:#222}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #999}small{color:#666;font-weight:400}\
table{border-collapse:collapse;width:100%}td,th{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}@media print{h2,table,svg{break-inside:avoid}}";

/// Where the ministry's money is.
fn money(state: &State, charges: &[Charge]) -> String {
    let given: Won = state.appropriations.values().copied().sum();
    let held = |wanted: fn(&Account) -> bool| -> Won {
        let accounts = state.ledger.balances().filter(|(account, _)| wanted(account));
        accounts.map(|(_, balance)| balance.won).sum()
    };
    let mut here = Sum::default();
    charges.iter().for_each(|charge| here.add(charge));
    let rows = [
        ("출연금 <small>appropriated</small>", given),
        (
            "미배정 <small>awarded to nobody yet</small>",
            held(|account| matches!(account, Account::Pool(_))),
        ),
        (
            "배정 잔액 <small>left of awards</small>",
            held(|account| matches!(account, Account::Award(_))),
        ),
        (
            "예약 <small>reserved for jobs</small>",
            held(|account| matches!(account, Account::Reserved(..))),
        ),
        (
            "정산 누계 <small>settled in all</small>",
            held(|account| matches!(account, Account::Earned(_) | Account::PaidOut(_))),
        ),
        (
            "지급 누계 <small>of it paid to sites' owners</small>",
            held(|account| matches!(account, Account::PaidOut(_))),
        ),
        ("이 기간 정산 <small>settled in this period</small>", here.won),
        (
            "이 기간 정정 <small>of it corrections of earlier invoices</small>",
            here.corrected,
        ),
    ];
    let rows = rows.map(|(name, won)| format!("<tr><td>{name}</td><td>{}</td></tr>\n", in_won(won)));
    format!("<table>\n{}</table>\n", rows.concat())
}

/// What became of each fiscal year's money.
fn by_year(state: &State) -> String {
    let row = |of: &FiscalYear| {
        let sums = sums(of).map(|won| format!("<td>{}</td>", in_won(won))).concat();
        let name = of
            .year
            .map_or("연도 미지정 <small>undated</small>".to_owned(), |year| {
                year.to_string()
            });
        format!("<tr><td>{name}</td>{sums}</tr>\n")
    };
    let head = [
        ("출연금", "appropriated"),
        ("전년도 이월", "carried in"),
        ("배정", "awarded"),
        ("집행", "of it spent"),
        ("차년도 이월", "carried out"),
        ("반납", "returned"),
        ("잔액", "left"),
    ];
    let head = head.map(|(korean, english)| format!("<th>{korean}<br><small>{english}</small></th>"));
    let rows: String = state.fiscal_years().iter().map(row).collect();
    format!("<table>\n<tr><th></th>{}</tr>\n{rows}</table>\n", head.concat())
}

/// A name in Korean and in English.
fn named(state: &State, by: By, id: &str) -> (String, String) {
    let organisation = |id: &str| {
        let known = id.parse().ok().and_then(|id| state.organisations.get(&id));
        known.map(|it| (it.name_ko.clone(), it.name.clone()))
    };
    let programme = match id {
        "language" => "언어",
        "folding" => "단백질 구조",
        "speech" => "음성",
        "flight" => "비행",
        "worlds" => "가상 시공간",
        other => other,
    };
    let unknown = || (id.to_owned(), String::new());
    match by {
        By::Programme => (programme.to_owned(), id.to_owned()),
        By::Organisation => organisation(id).unwrap_or_else(unknown),
        By::Project | By::Site => unknown(),
    }
}

fn section(state: &State, charges: &[Charge], by: By) -> String {
    let mut totals: BTreeMap<String, Sum> = BTreeMap::new();
    for charge in charges {
        totals.entry(by.of(charge)).or_default().add(charge);
    }
    let mut totals: Vec<(String, Sum)> = totals.into_iter().collect();
    totals.sort_by_key(|(id, sum)| (-sum.won.0, id.clone()));
    let mut bars = Vec::new();
    let mut rows = String::new();
    for (id, sum) in &totals {
        let (korean, english) = named(state, by, id);
        rows.push_str(&format!(
            "<tr><td>{} <small>{}</small></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escaped(&korean),
            escaped(&english),
            in_won(sum.won),
            in_won(sum.corrected),
            sum.compute.pflop_hours()
        ));
        bars.push((korean, sum.won));
    }
    format!(
        "{}<table>\n<tr><th></th><th>원 KRW</th><th>정정 <small>corrections</small></th><th>PFLOP-h</th></tr>\n{rows}</table>\n",
        chart(&bars)
    )
}

fn by_month(charges: &[Charge]) -> String {
    let mut months: BTreeMap<Month, Won> = BTreeMap::new();
    for charge in charges {
        *months.entry(charge.month).or_default() += charge.won;
    }
    let bars: Vec<(String, Won)> = months
        .iter()
        .map(|(month, won)| (month.to_string(), *won))
        .collect();
    chart(&bars)
}

/// The most bars in a chart; the table below has the rest.
const BARS: usize = 20;

/// Horizontal bars, each with its name and its won.
fn chart(bars: &[(String, Won)]) -> String {
    let shown = &bars[..bars.len().min(BARS)];
    let most = shown.iter().map(|(_, won)| won.0).max().unwrap_or(0).max(1);
    let mut inside = String::new();
    for (i, (name, won)) in shown.iter().enumerate() {
        let y = 22 * i;
        // Whole pixels: i128, for won in thousands of billions are more than a product of i64 holds.
        let width = i128::from(won.0.max(0)) * 400 / i128::from(most);
        inside.push_str(&format!(
            "<text x=\"190\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"200\" y=\"{}\" width=\"{width}\" height=\"14\" \
             fill=\"#27649b\"/><text x=\"{}\" y=\"{}\">{}</text>\n",
            y + 15, escaped(name), y + 4, 206 + width, y + 15, in_won(*won),
        ));
    }
    let height = 22 * shown.len().max(1);
    format!("<svg viewBox=\"0 0 760 {height}\" font-size=\"12\" role=\"img\">\n{inside}</svg>\n")
}

fn in_won(won: Won) -> String {
    let sign = if won.0 < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(won.0.unsigned_abs()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
