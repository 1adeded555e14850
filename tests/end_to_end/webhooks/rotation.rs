//! How customers replace the secret of a webhook: from one algorithm to the other, by a secret of
//! their own, and never twice the same by accident.

use events_schema::webhook_signature::SigningKey;
use serde_json::{Map, Value, json};

use super::{ROTATE_SECRET, Webhook, in_tenant};
use crate::support::{
    Browser, Received, Receiver, input, list,
    packages::{installed_by_npm, run},
    text,
};

/// The libraries that customers verify webhooks with.
const VERIFIERS: &str = "../events-schema/tests/webhook_verifiers";

async fn rotate(owner: &Browser, settings: Value) -> Value {
    let rotated = owner.data(ROTATE_SECRET, input(settings)).await;
    rotated["webhook"]["rotateSecret"].clone()
}

/// What others' libraries say of a request: for each verifier, why it refuses the request.
async fn verdict(received: &Received, secret: &str, public_key: &str) -> Value {
    let headers = received.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())));
    let input = json!({
        "headers": headers.collect::<Map<_, _>>(),
        "body": received.body,
        "secret": secret,
        "publicKey": public_key,
    });
    let verify = move || {
        let folder = installed_by_npm(VERIFIERS);
        run(&folder, "node", "verify.mjs", &input.to_string())
    };
    let verdict = tokio::task::spawn_blocking(verify).await.unwrap();
    serde_json::from_str(&verdict).unwrap()
}

#[test]
fn both_algorithms_sign_while_a_customer_goes_from_one_to_the_other() {
    in_tenant("migrates", async |_, ada| {
        let receiver = Receiver::start().await;
        let settings = json!({ "contentType": "CLOUD_EVENTS", "payload": "FULL" });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        let migrate = json!({ "id": webhook.id, "algorithm": "ED25519" });
        let migrated = rotate(&ada, migrate).await;
        assert_eq!(list(&migrated["webhook"]["secrets"]).len(), 2);
        let public_key = text(&migrated, "/webhook/publicKey");

        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(1).await;
        let all_accept = json!({ "symmetric": null, "asymmetric": null, "event": null });
        let said = verdict(&received, &webhook.key, &public_key).await;
        assert_eq!(said, all_accept);

        let end = json!({ "id": webhook.id, "algorithm": "ED25519", "overlapHours": 0 });
        let ended = rotate(&ada, end).await;
        let public_key = text(&ended, "/webhook/publicKey");
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(2).await;
        let said = verdict(&received, &webhook.key, &public_key).await;
        assert_eq!(said["symmetric"], "No matching signature found");
        assert_eq!(said["asymmetric"], Value::Null);
    });
}

#[test]
fn a_customer_may_choose_the_new_secret() {
    in_tenant("chooses", async |_, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let own = SigningKey::hmac([7; 32]).secret();
        let rotated = rotate(&ada, json!({ "id": webhook.id, "secret": own })).await;
        assert_eq!(rotated["secret"], json!(own));
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(1).await;
        assert!(received.is_signed_by(&webhook.key) && received.is_signed_by(&own));
    });
}

#[test]
fn each_rotation_has_a_secret_of_its_own_even_if_the_request_is_repeated() {
    in_tenant("rotates-again", async |_, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let careful = ada.with_idempotency_key("once");
        let first = rotate(&careful, json!({ "id": webhook.id })).await;
        let second = rotate(&careful, json!({ "id": webhook.id })).await;
        assert_eq!(list(&second["webhook"]["secrets"]).len(), 3);
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(1).await;
        let (first, second) = (text(&first, "/secret"), text(&second, "/secret"));
        assert_ne!(first, second);
        assert!(received.is_signed_by(&first) && received.is_signed_by(&second));
    });
}
