//! What is paid for is paid for once, whenever a worker is killed.

use super::*;
use crate::{
    payments::attach,
    support::{INVITE, invite},
};

const CREATE: &str = "
    mutation($input: CreatePlanInput!) { plan { create(input: $input) { id prices { id } } } }";
/// The requests that create the prices of a plan.
const PRICES: [(&str, &str); 3] = [
    ("GET", "/v1/prices"),
    ("POST", "/v1/products"),
    ("POST", "/v1/prices"),
];
/// The request that begins to charge.
const SUBSCRIBE: [(&str, &str); 1] = [("POST", "/v1/subscriptions")];
/// The request that changes the price, and the one that changes the seats.
const CHANGED: [(&str, &str); 1] = [("POST", "/v1/subscriptions/")];
/// Each tenant has a plan of its own to upgrade to.
const KILLS_OF_A_PAYER: usize = 2 * (PRICES.len() + SUBSCRIBE.len() + 2 * CHANGED.len());

impl World {
    /// Creates a plan with this price for each seat; returns the input that chooses it. Stripe does
    /// not know the price yet.
    async fn per_seat(&self, root: &Browser, name: &str, cents: u64) -> Value {
        let amount = json!({ "amount": cents, "currency": "EUR" });
        let price = json!({ "amount": amount, "interval": "MONTH", "per": "SEAT" });
        let plan = json!({ "name": name, "features": [], "limits": [], "prices": [price] });
        let created = root.data(CREATE, input(plan)).await;
        let id = text(&created, "/plan/create/id");
        json!({ "plan": id, "price": text(&created, "/plan/create/prices/0/id") })
    }

    /// Lets a worker live until Stripe knows the price of a plan; returns the id that it has there.
    async fn finish_price(&self, choice: &Value) -> Value {
        self.end_claims().await;
        let mut worker = self.worker();
        let price = text(choice, "/price");
        let at_stripe = async || {
            let plans = documents_of(&self.backend, "plan").await;
            plans[0]["view"]["stripe_prices"][&price].clone()
        };
        eventually("the price at Stripe", || async {
            at_stripe().await.is_string()
        })
        .await;
        worker.kill().await.unwrap();
        at_stripe().await
    }

    /// Asserts that a tenant has paid twice: for the first plan, and the difference to the second.
    async fn assert_charged(&self, customer: &str) {
        let invoices = self.all(&format!("invoices?customer={customer}")).await;
        let paid = |invoice: &Value| (invoice["status"].clone(), invoice["total"].clone());
        let [upgrade, first] = invoices.as_slice() else {
            panic!("{invoices:?}");
        };
        assert_eq!(paid(first), (json!("paid"), json!(500)));
        let (status, difference) = paid(upgrade);
        let difference = difference.as_i64().unwrap();
        assert_eq!(status, "paid", "{upgrade}");
        assert!((490..=500).contains(&difference), "{upgrade}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_around_each_request_charges_each_payment_once() {
    let world = World::start().await;
    let root = root(&world.backend).await;
    let small = world.per_seat(&root, "Small", 500).await;
    let small_price = world.finish_price(&small).await;
    let ada = Browser::signed_up(&world.backend, "ada@example.com").await;
    let tenants = tenants(KILLS_OF_A_PAYER);
    for tenant in 0..tenants {
        let large = format!("Large {tenant}");
        let large = world.per_seat(&root, &large, 1_000).await;
        world.kill_during_each(&PRICES).await;
        let large_price = world.finish_price(&large).await;

        let slug = format!("weavers-{tenant}");
        ada.create_tenant(&slug).await;
        let owner = ada.in_tenant(&slug);
        let key = text(&owner.data("{ tenant { id } }", ()).await, "/tenant/id");
        attach(&world.backend, &owner, "pm_card_visa").await;
        owner.data(CHANGE, input(small.clone())).await;
        world.kill_during_each(&SUBSCRIBE).await;
        let has = |payment: &Value, price: &Value| {
            let is_settled = payment["pending"].is_null();
            is_settled && payment["subscription"]["price"] == *price
        };
        world
            .finish(&key, |payment| has(payment, &small_price))
            .await;

        owner.data(CHANGE, input(large.clone())).await;
        world.kill_during_each(&CHANGED).await;
        world
            .finish(&key, |payment| has(payment, &large_price))
            .await;

        let guest = format!("guest-{tenant}@example.com");
        owner.data(INVITE, invite(&guest, "GUEST")).await;
        world.kill_during_each(&CHANGED).await;
        let quantity = |payment: &Value| payment["subscription"]["quantity"].clone();
        world.finish(&key, |payment| quantity(payment) == 2).await;
    }
    assert_eq!(world.all("customers").await.len(), tenants);
    let plans = tenants + 1;
    assert_eq!(world.all("products").await.len(), plans);
    assert_eq!(world.all("prices").await.len(), plans);
    let subscriptions = world.all("subscriptions").await;
    assert_eq!(subscriptions.len(), tenants);
    for subscription in subscriptions {
        let item = &subscription["items"]["data"][0];
        let paid = (&item["quantity"], &item["price"]["unit_amount"]);
        assert_eq!(paid, (&json!(2), &json!(1_000)), "{subscription}");
        world
            .assert_charged(&text(&subscription, "/customer"))
            .await;
    }
}
