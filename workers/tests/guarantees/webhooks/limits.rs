//! Limits of a customer's server: requests per second, and requests at once.

use std::time::{Duration, Instant, SystemTime};

use events_schema::{
    AreaName, CommitSummary,
    webhook::{Command, EventRef, Only, Ordering, Settings},
};
use futures_util::future::join_all;
use tokio::process::Child;

use super::{
    COMMANDS, LOOPS, WEBHOOKS, arrived,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::{World, eventually};

/// Sends the events of 20 projects, 10 of each, to a webhook with these settings.
async fn send_all(receiver: &Receiver, change: impl FnOnce(&mut Settings)) {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let mut settings = settings(&receiver.url);
    change(&mut settings);
    acme.webhook(settings).await;
    let projects = join_all((0..20).map(|_| acme.project())).await;
    let renames = projects.iter().map(|project| async {
        for _ in 0..9 {
            acme.rename(*project).await;
        }
    });
    join_all(renames).await;
    let _sending = [(); 2].map(|()| world.spawn_worker(WEBHOOKS));
    arrived(receiver, &up_to(&projects, 10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_used_and_never_exceeded() {
    const RATE: u32 = 50;
    let receiver = Receiver::start().await;
    send_all(&receiver, |settings| settings.rate_limit = RATE).await;
    let came = came(&receiver);
    let time = *came.last().unwrap() - came[0];
    let intervals = u32::try_from(came.len() - 1).unwrap();
    let expected = Duration::from_secs(1) * intervals / RATE;
    // A busy machine may use less of it, but not half.
    let tolerated = expected.mul_f64(0.98)..expected.mul_f64(1.8);
    assert!(
        tolerated.contains(&time),
        "{time:?} instead of {expected:?}"
    );
    // Requests that began evenly arrive less so.
    let most = most_in_a_second(&came);
    assert!(most <= RATE as usize + 5, "{most} in a second");
}

/// Returns when messages came.
fn came(receiver: &Receiver) -> Vec<Instant> {
    let messages = receiver.messages();
    messages.iter().map(|message| message.at).collect()
}

fn most_in_a_second(came: &[Instant]) -> usize {
    let from = |first: &Instant| {
        let within = |one: &&Instant| *one >= first && **one < *first + Duration::from_secs(1);
        came.iter().filter(within).count()
    };
    came.iter().map(from).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_holds_for_events_that_come_one_by_one() {
    let world = World::start().await;
    let _workers = world.workers::<2>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let mut settings = settings(&receiver.url);
    settings.rate_limit = 1;
    acme.webhook(settings).await;
    let project = acme.project().await;
    arrived(&receiver, &up_to(&[project], 1)).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        acme.rename(project).await;
    }
    eventually("some events", || async { receiver.count() >= 6 }).await;
    let most = most_in_a_second(&came(&receiver));
    assert!(most <= 2, "{most} in a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_in_work_than_the_customer_allows() {
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_millis(20));
    send_all(&receiver, |settings| settings.concurrency = 3).await;
    assert_eq!(receiver.most_at_once(), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_webhook_gets_one_request_at_a_time() {
    let receiver = Receiver::start().await;
    receiver.takes(Duration::from_millis(5));
    send_all(&receiver, |settings| settings.ordering = Ordering::Endpoint).await;
    assert_eq!(receiver.most_at_once(), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_waits_its_turn_with_new_events() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let mut settings = settings(&receiver.url);
    settings.ordering = Ordering::Endpoint;
    let (webhook, _) = acme.webhook(settings).await;
    let projects = [acme.project().await, acme.project().await];
    arrived(&receiver, &up_to(&projects, 1)).await;
    receiver.takes(Duration::from_secs(1));
    let commits = world.commits::<CommitSummary>(AreaName::Project).await;
    let event = EventRef {
        sequence: commits[0].0,
        position: 0,
    };
    tokio::join!(
        acme.change(Command::Redeliver { webhook, event }),
        acme.rename(projects[0]),
        acme.rename(projects[1]),
    );
    arrived(&receiver, &up_to(&projects, 2)).await;
    eventually("the redelivery", || async { receiver.count() == 5 }).await;
    assert_eq!(receiver.most_at_once(), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_takes_half_of_the_rate_at_most() {
    const RATE: u32 = 10;
    const EVENTS: u32 = 20;
    let world = World::start().await;
    let _workers = world.workers::<2>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let since = SystemTime::now().into();
    let projects = join_all((0..EVENTS).map(|_| acme.project())).await;
    let until = SystemTime::now().into();
    let mut settings = settings(&receiver.url);
    settings.rate_limit = RATE;
    let (webhook, _) = acme.webhook(settings).await;
    acme.change(Command::Replay {
        webhook,
        since,
        until,
        only: Only::All,
    })
    .await;
    arrived(&receiver, &up_to(&projects, 1)).await;
    let came = came(&receiver);
    let time = *came.last().unwrap() - came[0];
    let least = Duration::from_secs(1) * 2 * (EVENTS - 1) / RATE;
    // The first request may take longer than the last one, since it opens the connection.
    assert!(time > least.mul_f64(0.9), "{time:?} for {least:?}");
}
