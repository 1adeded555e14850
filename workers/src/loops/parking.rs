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
    views::{ParkedTenants, Scope, Views},
};

/// How long a host may fail before its tenants are parked: longer than an election.
const PARKED_AFTER: Duration = Duration::from_secs(10);
/// How often a host is asked whether it answers again.
const PROBE_EVERY: Duration = Duration::from_secs(3);
/// How long a host may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of documents that are held in memory while a tenant is filled, beside all other work.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

static PARKED: LazyLock<telemetry::Gauge<u64>> = LazyLock::new(|| {
    let description = "Tenants whose documents are not written, since their host does not answer.";
    telemetry::gauge("ub.view.parked", description)
});

/// The tenants of one view that are parked.
pub(super) struct Parking {
    placements: Placements,
    pub(super) recorded: ParkedTenants,
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
            recorded: ParkedTenants::new(placements.clone(), view),
            placements,
            state: Mutex::default(),
        }
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
        self.measure(&state);
        is_new
    }

    /// Waits until a parked tenant's host answers, and fills its documents from the log.
    pub(super) async fn fill_when_back<V: View>(&self, views: &Views<V>, tenant: TenantId) {
        loop {
            sleep(PROBE_EVERY).await;
            match self.try_fill(views, tenant).await {
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
    async fn try_fill<V: View>(&self, views: &Views<V>, tenant: TenantId) -> anyhow::Result<bool> {
        let Some(count) = self.recorded.count(tenant).await? else {
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
        let is_complete = self.recorded.remove(tenant, count).await?;
        if is_complete {
            tracing::info!(view = V::NAME, %tenant, "the tenant's host answers; its documents are complete");
        }
        Ok(is_complete)
    }

    fn unpark(&self, tenant: TenantId) {
        let mut state = self.state();
        state.parked.remove(&tenant);
        self.measure(&state);
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

    fn measure(&self, state: &State) {
        let labels = [KeyValue::new("view", self.recorded.view())];
        PARKED.record(state.parked.len() as u64, &labels);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
