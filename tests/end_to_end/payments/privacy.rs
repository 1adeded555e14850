//! No number of a card, client secret, link or key of Stripe is kept anywhere.

use std::fs;

use event_store::MongoOptions;
use futures_util::TryStreamExt as _;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use serde_json::{Value, json};

use super::{ATTACH, CHANGE, CREATE_PLAN, INVOICES, PREVIEW, SETUP, id_of, process::Variables};
use crate::{
    cargo_dev::{Dev, operator_of},
    secrets::{Seen, check_spans, check_streams},
    support::{
        Browser, Collector, PLATFORM, add_second_factor, await_administration, eventually, input,
        text,
    },
};

const ADA: &str = "ada@example.com";
const CARD: &str = "4242424242424242";
/// The parts that have secrets of Stripe in hand.
const SPANS: [&str; 3] = [
    "POST /graphql",
    "POST /webhooks/stripe",
    "attempt change_subscription",
];
/// What a tenant sees of its payments, apart from the client secret and the links, which are there
/// to be shown: each document with something that is in its answer.
const SHOWN: [(&str, &str); 4] = [
    (
        "{ cards { id brand last4 expMonth expYear isDefault } }",
        r#""last4":"4242""#,
    ),
    (
        "{
            billing {
                plan { id name version } standing features limits { name value used }
                subscription { status quantity currentPeriodEnd cancelAt trialEnd }
                subscriptions { status quantity plan { name } }
                pendingChange { kind status code message plan { name } takesEffectAt }
                upcomingInvoice { subtotal { amount } tax { amount } total { amount } dueAt }
                invoices { id number status total { amount currency decimals } createdAt }
            }
        }",
        r#""status":"ACTION_REQUIRED""#,
    ),
    (
        "{ plans { id name version features prices { id amount { amount } } meters { name } } }",
        r#""name":"Plan 900""#,
    ),
    (
        "{ auditLog(first: 100) { nodes { at area id events actor { kind } address device } } }",
        r#""area":"BILLING""#,
    ),
];
const PORTAL: &str = r#"{ billing { portalLink(returnPath: "/settings") { url } } }"#;

/// Creates a plan; returns the input that chooses it, once Stripe knows the price.
pub(super) async fn priced(seen: &mut Seen, ada: &Browser, amount: i64) -> Value {
    let amount_in_euros = json!({ "amount": amount, "currency": "EUR" });
    let plan = json!({
        "name": format!("Plan {amount}"), "features": ["audit_log"], "limits": [],
        "prices": [{ "amount": amount_in_euros, "interval": "MONTH" }],
    });
    let created = seen.done(ada, CREATE_PLAN, input(plan)).await;
    let id = text(&created, "/plan/create/id");
    let choice = json!({ "plan": id, "price": text(&created, "/plan/create/prices/0/id") });
    eventually("a price that Stripe knows", || async {
        ada.gql(PREVIEW, input(choice.clone())).await["errors"].is_null()
    })
    .await;
    choice
}

/// Saves a card, which pays from now on.
pub(super) async fn save(seen: &mut Seen, stripe: &Variables, ada: &Browser, card: &str) {
    let setup = seen.done(ada, SETUP, json!({})).await;
    let secret = text(&setup, "/card/createSetupIntent/clientSecret");
    seen.secret("the client secret of a card", &secret);
    let id = id_of(&secret);
    let path = format!("setup_intents/{id}/confirm");
    stripe.stripe(&path, &[("payment_method", card)]).await;
    if card == "pm_card_authenticationRequired" {
        stripe.confirm(id).await;
    }
    let attached = seen.done(ada, ATTACH, json!({ "id": id })).await;
    let id = text(&attached, "/card/attach/id");
    let set = "mutation($id: ID!) { card { setDefault(id: $id) { id } } }";
    seen.done(ada, set, json!({ "id": id })).await;
}

/// Chooses a plan, and returns the billing once the change has this status.
async fn choose(seen: &mut Seen, ada: &Browser, choice: &Value, status: Value) -> Value {
    seen.done(ada, CHANGE, input(choice.clone())).await;
    super::pending(ada, status).await
}

/// A client puts numbers of cards where they do not belong.
async fn misplace(seen: &mut Seen, ada: &Browser, choice: &Value) {
    let with = |name: &str| {
        let mut choice = choice.clone();
        choice[name] = CARD.into();
        input(choice)
    };
    for name in ["plan", "price", "promotionCode", "prorationDate"] {
        seen.fails(ada, PREVIEW, with(name)).await;
        seen.fails(ada, CHANGE, with(name)).await;
    }
    for document in [
        ATTACH,
        "mutation($id: ID!) { card { setDefault(id: $id) { id } } }",
        "mutation($id: ID!) { card { delete(id: $id) { success } } }",
        "query($id: ID!) { billing { invoice(id: $id) { number } } }",
        "query($id: ID!) { billing { invoices(after: $id) { number } } }",
        "query($id: String!) { billing { portalLink(returnPath: $id) { url } } }",
    ] {
        seen.fails(ada, document, json!({ "id": CARD })).await;
    }
}

/// Checks what the tenant is shown.
async fn check_answers(seen: &mut Seen, ada: &Browser) {
    for (document, expected) in SHOWN {
        let answer = seen.done(ada, document, json!({})).await.to_string();
        assert!(answer.contains(expected), "no {expected} in {answer}");
        seen.check("an answer", &answer);
    }
}

async fn check_databases(seen: &Seen, mongo: &MongoOptions) {
    let client = Client::with_uri_str(&mongo.mongo_url).await.unwrap();
    let mut billings = 0;
    for name in client.list_database_names().await.unwrap() {
        let is_ours = name.starts_with(PLATFORM);
        let database = client.database(&name);
        let collections = match is_ours {
            true => database.list_collection_names().await.unwrap(),
            false => Vec::new(),
        };
        for view in collections {
            let collection = database.collection::<Document>(&view);
            let found = collection.find(doc! {});
            let documents: Vec<Document> = found.await.unwrap().try_collect().await.unwrap();
            for document in documents {
                seen.check(&view, &json!(document).to_string());
                billings += usize::from(view == "billing");
            }
        }
    }
    assert!(billings > 0, "no billing was searched");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_stripe_is_in_the_log_an_error_an_answer_a_stream_a_view_or_a_span() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let collector = Collector::start().await;
    let exports = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let dev = Dev::start_logging(&data, &log, &exports).await;
    let stripe = Variables::of(&data);
    let mut seen = Seen::default();
    seen.secret("the number of a card", CARD);
    seen.secret("the key of Stripe", local::stripe::SECRET_KEY);
    seen.secret("the secret of webhooks", local::stripe::WEBHOOK_SECRET);
    let ada = dev.browser();
    ada.sign_up(ADA).await;
    add_second_factor(&ada).await;
    stripe.make_platform_admin(ADA).await;
    await_administration(&ada).await;
    ada.create_tenant("acme").await;
    let ada = ada.in_tenant("acme");
    let small = priced(&mut seen, &ada, 900).await;
    let large = priced(&mut seen, &ada, 2_000).await;

    save(&mut seen, &stripe, &ada, "pm_card_chargeCustomerFail").await;
    choose(&mut seen, &ada, &small, json!("FAILED")).await;
    save(&mut seen, &stripe, &ada, "pm_card_visa").await;
    choose(&mut seen, &ada, &small, Value::Null).await;
    save(&mut seen, &stripe, &ada, "pm_card_authenticationRequired").await;
    let waiting = choose(&mut seen, &ada, &large, json!("ACTION_REQUIRED")).await;
    let secret = text(&waiting, "/pendingChange/clientSecret");
    seen.secret("the client secret of a payment", &secret);
    let link = text(
        &seen.done(&ada, PORTAL, json!({})).await,
        "/billing/portalLink/url",
    );
    seen.secret("a link to the portal", &link);
    let invoices = seen.done(&ada, INVOICES, json!({})).await;
    for name in ["hostedUrl", "pdfUrl"] {
        let path = format!("/billing/invoices/0/{name}");
        seen.secret(name, &text(&invoices, &path));
    }
    check_answers(&mut seen, &ada).await;
    misplace(&mut seen, &ada, &small).await;

    check_streams(&seen, &operator_of(&data).await, &["EVENTS", "STRIPE"]).await;
    check_databases(&seen, &stripe.mongo()).await;
    check_spans(&seen, &dev, &collector).await;
    let spans = collector.spans();
    for name in SPANS {
        let found = spans.iter().any(|span| span.name == name);
        assert!(found, "no span {name}");
    }
    assert!(seen.errors.len() > 10);
    seen.check("an error", &json!(seen.errors).to_string());
    let log = fs::read_to_string(log).unwrap();
    for line in [
        "gateway::http",
        "workers::",
        "billing.change_subscription",
        "DEBUG",
    ] {
        assert!(log.contains(line), "no {line} in the log");
    }
    seen.check("the log", &log);
}
