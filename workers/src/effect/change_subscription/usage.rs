//! What a subscription pays for usage: the log decides it, since it belongs to the version of a plan.

use events_schema::{StripePriceId, plan};

use crate::stripe::{Subscription, UsageChange};

/// Returns how a subscription has to change so that it pays for usage what belongs to this price of
/// a plan. What somebody has added at Stripe stays, and so does all beside a price that no plan has.
pub fn usage_changes(
    catalogue: &plan::View,
    present: &Subscription,
    price: &StripePriceId,
) -> Vec<UsageChange> {
    if catalogue.priced(price).is_none() {
        return Vec::new();
    }
    let mut wanted = catalogue.usage_beside(price);
    let mut changes = Vec::new();
    for item in present.usage_items() {
        let Some(meter) = catalogue.meter_of(&item.price.id) else {
            continue;
        };
        match wanted.remove(&meter) {
            Some(price) if price == item.price.id => {}
            Some(price) => changes.push(UsageChange::Replace(item.id.clone(), price)),
            None => changes.push(UsageChange::Remove(item.id.clone())),
        }
    }
    changes.extend(wanted.into_values().map(UsageChange::Add));
    changes
}

/// Returns the changes of [`usage_changes`] that a change to this price has to make at the same time:
/// all items have the same interval. Otherwise they follow in a request of their own, so that what was
/// used before is on the next invoice, and not due with the change.
pub fn usage_changes_with(
    catalogue: &plan::View,
    present: &Subscription,
    price: &StripePriceId,
) -> Vec<UsageChange> {
    let interval = |price: &StripePriceId| {
        let (version, id) = catalogue.priced(price)?;
        Some(catalogue.price(version, id)?.interval)
    };
    let before = present.item().and_then(|item| interval(&item.price.id));
    if before.is_some() && before == interval(price) {
        return Vec::new();
    }
    usage_changes(catalogue, present, price)
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Currency, Money, Name, PlanId, PlanVersion, StripeItemId, Time,
        plan::{Charge, Event, Interval, Per, Price, UnitPrice, Version, apply},
        project::PROJECTS_CREATED,
        task::TASKS_CREATED,
    };
    use events_schema::{Id, Meter};
    use serde_json::{Value, json};

    use super::*;

    fn version<const N: usize>(meters: [Meter; N]) -> Version {
        let money = |amount| Money::new(amount, Currency::parse("EUR").unwrap()).unwrap();
        let unit_price = |meter| UnitPrice {
            meter,
            amount: money(5),
            units: 10,
        };
        Version {
            prices: vec![Price {
                amount: money(900),
                interval: Interval::Month,
                per: Per::Tenant,
            }],
            meters: meters.into(),
            unit_prices: meters.map(unit_price).into(),
            ..Version::default()
        }
    }

    /// A plan whose first version has prices for tasks, the second for tasks and projects, and the
    /// third for nothing. A price at Stripe has the name of its version and meter.
    fn catalogue() -> plan::View {
        let plan = PlanId(Id::from_bytes([2; 16]));
        let added = |version| Event::VersionAdded { plan, version };
        let events = [
            Event::Created {
                plan,
                name: Name::parse("Team").unwrap(),
                version: version([TASKS_CREATED]),
            },
            added(version([TASKS_CREATED, PROJECTS_CREATED])),
            added(version([])),
        ];
        let mut catalogue = plan::View::default();
        for event in events {
            apply(&mut catalogue, &event, Time(0));
        }
        let name = |version: PlanVersion, charge: Charge<'_>| match charge {
            Charge::Plan(_) => format!("price_{}", version.number),
            Charge::Usage(price, _) => format!("price_{}_{}", version.number, price.meter),
        };
        let known = catalogue.charges().map(|(version, charge)| {
            let at_stripe = StripePriceId::parse(&name(version, charge)).unwrap();
            (charge.id(version), at_stripe)
        });
        let known = known.collect();
        catalogue.stripe_prices = known;
        catalogue
    }

    /// A subscription with items of these prices. The first one is for the plan.
    fn present(prices: &[&str]) -> Subscription {
        let item = |(at, id): (usize, &&str)| -> Value {
            let meter = (at > 0).then_some("mtr_1");
            json!({
                "id": format!("si_{at}"), "current_period_end": 1,
                "price": {
                    "id": id, "product": "ub_1", "currency": "eur",
                    "recurring": { "interval": "month", "meter": meter }
                }
            })
        };
        let items: Vec<Value> = prices.iter().enumerate().map(item).collect();
        let subscription = json!({
            "id": "sub_1", "customer": "cus_1", "status": "active", "items": { "data": items }
        });
        serde_json::from_value(subscription).unwrap()
    }

    fn changes(items: &[&str], price: &str) -> Vec<UsageChange> {
        let price = StripePriceId::parse(price).unwrap();
        usage_changes(&catalogue(), &present(items), &price)
    }

    fn item(at: usize) -> StripeItemId {
        StripeItemId::parse(&format!("si_{at}")).unwrap()
    }

    fn at_stripe(id: &str) -> StripePriceId {
        StripePriceId::parse(id).unwrap()
    }

    #[test]
    fn each_meter_has_the_price_of_the_version_that_is_paid_for() {
        let tasks = "price_1_tasks_created";
        assert_eq!(changes(&["price_1", tasks], "price_1"), []);
        let added = UsageChange::Add(at_stripe(tasks));
        assert_eq!(changes(&["price_1"], "price_1"), [added]);
        let larger = [
            UsageChange::Replace(item(1), at_stripe("price_2_tasks_created")),
            UsageChange::Add(at_stripe("price_2_projects_created")),
        ];
        assert_eq!(changes(&["price_1", tasks], "price_2"), larger);
        let removed = UsageChange::Remove(item(1));
        assert_eq!(changes(&["price_1", tasks], "price_3"), [removed]);
        let twice = UsageChange::Remove(item(2));
        let second = "price_2_tasks_created";
        assert_eq!(changes(&["price_1", tasks, second], "price_1"), [twice]);
    }

    #[test]
    fn what_somebody_has_added_at_stripe_stays() {
        assert_eq!(changes(&["price_3", "price_of_nobody"], "price_3"), []);
        let tasks = "price_1_tasks_created";
        assert_eq!(changes(&["price_of_nobody", tasks], "price_of_nobody"), []);
    }
}
