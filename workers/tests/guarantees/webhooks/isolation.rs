//! Servers that accept and never answer harm nobody else.

use std::time::{Duration, Instant};

use events_schema::ProjectId;
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
        hang.count() >= 16
    })
    .await;
    prompt(&other, &working).await;
}
