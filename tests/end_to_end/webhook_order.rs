//! In which order the events of a webhook arrive if one of them fails.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::{
    support::{Browser, Receiver, create_project, input, text},
    webhooks::{Webhook, in_tenant},
};

const UPDATE_PROJECT: &str = "
    mutation($input: UpdateProjectInput!) { project { update(input: $input) { revision } } }";

/// The first event fails, and all that follow succeed. Returns the project of the event.
async fn fail_once(ada: &Browser, receiver: &Receiver, ordering: &str) -> String {
    receiver.answer(StatusCode::SERVICE_UNAVAILABLE, "");
    let settings = json!({ "ordering": ordering });
    let webhook = Webhook::create(ada, receiver, &["project.*"], settings).await;
    let failed = create_project(ada, "Failed").await;
    receiver.nth(1).await;
    // Its attempt is over when it is recorded.
    webhook.deliveries(ada, 1).await;
    receiver.answer(StatusCode::OK, "");
    failed
}

/// The type and object of each of the first requests.
async fn arrivals(receiver: &Receiver, count: usize) -> Vec<(String, String)> {
    receiver.nth(count).await;
    let arrival = |body: Value| (text(&body, "/type"), text(&body, "/subject"));
    let received = receiver.received();
    received[..count]
        .iter()
        .map(|received| arrival(received.json()))
        .collect()
}

#[test]
fn an_event_that_fails_holds_up_later_events_of_its_object_only() {
    in_tenant("objects", async |_, ada| {
        let receiver = Receiver::start().await;
        let failed = fail_once(&ada, &receiver, "AGGREGATE").await;
        let update = json!({ "id": failed, "name": "Renamed" });
        ada.data(UPDATE_PROJECT, input(update)).await;
        let other = create_project(&ada, "Other").await;
        let expected = [
            ("project.created", &failed),
            ("project.created", &other),
            ("project.created", &failed),
            ("project.updated", &failed),
        ];
        let expected = expected.map(|(name, id)| (name.to_owned(), id.clone()));
        assert_eq!(arrivals(&receiver, 4).await, expected);
    });
}

#[test]
fn an_event_that_fails_holds_up_all_later_events_of_an_endpoint_in_order() {
    in_tenant("endpoints", async |_, ada| {
        let receiver = Receiver::start().await;
        let failed = fail_once(&ada, &receiver, "ENDPOINT").await;
        let other = create_project(&ada, "Other").await;
        let update = json!({ "id": failed, "name": "Renamed" });
        ada.data(UPDATE_PROJECT, input(update)).await;
        let expected = [
            ("project.created", &failed),
            ("project.created", &failed),
            ("project.created", &other),
            ("project.updated", &failed),
        ];
        let expected = expected.map(|(name, id)| (name.to_owned(), id.clone()));
        assert_eq!(arrivals(&receiver, 4).await, expected);
    });
}
