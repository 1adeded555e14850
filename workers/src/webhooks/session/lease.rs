//! The right to send to a webhook, kept in its cursor.

use std::time::Duration;

use anyhow::{Context as _, bail};
use event_store::random_id;
use events_schema::{
    Id, TenantKey, WebhookId,
    webhook::{Cursor, Lease},
};
use tokio::time::Instant;

use super::now;
use crate::{effect::outbound::EXCHANGE_TIMEOUT, webhooks::cursors::Cursors};

/// How long a lease lasts, and when it is renewed at the latest.
const LEASE: Duration = Duration::from_secs(20);
const RENEW_AFTER: Duration = Duration::from_secs(4);
/// How long before the end of its lease a request has ended.
const SPARE: Duration = Duration::from_secs(1);
/// A request starts only if the lease lasts for so long.
const NEEDED: Duration = EXCHANGE_TIMEOUT.saturating_add(SPARE);

/// How often the cursor is stored while events are sent. After a kill, the events of this time are
/// sent again.
const STORE_EVERY: Duration = Duration::from_millis(100);
/// A cursor with so many entries takes twice as long, one with twice as many three times, and so on:
/// a large one has 100 KB, and each time is synced. The lease must still be renewed in time.
const ENTRIES: usize = 100;
const STORE_EVERY_AT_MOST: Duration = Duration::from_secs(2);

/// A lease that this process holds.
pub struct HeldLease {
    cursors: Cursors,
    tenant: TenantKey,
    webhook: WebhookId,
    holder: Id,
    /// The cursor as it is stored, without the lease.
    stored: Cursor,
    revision: u64,
    /// When it was last stored, at the latest. The lease lasts from there.
    since: Instant,
    is_lost: bool,
}

impl HeldLease {
    /// Takes the lease of a cursor that has this revision; `None` if another worker was first.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn take(
        cursors: Cursors,
        tenant: TenantKey,
        webhook: WebhookId,
        cursor: Cursor,
        revision: u64,
    ) -> anyhow::Result<Option<Self>> {
        let mut lease = Self {
            cursors,
            tenant,
            webhook,
            holder: random_id()?,
            stored: Cursor::default(),
            revision,
            since: Instant::now(),
            is_lost: false,
        };
        Ok(lease.put(cursor, true).await?.then_some(lease))
    }

    /// Returns how long to wait until the cursor is stored again.
    pub fn store_every(&self) -> Duration {
        store_every(&self.stored)
    }

    /// Stores the cursor if it has changed, and renews the lease if it is time.
    ///
    /// # Errors
    /// If another worker has the lease, or the bucket does not answer.
    pub async fn store(&mut self, cursor: Cursor) -> anyhow::Result<()> {
        if cursor == self.stored && self.since.elapsed() < RENEW_AFTER {
            return Ok(());
        }
        let is_stored = self.put(cursor, true).await?;
        self.is_lost |= !is_stored;
        if self.is_lost {
            bail!("another worker has taken the lease of the webhook");
        }
        Ok(())
    }

    /// Stores the cursor and gives the lease back.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn release(&mut self, cursor: Cursor) -> anyhow::Result<()> {
        if !self.is_lost {
            self.put(cursor, false).await?;
        }
        Ok(())
    }

    /// Deletes the cursor of a webhook that is deleted.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn delete(&self) -> anyhow::Result<()> {
        let (tenant, webhook) = (self.tenant, self.webhook);
        self.cursors.delete(tenant, webhook, self.revision).await
    }

    /// Whether another worker has the lease.
    pub const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether a request may start: it ends before another worker can take the lease.
    pub fn allows_request(&self) -> bool {
        !self.is_lost && self.since.elapsed() + NEEDED < LEASE
    }

    /// Returns when a request must have ended that starts now.
    pub fn request_ends_by(&self) -> Instant {
        ends_by(self.since, Instant::now())
    }

    async fn put(&mut self, cursor: Cursor, is_held: bool) -> anyhow::Result<bool> {
        // The lease counts from before it is stored.
        let since = Instant::now();
        let lease = is_held.then(|| Lease {
            holder: self.holder,
            until: now() + LEASE,
        });
        let record = Cursor {
            lease,
            ..cursor.clone()
        };
        let mut stored = self.put_record(&record).await?;
        if stored.is_none() && self.has_stored_unknowingly().await? {
            stored = self.put_record(&record).await?;
        }
        let Some(revision) = stored else {
            return Ok(false);
        };
        self.revision = revision;
        self.since = since;
        self.stored = cursor;
        Ok(true)
    }

    async fn put_record(&self, record: &Cursor) -> anyhow::Result<Option<u64>> {
        let (tenant, webhook) = (self.tenant, self.webhook);
        let put = self.cursors.put(tenant, webhook, record, self.revision);
        put.await.context("storing where a delivery stands")
    }

    /// Whether the record is ours, after all: a write whose answer was lost is stored.
    async fn has_stored_unknowingly(&mut self) -> anyhow::Result<bool> {
        let record = self.cursors.get(self.tenant, self.webhook).await?;
        let lease = record.cursor.and_then(|cursor| cursor.lease);
        let is_ours = lease.is_some_and(|lease| lease.holder == self.holder);
        if is_ours {
            self.revision = record.revision;
        }
        Ok(is_ours)
    }
}

/// Returns when a request must have ended that starts now, under a lease that was stored at `since`.
/// The process may be stopped at any moment and go on without its lease, so the clock alone would
/// not do.
fn ends_by(since: Instant, now: Instant) -> Instant {
    (now + EXCHANGE_TIMEOUT).min(since + LEASE - SPARE)
}

fn store_every(cursor: &Cursor) -> Duration {
    let entries = cursor.parked.len() + cursor.done.len();
    let factor = u32::try_from(1 + entries / ENTRIES).unwrap_or(u32::MAX);
    STORE_EVERY.saturating_mul(factor).min(STORE_EVERY_AT_MOST)
}

#[cfg(test)]
mod tests {
    use events_schema::webhook::{EventRef, Parked};

    use super::*;

    fn cursor(parked: u64, done: u64) -> Cursor {
        let event = |sequence| EventRef {
            sequence,
            position: 0,
        };
        let lane = |number| {
            let parked = Parked {
                next: event(number),
                attempts: 1,
                since: now(),
                due: now(),
                happened_at: Some(now()),
            };
            (format!("project.{number}"), parked)
        };
        Cursor {
            parked: (0..parked).map(lane).collect(),
            done: (0..done).map(event).collect(),
            ..Cursor::default()
        }
    }

    #[test]
    fn a_request_ends_before_the_lease_does() {
        let since = Instant::now();
        for (started_s, ends_s) in [(0, 15), (3, 18), (4, 19), (60, 19)] {
            let after = |seconds| since + Duration::from_secs(seconds);
            assert_eq!(ends_by(since, after(started_s)), after(ends_s));
        }
    }

    #[test]
    fn a_cursor_is_stored_as_often_as_its_size_allows() {
        for (parked, done, expected_ms) in [
            (0, 0, 100),
            (99, 0, 100),
            (1_000, 0, 1_100),
            (500, 500, 1_100),
            (0, 1_000_000, 2_000),
        ] {
            let every = store_every(&cursor(parked, done));
            assert_eq!(every.as_millis(), expected_ms, "{parked} {done}");
        }
    }
}
