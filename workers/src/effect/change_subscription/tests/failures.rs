//! What becomes of a change that Stripe does not do.

use super::*;

const WITH_CARD: &str =
    r#"{"id": "cus_1", "invoice_settings": {"default_payment_method": "pm_1"}}"#;

#[tokio::test]
async fn a_subscription_that_would_end_still_ends_if_its_change_is_declined() {
    let mut ending = subscription("active", "price_0", OTHER);
    ending["cancel_at"] = json!(1_797_000_000);
    let acts = [list(&[ending]), declined("lost_card")];
    let expected = failed("lost_card", "No.");
    records(&subscribe(), acts, expected, &[LIST, CHANGE]).await;
}

#[tokio::test]
async fn a_declined_card_is_recorded() {
    let acts = [list(&[]), declined("card_declined")];
    records(
        &subscribe(),
        acts,
        failed("card_declined", "No."),
        &[LIST, CREATE],
    )
    .await;
}

#[tokio::test]
async fn a_first_payment_that_fails_later_is_recorded_with_its_reason() {
    let own = subscription("incomplete", "price_1", REQUEST);
    let payment = json!({
        "status": "requires_payment_method",
        "last_payment_error": { "code": "card_declined", "decline_code": "lost_card", "message": "No." }
    });
    let acts = [list(&[own]), present("incomplete"), invoice(payment)];
    records(
        &subscribe(),
        acts,
        failed("lost_card", "No."),
        &[LIST, READ, INVOICE],
    )
    .await;
}

#[tokio::test]
async fn an_outage_is_no_attempt() {
    let limited = answer("429 Too Many Requests", "retry-after: 7\r\n", "{}");
    let (failed, _) = perform(&subscribe(), [limited]).await;
    let pause = Duration::from_secs(7);
    assert!(matches!(failed, Err(Failure::Outage(_, found)) if found == pause));
    for acts in [
        [list(&[]), Act::Cut],
        [answer("401 Unauthorized", "", "{}"), Act::Cut],
    ] {
        let (failed, _) = perform(&subscribe(), acts).await;
        assert!(matches!(failed, Err(Failure::Outage(..))), "{failed:?}");
    }
}

#[tokio::test]
async fn a_failure_that_stripe_repeats_is_tried_with_further_keys_after_a_look() {
    let repeated = || {
        let headers = "idempotent-replayed: true\r\n";
        answer("500 Internal Server Error", headers, "{}")
    };
    let own = subscription("active", "price_1", REQUEST);
    let acts = [list(&[]), repeated(), list(&[own]), present("active")];
    let sent = [LIST, CREATE, LIST, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;

    let acts = [
        list(&[]),
        repeated(),
        list(&[]),
        present("active"),
        present("active"),
    ];
    let sent = [LIST, CREATE, LIST, CREATE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;

    let mut acts = Vec::new();
    acts.resize(10, [list(&[]), repeated()]);
    let acts: [Act; 20] = acts.concat().try_into().ok().unwrap();
    let (failed, requests) = perform(&subscribe(), acts).await;
    assert!(matches!(failed, Err(Failure::Outage(..))), "{failed:?}");
    assert_eq!(requests.len(), 10, "{requests:?}");
}

#[tokio::test]
async fn what_stripe_refuses_is_recorded_whatever_was_asked_for() {
    let refused = || {
        let error = json!({ "error": { "code": "parameter_invalid", "message": "No." } });
        answer("400 Bad Request", "", &error.to_string())
    };
    let text = "The change is not possible. Ask who runs this service.";
    let expected = || failed("parameter_invalid", text);
    records(&cancel(), [refused()], expected(), &[READ]).await;
    let mut ending = subscription("active", "price_1", OTHER);
    ending["cancel_at"] = json!(1_797_000_000);
    let acts = [ok(&ending.to_string()), refused()];
    records(&resume(), acts, expected(), &[READ, CHANGE]).await;
    let sent = ["GET /v1/customers", "POST /v1/customers"];
    records(
        &task([], wants()),
        [list(&[]), refused()],
        expected(),
        &sent,
    )
    .await;
    records(&subscribe(), [refused()], expected(), &[LIST]).await;
}

#[tokio::test]
async fn a_deleted_customer_is_forgotten_so_that_the_tenant_gets_another_one() {
    let error = json!({ "error": { "code": "resource_missing", "message": "No such customer" } });
    let missing = || answer("400 Bad Request", "", &error.to_string());
    let sent = [LIST, CREATE, "GET /v1/customers/cus_1"];
    let deleted = ok(r#"{"id": "cus_1", "deleted": true}"#);
    let forget = Command::ForgetCustomer {
        customer: StripeCustomerId::parse("cus_1").unwrap(),
    };
    records(&subscribe(), [list(&[]), missing(), deleted], forget, &sent).await;
    let text = "The change is not possible. Ask who runs this service.";
    for customer in [ok(WITH_CARD), missing()] {
        let refused = failed("resource_missing", text);
        let acts = [list(&[]), missing(), customer];
        records(&subscribe(), acts, refused, &sent).await;
    }
}

#[tokio::test]
async fn a_tenant_without_a_card_learns_that_it_needs_one() {
    let error = json!({ "error": { "code": "resource_missing", "message": "No card" } });
    let missing = || answer("400 Bad Request", "", &error.to_string());
    let no_card = || ok(r#"{"id": "cus_1"}"#);
    let expected = || failed("card_missing", "Save a card first.");
    let sent = [LIST, CREATE, "GET /v1/customers/cus_1"];
    let acts = [list(&[]), missing(), no_card()];
    records(&subscribe(), acts, expected(), &sent).await;
    // The trial of another plan ends with the change.
    let trying = subscription("trialing", "price_2", OTHER);
    let sent = [LIST, CHANGE, "GET /v1/customers/cus_1"];
    let acts = [list(&[trying]), missing(), no_card()];
    records(&subscribe(), acts, expected(), &sent).await;
}

#[tokio::test]
async fn a_payment_that_its_owner_must_confirm_waits() {
    let confirm = || invoice(json!({ "status": "requires_action" }));
    let action = || Command::RecordAction { request: REQUEST };
    let needed = || declined("authentication_required");
    let acts = [
        list(&[]),
        needed(),
        present("incomplete"),
        present("incomplete"),
        confirm(),
    ];
    let sent = [LIST, CREATE, CREATE, READ, INVOICE];
    records(&subscribe(), acts, action(), &sent).await;

    let lasting = subscription("active", "price_0", OTHER);
    let mut waiting = lasting.clone();
    waiting["pending_update"] = pending_update("price_1");
    let waiting = || ok(&waiting.to_string());
    let acts = [list(&[lasting]), needed(), waiting(), waiting(), confirm()];
    let sent = [LIST, CHANGE, CHANGE, READ, INVOICE];
    records(&subscribe(), acts, action(), &sent).await;
}
