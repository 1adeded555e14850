//! Kills of workers and servers: no answered command is lost, and none is done twice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use events_schema::{AccountId, AreaName, CommandId, CommitSummary, Outcome};
use futures_util::future::join_all;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use servers::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

use crate::support::{
    COMMANDS_AND_VIEWS, DEADLINE, Load, WITHOUT_EFFECTS, World, assert_sound, assert_stored,
    eventually, id, rename,
};

/// A wire between a worker and NATS. Once armed, it is cut when the worker acknowledges a command.
#[derive(Clone)]
struct Wire {
    url: String,
    armed: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Wire {
    async fn to(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let port = world.servers.nats[0].port();
        let url = world.servers.nats_url(Role::Workers);
        let wire = Self {
            url: url.replace(&format!(":{port}"), &format!(":{own_port}")),
            armed: Arc::default(),
            cut: Arc::default(),
        };
        let accepting = wire.clone();
        tokio::spawn(async move {
            while let Ok((worker, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                accepting.connect(worker, server);
            }
        });
        wire
    }

    /// Copies in both directions.
    fn connect(&self, worker: TcpStream, server: TcpStream) {
        let (from_worker, mut to_worker) = worker.into_split();
        let (mut from_server, to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_worker).await });
        tokio::spawn(self.clone().copy_until_cut(from_worker, to_server));
    }

    async fn copy_until_cut(self, mut from_worker: OwnedReadHalf, mut to_server: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_worker.read(&mut buffer).await {
            let mut windows = buffer[..length].windows(16);
            let acknowledges = windows.any(|window| window == b"$JS.ACK.COMMANDS");
            if acknowledges && self.armed.load(Ordering::SeqCst) {
                self.cut.notify_one();
                return;
            }
            if to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
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
    let (_, ()) = tokio::join!(world.send(account, command, &update), async {
        tokio::time::timeout(DEADLINE, wire.cut.notified())
            .await
            .expect("the worker never acknowledged");
        doomed.kill().await.unwrap();
    });
    assert_eq!(
        world
            .commits::<CommitSummary>(AreaName::Account)
            .await
            .len(),
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
    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert_sound(&commits);
    assert_eq!(commits.len(), 2);
    world.views_up_to_date(AreaName::Account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_twenty_times_under_load_lose_nothing_and_do_nothing_twice() {
    let world = Arc::new(World::start().await);
    let mut workers = world.workers::<2>(WITHOUT_EFFECTS).await;
    let emails: Vec<_> = (0..8).map(|at| format!("user{at}@example.com")).collect();
    let accounts = join_all(emails.iter().map(|email| world.register_and_mail(email))).await;
    let load = Load::default();
    let run = |account: &AccountId| tokio::spawn(load.clone().run(world.clone(), *account));
    let clients: Vec<_> = accounts.iter().map(run).collect();
    for kill in 0..20u64 {
        // Each kill comes after a different amount of work, and in the middle of more.
        let done = load.done.load(Ordering::SeqCst);
        load.reaches(done + 1 + kill * 7 % 23).await;
        let victim = usize::try_from(kill % 2).unwrap();
        workers[victim].kill().await.unwrap();
        workers[victim] = world.spawn_worker(WITHOUT_EFFECTS);
    }
    load.stop.store(true, Ordering::SeqCst);
    let answered = join_all(clients).await.into_iter();
    let answered: Vec<_> = answered.flat_map(Result::unwrap).collect();

    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert_sound(&commits);
    assert_stored(&commits, &answered);
    let sent = answered.len() + 2 * accounts.len();
    assert_eq!(commits.len(), sent, "nothing that was not sent");
    world.views_up_to_date(AreaName::Account).await;
    eventually("one mail for each account", || async {
        world.commits::<CommitSummary>(AreaName::Email).await.len() == accounts.len()
    })
    .await;
    assert_sound(&world.commits::<CommitSummary>(AreaName::Email).await);
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_killed_keep_every_answered_command() {
    let mut world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    let account = world.register("ada@example.com").await;
    let mut answered = Vec::new();
    for round in 0..6 {
        let kills_nats = round % 2 == 0;
        let (nats, mongod) = (&world.servers.nats[0], &world.servers.mongods[0]);
        let pid = if kills_nats { nats.pid() } else { mongod.pid() };
        let load = Load::default();
        let kill = async {
            load.reaches(11 + 7 * round).await;
            let pid = Pid::from_raw(i32::try_from(pid.unwrap()).unwrap());
            signal::kill(pid, Signal::SIGKILL).unwrap();
            load.stop.store(true, Ordering::SeqCst);
        };
        let (more, ()) = tokio::join!(load.run_without_repeats(&world, account), kill);
        answered.extend(more);
        if kills_nats {
            world.servers.nats[0].restart().await.unwrap();
        } else {
            world.servers.mongods[0].restart().await.unwrap();
        }
        world.answering().await;
        world.views_up_to_date(AreaName::Account).await;
    }
    assert!(answered.len() > 6 * 10);
    let commits = world.commits::<CommitSummary>(AreaName::Account).await;
    assert_sound(&commits);
    assert_stored(&commits, &answered);
    assert_eq!(world.dead().await, []);
}
