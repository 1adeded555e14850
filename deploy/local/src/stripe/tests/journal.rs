//! What the service keeps over a restart.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::running::{Running, id};

fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("stripe.journal")
}

/// All objects, as the API shows them. Links have the address of the run.
async fn objects(stripe: &Running) -> String {
    let mut all = String::new();
    for path in [
        "customers",
        "products",
        "prices",
        "setup_intents",
        "subscriptions?status=all&limit=100",
        "invoices?limit=100",
        "events?limit=100",
    ] {
        let shown = stripe.read(&format!("/v1/{path}")).await;
        all += &shown.to_string().replace(&stripe.url, "");
    }
    all
}

/// Requests of every kind, with reads between them.
async fn live(stripe: &Running) {
    let customer = stripe.customer("pm_card_visa").await;
    stripe.read("/v1/customers").await;
    let price = stripe.price("eur", 900).await;
    let trial = "&trial_period_days=14";
    let subscription = stripe.subscribe(&customer, &price, trial).await;
    let intent = format!("customer={customer}&payment_method=pm_card_visa");
    stripe.ok("/v1/setup_intents", &intent).await;
    stripe.pass_days(40).await;
    stripe.read("/v1/events").await;
    let declined = stripe.customer("pm_card_chargeCustomerFail").await;
    let form = format!("customer={declined}&items[0][price]={price}");
    stripe.post("/v1/subscriptions", &form).await;
    stripe
        .delete(&format!("/v1/subscriptions/{}", id(&subscription)))
        .await;
    stripe.pass_days(40).await;
}

#[tokio::test]
async fn a_restart_keeps_all_objects() {
    let folder = tempfile::tempdir().unwrap();
    let stripe = Running::kept(&file_in(&folder)).await;
    live(&stripe).await;
    let before = objects(&stripe).await;
    let now = stripe.now().await;
    for _ in 0..2 {
        let stripe = Running::kept(&file_in(&folder)).await;
        assert!(stripe.now().await >= now);
        assert_eq!(objects(&stripe).await, before);
    }
}

#[tokio::test]
async fn a_repeated_request_gets_its_answer_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (path, form) = ("/v1/customers", "name=Ada");
    let stripe = Running::kept(&file_in(&folder)).await;
    let first = stripe.post_with_key("one", path, form).await;
    let stripe = Running::kept(&file_in(&folder)).await;
    assert_eq!(stripe.post_with_key("one", path, form).await, first);
    let second = stripe.post_with_key("two", path, form).await;
    assert_ne!(id(&second.1), id(&first.1));
    assert_eq!(stripe.read(path).await["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_key_is_not_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let stripe = Running::kept(&file_in(&folder)).await;
    let before = fs::read(file_in(&folder)).unwrap();
    let request = Client::new().post(format!("{}/v1/customers", stripe.url));
    let refused = request.bearer_auth("sk_live_secret").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(fs::read(file_in(&folder)).unwrap(), before);
}

#[tokio::test]
async fn a_torn_last_line_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let stripe = Running::kept(&file).await;
    stripe.ok("/v1/customers", "name=Ada").await;
    let whole = fs::read(&file).unwrap();
    let mut torn = OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(br#"{"created":3,"#).unwrap();
    let stripe = Running::kept(&file).await;
    assert_eq!(fs::read(&file).unwrap(), whole);
    stripe.ok("/v1/customers", "name=Eve").await;
    let stripe = Running::kept(&file).await;
    let customers: Value = stripe.read("/v1/customers").await;
    let names = customers["data"].as_array().unwrap().iter();
    let names: Vec<&Value> = names.map(|customer| &customer["name"]).collect();
    assert_eq!(json!(names), json!(["Eve", "Ada"]));
}

#[tokio::test]
async fn a_line_that_cannot_be_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    fs::write(&file, "{\"run\":\"a\",\"now\":1}\nnothing\n").unwrap();
    let error = crate::stripe::Stripe::kept("http://127.0.0.1:1", &file);
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("Delete the folder with the data"), "{error}");
    assert!(error.contains("stripe.journal"), "{error}");
}
