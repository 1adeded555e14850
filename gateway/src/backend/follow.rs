//! Follows VIEWS: every changed view document, in order, without a gap.
//!
//! The stream republishes each message that it has stored, with its sequence. So a plain
//! subscription shows whether a message is missing, and the gateway needs no right to create a
//! consumer. Whether the latest message has arrived, the stream itself is asked several times a
//! second.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use async_nats::{Client, Message};
use bytes::Bytes;
use event_store::{has_majority, last_sequence, sequence_of};
use events_schema::{
    AreaName, Subject,
    subject::{CHANGED, VIEWS, changed_views, stream_info},
};
use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::memory::{Key, Memory, SILENCE};

/// How often the stream is asked for its last sequence.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// The pause before VIEWS is followed again.
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps memory current, until it is dropped.
pub(super) async fn follow(client: Client, memory: Memory) {
    loop {
        let lost = follow_once(&client, &memory).await;
        memory.forget_all();
        if let Err(reason) = lost {
            let reason = format!("{reason:#}");
            tracing::debug!(reason, "VIEWS is lost; views are read from MongoDB");
        }
        sleep(PAUSE).await;
    }
}

/// Follows VIEWS until a message is missing or the stream is silent.
async fn follow_once(client: &Client, memory: &Memory) -> anyhow::Result<()> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let mut changes = client.subscribe(changed_views()).await?;
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut follower = Follower::new();
    // The stream may have lost its last messages with its server, and counts from an earlier one
    // then.
    let connections = || client.statistics().connects.load(Ordering::Relaxed);
    let connected = connections();
    loop {
        tokio::select! {
            change = changes.next() => {
                let change = change.context("the connection is closed")?;
                follower.change(&change, memory)?;
            }
            answer = answers.next() => {
                let answer = answer.context("the connection is closed")?;
                // A leader that is cut off does not know what has changed.
                let has_majority = has_majority(&answer.payload);
                ensure!(has_majority, "VIEWS has no leader with a majority");
                follower.answer(last_sequence(&answer.payload)?)?;
            }
            _ = ticks.tick() => {
                follower.ensure_heard()?;
                if follower.ask() {
                    let inbox = inbox.clone();
                    client.publish_with_reply(stream_info(VIEWS), inbox, Bytes::new()).await?;
                }
            }
        }
        ensure!(connections() == connected, "the connection was lost");
        if let Some(at) = follower.complete_at() {
            memory.heard(at);
        }
    }
}

/// How far VIEWS has been read.
#[derive(Debug)]
struct Follower {
    started: Instant,
    /// The sequence of the last message before the stream answered.
    ignored: u64,
    /// The last sequence of the stream when it first answered, or that of a later message.
    first: Option<u64>,
    /// The sequence of the last message since then.
    seen: Option<u64>,
    /// When the stream was asked, and what was seen by then, until it answers.
    asked: Option<(Instant, Option<u64>)>,
    /// The last sequence of the stream, and when it was asked for it.
    stream: Option<(u64, Instant)>,
    /// Until when all messages are known to have arrived.
    complete: Option<Instant>,
}

impl Follower {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            ignored: 0,
            first: None,
            seen: None,
            asked: None,
            stream: None,
            complete: None,
        }
    }

    /// Takes a changed document.
    ///
    /// # Errors
    /// If it does not follow the message before, or a whole view was replaced.
    fn change(&mut self, change: &Message, memory: &Memory) -> anyhow::Result<()> {
        let sequence = sequence_of(change)?;
        // Documents that were changed before the stream told its last sequence are not kept: what
        // is read from MongoDB from then on has them.
        let Some(first) = self.first else {
            self.ignored = sequence;
            return Ok(());
        };
        if self.seen.is_none() && sequence <= first {
            return Ok(());
        }
        let next = self.seen.unwrap_or(first) + 1;
        ensure!(
            sequence == next,
            "message {next} is missing before {sequence}"
        );
        self.seen = Some(sequence);
        ensure!(!change.payload.is_empty(), "a view was rebuilt");
        // A newer worker may announce views that this program does not know.
        if let Some(key) = change.subject.strip_prefix(CHANGED).and_then(key) {
            // A part of the connection's buffer would keep the whole buffer.
            memory.announce(key, Bytes::copy_from_slice(&change.payload))?;
        }
        Ok(())
    }

    /// Whether to ask the stream for its last sequence now: not before it has answered.
    fn ask(&mut self) -> bool {
        let is_due = self.asked.is_none();
        self.asked.get_or_insert((Instant::now(), self.seen));
        is_due
    }

    /// Takes the stream's answer.
    ///
    /// # Errors
    /// If the stream has lost messages that were seen.
    fn answer(&mut self, last_sequence: u64) -> anyhow::Result<()> {
        if let Some((asked, seen)) = self.asked.take() {
            self.first.get_or_insert(last_sequence.max(self.ignored));
            let has_all = seen.is_none_or(|seen| last_sequence >= seen);
            ensure!(has_all, "the stream has lost messages");
            // An earlier answer stays until all that it tells of has arrived.
            self.stream.get_or_insert((last_sequence, asked));
        }
        Ok(())
    }

    /// Returns until when all messages have arrived, if that is later than before.
    fn complete_at(&mut self) -> Option<Instant> {
        let (last, asked) = self.stream?;
        if self.seen.or(self.first)? < last {
            return None;
        }
        self.stream = None;
        self.complete = Some(asked);
        self.complete
    }

    /// # Errors
    /// If not all messages of the last second have arrived.
    fn ensure_heard(&self) -> anyhow::Result<()> {
        let heard = self.complete.unwrap_or(self.started);
        ensure!(
            heard.elapsed() < SILENCE,
            "the stream is silent, or messages are late"
        );
        Ok(())
    }
}

fn key(subject: &str) -> Option<Key> {
    let Ok(Subject::View { tenant, name, id }) = Subject::parse(subject) else {
        return None;
    };
    let views = AreaName::ALL.iter().flat_map(|area| area.views());
    let mut names = views.map(|(name, _)| *name);
    Some((names.find(|known| *known == name)?, tenant, id))
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    const ID: &str = "07070707070707070707070707070707";

    fn change(sequence: u64, payload: &'static str) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Sequence", sequence.to_string());
        Message {
            subject: format!("{CHANGED}view.platform.account.{ID}").into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    fn take(follower: &mut Follower, sequence: u64) -> Result<(), String> {
        let change = change(sequence, r#"{"revision":1}"#);
        let taken = follower.change(&change, &Memory::new());
        taken.map_err(|error| error.to_string())
    }

    #[test]
    fn memory_is_current_once_all_messages_have_arrived_that_the_stream_has() {
        let mut follower = Follower::new();
        assert!(follower.ask() && !follower.ask());
        take(&mut follower, 5).unwrap();
        assert_eq!(follower.complete_at(), None);
        follower.answer(7).unwrap();
        assert!(follower.complete_at().is_some());
        assert_eq!(follower.complete_at(), None);

        // The stream has two more, which are under way.
        assert!(follower.ask());
        follower.answer(9).unwrap();
        assert_eq!(follower.complete_at(), None);
        take(&mut follower, 7).unwrap();
        take(&mut follower, 8).unwrap();
        assert_eq!(follower.complete_at(), None);
        take(&mut follower, 9).unwrap();
        assert!(follower.complete_at().is_some());
    }

    #[test]
    fn a_missing_message_ends_the_following() {
        let mut follower = Follower::new();
        follower.ask();
        follower.answer(7).unwrap();
        take(&mut follower, 8).unwrap();
        let error = take(&mut follower, 10).unwrap_err();
        assert_eq!(error, "message 9 is missing before 10");
    }

    #[test]
    fn a_stream_that_counts_from_an_earlier_message_ends_the_following() {
        let following = || {
            let mut follower = Follower::new();
            follower.ask();
            follower.answer(7).unwrap();
            take(&mut follower, 6).unwrap();
            take(&mut follower, 8).unwrap();
            follower
        };
        let error = take(&mut following(), 5).unwrap_err();
        assert_eq!(error, "message 9 is missing before 5");
        let mut follower = following();
        follower.ask();
        assert!(follower.answer(7).is_err());
    }

    #[test]
    fn a_rebuilt_view_ends_the_following() {
        let mut follower = Follower::new();
        follower.ask();
        follower.answer(7).unwrap();
        let rebuilt = follower.change(&change(8, ""), &Memory::new());
        assert_eq!(rebuilt.unwrap_err().to_string(), "a view was rebuilt");
    }

    #[test]
    fn a_silent_stream_ends_the_following_after_a_second() {
        let mut follower = Follower::new();
        follower.ensure_heard().unwrap();
        follower.started = Instant::now().checked_sub(SILENCE).unwrap();
        assert!(follower.ensure_heard().is_err());
        follower.ask();
        follower.answer(7).unwrap();
        follower.complete_at();
        follower.ensure_heard().unwrap();
        follower.complete = Instant::now().checked_sub(SILENCE);
        assert!(follower.ensure_heard().is_err());
    }

    #[test]
    fn views_of_newer_workers_are_skipped() {
        assert!(key(&format!("view.platform.membership.{ID}")).is_some());
        for unknown in ["moon", "view", "Account"] {
            assert!(key(&format!("view.platform.{unknown}.{ID}")).is_none());
        }
    }
}
