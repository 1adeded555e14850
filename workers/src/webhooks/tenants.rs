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
    remembered: Arc<Mutex<LruCache<TenantKey, Arc<TenantWebhooks>>>>,
}

impl TenantWebhooks {
    /// Returns a webhook; `None` if it is deleted, or its tenant is.
    pub fn get(&self, webhook: WebhookId) -> Option<&Webhook> {
        let webhook = self.webhooks.get(&webhook);
        webhook.filter(|_| !self.is_deleted)
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
            remembered: Arc::new(Mutex::new(LruCache::new(REMEMBERED))),
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
            let is_deleted = deleted.is_some_and(is_deletion);
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
        let remembered = self.lock().get(&tenant).cloned();
        let remembered = remembered.unwrap_or_default();
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
        let changed = Arc::new(changed);
        self.lock().put(tenant, changed.clone());
        Ok(changed)
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
        let last = self
            .log
            .last(&commits_of(tenant, AreaName::Webhook))
            .await?;
        let last = last.map_or(0, |last| last.sequence);
        Ok(last <= webhooks.sequence)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<TenantKey, Arc<TenantWebhooks>>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

fn is_deletion(stored: &Stored) -> bool {
    let commit = serde_json::from_slice::<CommitSummary>(&stored.payload);
    commit.is_ok_and(|commit| commit.events.iter().any(|event| event.name == "deleted"))
}
