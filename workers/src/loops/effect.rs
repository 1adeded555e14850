//! Commits in, effects on the outside world out. The effects are in `effect/`.
//!
//! The loop looks at the record of the effect, acts, and records the result. So a replay of the log
//! repeats nothing. Only a crash between the effect and its record repeats it. Then the destination
//! recognizes the repetition by the effect's key.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use async_nats::jetstream::{self, AckKind, Context};
use event_store::{CommandSender, EventLog, Trace};
use events_schema::{
    Area as _, Command, CommandId, Commit, Id, TenantId, Time, secret::derived_id,
};
use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::{
    aggregate::CommandOf,
    decode,
    effect::{AreaOf, Effect},
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Received},
        history::{History, subject_of},
    },
};

/// How long it may take until the result is recorded. Then the record is tried again.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// Runs one effect until `shutdown`.
///
/// # Errors
/// Never: failures are retried or end in DEAD. The result fits the other loops.
pub async fn run<E: Effect>(
    effect: E,
    shared: Shared,
    sender: CommandSender,
) -> anyhow::Result<()> {
    let effect_loop = &EffectLoop {
        context: jetstream::new(shared.client.clone()),
        consumer: Consumer::effects(E::NAME, AreaOf::<E>::NAME, effect.attempts()),
        log: EventLog::new(shared.client.clone()),
        sender,
        effect,
        performed: Mutex::default(),
    };
    let (context, consumer) = (&effect_loop.context, &effect_loop.consumer);
    delivery::messages(consumer.clone(), shared)
        .for_each_concurrent(consumer.concurrency, |received| async move {
            let handled = effect_loop.act(&received);
            delivery::handle(context, consumer, &received, handled).await;
        })
        .await;
    Ok(())
}

struct EffectLoop<E> {
    context: Context,
    consumer: Consumer,
    log: EventLog,
    sender: CommandSender,
    effect: E,
    /// The effects that this process has performed and not recorded yet.
    performed: Mutex<HashSet<(TenantId, Id)>>,
}

impl<E: Effect> EffectLoop<E> {
    async fn act(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<AreaOf<E>>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if !commit.events.iter().any(E::is_requested_by) {
            return Ok(Handled::Done);
        }
        // The message may have waited since it was fetched. From here on, it has the whole ack
        // wait.
        let extended = message.ack_with(AckKind::Progress).await;
        let extended = extended.map_err(anyhow::Error::from_boxed);
        extended.context("extending the ack wait")?;
        let key = (commit.tenant, commit.id.into());
        let Some(task) = self.pending_task(&commit).await? else {
            // Another process may have recorded it.
            self.performed().remove(&key);
            return Ok(Handled::Done);
        };
        // Only the record of it may be missing.
        let was_performed = self.performed().contains(&key);
        let result = if was_performed {
            Ok(())
        } else {
            let span = debug_span!("perform", otel.kind = "client");
            self.effect.perform(commit.id, task).instrument(span).await
        };
        match &result {
            Ok(()) => {
                self.performed().insert(key);
                self.record(received.trace, &commit, "sent", E::succeeded())
                    .await?;
                self.performed().remove(&key);
            }
            Err(error) if delivery::deliveries(message) >= self.consumer.deliveries => {
                let failed = E::failed(format!("{error:#}"));
                self.record(received.trace, &commit, "failed", failed)
                    .await?;
            }
            Err(_) => {}
        }
        result.map(|()| Handled::Done)
    }

    fn performed(&self) -> MutexGuard<'_, HashSet<(TenantId, Id)>> {
        self.performed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the task that the record shows as not done yet.
    async fn pending_task(&self, commit: &Commit<AreaOf<E>>) -> anyhow::Result<Option<E::Task>> {
        let mut record = History::<E::Record>::default();
        let subject = subject_of::<E::Record>(commit.tenant, commit.id);
        // A replica may lag behind and lack the record of what was done.
        record.refresh_from_leader(&self.log, &subject).await?;
        Ok(E::pending(&record.state))
    }

    async fn record(
        &self,
        trace: Trace,
        commit: &Commit<AreaOf<E>>,
        result: &str,
        payload: CommandOf<E::Record>,
    ) -> anyhow::Result<()> {
        let (tenant, id): (String, Id) = (commit.tenant.to_string(), commit.id.into());
        let cause = [
            E::NAME.as_bytes(),
            tenant.as_bytes(),
            id.bytes(),
            result.as_bytes(),
        ];
        let command = Command::<AreaOf<E>>::by_system(
            CommandId(derived_id(&cause)),
            commit.tenant,
            commit.id,
            Time::from(SystemTime::now()),
            payload,
        );
        let deadline = Instant::now() + RECORDED_WITHIN;
        let outcome = self.sender.send(command, trace, deadline).await;
        outcome.context("recording the result")?;
        Ok(())
    }
}
