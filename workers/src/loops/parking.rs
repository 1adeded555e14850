//! Tenants whose host takes no writes. Their commits are recorded and acknowledged, so that they
//! neither fill the slots nor hold up the consumer of all tenants. When the host works again, their
//! documents are filled from the log.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::ensure;
use event_store::{
    Location,
    telemetry::{self, KeyValue},
};
use events_schema::TenantId;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    placements::Placements,
    views::{AnyView, Confirmations, ParkedTenants, Scope},
};

/// How long a host may fail before its tenants are parked: longer than an election.
const PARKED_AFTER: Duration = Duration::from_secs(10);
/// How long the other host of a moving tenant may fail. Parking stops the place that is read, too,
/// so the run that moves the tenant gets the time to abandon the move.
const MOVING_PARKED_AFTER: Duration = Duration::from_secs(5 * 60);
/// How often parked tenants are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long a host may take to write.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of documents that are held in memory while a tenant is filled, beside all other work.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// Tenants that a process fills at once, of all views. A host may return with hundreds of them.
static FILLS: Semaphore = Semaphore::const_new(2);
static PARKED: LazyLock<telemetry::Gauge<u64>> = LazyLock::new(|| {
    let description = "Tenants whose documents are not written, since their host does not answer.";
    telemetry::gauge("ub.view.parked", description)
});

/// The tenants of one view that are parked.
pub(super) struct Parking {
    placements: Placements,
    confirmations: Confirmations,
    pub(super) recorded: ParkedTenants,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when each place has failed.
    failing: HashMap<Location, Instant>,
    /// The tenants whose commits this process does not write.
    parked: HashSet<TenantId>,
}

impl Parking {
    pub(super) fn new(
        placements: Placements,
        confirmations: Confirmations,
        view: &'static str,
    ) -> Self {
        Self {
            recorded: ParkedTenants::new(placements.clone(), view),
            placements,
            confirmations,
            state: Mutex::default(),
        }
    }

    /// Whether a tenant's commits are recorded instead of written.
    pub(super) fn is_parked(&self, tenant: TenantId) -> bool {
        self.state().parked.contains(&tenant)
    }

    /// Notes that places have taken a write.
    pub(super) fn answered(&self, places: &[Location]) {
        let mut state = self.state();
        for place in places {
            state.failing.remove(place);
        }
    }

    /// Notes that a write has failed at one of a tenant's places. Returns whether a host has taken
    /// no writes for so long that its tenants are to be parked.
    pub(super) async fn failed(&self, places: &[Location]) -> bool {
        let mut is_overdue = false;
        for (position, place) in places.iter().enumerate() {
            // Without the platform's host, nothing could be recorded. A host that is not configured
            // here may be one that other workers reach.
            if place.host.is_none() || self.placements.database(place).is_err() {
                continue;
            }
            if self.works(place).await {
                self.state().failing.remove(place);
                continue;
            }
            let allowed = if position == 0 {
                PARKED_AFTER
            } else {
                MOVING_PARKED_AFTER
            };
            let mut state = self.state();
            let since = state.failing.entry(place.clone());
            is_overdue |= since.or_insert_with(Instant::now).elapsed() > allowed;
        }
        is_overdue
    }

    /// Records a tenant's commits from here on, instead of writing them.
    pub(super) fn park(&self, tenant: TenantId) {
        let mut state = self.state();
        if state.parked.insert(tenant) {
            let view = self.recorded.view();
            tracing::warn!(view, %tenant, "the tenant's host takes no writes; its documents lag");
        }
        self.measure(&state);
    }

    /// Fills the documents of parked tenants whose hosts work again, for ever. Any worker does so,
    /// not only the one that has parked them.
    pub(super) async fn fill(&self, view: &dyn AnyView) {
        loop {
            if let Err(error) = self.look(view).await {
                let (view, error) = (view.name(), format!("{error:#}"));
                tracing::warn!(view, error, "looking at parked tenants failed");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, view: &dyn AnyView) -> anyhow::Result<()> {
        let recorded = self.recorded.all().await?;
        let parked: Vec<TenantId> = self.state().parked.iter().copied().collect();
        for tenant in parked {
            if self.all_work(tenant).await? {
                self.unpark(tenant);
            }
        }
        for tenant in recorded {
            if self.is_parked(tenant) || !self.all_work(tenant).await? {
                continue;
            }
            if let Err(error) = self.try_fill(view, tenant).await {
                let (view, error) = (view.name(), format!("{error:#}"));
                tracing::warn!(view, %tenant, error, "the tenant's documents are not filled yet");
            }
        }
        Ok(())
    }

    /// Fills a tenant's documents, unless another worker does.
    async fn try_fill(&self, view: &dyn AnyView, tenant: TenantId) -> anyhow::Result<()> {
        let _permit = FILLS.acquire().await?;
        let Some(claimed) = self.recorded.claim(tenant).await? else {
            return Ok(());
        };
        let filled = view.rebuild(Scope::Tenant(tenant), MAX_HELD_BYTES, &|_, _| {});
        let newer = filled.await?.newer;
        ensure!(
            newer == 0,
            "a newer release must fill {newer} of its documents"
        );
        if self.recorded.remove(tenant, claimed).await? {
            let view = view.name();
            tracing::info!(view, %tenant, "the tenant's documents are complete again");
        }
        Ok(())
    }

    fn unpark(&self, tenant: TenantId) {
        let mut state = self.state();
        state.parked.remove(&tenant);
        self.measure(&state);
    }

    /// Whether all places of a tenant take writes.
    async fn all_work(&self, tenant: TenantId) -> anyhow::Result<bool> {
        let places = self.placements.of_known([tenant].into()).await?;
        for place in places.get(&tenant).into_iter().flatten() {
            if !self.works(place).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a place takes durable writes. A full host answers, but does not.
    async fn works(&self, place: &Location) -> bool {
        let probed = timeout(PROBE_TIMEOUT, self.confirmations.probe(place));
        matches!(probed.await, Ok(Ok(())))
    }

    fn measure(&self, state: &State) {
        let labels = [KeyValue::new("view", self.recorded.view())];
        PARKED.record(state.parked.len() as u64, &labels);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
