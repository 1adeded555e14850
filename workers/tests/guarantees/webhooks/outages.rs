//! Servers that are away while events are sent.

use events_schema::ProjectId;
use futures_util::future::join_all;

use super::{
    LOOPS, WEBHOOKS, arrived, assert_in_order,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::World;

async fn rename(acme: &Customer, projects: &[ProjectId], times: usize) {
    let renames = projects.iter().map(|project| async {
        for _ in 0..times {
            acme.rename(*project).await;
        }
    });
    join_all(renames).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_sent_without_mongodb() {
    let mut world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    acme.webhook(settings(&receiver.url)).await;
    let project = acme.project().await;
    arrived(&receiver, &up_to(&[project], 1)).await;
    world.servers.mongods[0].kill().await.unwrap();
    rename(&acme, &[project], 20).await;
    arrived(&receiver, &up_to(&[project], 21)).await;
    assert_in_order(&receiver.messages());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_when_nats_restarts_and_forgets_all_wake_ups() {
    let (world, mut servers) = World::start().await.split();
    let _workers = world.workers::<1>(LOOPS).await;
    let _more = world.spawn_worker(WEBHOOKS);
    let acme = Customer::new(&world).await;
    let receivers = join_all((0..6).map(|_| Receiver::start())).await;
    for receiver in &receivers {
        receiver.takes(std::time::Duration::from_millis(5));
        acme.webhook(settings(&receiver.url)).await;
    }
    let projects = join_all((0..8).map(|_| acme.project())).await;
    let mut revision = 1;
    for _ in 0..3 {
        let restart = async {
            arrived(&receivers[0], &up_to(&projects[..1], revision + 5)).await;
            servers.nats[0].restart().await.unwrap();
        };
        tokio::join!(rename(&acme, &projects, 20), restart);
        revision += 20;
    }
    for receiver in &receivers {
        arrived(receiver, &up_to(&projects, revision)).await;
        assert_in_order(&receiver.messages());
    }
}
