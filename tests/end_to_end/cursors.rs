//! Cursors of the feed and the audit log: of one tenant, and from the first event on.

use serde_json::{Value, json};

use crate::{
    feed::{begun, create_token},
    support::{Browser, Socket, ada_in_acme, bad_input, operator, start, text},
};

/// The cursor of the last change in the tenant of this browser.
async fn last_cursor(browser: &Browser) -> String {
    let last = "{ auditLog(first: 1) { pageInfo { endCursor } } }";
    text(
        &browser.data(last, ()).await,
        "/auditLog/pageInfo/endCursor",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_after_an_event_that_the_log_does_not_have_is_refused() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let cursor = last_cursor(&ada).await;
    // As if an older backup of the log had been restored.
    let operator = operator(&backend).await;
    let config = operator.get_stream("EVENTS").await.unwrap();
    let config = config.cached_info().config.clone();
    operator.delete_stream("EVENTS").await.unwrap();
    operator.create_stream(config).await.unwrap();
    let mut socket = Socket::subscribed(&backend, &token, Some(&cursor), Value::Null).await;
    assert_eq!(socket.refusal().await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_begins_with_the_first_event_of_the_tenant_only_if_it_is_asked_to() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let scopes = ["read_tenant", "read_project"];
    let token = create_token(&ada, &scopes).await;
    let mut socket = Socket::subscribed_to_all(&backend, &token, None, Value::Null).await;
    let first = socket.event().await;
    assert_eq!(
        (&first["area"], &first["revision"]),
        (&json!("TENANT"), &json!(1))
    );
    // A cursor counts more.
    let last = last_cursor(&ada).await;
    let mut resumed = Socket::subscribed_to_all(&backend, &token, Some(&last), Value::Null).await;
    let mut new = Socket::subscribed(&backend, &token, None, Value::Null).await;
    begun(&ada, &mut resumed).await;
    begun(&ada, &mut new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_works_in_its_own_tenant_only() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    ada.create_tenant("other").await;
    let other = ada.in_tenant("other");
    let cursor = last_cursor(&other).await;
    let token = create_token(&ada, &["read_project"]).await;
    let mut socket = Socket::subscribed(&backend, &token, Some(&cursor), Value::Null).await;
    assert_eq!(socket.refusal().await, "BAD_USER_INPUT");
    let page = "query($after: String) { auditLog(after: $after) { nodes { id } } }";
    let after = json!({ "after": cursor });
    assert_eq!(ada.error(page, &after).await, bad_input("after"));
    other.data(page, &after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_cursor_of_an_earlier_release_is_refused() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let plain = Some("AAAAAAAAAAA");
    let mut socket = Socket::subscribed(&backend, &token, plain, Value::Null).await;
    assert_eq!(socket.refusal().await, "BAD_USER_INPUT");
}
