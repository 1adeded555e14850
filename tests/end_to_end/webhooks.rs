//! Webhooks as customers use them: their own servers receive the events of a tenant.

use axum::http::StatusCode;
use data_encoding::BASE64;
use events_schema::{subject::ATTEMPTS, webhook_signature::SigningKey};
use local::Local;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, Received, Receiver, create_project, eventually, input, list, operator, share, start,
    text,
};

pub const CREATE_WEBHOOK: &str = "
    mutation($input: CreateWebhookInput!) {
        webhook { create(input: $input) { webhook { id publicKey } secret } }
    }";
pub const UPDATE_WEBHOOK: &str = "
    mutation($input: UpdateWebhookInput!) {
        webhook { update(input: $input) { url eventTypes headerNames auth } }
    }";
pub const DELETE_WEBHOOK: &str = "mutation($id: ID!) { webhook { delete(id: $id) { success } } }";
pub const ENABLE_WEBHOOK: &str = "
    mutation($id: ID!, $from: WebhookStart) {
        webhook { enable(id: $id, from: $from) { enabled disabledReason } }
    }";
pub const DISABLE_WEBHOOK: &str = "
    mutation($id: ID!) { webhook { disable(id: $id) { enabled disabledReason } } }";
pub const ROTATE_SECRET: &str = "
    mutation($input: RotateWebhookSecretInput!) {
        webhook {
            rotateSecret(input: $input) {
                webhook { algorithm publicKey secrets { algorithm publicKey expiresAt } }
                secret
            }
        }
    }";
pub const TEST_WEBHOOK: &str = "
    mutation($id: ID!, $type: String!) {
        webhook { test(id: $id, eventType: $type) { success } }
    }";
pub const REDELIVER: &str = "
    mutation($id: ID!, $event: String!) {
        webhook { redeliver(id: $id, eventId: $event) { success } }
    }";
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
pub const DELIVERIES: &str = "
    query($id: ID!, $failed: Boolean, $type: String, $first: Int, $after: String) {
        deliveries(webhook: $id, failed: $failed, eventType: $type, first: $first, after: $after) {
            nodes {
                eventId eventType attempt status latencyMs response error address at nextAttemptAt
                succeeded
            }
            pageInfo { hasNextPage endCursor }
        }
    }";
const STATE: &str = "
    query($id: ID!) {
        webhook(id: $id) { enabled disabledReason failingSince lagSeconds nextAttemptAt }
    }";

/// Runs a test with a tenant of its own, in the one backend of this file.
pub fn in_tenant(slug: &str, test: impl AsyncFnOnce(&Local, Browser)) {
    static BACKEND: OnceCell<(Local, Browser)> = OnceCell::const_new();
    let start = async || {
        let backend = start().await;
        let ada = Browser::signed_up(&backend, "ada@example.com").await;
        (backend, ada)
    };
    share(&BACKEND, start, async |(backend, ada)| {
        ada.create_tenant(slug).await;
        test(backend, ada.in_tenant(slug)).await;
    });
}

/// A webhook, and the text that its requests are verified with.
pub struct Webhook {
    pub id: String,
    pub key: String,
}

impl Webhook {
    /// Creates a webhook that sends events to this receiver. `settings` are further inputs.
    pub async fn create(owner: &Browser, to: &Receiver, types: &[&str], settings: Value) -> Self {
        let mut webhook = json!({ "url": to.url(), "eventTypes": types });
        for (name, value) in settings.as_object().into_iter().flatten() {
            webhook[name] = value.clone();
        }
        let created = owner.data(CREATE_WEBHOOK, input(webhook)).await;
        let created = &created["webhook"]["create"];
        let secret = created["secret"].as_str();
        let key = secret.map_or_else(|| text(created, "/webhook/publicKey"), str::to_owned);
        Self {
            id: text(created, "/webhook/id"),
            key,
        }
    }

    fn variables(&self) -> Value {
        json!({ "id": self.id })
    }

    async fn state(&self, owner: &Browser) -> Value {
        let state = owner.data(STATE, self.variables()).await;
        state["webhook"].clone()
    }

    pub async fn test(&self, owner: &Browser, event_type: &str) {
        let test = json!({ "id": self.id, "type": event_type });
        owner.data(TEST_WEBHOOK, test).await;
    }

    /// The latest attempts, when there are so many.
    pub async fn deliveries(&self, owner: &Browser, count: usize) -> Vec<Value> {
        let read = async || {
            let deliveries = owner.data(DELIVERIES, self.variables()).await;
            list(&deliveries["deliveries"]["nodes"]).clone()
        };
        eventually("deliveries", || async { read().await.len() >= count }).await;
        read().await
    }
}

fn object(received: &Received) -> Value {
    received.json()["data"]["object"].clone()
}

#[test]
fn an_event_arrives_signed_with_the_name_of_its_object_or_the_object() {
    in_tenant("arrives", async |_, ada| {
        let (thin, full) = (Receiver::start().await, Receiver::start().await);
        let types = ["project.created"];
        let first = Webhook::create(&ada, &thin, &types, json!({})).await;
        let settings = json!({ "payload": "FULL", "contentType": "CLOUD_EVENTS" });
        let second = Webhook::create(&ada, &full, &types, settings).await;
        let project = create_project(&ada, "Rocket").await;

        let received = thin.nth(1).await;
        assert_eq!(received.event_type(), "project.created");
        assert_eq!(received.json()["subject"], json!(project));
        assert!(received.json()["data"].get("object").is_none());
        assert!(received.json().get("test").is_none());
        assert_eq!(received.header("content-type"), "application/json");
        assert_eq!(received.header("webhook-id"), text(&received.json(), "/id"));
        assert!(received.is_signed_by(&first.key) && !received.is_signed_by(&second.key));

        let received = full.nth(1).await;
        assert_eq!(object(&received)["name"], "Rocket");
        let content_type = "application/cloudevents+json";
        assert_eq!(received.header("content-type"), content_type);
        assert!(received.is_signed_by(&second.key));
        for deliveries in [first.deliveries(&ada, 1), second.deliveries(&ada, 1)] {
            let delivery = &deliveries.await[0];
            assert_eq!(delivery["status"], 200);
            assert_eq!(delivery["succeeded"], true);
            assert_eq!(delivery["attempt"], 1);
        }
    });
}

#[test]
fn an_ed25519_key_verifies_by_its_public_part_and_its_secret_is_never_shown() {
    in_tenant("ed25519", async |_, ada| {
        let receiver = Receiver::start().await;
        let own = SigningKey::ed25519([7; 32]);
        let settings = json!({ "algorithm": "ED25519", "secret": own.secret() });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        assert_eq!(Some(&webhook.key), own.public().as_ref());
        webhook.test(&ada, "project.created").await;
        assert!(receiver.nth(1).await.is_signed_by(&webhook.key));
    });
}

#[test]
fn a_test_sends_an_example_of_any_type_also_while_the_webhook_is_disabled() {
    in_tenant("tests", async |_, ada| {
        let receiver = Receiver::start().await;
        let settings = json!({ "payload": "FULL" });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        ada.data(DISABLE_WEBHOOK, webhook.variables()).await;
        webhook.test(&ada, "task.created").await;
        let received = receiver.nth(1).await;
        assert_eq!(received.event_type(), "task.created");
        assert_eq!(object(&received)["title"], "Oil it");
        assert_eq!(received.json()["test"], true);
        webhook.test(&ada, "task.created").await;
        let again = receiver.nth(2).await;
        assert_ne!(again.header("webhook-id"), received.header("webhook-id"));
    });
}

#[test]
fn a_failure_is_shown_and_the_event_comes_again_with_the_same_id() {
    in_tenant("fails", async |_, ada| {
        let receiver = Receiver::start().await;
        receiver.answer(StatusCode::INTERNAL_SERVER_ERROR, "out of order");
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        assert_eq!(webhook.state(&ada).await["failingSince"], Value::Null);
        create_project(&ada, "Rocket").await;
        let first = receiver.nth(1).await;

        let failed = &webhook.deliveries(&ada, 1).await[0];
        assert_eq!(failed["status"], 500);
        assert_eq!(failed["response"], "out of order");
        assert_eq!(failed["succeeded"], false);
        assert_eq!(failed["eventId"], first.header("webhook-id"));
        assert!(failed["nextAttemptAt"].is_string(), "{failed}");
        eventually("failingSince", || async {
            let state = webhook.state(&ada).await;
            state["failingSince"].is_string() && state["nextAttemptAt"].is_string()
        })
        .await;

        receiver.answer(StatusCode::NO_CONTENT, "");
        let second = receiver.nth(2).await;
        assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(second.body, first.body);
        assert!(second.is_signed_by(&webhook.key));
        assert_eq!(webhook.deliveries(&ada, 2).await[0]["attempt"], 2);
        eventually("no failure any more", || async {
            let state = webhook.state(&ada).await;
            state["failingSince"].is_null()
                && state["nextAttemptAt"].is_null()
                && state["lagSeconds"] == 0
        })
        .await;
    });
}

#[test]
fn a_server_that_answers_gone_disables_its_webhook() {
    in_tenant("gone", async |_, ada| {
        let receiver = Receiver::start().await;
        receiver.answer(StatusCode::GONE, "");
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        create_project(&ada, "Rocket").await;
        receiver.nth(1).await;
        eventually("disabled", || async {
            webhook.state(&ada).await["disabledReason"] == "GONE"
        })
        .await;
        assert_eq!(webhook.state(&ada).await["nextAttemptAt"], Value::Null);
    });
}

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

#[test]
fn former_secrets_sign_until_their_end() {
    in_tenant("rotates", async |_, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let rotate = async |settings: Value| {
            let rotated = ada.data(ROTATE_SECRET, input(settings)).await;
            rotated["webhook"]["rotateSecret"].clone()
        };
        let second = rotate(json!({ "id": webhook.id })).await;
        assert_eq!(list(&second["webhook"]["secrets"]).len(), 2);
        let secrets = &second["webhook"]["secrets"];
        assert!(secrets[0]["expiresAt"].is_string() && secrets[1]["expiresAt"].is_null());
        let second = text(&second, "/secret");
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(1).await;
        assert!(received.is_signed_by(&webhook.key) && received.is_signed_by(&second));

        let ed25519 = json!({ "id": webhook.id, "overlapHours": 0, "algorithm": "ED25519" });
        let third = rotate(ed25519).await;
        assert_eq!(third["secret"], Value::Null);
        assert_eq!(third["webhook"]["algorithm"], "ED25519");
        assert_eq!(list(&third["webhook"]["secrets"]).len(), 1);
        let third = text(&third, "/webhook/publicKey");
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(2).await;
        assert!(received.is_signed_by(&third));
        assert!(!received.is_signed_by(&webhook.key) && !received.is_signed_by(&second));
    });
}

#[test]
fn a_disabled_webhook_goes_on_where_it_stopped_or_with_the_next_event() {
    in_tenant("pauses", async |_, ada| {
        let (resumed, restarted) = (Receiver::start().await, Receiver::start().await);
        let settings = json!({ "payload": "FULL" });
        for (receiver, from) in [(&resumed, Value::Null), (&restarted, json!("NOW"))] {
            let types = ["project.created"];
            let webhook = Webhook::create(&ada, receiver, &types, settings.clone()).await;
            create_project(&ada, "Before").await;
            receiver.nth(1).await;
            let disabled = ada.data(DISABLE_WEBHOOK, webhook.variables()).await;
            let expected = json!({ "enabled": false, "disabledReason": "REQUESTED" });
            assert_eq!(disabled["webhook"]["disable"], expected);
            create_project(&ada, "Meanwhile").await;
            let enable = json!({ "id": webhook.id, "from": from });
            let enabled = ada.data(ENABLE_WEBHOOK, enable).await;
            let expected = json!({ "enabled": true, "disabledReason": null });
            assert_eq!(enabled["webhook"]["enable"], expected);
            create_project(&ada, "After").await;
            // Objects do not wait for each other, so the order may be another one.
            let last = if receiver.url() == resumed.url() {
                3
            } else {
                2
            };
            receiver.nth(last).await;
            let mut names: Vec<_> = receiver.received()[1..last]
                .iter()
                .map(|received| text(&object(received), "/name"))
                .collect();
            names.sort();
            let expected = ["After", "Meanwhile"];
            assert_eq!(names, expected[..last - 1]);
        }
    });
}

#[test]
fn headers_and_authentication_arrive_until_they_are_replaced() {
    in_tenant("headers", async |_, ada| {
        let receiver = Receiver::start().await;
        let settings = json!({
            "headers": [{ "name": "X-Room", "value": "engine" }],
            "auth": { "basic": { "username": "ada", "password": "hunter2" } },
        });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(1).await;
        assert_eq!(received.header("x-room"), "engine");
        let basic = format!("Basic {}", BASE64.encode(b"ada:hunter2"));
        assert_eq!(received.header("authorization"), basic);

        let update = async |changes: Value| {
            let mut changes = changes;
            changes["id"] = json!(webhook.id);
            let updated = ada.data(UPDATE_WEBHOOK, input(changes)).await;
            let updated = updated["webhook"]["update"].clone();
            json!([updated["headerNames"], updated["auth"]])
        };
        let kept = update(json!({ "description": "Mine" })).await;
        assert_eq!(kept, json!([["x-room"], "BASIC"]));
        let api_key = json!({ "apiKey": { "header": "X-Key", "value": "abc" } });
        let replaced = update(json!({ "auth": api_key })).await;
        assert_eq!(replaced, json!([[], "API_KEY"]));
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(2).await;
        assert_eq!(received.header("x-key"), "abc");
        let gone = ["x-room", "authorization"];
        assert!(
            gone.iter()
                .all(|name| !received.headers.contains_key(*name))
        );
        assert_eq!(update(json!({ "headers": [] })).await, json!([[], "NONE"]));
    });
}

#[test]
fn an_access_token_is_asked_for_once_and_again_after_a_refusal() {
    in_tenant("oauth2", async |_, ada| {
        let (tokens, receiver) = (Receiver::start().await, Receiver::start().await);
        tokens.answer(
            StatusCode::OK,
            r#"{"access_token": "first", "expires_in": 3600}"#,
        );
        let oauth2 = json!({
            "tokenUrl": tokens.url(), "clientId": "ada", "clientSecret": "s3cret", "scope": "hooks"
        });
        let settings = json!({ "auth": { "oauth2": oauth2 } });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        for nth in 1..3 {
            create_project(&ada, "Rocket").await;
            let received = receiver.nth(nth).await;
            assert_eq!(received.header("authorization"), "Bearer first");
        }
        let asked = tokens.received();
        assert_eq!(asked.len(), 1);
        let pair = BASE64.encode(b"ada:s3cret");
        assert_eq!(asked[0].header("authorization"), format!("Basic {pair}"));
        assert_eq!(asked[0].body, "grant_type=client_credentials&scope=hooks");

        tokens.answer(StatusCode::OK, r#"{"access_token": "second"}"#);
        receiver.answer(StatusCode::UNAUTHORIZED, "");
        webhook.test(&ada, "project.created").await;
        receiver.nth(3).await;
        webhook.deliveries(&ada, 3).await;
        receiver.answer(StatusCode::OK, "");
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(4).await;
        assert_eq!(received.header("authorization"), "Bearer second");
    });
}

#[test]
fn without_an_access_token_nothing_is_sent() {
    in_tenant("no-token", async |_, ada| {
        let (tokens, receiver) = (Receiver::start().await, Receiver::start().await);
        tokens.answer(StatusCode::BAD_REQUEST, "s3cret");
        let oauth2 = json!({
            "tokenUrl": tokens.url(), "clientId": "ada", "clientSecret": "s3cret"
        });
        let settings = json!({ "auth": { "oauth2": oauth2 } });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        webhook.test(&ada, "project.created").await;
        let attempts = webhook.deliveries(&ada, 1).await;
        let error = text(&attempts[0], "/error");
        assert_eq!(
            error,
            "no access token: the endpoint answered 400 Bad Request"
        );
        assert!(receiver.received().is_empty());
    });
}

#[test]
fn a_deleted_webhook_gets_nothing() {
    in_tenant("deletes", async |_, ada| {
        let (deleted, other) = (Receiver::start().await, Receiver::start().await);
        let types = ["project.created"];
        let webhook = Webhook::create(&ada, &deleted, &types, json!({})).await;
        let witness = Webhook::create(&ada, &other, &types, json!({})).await;
        create_project(&ada, "Before").await;
        deleted.nth(1).await;
        other.nth(1).await;
        ada.data(DELETE_WEBHOOK, webhook.variables()).await;
        for nth in 2..5 {
            create_project(&ada, "After").await;
            other.nth(nth).await;
        }
        witness.deliveries(&ada, 4).await;
        assert_eq!(deleted.received().len(), 1);
        assert_eq!(ada.code(STATE, webhook.variables()).await, "NOT_FOUND");
    });
}
