//! A webhook for which thousands of events wait.

use futures_util::future::join_all;

use super::{
    COMMANDS, WEBHOOKS, arrived, assert_in_order,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually};

const PROJECTS: usize = 50;
const RENAMES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_far_behind_gets_each_event_once_and_in_order() {
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    acme.webhook(settings(&first.url)).await;
    let projects = join_all((0..PROJECTS).map(|_| acme.project())).await;
    let rename = async || {
        let renames = projects.iter().map(|project| async {
            for _ in 0..RENAMES {
                acme.rename(*project).await;
            }
        });
        join_all(renames).await;
    };
    rename().await;
    // A change that must be known before what follows is sent.
    acme.webhook(settings(&second.url)).await;
    rename().await;

    let _webhooks = world.spawn_worker(WEBHOOKS);
    let revisions = 1 + 2 * RENAMES as u64;
    arrived(&first, &up_to(&projects, revisions)).await;
    eventually("the events of the second one", || async {
        second.accepted().len() == PROJECTS * RENAMES
    })
    .await;
    let messages = first.messages();
    assert_in_order(&messages);
    assert_eq!(messages.len(), PROJECTS * (1 + 2 * RENAMES));
}
