//! Usage: a tenant sees what it has used, and it is on its next invoice.

mod priced;

use events_schema::AreaName;
use local::{Local, stripe::SECRET_KEY};
use serde_json::{Value, json};

use crate::{
    billing::{create_plan, free, root},
    payments::{attach, change, pending},
    placement::config,
    support::{
        Browser, ada_in_acme, bad_input, create_project, eventually, input, operator, start,
    },
};

const USAGE: &str = "{ billing { usage { meter since until quantity } } }";
const PLANS: &str = "{
    plans { id prices { id } meters { name prices { units amount { amount currency } } } }
}";
const CREATE_PLAN: &str = "
    mutation($input: CreatePlanInput!) { plan { create(input: $input) { id } } }";
const REPLAYED: [&str; 2] = ["effects_report_usage", "views_usage"];

/// A plan that counts projects.
fn metered() -> Value {
    let mut plan = free("Team", &["webhooks"], &[]);
    plan["prices"] = json!([{
        "amount": { "amount": 900, "currency": "EUR" }, "interval": "MONTH",
    }]);
    plan["meters"] = json!(["projects_created"]);
    plan
}

async fn usage(ada: &Browser) -> Value {
    ada.data(USAGE, ()).await["billing"]["usage"].clone()
}

/// Asks the development Stripe.
async fn stripe(backend: &Local, path: &str) -> Value {
    let url = format!("{}/{path}", backend.stripe_url().unwrap());
    let request = reqwest::Client::new().get(url);
    let answer = request.basic_auth(SECRET_KEY, Some("")).send().await;
    answer.unwrap().json().await.unwrap()
}

/// How many reports of usage were sent.
async fn reports(backend: &Local) -> usize {
    let requests = stripe(backend, "_test/requests").await;
    let requests = requests.as_array().unwrap().iter();
    let is_report = |request: &&Value| {
        let is_post = request["method"] == "POST";
        is_post && request["path"] == "/v1/billing/meter_events"
    };
    requests.filter(is_report).count()
}

/// What Stripe adds up of the only meter until now.
async fn at_stripe(backend: &Local) -> Value {
    let meters = stripe(backend, "v1/billing/meters").await;
    let customers = stripe(backend, "v1/customers").await;
    let (Some(meter), Some(customer)) = (
        meters["data"][0]["id"].as_str(),
        customers["data"][0]["id"].as_str(),
    ) else {
        return Value::Null;
    };
    let times = "start_time=1500000000&end_time=4000000020";
    let path = format!("v1/billing/meters/{meter}/event_summaries?customer={customer}&{times}");
    stripe(backend, &path).await["data"][0]["aggregated_value"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_counted_reported_to_stripe_and_not_reported_again_by_a_replay() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    create_project(&ada, "Before the plan").await;
    create_plan(&root, metered()).await;
    let plans = ada.data(PLANS, ()).await["plans"].clone();
    assert_eq!(
        plans[0]["meters"],
        json!([{ "name": "projects_created", "prices": [] }])
    );
    assert_eq!(usage(&ada).await, json!([]));
    attach(&backend, &ada, "pm_card_visa").await;
    let choice = json!({ "plan": plans[0]["id"], "price": plans[0]["prices"][0]["id"] });
    change(&ada, choice).await;
    pending(&ada, Value::Null).await;
    let quantity = async || usage(&ada).await[0]["quantity"].clone();
    eventually("the first count", || async { quantity().await == 1 }).await;

    for name in ["One", "Two", "Three"] {
        create_project(&ada, name).await;
    }
    eventually("the usage", || async { quantity().await == 4 }).await;
    let shown = usage(&ada).await;
    assert_eq!(shown[0]["meter"], "projects_created");
    assert!(shown[0]["until"].is_string());
    // Nobody pays for what was used before the plan.
    eventually("the reports", || async { at_stripe(&backend).await == 3 }).await;

    let before = reports(&backend).await;
    let events = operator(&backend).await.get_stream("EVENTS").await.unwrap();
    for consumer in REPLAYED {
        events.delete_consumer(consumer).await.unwrap();
    }
    for consumer in REPLAYED {
        eventually("the replay", || async {
            let info = events.consumer_info(consumer).await;
            info.is_ok_and(|info| {
                let is_done = info.num_pending == 0 && info.num_ack_pending == 0;
                is_done && info.delivered.consumer_sequence > 0
            })
        })
        .await;
    }
    let (nats, mongo) = config(&backend);
    let rebuilt = workers::rebuild_views(&nats, &mongo, AreaName::ALL, 64, &|_, _| ());
    rebuilt.await.unwrap();
    // A later report is sent behind the whole replay.
    create_project(&ada, "Four").await;
    eventually("the report", || async { at_stripe(&backend).await == 4 }).await;
    assert_eq!(reports(&backend).await, before + 1);
    assert_eq!(quantity().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_has_known_meters_only() {
    let backend = start().await;
    let root = root(&backend).await;
    let mut plan = metered();
    plan["meters"] = json!(["moons_created"]);
    let refused = root.error(CREATE_PLAN, input(plan)).await;
    assert_eq!(refused, bad_input("meters"));
}
