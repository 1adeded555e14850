//! Webhooks, with real receivers: no event is lost, none overtakes another of its object, and a
//! broken receiver harms nobody else.

mod backlog;
mod busy;
mod cursors;
mod customer;
mod failures;
mod isolation;
mod kills;
mod limits;
mod lost;
mod newer;
mod outages;
mod places;
mod receiver;
mod removal;
mod replays;
mod resealing;
mod secrets;
mod slow;
mod stalls;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use events_schema::{
    ProjectId, WebhookId,
    published::EventFilter,
    webhook::{Changes, Command, DisabledReason, Ordering, Payload, Start},
    webhook_signature::{Message as Signed, VerifyingKey, verify},
};
use futures_util::StreamExt as _;
use tokio::process::Child;

use self::{
    customer::{Customer, settings, text},
    receiver::{Message, Receiver},
};
use crate::support::{World, eventually};

/// The loops that decide and send.
const LOOPS: &[&str] = &[
    "--loops",
    "commands,webhooks",
    "--webhook-allow",
    "127.0.0.0/8",
];
const COMMANDS: &[&str] = &["--loops", "commands"];
const WEBHOOKS: &[&str] = &["--loops", "webhooks", "--webhook-allow", "127.0.0.0/8"];

/// Returns when the receiver has accepted the events of these projects up to these revisions.
async fn arrived(receiver: &Receiver, wanted: &BTreeMap<String, u64>) {
    eventually("the events", || async {
        let mut all = BTreeSet::new();
        for message in receiver.accepted() {
            all.insert((message.object().to_owned(), message.revision()));
        }
        wanted.iter().all(|(object, last)| {
            (1..=*last).all(|revision| all.contains(&(object.clone(), revision)))
        })
    })
    .await;
}

fn up_to(projects: &[ProjectId], revision: u64) -> BTreeMap<String, u64> {
    projects.iter().map(|id| (text(*id), revision)).collect()
}

/// Asserts that the first arrivals of each object's events are in order, and that repetitions have
/// the same id and bytes.
fn assert_in_order(messages: &[Message]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen: BTreeMap<&str, &Message> = BTreeMap::new();
    for message in messages {
        if let Some(first) = seen.insert(&message.id, message) {
            assert_eq!(first.bytes, message.bytes, "a repetition differs");
            continue;
        }
        let last = last.entry(message.object()).or_default();
        assert_eq!(message.revision(), *last + 1, "an event was overtaken");
        *last = message.revision();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_events_of_its_tenant_signed_and_in_order() {
    let world = World::start().await;
    let _workers: [Child; 2] = world.workers(LOOPS).await;
    let (acme, other) = (Customer::new(&world).await, Customer::new(&world).await);
    let receiver = Receiver::start().await;
    let (_, key) = acme.webhook(settings(&receiver.url)).await;
    other.project().await;
    let project = acme.project().await;
    for _ in 0..20 {
        acme.rename(project).await;
    }
    arrived(&receiver, &up_to(&[project], 21)).await;
    let messages = receiver.messages();
    assert_in_order(&messages);
    assert_eq!(messages.len(), 21);
    let key = VerifyingKey::parse(&key.secret()).unwrap();
    for message in &messages {
        let signed = Signed {
            id: &message.id,
            timestamp: message.timestamp.parse().unwrap(),
            body: &message.bytes,
        };
        let now = signed.timestamp;
        verify(&message.signature, std::slice::from_ref(&key), &signed, now).unwrap();
        assert_eq!(message.body["id"], message.id);
        assert!(message.body["data"]["object"].is_null());
    }
    assert_eq!(messages[0].event_type(), "project.created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_message_shows_the_object_as_it_was_then() {
    let world = World::start().await;
    let _workers: [Child; 1] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| StatusCode::INTERNAL_SERVER_ERROR);
    let full = webhook_settings(&receiver, |settings| settings.payload = Payload::Full);
    acme.webhook(full).await;
    let project = acme.project().await;
    eventually("a failure", || async { !receiver.messages().is_empty() }).await;
    for _ in 0..3 {
        acme.rename(project).await;
    }
    receiver.answers(|_| StatusCode::OK);
    arrived(&receiver, &up_to(&[project], 4)).await;
    let messages = receiver.messages();
    assert_in_order(&messages);
    assert_eq!(messages[0].body["data"]["object"]["name"], "Loom");
}

fn webhook_settings(
    receiver: &Receiver,
    change: impl FnOnce(&mut events_schema::webhook::Settings),
) -> events_schema::webhook::Settings {
    let mut settings = settings(&receiver.url);
    change(&mut settings);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_refused_for_a_while_arrive_in_order() {
    let world = World::start().await;
    let _workers: [Child; 2] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let (by_object, in_order) = (Receiver::start().await, Receiver::start().await);
    let ordered = |settings: &mut events_schema::webhook::Settings| {
        settings.ordering = Ordering::Endpoint;
    };
    acme.webhook(settings(&by_object.url)).await;
    acme.webhook(webhook_settings(&in_order, ordered)).await;
    for receiver in [&by_object, &in_order] {
        receiver.answers(|_| StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut projects = Vec::new();
    for _ in 0..5 {
        projects.push(acme.project().await);
    }
    for project in &projects {
        acme.rename(*project).await;
    }
    for receiver in [&by_object, &in_order] {
        eventually("a failure", || async { !receiver.messages().is_empty() }).await;
    }
    for receiver in [&by_object, &in_order] {
        receiver.answers(|_| StatusCode::OK);
    }
    for receiver in [&by_object, &in_order] {
        arrived(receiver, &up_to(&projects, 2)).await;
        assert_in_order(&receiver.accepted());
    }
    let accepted = in_order.accepted();
    let order = accepted
        .iter()
        .map(|message| (message.revision(), message.object()));
    let created = projects.iter().map(|id| (1, text(*id)));
    let renamed = projects.iter().map(|id| (2, text(*id)));
    let expected: Vec<(u64, String)> = created.chain(renamed).collect();
    let order: Vec<(u64, String)> = order.map(|(at, object)| (at, object.to_owned())).collect();
    assert_eq!(order, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_workers_never_send_two_events_of_an_object_at_once() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let _sending = [(); 20].map(|()| world.spawn_worker(WEBHOOKS));
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.takes(std::time::Duration::from_millis(5));
    acme.webhook(settings(&receiver.url)).await;
    let mut projects = Vec::new();
    for _ in 0..4 {
        projects.push(acme.project().await);
    }
    let renames = projects.iter().map(|project| async {
        for _ in 0..50 {
            acme.rename(*project).await;
        }
    });
    futures_util::future::join_all(renames).await;
    arrived(&receiver, &up_to(&projects, 51)).await;
    let (of_object, _) = receiver.most_at_once();
    assert_eq!(of_object, 1);
    assert_in_order(&receiver.messages());
    assert_eq!(receiver.messages().len(), 4 * 51, "an event was repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_woken_also_if_the_server_forgets_to() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| StatusCode::INTERNAL_SERVER_ERROR);
    acme.webhook(settings(&receiver.url)).await;
    let project = acme.project().await;
    let sending = world.spawn_worker(WEBHOOKS);
    let wake_ups = world.operator.get_stream("WEBHOOKS").await.unwrap();
    eventually("a scheduled wake-up", || async {
        let subjects = wake_ups.info_with_subjects("whs.*.*").await.unwrap();
        subjects.map(|found| found.is_ok()).next().await == Some(true)
    })
    .await;
    drop(sending);
    wake_ups.purge().await.unwrap();
    receiver.answers(|_| StatusCode::OK);
    let _sending = world.spawn_worker(WEBHOOKS);
    arrived(&receiver, &up_to(&[project], 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_webhook_goes_on_where_it_was_or_now() {
    let world = World::start().await;
    let _workers: [Child; 1] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let disable = || acme.change(Command::Disable { webhook });
    let enable = |from| acme.change(Command::Enable { webhook, from });
    disable().await;
    let missed = acme.project().await;
    enable(Start::Resume).await;
    arrived(&receiver, &up_to(&[missed], 1)).await;
    disable().await;
    let skipped = acme.project().await;
    enable(Start::Now).await;
    let sent = acme.project().await;
    arrived(&receiver, &up_to(&[sent], 1)).await;
    let objects = receiver.messages();
    assert!(
        !objects
            .iter()
            .any(|message| message.object() == text(skipped))
    );
}

/// A change of what a webhook wants.
fn wanting(webhook: WebhookId, filter: &str) -> Command {
    let event_types = Some([EventFilter::parse(filter).unwrap()].into());
    let changes = Changes {
        event_types,
        ..Changes::default()
    };
    Command::Update { webhook, changes }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_behind_a_change_of_the_filter_is_chosen_by_the_new_one() {
    let world = World::start().await;
    let _workers: [Child; 1] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let renamed = acme.project().await;
    arrived(&receiver, &up_to(&[renamed], 1)).await;
    for round in 1..=10 {
        acme.change(wanting(webhook, "project.updated")).await;
        acme.rename(renamed).await;
        // The session goes on for some milliseconds after an event.
        arrived(&receiver, &up_to(&[renamed], 1 + round)).await;
        acme.change(wanting(webhook, "project.*")).await;
        let created = acme.project().await;
        arrived(&receiver, &up_to(&[created], 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_is_disabled() {
    let world = World::start().await;
    let _workers: [Child; 1] = world.workers(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| StatusCode::GONE);
    acme.webhook(settings(&receiver.url)).await;
    acme.project().await;
    let area = events_schema::AreaName::Webhook;
    eventually("the end of the webhook", || async {
        let commits = world.commits::<serde_json::Value>(area).await;
        let is_gone = |commit: &serde_json::Value| {
            let reason = serde_json::to_value(DisabledReason::Gone).unwrap();
            commit["events"][0]["reason"] == reason
        };
        commits.iter().any(|(_, commit)| is_gone(commit))
    })
    .await;
    acme.project().await;
    assert_eq!(receiver.messages().len(), 1);
}
