//! Offers: what a site's owner asks for its machines, version by version, and how fast the consortium takes a GPU of
//! each sort to be.
//!
//! Contracts are in won per GPU-hour or per PFLOPS-month; jobs are placed and paid by the PFLOP-hour. A new offer says both.
//! It holds for what is placed from then on: what runs is paid at the price that it was placed at.
//!
//! ```
//! use consortium::{Asking, FlopsPerSecond, Price, Won};
//! let a100 = FlopsPerSecond(312_000_000_000_000); // of bf16, in its data sheet
//! assert_eq!(Asking::PflopsMonth(Won(12_500_000)).price(a100), Some(Price(17_123)));
//! assert_eq!(Asking::GpuHour(Won(3_000)).price(a100), Some(Price(9_615)));
//! ```

use crate::decide::{MOST_GPUS, find, grounded, range};
use crate::policy::Resource;
use crate::{Action, Actor, Event, FlopsPerSecond, Price, Refusal, Site, SiteId, State, Time, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is asked, in the unit of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// Won for 10^15 FLOP/s, held for an hour.
    PflopHour(Won),
    /// Won for one GPU, held for an hour.
    GpuHour(Won),
    /// Won for 10^15 FLOP/s, held for a month.
    PflopsMonth(Won),
}

/// A twelfth of a year of 365 days.
const HOURS_IN_A_MONTH: i128 = 730;
const PFLOPS: i128 = 1_000_000_000_000_000;
const MOST_WON: i64 = 1_000_000_000_000;
/// An exaFLOPS for one GPU is no GPU.
const MOST_RATED: u64 = 1_000_000_000_000_000_000;
const MOST_LETTERS: usize = 64;

impl Asking {
    /// Won per PFLOP-hour of GPUs that are rated at `gpu` each, to the nearest won. None if they are rated at nothing, or
    /// if no won can count it.
    pub fn price(self, gpu: FlopsPerSecond) -> Option<Price> {
        let (Self::PflopHour(won) | Self::GpuHour(won) | Self::PflopsMonth(won)) = self;
        let won = i128::from(won.0);
        let (won, per) = match self {
            Self::PflopHour(_) => (won, 1),
            Self::GpuHour(_) => (won * PFLOPS, gpu.0.into()),
            Self::PflopsMonth(_) => (won, HOURS_IN_A_MONTH),
        };
        let nearest = (won + per / 2).checked_div(per)?;
        i64::try_from(nearest).ok().map(Price)
    }
}

/// Something to be done about offers; all of it is the programme office's, which has the contracts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferCommand {
    /// Take another offer of a site's owner.
    Take(SiteId, NewOffer),
    /// Say how fast a GPU of one sort is taken to be.
    Rate(Factor),
}

/// What a site's owner asks from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOffer {
    /// The price, in the unit of the contract.
    pub asking: Asking,
    /// What a PFLOP-hour costs the consortium more than the same machines idle; all of the price if not told.
    #[serde(default)]
    pub marginal: Option<Price>,
    /// How many GPUs jobs may share; as many as before if not told.
    #[serde(default)]
    pub gpus: Option<u32>,
    /// What that rests on: a contract, a letter.
    pub ground: String,
}

/// How fast the consortium takes a GPU of one sort to be. Sites' offers from then on are rated by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// The sort, in the words of the consortium's jobs.
    #[schemars(regex(pattern = "^[-_.A-Za-z0-9]{1,64}$"))]
    pub gpu: String,
    /// What one of them is rated at, FLOP/s.
    pub rated: FlopsPerSecond,
    /// What that rests on: a data sheet, a measurement.
    pub ground: String,
}

/// Something that happened to offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as in the commands")]
pub enum OfferEvent {
    /// A site has another offer.
    Taken {
        site: SiteId,
        terms: OfferTerms,
        ground: String,
    },
    /// A sort of GPU is rated.
    Rated(Factor),
}

/// What an offer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferTerms {
    /// The price, in the unit of the contract.
    pub asking: Asking,
    /// The same per PFLOP-hour.
    pub price: Price,
    /// What a PFLOP-hour costs the consortium more than the same machines idle.
    pub marginal: Option<Price>,
    /// How many GPUs jobs may share.
    pub gpus: u32,
    /// The speed of all of them that is metered and paid.
    pub rated: FlopsPerSecond,
}

/// An offer, as it was in force from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it says.
    pub terms: OfferTerms,
    /// What it rests on; nothing of the one that a site came with.
    pub ground: Option<String>,
    /// Since when.
    pub since: Time,
}

/// A factor, as it was in force from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// What it says.
    pub factor: Factor,
    /// Since when.
    pub since: Time,
}

pub(crate) fn ask(state: &State, actor: &Actor, command: &OfferCommand) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let event = match command {
        OfferCommand::Take(site, offer) => take(state, site, offer)?,
        OfferCommand::Rate(factor) => rate(state, factor)?,
    };
    Ok(event.map(Event::Offer).into_iter().collect())
}

fn take(state: &State, id: &SiteId, offer: &NewOffer) -> Result<Option<OfferEvent>, Refusal> {
    let site = find(&state.sites, "site", id)?;
    let ground = grounded("an offer", &offer.ground, "name the contract that it rests on")?;
    let gpus = offer.gpus.unwrap_or(site.gpus);
    let rated = rated(state, site, gpus);
    let each = FlopsPerSecond(rated.0 / u64::from(gpus.max(1)));
    let Some(price) = offer.asking.price(each) else {
        let why = format!("{} at {} FLOP/s a GPU is no price", offer.asking, each.0);
        return Err(Refusal::invalid(why).hint("ask for less, or rate the GPU with `khub gpus rate`"));
    };
    let new = Site {
        price,
        marginal: offer.marginal,
        gpus,
        rated,
        ..site.clone()
    };
    check(&new)?;
    let terms = terms(&new, offer.asking);
    if state.offers(id).last().is_some_and(|last| last.terms == terms) {
        return Ok(None);
    }
    Ok(Some(OfferEvent::Taken {
        site: id.clone(),
        terms,
        ground,
    }))
}

/// By the factor of its sort of GPU, if there is one; else each GPU counts as it did. A site beyond 18 exaFLOPS counts as that.
fn rated(state: &State, site: &Site, gpus: u32) -> FlopsPerSecond {
    let factor = site.gpu.as_ref().and_then(|gpu| state.factor(gpu));
    match factor {
        Some(each) => FlopsPerSecond(each.0.saturating_mul(gpus.into())),
        None => {
            let all = u128::from(site.rated.0) * u128::from(gpus) / u128::from(site.gpus.max(1));
            FlopsPerSecond(u64::try_from(all).unwrap_or(u64::MAX))
        }
    }
}

fn rate(state: &State, factor: &Factor) -> Result<Option<OfferEvent>, Refusal> {
    let Factor { gpu, rated, ground } = factor;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if !(1..=MOST_LETTERS).contains(&gpu.len()) || !gpu.chars().all(plain) {
        let why = format!("{gpu:?} names no sort of GPU");
        let hint = format!("a100, for example: up to {MOST_LETTERS} letters, digits and `-_.`");
        return Err(Refusal::invalid(why).hint(hint));
    }
    range("rated", rated.0, 1, MOST_RATED)?;
    let ground = grounded(
        "a factor",
        ground,
        "name the data sheet or the measurement that it rests on",
    )?;
    if state.factor(gpu) == Some(*rated) {
        return Ok(None);
    }
    Ok(Some(OfferEvent::Rated(Factor {
        gpu: gpu.clone(),
        rated: *rated,
        ground,
    })))
}

/// Whether a site can be had as it is offered.
pub(crate) fn check(site: &Site) -> Result<(), Refusal> {
    if !(0..=MOST_WON).contains(&site.price.0) {
        let why = format!("a price of {} won a PFLOP-hour is out of range", site.price.0);
        return Err(Refusal::invalid(why).hint("0 to 1,000,000,000,000 won a PFLOP-hour"));
    }
    if site.rated.0 == 0 {
        return Err(Refusal::invalid(format!("site {} is rated at 0 FLOP/s", site.id)));
    }
    if site.gpus == 0 || site.gpus > MOST_GPUS {
        let why = format!("site {} has {} GPUs", site.id, site.gpus);
        return Err(Refusal::invalid(why).hint(format!("gpus takes 1 to {MOST_GPUS}")));
    }
    let fits = |marginal: Price| (0..=site.price.0).contains(&marginal.0);
    if !site.marginal.is_none_or(fits) {
        let why = format!("the marginal price of site {} is out of range", site.id);
        return Err(Refusal::invalid(why).hint("0 to the site's price"));
    }
    Ok(())
}

pub(crate) fn apply(state: &mut State, event: &OfferEvent, at: Time) {
    match event {
        OfferEvent::Taken { site, terms, ground } => {
            if let Some(site) = state.sites.get_mut(site) {
                site.price = terms.price;
                site.marginal = terms.marginal;
                site.gpus = terms.gpus;
                site.rated = terms.rated;
            }
            let offer = Offer {
                terms: terms.clone(),
                ground: Some(ground.clone()),
                since: at,
            };
            state.offers.entry(site.clone()).or_default().push(offer);
        }
        OfferEvent::Rated(factor) => {
            let rating = Rating {
                factor: factor.clone(),
                since: at,
            };
            state.ratings.entry(factor.gpu.clone()).or_default().push(rating);
        }
    }
}

/// A site comes with its first offer.
pub(crate) fn came(state: &mut State, site: &Site, at: Time) {
    let offer = Offer {
        terms: terms(site, Asking::PflopHour(Won(site.price.0))),
        ground: None,
        since: at,
    };
    state.offers.insert(site.id.clone(), vec![offer]);
}

fn terms(site: &Site, asking: Asking) -> OfferTerms {
    OfferTerms {
        asking,
        price: site.price,
        marginal: site.marginal,
        gpus: site.gpus,
        rated: site.rated,
    }
}

impl State {
    /// A site's offers, the one in force last.
    pub fn offers(&self, site: &SiteId) -> &[Offer] {
        self.offers.get(site).map_or(&[], Vec::as_slice)
    }

    /// How fast a GPU of this sort is taken to be, if that was said.
    pub fn factor(&self, gpu: &str) -> Option<FlopsPerSecond> {
        let rating = self.ratings.get(gpu)?.last()?;
        Some(rating.factor.rated)
    }
}

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PflopHour(won) => write!(f, "{won} a PFLOP-hour"),
            Self::GpuHour(won) => write!(f, "{won} a GPU-hour"),
            Self::PflopsMonth(won) => write!(f, "{won} a PFLOPS-month"),
        }
    }
}
