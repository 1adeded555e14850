//! Commits in, effects on the outside world out. The effects are in `effect/`.
//!
//! A commit that requests an effect adds it to the outbox. From there, each worker claims what is
//! due, looks at the record of the effect, acts, and records the result. So a replay of the log
//! repeats nothing. Only a crash between the effect and its record repeats it. Then the destination
//! recognizes the repetition by the effect's key.

mod outbox;

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use event_store::{
    CommandSender, EventLog, Handling, Trace,
    telemetry::{self, KeyValue},
};
use events_schema::{
    Area as _, Command, CommandId, Id, Outcome, TenantId, Time, secret::derived_id,
};
use futures_util::FutureExt as _;
use lru::LruCache;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span};

use self::outbox::{Claimed, Entry, Outbox};
use crate::{
    aggregate::{CommandOf, IdOf},
    decode::{self, Newer},
    effect::{AreaOf, Effect, Failure},
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_all},
        history::{History, subject_of},
        retry::{is_outage, retry_after},
    },
    placements::Placements,
};

/// How long it may take until the result is recorded. Then the record is tried again.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);
/// Effects that a process attempts at once, and how many of them may go to one destination.
const ATTEMPTS_AT_ONCE: usize = 8;
const PER_DESTINATION: usize = 4;
/// How long an attempt may take: less than its claim, and more than the slowest destination.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);
/// The wait after the first attempt. It doubles with each further one, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);
/// How often the outbox is looked at. What this process adds is attempted at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The wait after an attempt during which a server of ours was away. It does not count.
const OUTAGE_PAUSE: Duration = Duration::from_secs(2);
/// How often a worker looks for effects that the outbox has lost, and how old they are by then.
/// Usually an effect is in the outbox within a second.
const LOST_LOOK_EVERY: Duration = Duration::from_secs(10 * 60);
const LOST_AFTER: Duration = Duration::from_secs(60 * 60);
/// Records of an effect that a process remembers, so that it reads of each only what is new. Some
/// grow by a commit an hour, for years.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

static DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time of an attempt to perform an effect; `result` is done, retry, failed, \
                       withdrawn, outage or early.";
    telemetry::seconds("ub.effect.duration", description)
});

/// Runs one effect until `shutdown`, then finishes the attempts in progress.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub async fn run<E: Effect>(
    effect: E,
    shared: Shared,
    sender: CommandSender,
    placements: Placements,
) -> anyhow::Result<()> {
    let shutdown = shared.shutdown.clone();
    let effects = Arc::new(Effects {
        consumer: Consumer::effects(E::NAME, AreaOf::<E>::NAME),
        log: EventLog::new(shared.client.clone()),
        outbox: Outbox::new(placements, E::NAME),
        sender,
        effect,
        wake: Notify::new(),
        busy: Mutex::default(),
        records: Mutex::new(LruCache::new(REMEMBERED)),
    });
    let watch = tokio::spawn(find_lost(effects.clone()).boxed());
    tokio::join!(
        handle_all(effects.consumer.clone(), shared, &*effects),
        attempt_all(effects.clone(), shutdown)
    );
    watch.abort();
    Ok(())
}

/// Attempts what is due in the outbox.
async fn attempt_all<E: Effect>(effects: Arc<Effects<E>>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(ATTEMPTS_AT_ONCE));
    let mut attempts = JoinSet::new();
    let mut is_prepared = false;
    while !shutdown.is_cancelled() {
        while attempts.try_join_next().is_some() {}
        let slot = shutdown.run_until_cancelled(slots.clone().acquire_owned());
        let Some(Ok(slot)) = slot.await else {
            break;
        };
        if !is_prepared {
            let prepared = effects.outbox.prepare().await;
            is_prepared = prepared.is_ok();
            if let Err(error) = prepared {
                let error = format!("{error:#}");
                tracing::warn!(effect = E::NAME, error, "the outbox has no index yet");
            }
        }
        match effects.outbox.claim(effects.busy()).await {
            Ok(Some(claimed)) => {
                let effects = effects.clone();
                let attempt = async move {
                    effects.attempt(claimed).await;
                    drop(slot);
                };
                attempts.spawn(attempt.boxed());
            }
            Ok(None) => {
                let wait = timeout(LOOK_EVERY, effects.wake.notified());
                _ = shutdown.run_until_cancelled(wait).await;
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(effect = E::NAME, error, "the outbox cannot be read");
                _ = shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await;
            }
        }
    }
    while attempts.join_next().await.is_some() {}
}

/// Adds lost effects to the outbox every ten minutes.
async fn find_lost<E: Effect>(effects: Arc<Effects<E>>) {
    loop {
        if let Err(error) = effects.add_lost().await {
            let error = format!("{error:#}");
            tracing::warn!(effect = E::NAME, error, "looking for lost effects failed");
        }
        sleep(LOST_LOOK_EVERY).await;
    }
}

/// The record of an effect, as far as it was read.
type Record<E> = Arc<tokio::sync::Mutex<History<<E as Effect>::Record>>>;

struct Effects<E: Effect> {
    consumer: Consumer,
    log: EventLog,
    outbox: Outbox,
    sender: CommandSender,
    effect: E,
    /// Wakes the loop: an effect was added, or an attempt has ended.
    wake: Notify,
    /// How many attempts go to each destination.
    busy: Mutex<HashMap<String, usize>>,
    records: Mutex<LruCache<(TenantId, Id), Record<E>>>,
}

/// What comes after an attempt.
enum Next {
    /// Nothing: the result is recorded.
    Done,
    /// Nothing: it is recorded that nobody wants the effect any more.
    Withdrawn,
    /// Nothing: it is recorded that the effect has failed for good.
    Failed,
    /// Another attempt.
    Retry(anyhow::Error),
    /// Another attempt after this time. This one does not count.
    Wait(anyhow::Error, Duration),
    /// The first attempt after this time: what was requested earlier was not wanted any more, and
    /// something else is due later, or nothing was worth a record.
    Early(Duration),
}

/// A task, and the revision of the record that shows it as not done yet.
struct Pending<T> {
    task: T,
    revision: u64,
}

impl<E: Effect> Handler for Effects<E> {
    /// Adds to the outbox what a commit requests.
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<AreaOf<E>>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if commit.events.iter().any(E::is_requested_by) {
            let entry = Entry {
                tenant: commit.tenant,
                id: commit.id.into(),
                trace: received.trace,
            };
            self.add(&entry).await?;
        }
        Ok(Handled::Done)
    }
}

impl<E: Effect> Effects<E> {
    /// Adds an effect to the outbox, unless its record shows a result: the log is replayed.
    async fn add(&self, entry: &Entry) -> anyhow::Result<()> {
        if let Some(Pending { task, revision }) = self.pending(entry).await? {
            self.outbox.add(entry, revision, E::lane(&task)).await?;
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn add_lost(&self) -> anyhow::Result<()> {
        let Some(undone) = E::UNDONE else {
            return Ok(());
        };
        let before = SystemTime::now() - LOST_AFTER;
        for id in self.outbox.missing(undone, before).await? {
            let entry = Entry {
                tenant: TenantId::Platform,
                id,
                trace: Trace::begin(),
            };
            tracing::warn!(effect = E::NAME, %id, "an effect is added to the outbox again");
            self.add(&entry).await?;
        }
        Ok(())
    }

    async fn attempt(&self, claimed: Claimed) {
        let began = Instant::now();
        let trace = claimed.entry.trace;
        let name = format!("attempt {}", E::NAME);
        let (work, trace) = Handling::process(trace, name, claimed.attempts > 1);
        self.change_busy(&claimed.destination, 1);
        let next = delivery::bounded(ATTEMPT_LIMIT, self.try_attempt(&claimed, trace));
        let next = match work.run(next).await {
            Err(error) if self.is_last(&claimed, &error) => {
                self.give_up(trace, &claimed.entry, &error).await
            }
            next => next,
        };
        self.change_busy(&claimed.destination, -1);
        let result = work.run(self.settle(&claimed, next, &work)).await;
        let labels = [
            KeyValue::new("effect", E::NAME),
            KeyValue::new("result", result),
        ];
        DURATION.record(began.elapsed().as_secs_f64(), &labels);
        self.wake.notify_one();
    }

    /// Whether an attempt that could not be finished was the last one.
    fn is_last(&self, claimed: &Claimed, error: &anyhow::Error) -> bool {
        let counts = !is_outage(error) && !error.is::<Newer>();
        counts && claimed.attempts >= self.effect.attempts()
    }

    async fn try_attempt(&self, claimed: &Claimed, trace: Trace) -> anyhow::Result<Next> {
        let entry = &claimed.entry;
        let Some(Pending { task, revision }) = self.pending(entry).await? else {
            return Ok(Next::Done);
        };
        let not_before = E::lane(&task).not_before.filter(|_| E::IS_REPEATED);
        let early = not_before.map(|at| at.since(SystemTime::now().into()));
        if let Some(wait) = early.filter(|wait| !wait.is_zero()) {
            return Ok(Next::Early(wait));
        }
        let performed = E::performed().filter(|_| claimed.is_performed);
        if performed.is_none()
            && let Some(withdrawn) = self.effect.withdrawn(&self.log, &task).await?
        {
            self.record(trace, entry, revision, "withdrawn", withdrawn)
                .await?;
            return Ok(Next::Withdrawn);
        }
        let result = match performed {
            Some(command) => Ok(command),
            None => {
                let span = debug_span!("perform", otel.kind = "client");
                let id: IdOf<E::Record> = entry.id.into();
                self.effect.perform(id, &task).instrument(span).await
            }
        };
        match result {
            Ok(command) => {
                let recorded = self.record(trace, entry, revision, "sent", command).await;
                if recorded.is_err() && !claimed.is_performed {
                    self.outbox.note_performed(claimed).await?;
                }
                recorded.map(|()| Next::Done)
            }
            Err(Failure::Outage(error, pause)) => Ok(Next::Wait(error, pause)),
            Err(Failure::NotYet(wait)) => Ok(Next::Early(wait)),
            Err(Failure::Temporary(error)) if claimed.attempts < self.effect.attempts() => {
                Ok(Next::Retry(error))
            }
            Err(Failure::Temporary(error) | Failure::Permanent(error)) => {
                let failed = E::failed(&task, format!("{error:#}"));
                self.record(trace, entry, revision, "failed", failed)
                    .await?;
                Ok(Next::Failed)
            }
        }
    }

    /// Records that the effect has failed for good, although its last attempt has not come so far.
    async fn give_up(
        &self,
        trace: Trace,
        entry: &Entry,
        error: &anyhow::Error,
    ) -> anyhow::Result<Next> {
        if let Some(Pending { task, revision }) = self.pending(entry).await? {
            let failed = E::failed(&task, format!("{error:#}"));
            self.record(trace, entry, revision, "failed", failed)
                .await?;
        }
        Ok(Next::Failed)
    }

    /// Brings the outbox up to date after an attempt. Returns the name of the result for metrics.
    async fn settle(
        &self,
        claimed: &Claimed,
        next: anyhow::Result<Next>,
        work: &Handling,
    ) -> &'static str {
        let attempts = claimed.attempts;
        let (settled, result) = match next {
            Ok(Next::Done) => (self.outbox.remove(claimed).await, "done"),
            Ok(Next::Withdrawn) => (self.outbox.remove(claimed).await, "withdrawn"),
            Ok(Next::Failed) => (self.outbox.remove(claimed).await, "failed"),
            Err(error) if is_outage(&error) => {
                let (attempts, reason) = (attempts - 1, format!("{error:#}"));
                let pause = self
                    .outbox
                    .postpone(claimed, attempts, OUTAGE_PAUSE, &reason);
                (pause.await, "outage")
            }
            Ok(Next::Wait(error, pause)) => {
                let (attempts, reason) = (attempts - 1, format!("{error:#}"));
                work.fail(&reason);
                let id = claimed.entry.id;
                tracing::warn!(effect = E::NAME, %id, ?pause, error = reason, "waiting");
                let wait = self.outbox.postpone(claimed, attempts, pause, &reason);
                (wait.await, "outage")
            }
            Ok(Next::Early(wait)) => {
                let wait = self.outbox.postpone(claimed, 0, wait, "it is not due yet");
                (wait.await, "early")
            }
            Ok(Next::Retry(error)) | Err(error) => {
                (self.retry(claimed, &error, work).await, "retry")
            }
        };
        if let Err(error) = settled {
            let (id, error) = (claimed.entry.id, format!("{error:#}"));
            tracing::warn!(
                effect = E::NAME,
                %id,
                error,
                "the outbox was not changed; the effect is attempted again when its claim ends"
            );
        }
        result
    }

    async fn retry(
        &self,
        claimed: &Claimed,
        error: &anyhow::Error,
        work: &Handling,
    ) -> anyhow::Result<()> {
        let attempts = claimed.attempts;
        let wait = retry_after(FIRST_RETRY, LONGEST_RETRY, attempts);
        let error = format!("{error:#}");
        work.fail(&error);
        let id = claimed.entry.id;
        tracing::warn!(effect = E::NAME, %id, attempts, ?wait, error, "attempting it again later");
        self.outbox.postpone(claimed, attempts, wait, &error).await
    }

    /// Returns the destinations that have their share of the attempts.
    fn busy(&self) -> Vec<String> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let full = busy.iter().filter(|(_, count)| **count >= PER_DESTINATION);
        full.map(|(destination, _)| destination.clone()).collect()
    }

    fn change_busy(&self, destination: &str, by: isize) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let count = busy.entry(destination.to_owned()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            busy.remove(destination);
        }
    }

    /// Returns the task that the record shows as not done yet.
    async fn pending(&self, entry: &Entry) -> anyhow::Result<Option<Pending<E::Task>>> {
        let record = self.record_of(entry);
        let mut record = record.lock().await;
        let subject = subject_of::<E::Record>(entry.tenant, entry.id.into());
        // A replica may lag behind and lack the record of what was done.
        if let Err(error) = record.refresh_from_leader(&self.log, &subject).await {
            *record = History::default();
            return Err(error);
        }
        record.forget_commands();
        let task = E::pending(&record.state);
        Ok(task.map(|task| Pending {
            task,
            revision: record.revision,
        }))
    }

    fn record_of(&self, entry: &Entry) -> Record<E> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.get_or_insert((entry.tenant, entry.id), Record::<E>::default);
        record.clone()
    }

    /// Records a result, unless the record has changed since this revision: then the result may be
    /// older than what the record shows.
    async fn record(
        &self,
        trace: Trace,
        entry: &Entry,
        revision: u64,
        result: &str,
        payload: CommandOf<E::Record>,
    ) -> anyhow::Result<()> {
        let (tenant, id) = (entry.tenant.to_string(), entry.id);
        let cause = [
            E::NAME.as_bytes(),
            tenant.as_bytes(),
            id.bytes(),
            &revision.to_be_bytes(),
            result.as_bytes(),
        ];
        let mut command = Command::<AreaOf<E>>::by_system(
            CommandId(derived_id(&cause)),
            entry.tenant,
            id.into(),
            Time::from(SystemTime::now()),
            payload,
        );
        command.expected = Some(revision);
        let deadline = Instant::now() + RECORDED_WITHIN;
        let outcome = self.sender.send(command, trace, deadline).await;
        match outcome.context("recording the result")? {
            Outcome::Committed { .. } | Outcome::DoneBefore { .. } | Outcome::Unchanged { .. } => {
                Ok(())
            }
            Outcome::Rejected(rejection) => {
                bail!("the result was not recorded: {}", rejection.message)
            }
        }
    }
}
