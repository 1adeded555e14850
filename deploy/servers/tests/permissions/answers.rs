//! nats-server sends the answer to a request to any reply subject, without asking for a permission.
//! A consumer delivers to any subject, too. So users that store content of their choice must not
//! reach the subjects of the log in either way.

use async_nats::{
    Client, HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use servers::Role::{self, Gateway, Inbound, Operator, Webhooks};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};

/// What a user stores.
const FORGED: &str = r#"{"forged":true}"#;
/// Where an attacker wants to have it: a commit, and a command of an operator.
const TARGETS: [&str; 2] = ["evt.a.b.c", "int.platform.account.grant_platform_admin"];
/// The streams with these targets.
const TARGETED: [(&str, &str); 2] = [("EVENTS", "evt.>"), ("COMMANDS", "int.>")];
/// The streams where somebody stores content.
const OTHERS: [(&str, &str); 5] = [
    ("KV_LOGINS", "$KV.LOGINS.>"),
    ("KV_CURSORS", "$KV.CURSORS.>"),
    ("ATTEMPTS", "att.>"),
    ("WEBHOOKS", "whk.>"),
    ("INBOX", "inr.>"),
];
/// The consumers of the loops.
const CONSUMERS: [(&str, &str); 2] = [("WEBHOOKS", "webhooks_deliver"), ("INBOX", "inbound_hooks")];

/// How a user may store content, and read it again.
struct Way {
    role: Role,
    stored_on: &'static str,
    read_by: &'static str,
    question: &'static str,
}

const fn way(
    role: Role,
    stored_on: &'static str,
    read_by: &'static str,
    question: &'static str,
) -> Way {
    Way {
        role,
        stored_on,
        read_by,
        question,
    }
}

/// Asks a consumer for one message, within 20 seconds.
const ONE: &str = r#"{"batch":1,"expires":20000000000}"#;
const WAYS: [Way; 7] = [
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
async fn those_who_store_content_of_their_choice_cannot_have_answers_stored_in_the_log() {
    let broker = Broker::start().await;
    let operator = broker.jetstream(Operator).await;
    create_streams(&operator).await;
    for way in &WAYS {
        let client = broker.connect(way.role).await.client;
        let stored = ask(&client, way.stored_on, FORGED).await;
        assert!(stored.contains(r#""seq":"#), "{stored}");
        // The user itself gets the answer.
        let read = ask(&client, way.read_by, way.question).await;
        assert_eq!(read, FORGED, "{}", way.read_by);
        for target in TARGETS {
            let stored = client.publish_with_reply(way.stored_on, target, FORGED.into());
            stored.await.unwrap();
            let read = client.publish_with_reply(way.read_by, target, way.question.into());
            read.await.unwrap();
            let mut traced = HeaderMap::new();
            traced.insert("Nats-Trace-Dest", target);
            let stored = client.publish_with_headers(way.stored_on, traced, FORGED.into());
            stored.await.unwrap();
        }
        // What was sent before has been answered by now.
        ask(&client, way.stored_on, FORGED).await;
    }
    for (name, _) in TARGETED {
        let stream = operator.get_stream(name).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 0, "{name}");
    }
}

#[tokio::test]
async fn those_who_store_content_of_their_choice_cannot_have_it_delivered_into_the_log() {
    let broker = Broker::start().await;
    let operator = broker.jetstream(Operator).await;
    create_streams(&operator).await;
    for role in [Gateway, Webhooks, Inbound] {
        let client = broker.connect(role).await.client;
        for (stream, _) in OTHERS {
            for (consumer, target) in ["forged", "webhooks_deliver"].into_iter().zip(TARGETS) {
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
    for (name, _) in OTHERS {
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
