//! Streams and buckets are created or updated by `workers migrate`, and never deleted. The workers
//! refuse a server that runs them with weaker settings. Those that decide commands create
//! and update the streams of transport, which a server keeps in memory and forgets when it stops.
//! Nobody else may: a stream can send its messages on to any subject, also to those of the log. So
//! can a consumer, and they also create the consumers of all other loops.

mod consumers;
mod settings;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use async_nats::{
    Client,
    jetstream::{
        self, Context, ErrorCode,
        context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind},
        stream::Config as Stream,
    },
};
use events_schema::subject::{EVENTS, SERVER_SETTINGS};
use futures_util::{StreamExt, future::try_join_all};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use self::{
    consumers::keep_consumers,
    settings::{is_transport, streams},
};

/// The oldest nats-server whose atomic batches do what we rely on.
const OLDEST_SERVER: (u64, u64) = (2, 14);
/// How long the first server may take to report its settings.
const FIRST_SERVER: Duration = Duration::from_secs(5);
/// How long each further server of a cluster may take after the one before. Each start waits this
/// long.
const NEXT_SERVER: Duration = Duration::from_millis(200);
/// How long a cluster may take to elect its leader after its start.
const LEADER_WITHIN: Duration = Duration::from_secs(30);
/// How long JetStream may take to answer a request at start-up.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The pause before the next try.
const LEADER_POLL: Duration = Duration::from_millis(250);
/// The code of a JetStream error that says that no server can answer now.
const UNAVAILABLE: usize = 503;
/// How often a worker looks whether the streams are still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks whether the consumers are still there. They are many, and are lost with their
/// stream or by an operator only.
const LOOK_AT_CONSUMERS_EVERY: Duration = Duration::from_secs(5);

/// Creates or updates all streams, and the consumers that their loops may not create. A cluster that
/// has just started has no leader yet, so this waits for one.
///
/// # Errors
/// If a stream or a server has weaker settings than needed, or there is no leader within half a
/// minute.
pub async fn migrate(context: Context, replicas: usize) -> anyhow::Result<()> {
    ensure_streams(context.clone(), replicas, |_| true).await?;
    let start = Instant::now();
    while let Err(error) = keep_consumers(&context).await {
        if start.elapsed() > LEADER_WITHIN {
            return Err(error);
        }
        let error = format!("{error:#}");
        tracing::warn!(error, "a new stream has no leader yet");
        sleep(LEADER_POLL).await;
    }
    Ok(())
}

/// Checks the streams. Creates or updates those of transport, if this process keeps them. Waits for
/// a leader, as [`migrate`] does. Returns whether the log takes messages that expire.
///
/// # Errors
/// If a stream is missing, a stream or a server has weaker settings than needed, or there is no
/// leader within half a minute.
pub async fn check(
    context: Context,
    replicas: usize,
    keeps_transport: bool,
) -> anyhow::Result<bool> {
    let may_change = if keeps_transport {
        is_transport
    } else {
        |_: &Stream| false
    };
    let streams = ensure_streams(context, replicas, may_change).await?;
    let mut logs = streams.iter().filter(|stream| stream.name == EVENTS);
    Ok(logs.any(|log| log.allow_message_ttl))
}

/// Creates or updates the streams that may be changed, and checks the others. Returns their
/// settings.
async fn ensure_streams(
    mut context: Context,
    replicas: usize,
    may_change: fn(&Stream) -> bool,
) -> anyhow::Result<Vec<Stream>> {
    ensure_version(&context.client().server_info().version)?;
    ensure_synced(&context.client()).await?;
    // Nobody answers for a stream that elects its leader.
    context.set_timeout(ANSWER_WITHIN);
    // All at once, so that waits for lost answers do not add up: two workers that create a stream
    // together may both get none.
    // Each is boxed: together they would fill half of a thread's stack.
    let streams = streams(replicas).into_iter().map(|wanted| {
        let may_change = may_change(&wanted);
        Box::pin(ensure_with_leader(&context, wanted, may_change))
    });
    try_join_all(streams).await
}

/// Creates, updates or checks a stream, as soon as there is a leader.
async fn ensure_with_leader(
    context: &Context,
    wanted: Stream,
    may_change: bool,
) -> anyhow::Result<Stream> {
    let start = Instant::now();
    loop {
        let ensured = if may_change {
            ensure_stream(context, wanted.clone()).await
        } else {
            check_stream(context, wanted.clone()).await
        };
        let error = match ensured {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // Another process creates it.
        let is_awaited = is_transport(&wanted) && error.downcast_ref().is_some_and(is_not_found);
        if !is_awaited && !is_starting(&error) || start.elapsed() > LEADER_WITHIN {
            return Err(error);
        }
        let error = format!("{error:#}");
        tracing::warn!(error, "JetStream does not answer yet");
        sleep(LEADER_POLL).await;
    }
}

/// Whether JetStream cannot answer yet, since it elects its leader or waits for other servers.
fn is_starting(error: &anyhow::Error) -> bool {
    let is_temporary = |error: &jetstream::Error| {
        error.code() == UNAVAILABLE || error.error_code() == ErrorCode::CLUSTER_NO_PEERS
    };
    let asked = error.downcast_ref::<GetStreamError>();
    let created = error.downcast_ref::<CreateStreamError>();
    match (
        asked.map(GetStreamError::kind),
        created.map(CreateStreamError::kind),
    ) {
        (Some(GetStreamErrorKind::Request), _)
        | (
            _,
            Some(CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable),
        ) => true,
        (Some(GetStreamErrorKind::JetStream(error)), _)
        | (_, Some(CreateStreamErrorKind::JetStream(error))) => is_temporary(&error),
        _ => false,
    }
}

/// Creates the streams of transport, and the consumers that their loops may not create, again
/// whenever one is gone, for ever. A server that keeps them in memory forgets them when it stops, so
/// this looks at once when the connection is restored. A worker of another release may be first,
/// and not know all subjects: these are added.
pub async fn keep_transport(
    context: Context,
    replicas: usize,
    mut reconnects: watch::Receiver<u64>,
) {
    let transport = streams(replicas).into_iter().filter(is_transport);
    let transport: Vec<Stream> = transport.collect();
    let mut consumers_kept: Option<Instant> = None;
    loop {
        if timeout(LOOK_EVERY, reconnects.changed()).await.is_ok() {
            consumers_kept = None;
        }
        for wanted in &transport {
            let is_complete = match context.get_stream(&wanted.name).await {
                Ok(stream) => has_subjects(&stream.cached_info().config, wanted),
                Err(error) => !is_not_found(&error),
            };
            if is_complete {
                continue;
            }
            tracing::warn!(
                stream = wanted.name,
                "the stream is gone or lacks a subject, and is created or updated"
            );
            consumers_kept = None;
            if let Err(error) = ensure_stream(&context, wanted.clone()).await {
                let error = format!("{error:#}");
                tracing::error!(error, "the stream cannot be created");
            }
        }
        if consumers_kept.is_some_and(|at| at.elapsed() < LOOK_AT_CONSUMERS_EVERY) {
            continue;
        }
        consumers_kept = match keep_consumers(&context).await {
            Ok(()) => Some(Instant::now()),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "a consumer is not created yet");
                None
            }
        };
    }
}

/// Creates or updates a stream; returns its settings.
async fn ensure_stream(context: &Context, mut wanted: Stream) -> anyhow::Result<Stream> {
    let name = wanted.name.clone();
    let info = match context.get_stream(&name).await {
        Ok(stream) => {
            keep_present(&mut wanted, &stream.cached_info().config);
            context.update_stream(wanted.clone()).await
        }
        Err(error) if is_not_found(&error) => {
            let created = context.create_stream(wanted.clone()).await;
            created.map(|stream| stream.cached_info().clone())
        }
        Err(error) => {
            return Err(error).with_context(|| {
                format!("stream {name}; do the servers run with the nats.conf of this release?")
            });
        }
    };
    let info = info.with_context(|| {
        format!(
            "stream {name} can be neither created nor updated as needed; compare \
             `nats stream info {name}` with workers/src/streams/settings.rs"
        )
    })?;
    ensure_as_wanted(&wanted, &info.config)?;
    Ok(info.config)
}

/// Checks that a stream is there, with the settings that are needed; returns its settings.
async fn check_stream(context: &Context, mut wanted: Stream) -> anyhow::Result<Stream> {
    const REMEDY: &str = "run `workers migrate` of this release";
    let stream = context.get_stream(&wanted.name).await;
    let stream = stream.with_context(|| format!("stream {}; {REMEDY}", wanted.name))?;
    let present = &stream.cached_info().config;
    keep_present(&mut wanted, present);
    ensure_as_wanted(&wanted, present).context(REMEDY)?;
    Ok(present.clone())
}

/// Keeps the replicas, the servers, the storage and the subjects that the stream has: another
/// worker may run with more replicas or know more areas, and the operator chooses the servers. The
/// operator also decides when an existing log drops messages: workers of an earlier release cannot
/// start on such a log.
fn keep_present(wanted: &mut Stream, present: &Stream) {
    wanted.num_replicas = wanted.num_replicas.max(present.num_replicas);
    wanted.placement = present.placement.clone();
    wanted.allow_message_ttl = present.allow_message_ttl;
    // The operator may have given a stream more room.
    if wanted.max_bytes > 0 && present.max_bytes > wanted.max_bytes {
        wanted.max_bytes = present.max_bytes;
    }
    // The server never changes it.
    wanted.persist_mode = present.persist_mode;
    if is_transport(wanted) {
        // An earlier release has kept commands in files, and that cannot be changed.
        wanted.storage = present.storage;
    }
    for subject in &present.subjects {
        if !wanted.subjects.contains(subject) {
            wanted.subjects.push(subject.clone());
        }
    }
}

fn has_subjects(stream: &Stream, wanted: &Stream) -> bool {
    let mut subjects = wanted.subjects.iter();
    subjects.all(|subject| stream.subjects.contains(subject))
}

fn is_not_found(error: &GetStreamError) -> bool {
    let GetStreamErrorKind::JetStream(error) = error.kind() else {
        return false;
    };
    error.error_code() == ErrorCode::STREAM_NOT_FOUND
}

fn ensure_as_wanted(wanted: &Stream, got: &Stream) -> anyhow::Result<()> {
    let subjects = |stream: &Stream| BTreeSet::from_iter(stream.subjects.iter().cloned());
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
        (
            "allow_message_ttl",
            got.allow_message_ttl == wanted.allow_message_ttl,
        ),
        ("republish", got.republish == wanted.republish),
        (
            "allow_msg_schedules",
            got.allow_message_schedules == wanted.allow_message_schedules,
        ),
        ("no_ack", !got.no_ack),
    ];
    for (setting, is_as_wanted) in checks {
        ensure!(
            is_as_wanted,
            "stream {} has another {setting} than workers/src/streams/settings.rs asks for",
            wanted.name
        );
    }
    Ok(())
}

fn ensure_version(version: &str) -> anyhow::Result<()> {
    let numbers = version.split('.').map(|part| part.parse::<u64>());
    let mut numbers = numbers.map_while(Result::ok);
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_SERVER;
    ensure!(
        version_of >= OLDEST_SERVER,
        "nats-server {version} is too old; install {major}.{minor} or later"
    );
    Ok(())
}

/// Every server must sync before it acknowledges. Otherwise a power cut would lose commits that
/// were answered as stored.
async fn ensure_synced(client: &Client) -> anyhow::Result<()> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let question = json!({ "config": true }).to_string();
    client
        .publish_with_reply(SERVER_SETTINGS, inbox, question.into())
        .await?;
    let (mut wait, mut servers) = (FIRST_SERVER, 0);
    while let Ok(Some(answer)) = timeout(wait, answers.next()).await {
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        let flag = |pointer| answer.pointer(pointer).and_then(Value::as_bool) == Some(true);
        let name = answer.pointer("/server/name").and_then(Value::as_str);
        ensure!(
            flag("/data/config/sync_always") || flag("/data/disabled"),
            "nats-server {} acknowledges before it syncs; set `sync_interval: always` in its \
             jetstream block, as in nats.conf",
            name.unwrap_or("?")
        );
        servers += 1;
        wait = NEXT_SERVER;
    }
    ensure!(
        servers > 0,
        "no nats-server tells whether it syncs; export `{SERVER_SETTINGS}` to the workers, as in \
         nats.conf"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::StorageType;

    use super::*;

    #[test]
    fn an_old_server_is_refused() {
        for good in ["2.14.0", "2.15.1", "3.0.0"] {
            assert!(ensure_version(good).is_ok(), "{good}");
        }
        for old in ["2.13.9", "1.99.0", "", "x"] {
            assert!(ensure_version(old).is_err(), "{old}");
        }
    }

    #[test]
    fn a_log_that_is_kept_in_memory_is_refused() {
        let [mut wanted, ..] = streams(1);
        let mut present = wanted.clone();
        keep_present(&mut wanted, &present);
        assert!(ensure_as_wanted(&wanted, &present).is_ok());
        present.storage = StorageType::Memory;
        keep_present(&mut wanted, &present);
        assert!(ensure_as_wanted(&wanted, &present).is_err());
    }

    #[test]
    fn a_stream_keeps_the_room_that_its_operator_has_given_it() {
        for wanted in streams(1).into_iter().filter(|stream| stream.max_bytes > 0) {
            for (present, expected) in [(1, wanted.max_bytes), (i64::MAX, i64::MAX)] {
                let mut present_stream = wanted.clone();
                present_stream.max_bytes = present;
                let mut kept = wanted.clone();
                keep_present(&mut kept, &present_stream);
                assert_eq!(kept.max_bytes, expected, "{}", wanted.name);
            }
        }
    }

    #[test]
    fn a_stream_of_a_newer_worker_keeps_its_subjects_and_replicas() {
        let [_, commands, ..] = streams(1);
        let mut present = commands.clone();
        present.subjects.push("cmd.*.newer.*".to_owned());
        present.num_replicas = 3;
        let mut wanted = commands;
        keep_present(&mut wanted, &present);
        assert!(ensure_as_wanted(&wanted, &present).is_ok());
    }
}
