//! The inbound sources of tenants, folded from the log and remembered.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use event_store::EventLog;
use events_schema::{
    Area as _, InboundSourceId, Subject, TenantId, TenantKey,
    inbound_source::{Area, Source, apply},
};
use lru::LruCache;

use crate::decode;

/// Tenants whose sources are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The sources of a tenant up to a sequence of the log.
#[derive(Clone, Default)]
pub struct TenantSources {
    pub sources: BTreeMap<InboundSourceId, Source>,
    sequence: u64,
}

/// Finds sources.
pub struct Sources {
    log: EventLog,
    remembered: Mutex<LruCache<TenantKey, Arc<TenantSources>>>,
}

impl Sources {
    /// Reads the sources from this log.
    pub fn new(log: EventLog) -> Self {
        Self {
            log,
            remembered: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }

    /// Returns a source as the log has it now; `None` if it is deleted.
    ///
    /// # Errors
    /// If the log does not answer, or a newer release has changed the tenant's sources.
    pub async fn get(
        &self,
        tenant: TenantKey,
        source: InboundSourceId,
    ) -> anyhow::Result<Option<Source>> {
        let of_tenant = self.of(tenant).await?;
        Ok(of_tenant.sources.get(&source).cloned())
    }

    /// Returns the sources of a tenant as the log has them now.
    ///
    /// # Errors
    /// If the log does not answer, or a newer release has changed the tenant's sources.
    pub async fn of(&self, tenant: TenantKey) -> anyhow::Result<Arc<TenantSources>> {
        let remembered = self.lock().get(&tenant).cloned().unwrap_or_default();
        let subject = Subject::Event {
            tenant: TenantId::Tenant(tenant),
            area: Area::NAME,
            id: tenant.0,
        };
        let next = remembered.sequence + 1;
        let newer = self.log.read_all(&subject.to_string(), next).await?;
        if newer.is_empty() {
            return Ok(remembered);
        }
        let mut folded = TenantSources::clone(&remembered);
        for stored in &newer {
            let logged = decode::logged::<Area>(stored).context("reading the sources")?;
            for event in &logged.commit.events {
                apply(&mut folded.sources, event, logged.commit.time);
            }
            folded.sequence = logged.sequence;
        }
        let folded = Arc::new(folded);
        self.lock().put(tenant, folded.clone());
        Ok(folded)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<TenantKey, Arc<TenantSources>>> {
        let remembered = self.remembered.lock();
        remembered.unwrap_or_else(PoisonError::into_inner)
    }
}
