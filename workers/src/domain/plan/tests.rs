use events_schema::{
    Currency, Feature, Id, Limit, Meter, Money, StripeAccountId,
    plan::{Interval, Per, Price},
    project, task, webhook,
};

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

const NEW: PlanId = PlanId(COMMAND);
const FREE: PlanId = PlanId(Id::from_bytes([1; 16]));
const TEAM: PlanId = PlanId(Id::from_bytes([2; 16]));

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
fn price(amount: i64, currency: &str, interval: Interval) -> Price {
    Price {
        amount: Money::new(amount, Currency::parse(currency).unwrap()).unwrap(),
        interval,
        per: Per::Tenant,
    }
}
fn monthly(amount: i64) -> Price {
    price(amount, "EUR", Interval::Month)
}
fn free() -> Version {
    Version::default()
}
fn priced() -> Version {
    Version {
        features: [webhook::FEATURE].into(),
        limits: [(project::PROJECTS, 100)].into(),
        prices: vec![monthly(900)],
        trial_days: 14,
        meters: [task::TASKS_CREATED].into(),
        unit_prices: Vec::new(),
    }
}
fn create(text: &str, version: Version) -> Command {
    Command::Create {
        name: name(text),
        version,
    }
}
fn created(plan: PlanId, text: &str, version: Version) -> Event {
    Event::Created {
        plan,
        name: name(text),
        version,
    }
}
/// A command that changes nothing.
fn add(plan: PlanId) -> Command {
    Command::AddVersion {
        plan,
        name: None,
        features: None,
        limits: None,
        prices: None,
        trial_days: None,
        meters: None,
        unit_prices: None,
    }
}
fn add_prices(plan: PlanId, new: Vec<Price>) -> Command {
    with(add(plan), |_, prices, _| *prices = Some(new))
}
fn rename(plan: PlanId, text: &str) -> Command {
    with(add(plan), |changed, _, _| *changed = Some(name(text)))
}
fn add_trial(plan: PlanId, days: u16) -> Command {
    with(add(plan), |_, _, trial_days| *trial_days = Some(days))
}
fn with(
    mut command: Command,
    change: impl FnOnce(&mut Option<Name>, &mut Option<Vec<Price>>, &mut Option<u16>),
) -> Command {
    if let Command::AddVersion {
        name,
        prices,
        trial_days,
        ..
    } = &mut command
    {
        change(name, prices, trial_days);
    }
    command
}
fn added(plan: PlanId, version: Version) -> Event {
    Event::VersionAdded { plan, version }
}
fn archived(plan: PlanId) -> Event {
    Event::Archived { plan }
}
/// The free plan is the default one.
fn catalogue() -> Given<Catalogue> {
    given([
        created(FREE, "Free", free()),
        created(TEAM, "Team", priced()),
        Event::DefaultSet { plan: FREE },
    ])
}
fn many(count: u16) -> impl Iterator<Item = Event> {
    (0..count).map(|at| {
        let mut bytes = [3; 16];
        bytes[..2].copy_from_slice(&at.to_be_bytes());
        let plan = PlanId(Id::from_bytes(bytes));
        created(plan, &format!("Plan {at}"), free())
    })
}

#[test]
fn a_created_plan_has_the_id_of_its_command() {
    let expected = created(NEW, "Business", priced());
    let when = catalogue().when(create("Business", priced()));
    when.then([expected]);
}

#[test]
fn a_name_belongs_to_one_plan_in_upper_or_lower_case_until_it_is_archived() {
    for taken in [create("team", free()), rename(FREE, "TEAM")] {
        catalogue().when(taken).rejects(Rejection::NameTaken);
    }
    let own = catalogue().when(rename(TEAM, "TEAM"));
    let name = name("TEAM");
    own.then([Event::Renamed { plan: TEAM, name }]);
    let after = catalogue().and([archived(TEAM)]);
    let expected = created(NEW, "Team", free());
    after.when(create("Team", free())).then([expected]);
}

#[test]
fn a_new_version_differs_in_the_given_fields_only() {
    let limits = [(project::PROJECTS, 50)];
    let command = Command::AddVersion {
        plan: TEAM,
        name: Some(name("Crew")),
        features: Some([Feature::parse("audit_log").unwrap()].into()),
        limits: Some(limits.into()),
        prices: None,
        trial_days: None,
        meters: None,
        unit_prices: None,
    };
    let version = Version {
        features: [Feature::parse("audit_log").unwrap()].into(),
        limits: limits.into(),
        ..priced()
    };
    let name = name("Crew");
    let expected = [Event::Renamed { plan: TEAM, name }, added(TEAM, version)];
    catalogue().when(command).then(expected);
}

#[test]
fn a_version_like_the_latest_one_is_not_added() {
    let same = Command::AddVersion {
        plan: TEAM,
        name: Some(name("Team")),
        features: Some(priced().features),
        limits: Some(priced().limits),
        prices: Some(priced().prices),
        trial_days: Some(14),
        meters: Some(priced().meters),
        unit_prices: Some(Vec::new()),
    };
    for command in [add(TEAM), same] {
        catalogue().when(command).changes_nothing();
    }
    let version = Version {
        trial_days: 7,
        ..priced()
    };
    let later = catalogue().and([added(TEAM, version)]);
    let again = add_trial(TEAM, 14);
    later.when(again).then([added(TEAM, priced())]);
}

#[test]
fn a_plan_that_does_not_exist_is_not_changed() {
    for command in [
        add(NEW),
        Command::Archive { plan: NEW },
        Command::SetDefault { plan: NEW },
    ] {
        catalogue().when(command).rejects(Rejection::NotFound);
    }
}

#[test]
fn an_archived_plan_stays_as_it_is() {
    let plans = catalogue().and([archived(TEAM)]);
    for command in [rename(TEAM, "Crew"), Command::SetDefault { plan: TEAM }] {
        plans.when(command).rejects(Rejection::Archived);
    }
    plans
        .when(Command::Archive { plan: TEAM })
        .changes_nothing();
    let before = catalogue().when(Command::Archive { plan: TEAM });
    before.then([archived(TEAM)]);
}

#[test]
fn the_default_plan_is_free_and_not_archived() {
    let archive = catalogue().when(Command::Archive { plan: FREE });
    archive.rejects(Rejection::IsDefault);
    let set = catalogue().when(Command::SetDefault { plan: TEAM });
    set.rejects(Rejection::DefaultNotFree);
    let with_price = catalogue().when(add_prices(FREE, vec![monthly(1)]));
    with_price.rejects(Rejection::DefaultNotFree);
}

#[test]
fn another_free_plan_becomes_the_default_one() {
    let plans = catalogue().and([created(NEW, "Tiny", free())]);
    let set = Command::SetDefault { plan: NEW };
    plans
        .when(set.clone())
        .then([Event::DefaultSet { plan: NEW }]);
    let after = plans.and([Event::DefaultSet { plan: NEW }]);
    after.when(set).changes_nothing();
    let archive = after.when(Command::Archive { plan: FREE });
    archive.then([archived(FREE)]);
}

#[test]
fn a_price_is_positive_and_the_only_one_of_its_currency_and_interval() {
    let yearly = || price(9_000, "EUR", Interval::Year);
    let dollars = || price(950, "USD", Interval::Month);
    let per_seat = Price {
        per: Per::Seat,
        ..monthly(100)
    };
    for (prices, rejection) in [
        (vec![monthly(0)], Rejection::PriceNotPositive),
        (vec![yearly(), monthly(-1)], Rejection::PriceNotPositive),
        (vec![monthly(900), per_seat], Rejection::PriceRepeated),
    ] {
        let version = Version {
            prices: prices.clone(),
            ..priced()
        };
        for command in [create("New", version), add_prices(TEAM, prices)] {
            catalogue().when(command).rejects(rejection);
        }
    }
    let prices = vec![monthly(900), yearly(), dollars()];
    let version = Version {
        prices: prices.clone(),
        ..priced()
    };
    let when = catalogue().when(add_prices(TEAM, prices));
    when.then([added(TEAM, version)]);
}

#[test]
fn a_trial_has_at_most_730_days_and_leads_to_a_price() {
    for (command, rejection) in [
        (add_trial(TEAM, 731), Rejection::TrialTooLong),
        (add_trial(FREE, 1), Rejection::TrialOfFreePlan),
        (add_prices(TEAM, Vec::new()), Rejection::TrialOfFreePlan),
    ] {
        catalogue().when(command).rejects(rejection);
    }
    let version = Version {
        trial_days: 730,
        ..priced()
    };
    let when = catalogue().when(add_trial(TEAM, 730));
    when.then([added(TEAM, version)]);
}

#[test]
fn a_limit_is_an_integer_that_every_reader_knows_exactly() {
    let with_limit = |most| Version {
        limits: [(Limit::parse("seats").unwrap(), most)].into(),
        ..free()
    };
    let largest = catalogue().when(create("New", with_limit(MAX_LIMIT)));
    largest.then([created(NEW, "New", with_limit(MAX_LIMIT))]);
    let larger = catalogue().when(create("New", with_limit(MAX_LIMIT + 1)));
    larger.rejects(Rejection::LimitTooLarge);
}

#[test]
fn there_are_at_most_100_plans_that_are_not_archived() {
    let plans = given::<Catalogue>(many(100));
    plans
        .when(create("New", free()))
        .rejects(Rejection::TooManyPlans);
    let team = created(TEAM, "Team", free());
    let after = given::<Catalogue>(many(99).chain([team, archived(TEAM)]));
    let expected = created(NEW, "New", free());
    after.when(create("New", free())).then([expected]);
}

#[test]
fn all_plans_together_have_at_most_1000_versions() {
    let of_team = |count: u16| {
        let versions = (1..count).map(|at| {
            let limits = [(project::PROJECTS, u64::from(at))].into();
            let version = Version { limits, ..free() };
            added(TEAM, version)
        });
        [created(TEAM, "Team", free())].into_iter().chain(versions)
    };
    let last = given::<Catalogue>(of_team(999)).when(create("New", free()));
    last.then([created(NEW, "New", free())]);
    for command in [create("New", free()), add_prices(TEAM, vec![monthly(1)])] {
        let full = given::<Catalogue>(of_team(1_000)).when(command);
        full.rejects(Rejection::TooManyVersions);
    }
}

#[test]
fn all_plans_together_have_at_most_2000_prices() {
    // The rules allow fewer prices in one version; an earlier release may have stored more.
    let many = |count| Version {
        prices: vec![monthly(1); count],
        ..priced()
    };
    let plans = |count| given::<Catalogue>([created(TEAM, "Team", many(count))]);
    let last = plans(1_999).when(create("New", priced()));
    last.then([created(NEW, "New", priced())]);
    let one_too_many = plans(2_000).when(create("New", priced()));
    one_too_many.rejects(Rejection::TooManyPrices);
    let free_of_charge = plans(2_000).when(create("New", free()));
    free_of_charge.then([created(NEW, "New", free())]);
}

fn known(price: &Price) -> BTreeMap<PriceId, StripePriceId> {
    let first = PlanVersion {
        plan: TEAM,
        number: 1,
    };
    let id = StripePriceId::parse("price_1").unwrap();
    BTreeMap::from([(first.price_id(price), id)])
}

fn record_prices(
    prices: BTreeMap<PriceId, StripePriceId>,
    account: Option<StripeAccount>,
) -> Command {
    Command::RecordPrices { prices, account }
}

#[test]
fn prices_of_another_account_than_the_recorded_one_are_refused() {
    let account = |id: &str| StripeAccount {
        id: StripeAccountId::parse(id).unwrap(),
        live: false,
    };
    let prices = || known(&monthly(900));
    let recorded = || Event::PricesRecorded { prices: prices() };
    let none = || given::<Catalogue>([created(TEAM, "Team", priced())]);
    let own = account("acct_1");
    let team = none().and([Event::AccountRecorded {
        account: own.clone(),
    }]);
    let other = record_prices(prices(), Some(account("acct_2")));
    team.when(other.clone()).rejects(Rejection::OtherAccount);
    none().when(other).then([recorded()]);
    for account in [Some(own), None] {
        team.when(record_prices(prices(), account))
            .then([recorded()]);
    }
}

#[test]
fn prices_that_stripe_knows_are_recorded_once() {
    let prices = || known(&monthly(900));
    let record = || record_prices(prices(), None);
    let recorded = || Event::PricesRecorded { prices: prices() };
    let team = given::<Catalogue>([created(TEAM, "Team", priced())]);
    team.when(record()).then([recorded()]);
    let team = team.and([recorded()]);
    team.when(record()).changes_nothing();
}

#[test]
fn prices_of_the_latest_versions_are_to_be_recorded() {
    let unrecorded = |events: Vec<Event>| {
        let catalogue = given::<Catalogue>(events);
        let prices = catalogue.state().unrecorded().into_iter();
        let shown = |(version, name, charge): (PlanVersion, &Name, Charge<'_>)| {
            let Charge::Plan(price) = charge else {
                panic!("usage costs nothing");
            };
            (version.number, name.as_str().to_owned(), price.clone())
        };
        prices.map(shown).collect::<Vec<_>>()
    };
    let first = created(TEAM, "Team", priced());
    let free = created(FREE, "Free", free());
    let team = |number, amount| (number, "Team".to_owned(), monthly(amount));
    let both = vec![free, first.clone()];
    assert_eq!(unrecorded(both), [team(1, 900)]);
    let second = Event::VersionAdded {
        plan: TEAM,
        version: Version {
            prices: vec![monthly(1000)],
            ..priced()
        },
    };
    let recorded = Event::PricesRecorded {
        prices: known(&monthly(900)),
    };
    let all = vec![first.clone(), recorded.clone(), second];
    assert_eq!(unrecorded(all), [team(2, 1000)]);
    assert_eq!(unrecorded(vec![first.clone(), recorded]), []);
    assert_eq!(unrecorded(vec![first, Event::Archived { plan: TEAM }]), []);
}

#[test]
fn the_first_account_at_stripe_is_recorded_and_another_one_only_if_it_is_adopted() {
    let account = |id: &str, live| StripeAccount {
        id: StripeAccountId::parse(id).unwrap(),
        live,
    };
    let record = |account, adopt| Command::RecordAccount { account, adopt };
    let recorded = |account| Event::AccountRecorded { account };
    let own = || account("acct_1", false);
    let none = given::<Catalogue>([]).when(record(own(), false));
    none.then([recorded(own())]);
    let known = given::<Catalogue>([recorded(own())]);
    known.when(record(own(), false)).changes_nothing();
    for other in [account("acct_2", false), account("acct_1", true)] {
        let refused = known.when(record(other.clone(), false));
        refused.rejects(Rejection::OtherAccount);
        let adopted = known.when(record(other.clone(), true));
        adopted.then([recorded(other)]);
    }
}

#[test]
fn an_adopted_account_knows_none_of_the_prices_before() {
    let account = |id: &str| Event::AccountRecorded {
        account: StripeAccount {
            id: StripeAccountId::parse(id).unwrap(),
            live: false,
        },
    };
    let price = PriceId(Id::from_bytes([3; 16]));
    let prices = [(price, StripePriceId::parse("price_1").unwrap())].into();
    let recorded = Event::PricesRecorded { prices };
    let first = given::<Catalogue>([recorded, account("acct_1")]);
    assert_eq!(first.state().plans().stripe_prices.len(), 1);
    let other = first.and([account("acct_2")]);
    assert!(other.state().plans().stripe_prices.is_empty());
}

/// The most bytes of a message of NATS, without room for its headers.
const MESSAGE: usize = 1024 * 1024 - 16 * 1024;

/// Archived plans with the longest names, all features and limits, and two prices each.
fn largest_plans(count: u16) -> Given<Catalogue> {
    let events = (0..count).flat_map(|number| {
        let mut id = [7; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let plan = PlanId(Id::from_bytes(id));
        let name = name(&"\u{1F9F5}".repeat(100));
        let version = largest_version();
        let created = Event::Created {
            plan,
            name,
            version,
        };
        [created, Event::Archived { plan }]
    });
    given(events)
}
fn largest_version() -> Version {
    let prices = [Interval::Month, Interval::Year];
    Version {
        features: Feature::all().iter().copied().collect(),
        limits: Limit::all()
            .iter()
            .map(|limit| (*limit, MAX_LIMIT))
            .collect(),
        prices: prices
            .map(|interval| price(MAX_LIMIT.cast_signed(), "EUR", interval))
            .into(),
        trial_days: MAX_TRIAL_DAYS,
        meters: Meter::all().iter().copied().collect(),
        // They count as prices, of which there would be too many first.
        unit_prices: Vec::new(),
    }
}

#[test]
fn the_largest_catalogue_is_announced_in_one_message() {
    let create = || Command::Create {
        name: name("Loom"),
        version: largest_version(),
    };
    let is_full = |count: u16| {
        let bytes = largest_plans(count).state().plans().bytes().unwrap();
        let with_another = bytes + bytes / usize::from(count);
        with_another > MAX_BYTES
    };
    let most = (1..=1_000_u16).step_by(50).find(|count| is_full(*count));
    let full = largest_plans(most.unwrap());
    full.when(create()).rejects(Rejection::TooLarge);
    let most = most.unwrap() - 50;
    largest_plans(most).when(create()).then([Event::Created {
        plan: NEW,
        name: name("Loom"),
        version: largest_version(),
    }]);
    let mut plans = largest_plans(most).state().plans().clone();
    let known = plans.charges().map(|(version, charge)| {
        let id = StripePriceId::parse(&format!("price_{}", "1".repeat(60))).unwrap();
        (charge.id(version), id)
    });
    let known: Vec<_> = known.collect();
    plans.stripe_prices.extend(known);
    let bytes = serde_json::to_vec(&plans).unwrap().len();
    assert!(
        bytes <= MESSAGE && plans.bytes().unwrap() >= bytes - 200,
        "{bytes}"
    );
}
