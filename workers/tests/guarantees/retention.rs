//! The commits of some areas leave the log after a time.

use std::time::{Duration, SystemTime};

use async_nats::{HeaderValue, header::NATS_MESSAGE_TTL, jetstream::stream};
use events_schema::{
    Actor, Area, AreaName, Command, CommandId, Commit, CommitSummary, Device, EmailAddress, Id,
    Outcome, SessionId, TenantId, email, session,
    subject::{EVENTS, of_events_stream},
};
use futures_util::StreamExt;
use mongodb::bson::{Document, doc};

use crate::support::{COMMANDS_AND_VIEWS, World, id};

/// Writes a commit of this age to the log.
async fn write<A: Area>(world: &World, id: Id, revision: u64, event: A::Event, age: Duration) {
    let commit = Commit::<A> {
        tenant: TenantId::Platform,
        area: A::NAME,
        id: id.into(),
        revision,
        command: CommandId(self::id()),
        actor: Actor::System,
        time: (SystemTime::now() - age).into(),
        origin: None,
        events: vec![event],
    };
    let payload = serde_json::to_vec(&commit).unwrap();
    let subject = commit.subject().to_string();
    let published = world.operator.publish(subject, payload.into());
    published.await.unwrap().await.unwrap();
}

const NEW: Duration = Duration::ZERO;
const OLD: Duration = Duration::from_secs(401 * 24 * 60 * 60);

fn requested() -> email::Event {
    email::Event::Requested {
        to: EmailAddress::parse("ada@example.com").unwrap(),
        template: email::Template::AlreadyRegistered,
        not_before: None,
    }
}

fn started() -> session::Event {
    session::Event::Started {
        proofs: None,
        name: None,
        account: id().into(),
        epoch: 0,
        device: Device::from_user_agent("curl"),
    }
}

async fn outcome_of(world: &World, session: SessionId, payload: session::Command) -> Outcome {
    let reply = world.gateway.new_inbox();
    let mut answers = world.gateway.subscribe(reply.clone()).await.unwrap();
    let now = SystemTime::now().into();
    let command = Command::<session::Area> {
        reply: Some(reply),
        ..Command::by_system(CommandId(id()), TenantId::Platform, session, now, payload)
    };
    let subject = command.subject().unwrap().to_string();
    let payload = serde_json::to_vec(&command).unwrap();
    let sent = world.gateway.publish(subject, payload.into());
    sent.await.unwrap();
    let outcome = answers.next().await.unwrap().payload;
    serde_json::from_slice(&outcome).unwrap()
}

/// The header that says when a commit of a session leaves the log.
async fn end_of_a_session(world: &World) -> Option<HeaderValue> {
    let (session, account) = (SessionId(id()), id().into());
    let start = session::Command::Start {
        proofs: None,
        name: None,
        account,
        epoch: 0,
        device: Device::from_user_agent("curl"),
    };
    let outcome = outcome_of(world, session, start).await;
    let Outcome::Committed { sequence, .. } = outcome else {
        panic!("{outcome:?}");
    };
    let events = world.operator.get_stream("EVENTS").await.unwrap();
    let stored = events.get_raw_message(sequence).await.unwrap();
    stored.headers.get(NATS_MESSAGE_TTL).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_session_leaves_the_log_after_400_days() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let end = end_of_a_session(&world).await.unwrap();
    assert_eq!(end.as_str(), "34560000s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_an_earlier_release_keeps_everything_until_its_operator_says_otherwise() {
    let world = World::start().await;
    let mut log = stream::Config {
        name: EVENTS.to_owned(),
        subjects: of_events_stream(),
        discard: stream::DiscardPolicy::New,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    world.operator.delete_stream(EVENTS).await.unwrap();
    world.operator.create_stream(log.clone()).await.unwrap();
    let migrated = world.process(&["migrate"]).status().await.unwrap();
    assert!(migrated.success());
    {
        let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
        assert_eq!(end_of_a_session(&world).await, None);
    }
    // Workers of the earlier release may start again.
    let present = world.operator.get_stream(EVENTS).await.unwrap();
    assert!(!present.cached_info().config.allow_message_ttl);
    log.subjects = present.cached_info().config.subjects.clone();
    log.allow_message_ttl = true;
    world.operator.update_stream(log).await.unwrap();
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    assert!(end_of_a_session(&world).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_first_commit_has_expired_does_not_exist() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let (ended, sent) = (id(), id());
    write::<session::Area>(&world, ended, 2, session::Event::Ended, NEW).await;
    write::<email::Area>(&world, sent, 2, email::Event::Sent, NEW).await;
    // An earlier release has stored them for ever.
    write::<session::Area>(&world, id(), 1, started(), OLD).await;
    write::<email::Area>(&world, id(), 1, requested(), OLD).await;
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
    let end = session::Command::End {
        account: id().into(),
    };
    let outcome = outcome_of(&world, SessionId(ended), end).await;
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    let sessions = world.commits::<CommitSummary>(AreaName::Session).await;
    assert_eq!(sessions.len(), 2, "nothing was added");
}
