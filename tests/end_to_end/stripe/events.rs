//! Events come in any order, any number of times, or not at all.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use workers::DifferenceKind;

use super::{
    account::{Account, Tenant},
    status,
};
use crate::support::{eventually, operator};

/// How many pairs of tenants there are of each kind: together they have more than 200 events.
const EACH: usize = 4;
const KINDS: [&str; 6] = [
    "active",
    "more-seats",
    "late",
    "deleted",
    "ending",
    "replaced",
];

/// Times that differ by less are the same: two tenants do the same one after the other.
const SAME_MS: u64 = 5 * 60 * 1000;
/// Numbers from here on are times in milliseconds: this one is in 2001. All others are exact.
const FIRST_TIME_MS: i64 = 1_000_000_000_000;

/// A tenant gets each event once and in order. Its twin does the same, and gets them three times
/// and in any order; some twins lose a third of them, and others lose all.
struct Twins {
    in_order: Tenant,
    otherwise: Tenant,
}

impl Twins {
    async fn new(account: &Account, name: &str) -> Self {
        Self {
            in_order: account.tenant(name).await,
            otherwise: account.tenant(&format!("{name}-twin")).await,
        }
    }

    fn both(&self) -> [&Tenant; 2] {
        [&self.in_order, &self.otherwise]
    }

    /// Waits until both have the same billing, with this status.
    async fn await_same(&self, account: &Account, expected: &str) {
        eventually("the same billing", || async {
            let in_order = account.view(&self.in_order).await;
            let otherwise = account.view(&self.otherwise).await;
            status(&in_order) == expected && are_alike(&in_order, &otherwise)
        })
        .await;
    }
}

/// How many events of a twin are lost.
#[derive(Clone, Copy, PartialEq)]
enum Lost {
    Nothing,
    Third,
    All,
}

/// What is lost of the twins with this number.
const fn lost(number: usize) -> Lost {
    match number / KINDS.len() % EACH {
        1 => Lost::Third,
        3 => Lost::All,
        _ => Lost::Nothing,
    }
}

/// Sends events as they are wanted.
struct Postman {
    seen: BTreeSet<String>,
    /// The number of the twins, and the event.
    kept: Vec<(usize, String)>,
}

impl Postman {
    /// Delivers the new events of tenants that get them in order, and keeps the others.
    async fn deliver_in_order(&mut self, account: &Account, all: &[Twins]) {
        let mut new = Vec::new();
        for event in account.events().await {
            let object = &event["data"]["object"];
            let customer = object["customer"].as_str().or(object["id"].as_str());
            let id = event["id"].as_str().unwrap().to_owned();
            if !self.seen.insert(id.clone()) {
                continue;
            }
            let is_of = |tenant: &Tenant| Some(tenant.customer.as_str()) == customer;
            if all.iter().any(|twins| is_of(&twins.in_order)) {
                new.push(id);
            } else if let Some(number) = all.iter().position(|it| is_of(&it.otherwise)) {
                self.kept.push((number, id));
            }
        }
        // The list has the latest first.
        new.reverse();
        account.control("deliver", json!({ "events": new })).await;
        account.settle().await;
    }
}

/// Whether two views say the same, apart from ids and from some minutes.
fn are_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = |map: &serde_json::Map<String, Value>| {
                map.keys().cloned().collect::<BTreeSet<String>>()
            };
            names(one) == names(other) && one.iter().all(|(name, it)| are_alike(it, &other[name]))
        }
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) if one.min(other) >= FIRST_TIME_MS => {
                one.abs_diff(other) < SAME_MS
            }
            (_, _) => one == other,
        },
        (Value::String(one), Value::String(other)) => {
            let kind = |text: &str| {
                let kinds = ["sub_", "si_", "cus_"];
                kinds.into_iter().find(|kind| text.starts_with(kind))
            };
            one == other || kind(one).is_some() && kind(one) == kind(other)
        }
        (one, other) => one == other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_repetition_and_omission_of_events_leads_to_the_same_billing() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "hold" })).await;
    let mut all = Vec::new();
    for number in 0..KINDS.len() * EACH {
        let name = format!("{}-{number}", KINDS[number % KINDS.len()]);
        all.push(Twins::new(&account, &name).await);
    }
    let (seen, kept) = (BTreeSet::new(), Vec::new());
    let mut postman = Postman { seen, kept };
    postman.deliver_in_order(&account, &all).await;
    let mut subscriptions = Vec::new();
    for tenant in all.iter().flat_map(Twins::both) {
        subscriptions.push(account.subscribe(tenant, 2).await);
    }
    postman.deliver_in_order(&account, &all).await;
    for (number, tenant) in all.iter().flat_map(Twins::both).enumerate() {
        let path = format!("subscriptions/{}", subscriptions[number]);
        match number / 2 % KINDS.len() {
            1 => {
                let item = account.get(&path).await;
                let item = item["items"]["data"][0]["id"].as_str().unwrap();
                let seats = [("items[0][id]", item), ("items[0][quantity]", "5")];
                _ = account.post(&path, &seats).await;
            }
            2 => {
                account
                    .use_card(&tenant.customer, "pm_card_chargeCustomerFail")
                    .await
            }
            3 => _ = account.delete(&path).await,
            4 => {
                _ = account
                    .post(&path, &[("cancel_at_period_end", "true")])
                    .await
            }
            5 => {
                account.delete(&path).await;
                account.subscribe(tenant, 7).await;
            }
            _ => {}
        }
    }
    postman.deliver_in_order(&account, &all).await;
    account.pass_days(32).await;
    postman.deliver_in_order(&account, &all).await;
    assert!(postman.kept.len() >= 200, "{} events", postman.kept.len());

    let kept = postman.kept.into_iter().enumerate();
    let kept = kept.filter(|(at, (number, _))| match lost(*number) {
        Lost::Nothing => true,
        Lost::Third => at % 3 > 0,
        Lost::All => false,
    });
    let kept: Vec<String> = kept.map(|(_, (_, id))| id).collect();
    let delivered = json!({ "events": kept, "shuffle": 28, "times": 3 });
    account.control("deliver", delivered).await;
    account.settle().await;
    let statuses = ["active", "active", "past_due", "ended", "ended", "active"];
    let expected = statuses.into_iter().cycle();
    let expected: Vec<(&Twins, &str)> = all.iter().zip(expected).collect();
    // An event says that something has changed, so the others of its tenant may be lost.
    for (number, (twins, status)) in expected.iter().enumerate() {
        if lost(number) != Lost::All {
            twins.await_same(&account, status).await;
        }
    }
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!(remaining, 0);
    // Only of those that lost all, something is missing: everything.
    let found: BTreeSet<_> = differences.iter().map(|it| it.tenant).collect();
    let unheard = (0..all.len()).filter(|number| lost(*number) == Lost::All);
    let unheard: BTreeSet<_> = unheard
        .map(|number| Some(all[number].otherwise.key))
        .collect();
    assert_eq!(found, unheard, "{differences:?}");
    assert_eq!(differences.len(), found.len(), "{differences:?}");
    for difference in &differences {
        let is_all_of_it = matches!(
            &difference.kind,
            DifferenceKind::Subscription { recorded: None, .. }
        );
        assert!(is_all_of_it && difference.mended, "{difference:?}");
    }
    let (differences, _) = account.reconcile(true).await;
    assert_eq!(differences, []);

    for (twins, status) in expected {
        twins.await_same(&account, status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_customer_that_no_tenant_has_yet_is_kept_and_reconciled_later() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "hold" })).await;
    let (owner, key) = account.stranger("weavers").await;
    let customer = account.customer("weavers").await;
    let tenant = Tenant {
        owner,
        key,
        customer: customer.clone(),
    };
    account.subscribe(&tenant, 3).await;
    let delivered = account.control("deliver", json!({})).await;
    let delivered = delivered.as_array().unwrap().iter();
    let accepted = delivered.filter(|event| event["status"] == 200).count();
    assert!(accepted > 3, "{accepted} events");
    account.settle().await;
    let context = operator(&account.backend).await;
    let stream = context.get_stream("STRIPE").await.unwrap();
    assert!(stream.cached_info().state.messages > 0, "they are stored");
    assert_eq!(status(&account.view(&tenant).await), "none");

    account.record_customer(key, &customer).await;
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!((differences.len(), remaining), (1, 0), "{differences:?}");
    eventually("what Stripe has", || async {
        status(&account.view(&tenant).await) == "active"
    })
    .await;
}
