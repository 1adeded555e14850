//! What becomes of events and webhooks that fail for days. The waits are in the stored cursor,
//! where the test shortens them.

use axum::http::StatusCode;
use events_schema::{
    AreaName, TenantKey, Time, WebhookId,
    webhook::{Cursor, DisabledReason},
};
use serde_json::Value;

use super::{
    LOOPS, arrived,
    cursors::{change, failures, hours_ago, rests},
    customer::{Customer, settings, text},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually};

/// A waiting event has had seven attempts, and the next one is due.
fn last_attempt_is_due(cursor: &mut Cursor) {
    for parked in cursor.parked.values_mut() {
        parked.attempts = 7;
        parked.due = hours_ago(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_always_fails_is_given_up_alone_after_eight_attempts() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let [bad, good] = [acme.project().await, acme.project().await];
    arrived(&receiver, &up_to(&[bad, good], 1)).await;
    let object = text(bad);
    receiver.answers(move |message| {
        if message.object() == object && message.revision() == 2 {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::NO_CONTENT
        }
    });
    acme.rename(bad).await;
    eventually("a failure", || async { receiver.count() == 3 }).await;
    acme.rename(bad).await;
    acme.rename(good).await;
    arrived(&receiver, &up_to(&[good], 2)).await;
    let waits = |cursor: &Cursor| cursor.parked.len() == 1;
    rests(&world, acme.tenant, webhook, waits).await;
    let of_bad = |revision| {
        let messages = receiver.messages().into_iter();
        let of_bad = messages.filter(|one| one.object() == text(bad) && one.revision() == revision);
        of_bad.count()
    };
    assert_eq!(of_bad(3), 0, "an event was overtaken");

    change(&world, acme.tenant, webhook, last_attempt_is_due).await;
    eventually("the next event", || async { of_bad(3) == 1 }).await;
    rests(&world, acme.tenant, webhook, |cursor| {
        cursor.parked.is_empty()
    })
    .await;
    assert_eq!(of_bad(2), 2);
    let failures = failures(&world, acme.tenant, webhook).await;
    let attempts = failures
        .iter()
        .map(|attempt| (attempt.attempt, attempt.next_attempt_at.is_some()));
    assert_eq!(Vec::from_iter(attempts), [(1, true), (8, false)]);
}

/// Makes a probe due of a webhook that has been failing for so many hours.
async fn probe(world: &World, (tenant, webhook): (TenantKey, WebhookId), hours: i64) {
    change(world, tenant, webhook, |cursor| {
        cursor.probe_at = Some(hours_ago(0));
        if let Some(failing) = &mut cursor.failing {
            failing.since = hours_ago(hours);
        }
    })
    .await;
}

fn is_probed_in_an_hour(cursor: &Cursor) -> bool {
    let now = hours_ago(0);
    let minutes = |probe: Time| (probe.0 - now.0) / 60_000;
    cursor
        .probe_at
        .is_some_and(|probe| (55..=60).contains(&minutes(probe)))
}

/// Returns how many commits of webhooks have such an event, and how many mails were requested.
async fn told(world: &World, is_such: impl Fn(&Value) -> bool) -> (usize, usize) {
    let commits = world.commits::<Value>(AreaName::Webhook).await;
    let events = commits.iter().map(|(_, commit)| &commit["events"][0]);
    let mails = world.commits::<Value>(AreaName::Email).await;
    let requests = mails.iter().map(|(_, commit)| &commit["events"][0]);
    let requests = requests.filter(|event| event["to"] == "ada@example.com");
    (
        events.filter(|event| is_such(event)).count(),
        requests.count(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_never_works_is_probed_hourly_then_reported_then_disabled() {
    let world = World::start().await;
    let loops = "commands,reactions,webhooks";
    let allow = "--webhook-allow=127.0.0.0/8";
    let _worker = world.workers::<1>(&["--loops", loops, allow]).await;
    let acme = Customer::new(&world).await;
    let (broken, sound) = (Receiver::start().await, Receiver::start().await);
    broken.answers(|_| StatusCode::INTERNAL_SERVER_ERROR);
    let (webhook, _) = acme.webhook(settings(&broken.url)).await;
    acme.webhook(settings(&sound.url)).await;
    eventually("the owner", || async {
        !world.commits::<Value>(AreaName::Member).await.is_empty()
    })
    .await;
    let of = (acme.tenant, webhook);
    acme.project().await;
    rests(&world, of.0, of.1, |cursor| !cursor.parked.is_empty()).await;
    change(&world, of.0, of.1, last_attempt_is_due).await;
    rests(&world, of.0, of.1, is_probed_in_an_hour).await;
    let later = acme.project().await;
    arrived(&sound, &up_to(&[later], 1)).await;

    probe(&world, of, 23).await;
    rests(&world, of.0, of.1, is_probed_in_an_hour).await;
    assert_eq!(broken.count(), 3, "one request for each probe");
    let is_warning = |event: &Value| event["type"] == "failure_warned";
    assert_eq!(told(&world, is_warning).await, (0, 0));

    probe(&world, of, 25).await;
    rests(&world, of.0, of.1, is_probed_in_an_hour).await;
    probe(&world, of, 30).await;
    rests(&world, of.0, of.1, is_probed_in_an_hour).await;
    let warned_once = || async { told(&world, is_warning).await == (1, 1) };
    eventually("a warning and its mail", warned_once).await;

    probe(&world, of, 121).await;
    let is_end = |event: &Value| {
        let reason = serde_json::to_value(DisabledReason::Failing).unwrap();
        event["type"] == "disabled" && event["reason"] == reason
    };
    let ended = || async { told(&world, is_end).await == (1, 2) };
    eventually("the end and its mail", ended).await;
    let last = acme.project().await;
    arrived(&sound, &up_to(&[last], 1)).await;
    rests(&world, of.0, of.1, |_| true).await;
    assert_eq!(broken.count(), 6);
}
