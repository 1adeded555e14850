//! What a tenant may ask of Stripe: how often, how much at once, and from which time on.

use std::time::{Duration, SystemTime};

use events_schema::Time;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{CARDS, CHANGE, PREVIEW, SETUP, attach, control, pending, priced, root};
use crate::support::{
    CREATE_PROJECT, ada_in_acme, bad_input, code_of, input, start, start_with, text,
};

const PREVIEWED: &str = "
    query($input: ChangeSubscriptionInput!) {
        billing { previewChange(input: $input) { prorationDate } }
    }";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_from_a_recent_preview_and_from_no_other_time() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let team = priced(&root, &ada, 900, "EUR").await;
    attach(&backend, &ada, "pm_card_visa").await;
    let from = |date: &Value| {
        let mut choice = team.clone();
        choice["prorationDate"] = date.clone();
        input(choice)
    };
    let now = SystemTime::now();
    let minutes = |count: u64| Duration::from_secs(60 * count);
    for wrong in [now - minutes(16), now + minutes(1)] {
        let wrong = from(&Time::from(wrong).to_rfc3339().into());
        for document in [PREVIEW, CHANGE] {
            let refused = ada.error(document, wrong.clone()).await;
            assert_eq!(refused, bad_input("prorationDate"));
        }
    }
    let previewed = ada.data(PREVIEWED, input(team.clone())).await;
    let date = &previewed["billing"]["previewChange"]["prorationDate"];
    ada.data(CHANGE, from(date)).await;
    let billing = pending(&ada, Value::Null).await;
    assert_eq!(billing["subscription"]["status"], "ACTIVE", "{billing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_to_stripe_are_limited_and_nothing_else_is() {
    let limits = ["--payment-limit", "4/hour", "--card-limit", "1/hour"];
    let backend = start_with(&limits).await;
    let ada = ada_in_acme(&backend).await;
    ada.data(SETUP, ()).await;
    assert_eq!(ada.code(SETUP, ()).await, "RATE_LIMITED");
    for _ in 0..3 {
        ada.data(CARDS, ()).await;
    }
    let refused = ada.error(CARDS, ()).await;
    assert_eq!(refused["code"], "RATE_LIMITED");
    assert!(refused["retryAfter"].as_u64().unwrap() > 0);
    let project = input(json!({ "name": "Fly" }));
    let created = ada.data(CREATE_PROJECT, project).await;
    assert!(!text(&created, "/project/create/id").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_asks_at_most_four_questions_at_once() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    attach(&backend, &ada, "pm_card_visa").await;
    let hang = json!({ "kind": "hang", "next": 1_000_000 });
    control(&backend, "faults", hang).await;
    let answers = join_all((0..5).map(|_| ada.gql(CARDS, ()))).await;
    let mut codes: Vec<&Value> = answers.iter().map(code_of).collect();
    codes.sort_by_key(|code| code.to_string());
    assert_eq!(codes[0], "RATE_LIMITED");
    assert!(
        codes[1..].iter().all(|code| *code == "UNAVAILABLE"),
        "{codes:?}"
    );
    let url = format!("{}/_test/faults", backend.stripe_url().unwrap());
    reqwest::Client::new().delete(url).send().await.unwrap();
    ada.data(CARDS, ()).await;
}
