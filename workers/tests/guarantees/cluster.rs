//! A cluster of three servers of each kind: leaders step down, servers die or lag, and all of them
//! restart at once.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use events_schema::{
    AccountId, AreaName, CommandId, Commit, CommitSummary, account, account::Event,
};
use futures_util::future::{join_all, try_join_all};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use servers::{Layout, MEMBERS, NatsServer, Servers};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    limits::tenant::{Tenant, assert_won, racers},
    support::{COMMANDS_AND_VIEWS, Load, World, assert_sound, assert_stored, id, register},
};

/// One cluster at a time: six servers keep a small machine busy.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Clients that change accounts on a cluster.
struct Cluster {
    world: Arc<World<()>>,
    servers: Servers,
    load: Load,
    clients: Vec<JoinHandle<Vec<(CommandId, u64)>>>,
    _workers: [tokio::process::Child; 2],
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts servers and workers, and this many clients for each of the accounts.
    async fn under_load(accounts: usize, clients: usize) -> Self {
        let alone = ALONE.lock().await;
        let (world, servers) = World::start_as(Layout::Cluster).await.split();
        let world = Arc::new(world);
        let workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
        let emails: Vec<_> = (0..accounts)
            .map(|at| format!("user{at}@example.com"))
            .collect();
        let accounts = join_all(emails.iter().map(|email| world.register(email))).await;
        let load = Load::default();
        let each = accounts.iter().flat_map(|account| vec![*account; clients]);
        let clients = each.map(|account| tokio::spawn(load.clone().run(world.clone(), account)));
        Self {
            clients: clients.collect(),
            world,
            servers,
            load,
            _workers: workers,
            _alone: alone,
        }
    }

    /// Returns when this many more commands are answered.
    async fn goes_on(&self, commands: u64) {
        let done = self.load.done.load(Ordering::SeqCst);
        self.load.reaches(done + commands).await;
    }

    /// Stops the clients, and checks that the log and the views have what was answered, once.
    async fn assert_nothing_lost_or_done_twice(self) {
        self.load.stop.store(true, Ordering::SeqCst);
        let answered = join_all(self.clients).await.into_iter();
        let answered: Vec<_> = answered.flat_map(Result::unwrap).collect();
        let commits = self.world.commits::<CommitSummary>(AreaName::Account).await;
        assert_sound(&commits);
        assert_stored(&commits, &answered);
        self.world.views_up_to_date(AreaName::Account).await;
        assert_eq!(self.world.dead().await, []);
    }
}

/// Asks the leader of a stream or consumer to step down. Nobody answers if there is none now.
async fn step_down(world: &World<()>, what: &str) {
    let subject = format!("$JS.API.{what}");
    let client = world.operator.client();
    let asked = client.request(subject, "".into());
    _ = tokio::time::timeout(Duration::from_secs(1), asked).await;
}

/// Stops a server for a moment. Then it answers reads with what it had before it catches up.
async fn stand_still(server: &NatsServer) {
    let pid = Pid::from_raw(i32::try_from(server.pid().unwrap()).unwrap());
    signal::kill(pid, Signal::SIGSTOP).unwrap();
    sleep(Duration::from_millis(700)).await;
    signal::kill(pid, Signal::SIGCONT).unwrap();
}

/// Registers one address eight times at once. Returns the accounts and checks the answers.
async fn race_for_an_address(world: &World<()>, email: &str) {
    let racers = (0..8).map(|_| async {
        let command = id();
        let account = AccountId(command);
        world
            .send_to(account, CommandId(command), &register(email))
            .await
    });
    let outcomes = join_all(racers).await;
    let winners = outcomes
        .iter()
        .filter(|outcome| outcome.revision() == Ok(1));
    assert_eq!(winners.count(), 1);
    let losers = outcomes
        .iter()
        .filter_map(|outcome| outcome.revision().err());
    assert!(
        losers
            .clone()
            .all(|rejection| rejection.code == "email_taken")
    );
    assert_eq!(losers.count(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_step_down_every_second_lose_nothing_and_do_nothing_twice() {
    let cluster = Cluster::under_load(1, 32).await;
    let world = &cluster.world;
    const ROUNDS: usize = 12;
    for round in 0..ROUNDS {
        let email = format!("racer{round}@example.com");
        let steps_down = async {
            for leader in [
                "STREAM.LEADER.STEPDOWN.EVENTS",
                "STREAM.LEADER.STEPDOWN.COMMANDS",
                "CONSUMER.LEADER.STEPDOWN.COMMANDS.commands_account",
                "CONSUMER.LEADER.STEPDOWN.EVENTS.views_account",
                "STREAM.LEADER.STEPDOWN.VIEWS",
            ] {
                step_down(world, leader).await;
                sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::join!(steps_down, race_for_an_address(world, &email));
    }
    let commits = world
        .commits::<Commit<account::Area>>(AreaName::Account)
        .await;
    let registered = commits.iter().filter_map(|(_, commit)| {
        let Event::Registered { email, .. } = &commit.events[0] else {
            return None;
        };
        Some(email.to_string())
    });
    let registered: Vec<String> = registered.collect();
    let unique: BTreeSet<&String> = registered.iter().collect();
    assert_eq!((registered.len(), unique.len()), (1 + ROUNDS, 1 + ROUNDS));
    cluster.goes_on(100).await;
    cluster.assert_nothing_lost_or_done_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_that_is_killed_under_load_loses_nothing() {
    let mut cluster = Cluster::under_load(8, 4).await;
    for member in 0..MEMBERS {
        let nats = &mut cluster.servers.nats[member];
        nats.kill().await.unwrap();
        cluster.goes_on(200).await;
        cluster.servers.nats[member].restart().await.unwrap();
        cluster.servers.mongods[member].kill().await.unwrap();
        cluster.goes_on(200).await;
        cluster.servers.mongods[member].restart().await.unwrap();
        cluster.goes_on(200).await;
    }
    cluster.assert_nothing_lost_or_done_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_is_never_believed() {
    let cluster = Cluster::under_load(4, 4).await;
    for round in 0..12 {
        stand_still(&cluster.servers.nats[round % MEMBERS]).await;
        cluster.goes_on(30).await;
    }
    cluster.assert_nothing_lost_or_done_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racers_for_three_places_three_win_while_replicas_lag_behind() {
    let _alone = ALONE.lock().await;
    let (world, servers) = World::start_as(Layout::Cluster).await.split();
    let _workers = world.workers::<2>(COMMANDS_AND_VIEWS).await;
    for round in 0..9 {
        let acme = Tenant::new(&world).await;
        // Nothing is claimed yet, so only the log tells that these exist.
        let unlimited = (0..2).map(|_| acme.create(id(), None));
        let lags = stand_still(&servers.nats[round % MEMBERS]);
        let (created, ()) = tokio::join!(join_all(unlimited), lags);
        assert_won(&created, 2, 0);
        let lags = stand_still(&servers.nats[(round + 1) % MEMBERS]);
        let racers = racers(40, 5);
        let (outcomes, ()) = tokio::join!(acme.race(&racers), lags);
        assert_won(&outcomes, 3, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_that_restart_at_once_lose_nothing() {
    let mut cluster = Cluster::under_load(8, 4).await;
    for _ in 0..2 {
        cluster.goes_on(200).await;
        let nats = &mut cluster.servers.nats;
        try_join_all(nats.iter_mut().map(|server| server.kill()))
            .await
            .unwrap();
        try_join_all(nats.iter_mut().map(|server| server.restart()))
            .await
            .unwrap();
        cluster.goes_on(200).await;
        let mongods = &mut cluster.servers.mongods;
        try_join_all(mongods.iter_mut().map(|server| server.kill()))
            .await
            .unwrap();
        try_join_all(mongods.iter_mut().map(|server| server.restart()))
            .await
            .unwrap();
    }
    cluster.goes_on(200).await;
    cluster.assert_nothing_lost_or_done_twice().await;
}
