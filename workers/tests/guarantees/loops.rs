//! Which loops a worker runs.

use std::{collections::BTreeSet, fs};

use events_schema::{Area as _, AreaName, CommitSummary, View, subject::internal_commands_of};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use servers::{Layout, Role};
use tokio::process::Command as Process;
use workers::{
    areas::{Visitor, visit},
    effect::{AreaOf, Effect},
    reaction::Reaction,
};

use crate::support::{World, eventually};

/// The consumers of both streams that a worker pulls from.
async fn pulled(world: &World) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for stream in ["COMMANDS", "EVENTS"] {
        let stream = world.operator.get_stream(stream).await.unwrap();
        let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
        let pulled = consumers.into_iter().filter(|info| info.num_waiting > 0);
        names.extend(pulled.map(|info| info.name));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_the_configured_loops_only() {
    let world = World::start().await;
    let areas = AreaName::ALL.iter();
    let internal = areas.clone().filter(|area| !area.internal().is_empty());
    let internal = internal.map(|area| format!("internal_commands_{area}"));
    let commands = areas.clone().map(|area| format!("commands_{area}"));
    let views = areas.flat_map(|area| area.views());
    let views = views.map(|(name, _)| format!("views_{name}"));
    let mut expected = BTreeSet::new();
    let mut workers = Vec::new();
    for (loops, started) in [
        ("commands", commands.chain(internal).collect::<Vec<_>>()),
        ("views", views.collect()),
    ] {
        workers.push(world.spawn_worker(&["--loops", loops]));
        expected.extend(started);
        eventually(loops, || async { pulled(&world).await == expected }).await;
    }
}

/// Counts views and reactions.
struct Expected(usize);

impl Visitor for Expected {
    fn view<V: View>(&mut self) {
        self.0 += 1;
    }
    fn reaction<R: Reaction>(&mut self) {
        self.0 += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_creates_no_consumer_twice() {
    let world = World::start().await;
    let _worker = world
        .workers::<1>(&["--loops", "commands,views,reactions"])
        .await;
    let mut expected = Expected(0);
    for area in AreaName::ALL {
        visit(*area, &mut expected);
    }
    eventually("a pull for each view and reaction", || async {
        let of_log = |name: &&String| !name.contains("commands_");
        pulled(&world).await.iter().filter(of_log).count() == expected.0
    })
    .await;
    let operator = world.operator.client();
    let looked = operator.subscribe("$JS.API.CONSUMER.INFO.EVENTS.>").await;
    let created = operator.subscribe("$JS.API.CONSUMER.CREATE.>").await;
    let (mut looked, mut created) = (looked.unwrap(), created.unwrap());
    // The pull of each consumer is opened again after ten seconds without a message.
    for _ in 0..20 {
        looked.next().await.unwrap();
    }
    assert!(created.next().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_loop_works_with_a_user_of_its_own_on_any_server_of_a_cluster() {
    let world = World::start_as(Layout::Cluster).await;
    let roles = [Role::Commands, Role::Views, Role::Reactions, Role::Effects];
    let loops = roles.map(|role| {
        // No mail server answers, so the mail fails at once, and its failure is recorded.
        let arguments = ["run", "--loops", role.as_str(), "--mail-attempts", "1"];
        let mut process = world.process(&arguments);
        process.env("UB_NATS_URL", world.servers.nats_url(role));
        process.env("UB_MONGO_URL", world.servers.mongo_url(role));
        process.kill_on_drop(true).spawn().unwrap()
    });
    world.answering().await;
    world.register_and_mail("ada@example.com").await;
    eventually("a recorded failure", || async {
        let commits = world.commits::<CommitSummary>(AreaName::Email).await;
        let mut events = commits.iter().flat_map(|(_, commit)| &commit.events);
        events.any(|event| event.name == "failed")
    })
    .await;
    world.views_up_to_date(AreaName::Email).await;
    assert!(world.dead().await.is_empty());
    drop(loops);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_opens_as_many_files_as_the_system_allows() {
    let world = World::start().await;
    let worker = world.process(&["run", "--loops", "webhooks"]);
    let worker = worker.as_std();
    let mut limited = Process::new("sh");
    limited
        .args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh"])
        .arg(worker.get_program())
        .args(worker.get_args());
    for (name, value) in worker.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    let worker = limited.kill_on_drop(true).spawn().unwrap();
    let process = format!("/proc/{}", worker.id().unwrap());
    eventually("the raised limit", || async {
        let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
        let files = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let mut numbers = files.unwrap().split_whitespace();
        let (soft, hard) = (numbers.next(), numbers.next());
        // The shell sets the limit before it becomes the worker.
        let name = fs::read_to_string(format!("{process}/comm")).unwrap();
        name == "workers\n" && soft == hard
    })
    .await;
}

/// The areas to which reactions and effects send internal commands.
#[derive(Default)]
struct Addressed {
    by_reactions: BTreeSet<AreaName>,
    by_effects: BTreeSet<AreaName>,
}

impl Visitor for Addressed {
    fn reaction<R: Reaction>(&mut self) {
        if !R::Target::INTERNAL.is_empty() {
            self.by_reactions.insert(R::Target::NAME);
        }
    }

    fn effect<E: Effect>(&mut self) {
        self.by_effects.insert(AreaOf::<E>::NAME);
    }
}

#[test]
fn the_users_of_reactions_and_effects_may_send_their_internal_commands() {
    let nats_conf = include_str!("../../../nats.conf");
    let mut addressed = Addressed::default();
    for area in AreaName::ALL {
        visit(*area, &mut addressed);
    }
    let Addressed {
        by_reactions,
        by_effects,
    } = addressed;
    let all = by_reactions.union(&by_effects).copied().collect();
    for (user, areas) in [
        ("reactions", by_reactions),
        ("effects", by_effects),
        ("workers", all),
    ] {
        let (_, of_user) = nats_conf.split_once(&format!("user: {user}\n")).unwrap();
        let (of_account, _) = of_user.split_once("\n  }\n").unwrap();
        let (of_user, _) = of_user.split_once("\n      }\n").unwrap();
        for area in areas {
            // All internal commands of the area, or a single one.
            let all = internal_commands_of(area);
            let beginning = format!("\"{}", all.trim_end_matches('*'));
            let mut lines = of_user.lines().map(str::trim);
            let subject = lines.find(|line| line.starts_with(&beginning));
            let subject = subject.unwrap_or_else(|| panic!("{user} lacks {all}"));
            let import = format!("service: {{ account: UB, subject: {subject} }}");
            let is_imported = user == "workers" || of_account.contains(&import);
            assert!(
                is_imported,
                "the account of {user} does not import {subject}"
            );
        }
    }
}
