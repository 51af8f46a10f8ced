//! Machines that are held and not used: first their job is reported, then its people are warned, then the award that
//! pays for it is reduced, by the terms that the consortium has set. Without terms nobody is watched.
//!
//! A reading tells for how long the site saw how busy a job's machines were, and for how much of that they were. It is
//! judged a sample at a time, and a sample in which they were busy begins anew. So the clock is the meter's, and what
//! nobody saw, for whatever reason, is held against nobody.

use crate::decide::{find, grounded, range};
use crate::money::Till;
use crate::policy::Resource;
use crate::{
    Account, Action, Actor, Amount, AwardId, Event, FlopSeconds, Job, JobId, Member, Month, Refusal, SiteId,
    State, Time, Usage, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When machines count as idle, and what follows. In the file of `khub found`:
///
/// ```toml
/// [watch]
/// busy_percent = 10      # who is busy for less is idle
/// sample_seconds = 300   # judged so much at a time
/// report_minutes = 60    # idle for so long in a row, and it is reported
/// warn_minutes = 240
/// reduce_minutes = 1440
/// reduce_percent = 10    # of what the award has left
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Who is busy for less than this is idle.
    #[schemars(range(min = 1, max = 100))]
    pub busy_percent: u32,
    /// How much is judged at a time.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub sample_seconds: u32,
    /// Idle for so long, it is reported.
    #[schemars(range(max = MOST_MINUTES))]
    pub report_minutes: u32,
    /// Idle for so long, its people are warned.
    #[schemars(range(max = MOST_MINUTES))]
    pub warn_minutes: u32,
    /// Idle for so long, the award that pays is reduced.
    #[schemars(range(max = MOST_MINUTES))]
    pub reduce_minutes: u32,
    /// By so much of what it has left.
    #[schemars(range(max = 100))]
    pub reduce_percent: u32,
}

/// Ninety days.
const MOST_MINUTES: u32 = 60 * 24 * 90;

/// What has been said of machines that are held idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Whoever may know of the job is told.
    Reported,
    /// Its people are told what follows.
    Warned,
    /// The award was reduced.
    Reduced,
}

/// What was taken from an award.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// From which.
    pub award: AwardId,
    /// Money.
    pub won: Won,
    /// Compute.
    pub compute: FlopSeconds,
    /// What of the money went back to which fiscal year; the rest is undated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::amount::won_by_year")]
    pub years: BTreeMap<u16, Won>,
}

/// How busy a site's machines have been in one stay of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watch {
    /// Where the sample began.
    from: Seen,
    /// How busy they were in the last whole sample.
    pub percent: Option<u32>,
    /// For how many milliseconds in a row they have been idle.
    pub idle: u64,
    /// The last that was said of it.
    pub notice: Option<Notice>,
    /// What was taken and not given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
}

/// Milliseconds in which it was seen how busy they were, and in which they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Seen {
    watched: u64,
    busy: u64,
}

fn five_minutes() -> u32 {
    300
}

impl Terms {
    fn check(&self) -> Result<(), Refusal> {
        let most = MOST_MINUTES.into();
        range("watch.busy_percent", self.busy_percent.into(), 1, 100)?;
        range("watch.sample_seconds", self.sample_seconds.into(), 1, 86_400)?;
        range("watch.report_minutes", self.report_minutes.into(), 0, most)?;
        let after = u64::from(self.report_minutes);
        range("watch.warn_minutes", self.warn_minutes.into(), after, most)?;
        let after = u64::from(self.warn_minutes);
        range("watch.reduce_minutes", self.reduce_minutes.into(), after, most)?;
        range("watch.reduce_percent", self.reduce_percent.into(), 0, 100)
    }

    fn minutes(&self, notice: Notice) -> u32 {
        match notice {
            Notice::Reported => self.report_minutes,
            Notice::Warned => self.warn_minutes,
            Notice::Reduced => self.reduce_minutes,
        }
    }

    /// What is to be said next, if it is time.
    fn due(&self, watch: &Watch) -> Option<Notice> {
        let next = watch.next()?;
        let is_idle = watch.percent.is_some_and(|percent| percent < self.busy_percent);
        (is_idle && watch.idle >= u64::from(self.minutes(next)) * 60_000).then_some(next)
    }
}

impl Watch {
    /// A new total of all attempts of the stay.
    pub(crate) fn see(&mut self, terms: &Terms, total: Usage) {
        let watched = total.watched.saturating_sub(self.from.watched);
        if watched < u64::from(terms.sample_seconds) * 1_000 {
            return;
        }
        let busy = total.busy.saturating_sub(self.from.busy);
        let percent = u128::from(busy) * 100 / u128::from(watched.max(1));
        let percent = u32::try_from(percent.min(100)).unwrap_or(100);
        self.percent = Some(percent);
        if percent < terms.busy_percent {
            self.idle = self.idle.saturating_add(watched);
        } else {
            self.idle = 0;
            // An award is reduced once for a stay.
            self.notice = self.notice.filter(|notice| *notice == Notice::Reduced);
        }
        self.from = Seen {
            watched: total.watched,
            busy: total.busy,
        };
    }

    pub(crate) fn is_new(&self) -> bool {
        *self == Self::default()
    }

    fn next(&self) -> Option<Notice> {
        match self.notice {
            None => Some(Notice::Reported),
            Some(Notice::Reported) => Some(Notice::Warned),
            Some(Notice::Warned) => Some(Notice::Reduced),
            Some(Notice::Reduced) => None,
        }
    }
}

/// The consortium sets its terms, or watches nobody any more.
pub(crate) fn set(state: &State, actor: &Actor, terms: Option<&Terms>) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    if let Some(terms) = terms {
        terms.check()?;
    }
    if state.watch.as_ref() == terms {
        return Ok(Vec::new());
    }
    Ok(vec![Event::WatchSet {
        terms: terms.copied(),
    }])
}

/// What is to be said of a job that holds machines idle.
pub(crate) fn notices(state: &State, job: &Job) -> Vec<Event> {
    let Some(terms) = &state.watch else {
        return Vec::new();
    };
    let mut watches = job.present().map(|(site, member)| (site, &member.watch));
    let Some((site, watch, notice)) =
        watches.find_map(|(site, watch)| Some((site, watch, terms.due(watch)?)))
    else {
        return Vec::new();
    };
    let taken = match notice {
        Notice::Reduced => job.award.as_ref(),
        _ => None,
    };
    let mut till = Till::new(state);
    let taken = taken.map(|award| reduction(state, terms, award, &mut till));
    let mut events = vec![Event::HeldIdle {
        job: job.id,
        site: site.clone(),
        notice,
        idle: watch.idle,
        percent: watch.percent.unwrap_or(0),
        taken,
    }];
    events.extend(till.into_events());
    events
}

/// What was taken because of a job goes back to its award, on some ground.
pub(crate) fn give_back(
    state: &State,
    actor: &Actor,
    job: JobId,
    ground: &str,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let job = find(&state.jobs, "job", &job)?;
    let ground = grounded("giving back", ground, "say what the project's people have shown")?;
    let taken: Vec<&Taken> = job
        .stays()
        .filter_map(|member| member.watch.taken.as_ref())
        .collect();
    if taken.is_empty() {
        return Err(
            Refusal::conflict(format!("nothing is kept from an award because of {}", job.id))
                .hint("`khub report --idle` lists what was taken"),
        );
    }
    let mut events = vec![Event::GivenBack { job: job.id, ground }];
    let mut till = Till::new(state);
    taken.iter().for_each(|taken| taken.give_back(&mut till, now));
    events.extend(till.into_events());
    Ok(events)
}

/// For the job's people: how busy its machines are, if that isn't enough, and what follows.
pub(crate) fn in_words(state: &State, job: &Job) -> Option<String> {
    let taken = job.stays().find_map(|member| member.watch.taken.as_ref());
    if let Some(taken) = taken {
        return Some(format!(
            "it held machines idle, so award {} was reduced by {} and {} PFLOP-hours; the programme office can give \
             that back",
            taken.award,
            taken.won,
            taken.compute.pflop_hours()
        ));
    }
    let terms = state.watch.as_ref()?;
    let told = |(_, member): &(&SiteId, &Member)| {
        matches!(member.watch.notice, Some(Notice::Reported | Notice::Warned))
    };
    let (site, member) = job.present().find(told)?;
    let (watch, award) = (&member.watch, job.award.as_ref()?);
    let (idle, percent) = (watch.idle / 60_000, watch.percent.unwrap_or(0));
    let (most, part) = (terms.reduce_minutes, terms.reduce_percent);
    Some(format!(
        "what it holds at {site} has been idle for {idle} minutes, busy for {percent} % of the last ones; after {most} \
         minutes award {award} is reduced by {part} %: use it or cancel the job"
    ))
}

fn reduction(state: &State, terms: &Terms, award: &AwardId, till: &mut Till<'_>) -> Taken {
    let left = state.ledger.balance(&Account::Award(award.clone()));
    let percent = terms.reduce_percent;
    let won = i128::from(left.won.0) * i128::from(percent) / 100;
    let compute = left.compute.0 / 100 * i128::from(percent);
    let amount = Amount {
        won: Won(i64::try_from(won).unwrap_or(0)),
        compute: FlopSeconds(compute),
    };
    let parts = till.take(award, None, amount);
    Taken {
        award: award.clone(),
        won: amount.won,
        compute: amount.compute,
        years: parts
            .into_iter()
            .filter_map(|(year, won)| Some((year?, won)))
            .collect(),
    }
}

impl Taken {
    pub(crate) fn amount(&self) -> Amount {
        Amount {
            won: self.won,
            compute: self.compute,
        }
    }

    /// Out of the years that have it; out of the one that runs, where they have left it to that since.
    fn give_back(&self, till: &mut Till<'_>, now: Time) {
        let this = Some(Month::of(now).year());
        let dated: Won = self.years.values().copied().sum();
        for (year, won) in &self.years {
            let won = Amount {
                won: *won,
                compute: FlopSeconds(0),
            };
            till.give(&self.award, &[Some(*year), this, None], won);
        }
        let undated = Amount {
            won: self.won - dated,
            compute: self.compute,
        };
        till.give(&self.award, &[None, this], undated);
    }
}
