//! A worker that is killed around each request to Stripe does nothing twice.

mod paying;

use events_schema::AreaName;
use local::{Local, stripe::SECRET_KEY};
use mongodb::bson::{DateTime, Document, doc};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::process::Child;

use super::account::worker;
use crate::{
    billing::{create_plan, free, root, set_default},
    support::{
        Browser, PLATFORM, documents_of, eventually, input, mongo, start_with_workers, text,
    },
};

const CHANGE: &str = "
    mutation($input: ChangeSubscriptionInput!) {
        billing { changeSubscription(input: $input) { standing } }
    }";
const DELETE_TENANT: &str = "
    mutation($input: DeleteTenantInput!) { tenant { delete(input: $input) { success } } }";
const CANCEL: &str = "mutation { billing { cancelSubscription { standing } } }";
/// The requests that begin a subscription, each by its method and the begin of its path.
const BEGIN: [(&str, &str); 4] = [
    ("POST", "/v1/customers"),
    ("GET", "/v1/subscriptions"),
    ("POST", "/v1/subscriptions"),
    ("GET", "/v1/subscriptions/"),
];
/// The request that lets it end.
const END: [(&str, &str); 1] = [("POST", "/v1/subscriptions/")];
/// The requests that end it when its tenant is deleted.
const DELETED: [(&str, &str); 2] = [
    ("GET", "/v1/subscriptions"),
    ("DELETE", "/v1/subscriptions/"),
];
/// Each request meets a kill before Stripe acts, and one after that.
const KILLS_OF_A_TENANT: usize = 2 * (BEGIN.len() + END.len());

/// How many tenants there must be for so many kills of a test: `UB_TEST_KILLS`, or one tenant.
fn tenants(kills_of_a_tenant: usize) -> usize {
    let kills = std::env::var("UB_TEST_KILLS").map_or(1, |kills| kills.parse().unwrap());
    usize::div_ceil(kills, kills_of_a_tenant)
}

/// The areas that the backend works for by itself.
fn other_areas() -> String {
    let is_other = |area: &&AreaName| ![AreaName::Billing, AreaName::Plan].contains(area);
    let names = AreaName::ALL.iter().filter(is_other).map(|it| it.as_str());
    names.collect::<Vec<_>>().join(",")
}

/// A worker that runs these loops for billing, as a process of its own.
fn spawn(backend: &Local, loops: &str) -> Child {
    let arguments = ["--loops", loops, "--areas", "billing,plan"];
    worker(backend, &arguments).spawn().unwrap()
}

struct World {
    backend: Local,
    stripe: Client,
    /// Decides the commands of billing, and keeps its views.
    _deciding: Child,
}

impl World {
    /// A backend without a worker that asks Stripe for something. No event of Stripe helps.
    async fn start() -> Self {
        let backend = start_with_workers(&["--areas", &other_areas()]).await;
        let deciding = spawn(&backend, "commands,views");
        let world = Self {
            backend,
            stripe: Client::new(),
            _deciding: deciding,
        };
        let omit = json!({ "mode": "omit" });
        world.ask(Method::POST, "/_test/delivery", Some(omit)).await;
        world
    }

    /// A worker that asks Stripe for what is wanted.
    fn worker(&self) -> Child {
        spawn(&self.backend, "effects")
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.backend.stripe_url().unwrap());
        let request = self.stripe.request(method, url);
        let mut request = request.basic_auth(SECRET_KEY, Some(""));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn all(&self, list: &str) -> Vec<Value> {
        let separator = if list.contains('?') { '&' } else { '?' };
        let path = format!("/v1/{list}{separator}limit=100");
        let all = self.ask(Method::GET, &path, None).await;
        all["data"].as_array().unwrap().clone()
    }

    /// Ends the claims of workers that were killed, as time would.
    async fn end_claims(&self) {
        let platform = mongo(&self.backend).await.database(PLATFORM);
        let outbox = platform.collection::<Document>("outbox");
        let now = DateTime::now();
        let due = doc! { "$set": { "due_at": now }, "$unset": { "claimed_until": "" } };
        outbox.update_many(doc! {}, due).await.unwrap();
    }

    /// Kills a worker while Stripe has this request, before it acts or after that.
    async fn kill_during(&self, (method, path): (&str, &str), kind: &str) {
        self.ask(Method::DELETE, "/_test/requests", None).await;
        let fault = json!({ "kind": kind, "next": 1, "method": method, "path": path });
        self.ask(Method::POST, "/_test/faults", Some(fault)).await;
        self.end_claims().await;
        let mut worker = self.worker();
        eventually(&format!("{method} {path} to hang"), || async {
            let seen = self.ask(Method::GET, "/_test/requests", None).await;
            let mut seen = seen.as_array().unwrap().iter();
            seen.any(|request| request["status"].is_null())
        })
        .await;
        worker.kill().await.unwrap();
        self.ask(Method::DELETE, "/_test/faults", None).await;
    }

    async fn kill_during_each(&self, requests: &[(&str, &str)]) {
        for request in requests {
            for kind in ["hang", "hang_after"] {
                self.kill_during(*request, kind).await;
            }
        }
    }

    /// Lets a worker live until what a tenant pays for is as wanted.
    async fn finish(&self, tenant: &str, is_done: impl Fn(&Value) -> bool) {
        self.end_claims().await;
        let mut worker = self.worker();
        eventually("the subscription", || async {
            let billings = documents_of(&self.backend, "billing").await;
            let own = billings.iter().find(|it| it["tenant"] == tenant);
            own.is_some_and(|own| is_done(&own["view"]["payment"]))
        })
        .await;
        worker.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_around_each_request_leaves_one_customer_and_one_subscription() {
    let world = World::start().await;
    let root = root(&world.backend).await;
    set_default(&root, free("Free", &[], &[])).await;
    let mut team = free("Team", &["webhooks"], &[]);
    let amount = json!({ "amount": 900, "currency": "EUR" });
    team["prices"] = json!([{ "amount": amount, "interval": "MONTH" }]);
    // A trial needs no card.
    team["trialDays"] = json!(14);
    let plan = create_plan(&root, team).await;
    let worker = world.worker();
    let price = async || {
        let plans = documents_of(&world.backend, "plan").await;
        let prices = plans[0]["view"]["stripe_prices"].as_object()?;
        prices.keys().next().cloned()
    };
    eventually("the price at Stripe", || async { price().await.is_some() }).await;
    drop(worker);
    let choice = json!({ "plan": plan, "price": price().await.unwrap() });
    let ada = Browser::signed_up(&world.backend, "ada@example.com").await;
    let tenants = tenants(KILLS_OF_A_TENANT);
    for tenant in 0..tenants {
        let slug = format!("weavers-{tenant}");
        ada.create_tenant(&slug).await;
        let owner = ada.in_tenant(&slug);
        let key = text(&owner.data("{ tenant { id } }", ()).await, "/tenant/id");
        owner.data(CHANGE, input(choice.clone())).await;
        world.kill_during_each(&BEGIN).await;
        let status = |payment: &Value| payment["subscription"]["status"].clone();
        world
            .finish(&key, |payment| status(payment) == "trialing")
            .await;
        owner.data(CANCEL, ()).await;
        world.kill_during_each(&END).await;
        let ends = |payment: &Value| payment["subscription"]["cancel_at"].is_number();
        world
            .finish(&key, |payment| {
                ends(payment) && payment["pending"].is_null()
            })
            .await;
    }
    assert_eq!(world.all("customers").await.len(), tenants);
    let subscriptions = world.all("subscriptions").await;
    assert_eq!(subscriptions.len(), tenants);
    let ends = |subscription: &Value| subscription["cancel_at_period_end"] == true;
    assert!(subscriptions.iter().all(ends), "{subscriptions:?}");

    let last = format!("weavers-{}", tenants - 1);
    let delete = input(json!({ "normalizedName": last }));
    ada.in_tenant(&last).data(DELETE_TENANT, delete).await;
    world.kill_during_each(&DELETED).await;
    world.end_claims().await;
    let _worker = world.worker();
    eventually("the end of what a deleted tenant pays for", || async {
        world.all("subscriptions").await.len() == tenants - 1
    })
    .await;
}
