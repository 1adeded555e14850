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
struct Folded {
    sequence: u64,
    sources: BTreeMap<InboundSourceId, Source>,
}

/// Finds sources.
pub struct Sources {
    log: EventLog,
    remembered: Mutex<LruCache<TenantKey, Arc<Folded>>>,
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
        let remembered = self.lock().get(&tenant).cloned().unwrap_or_default();
        let subject = Subject::Event {
            tenant: TenantId::Tenant(tenant),
            area: Area::NAME,
            id: tenant.0,
        };
        let next = remembered.sequence + 1;
        let newer = self.log.read_all(&subject.to_string(), next).await?;
        if newer.is_empty() {
            return Ok(remembered.sources.get(&source).cloned());
        }
        let mut folded = Folded::clone(&remembered);
        for stored in &newer {
            let logged = decode::logged::<Area>(stored).context("reading the sources")?;
            for event in &logged.commit.events {
                apply(&mut folded.sources, event, logged.commit.time);
            }
            folded.sequence = logged.sequence;
        }
        let found = folded.sources.get(&source).cloned();
        self.lock().put(tenant, Arc::new(folded));
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<TenantKey, Arc<Folded>>> {
        let remembered = self.remembered.lock();
        remembered.unwrap_or_else(PoisonError::into_inner)
    }
}
