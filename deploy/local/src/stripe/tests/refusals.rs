//! What is refused, and how.

use reqwest::Method;

use super::super::PUBLISHABLE_KEY;
use super::running::{Running, id, text};

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let stripe = Running::start().await;
    let ask = |key: &str| {
        let request = reqwest::Client::new().get(format!("{}/v1/customers", stripe.url));
        request.bearer_auth(key).send()
    };
    let answer = ask("sk_test_other").await.unwrap();
    assert_eq!(answer.status(), 401);
    let body = answer.text().await.unwrap();
    assert!(body.contains("invalid_request_error") && !body.contains("sk_test_other"));
    assert_eq!(ask(PUBLISHABLE_KEY).await.unwrap().status(), 401);
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_by_name() {
    let stripe = Running::start().await;
    let error = stripe.refused("/v1/customers", "name=Ada&nmae=Eve").await;
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(error["code"], "parameter_unknown");
    assert_eq!(error["param"], "nmae");
    let price = stripe.price("usd", 500).await;
    let customer = stripe.customer("pm_card_visa").await;
    let form = format!("customer={customer}&items[0][price]={price}&items[0][prcie]=x");
    let error = stripe.refused("/v1/subscriptions", &form).await;
    assert_eq!(error["param"], "items[0][prcie]");
    let (status, body) = stripe.get("/v1/customers?emial=x").await;
    assert_eq!((status, &body["error"]["param"]), (400, &"emial".into()));
    let (status, _) = stripe.get(&format!("/v1/customers/{customer}?x=1")).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_missing_object_is_404_in_the_path_and_400_in_a_parameter() {
    let stripe = Running::start().await;
    let (status, body) = stripe.get("/v1/subscriptions/sub_1").await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &"resource_missing".into())
    );
    let (status, body) = stripe.post("/v1/setup_intents", "customer=cus_1").await;
    assert_eq!((status, &body["error"]["param"]), (400, &"customer".into()));
    let (status, _) = stripe.get("/v1/charges").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_declined_card_is_402_with_its_codes() {
    let stripe = Running::start().await;
    let customer = id(&stripe.ok("/v1/customers", "").await);
    let decline = async |card: &str| {
        let path = format!("/v1/payment_methods/{card}/attach");
        let (status, body) = stripe.post(&path, &format!("customer={customer}")).await;
        assert_eq!(status, 402, "{card}");
        assert_eq!(body["error"]["type"], "card_error");
        let error = &body["error"];
        (
            text(&error["code"]),
            error["decline_code"].as_str().map(str::to_owned),
        )
    };
    let declined = |reason: &str| ("card_declined".to_owned(), Some(reason.to_owned()));
    assert_eq!(
        decline("pm_card_chargeDeclined").await,
        declined("generic_decline")
    );
    let funds = decline("pm_card_chargeDeclinedInsufficientFunds").await;
    assert_eq!(funds, declined("insufficient_funds"));
    let expired = decline("pm_card_chargeDeclinedExpiredCard").await;
    assert_eq!(expired, ("expired_card".to_owned(), None));
    let cards = stripe
        .read(&format!("/v1/customers/{customer}/payment_methods"))
        .await;
    assert_eq!(cards["data"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_setup_intent_of_a_declined_card_can_be_tried_again() {
    let stripe = Running::start().await;
    let customer = id(&stripe.ok("/v1/customers", "").await);
    let intent = id(&stripe
        .ok("/v1/setup_intents", &format!("customer={customer}"))
        .await);
    let path = format!("/v1/setup_intents/{intent}");
    let confirm = format!("{path}/confirm");
    let error = stripe
        .refused(&confirm, "payment_method=pm_card_chargeDeclined")
        .await;
    assert_eq!(error["setup_intent"]["status"], "requires_payment_method");
    let found = stripe.read(&path).await;
    assert_eq!(found["last_setup_error"]["decline_code"], "generic_decline");
    let found = stripe.ok(&confirm, "payment_method=pm_card_visa").await;
    assert_eq!(found["status"], "succeeded");
    assert!(found["last_setup_error"].is_null());
}

#[tokio::test]
async fn a_browser_confirms_with_the_client_secret_only() {
    let stripe = Running::start().await;
    let customer = id(&stripe.ok("/v1/customers", "").await);
    let intent = stripe
        .ok("/v1/setup_intents", &format!("customer={customer}"))
        .await;
    let url = format!("{}/v1/setup_intents/{}/confirm", stripe.url, id(&intent));
    let confirm = async |secret: &str| {
        let request = reqwest::Client::new().request(Method::POST, &url);
        let form = format!("client_secret={secret}&payment_method=pm_card_visa");
        let sent = request.bearer_auth(PUBLISHABLE_KEY).body(form).send();
        sent.await.unwrap().status().as_u16()
    };
    assert_eq!(confirm("wrong").await, 401);
    assert_eq!(confirm(&text(&intent["client_secret"])).await, 200);
}

#[tokio::test]
async fn a_lookup_key_belongs_to_one_price() {
    let stripe = Running::start().await;
    let form = "currency=usd&unit_amount=1&product_data[name]=Pro&lookup_key=k";
    let first = id(&stripe.ok("/v1/prices", form).await);
    let error = stripe.refused("/v1/prices", form).await;
    assert_eq!(error["param"], "lookup_key");
    let second = stripe
        .ok("/v1/prices", &format!("{form}&transfer_lookup_key=true"))
        .await;
    let found = stripe.read("/v1/prices?lookup_keys[]=k").await;
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(id(&found["data"][0]), id(&second));
    let first = stripe.read(&format!("/v1/prices/{first}")).await;
    assert!(first["lookup_key"].is_null());
}

#[tokio::test]
async fn an_amount_that_json_cannot_hold_is_refused() {
    let stripe = Running::start().await;
    let customer = stripe.customer("pm_card_visa").await;
    let price = stripe.price("usd", 9_007_199_254_740_991).await;
    let form = format!("customer={customer}&items[0][price]={price}&items[0][quantity]=2");
    let error = stripe.refused("/v1/subscriptions", &form).await;
    assert_eq!(error["code"], "amount_too_large");
    let subscription = stripe
        .subscribe(&customer, &price, "&expand[]=latest_invoice")
        .await;
    let total = &subscription["latest_invoice"]["total"];
    assert_eq!(total.as_i64(), Some(9_007_199_254_740_991));
}

#[tokio::test]
async fn other_releases_of_the_api_are_refused() {
    let stripe = Running::start().await;
    let ask = async |version: &str| {
        let request = stripe.request(Method::GET, "/v1/customers");
        let sent = request.header("stripe-version", version).send();
        sent.await.unwrap().status().as_u16()
    };
    assert_eq!(ask("2026-09-30.endive").await, 200);
    assert_eq!(ask("2020-08-27").await, 400);
}
