//! The log on a real nats-server: pages, reads, searches and guarded appends.

#![allow(clippy::unwrap_used, reason = "a test binary panics when it fails")]

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use async_nats::{
    ConnectOptions,
    jetstream::{self, stream},
};
use event_store::{Append, Appended, EventLog, NatsOptions, Stored, Trace};
use events_schema::{
    Time,
    subject::{EVENTS, of_events_stream},
};
use servers::{NatsServer, Passwords, Role};
use tempfile::TempDir;
use tokio::time::sleep;

/// The commits that the tests read, and those of another tenant between them.
const OWN: &str = "evt.platform.*.*";
const OTHER: &str = "evt.00000000000000000000000000000002.*.*";

/// A server with an empty log. It stops with its test.
struct World {
    log: EventLog,
    _nats: NatsServer,
    _folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let passwords = Passwords::random().unwrap();
        let dir = fs::canonicalize(folder.path()).unwrap();
        let nats = NatsServer::start(&dir, &passwords).await.unwrap();
        let operator = ConnectOptions::with_user_and_password(
            "operator".to_owned(),
            passwords.of(Role::Operator).to_owned(),
        );
        let operator = operator.custom_inbox_prefix("_INBOX_operator");
        let operator = operator.connect(nats.url(Role::Operator)).await.unwrap();
        // As in workers/src/streams/settings.rs.
        let events = stream::Config {
            name: EVENTS.to_owned(),
            subjects: of_events_stream(),
            discard: stream::DiscardPolicy::New,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            allow_atomic_publish: true,
            allow_message_ttl: true,
            ..stream::Config::default()
        };
        let created = jetstream::new(operator).create_stream(events).await;
        created.unwrap();
        let options = NatsOptions {
            nats_url: nats.url(Role::Workers),
            ..NatsOptions::default()
        };
        let workers = event_store::connect(&options, "workers").await;
        Self {
            log: EventLog::new(workers.unwrap()).with_expiry(true),
            _nats: nats,
            _folder: folder,
        }
    }

    /// Appends as one message or one batch.
    async fn append(&self, messages: &[Append]) -> Appended {
        let appended = self.log.append(messages, Trace::begin()).await;
        appended.unwrap()
    }

    /// Appends one message that nobody else can have been before; returns its sequence.
    async fn add(&self, subject: &str, last: u64, payload: &str) -> u64 {
        match self.append(&[message(subject, last, payload)]).await {
            Appended::At(sequence) => sequence,
            Appended::Conflict => panic!("a conflict on {subject}"),
        }
    }

    /// Appends `count` messages of one aggregate; returns their sequences.
    async fn fill(&self, subject: &str, count: usize) -> Vec<u64> {
        let (mut sequences, mut last) = (Vec::new(), 0);
        for at in 0..count {
            last = self.add(subject, last, &at.to_string()).await;
            sequences.push(last);
        }
        sequences
    }

    /// A log in which every second message is another tenant's; returns the sequences of the own
    /// messages.
    async fn mixed(&self, count: usize) -> Vec<u64> {
        let mut own = Vec::new();
        for at in 1..=count {
            self.add(&subject("00000000000000000000000000000002", at), 0, "other")
                .await;
            own.push(self.add(&subject("platform", at), 0, "own").await);
        }
        own
    }

    async fn before(&self, filter: &str, end: u64, limit: usize) -> Vec<u64> {
        sequences(&self.log.page_before(filter, end, limit).await.unwrap())
    }
}

fn subject(tenant: &str, id: usize) -> String {
    format!("evt.{tenant}.project.{id:032x}")
}

fn message(subject: &str, last: u64, payload: &str) -> Append {
    Append {
        expires_after: None,
        subject: subject.to_owned(),
        last,
        payload: payload.to_owned().into(),
    }
}

fn sequences(messages: &[Stored]) -> Vec<u64> {
    messages.iter().map(|message| message.sequence).collect()
}

#[tokio::test]
async fn a_page_holds_the_next_messages_and_tells_how_many_follow() {
    let world = World::start().await;
    let empty = world.log.page(OWN, 1).await.unwrap();
    assert_eq!((empty.messages.len(), empty.pending), (0, 0));
    let own = world.mixed(5).await;
    let page = async |from, limit| {
        let page = world.log.page_of(OWN, from, limit).await.unwrap();
        (sequences(&page.messages), page.pending)
    };
    assert_eq!(page(0, 2).await, (own[..2].to_vec(), 3));
    assert_eq!(page(own[1], 2).await, (own[1..3].to_vec(), 2));
    assert_eq!(page(own[1] + 1, 3).await, (own[2..].to_vec(), 0));
    assert_eq!(page(own[4] + 1, 3).await, (vec![], 0));
    let first = &world.log.page(OWN, 1).await.unwrap().messages[0];
    assert_eq!(first.subject, subject("platform", 1));
    assert_eq!(first.payload, "own");
}

#[tokio::test]
async fn a_page_ends_at_its_limit_of_bytes_and_has_a_message_in_any_case() {
    let world = World::start().await;
    let own = world.mixed(5).await;
    let page = async |from, max_bytes| {
        let page = world.log.page_within(OWN, from, 100, max_bytes).await;
        let page = page.unwrap();
        (sequences(&page.messages), page.pending)
    };
    let (all, pending) = page(1, 1024 * 1024).await;
    assert_eq!((all, pending), (own.clone(), 0));
    let (some, pending) = page(1, 1).await;
    assert_eq!((some, pending), (own[..1].to_vec(), 4));
}

#[tokio::test]
async fn a_read_returns_every_message_of_a_subject_once_and_in_order() {
    let world = World::start().await;
    let subject = subject("platform", 1);
    // Two pages of 500 and one message.
    let written = world.fill(&subject, 1_001).await;
    let read = async |from| sequences(&world.log.read(&subject, from).await.unwrap());
    assert_eq!(read(0).await, written);
    // Two full pages, one full page, the last message, nothing.
    assert_eq!(read(2).await, written[1..]);
    assert_eq!(read(502).await, written[501..]);
    assert_eq!(read(1_001).await, written[1_000..]);
    assert!(read(1_002).await.is_empty());
}

#[tokio::test]
async fn the_last_messages_of_up_to_1024_subjects_are_read_at_once_in_order() {
    let world = World::start().await;
    let last = async || world.log.last_of_all(OWN).await.unwrap();
    assert_eq!(last().await.unwrap().len(), 0);
    let mut own = world.mixed(3).await;
    own[0] = world.add(&subject("platform", 1), own[0], "again").await;
    own.sort_unstable();
    let read = last().await.unwrap();
    assert_eq!(sequences(&read), own);
    assert_eq!(
        (&read[2].subject, &read[2].payload[..]),
        (&subject("platform", 1), &b"again"[..])
    );
    let rest = (4..=1_024).map(|at| message(&subject("platform", at), 0, "own"));
    for batch in Vec::from_iter(rest).chunks(500) {
        world.append(batch).await;
    }
    assert_eq!(last().await.unwrap().len(), 1_024);
    world.add(&subject("platform", 1_025), 0, "own").await;
    assert!(last().await.is_none());
}

#[tokio::test]
async fn a_page_before_the_end_holds_the_latest_messages() {
    let world = World::start().await;
    assert!(world.before(OWN, u64::MAX, 3).await.is_empty());
    let own = world.mixed(7).await;
    // Fewer than a page, exactly a page, and several pages.
    assert_eq!(world.before(OWN, u64::MAX, 8).await, own);
    assert_eq!(world.before(OWN, u64::MAX, 7).await, own);
    assert_eq!(world.before(OWN, u64::MAX, 6).await, own[1..]);
    assert_eq!(world.before(OWN, u64::MAX, 3).await, own[4..]);
    assert_eq!(world.before(OWN, u64::MAX, 1).await, own[6..]);
    // Another tenant's messages stand first.
    let other = world.before(OTHER, u64::MAX, 7).await;
    assert_eq!(other[0], 1);
    assert_eq!(other.len(), 7);
}

#[tokio::test]
async fn a_page_before_a_message_ends_with_the_message_before_it() {
    let world = World::start().await;
    let own = world.mixed(7).await;
    assert_eq!(world.before(OWN, own[6], 3).await, own[3..6]);
    assert_eq!(world.before(OWN, own[5], 3).await, own[2..5]);
    assert_eq!(world.before(OWN, own[5] + 1, 3).await, own[3..6]);
    assert_eq!(world.before(OWN, own[3], 3).await, own[..3]);
    assert_eq!(world.before(OWN, own[2], 3).await, own[..2]);
    assert_eq!(world.before(OWN, own[1], 3).await, own[..1]);
    for end in [own[0], 1, 0] {
        assert!(world.before(OWN, end, 3).await.is_empty(), "before {end}");
    }
}

#[tokio::test]
async fn pages_before_one_another_show_every_message_once() {
    let world = World::start().await;
    let own = world.mixed(10).await;
    for size in [1, 2, 3, 5, 9, 10, 11] {
        let (mut end, mut seen) = (u64::MAX, Vec::new());
        loop {
            let page = world.before(OWN, end, size).await;
            let Some(oldest) = page.first() else { break };
            end = *oldest;
            seen.splice(0..0, page);
        }
        assert_eq!(seen, own, "pages of {size}");
    }
}

#[tokio::test]
async fn a_count_includes_all_messages_from_a_sequence_on() {
    let world = World::start().await;
    assert_eq!(world.log.count(OWN, 1).await.unwrap(), 0);
    let own = world.mixed(4).await;
    for (from, expected) in [(0, 4), (1, 4), (own[0], 4), (own[1], 3), (own[3], 1)] {
        let count = world.log.count(OWN, from).await.unwrap();
        assert_eq!(count, expected, "from {from}");
    }
    assert_eq!(world.log.count(OWN, own[3] + 1).await.unwrap(), 0);
    assert_eq!(world.log.count("evt.*.*.*", 1).await.unwrap(), 8);
}

#[tokio::test]
async fn the_first_message_since_a_time_is_found() {
    let world = World::start().await;
    let now = || Time::from(SystemTime::now());
    let since = async |time| world.log.first_since(OWN, time).await.unwrap();
    assert_eq!(since(Time(0)).await, None);
    world.mixed(2).await;
    // A time is in milliseconds: the next one is after all that is stored.
    let stored_by = now();
    while now() <= stored_by {
        tokio::task::yield_now().await;
    }
    let time = now();
    let later = world.add(&subject("platform", 3), 0, "later").await;
    assert_eq!(since(Time(0)).await, Some(2));
    assert_eq!(since(time).await, Some(later));
    assert_eq!(since(Time(time.0 + 3_600_000)).await, None);
}

#[tokio::test]
async fn the_leader_knows_the_last_message_of_a_subject_and_of_the_log() {
    let world = World::start().await;
    let own = subject("platform", 1);
    assert!(world.log.last(&own).await.unwrap().is_none());
    assert_eq!(world.log.last_sequence().await.unwrap(), 0);
    world.fill(&own, 2).await;
    world.add(&subject("platform", 2), 0, "other").await;
    let last = world.log.last(&own).await.unwrap().unwrap();
    assert_eq!((last.sequence, &last.subject), (2, &own));
    assert_eq!(last.payload, "1");
    assert_eq!(world.log.last_sequence().await.unwrap(), 3);
}

#[tokio::test]
async fn an_append_counts_only_if_its_subject_is_as_expected() {
    let world = World::start().await;
    let (one, other) = (subject("platform", 1), subject("platform", 2));
    let first = world.add(&one, 0, "first").await;
    world.add(&other, 0, "other").await;
    for wrong in [0, first + 1] {
        let appended = world.append(&[message(&one, wrong, "second")]).await;
        assert_eq!(appended, Appended::Conflict, "after {wrong}");
    }
    let appended = world.append(&[message(&one, first, "second")]).await;
    assert_eq!(appended, Appended::At(3));
    assert_eq!(world.log.last_sequence().await.unwrap(), 3);
    let nothing = world.log.append(&[], Trace::begin()).await;
    assert!(nothing.is_err());
}

#[tokio::test]
async fn of_a_batch_all_messages_are_stored_or_none() {
    let world = World::start().await;
    let claim = "clm.platform.slug.00000000000000000000000000000001";
    let (one, other) = (subject("platform", 1), subject("platform", 2));
    let batch = [message(claim, 0, "claim"), message(&one, 0, "commit")];
    assert_eq!(world.append(&batch).await, Appended::At(2));
    let stored = async |subject: &str| {
        let last = world.log.last(subject).await.unwrap();
        last.map(|last| (last.sequence, last.payload))
    };
    assert_eq!(stored(claim).await, Some((1, "claim".into())));
    assert_eq!(stored(&one).await, Some((2, "commit".into())));
    // Each message has a guard of its own, whatever its place.
    for (claim_last, other_last) in [(0, 0), (1, 7)] {
        let batch = [
            message(claim, claim_last, "taken"),
            message(&other, other_last, "commit"),
        ];
        assert_eq!(world.append(&batch).await, Appended::Conflict);
        assert_eq!(stored(claim).await, Some((1, "claim".into())));
        assert_eq!(stored(&other).await, None);
    }
    let batch = [message(claim, 1, "moved"), message(&other, 0, "commit")];
    assert_eq!(world.append(&batch).await, Appended::At(4));
    assert_eq!(stored(claim).await, Some((3, "moved".into())));
}

#[tokio::test]
async fn a_message_that_is_kept_for_a_time_leaves_the_log_alone() {
    let world = World::start().await;
    let kept = |id, last| Append {
        expires_after: Some(Duration::from_secs(2)),
        ..message(&subject("platform", id), last, "kept for a time")
    };
    // Alone, and in a batch.
    world.append(&[kept(1, 0)]).await;
    let forever = world.add(&subject("platform", 2), 0, "for ever").await;
    world.append(&[kept(3, 0), kept(4, 0)]).await;
    let all = world.log.page(OWN, 1).await.unwrap();
    assert_eq!(all.messages.len(), 4);
    let start = Instant::now();
    while world.log.page(OWN, 1).await.unwrap().messages.len() > 1 {
        assert!(start.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(50)).await;
    }
    let left = world.log.page(OWN, 1).await.unwrap();
    assert_eq!(sequences(&left.messages), [forever]);
    // The guard knows no message on the subject any more, and sequences go on.
    let next = world.add(&subject("platform", 3), 0, "again").await;
    assert!(next > all.messages[3].sequence, "{next}");
}
