//! The commits of some areas leave the log after a time.

use std::time::SystemTime;

use async_nats::{HeaderMap, jetstream::stream};
use events_schema::{
    Actor, Area, AreaName, Command, CommandId, Commit, CommitSummary, Device, Id, Outcome,
    SessionId, TenantId, email, session,
    subject::{EVENTS, of_events_stream},
};
use futures_util::StreamExt;
use mongodb::bson::{Document, doc};

use crate::support::{COMMANDS_AND_VIEWS, World, eventually, id};

/// Writes a commit to the log, which keeps it for this many seconds, or for ever. Returns its
/// sequence.
async fn write<A: Area>(
    world: &World,
    id: Id,
    revision: u64,
    event: A::Event,
    kept_s: Option<u32>,
) -> u64 {
    let commit = Commit::<A> {
        tenant: TenantId::Platform,
        area: A::NAME,
        id: id.into(),
        revision,
        command: CommandId(self::id()),
        actor: Actor::System,
        time: SystemTime::now().into(),
        origin: None,
        events: vec![event],
    };
    let mut headers = HeaderMap::new();
    if let Some(seconds) = kept_s {
        headers.insert("Nats-TTL", format!("{seconds}s"));
    }
    let payload = serde_json::to_vec(&commit).unwrap();
    let subject = commit.subject().to_string();
    let published = world
        .operator
        .publish_with_headers(subject, headers, payload.into());
    published.await.unwrap().await.unwrap().sequence
}

fn started() -> session::Event {
    session::Event::Started {
        account: id().into(),
        epoch: 0,
        device: Device::from_user_agent("curl"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_an_earlier_release_may_drop_commits_after_an_upgrade() {
    let world = World::start().await;
    let earlier = stream::Config {
        name: EVENTS.to_owned(),
        subjects: of_events_stream(),
        discard: stream::DiscardPolicy::New,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    world.operator.create_stream(earlier).await.unwrap();
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    // Without the new setting, the server refuses a message with an end.
    write::<session::Area>(&world, id(), 1, started(), Some(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_first_commit_has_left_the_log_does_not_exist() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let (ended, sent) = (id(), id());
    write::<session::Area>(&world, ended, 2, session::Event::Ended, None).await;
    write::<email::Area>(&world, sent, 2, email::Event::Sent, None).await;
    for area in [AreaName::Session, AreaName::Email] {
        // As tombstones.
        world.views_up_to_date(area).await;
        let documents = world.views.collection::<Document>(area.as_str());
        let shown = doc! { "view": { "$ne": null } };
        assert_eq!(documents.count_documents(shown).await.unwrap(), 0);
        let before = world.documents(area).await;
        documents.drop().await.unwrap();
        let mut rebuild = world.process(&["rebuild-views", "--areas", area.as_str()]);
        assert!(rebuild.status().await.unwrap().success());
        assert_eq!(world.documents(area).await, before);
    }
    let reply = world.gateway.new_inbox();
    let mut answers = world.gateway.subscribe(reply.clone()).await.unwrap();
    let command = Command::<session::Area> {
        reply: Some(reply),
        ..Command::by_system(
            CommandId(id()),
            TenantId::Platform,
            SessionId(ended),
            SystemTime::now().into(),
            session::Command::End {
                account: id().into(),
            },
        )
    };
    let subject = command.subject().unwrap().to_string();
    let payload = serde_json::to_vec(&command).unwrap();
    let sent = world.gateway.publish(subject, payload.into());
    sent.await.unwrap();
    let outcome = answers.next().await.unwrap().payload;
    let outcome: Outcome = serde_json::from_slice(&outcome).unwrap();
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    assert_eq!(
        world
            .commits::<CommitSummary>(AreaName::Session)
            .await
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_whose_commits_have_left_the_log_are_removed() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let old = write::<session::Area>(&world, id(), 1, started(), Some(2)).await;
    write::<session::Area>(&world, id(), 1, started(), None).await;
    let sessions = world.views.collection::<Document>("session");
    let count = |wanted| {
        let sessions = &sessions;
        move || async move { sessions.count_documents(doc! {}).await.unwrap() == wanted }
    };
    eventually("both documents", count(2)).await;
    let events = world.operator.get_stream("EVENTS").await.unwrap();
    eventually("the end of the commit", || async {
        events.get_raw_message(old).await.is_err()
    })
    .await;
    // A worker removes what has expired when it starts.
    let _second = world.spawn_worker(&["--loops", "views"]);
    eventually("the end of the document", count(1)).await;
    let left = sessions.find_one(doc! {}).await.unwrap().unwrap();
    assert!(left.get_i64("sequence").unwrap() > i64::try_from(old).unwrap());
}
