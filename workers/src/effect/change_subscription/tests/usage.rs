//! Usage costs what the plan says that the tenant has, and what was used before is charged.

use events_schema::{plan::UnitPrice, task::TASKS_CREATED};

use super::*;

/// The versions of [`COMPANY`]: by the month, by the month at another price, and by the year.
const INTERVALS: [Interval; 3] = [Interval::Month, Interval::Month, Interval::Year];

fn company(number: u32) -> PlanVersion {
    PlanVersion { number, ..COMPANY }
}

/// A catalogue whose versions have prices for tasks. A price at Stripe has the name of its version.
fn metered() -> plan::View {
    let version = |interval| Version {
        prices: vec![plan::Price {
            interval,
            ..price()
        }],
        meters: [TASKS_CREATED].into(),
        unit_prices: vec![UnitPrice {
            meter: TASKS_CREATED,
            amount: price().amount,
            units: 10,
        }],
        ..Version::default()
    };
    let mut catalogue = catalogue();
    if let Some(plan) = catalogue.plans.get_mut(&COMPANY.plan) {
        plan.versions = INTERVALS.map(version).into();
    }
    let charges = catalogue.charges().map(|(version, charge)| {
        let kind = match charge {
            plan::Charge::Plan(_) => "",
            plan::Charge::Usage(..) => "_tasks",
        };
        let at_stripe = StripePriceId::parse(&format!("price_{}{kind}", version.number));
        (charge.id(version), at_stripe.unwrap())
    });
    let known = charges.collect();
    catalogue.stripe_prices = known;
    catalogue
}

/// A subscription to a version, with the price of a version for usage.
fn with_usage(plan: u32, usage: u32) -> Value {
    let mut subscription = subscription("active", &format!("price_{plan}"), OTHER);
    let items = subscription["items"]["data"].as_array_mut().unwrap();
    items.push(json!({
        "id": "si_2", "current_period_end": 1_797_000_000,
        "price": {
            "id": format!("price_{usage}_tasks"), "product": "ub_2", "currency": "eur",
            "recurring": { "interval": "month", "meter": "mtr_1" }
        }
    }));
    subscription
}

/// A tenant that pays for the first version wants another one.
fn wants_version(number: u32, at: ChangeTime) -> Task {
    let wanted = Wanted {
        plan: company(number),
        stripe_price: StripePriceId::parse(&format!("price_{number}")).unwrap(),
        at,
        ..wanted()
    };
    let asked = Event::ChangeRequested {
        request: REQUEST,
        at: ASKED,
        wanted,
        trial_end: None,
    };
    task([known(), pays()], asked)
}

/// Returns the requests that change the subscription.
async fn changes<const N: usize>(task: &Task, answers: [Value; N]) -> Vec<String> {
    let acts = answers.map(|it| ok(&it.to_string()));
    let mut all = vec![list(&[with_usage(1, 1)])];
    all.extend(acts);
    all.resize(4, Act::Cut);
    let acts: [Act; 4] = all.try_into().ok().unwrap();
    let (recorded, requests) = perform_with(&metered(), task, acts).await;
    recorded.unwrap();
    assert_eq!(requests.len(), N + 1, "{requests:?}");
    let changes = requests.into_iter().filter(|it| line(it) == CHANGE);
    changes.collect()
}

#[tokio::test]
async fn after_a_change_usage_has_another_price_and_what_was_used_before_is_charged() {
    let changed = [with_usage(2, 1), with_usage(2, 2), with_usage(2, 2)];
    let changes = changes(&wants_version(2, ChangeTime::Now), changed).await;
    let [plan, usage] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!(!plan.contains("_tasks"), "due with the change: {plan}");
    assert!(usage.contains("price_2_tasks"), "{usage}");
    let charged = "proration_behavior=create_prorations";
    assert!(usage.contains(charged), "{usage}");
}

#[tokio::test]
async fn until_a_plan_of_the_next_period_begins_usage_costs_what_the_present_one_says() {
    let changed = [with_usage(2, 1), with_usage(2, 1)];
    let changes = changes(&wants_version(2, ChangeTime::PeriodEnd), changed).await;
    let [plan] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!(!plan.contains("_tasks"), "{plan}");
}

#[tokio::test]
async fn usage_has_the_new_interval_together_with_the_plan() {
    let changed = [with_usage(3, 3), with_usage(3, 3)];
    let changes = changes(&wants_version(3, ChangeTime::Now), changed).await;
    let [both] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!(both.contains("price_3_tasks"), "{both}");
    assert!(both.contains("proration_behavior=always_invoice"), "{both}");
}
