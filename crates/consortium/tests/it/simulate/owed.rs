//! Stories in which invoices are issued, billed, disputed, corrected and paid beside everything else, over months: whoever
//! asks, all that was settled is on one invoice, and what was issued stays as it was.

use super::Story;
use crate::calls::DAY;
use crate::world::{id, person};
use consortium::{
    Account, Actor, Bill, BillLine, Billed, Command, Event, FlopSeconds, Invoice, InvoiceCommand,
    InvoiceEvent, InvoiceId, InvoiceState, JobId, Month, Person, Presence, Reading, SiteId, Transfer, Won,
};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 80;
const STEPS: usize = 300;

#[test]
fn whatever_is_asked_of_invoices_the_rules_hold() {
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut story = Story::new(seed);
        let sora = Person {
            id: id("sora"),
            organisation: id("bada"),
            roles: BTreeSet::new(),
        };
        story.world.must(Actor::Hub, Command::AddPerson(sora));
        for _ in 0..STEPS {
            if story.dice.one_in(2) {
                let (actor, command) = story.owed();
                story.ask(actor, command);
            } else {
                story.step();
            }
            if story.dice.one_in(20) {
                story.world.now = story.world.now.plus(story.dice.below(20) * DAY);
            }
        }
        story.check_months();
        story.count_invoices(&mut seen);
        story.end(&mut seen);
    }
    for what in [
        "draft",
        "issued",
        "agreed",
        "disputed",
        "resolved",
        "paid",
        "corrected",
        "late",
    ] {
        let times = seen.get(what).copied().unwrap_or(0);
        assert!(times >= 10, "{what} was seen {times} times only: {seen:?}");
    }
}

impl Story {
    /// Something about an invoice, mostly by whoever may ask it.
    fn owed(&mut self) -> (Actor, Command) {
        let invoices: Vec<Invoice> = self.world.state.invoices.values().cloned().collect();
        if invoices.is_empty() {
            return (person("director"), Command::Tick);
        }
        if self.dice.one_in(3)
            && let Some(told) = self.told_late()
        {
            return told;
        }
        let invoice = self.dice.pick(&invoices);
        let turn = match invoice.state(&self.world.state) {
            _ if self.dice.one_in(4) => self.dice.below(4),
            InvoiceState::Draft => 0,
            InvoiceState::Issued => 1,
            InvoiceState::Disputed => 2,
            InvoiceState::Agreed | InvoiceState::Resolved | InvoiceState::Paid => 3,
        };
        let (who, command) = match turn {
            0 => ("director", InvoiceCommand::Issue),
            1 => {
                let owners = BTreeMap::from([("hangang", "jun"), ("rhein", "otto")]);
                let owner = owners.get(invoice.id.site.as_str()).copied();
                let lines = self.bill(&invoice);
                (owner.unwrap_or("sora"), InvoiceCommand::Bill(Bill { lines }))
            }
            2 => {
                let corrections = self.corrections(&invoice);
                let ground = "a talk of both".to_owned();
                ("director", InvoiceCommand::Resolve { corrections, ground })
            }
            _ => {
                let won = self.dice.one_in(2).then(|| Won(self.dice.amount(2_000)));
                let reference = "transfer 7".to_owned();
                ("director", InvoiceCommand::Pay { won, reference })
            }
        };
        let who = match self.dice.one_in(12) {
            true => self.dice.pick(&["inspector", "anna", "nobody"]),
            false => who,
        };
        let id = match self.dice.one_in(20) {
            true => InvoiceId {
                site: id("nowhere"),
                ..invoice.id
            },
            false => invoice.id,
        };
        (person(who), Command::Invoice(id, command))
    }

    /// A site that was away tells of a few more seconds of an earlier month, if there is one.
    fn told_late(&self) -> Option<(Actor, Command)> {
        let this = Month::of(self.world.now);
        for job in self.world.state.active_jobs() {
            for (site, member) in job.present() {
                let mut total = member.usage.get(&member.attempt).copied().unwrap_or_default();
                total.millis = total.millis.saturating_add(9_000);
                let Presence::Present(since) = member.presence else {
                    continue;
                };
                if Month::of(since.plus(total.millis)) < this {
                    let attempt = member.attempt;
                    let reading = Reading { attempt, total };
                    let job = job.id;
                    return Some((Actor::Site(site.clone()), Command::Meter { job, reading }));
                }
            }
        }
        None
    }

    /// What was settled, for each job or for its project; every fourth line is something else.
    fn bill(&mut self, invoice: &Invoice) -> Vec<BillLine> {
        let by_project = self.dice.one_in(3);
        let right = self.dice.one_in(2);
        let mut lines: BTreeMap<Billed, (Won, FlopSeconds)> = BTreeMap::new();
        for (job, settled) in &invoice.lines {
            for line in settled {
                let of = match by_project {
                    true => Billed::Project(line.project.clone()),
                    false => Billed::Job(*job),
                };
                let sum = lines.entry(of).or_default();
                sum.0 += line.won;
                sum.1 += line.compute;
            }
        }
        if !right && self.dice.one_in(4) {
            lines.insert(Billed::Job(self.any_job()), (Won(7), FlopSeconds(7)));
        }
        let mut bill = Vec::new();
        for (of, (won, compute)) in lines {
            let won = match !right && self.dice.one_in(2) {
                true => Won(self.dice.amount(2_000)),
                false => won,
            };
            let compute = self.dice.one_in(2).then_some(compute);
            bill.push(BillLine { of, won, compute });
        }
        bill
    }

    fn any_job(&mut self) -> JobId {
        JobId(1 + self.dice.below(1 + self.world.state.jobs.len() as u64))
    }

    /// All of what differs, or something else.
    fn corrections(&mut self, invoice: &Invoice) -> BTreeMap<JobId, Won> {
        let mut corrections = BTreeMap::new();
        for difference in invoice.differences(&self.world.state) {
            if let Billed::Job(job) = difference.of
                && self.dice.one_in(2)
            {
                let won = match self.dice.one_in(8) {
                    true => Won(self.dice.amount(2_000)),
                    false => difference.billed - difference.invoiced,
                };
                corrections.insert(job, won);
            }
        }
        corrections
    }

    /// The postings of a site in a month are the lines of that month's invoice, or of the next one that wasn't issued then;
    /// and so are its corrections. Told from the log alone.
    fn check_months(&self) {
        let mut issued: BTreeMap<SiteId, Month> = BTreeMap::new();
        let mut owed: BTreeMap<InvoiceId, (Won, FlopSeconds, Won)> = BTreeMap::new();
        for (event, at) in &self.world.log {
            let invoice_of = |site: &SiteId| {
                let next = issued.get(site).map(|last| last.next());
                let (site, this) = (site.clone(), Month::of(*at));
                let month = next.map_or(this, |next| next.max(this));
                InvoiceId { site, month }
            };
            match event {
                Event::Posted(Transfer {
                    from: Account::Reserved(..),
                    to: Account::Earned(site),
                    won,
                    compute,
                }) => {
                    let of = owed.entry(invoice_of(site)).or_default();
                    of.0 += *won;
                    of.1 += *compute;
                }
                Event::Invoice(InvoiceEvent::Resolved { corrections, .. }) => {
                    for it in corrections {
                        owed.entry(invoice_of(&it.invoice.site)).or_default().2 += it.won;
                    }
                }
                Event::Invoice(InvoiceEvent::Issued { invoice }) => {
                    issued.insert(invoice.site.clone(), invoice.month);
                }
                _ => {}
            }
        }
        for invoice in self.world.state.invoices.values() {
            let lines = || invoice.lines.values().flatten();
            let corrected: Won = invoice.corrections.iter().map(|it| it.won).sum();
            let told = (
                lines().map(|line| line.won).sum(),
                lines().map(|line| line.compute).sum(),
                corrected,
            );
            assert_eq!(owed.remove(&invoice.id), Some(told), "{}", invoice.id);
        }
        owed.retain(|_, of| *of != Default::default());
        assert!(owed.is_empty(), "on no invoice: {owed:?}");
    }

    fn count_invoices(&self, seen: &mut BTreeMap<String, usize>) {
        let state = &self.world.state;
        let mut count = |what: &str| *seen.entry(what.to_owned()).or_insert(0) += 1;
        let mut serials = BTreeSet::new();
        for invoice in state.invoices.values() {
            count(&invoice.state(state).to_string());
            invoice.corrections.iter().for_each(|_| count("corrected"));
            let lines = invoice.lines.values().flatten();
            lines
                .filter(|line| line.of < invoice.id.month)
                .for_each(|_| count("late"));
            if let Some(issued) = &invoice.issued {
                assert!(serials.insert((invoice.id.site.clone(), issued.serial)));
            }
        }
    }
}
