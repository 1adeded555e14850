//! nats-server sends the answer to a request to any reply subject, without asking for a permission.
//! A consumer delivers to any subject, too. So users that store content of their choice, or read the
//! log, must not reach the subjects of the log in either way.

use async_nats::{
    Client, HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        stream::LastRawMessageErrorKind,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use servers::Role::{self, Effects, Gateway, Inbound, Operator, Reactions, Views, Webhooks};
use tokio::time::timeout;

use crate::{
    broker::{Broker, LIMIT},
    table::PUBLISHERS,
};

/// What is stored.
const FORGED: &str = r#"{"forged":true}"#;
/// Where an attacker wants to have it: a commit, commands, and a view document.
const TARGETS: [&str; 4] = [
    "evt.platform.account.a",
    "int.platform.account.grant_platform_admin",
    "int.platform.email.request",
    "view.platform.account.a",
];
/// The streams with these targets.
const TARGETED: [(&str, &str); 3] = [
    ("EVENTS", "evt.>"),
    ("COMMANDS", "int.>"),
    ("VIEWS", "view.>"),
];
/// A subject of each of them.
const BEHIND: [&str; 3] = ["evt.z.z.z", "int.z.z.z", "view.z.z.z"];
/// The streams where somebody stores content.
const OTHERS: [(&str, &str); 6] = [
    ("KV_LOGINS", "$KV.LOGINS.>"),
    ("KV_FLOWS", "$KV.FLOWS.>"),
    ("KV_CURSORS", "$KV.CURSORS.>"),
    ("ATTEMPTS", "att.>"),
    ("WEBHOOKS", "whk.>"),
    ("INBOX", "inr.>"),
];
/// The consumers of the loops.
const CONSUMERS: [(&str, &str); 5] = [
    ("WEBHOOKS", "webhooks_deliver"),
    ("INBOX", "inbound_hooks"),
    ("EVENTS", "views_a"),
    ("EVENTS", "reactions_a"),
    ("EVENTS", "effects_a"),
];
/// Everybody who must not write the log.
const ROLES: [Role; 6] = [Gateway, Webhooks, Inbound, Views, Reactions, Effects];

/// How a user may read content, and who has stored it.
struct Way {
    role: Role,
    stored_by: Role,
    stored_on: &'static str,
    read_by: &'static str,
    question: &'static str,
}

/// Returns a way in which a user stores content, and reads it again.
const fn way(
    role: Role,
    stored_on: &'static str,
    read_by: &'static str,
    question: &'static str,
) -> Way {
    Way {
        role,
        stored_by: role,
        stored_on,
        read_by,
        question,
    }
}

/// Returns a way in which a user reads the log.
const fn way_of_log(role: Role, read_by: &'static str, question: &'static str) -> Way {
    Way {
        stored_by: Operator,
        ..way(role, LOGGED, read_by, question)
    }
}

/// Where the log has content that a customer chooses, such as the name of a project.
const LOGGED: &str = "evt.a.project.a";
const LAST_OF_LOG: &str = r#"{"last_by_subj":"evt.a.project.a"}"#;
/// Asks a consumer for one message, within 20 seconds.
const ONE: &str = r#"{"batch":1,"expires":20000000000}"#;
const WAYS: [Way; 12] = [
    way(
        Gateway,
        "$KV.LOGINS.a",
        "$JS.API.DIRECT.GET.KV_LOGINS.$KV.LOGINS.a",
        "",
    ),
    way(
        Webhooks,
        "$KV.CURSORS.a.b",
        "$JS.API.DIRECT.GET.KV_CURSORS.$KV.CURSORS.a.b",
        "",
    ),
    way(
        Webhooks,
        "att.a.b.ok",
        "$JS.API.DIRECT.GET.ATTEMPTS",
        r#"{"last_by_subj":"att.a.b.ok"}"#,
    ),
    way(
        Webhooks,
        "att.a.b.ok",
        "$JS.API.DIRECT.GET.ATTEMPTS",
        r#"{"seq":1,"next_by_subj":"att.>","batch":1}"#,
    ),
    way(
        Webhooks,
        "whk.a.b",
        "$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.webhooks_deliver",
        ONE,
    ),
    way(
        Inbound,
        "inr.a.b.c",
        "$JS.API.DIRECT.GET.INBOX",
        r#"{"last_by_subj":"inr.a.b.c"}"#,
    ),
    way(
        Inbound,
        "inr.a.b.c",
        "$JS.API.CONSUMER.MSG.NEXT.INBOX.inbound_hooks",
        ONE,
    ),
    way_of_log(Views, "$JS.API.DIRECT.GET.EVENTS", LAST_OF_LOG),
    way_of_log(Views, "$JS.API.CONSUMER.MSG.NEXT.EVENTS.views_a", ONE),
    way_of_log(
        Reactions,
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.reactions_a",
        ONE,
    ),
    way_of_log(Effects, "$JS.API.DIRECT.GET.EVENTS", LAST_OF_LOG),
    way_of_log(Effects, "$JS.API.CONSUMER.MSG.NEXT.EVENTS.effects_a", ONE),
];

async fn create_streams(operator: &jetstream::Context) {
    for (name, subject) in TARGETED.into_iter().chain(OTHERS) {
        let config = jetstream::stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            allow_direct: true,
            ..Default::default()
        };
        operator.create_stream(config).await.unwrap();
    }
    for (stream, name) in CONSUMERS {
        let config = pull::Config {
            durable_name: Some(name.into()),
            ack_policy: AckPolicy::Explicit,
            ..Default::default()
        };
        let created = operator.create_consumer_on_stream(config, stream).await;
        created.unwrap();
    }
}

/// Returns the answer, which may have the subject under which it is stored.
async fn ask(client: &Client, subject: &'static str, payload: &'static str) -> String {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let asked = client.publish_with_reply(subject, inbox, payload.into());
    asked.await.unwrap();
    let answer = timeout(LIMIT, answers.next()).await.unwrap().unwrap();
    String::from_utf8(answer.payload.into()).unwrap()
}

#[tokio::test]
async fn nobody_but_the_loop_that_decides_can_have_answers_stored_in_the_log() {
    let broker = Broker::start().await;
    let operator = broker.jetstream(Operator).await;
    create_streams(&operator).await;
    for way in &WAYS {
        let client = broker.connect(way.role).await.client;
        let storing = broker.connect(way.stored_by).await.client;
        // A consumer has one for each request.
        for _ in 0..TARGETS.len() + 2 {
            let stored = ask(&storing, way.stored_on, FORGED).await;
            assert!(stored.contains(r#""seq":"#), "{stored}");
        }
        // The user itself gets the answer.
        let read = ask(&client, way.read_by, way.question).await;
        assert_eq!(read, FORGED, "{}", way.read_by);
        for target in TARGETS {
            let read = client.publish_with_reply(way.read_by, target, way.question.into());
            read.await.unwrap();
            let mut traced = HeaderMap::new();
            traced.insert("Nats-Trace-Dest", target);
            let read = client.publish_with_headers(way.read_by, traced, way.question.into());
            read.await.unwrap();
            if way.stored_by == way.role {
                store_for(&client, way.stored_on, target).await;
            }
        }
        // What was sent before has been answered and stored by now.
        ask(&client, way.read_by, way.question).await;
        for subject in BEHIND {
            ask(&operator.client(), subject, FORGED).await;
        }
        for target in TARGETS {
            let is_wrong = !may_publish(way.role, target) && is_stored(&operator, target).await;
            assert!(!is_wrong, "{:?}: {} to {target}", way.role, way.read_by);
        }
        empty_targeted(&operator).await;
    }
}

async fn empty_targeted(operator: &jetstream::Context) {
    for (name, _) in TARGETED {
        let stream = operator.get_stream(name).await.unwrap();
        stream.purge().await.unwrap();
    }
}

/// Whether a user may store it there anyway.
fn may_publish(role: Role, subject: &str) -> bool {
    let (_, publishers) = PUBLISHERS
        .iter()
        .find(|(known, _)| *known == subject)
        .unwrap();
    publishers.contains(&role)
}

/// Stores content, with answers and traces for a subject.
async fn store_for(client: &Client, stored_on: &'static str, target: &'static str) {
    let stored = client.publish_with_reply(stored_on, target, FORGED.into());
    stored.await.unwrap();
    let mut traced = HeaderMap::new();
    traced.insert("Nats-Trace-Dest", target);
    let stored = client.publish_with_headers(stored_on, traced, FORGED.into());
    stored.await.unwrap();
}

/// Whether a stream has a message on this subject.
async fn is_stored(operator: &jetstream::Context, target: &str) -> bool {
    for (name, _) in TARGETED {
        let stream = operator.get_stream(name).await.unwrap();
        match stream.get_last_raw_message_by_subject(target).await {
            Ok(_) => return true,
            Err(error) => assert_eq!(error.kind(), LastRawMessageErrorKind::NoMessageFound),
        }
    }
    false
}

#[tokio::test]
async fn nobody_but_the_loop_that_decides_can_have_anything_delivered_into_the_log() {
    let broker = Broker::start().await;
    let operator = broker.jetstream(Operator).await;
    create_streams(&operator).await;
    let streams = OTHERS.into_iter().chain(TARGETED).map(|(name, _)| name);
    for role in ROLES {
        let client = broker.connect(role).await.client;
        for stream in streams.clone() {
            for (consumer, target) in ["a", "webhooks_deliver", "views_a", "inbound_hooks"]
                .into_iter()
                .zip(TARGETS)
            {
                let config = serde_json::json!({
                    "stream_name": stream,
                    "config": {
                        "name": consumer, "durable_name": consumer,
                        "deliver_subject": target, "ack_policy": "explicit",
                    },
                });
                let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}");
                let reply = client.new_inbox();
                let created = client.publish_with_reply(subject, reply, config.to_string().into());
                created.await.unwrap();
            }
        }
        client.flush().await.unwrap();
    }
    for name in streams {
        let stream = operator.get_stream(name).await.unwrap();
        let mut consumers = stream.consumers();
        while let Some(consumer) = consumers.try_next().await.unwrap() {
            assert_eq!(consumer.config.deliver_subject, None, "{name}");
        }
    }
}

/// A scheduled message is sent to a subject that it names itself.
#[tokio::test]
async fn a_scheduled_message_stays_in_its_stream() {
    let broker = Broker::start().await;
    let operator = broker.jetstream(Operator).await;
    let config = jetstream::stream::Config {
        name: "WEBHOOKS".into(),
        subjects: vec!["whk.*.*".into(), "whs.*.*".into()],
        allow_message_schedules: true,
        ..Default::default()
    };
    operator.create_stream(config).await.unwrap();
    let client = broker.connect(Webhooks).await.client;
    for (target, expected) in [("whk.a.b", r#""seq":"#), (TARGETS[0], "target is invalid")] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Schedule", "@at 2020-01-01T00:00:00Z");
        headers.insert("Nats-Schedule-Target", target);
        let sent = client.request_with_headers("whs.a.b", headers, FORGED.into());
        let answer = String::from_utf8(sent.await.unwrap().payload.into()).unwrap();
        assert!(answer.contains(expected), "{target}: {answer}");
    }
}
