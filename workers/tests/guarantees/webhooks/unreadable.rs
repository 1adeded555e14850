//! What the log or the history of attempts cannot show holds up nothing else.

use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use events_schema::{
    ProjectId, Time,
    subject::ATTEMPTS,
    webhook::{Command, Only, Payload},
};
use serde_json::json;

use super::{
    LOOPS, arrived,
    customer::{Customer, settings, text},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually, id};

/// Longer than a session waits after a failure, several times.
const SEVERAL_SESSIONS: Duration = Duration::from_secs(7);

/// Stores a message among the commits of a project.
async fn publish(log: &jetstream::Context, acme: &Customer, project: ProjectId, content: String) {
    let subject = format!("evt.{}.project.{}", acme.tenant, text(project));
    let stored = log.publish(subject, content.into()).await;
    stored.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_history_is_malformed_is_sent_without_it_and_harms_no_other() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_secs(1));
    let broken = acme.project().await;
    publish(&world.operator, &acme, broken, "malformed".to_owned()).await;
    let mut full = settings(&receiver.url);
    full.payload = Payload::Full;
    acme.webhook(full).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(acme.project().await);
    }
    let renamed = json!({
        "tenant": acme.tenant,
        "area": "project",
        "id": broken,
        "revision": 3,
        "command": id(),
        "actor": { "kind": "system" },
        "time": 0,
        "events": [{ "type": "updated", "name": "Loom", "description": "", "status": "active" }],
    });
    publish(&world.operator, &acme, broken, renamed.to_string()).await;
    arrived(&receiver, &up_to(&others, 1)).await;
    let of_broken = || {
        let mut messages = receiver.messages();
        messages.retain(|message| message.object() == text(broken));
        messages
    };
    eventually("the event", || async { !of_broken().is_empty() }).await;
    // Whatever is sent again comes within this time.
    tokio::time::sleep(SEVERAL_SESSIONS).await;
    let data = &of_broken()[0].body["data"];
    assert_eq!(data["truncated"], true, "{data}");
    assert_eq!(receiver.count(), 5, "an event was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_cannot_be_read_holds_up_nothing_else() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    world.operator.delete_stream(ATTEMPTS).await.unwrap();
    let now = Time::from(SystemTime::now());
    acme.change(Command::Replay {
        webhook,
        since: Time(now.0 - 60_000),
        until: now,
        only: Only::Failed,
    })
    .await;
    acme.change(Command::Test {
        webhook,
        event_type: "project.deleted".to_owned(),
    })
    .await;
    let project = acme.project().await;
    let wanted = up_to(&[project], 1);
    let sent = arrived(&receiver, &wanted);
    let sent = tokio::time::timeout(Duration::from_secs(5), sent).await;
    assert!(sent.is_ok(), "the event has waited for the replay");
    // Whatever is sent again comes within this time.
    tokio::time::sleep(SEVERAL_SESSIONS).await;
    let mut messages = receiver.messages();
    messages.retain(|message| message.event_type() == "project.deleted");
    assert_eq!(messages.len(), 1, "the test was sent again");
}
