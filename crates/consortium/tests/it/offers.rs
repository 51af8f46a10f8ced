//! What sites' owners ask changes, and what was placed before is paid as it was agreed.

use crate::world::{RATED, World, id, person, site, spec};
use consortium::{
    Actor, Asking, Command, Event, Factor, FlopsPerSecond, NewOffer, OfferCommand, Price, Refusal,
    RefusalKind, Site, Tenure, Won,
};

const A100: FlopsPerSecond = FlopsPerSecond(312_000_000_000_000);

fn offer(asking: Asking) -> NewOffer {
    NewOffer {
        asking,
        marginal: None,
        gpus: None,
        ground: "contract 7".into(),
    }
}

fn take(world: &mut World, name: &str, offer: NewOffer) -> Result<Vec<Event>, Refusal> {
    world.ask(
        person("director"),
        Command::Offer(OfferCommand::Take(id(name), offer)),
    )
}

fn rate(world: &mut World, gpu: &str, rated: FlopsPerSecond) -> Result<Vec<Event>, Refusal> {
    let factor = Factor {
        gpu: gpu.into(),
        rated,
        ground: "its data sheet".into(),
    };
    world.ask(person("director"), Command::Offer(OfferCommand::Rate(factor)))
}

#[test]
fn a_price_is_the_same_in_every_unit() {
    // 12.5 million won a PFLOPS-month, Korea's list price of 2024, over 730 hours.
    assert_eq!(
        Asking::PflopsMonth(Won(12_500_000)).price(A100),
        Some(Price(17_123))
    );
    assert_eq!(Asking::PflopHour(Won(17_123)).price(A100), Some(Price(17_123)));
    // 0.312 PFLOPS for 5,342 won an hour.
    assert_eq!(Asking::GpuHour(Won(5_342)).price(A100), Some(Price(17_122)));
    assert_eq!(Asking::GpuHour(Won(1)).price(FlopsPerSecond(0)), None);
    assert_eq!(Asking::GpuHour(Won(i64::MAX)).price(FlopsPerSecond(1)), None);
}

#[test]
fn an_offer_holds_for_what_is_placed_after_it() {
    let mut world = World::founded();
    let first = world.submit(spec());
    let agreed = world.job(first).members.clone();
    let before = world.state.sites[&id("rhein")].price;
    for name in ["hangang", "bada", "rhein"] {
        take(&mut world, name, offer(Asking::PflopHour(Won(5_000_000)))).unwrap();
    }
    assert_eq!(world.job(first).members, agreed, "what was agreed stays");
    let offers = world.state.offers(&id("rhein"));
    assert_eq!(offers[0].terms.price, before);
    assert_eq!(offers[1].terms.price, Price(5_000_000));
    assert_eq!(offers[1].ground.as_deref(), Some("contract 7"));
    world.must(person("minji"), Command::Cancel(first));
    let second = world.submit(spec());
    let members = world.job(second).members.values();
    let prices: Vec<Price> = members.map(|member| member.placed.price).collect();
    assert_eq!(prices, [Price(5_000_000); 2]);
}

#[test]
fn a_factor_rates_a_site_with_its_next_offer() {
    let mut world = World::founded();
    world.must(
        Actor::Hub,
        Command::AddSite(Site {
            id: id("narae"),
            owner: id("bada"),
            tenure: Tenure::Member,
            rated: RATED,
            price: Price(1),
            gpus: 8,
            gpu: Some("a100".into()),
            marginal: None,
        }),
    );
    let rated = |world: &World| world.state.sites[&id("narae")].rated;
    rate(&mut world, "a100", A100).unwrap();
    assert_eq!(
        rated(&world),
        RATED,
        "it is paid as its contract says until there is another"
    );
    let more = NewOffer {
        gpus: Some(16),
        ..offer(Asking::GpuHour(Won(3_000)))
    };
    take(&mut world, "narae", more.clone()).unwrap();
    assert_eq!(rated(&world), FlopsPerSecond(16 * A100.0));
    assert_eq!(world.state.sites[&id("narae")].price, Price(9_615));
    assert_eq!(
        take(&mut world, "narae", more).unwrap(),
        [],
        "the same is no other offer"
    );
    // Of a sort that nobody has rated, each GPU counts as it did.
    let twice = NewOffer {
        gpus: Some(2),
        ..offer(Asking::PflopHour(Won(1)))
    };
    let was = world.state.sites[&id("hangang")].clone();
    take(&mut world, "hangang", twice).unwrap();
    let each = was.rated.0 / u64::from(was.gpus);
    assert_eq!(world.state.sites[&id("hangang")].rated, FlopsPerSecond(2 * each));
}

#[test]
fn what_is_no_offer_is_refused() {
    let mut world = World::founded();
    let at = |won| offer(Asking::PflopHour(Won(won)));
    let marginal = NewOffer {
        marginal: Some(Price(2)),
        ..at(1)
    };
    let none = NewOffer {
        gpus: Some(0),
        ..at(1)
    };
    let groundless = NewOffer {
        ground: " ".into(),
        ..at(1)
    };
    for bad in [at(-1), at(1_000_000_000_001), marginal, none, groundless] {
        let refusal = take(&mut world, "hangang", bad.clone()).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid, "{bad:?}: {refusal:?}");
    }
    assert_eq!(
        take(&mut world, "nowhere", at(1)).unwrap_err().kind,
        RefusalKind::NotFound
    );
    for (gpu, rated) in [("", 1), ("a 100", 1), ("a100", 0), ("a100", u64::MAX)] {
        let refusal = rate(&mut world, gpu, FlopsPerSecond(rated)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid, "{gpu:?} {rated}");
    }
    for actor in [person("minji"), person("jun"), site("hangang")] {
        let refusal = world.ask(actor, Command::Offer(OfferCommand::Take(id("hangang"), at(1))));
        assert_eq!(refusal.unwrap_err().kind, RefusalKind::Forbidden);
    }
}
