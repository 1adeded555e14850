//! What usage may cost.

use std::collections::BTreeSet;

use events_schema::{
    Currency, Meter,
    plan::{MAX_PRICED_METERS, MAX_UNITS, UnitPrice, Version},
};

use super::Rejection;

/// Checks the prices for usage of a version. A priced meter has one price for each currency of the
/// plan: else some tenants would pay nothing for the same usage.
pub(super) fn check(version: &Version) -> Result<(), Rejection> {
    let prices = &version.unit_prices;
    let is_round = |units: u32| units <= MAX_UNITS && units == 10_u32.pow(units.max(1).ilog10());
    let priced: BTreeSet<Meter> = prices.iter().map(|price| price.meter).collect();
    let has_all_currencies =
        |meter: &Meter| currencies_of(prices, *meter) == currencies_of_plan(version);
    if prices.iter().any(|price| price.amount.amount() <= 0) {
        Err(Rejection::UnitPriceNotPositive)
    } else if !prices.iter().all(|price| is_round(price.units)) {
        Err(Rejection::UnitsOdd)
    } else if !priced.is_subset(&version.meters) {
        Err(Rejection::MeterMissing)
    } else if priced.len() > MAX_PRICED_METERS {
        Err(Rejection::TooManyPricedMeters)
    } else if !priced.iter().all(has_all_currencies) {
        Err(Rejection::UnitPriceCurrencies)
    } else {
        Ok(())
    }
}

/// Returns the currencies in which usage has a price, in order. One that is repeated stays so.
fn currencies_of(prices: &[UnitPrice], meter: Meter) -> Vec<&Currency> {
    let prices = prices.iter().filter(|price| price.meter == meter);
    let mut currencies: Vec<_> = prices.map(|price| price.amount.currency()).collect();
    currencies.sort();
    currencies
}

fn currencies_of_plan(version: &Version) -> Vec<&Currency> {
    let currencies = version.prices.iter().map(|price| price.amount.currency());
    let different: BTreeSet<_> = currencies.collect();
    different.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Money, Name, PlanId, PlanVersion,
        plan::{Charge, Command, Event, Interval, Per, Price},
        project::PROJECTS_CREATED,
        task::TASKS_CREATED,
    };

    use super::*;
    use crate::domain::{
        plan::Catalogue,
        testing::{COMMAND, given},
    };

    fn money(amount: i64, currency: &str) -> Money {
        Money::new(amount, Currency::parse(currency).unwrap()).unwrap()
    }

    fn unit_price(meter: Meter, amount: i64, currency: &str, units: u32) -> UnitPrice {
        UnitPrice {
            meter,
            amount: money(amount, currency),
            units,
        }
    }

    fn tasks(amount: i64, currency: &str) -> UnitPrice {
        unit_price(TASKS_CREATED, amount, currency, 100)
    }

    /// A plan in euros and yen that counts tasks at these prices.
    fn version<const N: usize>(unit_prices: [UnitPrice; N]) -> Version {
        let prices = [
            ("EUR", Interval::Month),
            ("EUR", Interval::Year),
            ("JPY", Interval::Month),
        ];
        let price = |(currency, interval)| Price {
            amount: money(900, currency),
            interval,
            per: Per::Tenant,
        };
        Version {
            prices: prices.map(price).into(),
            meters: [TASKS_CREATED].into(),
            unit_prices: unit_prices.into(),
            ..Version::default()
        }
    }

    fn create(version: Version) -> Command {
        let name = Name::parse("Team").unwrap();
        Command::Create { name, version }
    }

    fn created(version: Version) -> Event {
        let (plan, name) = (PlanId(COMMAND), Name::parse("Team").unwrap());
        Event::Created {
            plan,
            name,
            version,
        }
    }

    #[test]
    fn usage_has_a_price_in_each_currency_of_the_plan_or_none() {
        for priced in [
            version([]),
            version([tasks(1, "JPY"), tasks(5, "EUR")]),
            version([
                tasks(1, "JPY"),
                unit_price(TASKS_CREATED, 5, "EUR", MAX_UNITS),
            ]),
        ] {
            let accepted = given::<Catalogue>([]).when(create(priced.clone()));
            accepted.then([created(priced)]);
        }
    }

    #[test]
    fn a_price_for_usage_that_some_would_not_pay_is_refused() {
        let odd = |units| version([unit_price(TASKS_CREATED, 5, "EUR", units), tasks(1, "JPY")]);
        let projects = unit_price(PROJECTS_CREATED, 5, "EUR", 1);
        let euros = || tasks(5, "EUR");
        for (wrong, rejection) in [
            (
                version([euros(), tasks(0, "JPY")]),
                Rejection::UnitPriceNotPositive,
            ),
            (
                version([euros(), tasks(-1, "JPY")]),
                Rejection::UnitPriceNotPositive,
            ),
            (odd(0), Rejection::UnitsOdd),
            (odd(20), Rejection::UnitsOdd),
            (odd(10 * MAX_UNITS), Rejection::UnitsOdd),
            (version([projects]), Rejection::MeterMissing),
            (version([euros()]), Rejection::UnitPriceCurrencies),
            (
                version([euros(), euros(), tasks(1, "JPY")]),
                Rejection::UnitPriceCurrencies,
            ),
            (
                version([euros(), tasks(1, "JPY"), tasks(1, "USD")]),
                Rejection::UnitPriceCurrencies,
            ),
        ] {
            let refused = given::<Catalogue>([]).when(create(wrong));
            refused.rejects(rejection);
        }
    }

    #[test]
    fn a_meter_that_has_a_price_cannot_be_left_out_of_the_next_version() {
        let priced = || version([tasks(1, "JPY"), tasks(5, "EUR")]);
        let without = |unit_prices: Option<Vec<UnitPrice>>| Command::AddVersion {
            plan: PlanId(COMMAND),
            name: None,
            features: None,
            limits: None,
            prices: None,
            trial_days: None,
            meters: Some(BTreeSet::new()),
            unit_prices,
        };
        let team = given::<Catalogue>([created(priced())]);
        team.when(without(None)).rejects(Rejection::MeterMissing);
        let version = Version {
            meters: BTreeSet::new(),
            ..version([])
        };
        let plan = PlanId(COMMAND);
        let left_out = team.when(without(Some(Vec::new())));
        left_out.then([Event::VersionAdded { plan, version }]);
    }

    #[test]
    fn prices_for_usage_are_to_be_recorded_for_each_interval() {
        let (plan, number) = (PlanId(COMMAND), 1);
        let first = PlanVersion { plan, number };
        let catalogue = given::<Catalogue>([created(version([tasks(1, "JPY"), tasks(5, "EUR")]))]);
        let all = catalogue.state().unrecorded();
        let usage = all.iter().filter_map(|(version, _, charge)| match charge {
            Charge::Usage(price, interval) if *version == first => {
                Some((price.amount.amount(), *interval))
            }
            Charge::Usage(..) | Charge::Plan(_) => None,
        });
        let expected = [
            (5, Interval::Month),
            (5, Interval::Year),
            (1, Interval::Month),
        ];
        assert_eq!(usage.collect::<Vec<_>>(), expected);
        assert_eq!(all.len(), 6);
    }
}
