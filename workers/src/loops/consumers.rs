//! Every stream and consumer, as data: created or updated at start-up, never deleted; and the
//! assertion that the server really runs them as asked. Nothing else in the workers knows a
//! stream's settings.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, bail, ensure};
use async_nats::{
    Client,
    jetstream::{
        Context, ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        context::{GetStreamError, GetStreamErrorKind},
        stream::{Config as Stream, DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use events_schema::{
    Area,
    subject::{self, COMMANDS, DEAD, EVENTS},
};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// Atomic batches arrived with 2.12, what we rely on of them was finished by 2.14.
const OLDEST_SERVER: (u64, u64) = (2, 14);
/// More commands than this waiting means that the workers are hopelessly behind: better to refuse
/// than to pile up.
const MOST_COMMANDS_WAITING: i64 = 1_000_000;
/// How long the first server may take to tell its settings.
const FIRST_SERVER: Duration = Duration::from_secs(5);
/// How long the further ones of a cluster may take after it: each start waits this long.
const NEXT_SERVER: Duration = Duration::from_millis(200);
/// A failed login is forgotten after a day.
const LOGINS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// About a million throttled addresses; past that the oldest are forgotten, so that a flood cannot
/// stop logins.
const LOGINS_MAX_BYTES: i64 = 256 * 1024 * 1024;

/// The last use of a token that was not used for so long is forgotten: longer than a token lives.
const TOKEN_USES_KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The five streams. `replicas` is 1 on one machine and 3 in production.
pub fn streams(replicas: usize) -> [Stream; 5] {
    let stream = |name: &str| Stream {
        name: name.to_owned(),
        subjects: subject::stream_subjects(name),
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        ..Stream::default()
    };
    let bucket = |name: &str, description: &str, kept: Duration| Stream {
        description: Some(description.to_owned()),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_age: kept,
        discard: DiscardPolicy::Old,
        allow_rollup: true,
        allow_direct: true,
        ..stream(&format!("KV_{name}"))
    };
    [
        Stream {
            description: Some("Commits and claims: the truth, kept for ever".to_owned()),
            retention: RetentionPolicy::Limits,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            allow_atomic_publish: true,
            ..stream(EVENTS)
        },
        Stream {
            description: Some("Commands waiting to be decided".to_owned()),
            retention: RetentionPolicy::WorkQueue,
            max_messages: MOST_COMMANDS_WAITING,
            ..stream(COMMANDS)
        },
        Stream {
            description: Some(
                "What could not be handled, with the reason in its headers".to_owned(),
            ),
            retention: RetentionPolicy::Limits,
            ..stream(DEAD)
        },
        Stream {
            max_bytes: LOGINS_MAX_BYTES,
            ..bucket("LOGINS", "Failed logins per address", LOGINS_KEPT)
        },
        bucket(
            "TOKEN_USES",
            "When access tokens were last used",
            TOKEN_USES_KEPT,
        ),
    ]
}

/// Creates or updates every stream and refuses to go on with a weaker one, or on a weaker server.
pub async fn ensure_streams(context: &Context, replicas: usize) -> anyhow::Result<()> {
    ensure_server(context).await?;
    for mut wanted in streams(replicas) {
        let name = wanted.name.clone();
        // Another worker may run with more copies, or know more areas; and placement is the
        // operator's.
        match context.get_stream(&name).await {
            Ok(stream) => {
                let have = &stream.cached_info().config;
                wanted.num_replicas = wanted.num_replicas.max(have.num_replicas);
                wanted.placement = have.placement.clone();
                let missing: Vec<String> = have
                    .subjects
                    .iter()
                    .filter(|subject| !wanted.subjects.contains(subject))
                    .cloned()
                    .collect();
                wanted.subjects.extend(missing);
            }
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("stream {name}")),
        }
        let info = context.create_or_update_stream(wanted.clone()).await.with_context(|| {
            format!("stream {name} can be neither created nor updated as needed; compare `nats stream info {name}` with workers/src/jetstream.rs")
        })?;
        ensure_as_wanted(&wanted, &info.config)?;
    }
    Ok(())
}

fn is_not_found(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn ensure_as_wanted(wanted: &Stream, got: &Stream) -> anyhow::Result<()> {
    let subjects = |stream: &Stream| stream.subjects.iter().cloned().collect::<BTreeSet<_>>();
    let checks = [
        ("subjects", subjects(got) == subjects(wanted)),
        ("storage", got.storage == wanted.storage),
        ("retention", got.retention == wanted.retention),
        ("discard", got.discard == wanted.discard),
        ("max_age", got.max_age == wanted.max_age),
        ("num_replicas", got.num_replicas >= wanted.num_replicas),
        ("deny_delete", got.deny_delete == wanted.deny_delete),
        ("deny_purge", got.deny_purge == wanted.deny_purge),
        ("allow_direct", got.allow_direct == wanted.allow_direct),
        (
            "allow_atomic_publish",
            got.allow_atomic_publish == wanted.allow_atomic_publish,
        ),
        ("no_ack", !got.no_ack),
    ];
    for (setting, holds) in checks {
        ensure!(
            holds,
            "stream {} has another {setting} than needed; see workers/src/jetstream.rs",
            wanted.name
        );
    }
    Ok(())
}

async fn ensure_server(context: &Context) -> anyhow::Result<()> {
    let version = context.client().server_info().version;
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u64>().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (oldest_major, oldest_minor) = OLDEST_SERVER;
    if (major, minor) < OLDEST_SERVER {
        bail!("nats-server {version} is too old; {oldest_major}.{oldest_minor} or later is needed");
    }
    ensure_synced(&context.client()).await
}

/// Every server says that it syncs before it acknowledges, or the log would lie about what is
/// stored.
async fn ensure_synced(client: &Client) -> anyhow::Result<()> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let question = json!({ "config": true }).to_string();
    client
        .publish_with_reply("$SYS.REQ.SERVER.PING.JSZ", inbox, question.into())
        .await?;
    let mut wait = FIRST_SERVER;
    let mut servers = 0;
    while let Ok(Some(answer)) = tokio::time::timeout(wait, answers.next()).await {
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        let name = answer
            .pointer("/server/name")
            .and_then(Value::as_str)
            .unwrap_or("?");
        let synced = answer
            .pointer("/data/config/sync_always")
            .and_then(Value::as_bool);
        let disabled = answer.pointer("/data/disabled").and_then(Value::as_bool);
        ensure!(
            synced == Some(true) || disabled == Some(true),
            "nats-server {name} acknowledges before it syncs; set `sync_interval: always` in its jetstream block, as in nats.conf"
        );
        servers += 1;
        wait = NEXT_SERVER;
    }
    ensure!(
        servers > 0,
        "no nats-server tells whether it syncs always; export `$SYS.REQ.SERVER.PING.JSZ` to the workers, as in nats.conf"
    );
    Ok(())
}

/// A durable pull consumer, and how patient it is.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// The loop it belongs to: the second token of its dead letters.
    pub worker_loop: &'static str,
    /// The stream it reads.
    pub stream: &'static str,
    /// Its durable name.
    pub name: String,
    /// The subjects it reads.
    pub filter: String,
    /// A delivery that is not settled for this long is made again, to any worker.
    pub ack_wait: Duration,
    /// After this many deliveries a message goes to DEAD.
    pub deliveries: i64,
    /// The wait before the second delivery; it doubles with each further one.
    pub first_retry: Duration,
    /// The longest wait between two deliveries.
    pub longest_retry: Duration,
    /// How many messages one process works on at once.
    pub concurrency: usize,
    /// How many it asks for at once: few where one takes long, since the ack wait runs from the
    /// delivery.
    pub prefetch: usize,
}

impl Consumer {
    /// Commands of an area. Five seconds are a thousand times what a command takes; a killed
    /// worker's are soon another's.
    pub fn commands(area: Area) -> Self {
        Self {
            worker_loop: "commands",
            stream: COMMANDS,
            name: format!("commands_{area}"),
            filter: subject::commands_of(area),
            ack_wait: Duration::from_secs(5),
            deliveries: 20,
            first_retry: Duration::from_millis(100),
            longest_retry: Duration::from_secs(5),
            concurrency: 128,
            prefetch: 64,
        }
    }

    /// Commits of an area that feed a view. Deliveries outlast hours without MongoDB, and the wait
    /// between them stays short, so that views are up to date soon after it is back. The ack wait
    /// is short, too: until what a dead worker held is another's, a right that was taken away may
    /// still be used.
    pub fn views(name: &str, area: Area) -> Self {
        Self {
            worker_loop: "views",
            stream: EVENTS,
            name: format!("views_{name}"),
            filter: subject::events_of(area),
            ack_wait: Duration::from_secs(2),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 400,
            prefetch: 200,
        }
    }

    /// Commits that a reaction reads.
    pub fn reactions(name: &str, source: Area) -> Self {
        Self {
            worker_loop: "reactions",
            stream: EVENTS,
            name: format!("reactions_{name}"),
            filter: subject::events_of(source),
            ack_wait: Duration::from_secs(10),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 64,
            prefetch: 32,
        }
    }

    /// Commits that an effect acts on. A minute is longer than the slowest thing it waits for
    /// outside.
    pub fn effects(name: &str, source: Area, deliveries: i64) -> Self {
        Self {
            worker_loop: "effects",
            stream: EVENTS,
            name: format!("effects_{name}"),
            filter: subject::events_of(source),
            ack_wait: Duration::from_secs(60),
            deliveries,
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(60 * 60),
            concurrency: 8,
            prefetch: 1,
        }
    }

    /// Creates or updates it.
    pub async fn ensure(&self, context: &Context) -> anyhow::Result<PullConsumer> {
        let wanted = pull::Config {
            durable_name: Some(self.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // The loop gives up at `deliveries`, with a copy in DEAD. The server must not: it would
            // do so silently.
            max_deliver: -1,
            max_ack_pending: 10_000,
            filter_subject: self.filter.clone(),
            ..pull::Config::default()
        };
        let consumer: PullConsumer = context
            .create_consumer_on_stream(wanted.clone(), self.stream)
            .await
            .with_context(|| format!("consumer {} on stream {}", self.name, self.stream))?;
        let got = &consumer.cached_info().config;
        ensure!(
            got.ack_policy == wanted.ack_policy
                && got.ack_wait == wanted.ack_wait
                && got.max_deliver == wanted.max_deliver
                && got.max_ack_pending == wanted.max_ack_pending
                && got.filter_subject == wanted.filter_subject,
            "consumer {} is not as needed; see workers/src/jetstream.rs",
            self.name
        );
        Ok(consumer)
    }
}
