//! Events that are sent once more, because a person asks for it.

use events_schema::subject::ATTEMPTS;
use serde_json::{Value, json};

use super::{REDELIVER, UPDATE_WEBHOOK, Webhook, in_tenant};
use crate::support::{Receiver, create_project, eventually, input, operator, text};

const REPLAY: &str = "
    mutation($input: ReplayWebhookInput!) {
        webhook { replay(input: $input) { id only done } }
    }";
const CANCEL_REPLAY: &str = "
    mutation($id: ID!, $replay: ID!) {
        webhook { cancelReplay(id: $id, replay: $replay) { success } }
    }";
const REPLAYS: &str = "
    query($id: ID!) { webhook(id: $id) { replays { id status sent failed done } } }";

#[test]
fn an_event_is_sent_once_more_with_the_same_id_and_body() {
    in_tenant("redeliver", async |backend, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        create_project(&ada, "Rocket").await;
        let first = receiver.nth(1).await;
        webhook.deliveries(&ada, 1).await;
        for nth in 2..4 {
            let event = first.header("webhook-id");
            let redeliver = json!({ "id": webhook.id, "event": event });
            ada.data(REDELIVER, redeliver).await;
            let again = receiver.nth(nth).await;
            assert_eq!(again.header("webhook-id"), event);
            assert_eq!(again.body, first.body);
        }
        // The attempts to redeliver it suffice to redeliver it once more.
        webhook.deliveries(&ada, 3).await;
        let attempts = operator(backend).await.get_stream(ATTEMPTS).await.unwrap();
        let subject = format!("att.*.{}.ok", webhook.id);
        let last = attempts.get_last_raw_message_by_subject(&subject).await;
        let last: Value = serde_json::from_slice(&last.unwrap().payload).unwrap();
        assert!(last["event"]["sequence"].is_u64(), "{last}");

        webhook.test(&ada, "project.created").await;
        let test = receiver.nth(4).await;
        webhook.deliveries(&ada, 4).await;
        for event in ["msg_x", test.header("webhook-id")] {
            let redeliver = json!({ "id": webhook.id, "event": event });
            assert_eq!(ada.code(REDELIVER, redeliver).await, "NOT_FOUND", "{event}");
        }
    });
}

#[test]
fn the_events_of_a_time_are_sent_once_more() {
    in_tenant("replays", async |_, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let mut first = Vec::new();
        for (nth, name) in (1..).zip(["Rocket", "Loom"]) {
            create_project(&ada, name).await;
            first.push(receiver.nth(nth).await);
        }
        let since = first[0].json()["time"].clone();
        let until = first[1].json()["time"].clone();
        let replay = json!({ "id": webhook.id, "since": since, "until": until });
        let replay = ada.data(REPLAY, input(replay)).await;
        let replay = text(&replay["webhook"]["replay"], "/id");
        let again = receiver.nth(3).await;
        assert_eq!(again.header("webhook-id"), first[0].header("webhook-id"));
        assert_eq!(again.body, first[0].body);
        let replays = async || {
            let shown = ada.data(REPLAYS, webhook.variables()).await;
            shown["webhook"]["replays"].clone()
        };
        eventually("the end of the replay", || async {
            replays().await[0]["done"] == true
        })
        .await;
        let finished = json!({
            "id": replay, "status": "FINISHED", "sent": 1, "failed": 0, "done": true
        });
        assert_eq!(replays().await, json!([finished]));
        let cancel = json!({ "id": webhook.id, "replay": replay });
        assert_eq!(ada.code(CANCEL_REPLAY, cancel).await, "NOT_FOUND");
        let backwards = json!({ "id": webhook.id, "since": until, "until": since });
        assert_eq!(ada.code(REPLAY, input(backwards)).await, "BAD_USER_INPUT");
        let no_time = json!({ "id": webhook.id, "since": "yesterday" });
        let refused = ada.gql(REPLAY, input(no_time)).await["errors"][0].clone();
        let message = "since must be a time such as 2026-11-26T08:00:00Z.";
        assert_eq!(refused["message"], message);
        assert_eq!(refused["extensions"]["field"], "since");
    });
}

#[test]
fn a_cancelled_replay_shows_what_it_has_sent() {
    in_tenant("cancels", async |_, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        for nth in 1..=5 {
            create_project(&ada, &format!("Rocket {nth}")).await;
        }
        let since = receiver.nth(1).await.json()["time"].clone();
        receiver.nth(5).await;
        // A replay sends one event in two seconds.
        let slow = json!({ "id": webhook.id, "rateLimit": 1 });
        ada.data(UPDATE_WEBHOOK, input(slow)).await;
        let replay = json!({ "id": webhook.id, "since": since });
        let replay = ada.data(REPLAY, input(replay)).await;
        let replay = text(&replay["webhook"]["replay"], "/id");
        let shown = async || {
            let shown = ada.data(REPLAYS, webhook.variables()).await;
            shown["webhook"]["replays"][0].clone()
        };
        eventually("a sent event", || async { shown().await["sent"] != 0 }).await;
        let cancel = json!({ "id": webhook.id, "replay": replay });
        ada.data(CANCEL_REPLAY, cancel).await;
        let shown = shown().await;
        assert_eq!(
            (&shown["status"], &shown["failed"]),
            (&json!("CANCELLED"), &json!(0))
        );
        assert!((1..5).contains(&shown["sent"].as_u64().unwrap()), "{shown}");
    });
}
