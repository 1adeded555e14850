//! Limits on the live objects of a tenant: they are never exceeded, whoever races, repeats or dies.

use std::{collections::BTreeMap, time::Duration};

use async_nats::Subscriber;
use events_schema::{
    AreaName, Claim, ClaimHolder, CommandId, Id, Outcome, ProjectId, Subject, project,
};
use futures_util::{StreamExt as _, future::join_all};
use tokio::process::Child;

use crate::{
    fill::write_to_log,
    support::{World, id},
};

mod seats;
pub mod tenant;

use tenant::{Tenant, assert_won, racers};

const COMMANDS: &[&str] = &["--loops", "commands"];

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_racers_for_three_places_three_win() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    assert_won(&acme.race(&racers(100, 3)).await, 3, 3);
    let created = acme.created(&world).await;
    assert_eq!(created.len(), 3);
    for (sequence, commit) in created {
        let holder = acme.claimed_before(&world, sequence).await;
        assert_eq!(holder, Some(commit.id.0), "at sequence {sequence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_racers_at_two_workers_three_win() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS).await;
    for _ in 0..5 {
        let acme = Tenant::new(&world).await;
        assert_won(&acme.race(&racers(100, 3)).await, 3, 3);
        assert_eq!(acme.created(&world).await.len(), 3);
    }
}

/// Kills a worker each time that a commit is on its way, and starts another one.
async fn kill_at_each_commit(world: &World, mut commits: Subscriber, workers: &mut [Child; 2]) {
    let mut victim = 0;
    while commits.next().await.is_some() {
        workers[victim].start_kill().unwrap();
        workers[victim] = world.spawn_worker(COMMANDS);
        victim = 1 - victim;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_at_each_commit_leave_three_winners() {
    let world = World::start().await;
    let mut workers = world.workers::<2>(COMMANDS).await;
    for _ in 0..4 {
        let acme = Tenant::new(&world).await;
        let commits = format!("evt.{}.project.*", acme.id);
        let commits = world.announced(&commits).await;
        let racers = racers(100, 3);
        let outcomes = tokio::select! {
            outcomes = acme.race(&racers) => outcomes,
            () = kill_at_each_commit(&world, commits, &mut workers) => unreachable!(),
        };
        assert_won(&outcomes, 3, 3);
        let created = acme.created(&world).await;
        assert_eq!(created.len(), 3);
        for (_, commit) in created {
            let mut racers = racers.iter();
            let at = racers.position(|(project, _)| *project == commit.id.0);
            assert!(outcomes[at.unwrap()].revision().is_ok());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_midway_holds_from_then_on_and_deletes_nothing() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    let (high, low) = (racers(40, 5), racers(40, 3));
    let each = high
        .into_iter()
        .zip(low)
        .flat_map(|(high, low)| [high, low]);
    let racers: Vec<(Id, u64)> = each.collect();
    acme.race(&racers).await;

    let limits: BTreeMap<Id, u64> = racers.into_iter().collect();
    let created = acme.created(&world).await;
    assert_eq!(created.len(), 5);
    for (count, (sequence, commit)) in (1..).zip(&created) {
        assert!(count <= limits[&commit.id.0], "at sequence {sequence}");
    }
    assert_won(&[acme.create(id(), Some(3)).await], 0, 5);
    acme.delete(created[0].1.id.0).await;
    assert_won(&[acme.create(id(), Some(3)).await], 0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_objects_than_the_log_answers_for_at_once_are_counted() {
    let world = World::start().await;
    let [mut worker] = world.workers(COMMANDS).await;
    for count in [1_024, 1_025, 1_500] {
        let acme = Tenant::new(&world).await;
        let projects: Vec<Id> = (0..count).map(|_| id()).collect();
        write_to_log(&world, acme.id, &projects, 1).await;
        write_to_log(&world, acme.id, &projects[..10], 2).await;
        assert_won(&[acme.create(id(), Some(count)).await], 0, count);
        let limit = count + 2;
        assert_won(&acme.race(&racers(10, limit)).await, 2, limit);
        acme.send::<project::Area>(
            CommandId(id()),
            ProjectId(projects[700]),
            project::Command::Delete,
            None,
        )
        .await;
        assert_won(&acme.race(&racers(5, limit)).await, 1, limit);
        // A worker that has counted nothing yet counts the same.
        worker.kill().await.unwrap();
        [worker] = world.workers(COMMANDS).await;
        assert_won(&acme.race(&racers(5, limit)).await, 0, limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_leaves_its_place_to_another() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    let mut last = id();
    assert_won(&[acme.create(last, Some(1)).await], 1, 1);
    for _ in 0..5 {
        assert_won(&acme.race(&racers(4, 1)).await, 0, 1);
        acme.delete(last).await;
        let racers = racers(4, 1);
        let outcomes = acme.race(&racers).await;
        assert_won(&outcomes, 1, 1);
        let won = outcomes
            .iter()
            .position(|outcome| outcome.revision().is_ok());
        last = racers[won.unwrap()].0;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_is_answered_from_the_history_and_counted_once() {
    let world = World::start().await;
    let [mut worker] = world.workers(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    let (first, second) = (id(), id());
    let outcome = acme.create(first, Some(2)).await;
    let Outcome::Committed { revision, sequence } = outcome else {
        panic!("{outcome:?}");
    };
    let again = Outcome::DoneBefore { revision, sequence };
    assert_eq!(acme.create(first, Some(2)).await, again);
    assert_won(&[acme.create(second, Some(2)).await], 1, 2);
    assert_won(&[acme.create(id(), Some(2)).await], 0, 2);
    // Also by a worker that has not decided it, while no place is left, or after a deletion.
    let deleted = id();
    assert_won(&[acme.create(deleted, Some(3)).await], 1, 3);
    acme.delete(deleted).await;
    worker.kill().await.unwrap();
    let _worker = world.workers::<1>(COMMANDS).await;
    for limit in [0, 2] {
        assert_eq!(acme.create(first, Some(limit)).await, again);
    }
    let outcome = acme.create(deleted, Some(2)).await;
    assert!(
        matches!(outcome, Outcome::DoneBefore { revision: 1, .. }),
        "{outcome:?}"
    );
    assert_won(&[acme.create(id(), Some(2)).await], 0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_were_made_without_a_limit_are_counted() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS).await;
    let (acme, other) = (Tenant::new(&world).await, Tenant::new(&world).await);
    let unlimited = async |tenant: &Tenant, count: usize| {
        let each = (0..count).map(|_| tenant.create(id(), None));
        assert_won(&join_all(each).await, count, 0);
    };
    tokio::join!(unlimited(&acme, 2), unlimited(&other, 10));
    // They cost nothing, so nothing was claimed.
    for (sequence, _) in acme.created(&world).await {
        assert_eq!(acme.claimed_before(&world, sequence).await, None);
    }
    assert_won(&acme.race(&racers(20, 3)).await, 1, 3);
    unlimited(&acme, 4).await;
    assert_won(&acme.race(&racers(5, 7)).await, 0, 7);
    assert_won(&acme.race(&racers(5, 8)).await, 1, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_misses_the_commit_behind_the_claim_is_not_believed() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    // As if the log were read at a server that does not have that commit yet.
    let claim = Claim::limit(acme.id, AreaName::Project).to_string();
    let payload = serde_json::to_vec(&ClaimHolder::held_by(id(), None)).unwrap();
    let claimed = world.operator.publish(claim, payload.into()).await.unwrap();
    claimed.await.unwrap();
    let project = id();
    let waiting = acme.create(project, Some(1));
    let waiting = tokio::time::timeout(Duration::from_secs(3), waiting).await;
    assert!(waiting.is_err(), "{waiting:?}");
    write_to_log(&world, acme.id, &[id()], 1).await;
    assert_won(&[acme.create(project, Some(1)).await], 0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_commit_cannot_be_read_is_counted() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    let subject = Subject::Event {
        tenant: acme.id,
        area: AreaName::Project,
        id: id(),
    };
    let stored = world
        .operator
        .publish(subject.to_string(), "garbage".into());
    stored.await.unwrap().await.unwrap();
    assert_won(&acme.race(&racers(3, 2)).await, 1, 2);
}
