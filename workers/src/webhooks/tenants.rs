//! The webhooks of tenants, folded from the log and remembered.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, ensure};
use event_store::{EventLog, Stored};
use events_schema::{
    AreaName, Commit, CommitSummary, Subject, TenantId, TenantKey, Time, WebhookId,
    webhook::{Area, Event, EventRef, ReplayId, Webhook, apply},
};
use lru::LruCache;

/// Tenants whose webhooks are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// The latest requests of people that are remembered for each tenant. They are done in seconds.
const REQUESTS: usize = 200;

/// The webhooks of a tenant.
#[derive(Clone, Debug, Default)]
pub struct TenantWebhooks {
    /// The sequence of the last commit that is folded.
    pub sequence: u64,
    /// Whether the tenant is deleted, and its webhooks with it.
    pub is_deleted: bool,
    /// Whether a newer release has changed the webhooks, so that not all of it is known here.
    pub is_newer: bool,
    pub webhooks: BTreeMap<WebhookId, Webhook>,
    /// The sequence after which each webhook gets events.
    pub starts: BTreeMap<WebhookId, u64>,
    /// When each webhook was last enabled after it had been disabled.
    pub enabled_at: BTreeMap<WebhookId, Time>,
    /// The sequence at which each running replay was requested.
    pub replays: BTreeMap<ReplayId, u64>,
    /// What people have asked for, the oldest first.
    pub requests: VecDeque<Request>,
}

/// What a person has asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The sequence of the commit.
    pub sequence: u64,
    pub webhook: WebhookId,
    pub kind: RequestKind,
}

#[derive(Clone, Debug)]
pub enum RequestKind {
    /// Send an example event of this type.
    Test(String),
    /// Send this event once more.
    Redeliver(EventRef),
}

impl RequestKind {
    /// Returns where the log has the event; `None` for a test.
    pub const fn reference(&self) -> Option<EventRef> {
        match self {
            Self::Test(_) => None,
            Self::Redeliver(event) => Some(*event),
        }
    }
}

/// Remembers the webhooks of tenants. Clones share what they remember.
#[derive(Clone)]
pub struct Tenants {
    log: EventLog,
    remembered: Arc<Remembered>,
}

/// The webhooks of the tenants that were read last.
struct Remembered(Mutex<LruCache<TenantKey, Arc<TenantWebhooks>>>);

impl TenantWebhooks {
    /// Returns a webhook; `None` if it is deleted, or its tenant is.
    pub fn get(&self, webhook: WebhookId) -> Option<&Webhook> {
        let webhook = self.webhooks.get(&webhook);
        webhook.filter(|_| !self.is_deleted)
    }

    /// Whether a commit of this tenant is known here, if it concerns webhooks.
    pub fn knows(&self, tenant: TenantKey, subject: &str, sequence: u64, payload: &[u8]) -> bool {
        if subject == commits_of(tenant, AreaName::Webhook) {
            return sequence <= self.sequence || self.is_newer || self.is_deleted;
        }
        self.is_deleted || subject != commits_of(tenant, AreaName::Tenant) || !is_deletion(payload)
    }

    fn fold(&mut self, stored: &Stored) -> anyhow::Result<()> {
        let commit: Commit<Area> = serde_json::from_slice(&stored.payload)
            .context("reading a commit of webhooks; a newer release may have written it")?;
        for event in &commit.events {
            apply(&mut self.webhooks, event, commit.time);
            let webhook = event.webhook();
            if event.starts_webhook() {
                self.starts.insert(webhook, stored.sequence);
            }
            if matches!(event, Event::Enabled { .. }) {
                self.enabled_at.insert(webhook, commit.time);
            }
            let kind = match event {
                Event::TestRequested { event_type, .. } => RequestKind::Test(event_type.clone()),
                Event::RedeliveryRequested { event, .. } => RequestKind::Redeliver(*event),
                Event::ReplayRequested { replay, .. } => {
                    self.replays.insert(*replay, stored.sequence);
                    continue;
                }
                Event::ReplayCancelled { replay, .. } | Event::ReplayFinished { replay, .. } => {
                    self.replays.remove(replay);
                    continue;
                }
                Event::Deleted { .. } => {
                    self.starts.remove(&webhook);
                    self.enabled_at.remove(&webhook);
                    continue;
                }
                Event::Created { .. }
                | Event::Updated { .. }
                | Event::Enabled { .. }
                | Event::Disabled { .. }
                | Event::SecretRotated { .. }
                | Event::Resealed { .. }
                | Event::FailureWarned { .. } => continue,
            };
            self.requests.push_back(Request {
                sequence: stored.sequence,
                webhook,
                kind,
            });
        }
        while self.requests.len() > REQUESTS {
            self.requests.pop_front();
        }
        self.sequence = stored.sequence;
        Ok(())
    }
}

impl Tenants {
    /// Reads the webhooks from this log.
    pub fn new(log: EventLog) -> Self {
        Self {
            log,
            remembered: Arc::new(Remembered::new()),
        }
    }

    /// Returns the webhooks of a tenant as the log has them now.
    ///
    /// # Errors
    /// If the log does not answer, or a newer release has changed the webhooks.
    pub async fn of(&self, tenant: TenantKey) -> anyhow::Result<Arc<TenantWebhooks>> {
        let mut all = self.of_each(&[tenant]).await?;
        let webhooks = all.remove(&tenant).unwrap_or_default();
        ensure!(
            webhooks.is_deleted || !webhooks.is_newer,
            "a newer release has changed the webhooks"
        );
        Ok(webhooks)
    }

    /// Returns the webhooks of each of these tenants as the log has them now.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn of_each(
        &self,
        tenants: &[TenantKey],
    ) -> anyhow::Result<HashMap<TenantKey, Arc<TenantWebhooks>>> {
        let subjects = tenants.iter().flat_map(|tenant| {
            let of_area = |area| commits_of(*tenant, area);
            [of_area(AreaName::Webhook), of_area(AreaName::Tenant)]
        });
        let last = self.log.last_of_each(subjects.collect()).await?;
        let last: HashMap<String, Stored> = last
            .into_iter()
            .map(|stored| (stored.subject.clone(), stored))
            .collect();
        let mut found = HashMap::new();
        for tenant in tenants {
            let deleted = last.get(&commits_of(*tenant, AreaName::Tenant));
            let changed = last.get(&commits_of(*tenant, AreaName::Webhook));
            let sequence = changed.map_or(0, |stored| stored.sequence);
            let is_deleted = deleted.is_some_and(|stored| is_deletion(&stored.payload));
            found.insert(*tenant, self.read(*tenant, sequence, is_deleted).await?);
        }
        Ok(found)
    }

    /// Folds what is not remembered. A replica that lags may know less than is remembered.
    async fn read(
        &self,
        tenant: TenantKey,
        last: u64,
        is_deleted: bool,
    ) -> anyhow::Result<Arc<TenantWebhooks>> {
        let remembered = self.remembered.get(tenant);
        if remembered.sequence >= last && (remembered.is_deleted || !is_deleted) {
            return Ok(remembered);
        }
        let mut changed = TenantWebhooks::clone(&remembered);
        let subject = commits_of(tenant, AreaName::Webhook);
        let new = self.log.read(&subject, remembered.sequence + 1).await?;
        let folded = new.iter().try_for_each(|stored| changed.fold(stored));
        changed.is_newer = folded.is_err();
        if let Err(error) = folded {
            let error = format!("{error:#}");
            tracing::debug!(%tenant, error, "webhooks wait for a worker of a newer release");
        }
        changed.is_deleted |= is_deleted;
        Ok(self.remembered.keep(tenant, changed))
    }

    /// Whether the leader of the log knows nothing newer of these webhooks.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn is_current(
        &self,
        tenant: TenantKey,
        webhooks: &TenantWebhooks,
    ) -> anyhow::Result<bool> {
        Ok(webhooks.is_deleted || self.last_change(tenant).await? <= webhooks.sequence)
    }

    /// Returns the sequence of the last commit that has changed the webhooks of a tenant, or has
    /// deleted it, as the leader of the log knows it; 0 if there is none.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn last_change(&self, tenant: TenantKey) -> anyhow::Result<u64> {
        let changed = self
            .log
            .last(&commits_of(tenant, AreaName::Webhook))
            .await?;
        let of_tenant = self.log.last(&commits_of(tenant, AreaName::Tenant)).await?;
        let deleted = of_tenant.filter(|stored| is_deletion(&stored.payload));
        let changes = [changed, deleted].into_iter().flatten();
        Ok(changes.map(|stored| stored.sequence).max().unwrap_or(0))
    }
}

impl Remembered {
    fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    fn get(&self, tenant: TenantKey) -> Arc<TenantWebhooks> {
        self.lock().get(&tenant).cloned().unwrap_or_default()
    }

    /// Remembers what was read, unless more is known: another reader was faster, or asked a replica
    /// that lags less. Returns what is known.
    fn keep(&self, tenant: TenantKey, mut read: TenantWebhooks) -> Arc<TenantWebhooks> {
        let mut remembered = self.lock();
        if let Some(known) = remembered.get(&tenant) {
            let is_deleted = known.is_deleted || read.is_deleted;
            if (known.sequence, known.is_newer) > (read.sequence, read.is_newer) {
                read = TenantWebhooks::clone(known);
            }
            read.is_deleted = is_deleted;
        }
        let known = Arc::new(read);
        remembered.put(tenant, known.clone());
        known
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<TenantKey, Arc<TenantWebhooks>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the subject of the commits of a tenant's aggregate whose id is the tenant's.
fn commits_of(tenant: TenantKey, area: AreaName) -> String {
    let subject = Subject::Event {
        tenant: TenantId::Tenant(tenant),
        area,
        id: tenant.0,
    };
    subject.to_string()
}

/// Whether a commit of a tenant deletes it.
pub fn is_deletion(payload: &[u8]) -> bool {
    let commit = serde_json::from_slice::<CommitSummary>(payload);
    commit.is_ok_and(|commit| commit.events.iter().any(|event| event.name == "deleted"))
}

#[cfg(test)]
mod tests {
    use events_schema::Id;

    use super::*;

    const TENANT: TenantKey = TenantKey(Id::from_bytes([1; 16]));

    fn read(sequence: u64) -> TenantWebhooks {
        TenantWebhooks {
            sequence,
            ..TenantWebhooks::default()
        }
    }

    #[test]
    fn a_slow_reader_does_not_replace_what_is_newer() {
        let remembered = Remembered::new();
        remembered.keep(TENANT, read(7));
        assert_eq!(remembered.keep(TENANT, read(5)).sequence, 7);
        assert_eq!(remembered.get(TENANT).sequence, 7);
        assert_eq!(remembered.keep(TENANT, read(8)).sequence, 8);
    }

    #[test]
    fn a_deletion_is_never_forgotten() {
        let remembered = Remembered::new();
        let deleted = TenantWebhooks {
            is_deleted: true,
            ..read(5)
        };
        remembered.keep(TENANT, read(7));
        remembered.keep(TENANT, deleted);
        let known = remembered.keep(TENANT, read(8));
        assert!(known.is_deleted && known.sequence == 8);
    }

    #[test]
    fn a_commit_that_was_not_seen_yet_is_not_known() {
        let change = commits_of(TENANT, AreaName::Webhook);
        let knows =
            |webhooks: &TenantWebhooks, sequence| webhooks.knows(TENANT, &change, sequence, b"{}");
        assert!(knows(&read(7), 7) && !knows(&read(7), 8));
        let newer = TenantWebhooks {
            is_newer: true,
            ..read(7)
        };
        assert!(knows(&newer, 8), "this release never knows it");
        let project = format!("evt.{TENANT}.project.{TENANT}");
        assert!(read(7).knows(TENANT, &project, 8, b"{}"));
    }
}
