//! On real sockets, with servers that answer badly. Each request is also compared with the one that
//! async-stripe makes.

use std::time::{Duration, Instant, SystemTime};

use events_schema::{
    Id, Name, StripeCustomerId, StripeSetupIntentId, StripeSubscriptionId, TenantKey, Time,
};

use super::{
    testing::{Act, Server, json, status},
    *,
};

mod answers;
mod requests;

const KEY: &str = "sk_test_51abc";
const TENANT: TenantKey = TenantKey(Id::from_bytes([9; 16]));

fn stripe(server: &Server) -> Stripe {
    let options = StripeOptions {
        stripe_key: KEY.parse().unwrap(),
        stripe_url: server.url().parse().unwrap(),
        stripe_tax: StripeTax::None,
        stripe_rate: 100,
    };
    Stripe::new(&options).unwrap().unwrap()
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new(Id::from_bytes([7; 16]), "customer")
}

fn weaver() -> NewCustomer {
    NewCustomer {
        tenant: TENANT,
        name: Name::parse("Ada & Söhne").unwrap(),
    }
}

async fn create(stripe: &Stripe) -> Result<Customer, StripeError> {
    stripe.create_customer(key(), &weaver()).await
}

fn reason(failed: Result<Customer, StripeError>) -> String {
    let failed = failed.unwrap_err();
    let StripeError::Unavailable(reason) = failed else {
        panic!("{failed:?}");
    };
    reason
}

#[tokio::test]
async fn a_request_has_the_key_the_version_and_a_form() {
    let server = Server::acts([json(r#"{"id": "cus_1", "object": "customer"}"#)]).await;
    let customer = create(&stripe(&server)).await.unwrap();
    assert_eq!(customer.id.as_str(), "cus_1");
    let request = server.requests().remove(0);
    for part in [
        "POST /v1/customers HTTP/1.1\r\n",
        "authorization: Bearer sk_test_51abc\r\n",
        "stripe-version: 2026-09-30.endive\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        &format!("idempotency-key: {}\r\n", key()),
        "\r\n\r\nname=Ada+%26+S%C3%B6hne&metadata%5Bub_tenant%5D=09090909090909090909090909090909",
    ] {
        assert!(request.contains(part), "{part:?} is not in {request}");
    }
}

#[tokio::test]
async fn a_declined_card_is_told_with_its_code() {
    let body = r#"{"error": {"type": "card_error", "code": "card_declined",
        "decline_code": "lost_card", "message": "Your card was declined."}}"#;
    let server = Server::acts([status("402 Payment Required", "", body)]).await;
    let expected = StripeError::Declined {
        code: "lost_card".to_owned(),
        message: "Your card was declined.".to_owned(),
    };
    assert_eq!(create(&stripe(&server)).await, Err(expected));
}

#[tokio::test]
async fn a_subscription_that_ends_has_no_upcoming_invoice_and_that_is_no_error() {
    let refused = |code: &str| {
        let body = format!(r#"{{"error": {{"code": "{code}", "message": "No."}}}}"#);
        status("404 Not Found", "", &body)
    };
    let codes = ["invoice_upcoming_none", "resource_missing"];
    let server = Server::acts(codes.map(refused)).await;
    let (stripe, id) = (
        stripe(&server),
        StripeSubscriptionId::parse("sub_1").unwrap(),
    );
    assert_eq!(stripe.upcoming_invoice(&id).await, Ok(None));
    let missing = stripe.upcoming_invoice(&id).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
}

#[tokio::test]
async fn a_repetition_has_the_same_key() {
    let found = json(r#"{"id": "cus_1"}"#);
    let failed = status("500 Internal Server Error", "", "oops");
    let server = Server::acts([failed, Act::Cut, found]).await;
    let stripe = stripe(&server);
    assert_eq!(
        reason(create(&stripe).await),
        "500: 500 Internal Server Error"
    );
    assert!(!reason(create(&stripe).await).is_empty());
    create(&stripe).await.unwrap();
    let keyed = format!("idempotency-key: {}\r\n", key());
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.contains(&keyed)));
}

#[tokio::test]
async fn no_request_is_sent_while_stripe_wants_none() {
    let limited = status("429 Too Many Requests", "retry-after: 30\r\n", "{}");
    let server = Server::acts([limited, json(r#"{"id": "cus_1"}"#)]).await;
    let stripe = stripe(&server);
    let thirty = StripeError::RateLimited(Duration::from_secs(30));
    assert_eq!(create(&stripe).await, Err(thirty));
    for stripe in [stripe.clone(), stripe.urgent()] {
        let refused = create(&stripe).await.unwrap_err();
        assert!(matches!(refused, StripeError::RateLimited(_)), "{refused}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_is_left_after_ten_seconds() {
    let silent = Server::acts([Act::Hang]).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
    let slow = Server::acts([Act::Begin(head.to_owned())]).await;
    let began = Instant::now();
    let (silent, slow) = (stripe(&silent), stripe(&slow));
    let (silent, slow) = tokio::join!(create(&silent), create(&slow));
    assert_eq!(reason(silent), "no answer within 10s");
    assert_eq!(reason(slow), "no answer within 10s");
    let waited = began.elapsed().as_secs();
    assert!((10..20).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Server::acts([Act::Endless]).await;
    assert_eq!(
        reason(create(&stripe(&server)).await),
        "the answer is too long"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::acts([json(r#"{"id": "cus_1"}"#)]).await;
    let location = format!("location: {}/v1/customers\r\n", target.url());
    for code in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
    ] {
        let server = Server::acts([status(code, &location, "")]).await;
        assert!(reason(create(&stripe(&server)).await).starts_with("30"));
    }
    assert_eq!(target.requests().len(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_unavailable() {
    let server = Server::acts([Act::Cut]).await;
    let stripe = stripe(&server);
    server.stop().await;
    let reason = reason(create(&stripe).await);
    assert_eq!(reason, "the connection failed: connection refused");
}

#[tokio::test]
async fn an_unexpected_answer_shows_no_secret() {
    let server = Server::acts([json(r#"{"id": "seti_1_secret_2", "status": "succeeded"}"#)]).await;
    let id = StripeSetupIntentId::parse("seti_1").unwrap();
    let error = stripe(&server).setup_intent(&id).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Stripe is not available: unexpected answer, line 1, column 24"
    );
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let first =
        r#"{"object": "list", "has_more": true, "data": [{"id": "cus_3"}, {"id": "cus_2"}]}"#;
    let second = r#"{"object": "list", "has_more": false, "data": [
        {"id": "cus_1", "metadata": {"ub_tenant": "09090909090909090909090909090909"}}]}"#;
    let server = Server::acts([json(first), json(second)]).await;
    let since = Timestamp(1_790_000_000);
    let found = stripe(&server).find_customer(TENANT, since).await;
    let expected = StripeCustomerId::parse("cus_1").unwrap();
    assert_eq!(found.unwrap().unwrap().id, expected);
    let begin = "GET /v1/customers?created%5Bgte%5D=1790000000&limit=100";
    let lines: Vec<String> = server
        .requests()
        .iter()
        .map(|it| it[..it.find(" HTTP").unwrap()].to_owned())
        .collect();
    assert_eq!(
        lines,
        [begin.to_owned(), format!("{begin}&starting_after=cus_2")]
    );
}

#[tokio::test]
async fn a_customer_of_today_needs_no_list_and_another_one_another_key() {
    let server = Server::acts([json(r#"{"id": "cus_1"}"#)]).await;
    let stripe = stripe(&server);
    let now = Time::from(SystemTime::now());
    for since in [now, now, now + Duration::from_secs(60)] {
        stripe.customer_of(&weaver(), since).await.unwrap();
    }
    let requests = server.requests();
    let keys: Vec<&str> = requests.iter().map(|it| key_of(it)).collect();
    assert!(
        requests
            .iter()
            .all(|it| it.starts_with("POST /v1/customers "))
    );
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

#[tokio::test]
async fn a_customer_that_was_created_although_stripe_has_failed_is_found() {
    let repeated = status(
        "500 Internal Server Error",
        "idempotent-replayed: true\r\n",
        "{}",
    );
    let own = r#"{"id": "cus_1", "metadata": {"ub_tenant": "09090909090909090909090909090909"}}"#;
    let nobody = json(r#"{"data": [], "has_more": false}"#);
    let listed = json(&format!(r#"{{"data": [{own}], "has_more": false}}"#));
    for (list, requests) in [(listed, 2), (nobody, 3)] {
        let server = Server::acts([repeated.clone(), list, json(own)]).await;
        let now = Time::from(SystemTime::now());
        let found = stripe(&server).customer_of(&weaver(), now).await.unwrap();
        assert_eq!(found.id.as_str(), "cus_1");
        assert_eq!(server.requests().len(), requests);
    }
}

/// The key by which Stripe recognizes a repetition.
fn key_of(request: &str) -> &str {
    let mut lines = request.lines();
    let key = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
    key.unwrap()
}
