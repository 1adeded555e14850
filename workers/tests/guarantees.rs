//! What `protocol.md` promises, held against real servers and real worker processes: races,
//! repeats, kills, restarts, replays and garbage.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary: it has no readers but its own, and panics when it fails"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream;
use events_schema::{
    Area, Claim, ClaimHolder, CommandId, EmailAddress, Id, Outcome, account, account::Event,
};
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::Value;
use servers::Role;
use support::{DEADLINE, World, eventually, id, message, register, rename};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

const DECIDE_AND_SHOW: &[&str] = &["--loops", "commands,views"];

/// Revisions 1, 2, 3 … per aggregate, and no command twice.
fn assert_sound(commits: &[(u64, events_schema::Commit<Value>)]) {
    let mut revisions: BTreeMap<Id, u64> = BTreeMap::new();
    let mut commands = BTreeSet::new();
    for (sequence, commit) in commits {
        let last = revisions.entry(commit.id).or_default();
        assert_eq!(commit.revision, *last + 1, "at sequence {sequence}");
        *last = commit.revision;
        assert!(
            commands.insert(commit.command),
            "{} was done twice",
            commit.command
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_registrations_of_one_address_make_one_account() {
    let world = World::start().await;
    let _workers = world.workers::<2>(DECIDE_AND_SHOW).await;
    let outcomes = join_all((0..100).map(|at| {
        let (world, command) = (&world, id());
        let email = if at % 2 == 0 {
            "ada@example.com"
        } else {
            "ADA@Example.com"
        };
        async move {
            world
                .send_until_answered(Area::Account, command, CommandId(command), &register(email))
                .await
        }
    }))
    .await;
    assert!(
        outcomes.iter().all(|outcome| outcome.revision() == Ok(1)),
        "every asker gets the same answer"
    );

    let commits = world.commits::<Event>(Area::Account).await;
    let registered: Vec<Id> = commits
        .iter()
        .filter(|(_, commit)| matches!(commit.events[0], Event::Registered { .. }))
        .map(|(_, commit)| commit.id)
        .collect();
    assert_eq!(registered.len(), 1);
    assert_eq!(commits.len(), 100);
    for (_, commit) in &commits {
        if let Event::RegistrationRefused { holder, .. } = &commit.events[0] {
            assert_eq!(*holder, registered[0]);
        }
    }
    let refused = commits
        .iter()
        .filter(|(_, commit)| matches!(commit.events[0], Event::RegistrationRefused { .. }))
        .count();
    assert_eq!(refused, 99);
    let claim = Claim::email(&EmailAddress::parse("ada@example.com").unwrap()).to_string();
    let message = world
        .operator
        .get_stream("EVENTS")
        .await
        .unwrap()
        .get_last_raw_message_by_subject(&claim)
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<ClaimHolder>(&message.payload)
            .unwrap()
            .holder,
        Some(registered[0])
    );
    world.views_up_to_date(Area::Account).await;
    let shown = world
        .documents(Area::Account)
        .await
        .into_values()
        .filter(|document| document.get("view") != Some(&mongodb::bson::Bson::Null));
    assert_eq!(shown.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_said_again_is_answered_the_same_also_after_a_restart() {
    let mut world = World::start().await;
    let [mut worker] = world.workers(DECIDE_AND_SHOW).await;
    let account = world.register("ada@example.com").await;
    let command = CommandId(id());
    let first = world
        .send_until_answered(Area::Account, account.0, command, &rename("Byron"))
        .await;
    let Outcome::Committed { revision, sequence } = first else {
        panic!("{first:?}")
    };
    let again = Outcome::DoneBefore { revision, sequence };
    assert_eq!(
        world
            .send_until_answered(Area::Account, account.0, command, &rename("Byron"))
            .await,
        again
    );

    worker.kill().await.unwrap();
    world.servers.nats.kill().await.unwrap();
    world.servers.nats.restart().await.unwrap();
    let _workers = world.workers::<2>(DECIDE_AND_SHOW).await;
    for _ in 0..5 {
        assert_eq!(
            world
                .send_until_answered(Area::Account, account.0, command, &rename("Byron"))
                .await,
            again
        );
    }
    let commits = world.commits::<Value>(Area::Account).await;
    assert_sound(&commits);
    assert_eq!(commits.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_again_past_the_duplicate_window_is_done_once() {
    let world = World::start().await;
    let _worker = world.workers::<1>(DECIDE_AND_SHOW).await;
    let mut config = world
        .operator
        .get_stream("COMMANDS")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.duplicate_window = Duration::from_secs(2);
    world.operator.update_stream(config).await.unwrap();

    let account = world.register("ada@example.com").await;
    let command = CommandId(id());
    let reply = world.gateway.new_inbox();
    let mut outcomes = world.gateway.subscribe(reply.clone()).await.unwrap();
    let (subject, body) = message(Area::Account, account.0, command, &rename("Byron"), reply);
    let dropped = async || {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", command.to_string());
        let ack = jetstream::new(world.gateway.clone())
            .publish_with_headers(subject.clone(), headers, body.clone())
            .await
            .unwrap();
        ack.await.unwrap().duplicate
    };
    assert!(!dropped().await);
    assert!(
        dropped().await,
        "within the window the broker itself drops it"
    );
    eventually("the end of the window", async || !dropped().await).await;

    let mut outcome = async || {
        serde_json::from_slice::<Outcome>(&outcomes.next().await.unwrap().payload).unwrap()
    };
    let Outcome::Committed { revision, sequence } = outcome().await else {
        panic!("not committed")
    };
    assert_eq!(outcome().await, Outcome::DoneBefore { revision, sequence });
    assert_eq!(world.commits::<Value>(Area::Account).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_clients_update_one_profile_without_a_gap_or_a_lost_update() {
    let world = World::start().await;
    let _workers = world.workers::<3>(DECIDE_AND_SHOW).await;
    let account = world.register("ada@example.com").await;
    let revisions: Vec<u64> = stream::iter(0..32)
        .map(|client| {
            let world = &world;
            async move {
                let mut revisions = Vec::new();
                for update in 0..5 {
                    let outcome = world
                        .send_until_answered(
                            Area::Account,
                            account.0,
                            CommandId(id()),
                            &rename(&format!("{client} {update}")),
                        )
                        .await;
                    revisions.push(outcome.revision().unwrap());
                }
                revisions
            }
        })
        .buffer_unordered(32)
        .concat()
        .await;
    assert_eq!(
        revisions.iter().copied().collect::<BTreeSet<_>>(),
        (2..=161).collect()
    );

    let commits = world.commits::<Value>(Area::Account).await;
    assert_sound(&commits);
    world.views_up_to_date(Area::Account).await;
    let last = &commits.last().unwrap().1.events[0]["lastname"];
    let document = &world.documents(Area::Account).await[&account.to_string()];
    assert_eq!(
        document
            .get_document("view")
            .unwrap()
            .get_str("lastname")
            .unwrap(),
        last.as_str().unwrap()
    );
}

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
    let [mut doomed] = world.workers(DECIDE_AND_SHOW).await;
    let account = world.register("ada@example.com").await;
    let command = CommandId(id());

    eventually("the acks so far", || async {
        world
            .operator
            .get_stream("COMMANDS")
            .await
            .unwrap()
            .cached_info()
            .state
            .messages
            == 0
    })
    .await;
    wire.armed.store(true, Ordering::SeqCst);
    let say = rename("Byron");
    let (_, ()) = tokio::join!(world.send(Area::Account, account.0, command, &say), async {
        tokio::time::timeout(DEADLINE, wire.cut.notified())
            .await
            .expect("the worker never acknowledged");
        doomed.kill().await.unwrap();
    });
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
    let _worker = world.workers::<1>(DECIDE_AND_SHOW).await;
    eventually("the redelivery", || async {
        world
            .operator
            .get_stream("COMMANDS")
            .await
            .unwrap()
            .cached_info()
            .state
            .messages
            == 0
    })
    .await;
    let outcome = world
        .send_until_answered(Area::Account, account.0, command, &say)
        .await;
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
    let mut workers = world
        .workers::<2>(&["--loops", "commands,views,reactions"])
        .await;
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
                let mut said = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let command = CommandId(id());
                    let outcome = world
                        .send_until_answered(
                            Area::Account,
                            account.0,
                            command,
                            &rename(&command.to_string()),
                        )
                        .await;
                    said.push((command, outcome.revision().unwrap()));
                    done.fetch_add(1, Ordering::SeqCst);
                }
                said
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
        workers[victim] = world.spawn_worker(&["--loops", "commands,views,reactions"]);
    }
    stop.store(true, Ordering::SeqCst);
    let said: Vec<(CommandId, u64)> = join_all(clients)
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
    for (command, revision) in &said {
        assert_eq!(
            stored.get(command),
            Some(revision),
            "an answered command is in the log as it was answered"
        );
    }
    assert_eq!(
        commits.len(),
        said.len() + accounts.len(),
        "nothing that was not said"
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
async fn views_that_are_dropped_and_rebuilt_from_the_log_are_equal() {
    let world = World::start().await;
    let _worker = world
        .workers::<1>(&["--loops", "commands,views,reactions"])
        .await;
    let accounts = join_all((0..60).map(|at| {
        let world = &world;
        // Some are refused, so that there are tombstones.
        async move {
            world
                .register(&format!("user{}@example.com", at % 50))
                .await
        }
    }))
    .await;
    join_all(accounts.iter().map(|account| {
        let world = &world;
        async move {
            for update in 0..5 {
                world
                    .send_until_answered(
                        Area::Account,
                        account.0,
                        CommandId(id()),
                        &rename(&update.to_string()),
                    )
                    .await;
            }
        }
    }))
    .await;
    eventually("the mails", || async {
        world.commits::<Value>(Area::Email).await.len() >= 50
    })
    .await;
    for area in [Area::Account, Area::Email] {
        world.views_up_to_date(area).await;
        let before = world.documents(area).await;
        assert!(before.len() >= 50);
        let rebuild = async || {
            let status = world
                .process(&["rebuild-views", "--areas", area.as_str()])
                .status()
                .await
                .unwrap();
            assert!(status.success());
            assert_eq!(world.documents(area).await, before);
        };
        rebuild().await;
        world
            .views
            .collection::<mongodb::bson::Document>(area.as_str())
            .drop()
            .await
            .unwrap();
        rebuild().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_lost_documents_heals_with_the_next_commit() {
    let world = World::start().await;
    let _worker = world.workers::<1>(DECIDE_AND_SHOW).await;
    let account = world.register("ada@example.com").await;
    for update in 0..5 {
        world
            .send_until_answered(
                Area::Account,
                account.0,
                CommandId(id()),
                &rename(&update.to_string()),
            )
            .await;
    }
    world.views_up_to_date(Area::Account).await;
    world
        .views
        .collection::<mongodb::bson::Document>("account")
        .delete_many(mongodb::bson::doc! {})
        .await
        .unwrap();
    world
        .send_until_answered(Area::Account, account.0, CommandId(id()), &rename("Byron"))
        .await;
    world.views_up_to_date(Area::Account).await;
    let document = &world.documents(Area::Account).await[&account.to_string()];
    assert_eq!(
        document
            .get_document("view")
            .unwrap()
            .get_str("email")
            .unwrap(),
        "ada@example.com"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_start_over_change_nothing() {
    let world = World::start().await;
    let _worker = world
        .workers::<2>(&["--loops", "commands,views,reactions"])
        .await;
    join_all((0..20).map(|at| {
        let world = &world;
        async move { world.register(&format!("user{at}@example.com")).await }
    }))
    .await;
    eventually("the mails", || async {
        world.commits::<Value>(Area::Email).await.len() == 20
    })
    .await;
    for area in [Area::Account, Area::Email] {
        world.views_up_to_date(area).await;
    }
    let before = (
        world.documents(Area::Account).await,
        world.documents(Area::Email).await,
        world.commits::<Value>(Area::Email).await,
    );

    for consumer in [
        "views_account",
        "views_email",
        "reactions_account_mail",
        "commands_account",
    ] {
        let stream = if consumer.starts_with("commands") {
            "COMMANDS"
        } else {
            "EVENTS"
        };
        world
            .operator
            .delete_consumer_from_stream(consumer, stream)
            .await
            .unwrap();
    }
    // The workers make them anew by themselves, from the start of the log, and come to its end
    // again.
    for consumer in ["views_account", "views_email", "reactions_account_mail"] {
        eventually(consumer, || async {
            let Ok(stream) = world.operator.get_stream("EVENTS").await else {
                return false;
            };
            let Ok(info) = stream.consumer_info(consumer).await else {
                return false;
            };
            info.num_pending == 0
                && info.num_ack_pending == 0
                && info.delivered.consumer_sequence > 0
        })
        .await;
    }
    world.answering().await;
    eventually("the repeated commands", || async {
        world
            .operator
            .get_stream("COMMANDS")
            .await
            .unwrap()
            .cached_info()
            .state
            .messages
            == 0
    })
    .await;
    let after = (
        world.documents(Area::Account).await,
        world.documents(Area::Email).await,
        world.commits::<Value>(Area::Email).await,
    );
    assert_eq!(after, before);
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_come_back_with_every_answered_command_and_work_goes_on() {
    let mut world = World::start().await;
    let _workers = world.workers::<2>(DECIDE_AND_SHOW).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn garbage_lands_in_dead_and_stops_nothing() {
    let world = World::start().await;
    let _worker = world
        .workers::<1>(&["--loops", "commands,views,reactions"])
        .await;
    let some = id();
    let valid = serde_json::json!({
        "id": some, "tenant": "platform", "area": "account", "aggregate": some, "actor": {"kind": "anonymous"}, "time": 0,
        "payload": {"type": "fly_to_the_moon"},
    });
    let other_verb = serde_json::json!({
        "id": some, "tenant": "platform", "area": "account", "aggregate": some, "actor": {"kind": "anonymous"}, "time": 0,
        "payload": {"type": "revoke_sessions"},
    });
    let garbage: [(&str, Vec<u8>); 9] = [
        ("cmd.platform.account.register", b"not json".to_vec()),
        ("cmd.platform.account.register", Vec::new()),
        ("cmd.platform.account.register", vec![0xff; 100]),
        ("cmd.platform.account.register", b"{}".to_vec()),
        (
            "cmd.platform.account.fly_to_the_moon",
            valid.to_string().into(),
        ),
        (
            "cmd.platform.account.register",
            other_verb.to_string().into(),
        ),
        (
            "cmd.no-tenant.account.register",
            other_verb.to_string().into(),
        ),
        (
            &format!("evt.platform.account.{some}"),
            b"not json".to_vec(),
        ),
        ("evt.platform.email.no-id", b"[1, 2".to_vec()),
    ];
    for (subject, body) in &garbage {
        world
            .operator
            .publish((*subject).to_owned(), body.clone().into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    // Seven commands; the commit that is none is met by view and reaction, the other by the view
    // alone.
    eventually("the dead letters", || async {
        world.dead().await.len() == 10
    })
    .await;
    let dead = world.dead().await;
    let count = |of: &str| {
        dead.iter()
            .filter(|(subject, _)| subject.starts_with(of))
            .count()
    };
    assert_eq!(
        (
            count("dead.commands."),
            count("dead.views."),
            count("dead.reactions.")
        ),
        (7, 2, 1)
    );
    assert_eq!(count("dead.commands.unknown.account"), 1);
    assert!(dead.iter().all(|(_, reason)| !reason.is_empty()));

    let account = world.register("ada@example.com").await;
    eventually("the view", || async {
        world
            .documents(Area::Account)
            .await
            .contains_key(&account.to_string())
    })
    .await;
    let refused = world
        .gateway
        .request("cmd.platform.nowhere.register", "{}".into())
        .await;
    assert!(
        refused.is_err(),
        "a command for an area that nobody decides is refused at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_refuse_a_stream_that_is_weaker_than_needed() {
    let world = World::start().await;
    let weaker = async_nats::jetstream::stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["evt.>".to_owned()],
        storage: async_nats::jetstream::stream::StorageType::Memory,
        ..Default::default()
    };
    world.operator.create_stream(weaker).await.unwrap();
    let output = world.process(&["run"]).output().await.unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("EVENTS"),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_verification_codes_are_counted_however_many_race() {
    let world = World::start().await;
    let _workers = world.workers::<2>(DECIDE_AND_SHOW).await;
    let account = world.register("ada@example.com").await;
    let challenge = events_schema::ChallengeId(account.0);
    let answer = |correct| account::Command::AnswerVerification { challenge, correct };
    let outcomes = join_all((0..50).map(|_| {
        let (world, wrong) = (&world, answer(false));
        async move {
            world
                .send_until_answered(Area::Account, account.0, CommandId(id()), &wrong)
                .await
        }
    }))
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Committed { .. }))
            .count(),
        5
    );
    let right = world
        .send_until_answered(Area::Account, account.0, CommandId(id()), &answer(true))
        .await;
    assert_eq!(
        right.revision().unwrap_err().code,
        "challenge_ended",
        "the right code comes too late"
    );
}
