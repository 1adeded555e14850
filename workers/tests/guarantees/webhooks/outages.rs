//! Servers that are away while events are sent.

use std::time::Duration;

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

fn slow_down(receivers: &[Receiver], delay: Duration) {
    for receiver in receivers {
        receiver.takes(delay);
    }
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
        acme.webhook(settings(&receiver.url)).await;
    }
    let projects = join_all((0..8).map(|_| acme.project())).await;
    // Sessions wait through a short restart. A long one ends them.
    for (round, downtime) in [(1, Duration::ZERO), (2, Duration::from_secs(15))] {
        // Some events are left at the restart, however slow this machine is.
        slow_down(&receivers, Duration::from_secs(3));
        rename(&acme, &projects, 10).await;
        let all = up_to(&projects, 1 + 10 * round);
        let events = usize::try_from(all.values().sum::<u64>()).unwrap();
        // No commit follows that would wake the webhooks again.
        assert!(receivers.iter().all(|receiver| receiver.count() < events));
        servers.nats[0].kill().await.unwrap();
        tokio::time::sleep(downtime).await;
        servers.nats[0].restart().await.unwrap();
        slow_down(&receivers, Duration::ZERO);
        for receiver in &receivers {
            arrived(receiver, &all).await;
            assert_in_order(&receiver.messages());
        }
    }
}
