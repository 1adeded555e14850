//! Failures that tests ask for, and what a client may rely on then.

use reqwest::Method;
use serde_json::json;

use super::running::{Running, id};

#[tokio::test]
async fn the_same_key_and_request_get_the_same_answer() {
    let stripe = Running::start().await;
    let create = |key, form| stripe.post_with_key(key, "/v1/customers", form);
    let (status, first) = create("k1", "name=Ada&metadata[a]=1&metadata[b]=2").await;
    assert_eq!(status, 200);
    // Whatever the order of the parameters.
    let (_, again) = create("k1", "metadata[b]=2&metadata[a]=1&name=Ada").await;
    assert_eq!(first, again);
    let (status, other) = create("k1", "name=Eve").await;
    assert_eq!(
        (status, &other["error"]["type"]),
        (400, &"idempotency_error".into())
    );
    let (_, second) = create("k2", "name=Ada").await;
    assert_ne!(id(&first), id(&second));
    stripe.pass_days(1).await;
    let (_, forgotten) = create("k1", "name=Ada").await;
    assert_ne!(id(&first), id(&forgotten));
}

#[tokio::test]
async fn a_wrong_request_does_not_take_its_key() {
    let stripe = Running::start().await;
    let (status, _) = stripe.post_with_key("k", "/v1/customers", "nmae=Ada").await;
    assert_eq!(status, 400);
    let (status, _) = stripe.post_with_key("k", "/v1/customers", "name=Ada").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn what_the_bank_said_is_repeated() {
    let stripe = Running::start().await;
    let customer = id(&stripe.ok("/v1/customers", "").await);
    let form = format!("customer={customer}");
    let path = "/v1/payment_methods/pm_card_chargeDeclined/attach";
    let first = stripe.post_with_key("k", path, &form).await;
    assert_eq!(first.0, 402);
    assert_eq!(first, stripe.post_with_key("k", path, &form).await);
}

#[tokio::test]
async fn a_lost_answer_is_found_with_the_same_key() {
    let stripe = Running::start().await;
    let fault = json!({ "kind": "cut_after", "next": 1, "path": "/v1/customers" });
    stripe.control("faults", fault).await;
    let request = stripe.request(Method::POST, "/v1/customers");
    let lost = request
        .header("idempotency-key", "k")
        .body("name=Ada")
        .send()
        .await;
    assert!(lost.is_err());
    let (_, found) = stripe.post_with_key("k", "/v1/customers", "name=Ada").await;
    let all = stripe.read("/v1/customers").await;
    assert_eq!(all["data"], json!([found]));
}

#[tokio::test]
async fn a_cut_before_leaves_nothing() {
    let stripe = Running::start().await;
    stripe
        .control("faults", json!({ "kind": "cut_before", "next": 1 }))
        .await;
    let lost = stripe
        .request(Method::POST, "/v1/customers")
        .body("name=Ada")
        .send()
        .await;
    assert!(lost.is_err());
    assert_eq!(stripe.read("/v1/customers").await["data"], json!([]));
}

#[tokio::test]
async fn ordered_answers_come_as_often_as_asked() {
    let stripe = Running::start().await;
    let fault = json!({ "kind": "answer", "status": 429, "retryAfter": 2, "next": 1 });
    stripe.control("faults", fault).await;
    stripe
        .control("faults", json!({ "kind": "answer", "next": 1 }))
        .await;
    let limited = stripe
        .request(Method::GET, "/v1/customers")
        .send()
        .await
        .unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "2");
    let (status, body) = stripe.get("/v1/customers").await;
    assert_eq!((status, &body["error"]["type"]), (500, &"api_error".into()));
    assert_eq!(stripe.get("/v1/customers").await.0, 200);
    let requests = stripe.read("/_test/requests").await;
    let statuses = requests.as_array().unwrap().iter();
    let statuses: Vec<_> = statuses.map(|request| request["status"].clone()).collect();
    assert_eq!(statuses, [429, 500, 200]);
}

#[tokio::test]
async fn an_ordered_failure_is_kept_for_its_key() {
    let stripe = Running::start().await;
    for (status, again) in [(500, 500), (429, 200)] {
        let fault = json!({ "kind": "answer", "status": status, "next": 1 });
        stripe.control("faults", fault).await;
        let key = status.to_string();
        let create = || stripe.post_with_key(&key, "/v1/customers", "name=Ada");
        assert_eq!(create().await.0, status);
        assert_eq!(create().await.0, again);
    }
}

#[tokio::test]
async fn a_request_hangs_until_the_faults_are_deleted() {
    let stripe = Running::start().await;
    for (kind, customers) in [("hang", 0), ("hang_after", 1)] {
        stripe
            .control("faults", json!({ "kind": kind, "next": 1 }))
            .await;
        let hanging = tokio::spawn(stripe.request(Method::POST, "/v1/customers").send());
        // It has begun to hang when it is among the requests, which have no answer yet.
        while stripe.read("/_test/requests").await == json!([]) {}
        assert!(!hanging.is_finished());
        let all = stripe.read("/v1/customers").await;
        assert_eq!(all["data"].as_array().unwrap().len(), customers, "{kind}");
        stripe.delete("/_test/faults").await;
        assert!(hanging.await.unwrap().is_err());
        stripe.delete("/_test/requests").await;
    }
}

#[tokio::test]
async fn an_answer_that_is_held_tells_what_there_was_before() {
    let stripe = Running::start().await;
    let hold = json!({ "kind": "hold", "next": 1, "path": "/v1/customers" });
    stripe.control("faults", hold).await;
    let held = tokio::spawn(stripe.request(Method::GET, "/v1/customers").send());
    while stripe.read("/_test/requests").await == json!([]) {}
    stripe.ok("/v1/customers", "name=Ada").await;
    assert!(!held.is_finished());
    stripe.delete("/_test/faults").await;
    let answer: serde_json::Value = held.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["data"], json!([]));
}
