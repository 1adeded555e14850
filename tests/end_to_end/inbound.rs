//! Inbound hooks as other services send them: a GitHub issue becomes a task.

pub mod source;

use std::time::{SystemTime, UNIX_EPOCH};

use events_schema::webhook_signature::{Message, SigningKey};
use local::Local;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use self::source::{CREATE, HOOKS, Source, is_shown, issue, tasks};
use crate::{
    billing::{free, root, set_default},
    support::{
        Browser, MISSING, ada_in_acme, assert_refused, create_project, eventually, input, list,
        share, start, start_with, text,
    },
};

const ROTATE: &str = "
    mutation($input: RotateInboundSourceSecretInput!) {
        inboundSource {
            rotateSecret(input: $input) { inboundSource { formerSecretExpiresAt } secret }
        }
    }";
const DELETE: &str = "
    mutation($id: ID!) { inboundSource { delete(id: $id) { success } } }";
const UPDATE: &str = "
    mutation($input: UpdateInboundSourceInput!) {
        inboundSource { update(input: $input) { name kind project } }
    }";
const REPLAY: &str = "
    mutation($source: ID!, $id: ID!) {
        inboundHook { replay(source: $source, id: $id) { success } }
    }";
const DELETE_TASK: &str = "
    mutation($input: DeleteTaskInput!) { task { delete(input: $input) { success } } }";

/// Runs a test with a tenant of its own, in the one backend of this file.
fn in_tenant(slug: &str, test: impl AsyncFnOnce(&Local, Browser)) {
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

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_refused_like_those_of_an_unknown_source_while_the_plan_does_not_allow_them() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let (source, project) = Source::github(&ada).await;
    let hook = issue("opened", "Oil it", "open", 1);
    set_default(&root, free("Small", &[], &[])).await;
    let unknown = source.at(format!("{}0", source.address));
    let expected = async |delivery: &str| {
        let answer = unknown.send(delivery, "issues", &hook).await;
        (answer.status(), answer.text().await.unwrap())
    };
    eventually("the source to be refused", || async {
        let answer = source.send("1", "issues", &hook).await;
        let answer = (answer.status(), answer.text().await.unwrap());
        answer.0 == StatusCode::UNAUTHORIZED && answer == expected("1").await
    })
    .await;
    set_default(&root, free("Large", &["inbound_hooks"], &[])).await;
    eventually("the source to be accepted", || async {
        let answer = source.send("2", "issues", &hook).await;
        answer.status() == StatusCode::OK
    })
    .await;
    is_shown(&ada, &project, "Oil it", false).await;
}

#[test]
fn an_issue_of_github_becomes_a_task_that_follows_it() {
    in_tenant("follow", async |_, ada| {
        let (source, project) = Source::github(&ada).await;
        let hooks = [
            ("1", issue("opened", "Oil it", "open", 1), "Oil it", false),
            (
                "2",
                issue("edited", "Oil the engine", "open", 2),
                "Oil the engine",
                false,
            ),
            (
                "3",
                issue("closed", "Oil the engine", "closed", 3),
                "Oil the engine",
                true,
            ),
            (
                "4",
                issue("reopened", "Oil the engine", "open", 4),
                "Oil the engine",
                false,
            ),
        ];
        for (delivery, body, title, done) in hooks {
            source.accepts(delivery, "issues", &body).await;
            is_shown(&ada, &project, title, done).await;
            assert_eq!(source.handled(delivery).await["status"], "HANDLED");
        }
        // It arrives late, and is overtaken.
        let late = issue("closed", "Late", "closed", 2);
        source.accepts("5", "issues", &late).await;
        assert_eq!(source.handled("5").await["status"], "HANDLED");
        is_shown(&ada, &project, "Oil the engine", false).await;
    });
}

#[test]
fn other_hooks_are_recorded_with_the_reason_and_hold_up_nobody() {
    in_tenant("others", async |_, ada| {
        let (source, project) = Source::github(&ada).await;
        source
            .accepts("ping", "ping", r#"{"zen":"Keep it simple"}"#)
            .await;
        source.accepts("form", "issues", "payload=%7B%7D").await;
        let opened = issue("opened", "Oil it", "open", 1);
        source.accepts("issue", "issues", &opened).await;
        is_shown(&ada, &project, "Oil it", false).await;
        let ping = source.handled("ping").await;
        assert_eq!(ping["status"], "IGNORED");
        assert_eq!(ping["reason"], "Nothing follows from the event `ping`.");
        let form = source.handled("form").await;
        assert_eq!(form["status"], "FAILED");
        assert!(
            text(&form, "/reason").contains("application/json"),
            "{form}"
        );
    });
}

#[test]
fn hooks_are_listed_by_pages_the_latest_first() {
    in_tenant("pages", async |_, ada| {
        let (source, _) = Source::github(&ada).await;
        for delivery in ["1", "2", "3"] {
            source.accepts(delivery, "ping", "{}").await;
        }
        let page = async |after: Value| {
            let page = json!({ "source": source.id, "first": 2, "after": after });
            let page = ada.data(HOOKS, page).await["inboundHooks"].clone();
            let nodes = list(&page["nodes"]).iter();
            let keys = nodes.map(|hook| text(hook, "/key"));
            (keys.collect::<Vec<_>>(), page["pageInfo"].clone())
        };
        let (keys, info) = page(Value::Null).await;
        assert_eq!(
            (keys, &info["hasNextPage"]),
            (vec!["3".into(), "2".into()], &json!(true))
        );
        let (keys, info) = page(info["endCursor"].clone()).await;
        assert_eq!(
            (keys, &info["hasNextPage"]),
            (vec!["1".into()], &json!(false))
        );
    });
}

#[test]
fn a_forged_hook_and_an_unknown_source_are_refused_alike() {
    in_tenant("forged", async |_, ada| {
        let (source, project) = Source::github(&ada).await;
        let other = ada.create_tenant("forged-rival").await;
        let tenant = text(
            &ada.data("{ me { tenant { id } } }", ()).await,
            "/me/tenant/id",
        );
        let body = issue("opened", "Oil it", "open", 1);
        let elsewhere = |tenant: &str, source: &str| ada.url(&format!("/in/{tenant}.{source}"));
        let rival = text(&other, "/id");
        let mut answers = Vec::new();
        for (what, source, secret) in [
            (
                "forged",
                source.at(source.address.clone()),
                "another-secret",
            ),
            (
                "unknown source",
                source.at(elsewhere(&tenant, MISSING)),
                &*source.secret,
            ),
            (
                "unknown tenant",
                source.at(elsewhere(MISSING, &source.id)),
                &source.secret,
            ),
            (
                "wrong tenant",
                source.at(elsewhere(&rival, &source.id)),
                &source.secret,
            ),
            ("malformed", source.at(ada.url("/in/x")), &source.secret),
        ] {
            let answer = source.send_signed_with(secret, "1", "issues", &body).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what}");
            answers.push(answer.text().await.unwrap());
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        assert!(source.hooks().await.is_empty());
        source.accepts("1", "issues", &body).await;
        is_shown(&ada, &project, "Oil it", false).await;
        ada.data(DELETE, json!({ "id": source.id })).await;
        let answer = source.send("2", "issues", &body).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.text().await.unwrap(), answers[0]);
    });
}

#[test]
fn a_stale_hook_is_refused_like_a_forged_one() {
    in_tenant("stale", async |_, ada| {
        let settings = json!({ "name": "Standard", "kind": "STANDARD_WEBHOOKS" });
        let source = Source::create(&ada, settings).await;
        let key = SigningKey::parse(&source.secret).unwrap();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let send = async |id: &str, age: u64| {
            let timestamp = i64::try_from(now - age).unwrap();
            let body = b"{}";
            let signature = key.sign(&Message {
                id,
                timestamp,
                body,
            });
            let request = ada.http().post(&source.address).body("{}");
            let request = request.header("webhook-id", id);
            let request = request.header("webhook-timestamp", timestamp);
            let answer = request.header("webhook-signature", signature).send().await;
            answer.unwrap()
        };
        assert_eq!(send("fresh", 200).await.status(), StatusCode::OK);
        let stale = send("stale", 400).await;
        assert_eq!(stale.status(), StatusCode::UNAUTHORIZED);
        let forged = source.send("1", "issues", "{}").await;
        assert_eq!(stale.text().await.unwrap(), forged.text().await.unwrap());
        let fresh = source.handled("fresh").await;
        assert_eq!(fresh["status"], "IGNORED");
        assert_eq!(source.hooks().await.len(), 1);
    });
}

#[test]
fn a_hook_that_comes_again_is_stored_and_done_once() {
    in_tenant("again", async |_, ada| {
        let (source, project) = Source::github(&ada).await;
        let body = issue("opened", "Oil it", "open", 1);
        for _ in 0..3 {
            source.accepts("1", "issues", &body).await;
        }
        is_shown(&ada, &project, "Oil it", false).await;
        source.handled("1").await;
        assert_eq!(source.hooks().await.len(), 1);
        // GitHub's signature does not cover the id, so a thief may send the body with another one.
        source.accepts("stolen", "issues", &body).await;
        source.handled("stolen").await;
        let tasks = tasks(&ada, &project).await;
        assert_eq!((tasks.len(), &tasks[0]["revision"]), (1, &json!(1)));
    });
}

#[test]
fn a_hook_of_up_to_256_kib_is_accepted() {
    in_tenant("large", async |_, ada| {
        let (source, _) = Source::github(&ada).await;
        let largest = " ".repeat(256 * 1024);
        source.accepts("1", "ping", &largest).await;
        let answer = source.send("2", "ping", &(largest + " ")).await;
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        assert_refused("too large", answer, status, "BAD_USER_INPUT").await;
        assert_eq!(source.hooks().await.len(), 1);
    });
}

#[test]
fn a_replayed_hook_changes_nothing_twice_and_restores_nothing() {
    in_tenant("replay", async |_, ada| {
        let (source, project) = Source::github(&ada).await;
        let body = issue("opened", "Oil it", "open", 1);
        source.accepts("1", "issues", &body).await;
        is_shown(&ada, &project, "Oil it", false).await;
        let replay = async || {
            let before = source.handled("1").await;
            let hook = json!({ "source": source.id, "id": before["id"] });
            ada.data(REPLAY, hook).await;
            eventually("the replay", || async {
                source.handled("1").await["handledAt"] != before["handledAt"]
            })
            .await;
            assert_eq!(source.handled("1").await["status"], "HANDLED");
        };
        replay().await;
        let shown = tasks(&ada, &project).await;
        assert_eq!((shown.len(), &shown[0]["revision"]), (1, &json!(1)));
        let task = input(json!({ "id": shown[0]["id"] }));
        ada.data(DELETE_TASK, task).await;
        replay().await;
        assert!(tasks(&ada, &project).await.is_empty());
        let missing = json!({ "source": source.id, "id": MISSING });
        assert_eq!(ada.code(REPLAY, missing).await, "NOT_FOUND");
    });
}

#[test]
fn a_former_secret_is_accepted_within_the_overlap_only() {
    in_tenant("rotate", async |_, ada| {
        let (source, _) = Source::github(&ada).await;
        let rotate = async |secret: &str, hours: u32| {
            let rotation = json!({ "id": source.id, "secret": secret, "overlapHours": hours });
            ada.data(ROTATE, input(rotation)).await;
        };
        let status = async |secret: &str| {
            let answer = source.send_signed_with(secret, secret, "ping", "{}").await;
            answer.status()
        };
        let (second, third) = ("second-secret-of-github", "third-secret-of-github");
        rotate(second, 1).await;
        assert_eq!(status(&source.secret).await, StatusCode::OK);
        assert_eq!(status(second).await, StatusCode::OK);
        rotate(third, 0).await;
        assert_eq!(status(second).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(third).await, StatusCode::OK);
    });
}

#[test]
fn the_settings_of_a_source_are_those_of_its_kind() {
    in_tenant("kinds", async |_, ada| {
        let create = async |settings: Value| ada.error(CREATE, input(settings)).await;
        let github = json!({ "name": "Code", "kind": "GITHUB" });
        assert_eq!(create(github).await["field"], "project");
        let missing = json!({ "name": "Code", "kind": "GITHUB", "project": MISSING });
        assert_eq!(create(missing).await["code"], "NOT_FOUND");
        let weak = json!({ "name": "Pay", "kind": "STRIPE", "secret": "short" });
        assert_eq!(create(weak).await["field"], "secret");
        let (source, _) = Source::github(&ada).await;
        let project = create_project(&ada, "Wheel").await;
        let change = input(json!({ "id": source.id, "name": "Issues", "project": project }));
        let updated = ada.data(UPDATE, change).await;
        let expected = json!({ "name": "Issues", "kind": "GITHUB", "project": project });
        assert_eq!(updated["inboundSource"]["update"], expected);
        let foreign = input(json!({ "id": source.id, "idHeader": "x-id" }));
        assert_eq!(ada.error(UPDATE, foreign).await["field"], "idHeader");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_a_provider_is_told_to_send_again_and_is_stored_once() {
    let mut backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let (source, project) = Source::github(&ada).await;
    let body = issue("opened", "Oil it", "open", 1);
    backend.servers.nats[0].kill().await.unwrap();
    for _ in 0..2 {
        let answer = source.send("1", "issues", &body).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    backend.servers.nats[0].restart().await.unwrap();
    eventually("the stream", || async {
        source.send("1", "issues", &body).await.status() == StatusCode::OK
    })
    .await;
    source.accepts("1", "issues", &body).await;
    is_shown(&ada, &project, "Oil it", false).await;
    assert_eq!(source.hooks().await.len(), 1);
    assert_eq!(tasks(&ada, &project).await[0]["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_has_a_limit_that_strangers_cannot_use_up_and_a_client_another() {
    let limits = [
        "--inbound-source-limit",
        "2/day",
        "--inbound-client-limit",
        "6/day",
    ];
    let backend = start_with(&limits).await;
    let ada = ada_in_acme(&backend).await;
    let (source, _) = Source::github(&ada).await;
    for _ in 0..3 {
        let forged = source.send_signed_with("forged", "1", "ping", "{}").await;
        assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);
    }
    source.accepts("1", "ping", "{}").await;
    source.accepts("2", "ping", "{}").await;
    let status = StatusCode::TOO_MANY_REQUESTS;
    let third = source.send("3", "ping", "{}").await;
    assert!(third.headers().contains_key("retry-after"));
    assert_refused("source", third, status, "RATE_LIMITED").await;
    let forged = source.send_signed_with("forged", "4", "ping", "{}").await;
    assert_refused("client", forged, status, "RATE_LIMITED").await;
}
