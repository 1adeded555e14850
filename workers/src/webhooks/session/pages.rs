//! Reads the log into the line of a webhook.

mod ahead;
mod lane;
mod size;

use std::{mem::replace, time::Duration};

use anyhow::{bail, ensure};
use bytes::Bytes;
use event_store::{EventLog, Page, Stored};
use events_schema::{
    AreaName, Subject, TenantId, TenantKey, Time,
    published::{PublicEvent, Unreadable, events_of},
    subject::events_of_tenant,
    webhook::{EventRef, Payload, Settings},
};
use tokio::time::Instant;

pub use self::size::LargePages;
use self::{
    ahead::Ahead,
    lane::LaneRead,
    size::{PAGE, PageSize, Sizes},
};
use super::now;
use crate::webhooks::{
    line::{Item, Line},
    message::{Outgoing, Shown},
    tenants::is_deletion,
};

/// The time between two reads: so long, commits gather. It doubles as long as no event comes. A
/// session does not wait for wake-ups, since another worker may get them.
const READ_AGAIN_FIRST: Duration = Duration::from_millis(5);
const READ_AGAIN_LONGEST: Duration = Duration::from_millis(160);
/// With so much time between two reads, nothing came for a while.
const QUIET: Duration = Duration::from_millis(40);
/// The largest commit in bytes that waits with its event, as it is a part of the history that a full
/// message shows. A larger one is read again.
const MAX_KEPT: usize = 4 * 1024;
/// A webhook is fast that has got a page within so much time. Only then is a large one worth its memory.
const FAST: Duration = Duration::from_secs(1);
/// Pages that are read before the session stores how far it is. Else a session that reads for longer
/// than its lease would lose all that it has read, and so would the next one.
const PAGES_AT_ONCE: usize = 50;
/// Parked lanes that are read before events are sent.
const LANES_AT_ONCE: usize = 16;

/// Reads the log of one tenant.
pub struct Pages {
    log: EventLog,
    tenant: TenantKey,
    /// Whether everything is read, as far as is known.
    pub at_end: bool,
    /// Whether a commit of a newer release comes next.
    pub is_newer: bool,
    /// The next commit, if it may have changed the webhook, until that is known.
    pub changed_at: Option<u64>,
    /// The last commit that the leader named, if no event or wake-up came since.
    last: Option<u64>,
    /// The next pages, while events are sent.
    ahead: Ahead,
    sizes: Sizes,
    /// How many commits follow those that were read last.
    pending: u64,
    /// When the log was last read, and the time until it is read again.
    read_at: Instant,
    read_again: Duration,
}

impl Pages {
    /// Reads the commits of this tenant.
    pub fn new(log: EventLog, tenant: TenantKey, large: LargePages) -> Self {
        Self {
            log,
            tenant,
            at_end: false,
            is_newer: false,
            changed_at: None,
            last: None,
            ahead: Ahead::default(),
            sizes: Sizes::new(large),
            pending: 0,
            read_at: Instant::now(),
            read_again: Duration::ZERO,
        }
    }

    /// Whether the main line is read further, now or later.
    pub fn reads(&self, line: &Line<Outgoing>) -> bool {
        !self.is_newer && line.reads_from().is_some()
    }

    /// Returns when the log is read again.
    pub fn next_read(&self) -> Instant {
        self.read_at + self.read_again
    }

    /// Whether the next page is being read, so that nothing can be done before it comes.
    pub fn are_read(&self) -> bool {
        self.ahead.is_awaited()
    }

    /// Returns when a page is read that was asked for; waits for ever without any.
    pub async fn next_page(&mut self) {
        self.ahead.is_read().await;
    }

    /// Has the log read soon: there may be something new.
    pub fn read_soon(&mut self) {
        self.at_end = false;
        self.read_again = READ_AGAIN_FIRST;
        self.last = None;
    }

    /// Whether everything is read, and nothing came for a while.
    pub fn are_quiet(&self) -> bool {
        self.at_end && self.read_again >= QUIET
    }

    /// Reads what the line wants to read: due lanes, then the next commits, up to one that may have
    /// changed the webhook after the sequence `known`. Little is read if others wait for the slot.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn fill(
        &mut self,
        line: &mut Line<Outgoing>,
        settings: &Settings,
        known: u64,
        is_slot_wanted: bool,
    ) -> anyhow::Result<()> {
        for _ in 0..LANES_AT_ONCE {
            let Some((lane, from)) = line.due_lane(now()) else {
                break;
            };
            match self.lane(line, settings, &lane, from).await? {
                LaneRead::Events(items) => line.retry(&lane, items),
                LaneRead::NoneBefore(sequence) => line.pass_over(&lane, sequence),
            }
        }
        if self.is_newer || self.changed_at.is_some() {
            return Ok(());
        }
        if line.has_open() {
            self.read_beside(line, settings, known, is_slot_wanted)
        } else {
            self.read_now(line, settings, known, is_slot_wanted).await
        }
    }

    /// Adds a page that was read while events were sent, and asks for the next one.
    fn read_beside(
        &mut self,
        line: &mut Line<Outgoing>,
        settings: &Settings,
        known: u64,
        is_slot_wanted: bool,
    ) -> anyhow::Result<()> {
        if let Some(from) = line.reads_from()
            && let Some(page) = self.ahead.take(from)
        {
            self.add(line, settings, known, from, &page?);
        }
        let is_due = Instant::now() >= self.next_read();
        let may_read = is_due && !self.is_newer && self.changed_at.is_none();
        let goes_on = line.reads_from().filter(|_| may_read);
        if let Some(from) = goes_on.and_then(|from| self.ahead.wants(from)) {
            let size = self.begin_read(is_slot_wanted);
            self.ahead.begin(self.log.clone(), self.all(), from, size);
        }
        Ok(())
    }

    /// Begins a read, and returns how much it reads.
    fn begin_read(&mut self, is_slot_wanted: bool) -> PageSize {
        let last_read_at = replace(&mut self.read_at, Instant::now());
        let is_fast = last_read_at.elapsed() < FAST;
        self.sizes.next(self.pending, is_fast && !is_slot_wanted)
    }

    /// Reads pages until there is an event to send.
    async fn read_now(
        &mut self,
        line: &mut Line<Outgoing>,
        settings: &Settings,
        known: u64,
        is_slot_wanted: bool,
    ) -> anyhow::Result<()> {
        self.ahead.end().await;
        if self.ahead.is_empty() && Instant::now() < self.next_read() {
            return Ok(());
        }
        for _ in 0..PAGES_AT_ONCE {
            let Some(from) = line.reads_from() else {
                break;
            };
            let page = match self.ahead.take(from) {
                Some(page) => page?,
                None => {
                    let size = self.begin_read(is_slot_wanted);
                    let page = size.read(&self.log, &self.all(), from).await?;
                    self.ahead.first_of(page)
                }
            };
            let has_events = self.add(line, settings, known, from, &page);
            if has_events || self.at_end || self.is_newer || self.changed_at.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Adds the page from this sequence on, where the line goes on. Returns whether it has events.
    fn add(
        &mut self,
        line: &mut Line<Outgoing>,
        settings: &Settings,
        known: u64,
        from: u64,
        page: &Page,
    ) -> bool {
        self.pending = page.pending;
        let (commits, changed_at) = up_to_change(&page.messages, known);
        self.changed_at = changed_at;
        let is_last = page.pending == 0 && commits.len() == page.messages.len();
        let read = self.items(line, settings, commits, from);
        let has_events = !read.items.is_empty();
        line.read(read.end, read.items);
        self.is_newer = read.is_newer;
        self.at_end = is_last && !read.is_newer;
        if has_events {
            self.last = None;
        }
        self.read_again = if !is_last {
            Duration::ZERO
        } else if has_events {
            READ_AGAIN_FIRST
        } else {
            (self.read_again * 2).clamp(READ_AGAIN_FIRST, READ_AGAIN_LONGEST)
        };
        has_events
    }

    /// Whether a commit is not read that the leader of the log has named. It is asked once after each
    /// event and wake-up: later commits that matter have wake-ups of their own.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn has_more(&mut self, line: &Line<Outgoing>) -> anyhow::Result<bool> {
        let last = match self.last {
            Some(last) => last,
            None => {
                let last = self.log.last(&self.all()).await?;
                *self.last.insert(last.map_or(0, |last| last.sequence))
            }
        };
        let is_more = line.reads_from().is_some_and(|from| from <= last);
        if is_more {
            self.at_end = false;
            self.read_again = READ_AGAIN_FIRST;
        }
        Ok(is_more)
    }

    /// Returns an event of the tenant, as the leader of the log knows it; `None` if there is no such
    /// event.
    ///
    /// # Errors
    /// If the leader does not answer, or a newer release wrote the commit.
    pub async fn event(&self, event: EventRef) -> anyhow::Result<Option<Outgoing>> {
        let Some(stored) = self.log.at(event.sequence).await? else {
            return Ok(None);
        };
        let mut events = match events_of(&stored.subject, &stored.payload) {
            Ok(events) => events.into_iter(),
            Err(Unreadable::Newer(reason)) => bail!("a newer release wrote the event: {reason}"),
            Err(Unreadable::Malformed(_) | Unreadable::Missing { .. }) => return Ok(None),
        };
        let is_it = |one: &PublicEvent| one.tenant == self.tenant && one.position == event.position;
        let shown = Shown::Stored {
            sequence: event.sequence,
            commit: None,
        };
        let found = events.find(is_it);
        Ok(found.map(|event| Outgoing { event, shown }))
    }

    fn all(&self) -> String {
        events_of_tenant(TenantId::Tenant(self.tenant))
    }

    /// Reads the next commits for a replay. There is one, as the request of the replay itself.
    ///
    /// # Errors
    /// If the log does not answer or lags behind, or a newer release wrote a commit.
    pub async fn page(
        &self,
        line: &Line<Outgoing>,
        settings: &Settings,
        from: u64,
    ) -> anyhow::Result<Read> {
        let page = self.log.page_of(&self.all(), from, PAGE).await?;
        ensure!(
            !page.messages.is_empty(),
            "a replica of the log lags behind"
        );
        let read = self.items(line, settings, &page.messages, from);
        ensure!(!read.is_newer, "a newer release wrote a commit to replay");
        Ok(read)
    }

    /// Returns the sequence of the tenant's first commit at this time or later; that after the last
    /// one if there is none.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn first_since(&self, time: Time, end: u64) -> anyhow::Result<u64> {
        let first = self.log.first_since(&self.all(), time).await?;
        Ok(first.unwrap_or(end))
    }

    /// Returns the events of commits that the webhook wants, up to a commit of a newer release.
    fn items(
        &self,
        line: &Line<Outgoing>,
        settings: &Settings,
        commits: &[Stored],
        from: u64,
    ) -> Read {
        let mut read = Read {
            items: Vec::new(),
            end: from,
            is_newer: false,
        };
        for stored in commits {
            match events_of(&stored.subject, &stored.payload) {
                Ok(events) => {
                    let shown = shown(settings, stored);
                    let wanted = events
                        .into_iter()
                        .filter(|one| settings.wants(one.event_type));
                    let outgoing = wanted.map(|event| Outgoing {
                        event,
                        shown: shown.clone(),
                    });
                    let items = outgoing.map(|outgoing| item(line, stored.sequence, outgoing));
                    read.items.extend(items);
                }
                Err(Unreadable::Newer(reason)) => {
                    tracing::debug!(reason, "a webhook waits for a worker of a newer release");
                    read.is_newer = true;
                    return read;
                }
                Err(error) => {
                    let sequence = stored.sequence;
                    tracing::warn!(sequence, %error, "a commit is not sent to webhooks");
                }
            }
            read.end = stored.sequence + 1;
        }
        read
    }
}

/// What was read of a page.
pub struct Read {
    pub items: Vec<Item<Outgoing>>,
    /// The next sequence to read.
    pub end: u64,
    is_newer: bool,
}

/// Whether a commit may have changed a webhook of its tenant after the sequence `known`.
fn may_change(stored: &Stored, known: u64) -> bool {
    let Ok(Subject::Event { tenant, area, id }) = Subject::parse(&stored.subject) else {
        return false;
    };
    let is_change =
        area == AreaName::Webhook || area == AreaName::Tenant && is_deletion(&stored.payload);
    // All webhooks of a tenant are one object, with the tenant's id.
    stored.sequence > known && is_change && matches!(tenant, TenantId::Tenant(key) if key.0 == id)
}

/// Returns commits up to the first one that may have changed the webhook, and its sequence. The
/// change and what follows are read when it is known: else the former filter would choose, and what
/// a person has asked for could be passed over.
fn up_to_change(commits: &[Stored], known: u64) -> (&[Stored], Option<u64>) {
    let mut all = commits.iter();
    match all.position(|stored| may_change(stored, known)) {
        Some(at) => (&commits[..at], Some(commits[at].sequence)),
        None => (commits, None),
    }
}

/// Returns what the messages of a commit show.
fn shown(settings: &Settings, stored: &Stored) -> Shown {
    let is_kept = settings.payload == Payload::Full && stored.payload.len() <= MAX_KEPT;
    Shown::Stored {
        sequence: stored.sequence,
        // A part of what was received would keep all of that.
        commit: is_kept.then(|| Bytes::copy_from_slice(&stored.payload)),
    }
}

/// Returns an event as an item of the line.
pub fn item(line: &Line<Outgoing>, sequence: u64, outgoing: Outgoing) -> Item<Outgoing> {
    let event = &outgoing.event;
    Item {
        event: EventRef {
            sequence,
            position: event.position,
        },
        lane: line.lane_of(format!("{}.{}", event.area, event.aggregate)),
        time: Time(event.time.0),
        content: outgoing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits of these areas, with the sequences 1, 2, 3 …
    fn commits(areas: &[&str]) -> Vec<Stored> {
        let id = "00112233445566778899aabbccddeeff";
        let stored = |(sequence, area): (u64, &&str)| Stored {
            sequence,
            subject: format!("evt.{id}.{area}.{id}"),
            payload: "".into(),
        };
        (1..).zip(areas).map(stored).collect()
    }

    #[test]
    fn commits_are_read_up_to_a_change_that_is_not_known() {
        let all = commits(&["project", "webhook", "project", "webhook", "project"]);
        for (known, read, changed_at) in [(0, 1, Some(2)), (2, 3, Some(4)), (4, 5, None)] {
            let (commits, change) = up_to_change(&all, known);
            assert_eq!((commits.len(), change), (read, changed_at), "{known}");
        }
    }
}
