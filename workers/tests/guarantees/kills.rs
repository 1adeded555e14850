//! Workers and servers that are killed: nothing answered is lost, nothing is done twice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use events_schema::{Area, CommandId, Outcome};
use futures_util::future::join_all;
use serde_json::Value;
use servers::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::support::{
    COMMANDS_AND_VIEWS, DEADLINE, WITHOUT_EFFECTS, World, assert_sound, eventually, id, rename,
};

/// A wire between a worker and NATS that is cut at the moment when the worker acknowledges a
/// command.
struct Wire {
    url: String,
    armed: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Wire {
    async fn to(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = world.servers.nats.port();
        let own = listener.local_addr().unwrap().port();
        let url = world
            .servers
            .nats
            .url(Role::Workers)
            .replace(&format!(":{port}"), &format!(":{own}"));
        let (armed, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let (is_armed, notify) = (armed.clone(), cut.clone());
        tokio::spawn(async move {
            while let Ok((worker, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_worker, mut to_worker) = worker.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let (armed, cut) = (is_armed.clone(), notify.clone());
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_worker).await },
                );
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = from_worker.read(&mut buffer).await {
                        let acknowledges = buffer[..length]
                            .windows(16)
                            .any(|window| window == b"$JS.ACK.COMMANDS");
                        if acknowledges && armed.load(Ordering::SeqCst) {
                            cut.notify_one();
                            return;
                        }
                        if to_server.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, armed, cut }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_append_and_ack_loses_nothing_and_does_nothing_twice() {
    let mut world = World::start().await;
    let wire = Wire::to(&world).await;
    world.worker_nats_url = Some(wire.url.clone());
    let [mut doomed] = world.workers(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let command = CommandId(id());

    eventually("the acks so far", || async {
        world.queued_commands().await == 0
    })
    .await;
    wire.armed.store(true, Ordering::SeqCst);
    let update = rename("Byron");
    let (_, ()) = tokio::join!(
        world.send(Area::Account, account.0, command, &update),
        async {
            tokio::time::timeout(DEADLINE, wire.cut.notified())
                .await
                .expect("the worker never acknowledged");
            doomed.kill().await.unwrap();
        }
    );
    assert_eq!(
        world.commits::<Value>(Area::Account).await.len(),
        2,
        "the commit was stored before the kill"
    );
    let mut commands = world.operator.get_stream("COMMANDS").await.unwrap();
    assert_eq!(
        commands.info().await.unwrap().state.messages,
        1,
        "the command was not acknowledged before the kill"
    );

    world.worker_nats_url = None;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    eventually("the redelivery", || async {
        world.queued_commands().await == 0
    })
    .await;
    let outcome = world.send_to(account, command, &update).await;
    assert!(
        matches!(outcome, Outcome::DoneBefore { revision: 2, .. }),
        "{outcome:?}"
    );
    let commits = world.commits::<Value>(Area::Account).await;
    assert_sound(&commits);
    assert_eq!(commits.len(), 2);
    world.views_up_to_date(Area::Account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_twenty_times_under_load_lose_nothing_and_do_nothing_twice() {
    let world = Arc::new(World::start().await);
    let mut workers = world.workers::<2>(WITHOUT_EFFECTS).await;
    let accounts = join_all((0..8).map(|at| {
        let world = world.clone();
        async move { world.register(&format!("user{at}@example.com")).await }
    }))
    .await;

    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = accounts
        .iter()
        .map(|account| {
            let (world, account, stop, done) =
                (world.clone(), *account, stop.clone(), done.clone());
            tokio::spawn(async move {
                let mut answered = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let command = CommandId(id());
                    let outcome = world
                        .send_to(account, command, &rename(&command.to_string()))
                        .await;
                    answered.push((command, outcome.revision().unwrap()));
                    done.fetch_add(1, Ordering::SeqCst);
                }
                answered
            })
        })
        .collect();
    for kill in 0..20u64 {
        // Wait for work to be done, so that each kill falls into the middle of some; how much
        // differs from kill to kill.
        let wanted = done.load(Ordering::SeqCst) + 1 + kill * 7 % 23;
        eventually("progress under load", || async {
            done.load(Ordering::SeqCst) >= wanted
        })
        .await;
        let victim = usize::try_from(kill % 2).unwrap();
        workers[victim].kill().await.unwrap();
        workers[victim] = world.spawn_worker(WITHOUT_EFFECTS);
    }
    stop.store(true, Ordering::SeqCst);
    let answered: Vec<(CommandId, u64)> = join_all(clients)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();

    let commits = world.commits::<Value>(Area::Account).await;
    assert_sound(&commits);
    let stored: BTreeMap<CommandId, u64> = commits
        .iter()
        .map(|(_, commit)| (commit.command, commit.revision))
        .collect();
    for (command, revision) in &answered {
        assert_eq!(
            stored.get(command),
            Some(revision),
            "an answered command is in the log as it was answered"
        );
    }
    assert_eq!(
        commits.len(),
        answered.len() + accounts.len(),
        "nothing that was not sent"
    );
    world.views_up_to_date(Area::Account).await;
    eventually("one mail for each registration", || async {
        world.commits::<Value>(Area::Email).await.len() == accounts.len()
    })
    .await;
    assert_sound(&world.commits::<Value>(Area::Email).await);
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_killed_keep_every_answered_command() {
    let mut world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let mut answered = Vec::new();
    for round in 0..6 {
        let (stop, done, shared) = (AtomicBool::new(false), AtomicU64::new(0), &world);
        // Load in flight while the servers die; only what was answered counts.
        let load = async {
            let mut answered = Vec::new();
            for at in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let command = CommandId(id());
                if let Some(outcome) = shared
                    .send(
                        Area::Account,
                        account.0,
                        command,
                        &rename(&format!("{round} {at}")),
                    )
                    .await
                {
                    answered.push((command, outcome.revision().unwrap()));
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
            answered
        };
        let pid = if round % 2 == 0 {
            world.servers.nats.pid()
        } else {
            world.servers.mongod.pid()
        };
        let kill = async {
            eventually("load", || async {
                done.load(Ordering::SeqCst) > 10 + 7 * round
            })
            .await;
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(pid.unwrap()).unwrap()),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
            stop.store(true, Ordering::SeqCst);
        };
        let (more, ()) = tokio::join!(load, kill);
        answered.extend(more);
        if round % 2 == 0 {
            world.servers.nats.restart().await.unwrap()
        } else {
            world.servers.mongod.restart().await.unwrap()
        }
        world.answering().await;
        world.views_up_to_date(Area::Account).await;
    }
    assert!(answered.len() > 6 * 10);
    let commits = world.commits::<Value>(Area::Account).await;
    assert_sound(&commits);
    let stored: BTreeMap<CommandId, u64> = commits
        .iter()
        .map(|(_, commit)| (commit.command, commit.revision))
        .collect();
    for (command, revision) in answered {
        assert_eq!(stored.get(&command), Some(&revision));
    }
    assert_eq!(world.dead().await, []);
}
