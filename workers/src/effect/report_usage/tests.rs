//! A cut is reported once, whatever was done before.

use events_schema::{Id, StripeCustomerId, task::TASKS_CREATED};
use serde_json::json;

use super::*;
use crate::stripe::{
    StripeOptions, StripeTax,
    testing::{Act, Server, json as ok, status as answer},
};

const HOUR: i64 = 60 * 60 * 1000;

/// What Stripe answers to a list.
fn list(data: serde_json::Value) -> Act {
    ok(&json!({ "data": data, "has_more": false }).to_string())
}

fn meter(id: &str, event_name: &str, status: &str) -> serde_json::Value {
    json!({ "id": id, "event_name": event_name, "status": status, "updated": 7 })
}

fn meters() -> Act {
    list(json!([
        meter("mtr_0", "ub_tasks_created", "inactive"),
        meter("mtr_1", "tasks_created", "active"),
        meter("mtr_2", "ub_tasks_created", "active"),
    ]))
}

fn used(quantity: u64) -> Act {
    list(json!([{ "id": "mtrusg_1", "aggregated_value": quantity }]))
}

/// Reports a cut of 12 tasks that was made this long ago. Returns the requests, too.
async fn perform<const N: usize>(
    hours_ago: i64,
    acts: [Act; N],
) -> (Result<Command, Failure>, Vec<String>) {
    let server = Server::acts(acts).await;
    let options = StripeOptions {
        stripe_key: "sk_test_1".parse().unwrap(),
        stripe_url: server.url().parse().unwrap(),
        stripe_tax: StripeTax::None,
        stripe_rate: 100,
    };
    let effect = ReportUsage::new_with(Stripe::new(&options).unwrap().unwrap());
    let Time(now) = SystemTime::now().into();
    let report = Report {
        to: 99,
        quantity: 12,
        customer: StripeCustomerId::parse("cus_1").unwrap(),
        at: Time(now - hours_ago * HOUR),
    };
    let task = Task {
        meter: TASKS_CREATED,
        report,
    };
    let id = UsageId(Id::from_bytes([7; 16]));
    let recorded = effect.perform(id, &task).await;
    (recorded, server.requests())
}

fn is_report(request: &str) -> bool {
    request.starts_with("POST /v1/billing/meter_events ")
}

fn assert_done(recorded: Result<Command, Failure>) {
    assert_eq!(recorded.unwrap(), Command::RecordReport { to: 99 });
}

#[tokio::test]
async fn a_report_names_the_tenant_the_meter_and_the_end_of_the_cut() {
    let (recorded, requests) = perform(0, [meters(), ok("{}")]).await;
    assert_done(recorded);
    let [listed, sent] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert!(listed.starts_with("GET /v1/billing/meters?"), "{listed}");
    assert!(is_report(sent), "{sent}");
    for part in [
        "event_name=ub_tasks_created&",
        "identifier=ub_07070707070707070707070707070707_99&",
        "payload%5Bstripe_customer_id%5D=cus_1&payload%5Bvalue%5D=12&",
        "idempotency-key: ",
    ] {
        assert!(sent.contains(part), "{part:?} is not in {sent}");
    }
}

#[tokio::test]
async fn a_meter_that_stripe_lacks_is_created() {
    let created = ok(&meter("mtr_1", "ub_tasks_created", "active").to_string());
    let (recorded, requests) = perform(0, [list(json!([])), created, ok("{}")]).await;
    assert_done(recorded);
    assert!(requests[1].starts_with("POST /v1/billing/meters "));
    assert!(is_report(&requests[2]));
}

#[tokio::test]
async fn a_meter_that_somebody_has_deactivated_is_made_active_and_no_other_is_created() {
    let inactive = list(json!([meter("mtr_1", "ub_tasks_created", "inactive")]));
    let active = ok(&meter("mtr_1", "ub_tasks_created", "active").to_string());
    let (recorded, requests) = perform(0, [inactive, active, ok("{}")]).await;
    assert_done(recorded);
    let reactivated = "POST /v1/billing/meters/mtr_1/reactivate ";
    assert!(requests[1].starts_with(reactivated), "{requests:?}");
    assert!(is_report(&requests[2]), "{requests:?}");
}

#[tokio::test]
async fn within_a_day_a_report_is_repeated_without_a_question() {
    let (recorded, requests) = perform(22, [meters(), ok("{}")]).await;
    assert_done(recorded);
    assert!(is_report(&requests[1]));
}

#[tokio::test]
async fn later_stripe_is_asked_first_what_it_knows() {
    let (recorded, requests) = perform(24, [meters(), used(12)]).await;
    assert_done(recorded);
    assert_eq!(requests.len(), 2, "{requests:?}");
    let asked = "GET /v1/billing/meters/mtr_2/event_summaries?customer=cus_1&";
    assert!(requests[1].starts_with(asked), "{requests:?}");
    for knows_nothing in [list(json!([])), used(0)] {
        let (recorded, requests) = perform(24, [meters(), knows_nothing, ok("{}")]).await;
        assert_done(recorded);
        assert!(is_report(&requests[2]), "{requests:?}");
    }
}

#[tokio::test]
async fn a_person_looks_at_a_usage_that_stripe_has_otherwise() {
    let (recorded, requests) = perform(24, [meters(), used(11), ok("{}")]).await;
    assert!(never(recorded).contains("11 instead of 12"));
    assert_eq!(requests.len(), 2);
}

/// Returns why a cut can never be reported.
fn never(recorded: Result<Command, Failure>) -> String {
    let Err(Failure::Permanent(error)) = recorded else {
        panic!("{recorded:?}");
    };
    error.to_string()
}

#[tokio::test]
async fn a_cut_that_is_too_old_is_never_reported_unless_stripe_knows_it() {
    let days = |days: i64| days * 24;
    let (recorded, requests) = perform(days(35), [meters(), used(0), ok("{}")]).await;
    assert!(never(recorded).contains("35 days"));
    assert_eq!(requests.len(), 2, "{requests:?}");
    let (recorded, _) = perform(days(36), [meters(), used(12)]).await;
    assert_done(recorded);
}

#[tokio::test]
async fn nothing_is_reported_of_a_customer_that_is_gone() {
    let refused = json!({ "error": { "code": "resource_missing" } }).to_string();
    let refused = || answer("400 Bad Request", "", &refused);
    let deleted = ok(r#"{"id": "cus_1", "deleted": true}"#);
    for customer in [deleted, refused()] {
        for hours_ago in [0, 24] {
            let acts = [meters(), refused(), customer.clone()];
            let (recorded, _) = perform(hours_ago, acts).await;
            never(recorded);
        }
    }
}

#[tokio::test]
async fn a_refused_report_and_an_outage_record_nothing() {
    let refused = json!({ "error": { "code": "resource_missing" } }).to_string();
    let refused = answer("400 Bad Request", "", &refused);
    let present = ok(r#"{"id": "cus_1"}"#);
    let (recorded, _) = perform(0, [meters(), refused, present]).await;
    assert!(
        matches!(recorded, Err(Failure::Temporary(_))),
        "{recorded:?}"
    );
    let (recorded, _) = perform(0, [meters(), answer("500 Broken", "", "{}")]).await;
    assert!(matches!(recorded, Err(Failure::Outage(..))), "{recorded:?}");
}
