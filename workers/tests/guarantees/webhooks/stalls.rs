//! A worker that stops for longer than its lease, and goes on.

use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, Instant},
};

use events_schema::{
    ProjectId,
    webhook::{Payload, Settings},
};
use futures_util::future::join_all;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::process::Child;

use super::{
    COMMANDS, WEBHOOKS, arrived, assert_in_order,
    cursors::rests,
    customer::{Customer, settings},
    receiver::{Message, Receiver},
    up_to,
};
use crate::support::{World, eventually};

fn signal(worker: &Child, signal: Signal) {
    let pid = i32::try_from(worker.id().unwrap()).unwrap();
    signal::kill(Pid::from_raw(pid), signal).unwrap();
}

async fn rename(acme: &Customer, projects: &[ProjectId], times: usize) {
    let renames = projects.iter().map(|project| async {
        for _ in 0..times {
            acme.rename(*project).await;
        }
    });
    join_all(renames).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_worker_sends_nothing_more_once_another_has_taken_over() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let acme = Customer::new(&world).await;
    let receivers = join_all((0..10).map(|_| Receiver::start())).await;
    let mut webhooks = Vec::new();
    for receiver in &receivers {
        // What is in work when the worker stops ends long before it goes on.
        receiver.takes(Duration::from_millis(1));
        let full = Settings {
            payload: Payload::Full,
            ..settings(&receiver.url)
        };
        webhooks.push(acme.webhook(full).await.0);
    }
    let projects = join_all((0..8).map(|_| acme.project())).await;
    rename(&acme, &projects, 20).await;
    let stalled = world.spawn_worker(WEBHOOKS);
    eventually("that all webhooks are in work", || async {
        receivers.iter().all(|one| one.count() >= 10)
    })
    .await;
    signal(&stalled, Signal::SIGSTOP);
    let _other = world.spawn_worker(WEBHOOKS);
    for receiver in &receivers {
        arrived(receiver, &up_to(&projects, 21)).await;
    }
    // The other worker also repeats what came just before the stop.
    for webhook in webhooks {
        rests(&world, acme.tenant, webhook, |_| true).await;
    }
    let resumed = Instant::now();
    signal(&stalled, Signal::SIGCONT);
    rename(&acme, &projects, 5).await;
    let mut again = Vec::new();
    for receiver in &receivers {
        arrived(receiver, &up_to(&projects, 26)).await;
        let messages = receiver.messages();
        assert_in_order(&messages);
        again.extend(sent_again(&messages, resumed));
        assert_eq!(receiver.most_at_once().0, 1);
    }
    // One may have been between the last look at the clock and its way into the kernel.
    assert!(again.len() <= 1, "sent by the old session: {again:?}");
}

/// Returns the events that came after this moment and had come before it.
fn sent_again(messages: &[Message], moment: Instant) -> Vec<String> {
    let came = |message: &&Message| message.at < moment;
    let (before, after): (Vec<_>, Vec<_>) = messages.iter().partition(came);
    let before: HashSet<_> = before.iter().map(|message| &message.id).collect();
    let again: BTreeSet<_> = after.iter().map(|message| &message.id).collect();
    let again = again.into_iter().filter(|id| before.contains(*id));
    again.cloned().collect()
}
