//! How soon a revoked right is refused while workers die.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use event_store::Monitor;
use futures_util::future::join_all;
use local::Local;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    revocation::{WAYS, World, assert_soon},
    support::{eventually, operator},
};

/// Deaths of a worker while it holds four messages. Each costs an ack wait of 5 or 10 seconds.
const DEATHS: usize = 5;
/// Longer than a worker's pull stays silent before the worker opens another, and so stands behind
/// the pulls of other workers. Nothing at the broker shows when that has happened.
const PULL_SILENCE: Duration = Duration::from_secs(12);

/// The consumers that these mutations pass.
const CONSUMERS: [(&str, &str); 6] = [
    ("COMMANDS", "commands_member"),
    ("COMMANDS", "commands_access_token"),
    ("COMMANDS", "commands_account"),
    ("EVENTS", "views_member"),
    ("EVENTS", "views_access_token"),
    ("EVENTS", "views_account"),
];

/// How many pulls wait for messages at these consumers, and how many messages are held.
async fn pulls_and_held(operator: &jetstream::Context) -> (usize, usize) {
    let (mut pulls, mut held) = (0, 0);
    for (stream, consumer) in CONSUMERS {
        let stream = operator.get_stream(stream).await.unwrap();
        let info = stream.consumer_info(consumer).await.unwrap();
        pulls += info.num_waiting;
        held += info.num_ack_pending;
    }
    (pulls, held)
}

/// Further workers that run these loops, in a runtime of their own.
fn spawn_workers(backend: &Local, loops: &str) -> tokio::runtime::Runtime {
    let nats_url = backend.servers.nats_url(servers::Role::Workers);
    let secret = "k".repeat(32);
    let arguments = [
        ["--nats-url", &nats_url],
        [
            "--mongo-url",
            &backend.servers.mongo_url(servers::Role::Workers),
        ],
        ["--smtp-url", "smtp://127.0.0.1:1"],
        ["--secret", &secret],
        ["--loops", loops],
    ];
    let command = clap::Command::new("workers").no_binary_name(true);
    let command = <workers::config::Config as clap::Args>::augment_args(command);
    let matches = command.get_matches_from(arguments.as_flattened());
    let config = <workers::config::Config as clap::FromArgMatches>::from_arg_matches(&matches);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(workers::run(
        config.unwrap(),
        Monitor::default(),
        CancellationToken::new(),
    ));
    runtime
}

/// A worker dies while it holds messages: it stands still, the broker gives it the next messages,
/// then its runtime goes with all its tasks. Nothing is finished, acknowledged or given back, as by
/// SIGSTOP and SIGKILL; the difference is that we close its connections and not the kernel. One
/// worker lives on, and must do the work of the dead one.
async fn assert_refused_soon_while_workers_die(loops: &str) {
    let world = World::start().await;
    let operator = operator(&world.backend).await;
    let alone = pulls_and_held(&operator).await.0;
    let (mut delays, mut members, mut held) = (Vec::new(), [const { None }; WAYS.len()], 0);
    for _ in 0..DEATHS {
        // The messages of the death before are done, so that only those that follow meet a death.
        eventually("the end of a death", || async {
            pulls_and_held(&operator).await == (alone, 0)
        })
        .await;
        let mut grants = Vec::new();
        for (way, member) in members.iter_mut().enumerate() {
            grants.push(world.grant(way, member).await);
        }
        let doomed = spawn_workers(&world.backend, loops);
        eventually("a second worker", || async {
            pulls_and_held(&operator).await == (alone + CONSUMERS.len() / 2, 0)
        })
        .await;
        let (release, stand_still) = std::sync::mpsc::channel::<()>();
        doomed.spawn(async move { stand_still.recv() });
        sleep(PULL_SILENCE).await;
        let die = async {
            // Each of the four messages is held by it, or has gone elsewhere.
            let (start, mut held) = (Instant::now(), 0);
            while held < 3 && start.elapsed() < Duration::from_secs(1) {
                held = pulls_and_held(&operator).await.1;
            }
            doomed.shutdown_background();
            drop(release);
            held
        };
        let revocations = grants.into_iter().map(|grant| grant.revoke(&world.second));
        let (revoked, held_by_it) = tokio::join!(join_all(revocations), die);
        delays.extend(revoked.into_iter().flatten());
        held += held_by_it;
    }
    assert!(held > 0, "no worker died while it held a message");
    assert_soon(&format!("while workers for {loops} die"), delays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_is_refused_within_seconds_while_command_workers_die() {
    assert_refused_soon_while_workers_die("commands").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_is_refused_within_seconds_while_view_workers_die() {
    assert_refused_soon_while_workers_die("views").await;
}
