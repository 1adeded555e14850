//! Recently used view documents, in memory.
//!
//! Every changed document arrives from VIEWS (`follow.rs`), so a document that is kept here is the
//! present one as long as the connection to VIEWS is intact. When it is not, everything is dropped,
//! and views are read from MongoDB until VIEWS is followed again.

use std::{
    any::Any,
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use event_store::telemetry::{self, KeyValue};
use events_schema::{Area, Document, Id, TenantId, View};
use lru::LruCache;
use serde::Deserialize;
use tokio::sync::{oneshot, watch};

/// A silence of VIEWS for this long ends the use of memory: a revocation may have been missed.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// Bytes of documents that are kept, with what a document takes beside its content.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// What an entry takes beside the JSON of its document, about.
const ENTRY_BYTES: usize = 300;
/// Listeners that may be kept although they have gone.
const TIDY_FROM: usize = 100;

/// Lookups in the memories of this process.
static HITS: AtomicU64 = AtomicU64::new(0);
static MISSES: AtomicU64 = AtomicU64::new(0);
static FORGOTTEN: LazyLock<telemetry::Counter<u64>> = LazyLock::new(|| {
    let description = "How often all documents were forgotten, since a change may be missing.";
    telemetry::counter("ub.memory.forgotten", description)
});

/// Identifies a document: its view's name, whose data it is, and its aggregate.
pub(super) type Key = (&'static str, TenantId, Id);

/// Recently used view documents.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Until when all announcements are known; `None` while VIEWS is not followed.
    heard: Option<Instant>,
    documents: LruCache<Key, Kept>,
    /// The sum of what the documents take.
    bytes: usize,
    /// Counts the announcements and the times that VIEWS was lost.
    clock: u64,
    /// The clock at the last announcement of a document that is no longer kept.
    forgotten: u64,
    /// Those who wait for a document to reach a revision.
    waiting: HashMap<Key, Vec<Waiting>>,
    /// Those who are told that something has changed.
    listeners: HashMap<Topic, watch::Sender<()>>,
    /// With so many listeners, those that have gone are removed.
    tidy_at: usize,
}

#[derive(Debug)]
struct Waiting {
    revision: i64,
    reached: oneshot::Sender<()>,
}

/// A document as it is kept.
#[derive(Debug)]
struct Kept {
    revision: i64,
    /// The clock at its announcement; 0 if it was read from MongoDB.
    announced: u64,
    bytes: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// As it was announced: nobody has asked for it yet.
    Json(Bytes),
    /// A `Document<V>`.
    Decoded(Arc<dyn Any + Send + Sync>),
}

/// What a listener wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// Any document of a tenant.
    Tenant(TenantId),
    /// One document.
    Document(Key),
}

/// What memory knows of a document.
pub(super) enum Known<V: View> {
    /// The present document, which may be a tombstone.
    Document(Arc<Document<V>>),
    /// Nothing. A document that is read from MongoDB now may be kept with this ticket.
    Unknown(Option<Ticket>),
}

/// Permits to keep a document if nothing newer was announced since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

/// The part of an announced document that is read at once.
#[derive(Deserialize)]
struct Revision {
    revision: i64,
}

impl Memory {
    /// Makes an empty memory, which keeps nothing before VIEWS is followed.
    pub(super) fn new() -> Self {
        let memory = Self(Arc::new(Mutex::new(State {
            heard: None,
            documents: LruCache::unbounded(),
            bytes: 0,
            clock: 0,
            forgotten: 0,
            waiting: HashMap::new(),
            listeners: HashMap::new(),
            tidy_at: TIDY_FROM,
        })));
        memory.observe();
        memory
    }

    /// Makes the metrics of memory.
    fn observe(&self) {
        let memory = Arc::downgrade(&self.0);
        telemetry::observed_gauge(
            "ub.memory.usage",
            "By",
            "Bytes of the documents in the gateway's memory.",
            move || {
                memory
                    .upgrade()
                    .map_or(0, |state| Self(state).state().bytes as u64)
            },
        );
        for (result, count) in [("hit", &HITS), ("miss", &MISSES)] {
            telemetry::observed_counter(
                "ub.memory.lookups",
                "Documents that were looked up in memory; `result` is hit or miss.",
                vec![KeyValue::new("result", result)],
                || count.load(Ordering::Relaxed),
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves at worst a missing entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that all announcements until then have arrived.
    pub(super) fn heard(&self, at: Instant) {
        self.state().heard = Some(at);
    }

    /// Forgets everything, since an announcement may have been missed.
    pub(super) fn forget_all(&self) {
        FORGOTTEN.add(1, &[]);
        let mut state = self.state();
        state.heard = None;
        state.clock += 1;
        state.forgotten = state.clock;
        state.documents.clear();
        state.bytes = 0;
        // Those who wait for a document look into MongoDB now.
        state.waiting.clear();
        for listener in state.listeners.values() {
            listener.send_replace(());
        }
    }

    /// Returns a document if it is kept.
    ///
    /// # Errors
    /// If the announced document cannot be decoded.
    pub(super) fn get<V: View>(
        &self,
        tenant: TenantId,
        id: <V::Area as Area>::Id,
    ) -> anyhow::Result<Known<V>> {
        let known = self.look_up(tenant, id)?;
        let count = match known {
            Known::Document(_) => &HITS,
            Known::Unknown(_) => &MISSES,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(known)
    }

    fn look_up<V: View>(
        &self,
        tenant: TenantId,
        id: <V::Area as Area>::Id,
    ) -> anyhow::Result<Known<V>> {
        let key = (V::NAME, tenant, id.into());
        let (json, ticket) = {
            let mut state = self.state();
            if !state.is_current() {
                return Ok(Known::Unknown(None));
            }
            let ticket = Ticket(state.clock);
            match state.documents.get(&key).map(|kept| &kept.content) {
                None => return Ok(Known::Unknown(Some(ticket))),
                Some(Content::Json(json)) => (json.clone(), ticket),
                Some(Content::Decoded(document)) => {
                    let document = document.clone().downcast().ok();
                    let unknown = Known::Unknown(Some(ticket));
                    return Ok(document.map_or(unknown, Known::Document));
                }
            }
        };
        // Outside the lock: a large document takes milliseconds.
        let document: Document<V> = serde_json::from_slice(&json)
            .with_context(|| format!("decoding an announced {}", V::NAME))?;
        let document = Arc::new(document);
        let mut state = self.state();
        if !state.is_current() {
            return Ok(Known::Unknown(None));
        }
        let kept = state.documents.get_mut(&key);
        match kept.filter(|kept| kept.revision == document.revision) {
            Some(kept) => kept.content = Content::Decoded(document.clone()),
            // It was replaced or forgotten meanwhile.
            None => return Ok(Known::Unknown(Some(ticket))),
        }
        Ok(Known::Document(document))
    }

    /// Keeps a document that was read from MongoDB, unless it may be stale by now.
    pub(super) fn keep<V: View>(&self, ticket: Ticket, document: Arc<Document<V>>) {
        let bytes = serde_json::to_vec(&*document).map_or(0, |json| json.len());
        let mut state = self.state();
        let key = (V::NAME, document.tenant, document.id.into());
        let is_newer = state.documents.peek(&key);
        let is_newer = is_newer.is_none_or(|kept| kept.revision < document.revision);
        // An announcement since the ticket was issued is either kept or counted as forgotten.
        if !state.is_current() || state.forgotten > ticket.0 || !is_newer {
            return;
        }
        let kept = Kept {
            revision: document.revision,
            announced: 0,
            bytes: bytes + ENTRY_BYTES,
            content: Content::Decoded(document),
        };
        state.put(key, kept);
    }

    /// Keeps an announced document, and tells those who wait for it.
    ///
    /// # Errors
    /// If the document cannot be decoded.
    pub(super) fn announce(&self, key: Key, json: Bytes) -> anyhow::Result<()> {
        let announced: Revision = serde_json::from_slice(&json).context("an announced document")?;
        let revision = announced.revision;
        let mut state = self.state();
        state.clock += 1;
        let clock = state.clock;
        let kept = state.documents.peek_mut(&key);
        if let Some(kept) = kept.filter(|kept| kept.revision >= revision) {
            kept.announced = clock;
        } else {
            let kept = Kept {
                revision,
                announced: clock,
                bytes: json.len() + ENTRY_BYTES,
                content: Content::Json(json),
            };
            state.put(key, kept);
        }
        state.tell(key, revision);
        Ok(())
    }

    /// Forgets a document whose announcement is late: MongoDB has this revision already.
    pub(super) fn overtaken(&self, key: Key, revision: i64) {
        let mut state = self.state();
        let kept = state.documents.peek(&key);
        if kept.is_some_and(|kept| kept.revision >= revision) {
            return;
        }
        if let Some(kept) = state.documents.pop(&key) {
            state.bytes -= kept.bytes;
        }
        // Somebody may have read an older one just now.
        state.clock += 1;
        state.forgotten = state.clock;
    }

    /// Returns whether a document is known to have reached a revision, or else a receiver that
    /// hears of it. The receiver fails when VIEWS is lost. `None` while VIEWS is not followed.
    pub(super) fn wait_for(
        &self,
        key: Key,
        revision: i64,
    ) -> Option<Result<(), oneshot::Receiver<()>>> {
        let mut state = self.state();
        if !state.is_current() {
            return None;
        }
        let kept = state.documents.peek(&key);
        if kept.is_some_and(|kept| kept.revision >= revision) {
            return Some(Ok(()));
        }
        let (reached, receiver) = oneshot::channel();
        let waiting = state.waiting.entry(key).or_default();
        waiting.retain(|waiting| !waiting.reached.is_closed());
        waiting.push(Waiting { revision, reached });
        Some(Err(receiver))
    }

    /// Forgets those who have given up waiting for a document.
    pub(super) fn tidy(&self, key: Key) {
        let mut state = self.state();
        if let Some(waiting) = state.waiting.get_mut(&key) {
            waiting.retain(|waiting| !waiting.reached.is_closed());
            if waiting.is_empty() {
                state.waiting.remove(&key);
            }
        }
    }

    /// Returns a receiver that is marked as changed when something of the topic changes, or may
    /// have changed.
    pub(super) fn listen(&self, topic: Topic) -> watch::Receiver<()> {
        let mut state = self.state();
        // Not each time, which would cost the square of the listeners.
        if state.listeners.len() >= state.tidy_at {
            state.listeners.retain(|_, listener| !listener.is_closed());
            state.tidy_at = 2 * state.listeners.len() + TIDY_FROM;
        }
        let listener = state.listeners.entry(topic);
        listener
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe()
    }
}

impl State {
    fn is_current(&self) -> bool {
        self.heard.is_some_and(|heard| heard.elapsed() < SILENCE)
    }

    fn put(&mut self, key: Key, kept: Kept) {
        self.bytes += kept.bytes;
        if let Some(before) = self.documents.put(key, kept) {
            self.bytes -= before.bytes;
        }
        while self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.documents.pop_lru() else {
                return;
            };
            self.bytes -= oldest.bytes;
            self.forgotten = self.forgotten.max(oldest.announced);
        }
    }

    fn tell(&mut self, key: Key, revision: i64) {
        if let Some(waiting) = self.waiting.remove(&key) {
            let (reached, later): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|waiting| waiting.revision <= revision);
            for waiting in reached {
                // The receiver may have given up.
                _ = waiting.reached.send(());
            }
            if !later.is_empty() {
                self.waiting.insert(key, later);
            }
        }
        for topic in [Topic::Tenant(key.1), Topic::Document(key)] {
            if let Some(listener) = self.listeners.get(&topic) {
                listener.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
