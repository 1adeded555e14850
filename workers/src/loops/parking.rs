//! Tenants whose host does not answer. Their commits are recorded and acknowledged, so that they
//! neither fill the slots nor hold up the consumer of all tenants. When the host answers again,
//! their documents are filled from the log.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use event_store::{
    Location,
    telemetry::{self, KeyValue},
};
use events_schema::{TenantId, View};
use mongodb::bson::doc;
use tokio::time::{sleep, timeout};

use crate::{
    placements::Placements,
    views::{Records, Scope, Views},
};

/// How long a host may fail before its tenants are parked: longer than an election.
const PARKED_AFTER: Duration = Duration::from_secs(10);
/// How often a host is asked whether it answers again.
const PROBE_EVERY: Duration = Duration::from_secs(3);
/// How long a host may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of documents that are held in memory while a tenant is filled.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

static PARKED: LazyLock<telemetry::Gauge<u64>> = LazyLock::new(|| {
    let description = "Tenants whose documents are not written, since their host does not answer.";
    telemetry::gauge("ub.view.parked", description)
});

/// The tenants of one view that are parked.
pub(super) struct Parking {
    placements: Placements,
    records: Records,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when each place has failed.
    failing: HashMap<Location, Instant>,
    parked: HashSet<TenantId>,
}

impl Parking {
    pub(super) fn new(placements: Placements, view: &'static str) -> Self {
        Self {
            records: Records::new(placements.clone(), view),
            placements,
            state: Mutex::default(),
        }
    }

    /// Returns the tenants that another process has parked, or this one before it was restarted.
    ///
    /// # Errors
    /// If the platform's host does not answer.
    pub(super) async fn recorded(&self) -> anyhow::Result<Vec<TenantId>> {
        self.records.tenants().await
    }

    /// Whether a tenant's commits are recorded instead of written.
    pub(super) fn is_parked(&self, tenant: TenantId) -> bool {
        self.state().parked.contains(&tenant)
    }

    /// Notes that a place has answered.
    pub(super) fn answered(&self, location: &Location) {
        self.state().failing.remove(location);
    }

    /// Notes that a write has failed at a place. Returns whether its host has not answered for so
    /// long that its tenants are to be parked.
    pub(super) async fn failed(&self, location: &Location) -> bool {
        // Without the platform's host, nothing could be recorded.
        if location.host.is_none() || self.answers(location).await {
            self.answered(location);
            return false;
        }
        let mut state = self.state();
        let since = state.failing.entry(location.clone());
        since.or_insert_with(Instant::now).elapsed() > PARKED_AFTER
    }

    /// Parks a tenant. Returns whether it was not parked before.
    pub(super) fn park(&self, tenant: TenantId) -> bool {
        let mut state = self.state();
        let is_new = state.parked.insert(tenant);
        self.show(&state);
        is_new
    }

    /// Records that a tenant's documents miss commits from this sequence on. They may be
    /// acknowledged then.
    ///
    /// # Errors
    /// If that is not certain.
    pub(super) async fn record(&self, tenant: TenantId, sequence: u64) -> anyhow::Result<()> {
        self.records.add(tenant, sequence).await
    }

    /// Waits until a parked tenant's host answers, and fills its documents from the log.
    pub(super) async fn release<V: View>(&self, views: &Views<V>, tenant: TenantId) {
        loop {
            sleep(PROBE_EVERY).await;
            match self.try_release(views, tenant).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::debug!(%tenant, error, "the tenant stays parked");
                    self.park(tenant);
                }
            }
        }
    }

    /// Fills a tenant's documents. Returns whether none is missing any more.
    async fn try_release<V: View>(
        &self,
        views: &Views<V>,
        tenant: TenantId,
    ) -> anyhow::Result<bool> {
        let Some(count) = self.records.count(tenant).await? else {
            // Another process has filled them.
            self.unpark(tenant);
            return Ok(true);
        };
        let places = self.placements.of([tenant].into()).await?;
        let places = places.get(&tenant).context("a tenant without a place")?;
        for location in places {
            if !self.answers(location).await {
                return Ok(false);
            }
        }
        // From here on, its commits are written again.
        self.unpark(tenant);
        for location in places {
            let scope = Scope::Tenant(tenant, location.clone());
            views.rebuild(scope, MAX_HELD_BYTES, &|_, _| {}).await?;
        }
        let is_complete = self.records.remove(tenant, count).await?;
        if is_complete {
            tracing::info!(view = V::NAME, %tenant, "the tenant's host answers; its documents are complete");
        }
        Ok(is_complete)
    }

    fn unpark(&self, tenant: TenantId) {
        let mut state = self.state();
        state.parked.remove(&tenant);
        self.show(&state);
    }

    async fn answers(&self, location: &Location) -> bool {
        let Ok(database) = self.placements.database(location) else {
            return false;
        };
        let pinged = database.run("ping", |database| async move {
            database.run_command(doc! { "ping": 1 }).await
        });
        matches!(timeout(PING_TIMEOUT, pinged).await, Ok(Ok(_)))
    }

    fn show(&self, state: &State) {
        let labels = [KeyValue::new("view", self.records.view())];
        PARKED.record(state.parked.len() as u64, &labels);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
