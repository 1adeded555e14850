//! Recently used view documents, in memory.
//!
//! Every changed document arrives from VIEWS (`follow.rs`), so a document that is kept here is the
//! present one as long as the connection to VIEWS is intact. When it is not, everything is dropped,
//! and views are read from MongoDB until VIEWS is followed again.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
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
        Self(Arc::new(Mutex::new(State {
            heard: None,
            documents: LruCache::unbounded(),
            bytes: 0,
            clock: 0,
            forgotten: 0,
            waiting: HashMap::new(),
            listeners: HashMap::new(),
        })))
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
        let mut state = self.state();
        if !state.is_current() {
            return Ok(Known::Unknown(None));
        }
        let ticket = Ticket(state.clock);
        let Some(kept) = state.documents.get_mut(&(V::NAME, tenant, id.into())) else {
            return Ok(Known::Unknown(Some(ticket)));
        };
        let document = kept.document::<V>()?;
        Ok(document.map_or(Known::Unknown(Some(ticket)), Known::Document))
    }

    /// Keeps a document that was read from MongoDB, unless it may be stale by now.
    pub(super) fn keep<V: View>(&self, ticket: Ticket, document: Arc<Document<V>>) {
        let mut state = self.state();
        let key = (V::NAME, document.tenant, document.id.into());
        let is_newer = state.documents.peek(&key);
        let is_newer = is_newer.is_none_or(|kept| kept.revision < document.revision);
        // An announcement since the ticket was issued is either kept or counted as forgotten.
        if !state.is_current() || state.forgotten > ticket.0 || !is_newer {
            return;
        }
        let bytes = serde_json::to_vec(&*document).map_or(0, |json| json.len());
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
        if kept.is_some_and(|kept| kept.revision < revision)
            && let Some(kept) = state.documents.pop(&key)
        {
            state.bytes -= kept.bytes;
            state.clock += 1;
            state.forgotten = state.clock;
        }
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
        state.listeners.retain(|_, listener| !listener.is_closed());
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
                // Whoever waited may have given up.
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

impl Kept {
    fn document<V: View>(&mut self) -> anyhow::Result<Option<Arc<Document<V>>>> {
        if let Content::Json(json) = &self.content {
            let document = serde_json::from_slice::<Document<V>>(json);
            let document = document.with_context(|| format!("an announced {}", V::NAME))?;
            self.content = Content::Decoded(Arc::new(document));
        }
        match &self.content {
            Content::Json(_) => Ok(None),
            Content::Decoded(document) => Ok(document.clone().downcast().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Name, ProjectId, TenantKey, Time, project};

    use super::*;

    const ACME: TenantId = TenantId::Tenant(TenantKey(Id::from_bytes([9; 16])));

    fn id(number: u8) -> ProjectId {
        ProjectId(Id::from_bytes([number; 16]))
    }

    fn key(number: u8) -> Key {
        ("project", ACME, id(number).0)
    }

    fn document(number: u8, revision: i64) -> Document<project::View> {
        let view = project::View {
            name: Name::parse("Loom").unwrap(),
            description: Default::default(),
            status: project::Status::Active,
            creator: AccountId(Id::from_bytes([1; 16])),
            created_at: Time(0),
            updated_at: Time(revision),
        };
        Document {
            id: id(number),
            tenant: ACME,
            revision,
            view: Some(view),
        }
    }

    fn json(document: &Document<project::View>) -> Bytes {
        serde_json::to_vec(document).unwrap().into()
    }

    fn following() -> Memory {
        let memory = Memory::new();
        memory.heard(Instant::now());
        memory
    }

    /// The revision that memory knows.
    fn known(memory: &Memory, number: u8) -> Option<i64> {
        match memory.get::<project::View>(ACME, id(number)).unwrap() {
            Known::Document(document) => Some(document.revision),
            Known::Unknown(_) => None,
        }
    }

    fn ticket(memory: &Memory, number: u8) -> Option<Ticket> {
        match memory.get::<project::View>(ACME, id(number)).unwrap() {
            Known::Document(_) => panic!("the document is known"),
            Known::Unknown(ticket) => ticket,
        }
    }

    #[test]
    fn an_announced_document_is_known_and_never_replaced_by_an_older_one() {
        let memory = following();
        for revision in [2, 1, 3] {
            let json = json(&document(7, revision));
            memory.announce(key(7), json).unwrap();
        }
        assert_eq!(known(&memory, 7), Some(3));
        assert_eq!(known(&memory, 8), None);
        memory.announce(key(7), json(&document(7, 2))).unwrap();
        assert_eq!(known(&memory, 7), Some(3));
    }

    #[test]
    fn nothing_is_known_or_kept_while_views_is_not_followed() {
        let memory = Memory::new();
        assert!(ticket(&memory, 7).is_none());
        memory.heard(Instant::now());
        let before = ticket(&memory, 7).unwrap();
        memory.announce(key(8), json(&document(8, 1))).unwrap();
        memory.forget_all();
        assert!(ticket(&memory, 8).is_none());
        memory.heard(Instant::now());
        assert_eq!(known(&memory, 8), None);
        // What was read before the gap may be stale.
        memory.keep(before, Arc::new(document(7, 1)));
        assert_eq!(known(&memory, 7), None);
    }

    #[test]
    fn a_silence_ends_the_use_of_memory() {
        let memory = following();
        memory.announce(key(7), json(&document(7, 1))).unwrap();
        memory.state().heard = Instant::now().checked_sub(SILENCE);
        assert!(ticket(&memory, 7).is_none());
    }

    #[test]
    fn a_document_that_was_read_while_a_newer_one_was_announced_is_not_kept() {
        let memory = following();
        let before = ticket(&memory, 7).unwrap();
        memory.announce(key(7), json(&document(7, 2))).unwrap();
        memory.keep(before, Arc::new(document(7, 1)));
        assert_eq!(known(&memory, 7), Some(2));
    }

    #[test]
    fn a_document_is_not_kept_if_a_newer_one_was_announced_and_forgotten_since() {
        let memory = following();
        let before = ticket(&memory, 7).unwrap();
        memory.announce(key(7), json(&document(7, 2))).unwrap();
        {
            let mut state = memory.state();
            state.bytes = MAX_BYTES + 1;
            let other = Kept {
                revision: 1,
                announced: 0,
                bytes: 1,
                content: Content::Json(Bytes::new()),
            };
            state.put(key(8), other);
            state.bytes = 1;
        }
        assert_eq!(known(&memory, 7), None);
        memory.keep(before, Arc::new(document(7, 1)));
        assert_eq!(known(&memory, 7), None);
        let after = ticket(&memory, 7).unwrap();
        memory.keep(after, Arc::new(document(7, 2)));
        assert_eq!(known(&memory, 7), Some(2));
    }

    #[test]
    fn a_document_that_mongodb_has_overtaken_is_forgotten() {
        let memory = following();
        memory.announce(key(7), json(&document(7, 1))).unwrap();
        memory.overtaken(key(7), 1);
        assert_eq!(known(&memory, 7), Some(1));
        let before = ticket(&memory, 8).unwrap();
        memory.overtaken(key(7), 2);
        assert_eq!(known(&memory, 7), None);
        // What was read before may be as old.
        memory.keep(before, Arc::new(document(7, 1)));
        assert_eq!(known(&memory, 7), None);
    }

    #[test]
    fn memory_is_bounded_by_bytes() {
        let memory = following();
        let mut large = document(1, 1);
        if let Some(view) = &mut large.view {
            let text = "x".repeat(10_000);
            view.description = events_schema::Description::parse(&text).unwrap();
        }
        let large = json(&large);
        for number in 0..5_000_u32 {
            let bytes = [[0; 12].as_slice(), &number.to_be_bytes()].concat();
            let id = Id::from_bytes(bytes.try_into().unwrap());
            memory
                .announce(("project", ACME, id), large.clone())
                .unwrap();
        }
        let state = memory.state();
        assert!(state.bytes <= MAX_BYTES && state.documents.len() < 4_000);
        let sum: usize = state.documents.iter().map(|(_, kept)| kept.bytes).sum();
        assert_eq!(state.bytes, sum);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_revision_hears_of_it_or_of_the_loss_of_views() {
        let memory = following();
        let Some(Err(second)) = memory.wait_for(key(7), 2) else {
            panic!("nothing is announced yet");
        };
        memory.announce(key(7), json(&document(7, 1))).unwrap();
        assert!(matches!(memory.wait_for(key(7), 1), Some(Ok(()))));
        memory.announce(key(7), json(&document(7, 2))).unwrap();
        second.await.unwrap();
        let Some(Err(third)) = memory.wait_for(key(7), 3) else {
            panic!("revision 3 is not announced yet");
        };
        memory.forget_all();
        assert!(third.await.is_err());
        assert!(memory.wait_for(key(7), 3).is_none());
        assert!(memory.state().waiting.is_empty());
    }

    #[test]
    fn a_listener_hears_of_its_topic_and_of_the_loss_of_views() {
        let memory = following();
        let mut tenant = memory.listen(Topic::Tenant(ACME));
        let mut other = memory.listen(Topic::Document(key(8)));
        memory.announce(key(7), json(&document(7, 1))).unwrap();
        assert!(tenant.has_changed().unwrap() && !other.has_changed().unwrap());
        tenant.mark_unchanged();
        memory.forget_all();
        assert!(tenant.has_changed().unwrap() && other.has_changed().unwrap());
        other.mark_unchanged();
    }
}
