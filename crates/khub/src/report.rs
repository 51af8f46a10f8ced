//! `khub report`: what was used and what it cost, by month, from the log alone.

mod focus;
mod idle;
mod page;
mod years;

use crate::failure::Failure;
use crate::folder::Data;
use crate::members::csv::cell;
use crate::show;
use consortium::{
    Account, Event, FlopSeconds, InvoiceEvent, InvoiceId, JobId, Month, OrganisationId, Programme, ProjectId,
    SiteId, State, Time, Transfer, Won, apply,
};
use std::collections::BTreeMap;
use store::Reader;

/// Report what was used and what it cost.
///
/// Reads the log itself and needs no hub; one may be running. What is counted is what was settled, what the
/// meters read at the offer's price, and what was corrected after a site's bill differed, each by the month in Korea in
/// which it was posted. The money is both together, and corrections are told once more by themselves.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub report --by programme\n  khub report --by site --format csv --from 2021-07 --to 2021-12\n  \
    khub report --idle\n  khub report --years --format csv > years.csv\n  \
      khub report --format focus > focus.csv\n  khub report --format page > report.html"
)]
pub(crate) struct Args {
    /// A line for each month and what?
    #[arg(long, value_enum, default_value_t = By::Organisation)]
    by: By,
    /// List the machines that were held idle instead, and what came of it.
    #[arg(long, conflicts_with = "by")]
    idle: bool,
    /// Report the ministry's money by fiscal year instead: appropriated, carried, awarded, spent, returned, left.
    #[arg(long, conflicts_with_all = ["by", "idle", "from", "to"])]
    years: bool,
    /// As what?
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The first month, as 2021-07.
    #[arg(long, value_name = "MONTH")]
    from: Option<Month>,
    /// The last month.
    #[arg(long, value_name = "MONTH")]
    to: Option<Month>,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Programme,
    /// The organisation of the project
    Organisation,
    Project,
    Site,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Csv,
    /// FOCUS 1.2, the FinOps Foundation's form for cost and usage, as CSV
    Focus,
    /// A page in Korean and English with charts, to be printed from a browser
    Page,
}

/// What one job has used at one site in one month, or a correction of that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Charge {
    month: Month,
    job: JobId,
    site: SiteId,
    owner: OrganisationId,
    project: ProjectId,
    organisation: OrganisationId,
    programme: Programme,
    won: Won,
    compute: FlopSeconds,
    /// The invoice that was disputed, if it is a correction.
    corrects: Option<InvoiceId>,
}

/// What is counted for one month and name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    won: Won,
    /// What of the money are corrections.
    corrected: Won,
    compute: FlopSeconds,
}

/// How many records are read at once.
const PAGE: u64 = 1_000;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.idle {
        return idle::run(args);
    }
    if args.years {
        return years::run(args);
    }
    let (state, mut charges) = read(&Reader::open(args.data.log())?)?;
    charges.retain(|charge| args.wants(charge.month));
    match args.format {
        Format::Table => show::print(&table(&charges, args.by)),
        Format::Csv => show::print(&csv(&charges, args.by)),
        Format::Focus => show::print(&focus::csv(&state, &charges)),
        Format::Page => show::print(&page::html(&state, &charges)),
    }
    Ok(())
}

/// Month, site, job, and the disputed invoice of a correction.
type Key = (Month, SiteId, JobId, Option<InvoiceId>);

/// The last state, and everything that was settled or corrected, in the order of month, site and job.
fn read(reader: &Reader) -> Result<(State, Vec<Charge>), Failure> {
    let mut sums: BTreeMap<Key, (Won, FlopSeconds)> = BTreeMap::new();
    let state = replay(reader, &mut |_, event, at| match event {
        Event::Posted(transfer) => {
            if let Some((job, site)) = settled(transfer) {
                let sum = sums.entry((Month::of(at), site.clone(), job, None)).or_default();
                sum.0 += transfer.won;
                sum.1 += transfer.compute;
            }
        }
        Event::Invoice(InvoiceEvent::Resolved { corrections, .. }) => {
            for it in corrections {
                let invoice = it.invoice.clone();
                let key = (Month::of(at), invoice.site.clone(), it.job, Some(invoice));
                sums.entry(key).or_default().0 += it.won;
            }
        }
        _ => {}
    })?;
    let charge = |((month, site, job, corrects), (won, compute)): (Key, (Won, FlopSeconds))| {
        let project = state.projects.get(&state.jobs.get(&job)?.spec.project)?;
        Some(Charge {
            month,
            job,
            owner: state.sites.get(&site)?.owner.clone(),
            site,
            project: project.id.clone(),
            organisation: project.organisation.clone(),
            programme: project.programme,
            won,
            compute,
            corrects,
        })
    };
    let charges = sums.into_iter().filter_map(charge).collect();
    Ok((state, charges))
}

/// The last state; `see` gets each event, with the state before it.
fn replay(reader: &Reader, see: &mut dyn FnMut(&State, &Event, Time)) -> Result<State, Failure> {
    let mut state = State::default();
    let mut from = 1;
    loop {
        let records = reader.records(from, PAGE)?;
        let Some(last) = records.last() else {
            return Ok(state);
        };
        from = last.seq + 1;
        for record in &records {
            for event in &record.events {
                see(&state, event, record.at);
                apply(&mut state, event, record.at);
            }
        }
    }
}

/// The job and the site, if the transfer pays for what was metered.
fn settled(transfer: &Transfer) -> Option<(JobId, &SiteId)> {
    match (&transfer.from, &transfer.to) {
        (Account::Reserved(job, site), Account::Earned(_)) => Some((*job, site)),
        _ => None,
    }
}

impl Args {
    fn wants(&self, month: Month) -> bool {
        self.from.is_none_or(|from| month >= from) && self.to.is_none_or(|to| month <= to)
    }
}

impl By {
    fn of(self, charge: &Charge) -> String {
        match self {
            Self::Programme => charge.programme.to_string(),
            Self::Organisation => charge.organisation.to_string(),
            Self::Project => charge.project.to_string(),
            Self::Site => charge.site.to_string(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Programme => "programme",
            Self::Organisation => "organisation",
            Self::Project => "project",
            Self::Site => "site",
        }
    }
}

/// Sums by month and whatever is asked for.
fn sums(charges: &[Charge], by: By) -> BTreeMap<(Month, String), Sum> {
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for charge in charges {
        sums.entry((charge.month, by.of(charge))).or_default().add(charge);
    }
    sums
}

impl Sum {
    fn add(&mut self, charge: &Charge) {
        self.won += charge.won;
        self.compute += charge.compute;
        if charge.corrects.is_some() {
            self.corrected += charge.won;
        }
    }
}

fn table(charges: &[Charge], by: By) -> String {
    let row = |((month, name), sum): ((Month, String), Sum)| {
        vec![
            month.to_string(),
            name,
            sum.won.0.to_string(),
            sum.corrected.0.to_string(),
            sum.compute.pflop_hours(),
        ]
    };
    let rows: Vec<Vec<String>> = sums(charges, by).into_iter().map(row).collect();
    let head = ["month", by.name(), "won", "of it corrections", "PFLOP-hours"];
    show::table(&head, &rows)
}

fn csv(charges: &[Charge], by: By) -> String {
    let mut text = format!("month,{},won,pflop_hours,flop_seconds,corrected\n", by.name());
    for ((month, name), sum) in sums(charges, by) {
        let (won, hours, seconds) = (sum.won.0, sum.compute.pflop_hours(), sum.compute.0);
        let (name, corrected) = (cell(&name), sum.corrected.0);
        text.push_str(&format!("{month},{name},{won},{hours},{seconds},{corrected}\n"));
    }
    text
}

/// Rows as CSV.
fn lines(head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: &Vec<String>| cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\n";
    head.join(",") + "\n" + &rows.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two jobs of a project, settled at one site in two months; what one used in the first is corrected in the second.
    fn settled_log(dir: &std::path::Path) {
        use consortium::{Actor, Label, Organisation};
        use serde_json::json;
        let organisation = |id: &str, name: &str| -> Organisation {
            let it = json!({"id": id, "name": name, "name_ko": name, "kind": "company", "home": "domestic"});
            serde_json::from_value(it).unwrap()
        };
        let site = json!({"id": "hangang-1", "owner": "hangang", "tenure": "rented", "rated": 1_000_000, "price": 7});
        let project = json!({
            "id": "reviews", "title": "Reviews", "organisation": "gaon", "programme": "language", "members": [],
        });
        let spec = json!({
            "name": "x", "project": "reviews", "program": "language", "label": "open", "sites": 1,
            "wall_minutes": 1, "inputs": {}, "settings": {},
            "rounds": {"count": 1, "samples": 1, "quorum": 1, "grace_seconds": 0},
        });
        let submitted = |job| Event::Submitted {
            job: JobId(job),
            spec: serde_json::from_value(spec.clone()).unwrap(),
            submitter: "minji".parse().unwrap(),
            label: Label::Open,
        };
        let site_id: SiteId = "hangang-1".parse().unwrap();
        let paid = |job, won| {
            let (from, to) = (
                Account::Reserved(JobId(job), site_id.clone()),
                Account::Earned(site_id.clone()),
            );
            Event::Posted(Transfer::both(
                from,
                to,
                Won(won),
                FlopSeconds::from_pflop_hours(2),
            ))
        };
        let reserve = |job| {
            let to = Account::Reserved(JobId(job), site_id.clone());
            let compute = FlopSeconds::from_pflop_hours(100);
            Event::Posted(Transfer::both(Account::Source, to, Won(1_000), compute))
        };
        let placed = Event::Placed {
            job: JobId(1),
            award: "first".parse().unwrap(),
            sites: vec![serde_json::from_value(json!({
                "site": "hangang-1", "price": 7, "rated": 1_000_000, "reserved": 1_000, "reserved_compute": "1",
            }))
            .unwrap()],
            candidates: Vec::new(),
        };
        let corrected = consortium::Correction {
            invoice: "2021-07/hangang-1".parse().unwrap(),
            job: JobId(1),
            award: "first".parse().unwrap(),
            won: Won(-40),
            ground: "minutes, \"of\" 3 August".to_owned(),
        };
        let back = Transfer::won(
            Account::Earned(site_id.clone()),
            Account::Award("first".parse().unwrap()),
            Won(40),
        );
        let resolved = Event::Invoice(InvoiceEvent::Resolved {
            invoice: corrected.invoice.clone(),
            ground: corrected.ground.clone(),
            corrections: vec![corrected],
        });
        let july = Time(1_625_100_000_000);
        let days: [(Time, Vec<Event>); 3] = [
            (
                july,
                vec![
                    Event::Admitted(organisation("hangang", "Hangang, \"Cloud\"")),
                    Event::Admitted(organisation("gaon", "Gaon <b>")),
                    Event::SiteAdded(serde_json::from_value(site).unwrap()),
                    Event::ProjectOpened(serde_json::from_value(project).unwrap()),
                    submitted(1),
                    submitted(2),
                    placed,
                    reserve(1),
                    reserve(2),
                ],
            ),
            (july, vec![paid(1, 100), paid(1, 50), paid(2, 7)]),
            (
                july.plus(40 * 86_400_000),
                vec![paid(2, 30), resolved, Event::Posted(back)],
            ),
        ];
        let entries = days.map(|(at, events)| store::Entry {
            actor: Actor::Hub,
            at,
            events,
        });
        store::Store::open(dir).unwrap().0.append(&entries).unwrap();
    }

    #[test]
    fn what_was_settled_is_reported_once() {
        let dir = std::env::temp_dir().join(format!("khub-report-{}", std::process::id()));
        settled_log(&dir);
        let (state, charges) = read(&Reader::open(&dir).unwrap()).unwrap();
        let earned = state
            .ledger
            .balance(&Account::Earned("hangang-1".parse().unwrap()));
        assert_eq!(charges.iter().map(|charge| charge.won).sum::<Won>(), earned.won);
        assert_eq!(
            charges.iter().map(|charge| charge.compute).sum::<FlopSeconds>(),
            earned.compute
        );
        let expected = "month,site,won,pflop_hours,flop_seconds,corrected\n\
            2021-07,hangang-1,157,6.000000000,21600000000000000000,0\n\
            2021-08,hangang-1,-10,2.000000000,7200000000000000000,-40\n";
        assert_eq!(csv(&charges, By::Site), expected);

        let focus = crate::members::csv::rows(focus::csv(&state, &charges).as_bytes()).unwrap();
        assert_eq!(focus.len(), 5);
        assert!(focus.iter().all(|(_, row)| row.len() == focus[0].1.len()));
        let cell = |row: usize, name: &str| {
            let column = focus[0].1.iter().position(|title| title == name).unwrap();
            focus[row].1[column].as_str()
        };
        assert_eq!(cell(1, "BilledCost"), "150.0");
        assert_eq!(
            (cell(1, "ListUnitPrice"), cell(1, "SkuPriceId")),
            ("7.0", "hangang-1 at 7")
        );
        assert_eq!(cell(1, "ProviderName"), "Hangang, \"Cloud\"");
        assert_eq!(cell(4, "BillingPeriodStart"), "2021-07-31T15:00:00Z");
        assert_eq!(cell(4, "ResourceId"), "job-2");
        let of_correction = [
            ("ChargeClass", "Correction"),
            ("BilledCost", "-40.0"),
            ("ResourceId", "job-1"),
            ("BillingPeriodStart", "2021-07-31T15:00:00Z"),
            ("ChargePeriodStart", "2021-06-30T15:00:00Z"),
            ("ChargePeriodEnd", "2021-07-31T15:00:00Z"),
            ("ConsumedQuantity", ""),
            ("ListUnitPrice", ""),
            ("SkuPriceId", ""),
            ("ChargeDescription", "correction of 2021-07/hangang-1 for job-1"),
        ];
        for (name, expected) in of_correction {
            assert_eq!(cell(3, name), expected, "{name}");
        }
        assert_eq!(cell(4, "ChargeClass"), "");

        let page = page::html(&state, &charges);
        assert!(
            page.contains("2021-07 – 2021-08")
                && page.contains(">147<")
                && page.contains(">-40<")
                && page.matches("<svg").count() == 4
        );
        assert!(!page.contains("<script") && !page.contains("http"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
