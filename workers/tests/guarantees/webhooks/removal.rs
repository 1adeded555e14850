//! Webhooks that are deleted, and secrets that are rotated.

use std::time::{Duration, Instant};

use events_schema::{
    Slug, WebhookId, tenant,
    webhook::Command,
    webhook_signature::{Message as Signed, SigningKey, VerifyingKey, verify},
};
use futures_util::future::join_all;

use super::{
    LOOPS,
    cursors::{cursor, rests},
    customer::{Customer, settings},
    receiver::{Message, Receiver},
};
use crate::support::{World, eventually, id};

/// How long after a deletion events may still come.
const AT_MOST: Duration = Duration::from_secs(1);

/// Deletes something while many events are sent. Asserts that they end, and that no record of the
/// webhook is left.
async fn assert_ends(
    world: &World,
    customer: &Customer,
    (webhook, receiver): (WebhookId, &Receiver),
    delete: impl Future,
) {
    let projects = join_all((0..8).map(|_| customer.project())).await;
    let mut deleted = None;
    let renames = async {
        for project in projects.iter().cycle() {
            customer.rename(*project).await;
        }
    };
    let deletion = async {
        eventually("events", || async { receiver.count() > 20 }).await;
        delete.await;
        deleted = Some(Instant::now());
        tokio::time::sleep(3 * AT_MOST).await;
    };
    tokio::select! {
        () = renames => {}
        () = deletion => {}
    }
    let deleted = deleted.unwrap();
    let messages = receiver.messages();
    let late = messages
        .iter()
        .filter(|message| message.at > deleted + AT_MOST);
    assert_eq!(late.count(), 0);
    eventually("the end of the record", || async {
        cursor(world, customer.tenant, webhook).await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_webhook_gets_nothing_a_second_later() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    for delay_ms in [5, 1_000] {
        let receiver = Receiver::start().await;
        let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
        receiver.takes(Duration::from_millis(delay_ms));
        let delete = acme.change(Command::Delete { webhook });
        assert_ends(&world, &acme, (webhook, &receiver), delete).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_of_a_deleted_tenant_get_nothing_a_second_later() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_millis(5));
    let (webhook, _) = acme.webhook(settings(&receiver.url)).await;
    let slug = Slug::parse(&format!("acme-{}", acme.tenant)).unwrap();
    let delete = async {
        let delete = tenant::Command::Delete { slug };
        acme.send::<tenant::Area>(acme.tenant, delete).await;
    };
    assert_ends(&world, &acme, (webhook, &receiver), delete).await;
}

fn is_signed(message: &Message, key: &SigningKey) -> bool {
    let signed = Signed {
        id: &message.id,
        timestamp: message.timestamp.parse().unwrap(),
        body: &message.bytes,
    };
    let key = VerifyingKey::parse(&key.secret()).unwrap();
    verify(&message.signature, &[key], &signed, signed.timestamp).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_secret_signs_during_the_overlap_and_then_no_more() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let (webhook, first) = acme.webhook(settings(&receiver.url)).await;
    let rotate = async |overlap_hours| {
        let mut random = [9; 32];
        random[..16].copy_from_slice(id().bytes());
        let key = SigningKey::hmac(random);
        let rotated = Command::RotateSecret {
            webhook,
            key: acme.sealed(webhook, &key),
            overlap_hours,
        };
        acme.change(rotated).await;
        rests(&world, acme.tenant, webhook, |_| true).await;
        key
    };
    // The first message that a key has signed.
    let signed_by = async |key: &SigningKey| {
        let first = || {
            receiver
                .messages()
                .into_iter()
                .find(|one| is_signed(one, key))
        };
        eventually("a message with this signature", || async {
            acme.project().await;
            first().is_some()
        })
        .await;
        first().unwrap()
    };
    assert!(is_signed(&signed_by(&first).await, &first));
    let second = rotate(1).await;
    assert!(is_signed(&signed_by(&second).await, &first));
    let third = rotate(0).await;
    let message = signed_by(&third).await;
    assert!(!is_signed(&message, &first) && !is_signed(&message, &second));
}
