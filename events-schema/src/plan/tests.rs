use super::*;
use crate::{Currency, Money, project, task::TASKS_CREATED, view::testing::fold, webhook};

const FREE: PlanId = PlanId(Id::from_bytes([1; 16]));
const TEAM: PlanId = PlanId(Id::from_bytes([2; 16]));

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
fn with_projects(most: u64) -> Version {
    Version {
        limits: [(project::PROJECTS, most)].into(),
        ..Version::default()
    }
}
fn with_webhooks() -> Version {
    Version {
        features: [webhook::FEATURE].into(),
        ..Version::default()
    }
}
fn created(plan: PlanId, text: &str, version: Version) -> Event {
    Event::Created {
        plan,
        name: name(text),
        version,
    }
}
fn price(amount: i64, currency: &str, interval: Interval) -> Price {
    Price {
        amount: Money::new(amount, Currency::parse(currency).unwrap()).unwrap(),
        interval,
        per: Per::Seat,
    }
}
fn catalogue() -> View {
    let version = with_projects(5);
    let events = [
        (10, created(FREE, "Free", with_projects(3))),
        (20, created(TEAM, "Team", with_webhooks())),
        (
            30,
            Event::VersionAdded {
                plan: FREE,
                version,
            },
        ),
        (40, Event::DefaultSet { plan: FREE }),
    ];
    fold(events).unwrap()
}

#[test]
fn a_plan_keeps_all_its_versions() {
    let catalogue = catalogue();
    let projects = |number| {
        let version = catalogue.version(PlanVersion { plan: FREE, number })?;
        version.limits.get(&project::PROJECTS).copied()
    };
    let all = [0, 1, 2, 3].map(projects);
    assert_eq!(all, [None, Some(3), Some(5), None]);
    let latest = PlanVersion {
        plan: FREE,
        number: 2,
    };
    assert_eq!(catalogue.latest(FREE), Some(latest));
    assert_eq!(catalogue.default_version(), Some(latest));
    let free = &catalogue.plans[&FREE];
    assert_eq!((free.created_at, free.updated_at), (Time(10), Time(30)));
}

#[test]
fn a_plan_shows_its_latest_name_and_whether_it_is_archived() {
    let events = [
        (10, created(TEAM, "Team", with_webhooks())),
        (
            20,
            Event::Renamed {
                plan: TEAM,
                name: name("Crew"),
            },
        ),
        (30, Event::Archived { plan: TEAM }),
    ];
    let catalogue: View = fold(events).unwrap();
    let crew = &catalogue.plans[&TEAM];
    assert_eq!((&crew.name, crew.archived), (&name("Crew"), true));
    assert_eq!(crew.updated_at, Time(30));
}

#[test]
fn events_of_an_unknown_plan_change_nothing() {
    let version = with_projects(1);
    let events = [
        (10, Event::Archived { plan: TEAM }),
        (
            20,
            Event::VersionAdded {
                plan: TEAM,
                version,
            },
        ),
        (30, Event::DefaultSet { plan: TEAM }),
    ];
    assert_eq!(fold(events), Some(View::default()));
}

#[test]
fn plans_that_offer_more_are_found_by_their_latest_version() {
    let catalogue = catalogue();
    let more = |than| catalogue.allowing_more(project::PROJECTS, than);
    assert_eq!(more(4), [&name("Free"), &name("Team")]);
    assert_eq!(more(5), [&name("Team")], "what is not listed is unlimited");
    assert_eq!(catalogue.with_feature(webhook::FEATURE), [&name("Team")]);
    let mut archived = catalogue;
    apply(&mut archived, &Event::Archived { plan: TEAM }, Time(50));
    assert!(archived.with_feature(webhook::FEATURE).is_empty());
}

#[test]
fn a_price_has_an_id_of_its_own_in_each_version_currency_and_interval() {
    let first = PlanVersion {
        plan: TEAM,
        number: 1,
    };
    let monthly = price(900, "EUR", Interval::Month);
    let id = first.price_id(&monthly);
    assert_eq!(id.to_string(), "762be0f7991ac2e120251a13c5f19aef");
    assert_eq!(id, first.price_id(&price(100, "EUR", Interval::Month)));
    let others = [
        PlanVersion { number: 2, ..first }.price_id(&monthly),
        PlanVersion {
            plan: FREE,
            ..first
        }
        .price_id(&monthly),
        first.price_id(&price(900, "USD", Interval::Month)),
        first.price_id(&price(900, "EUR", Interval::Year)),
    ];
    let all: BTreeSet<PriceId> = others.into_iter().chain([id]).collect();
    assert_eq!(all.len(), 5);
}

fn unit_price(amount: i64, currency: &str, units: u32) -> UnitPrice {
    UnitPrice {
        meter: TASKS_CREATED,
        amount: price(amount, currency, Interval::Month).amount,
        units,
    }
}

#[test]
fn a_unit_costs_a_part_of_the_amount_without_needless_zeros() {
    for (amount, units, expected) in [
        (7, 1, "7"),
        (90, 1, "90"),
        (90, 10, "9"),
        (5, 10, "0.5"),
        (5, 1_000_000, "0.000005"),
        (1_230, 100, "12.3"),
        (9_007_199_254_740_991, 1_000, "9007199254740.991"),
    ] {
        let per_unit = unit_price(amount, "EUR", units).per_unit();
        assert_eq!(per_unit, expected, "{amount} for {units}");
    }
}

/// A plan by month and year in euros, and by month in yen, that counts tasks in both currencies.
fn metered() -> (View, PlanVersion) {
    let version = Version {
        prices: vec![
            price(900, "EUR", Interval::Month),
            price(9_000, "EUR", Interval::Year),
            price(1_000, "JPY", Interval::Month),
        ],
        meters: [TASKS_CREATED].into(),
        unit_prices: vec![unit_price(5, "EUR", 10), unit_price(2, "JPY", 1)],
        ..Version::default()
    };
    let created = Event::Created {
        plan: TEAM,
        name: name("Team"),
        version,
    };
    let mut catalogue = View::default();
    apply(&mut catalogue, &created, Time(10));
    let number = 1;
    (catalogue, PlanVersion { plan: TEAM, number })
}

#[test]
fn usage_has_a_price_beside_each_price_of_its_currency() {
    let (mut catalogue, version) = metered();
    let charges: Vec<_> = catalogue.charges().map(|(_, charge)| charge).collect();
    assert_eq!(charges.len(), 6);
    let ids: BTreeSet<PriceId> = charges.iter().map(|charge| charge.id(version)).collect();
    assert_eq!(ids.len(), 6);
    assert_eq!(catalogue.prices().count(), 3);
    let at_stripe = |number: usize| StripePriceId::parse(&format!("price_{number}")).unwrap();
    let known = charges.iter().enumerate();
    let known = known.map(|(number, charge)| (charge.id(version), at_stripe(number)));
    catalogue.stripe_prices = known.collect();

    // Charges are in order: each price, and the usage beside it.
    for (chosen, usage) in [(0, 1), (2, 3), (4, 5)] {
        let beside = catalogue.usage_beside(&at_stripe(chosen));
        assert_eq!(beside, [(TASKS_CREATED, at_stripe(usage))].into());
        assert_eq!(catalogue.meter_of(&at_stripe(usage)), Some(TASKS_CREATED));
        assert_eq!(catalogue.meter_of(&at_stripe(chosen)), None);
        assert!(catalogue.priced(&at_stripe(chosen)).is_some());
        assert_eq!(catalogue.priced(&at_stripe(usage)), None);
        assert!(catalogue.usage_beside(&at_stripe(usage)).is_empty());
    }
    catalogue
        .stripe_prices
        .retain(|_, known| *known == at_stripe(0));
    assert!(catalogue.usage_beside(&at_stripe(0)).is_empty());
}

#[test]
fn a_price_for_usage_has_an_id_of_its_own_in_each_version_meter_currency_and_interval() {
    let (number, monthly) = (1, Interval::Month);
    let first = PlanVersion { plan: TEAM, number };
    let tasks = unit_price(5, "EUR", 10);
    let id = first.unit_price_id(&tasks, monthly);
    assert_eq!(id, first.unit_price_id(&unit_price(7, "EUR", 1), monthly));
    let projects = UnitPrice {
        meter: project::PROJECTS_CREATED,
        ..tasks.clone()
    };
    let others = [
        PlanVersion { number: 2, ..first }.unit_price_id(&tasks, monthly),
        first.unit_price_id(&projects, monthly),
        first.unit_price_id(&unit_price(5, "USD", 10), monthly),
        first.unit_price_id(&tasks, Interval::Year),
        first.price_id(&price(5, "EUR", monthly)),
    ];
    let all: BTreeSet<PriceId> = others.into_iter().chain([id]).collect();
    assert_eq!(all.len(), 6);
}
