//! Servers that accept and never answer harm nobody else.

use std::time::{Duration, Instant};

use events_schema::{ProjectId, published::EventFilter, webhook::Settings};
use futures_util::future::join_all;

use super::{
    LOOPS, arrived,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually};

/// How long a request waits that gets no answer. Nobody else may wait as long.
const HANGS: Duration = Duration::from_secs(15);
/// Webhooks of one tenant to which a process sends at once.
const AT_ONCE_OF_TENANT: usize = 32;
/// How long a webhook waits at most while others of its tenant have all slots: each of them gives
/// its slot up after ten seconds, between two requests.
const TURN_COMES: Duration = Duration::from_secs(25);
/// How long a slow server takes for a request, and how many events wait for it: together far longer
/// than a turn.
const SLOW: Duration = Duration::from_secs(1);
const BACKLOG: usize = 80;

/// Creates webhooks, of which the first `hanging` never get an answer.
async fn webhooks(customer: &Customer, all: usize, hanging: usize) -> Vec<Receiver> {
    let receivers = join_all((0..all).map(|_| Receiver::start())).await;
    for receiver in &receivers[..hanging] {
        receiver.takes(Duration::from_secs(3600));
    }
    for receiver in &receivers {
        customer.webhook(settings(&receiver.url)).await;
    }
    receivers
}

/// Creates projects and waits until the working receivers have got them.
async fn prompt(customer: &Customer, working: &[Receiver]) -> Vec<ProjectId> {
    let projects = join_all((0..10).map(|_| customer.project())).await;
    let began = Instant::now();
    for receiver in working {
        arrived(receiver, &up_to(&projects, 1)).await;
    }
    let time = began.elapsed();
    assert!(time < HANGS / 2, "the events took {time:?}");
    projects
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_of_a_tenant_do_not_wait_for_those_that_hang() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receivers = webhooks(&acme, 40, 4).await;
    let (hanging, working) = receivers.split_at(4);
    prompt(&acme, working).await;
    eventually("requests that hang", || async {
        hanging.iter().all(|receiver| receiver.count() > 0)
    })
    .await;
    prompt(&acme, working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_webhooks_all_hang_holds_up_no_other() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let (acme, other) = (Customer::new(&world).await, Customer::new(&world).await);
    let hanging = webhooks(&acme, 50, 50).await;
    let working = webhooks(&other, 5, 0).await;
    acme.project().await;
    eventually("requests that hang", || async {
        let hang = hanging.iter().filter(|receiver| receiver.count() > 0);
        hang.count() >= AT_ONCE_OF_TENANT
    })
    .await;
    prompt(&other, &working).await;
}

/// Settings of a webhook that wants events of this type, one at a time.
fn wanting(receiver: &Receiver, event_type: &str) -> Settings {
    Settings {
        event_types: [EventFilter::parse(event_type).unwrap()].into(),
        concurrency: 1,
        ..settings(&receiver.url)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_its_turn_while_others_of_its_tenant_have_a_long_backlog() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let slow = join_all((0..AT_ONCE_OF_TENANT).map(|_| Receiver::start())).await;
    for receiver in &slow {
        receiver.takes(SLOW);
        acme.webhook(wanting(receiver, "project.created")).await;
    }
    let prompt = Receiver::start().await;
    acme.webhook(wanting(&prompt, "project.updated")).await;
    let projects = join_all((0..BACKLOG).map(|_| acme.project())).await;
    eventually("requests to all slow servers", || async {
        slow.iter().all(|receiver| receiver.count() > 0)
    })
    .await;

    acme.rename(projects[0]).await;
    let began = Instant::now();
    eventually("the event", || async { prompt.count() > 0 }).await;
    let time = began.elapsed();
    assert!(time < TURN_COMES, "the event took {time:?}");
    let has_backlog = |receiver: &Receiver| receiver.count() < BACKLOG;
    assert!(slow.iter().all(has_backlog), "a slot was free");
}
