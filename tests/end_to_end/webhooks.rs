//! Webhooks as customers use them: their own servers receive the events of a tenant.

mod authentication;
mod replays;
mod rotation;

use axum::http::StatusCode;
use events_schema::webhook_signature::SigningKey;
use local::Local;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, Received, Receiver, create_project, eventually, input, list, share, start, text,
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
            state["failingSince"].is_string()
                && state["nextAttemptAt"].is_string()
                && state["lagSeconds"].as_u64().is_some_and(|lag| lag > 0)
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
fn a_server_that_answers_gone_to_a_test_disables_its_webhook() {
    in_tenant("gone-test", async |_, ada| {
        let receiver = Receiver::start().await;
        receiver.answer(StatusCode::GONE, "");
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        webhook.test(&ada, "project.created").await;
        receiver.nth(1).await;
        eventually("disabled", || async {
            webhook.state(&ada).await["disabledReason"] == "GONE"
        })
        .await;
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
