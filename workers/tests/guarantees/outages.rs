//! Servers that are there and take nothing.

use std::time::Duration;

use events_schema::{AreaName, CommandId, CommitSummary};
use tokio::time::sleep;

use crate::support::{WITHOUT_EFFECTS, World, eventually, id, rename};

/// Lets the log take this many further messages, or any number.
async fn limit_log(world: &World, further: Option<u64>) {
    let mut events = world.operator.get_stream("EVENTS").await.unwrap();
    let info = events.info().await.unwrap();
    let mut config = info.config.clone();
    let limit = further.map(|further| i64::try_from(info.state.messages + further).unwrap());
    config.max_messages = limit.unwrap_or(-1);
    world.operator.update_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_takes_no_commit_nothing_goes_to_dead_and_nothing_is_lost() {
    let world = World::start().await;
    let _worker = world.workers::<1>(WITHOUT_EFFECTS).await;
    // Room for the registration, its claim and a request, and none for the mail that follows.
    limit_log(&world, Some(3)).await;
    let account = world.register_and_mail("ada@example.com").await;
    let refused = world.send(account, CommandId(id()), &rename("Byron")).await;
    assert_eq!(refused, None);
    // Twenty attempts of a command take 76 seconds.
    sleep(Duration::from_secs(85)).await;
    assert_eq!(world.dead().await, []);
    limit_log(&world, None).await;
    eventually("the mail", || async {
        world.commits::<CommitSummary>(AreaName::Email).await.len() == 1
    })
    .await;
    world
        .send_to(account, CommandId(id()), &rename("King"))
        .await;
    world.views_up_to_date(AreaName::Account).await;
    eventually("an empty queue", || async {
        world.queued_commands().await == 0
    })
    .await;
    assert_eq!(world.dead().await, []);
    assert_eq!(
        world.commits::<CommitSummary>(AreaName::Email).await.len(),
        1
    );
}
