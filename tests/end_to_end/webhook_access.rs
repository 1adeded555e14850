//! Who may do what with webhooks, what is refused, and what is never shown.

use events_schema::subject::{ATTEMPTS, CURSORS_BUCKET, bucket_stream};
use serde_json::{Value, json};

use crate::{
    support::{
        Browser, MISSING, Receiver, ada_in_acme, bad_input, create_role, input, list, operator,
        role, start, text,
    },
    webhooks::{
        CREATE_WEBHOOK, DELETE_WEBHOOK, DELIVERIES, DISABLE_WEBHOOK, ENABLE_WEBHOOK, REDELIVER,
        ROTATE_SECRET, TEST_WEBHOOK, UPDATE_WEBHOOK, Webhook, in_tenant,
    },
};

const EVERYTHING: &str = "{
    webhooks {
        id url description eventTypes ordering payload contentType algorithm publicKey headerNames
        auth rateLimit concurrency enabled disabledReason failingSince lagSeconds nextAttemptAt
        secrets { algorithm publicKey createdAt expiresAt } createdAt updatedAt revision
    }
}";
const NOBODY_LISTENS: &str = "http://127.0.0.1:9/hooks";

fn webhook(url: &str) -> Value {
    json!({ "url": url, "eventTypes": ["project.*"] })
}

/// The inputs of a webhook with this one changed.
fn with(name: &str, value: Value) -> Value {
    let mut webhook = webhook(NOBODY_LISTENS);
    webhook[name] = value;
    input(webhook)
}

/// Client credentials for this server.
fn oauth2(token_url: &str) -> Value {
    let credentials = json!({ "tokenUrl": token_url, "clientId": "a", "clientSecret": "b" });
    json!({ "oauth2": credentials })
}

#[test]
fn a_new_webhook_has_the_documented_defaults_and_shows_no_secret() {
    in_tenant("defaults", async |_, ada| {
        let secret = json!({
            "url": NOBODY_LISTENS, "eventTypes": ["*"],
            "headers": [{ "name": "x-room", "value": "hunter2" }],
            "auth": { "bearer": { "token": "hunter2" } },
        });
        let created = ada.data(CREATE_WEBHOOK, input(secret)).await;
        let secret = text(&created, "/webhook/create/secret");
        assert!(secret.starts_with("whsec_"));
        let shown = ada.data(EVERYTHING, ()).await;
        let everything = shown.to_string();
        for hidden in ["hunter2", "whsec_", secret.as_str(), "k1:"] {
            assert!(!everything.contains(hidden), "{hidden} in {everything}");
        }
        let mut shown = list(&shown["webhooks"])[0].clone();
        for volatile in ["id", "createdAt", "updatedAt"] {
            assert!(shown[volatile].take().is_string(), "{volatile}");
        }
        assert!(shown["secrets"][0]["createdAt"].take().is_string());
        // A worker may have looked at the creation of the webhook by now.
        let lag = shown["lagSeconds"].take();
        assert!(lag.is_null() || lag == 0, "{lag}");
        let expected = json!({
            "id": null, "url": NOBODY_LISTENS, "description": "", "eventTypes": ["*"],
            "ordering": "AGGREGATE", "payload": "THIN", "contentType": "JSON",
            "algorithm": "HMAC", "publicKey": null, "headerNames": ["x-room"], "auth": "BEARER",
            "rateLimit": 0, "concurrency": 8, "enabled": true, "disabledReason": null,
            "failingSince": null, "lagSeconds": null, "nextAttemptAt": null,
            "secrets": [{
                "algorithm": "HMAC", "publicKey": null, "createdAt": null, "expiresAt": null,
            }],
            "createdAt": null, "updatedAt": null, "revision": 1,
        });
        assert_eq!(shown, expected);
    });
}

#[test]
fn each_creation_has_a_secret_of_its_own_even_if_the_request_is_repeated() {
    in_tenant("repeats", async |_, ada| {
        let careful = ada.with_idempotency_key("once");
        let mut secrets = Vec::new();
        for _ in 0..2 {
            let created = careful.data(CREATE_WEBHOOK, input(webhook(NOBODY_LISTENS)));
            secrets.push(text(&created.await, "/webhook/create/secret"));
        }
        assert_ne!(secrets[0], secrets[1]);
        assert_eq!(list(&ada.data(EVERYTHING, ()).await["webhooks"]).len(), 2);
    });
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    in_tenant("refuses", async |_, ada| {
        for url in [
            "https://10.0.0.1/",
            "https://169.254.169.254/latest",
            "https://[fd00::1]/",
            "http://93.184.216.34/",
            "ftp://127.0.0.1/",
            "https://ada:hunter2@example.com/",
            "x",
        ] {
            let refused = ada.error(CREATE_WEBHOOK, input(webhook(url))).await;
            assert_eq!(refused, bad_input("url"), "{url}");
        }
        let hmac = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for (name, value, field) in [
            ("eventTypes", json!(["project.flown"]), "eventTypes"),
            ("eventTypes", json!([]), "eventTypes"),
            ("secret", json!("hunter2"), "secret"),
            ("rateLimit", json!(-1), "rateLimit"),
            ("rateLimit", json!(1_001), "rateLimit"),
            ("concurrency", json!(0), "concurrency"),
            ("concurrency", json!(33), "concurrency"),
            (
                "headers",
                json!([{ "name": "host", "value": "x" }]),
                "headers",
            ),
            (
                "headers",
                json!([{ "name": "authorization", "value": "x" }]),
                "headers",
            ),
            ("auth", json!({ "bearer": { "token": "" } }), "auth"),
            ("auth", json!({}), "auth"),
            ("auth", oauth2("https://10.0.0.1/token"), "tokenUrl"),
            ("auth", oauth2("http://93.184.216.34/token"), "tokenUrl"),
        ] {
            let refused = ada.error(CREATE_WEBHOOK, with(name, value.clone())).await;
            assert_eq!(refused, bad_input(field), "{name} {value}");
        }
        let mut other = webhook(NOBODY_LISTENS);
        other["algorithm"] = json!("ED25519");
        other["secret"] = json!(hmac);
        assert_eq!(
            ada.error(CREATE_WEBHOOK, input(other)).await,
            bad_input("secret")
        );
        assert_eq!(list(&ada.data(EVERYTHING, ()).await["webhooks"]).len(), 0);

        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let private = input(json!({ "id": webhook.id, "url": "https://192.168.0.1/" }));
        assert_eq!(ada.error(UPDATE_WEBHOOK, private).await, bad_input("url"));
        let overlap = input(json!({ "id": webhook.id, "overlapHours": 169 }));
        assert_eq!(
            ada.error(ROTATE_SECRET, overlap).await,
            bad_input("overlapHours")
        );
        let test = json!({ "id": webhook.id, "type": "project.flown" });
        assert_eq!(ada.error(TEST_WEBHOOK, test).await, bad_input("eventType"));
    });
}

#[test]
fn no_error_repeats_a_credential() {
    in_tenant("leaks", async |_, ada| {
        for (name, value) in [
            ("secret", json!("hunter2")),
            ("secret", json!(["hunter2"])),
            ("auth", json!("hunter2")),
            ("auth", json!({ "bearer": "hunter2" })),
            ("auth", json!({ "bearer": { "token": "hunter2\n" } })),
            (
                "auth",
                json!({ "basic": { "username": 5, "password": "hunter2" } }),
            ),
            (
                "auth",
                json!({ "basic": { "username": "hunter2:", "password": "x" } }),
            ),
            (
                "auth",
                json!({ "bearer": { "token": "hunter2" }, "basic": null }),
            ),
            (
                "auth",
                json!({ "apiKey": { "header": "host", "value": "hunter2" } }),
            ),
            ("headers", json!([{ "name": "hunter2", "value": 5 }])),
            ("headers", json!([{ "name": "host", "value": "hunter2" }])),
            ("headers", json!([{ "name": "hunter2 ", "value": "x" }])),
        ] {
            let answer = ada.gql(CREATE_WEBHOOK, with(name, value.clone())).await;
            let code = &answer["errors"][0]["extensions"]["code"];
            assert_eq!(code, "BAD_USER_INPUT", "{name} {value}: {answer}");
            assert!(!answer.to_string().contains("hunter2"), "{answer}");
        }
    });
}

#[test]
fn deliveries_come_by_pages_and_filters() {
    in_tenant("pages", async |_, ada| {
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        for (nth, event_type) in (1..).zip(["project.created", "task.created", "role.created"]) {
            webhook.test(&ada, event_type).await;
            receiver.nth(nth).await;
            webhook.deliveries(&ada, nth).await;
        }
        receiver.answer(axum::http::StatusCode::IM_A_TEAPOT, "teapot");
        webhook.test(&ada, "project.deleted").await;
        webhook.deliveries(&ada, 4).await;
        let page = async |variables: Value| {
            let mut variables = variables;
            variables["id"] = json!(webhook.id);
            let page = ada.data(DELIVERIES, variables).await["deliveries"].clone();
            let types = list(&page["nodes"]).iter();
            let types: Vec<_> = types.map(|node| text(node, "/eventType")).collect();
            (types, page["pageInfo"].clone())
        };
        let (types, info) = page(json!({ "first": 3 })).await;
        assert_eq!(types, ["project.deleted", "role.created", "task.created"]);
        assert_eq!(info["hasNextPage"], true);
        let (types, info) = page(json!({ "first": 3, "after": info["endCursor"] })).await;
        assert_eq!(types, ["project.created"]);
        assert_eq!(info["hasNextPage"], false);
        assert_eq!(page(json!({ "failed": true })).await.0, ["project.deleted"]);
        assert_eq!(page(json!({ "failed": false })).await.0.len(), 3);
        assert_eq!(
            page(json!({ "type": "task.created" })).await.0,
            ["task.created"]
        );
        // A cursor is a position in the deliveries of one webhook.
        let cursor = &info["endCursor"];
        let feed = "query($after: String) { auditLog(after: $after) { nodes { at } } }";
        assert_eq!(
            ada.error(feed, json!({ "after": cursor })).await,
            bad_input("after")
        );
        let other = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let elsewhere = json!({ "id": other.id, "after": cursor });
        assert_eq!(ada.error(DELIVERIES, elsewhere).await, bad_input("after"));
    });
}

/// Every operation on one webhook, with its variables.
fn operations(id: &str) -> [(&'static str, Value); 9] {
    let read = "query($id: ID!) { webhook(id: $id) { id } }";
    [
        (read, json!({ "id": id })),
        (DELIVERIES, json!({ "id": id })),
        (
            UPDATE_WEBHOOK,
            input(json!({ "id": id, "description": "x" })),
        ),
        (DISABLE_WEBHOOK, json!({ "id": id })),
        (ENABLE_WEBHOOK, json!({ "id": id })),
        (ROTATE_SECRET, input(json!({ "id": id }))),
        (TEST_WEBHOOK, json!({ "id": id, "type": "project.created" })),
        (REDELIVER, json!({ "id": id, "event": "msg_x" })),
        (DELETE_WEBHOOK, json!({ "id": id })),
    ]
}

#[test]
fn a_webhook_of_another_tenant_does_not_exist() {
    in_tenant("first", async |_, ada| {
        ada.create_tenant("second").await;
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
        let elsewhere = ada.in_tenant("second");
        for id in [webhook.id.as_str(), MISSING, "x"] {
            for (document, variables) in operations(id) {
                let code = elsewhere.code(document, variables).await;
                assert_eq!(code, "NOT_FOUND", "{id}: {document}");
            }
        }
        let webhooks = elsewhere.data(EVERYTHING, ()).await;
        assert_eq!(webhooks["webhooks"], json!([]));
        assert_eq!(list(&ada.data(EVERYTHING, ()).await["webhooks"]).len(), 1);
    });
}

#[test]
fn webhooks_need_their_permissions_and_those_of_their_events() {
    in_tenant("permits", async |backend, ada| {
        let eve = Browser::signed_up(backend, "eve@example.com").await;
        let eve = eve.in_tenant("permits");
        let member = ada.add_member(&eve, "eve@example.com", "GUEST").await;
        let receiver = Receiver::start().await;
        let webhook = Webhook::create(&ada, &receiver, &["member.*"], json!({})).await;
        let create = input(json!({ "url": NOBODY_LISTENS, "eventTypes": ["project.*"] }));
        let lists = ["{ webhooks { id } }", "{ webhookEventTypes { name } }"];
        for document in lists {
            assert_eq!(eve.code(document, ()).await, "FORBIDDEN", "{document}");
        }
        for (document, variables) in operations(&webhook.id) {
            let code = eve.code(document, variables).await;
            assert_eq!(code, "FORBIDDEN", "{document}");
        }
        assert_eq!(eve.code(CREATE_WEBHOOK, &create).await, "FORBIDDEN");

        let permissions = ["create_webhook", "update_webhook", "read_webhook"];
        let hooks = create_role(&ada, role("Hooks", &permissions, &[])).await;
        let assign = "mutation($input: AssignRoleInput!) { role { assign(input: $input) { id } } }";
        let assignment = json!({ "member": member, "role": hooks });
        ada.data(assign, input(assignment)).await;
        eve.data(CREATE_WEBHOOK, &create).await;
        // A webhook must not tell what its creator may not read.
        let types = json!(["project.*", "member.*"]);
        let beyond = input(json!({ "url": NOBODY_LISTENS, "eventTypes": types }));
        assert_eq!(eve.code(CREATE_WEBHOOK, beyond).await, "FORBIDDEN");
        // Nor may she have the events of another webhook sent to herself.
        let steal = input(json!({ "id": webhook.id, "url": NOBODY_LISTENS }));
        assert_eq!(eve.code(UPDATE_WEBHOOK, steal).await, "FORBIDDEN");
    });
}

#[test]
fn the_catalogue_has_a_schema_and_an_example_of_each_type() {
    in_tenant("catalogue", async |_, ada| {
        let query = "{ webhookEventTypes { name description schema example } }";
        let types = ada.data(query, ()).await;
        let types = list(&types["webhookEventTypes"]);
        assert!(types.len() > 20);
        for one in types {
            let parsed = |path: &str| serde_json::from_str::<Value>(&text(one, path)).unwrap();
            assert_eq!(parsed("/example")["type"], one["name"]);
            assert_eq!(parsed("/schema")["title"], one["name"]);
            assert_eq!(parsed("/schema")["description"], one["description"]);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_streams_of_this_release_webhooks_are_shown_without_deliveries() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let receiver = Receiver::start().await;
    let webhook = Webhook::create(&ada, &receiver, &["project.*"], json!({})).await;
    let operator = operator(&backend).await;
    for stream in [ATTEMPTS.to_owned(), bucket_stream(CURSORS_BUCKET)] {
        operator.delete_stream(stream).await.unwrap();
    }
    let shown = ada.data(EVERYTHING, ()).await;
    assert_eq!(shown["webhooks"][0]["lagSeconds"], Value::Null);
    assert_eq!(shown["webhooks"][0]["failingSince"], Value::Null);
    assert!(webhook.deliveries(&ada, 0).await.is_empty());
    let ready = ada.http().get(ada.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
}
