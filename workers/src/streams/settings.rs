//! The streams and buckets, as data.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Config as Stream, DiscardPolicy, PersistenceMode, Republish, RetentionPolicy, StorageType,
};
use events_schema::{
    session,
    subject::{
        self, ATTEMPTS, COMMANDS, CURSORS_BUCKET, DEAD, EVENTS, FLOWS_BUCKET, INBOX, LOGINS_BUCKET,
        REGISTRATIONS_BUCKET, SECURITY, SESSION_USES_BUCKET, STRIPE, TOKEN_USES_BUCKET, VIEWS,
        WEBHOOKS,
    },
};

/// The most commands that may wait. Further ones are refused, since the workers are hopelessly
/// behind.
const MAX_COMMANDS: i64 = 1_000_000;
/// How long an announced document is kept. Gateways read it at once, or not at all.
const VIEWS_KEPT: Duration = Duration::from_secs(60);
/// Room for some seconds at full load, many times over. Together they fit into `max_memory_store`
/// of `nats.conf`.
const TRANSPORT_MAX_BYTES: i64 = 256 * 1024 * 1024;
/// How long a failed login is remembered.
const LOGINS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Room for about a million addresses. Beyond it the oldest are forgotten, so that a flood cannot
/// stop logins.
const LOGINS_MAX_BYTES: i64 = 256 * 1024 * 1024;
/// How long a registration waits for its proof. The mails of a day are counted with it.
const REGISTRATIONS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Some 100,000 registrations that wait.
const REGISTRATIONS_MAX_BYTES: i64 = 64 * 1024 * 1024;
/// How long it is known that a log-in by another party has ended: longer than its cookie is valid.
const FLOWS_KEPT: Duration = Duration::from_secs(15 * 60);
/// Some 400,000 log-ins that have ended. Beyond it the oldest are forgotten, so that a flood cannot
/// stop log-ins. Only the browser that has ended one could then end it again, and the other party
/// refuses the code.
const FLOWS_MAX_BYTES: i64 = 64 * 1024 * 1024;
/// How long the last use of a token is kept: longer than a token lives.
const TOKEN_USES_KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How long an attempt to send an event to a webhook is kept, and how many of each webhook and
/// result.
const ATTEMPTS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const ATTEMPTS_PER_SUBJECT: i64 = 1_000;
/// Room for half a million attempts. Beyond it the oldest are forgotten. The server reserves it.
const ATTEMPTS_MAX_BYTES: i64 = 512 * 1024 * 1024;

/// How long a security event is kept.
const SECURITY_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The most security events of one subject. A flood pushes out the oldest of its own subject only.
const SECURITY_PER_SUBJECT: i64 = 1_000;
/// Room for some 600,000 security events. Beyond it the oldest are forgotten. The server reserves
/// it, so that more would ask too much of a small disk.
const SECURITY_MAX_BYTES: i64 = 256 * 1024 * 1024;

/// How long a hook of another service can be replayed and is known when it comes again, and how
/// many of each source are kept.
const INBOX_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const INBOX_PER_SUBJECT: i64 = 10_000;
/// Room for some 50,000 hooks of the usual size. Beyond it the oldest are forgotten, which are
/// handled, unless no worker has run for long. New ones are not refused: then one tenant could keep
/// out the hooks of all. The server reserves it.
const INBOX_MAX_BYTES: i64 = 512 * 1024 * 1024;

/// How long an event of Stripe waits, and is known when it comes again: longer than Stripe sends it
/// again. What has become of an older one is found when billings are compared.
const STRIPE_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Room for some 150,000 events. Beyond it new ones are refused, and Stripe sends them again for
/// three days. The server reserves it.
const STRIPE_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// Returns the settings of all streams. `replicas` is 1 on one machine and 3 in production.
pub fn streams(replicas: usize) -> [Stream; 15] {
    let stream = |name: &str, subjects: Vec<String>, description: &str| Stream {
        name: name.to_owned(),
        subjects,
        description: Some(description.to_owned()),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        ..Stream::default()
    };
    // A message of these streams may be lost: its sender keeps it until there is an answer, or its
    // readers notice the gap.
    let transport = |name: &str, subjects: Vec<String>, description: &str| Stream {
        storage: StorageType::Memory,
        max_bytes: TRANSPORT_MAX_BYTES,
        ..stream(name, subjects, description)
    };
    let bucket = |name: &str, description: &str, kept: Duration| Stream {
        max_messages_per_subject: 1,
        max_age: kept,
        discard: DiscardPolicy::Old,
        allow_rollup: true,
        allow_direct: true,
        ..stream(
            &subject::bucket_stream(name),
            subject::of_bucket(name),
            description,
        )
    };
    [
        Stream {
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            allow_atomic_publish: true,
            // The commits of some areas are kept for a time.
            allow_message_ttl: true,
            ..stream(
                EVENTS,
                subject::of_events_stream(),
                "Commits and claims: the record",
            )
        },
        Stream {
            retention: RetentionPolicy::WorkQueue,
            max_messages: MAX_COMMANDS,
            ..transport(
                COMMANDS,
                subject::of_commands_stream(),
                "Commands that wait for a decision",
            )
        },
        Stream {
            discard: DiscardPolicy::Old,
            max_age: VIEWS_KEPT,
            // Gateways read what is sent on, with its sequence in the stream.
            republish: Some(Republish {
                source: ">".to_owned(),
                destination: subject::changed_views(),
                headers_only: false,
            }),
            ..transport(VIEWS, subject::of_views_stream(), "Changed view documents")
        },
        stream(
            DEAD,
            subject::of_dead_stream(),
            "Messages that could not be handled, with the reason in their headers",
        ),
        Stream {
            discard: DiscardPolicy::Old,
            max_age: SECURITY_KEPT,
            max_messages_per_subject: SECURITY_PER_SUBJECT,
            max_bytes: SECURITY_MAX_BYTES,
            allow_direct: true,
            ..stream(
                SECURITY,
                subject::of_security_stream(),
                "Security events of accounts and tenants",
            )
        },
        Stream {
            max_bytes: LOGINS_MAX_BYTES,
            ..bucket(LOGINS_BUCKET, "Failed logins per address", LOGINS_KEPT)
        },
        Stream {
            max_bytes: REGISTRATIONS_MAX_BYTES,
            // A flood must not push out what others wait for.
            discard: DiscardPolicy::New,
            ..bucket(
                REGISTRATIONS_BUCKET,
                "Registrations whose address is not proved yet",
                REGISTRATIONS_KEPT,
            )
        },
        Stream {
            max_bytes: FLOWS_MAX_BYTES,
            ..bucket(
                FLOWS_BUCKET,
                "Log-ins by other parties that have ended, and tickets for them",
                FLOWS_KEPT,
            )
        },
        bucket(
            TOKEN_USES_BUCKET,
            "The last use of each access token",
            TOKEN_USES_KEPT,
        ),
        bucket(
            SESSION_USES_BUCKET,
            "The last use of each session",
            session::IDLE,
        ),
        Stream {
            retention: RetentionPolicy::WorkQueue,
            // A wake-up that waits stands for all that follow, so the last one suffices.
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            allow_message_schedules: true,
            ..transport(
                WEBHOOKS,
                subject::of_webhooks_stream(),
                "Wakes deliveries to webhooks",
            )
        },
        bucket(
            CURSORS_BUCKET,
            "Where the delivery to each webhook stands",
            Duration::ZERO,
        ),
        Stream {
            max_messages_per_subject: ATTEMPTS_PER_SUBJECT,
            max_age: ATTEMPTS_KEPT,
            max_bytes: ATTEMPTS_MAX_BYTES,
            discard: DiscardPolicy::Old,
            allow_direct: true,
            // Nothing depends on an attempt, so the server need not sync each one. A replicated
            // stream cannot do without.
            persist_mode: (replicas == 1).then_some(PersistenceMode::Async),
            ..stream(
                ATTEMPTS,
                subject::of_attempts_stream(),
                "Attempts to send events to webhooks",
            )
        },
        Stream {
            max_messages_per_subject: INBOX_PER_SUBJECT,
            max_age: INBOX_KEPT,
            max_bytes: INBOX_MAX_BYTES,
            discard: DiscardPolicy::Old,
            allow_direct: true,
            // A hook and its receipt.
            allow_atomic_publish: true,
            ..stream(
                INBOX,
                subject::of_inbox_stream(),
                "Hooks of other services, and what became of them",
            )
        },
        Stream {
            max_age: STRIPE_KEPT,
            max_bytes: STRIPE_MAX_BYTES,
            allow_direct: true,
            ..stream(STRIPE, subject::of_stripe_stream(), "Events of Stripe")
        },
    ]
}

/// Whether the messages of a stream may be lost.
pub fn is_transport(stream: &Stream) -> bool {
    [COMMANDS, VIEWS, WEBHOOKS].contains(&stream.name.as_str())
}
