//! Commits in, documents out.
//!
//! The commits of each place are written in bulks of their own, one after the other. So a host that
//! does not answer delays nobody else, and while one bulk is written, the next one gathers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::{anyhow, bail};
use async_nats::jetstream::{self, Context};
use event_store::{Location, telemetry};
use events_schema::{Area as _, TenantId, View};
use futures_util::{
    FutureExt as _, StreamExt,
    future::{BoxFuture, join_all},
};
use tokio::{sync::mpsc::Receiver, task::yield_now};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    decode::{self, Logged},
    loops::{
        Shared,
        consumers::Consumer,
        dead_letter::{LOST, is_lost},
        delivery::{self, Handled, Received},
        parking::Parking,
        place_queue::{NotQueued, PlaceQueue},
    },
    placements::Placements,
    views::{Applied, BULK, Commits, Confirmations, Key, OtherLog, Views},
};

static BULK_SIZE: LazyLock<telemetry::Histogram<u64>> = LazyLock::new(|| {
    telemetry::sizes(
        "ub.view.bulk_size",
        "Commits that are written to a view together.",
    )
});

/// Keeps one view current until `shutdown`.
///
/// # Errors
/// If MongoDB does not answer, or the view was written from another log.
pub async fn run<V: View>(
    shared: Shared,
    placements: Placements,
    confirmations: Confirmations,
) -> anyhow::Result<()> {
    let settling = Settling {
        context: jetstream::new(shared.client.clone()),
        consumer: Consumer::views(V::NAME, V::Area::NAME),
    };
    let view_loop = Arc::new(ViewLoop::<V> {
        settling: Arc::new(settling),
        parking: Parking::new(placements.clone(), confirmations.clone(), V::NAME),
        views: Views::new(shared.client.clone(), placements.clone(), confirmations),
        placements,
        queues: Mutex::default(),
        tasks: TaskTracker::new(),
        stop: shared.shutdown.child_token(),
        failure: OnceLock::new(),
    });
    view_loop.views.collection.prepare().await?;
    let (filling, stop) = (view_loop.clone(), view_loop.stop.clone());
    view_loop.spawn(async move {
        let filled = filling.parking.fill(&filling.views);
        stop.run_until_cancelled(filled).await;
    });
    let (removing, stop) = (view_loop.clone(), view_loop.stop.clone());
    view_loop.spawn(async move {
        let removed = removing.views.collection.keep_removing_expired();
        stop.run_until_cancelled(removed).await;
    });
    let consumer = view_loop.settling.consumer.clone();
    let shutdown = view_loop.stop.clone();
    delivery::messages(consumer, Shared { shutdown, ..shared })
        .ready_chunks(BULK)
        .for_each(|messages| view_loop.distribute(messages))
        .await;
    view_loop.tasks.close();
    view_loop.tasks.wait().await;
    match view_loop.failure.get() {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

/// Where a document is written; the first location is the one that is read. None for a document of
/// a deleted tenant.
type Places = Vec<Location>;

/// A commit with its message, which is settled when the commit's document is durable.
struct Delivered<V: View> {
    key: Key<V>,
    logged: Logged<V::Area>,
    received: Received,
}

struct ViewLoop<V: View> {
    settling: Arc<Settling>,
    views: Views<V>,
    placements: Placements,
    /// The commits that wait, by their places. A queue exists while somebody writes its commits.
    queues: Mutex<HashMap<Places, PlaceQueue<Delivered<V>>>>,
    parking: Parking,
    /// Everything under way.
    tasks: TaskTracker,
    /// Ends the loop.
    stop: CancellationToken,
    /// Why the loop has ended by itself.
    failure: OnceLock<String>,
}

impl<V: View> ViewLoop<V> {
    /// Puts the commits of messages into the queues of their places.
    async fn distribute(self: &Arc<Self>, all: Vec<Received>) {
        let mut delivered = Vec::new();
        for received in all {
            let message = &received.message;
            match decode::commit::<V::Area>(&message.subject, &message.payload) {
                Err(reason) => {
                    self.settling
                        .settle(&received, &delivery::undecoded(reason))
                        .await;
                }
                Ok(_) if is_lost(&self.settling.consumer, message) => {
                    let lost = Handled::Dead(LOST.to_owned());
                    self.settling.settle(&received, &Ok(lost)).await;
                }
                Ok(commit) => delivered.push(Delivered {
                    key: Views::<V>::key(&commit),
                    logged: Logged {
                        sequence: delivery::sequence(message),
                        commit,
                    },
                    received,
                }),
            }
        }
        let (parked, delivered): (Vec<_>, Vec<_>) = delivered
            .into_iter()
            .partition(|delivered| self.parking.is_parked(delivered.key.0));
        self.record_parked(parked);
        let tenants = delivered.iter().map(|delivered| delivered.key.0).collect();
        let places = self.places(tenants).await;
        for delivered in delivered {
            match places.get(&delivered.key.0) {
                Some(Ok(places)) => self.queue(places, delivered).await,
                Some(Err(error)) => {
                    let error = anyhow::Error::msg(error.clone());
                    self.settling.settle(&delivered.received, &Err(error)).await;
                }
                None => {}
            }
        }
    }

    /// Finds the places of tenants: of all at once, or else of each one alone.
    async fn places(
        &self,
        tenants: BTreeSet<TenantId>,
    ) -> BTreeMap<TenantId, Result<Places, String>> {
        let all = self.placements.of(tenants.clone());
        if let Ok(all) = self.settling.bounded(all).await {
            return all
                .into_iter()
                .map(|(tenant, at)| (tenant, Ok(at)))
                .collect();
        }
        let each = tenants.into_iter().map(async |tenant| {
            let places = self.placements.of(BTreeSet::from([tenant]));
            let places = self.settling.bounded(places).await;
            let places = places.map(|mut all| all.remove(&tenant).unwrap_or_default());
            (tenant, places.map_err(|error| format!("{error:#}")))
        });
        join_all(each).await.into_iter().collect()
    }

    /// Puts a commit into the queue of its places. If that has no room, the server gets it back.
    async fn queue(self: &Arc<Self>, places: &Places, mut delivered: Delivered<V>) {
        loop {
            let (queue, is_only_one) = self.queue_of(places);
            match queue.send(delivered, is_only_one).await {
                Ok(()) => return,
                // Its writer has just finished. On a runtime that shuts down, none ever starts, and
                // this task must let the runtime end it.
                Err(NotQueued::Closed(unsent)) => {
                    delivered = unsent;
                    tokio::task::yield_now().await;
                }
                Err(NotQueued::Full(unsent)) => {
                    let error = anyhow!("too much waits for this database of the view");
                    return self.settling.settle(&unsent.received, &Err(error)).await;
                }
            }
        }
    }

    /// Returns the queue of places, with somebody who writes its commits, and whether no other
    /// place has a queue.
    fn queue_of(self: &Arc<Self>, places: &Places) -> (PlaceQueue<Delivered<V>>, bool) {
        let mut queues = self.queues();
        // Its writer panicked.
        if queues.get(places).is_some_and(PlaceQueue::is_closed) {
            queues.remove(places);
        }
        let queue = queues.entry(places.clone()).or_insert_with(|| {
            let (queue, waiting) = PlaceQueue::new();
            let write = self.clone().write(places.clone(), queue.clone(), waiting);
            self.spawn(write);
            queue
        });
        let queue = queue.clone();
        (queue, queues.len() == 1)
    }

    /// Writes the commits of a queue in bulks, until none waits.
    async fn write(
        self: Arc<Self>,
        places: Places,
        queue: PlaceQueue<Delivered<V>>,
        mut waiting: Receiver<Delivered<V>>,
    ) {
        let mut bulk = Vec::new();
        loop {
            {
                let mut queues = self.queues();
                // Those of the table and of this writer. Somebody with another one may be sending.
                let is_unused = waiting.sender_strong_count() == 2;
                while bulk.len() < BULK
                    && let Ok(delivered) = waiting.try_recv()
                {
                    bulk.push(delivered);
                }
                if bulk.is_empty() && is_unused {
                    queues.remove(&places);
                    return;
                }
            }
            if bulk.is_empty() {
                yield_now().await;
                continue;
            }
            if self.apply(&places, std::mem::take(&mut bulk)).await {
                queue.answered();
                self.parking.answered(&places);
            }
        }
    }

    /// Applies a bulk; returns whether that has succeeded at once.
    async fn apply(&self, places: &Places, bulk: Vec<Delivered<V>>) -> bool {
        BULK_SIZE.record(bulk.len() as u64, &[]);
        let mut commits = Commits::<V>::new();
        let mut by_document: BTreeMap<Key<V>, Vec<Received>> = BTreeMap::new();
        for Delivered {
            key,
            logged,
            received,
        } in bulk
        {
            commits.entry(key).or_default().push(logged);
            by_document.entry(key).or_default().push(received);
        }
        let applied = self.views.apply(places, &commits);
        match self.settling.bounded(applied).await {
            Ok(applied) => {
                let messages = by_document.into_values().flatten().collect();
                self.confirm(messages, applied);
                true
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(error, "applying the documents of a bulk one by one");
                let tenant = commits.first_key_value().map(|((tenant, _), _)| *tenant);
                let each = by_document
                    .into_iter()
                    .map(|(key, messages)| self.apply_one(places, key, messages, &commits));
                join_all(each).await;
                self.park_if_away(places, tenant).await;
                false
            }
        }
    }

    /// Applies the commits of one document alone, so that a document that cannot be written does
    /// not delay the rest of its bulk.
    async fn apply_one(
        &self,
        places: &Places,
        key: Key<V>,
        messages: Vec<Received>,
        all: &Commits<V>,
    ) {
        let of_document = all.get(&key).cloned().unwrap_or_default();
        let alone = Commits::<V>::from([(key, of_document)]);
        let applied = self.views.apply(places, &alone);
        match self.settling.bounded(applied).await {
            Ok(applied) => self.confirm(messages, applied),
            Err(error) => {
                if error.is::<OtherLog>() {
                    self.leave_other_log(places, key.0, &error).await;
                }
                self.settling.settle_all(&messages, Err(error)).await;
            }
        }
    }

    /// Reacts to a document that was written from another log.
    async fn leave_other_log(&self, places: &Places, tenant: TenantId, error: &anyhow::Error) {
        if places.contains(&self.placements.platform()) {
            // Further writes may be wrong.
            self.failure.get_or_init(|| format!("{error:#}"));
            self.stop.cancel();
            return;
        }
        // It is a database of the tenant's own, so nobody else is concerned: it is filled from the
        // log like that of a host that was away.
        let (view, text) = (V::NAME, format!("{error:#}"));
        tracing::error!(view, %tenant, error = text, "the tenant's documents are filled again");
        if let Err(error) = self.parking.recorded.add(tenant).await {
            let error = format!("{error:#}");
            tracing::warn!(view, %tenant, error, "not recorded; the next attempt records it");
        }
    }

    /// Parks the tenant of these places if one of its hosts has taken no writes for long.
    async fn park_if_away(&self, places: &Places, tenant: Option<TenantId>) {
        // A host of its own: all commits of this queue are of one tenant.
        if let Some(tenant) = tenant
            && self.parking.failed(places).await
        {
            self.parking.park(tenant);
        }
    }

    /// Records commits of parked tenants, and acknowledges them.
    fn record_parked(&self, delivered: Vec<Delivered<V>>) {
        let mut by_tenant: BTreeMap<TenantId, Vec<Delivered<V>>> = BTreeMap::new();
        for delivered in delivered {
            let of_tenant = by_tenant.entry(delivered.key.0).or_default();
            of_tenant.push(delivered);
        }
        for (tenant, delivered) in by_tenant {
            let (settling, recorded) = (self.settling.clone(), self.parking.recorded.clone());
            let messages = delivered.into_iter().map(|delivered| delivered.received);
            let messages: Vec<_> = messages.collect();
            let recorded = async move { recorded.add(tenant).await }.boxed();
            self.tasks.spawn(settling.settle_after(recorded, messages));
        }
    }

    /// Acknowledges messages in the background, once their documents are durable.
    fn confirm(&self, messages: Vec<Received>, applied: Applied) {
        let confirmed = async move { applied.confirm().await }.boxed();
        let settled = self.settling.clone().settle_after(confirmed, messages);
        self.tasks.spawn(settled);
    }

    /// Starts a task. It is boxed: tokio's task would be compiled again for each view.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task.boxed());
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Places, PlaceQueue<Delivered<V>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles the messages of a view. It is compiled once for all views.
struct Settling {
    context: Context,
    consumer: Consumer,
}

impl Settling {
    /// Waits for this until its messages would be redelivered.
    async fn bounded<T>(&self, done: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        delivery::bounded(self.consumer.ack_wait, done).await
    }

    /// Acknowledges messages once this has succeeded.
    async fn settle_after(
        self: Arc<Self>,
        done: BoxFuture<'static, anyhow::Result<()>>,
        messages: Vec<Received>,
    ) {
        let done = self.bounded(done).await;
        self.settle_all(&messages, done).await;
    }

    async fn settle_all(&self, messages: &[Received], result: anyhow::Result<()>) {
        let result = result.map(|()| Handled::Done);
        let settled = messages
            .iter()
            .map(|received| self.settle(received, &result));
        join_all(settled).await;
    }

    async fn settle(&self, received: &Received, result: &anyhow::Result<Handled>) {
        delivery::settle(&self.context, &self.consumer, received, result).await;
    }
}
