//! Where deliveries stand and what was attempted, as an operator reads and changes it.

use std::cell::OnceCell;

use async_nats::jetstream::kv::{Operation, Store};
use events_schema::{
    TenantKey, Time, WebhookId,
    subject::{self, ATTEMPTS, CURSORS_BUCKET, cursor_key, wake_up},
    webhook::{Attempt, Cursor, Verdict},
};

use crate::support::{World, eventually};

pub async fn bucket<S>(world: &World<S>) -> Store {
    let bucket = world.operator.get_key_value(CURSORS_BUCKET).await;
    bucket.unwrap()
}

/// Returns where a delivery stands; `None` if there is no record.
pub async fn cursor<S>(world: &World<S>, tenant: TenantKey, webhook: WebhookId) -> Option<Cursor> {
    let key = cursor_key(tenant, webhook);
    let entry = bucket(world).await.entry(key).await.unwrap()?;
    let is_present = entry.operation == Operation::Put;
    is_present.then(|| serde_json::from_slice(&entry.value).unwrap())
}

/// Waits until the cursor is so and no worker sends.
pub async fn rests<S>(
    world: &World<S>,
    tenant: TenantKey,
    webhook: WebhookId,
    is_so: impl Fn(&Cursor) -> bool,
) -> Cursor {
    let found = OnceCell::new();
    eventually("the rest of a webhook", || async {
        let cursor = cursor(world, tenant, webhook).await;
        let cursor = cursor.filter(|cursor| cursor.lease.is_none() && is_so(cursor));
        cursor.is_some_and(|cursor| found.set(cursor).is_ok())
    })
    .await;
    found.into_inner().unwrap()
}

/// Changes the cursor of a webhook to which no worker sends, and wakes it.
pub async fn change<S>(
    world: &World<S>,
    tenant: TenantKey,
    webhook: WebhookId,
    change: impl Fn(&mut Cursor),
) {
    let (bucket, key) = (bucket(world).await, cursor_key(tenant, webhook));
    eventually("a change of the cursor", || async {
        let entry = bucket.entry(&key).await.unwrap().unwrap();
        let mut cursor: Cursor = serde_json::from_slice(&entry.value).unwrap();
        change(&mut cursor);
        let value = serde_json::to_vec(&cursor).unwrap();
        let is_free = cursor.lease.is_none();
        is_free
            && bucket
                .update(&key, value.into(), entry.revision)
                .await
                .is_ok()
    })
    .await;
    let woken = world
        .operator
        .publish(wake_up(tenant, webhook), "events".into());
    woken.await.unwrap().await.unwrap();
}

/// Returns the attempts that have failed, the oldest first.
pub async fn failures(world: &World, tenant: TenantKey, webhook: WebhookId) -> Vec<Attempt> {
    attempts(world, tenant, webhook, Verdict::Failed).await
}

/// Returns the attempts with this verdict, the oldest first.
pub async fn attempts(
    world: &World,
    tenant: TenantKey,
    webhook: WebhookId,
    verdict: Verdict,
) -> Vec<Attempt> {
    let mut stream = world.operator.get_stream(ATTEMPTS).await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let subject = subject::attempts(tenant, webhook, verdict);
    let mut found = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        if message.subject.as_str() == subject {
            found.push(serde_json::from_slice(&message.payload).unwrap());
        }
    }
    found
}

/// Returns the time so many hours ago.
pub fn hours_ago(hours: i64) -> Time {
    let now = Time::from(std::time::SystemTime::now());
    Time(now.0 - hours * 60 * 60 * 1000)
}
