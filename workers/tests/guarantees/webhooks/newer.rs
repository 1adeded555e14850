//! Commits of a newer release, which this one cannot read.

use std::{fs, time::Duration};

use events_schema::{AreaName, Id, subject::events_of_tenant_in};
use serde_json::json;

use super::{
    LOOPS, arrived,
    cursors::cursor,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, id};

/// How long the worker is watched, and how much of that it may compute. It tries again every two
/// seconds.
const WATCHED: Duration = Duration::from_secs(6);
const MOST_CPU: Duration = Duration::from_millis(600);
/// Longer than a session sends by settings that have changed.
const LOOKS_AGAIN: Duration = Duration::from_secs(2);

/// Stores a commit with an event that only a newer release knows. Returns its sequence.
async fn publish(
    world: &World,
    customer: &Customer,
    area: AreaName,
    (object, revision): (Id, u64),
) -> u64 {
    let commit = json!({
        "tenant": customer.tenant,
        "area": area,
        "id": object,
        "revision": revision,
        "command": id(),
        "actor": { "kind": "system" },
        "time": 0,
        "events": [{ "type": "teleported" }],
    });
    let filter = events_of_tenant_in(events_schema::TenantId::Tenant(customer.tenant), area);
    let subject = filter.replace('*', &object.to_string());
    let stored = world.operator.publish(subject, commit.to_string().into());
    stored.await.unwrap().await.unwrap().sequence
}

/// Returns the time that a process has computed.
fn computed(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_waits_at_a_commit_of_a_newer_release() {
    let world = World::start().await;
    let [worker] = world.workers(LOOPS).await;
    let (acme, other) = (Customer::new(&world).await, Customer::new(&world).await);
    let (waiting, going) = (Receiver::start().await, Receiver::start().await);
    let (webhook, _) = acme.webhook(settings(&waiting.url)).await;
    other.webhook(settings(&going.url)).await;
    let before = acme.project().await;
    arrived(&waiting, &up_to(&[before], 1)).await;
    let newer = publish(&world, &acme, AreaName::Project, (id(), 1)).await;
    acme.project().await;
    acme.rename(before).await;

    let used = computed(worker.id().unwrap());
    tokio::time::sleep(WATCHED).await;
    let used = computed(worker.id().unwrap()) - used;
    assert!(used < MOST_CPU, "{used:?} in {WATCHED:?}");
    let elsewhere = other.project().await;
    arrived(&going, &up_to(&[elsewhere], 1)).await;
    assert_eq!(waiting.count(), 1, "a commit was skipped");
    let cursor = cursor(&world, acme.tenant, webhook).await.unwrap();
    assert_eq!(cursor.next, newer, "a newer release goes on elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_newer_release_hold_up_no_other_tenant() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let (acme, other) = (Customer::new(&world).await, Customer::new(&world).await);
    let (waiting, going) = (Receiver::start().await, Receiver::start().await);
    acme.webhook(settings(&waiting.url)).await;
    other.webhook(settings(&going.url)).await;
    publish(&world, &acme, AreaName::Webhook, (acme.tenant.0, 2)).await;
    // A session that had begun before goes on until it looks at the settings again.
    tokio::time::sleep(LOOKS_AGAIN).await;
    let sent_before = waiting.count();
    for _ in 0..20 {
        let (_, elsewhere) = tokio::join!(acme.project(), other.project());
        let began = std::time::Instant::now();
        arrived(&going, &up_to(&[elsewhere], 1)).await;
        let time = began.elapsed();
        assert!(
            time < Duration::from_secs(1),
            "the other tenant waited {time:?}"
        );
    }
    assert_eq!(waiting.count(), sent_before);
    assert_eq!(world.dead().await, []);
}
