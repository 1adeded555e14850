//! Reads Stripe's events from the stream `STRIPE`.

use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock, PoisonError},
    time::SystemTime,
};

use anyhow::Context as _;
use async_nats::jetstream;
use event_store::{
    CommandSender, EventLog,
    telemetry::{self, KeyValue},
};
use events_schema::{StripeCustomerId, StripeHook, subject::STRIPE};
use lru::LruCache;
use tokio::sync::Mutex;

use super::Reconciler;
use crate::{
    config::Config,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_all},
    },
    stripe::Stripe,
};

/// Customers of which it is remembered when they were read.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

static EVENTS: LazyLock<telemetry::Counter<u64>> = LazyLock::new(|| {
    let description = "Events of Stripe that were handled; `result` is recorded, unchanged, covered \
                       (by what was read after it came), other_mode (live instead of test, or test \
                       instead of live), unknown_customer or no_customer.";
    telemetry::counter("ub.stripe.events", description)
});

/// The end of the stream when a customer was read last: all events up to it came before. `None` if
/// it was never read. The lock orders those who read the customer.
type Covered = Arc<Mutex<Option<End>>>;

/// Where a stream ended at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    /// When the stream was created: another one of the same name counts from 1 again.
    created_at: SystemTime,
    sequence: u64,
}

impl End {
    /// Whether an event came before, if this is the stream that has it.
    fn covers(&self, event: u64, stream: &Self) -> bool {
        self.created_at == stream.created_at && event <= self.sequence
    }
}

/// Handles Stripe's events.
struct Hooks {
    reconciler: Reconciler,
    jetstream: jetstream::Context,
    is_live: bool,
    covered: std::sync::Mutex<LruCache<StripeCustomerId, Covered>>,
}

/// Handles Stripe's events until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(
    config: &Config,
    stripe: Stripe,
    shared: Shared,
    sender: CommandSender,
) -> anyhow::Result<()> {
    let log = EventLog::new(shared.client.clone());
    let hooks = Hooks {
        reconciler: Reconciler::new(stripe, log, sender),
        jetstream: jetstream::new(shared.client.clone()),
        is_live: config.stripe.is_live(),
        covered: std::sync::Mutex::new(LruCache::new(REMEMBERED)),
    };
    handle_all(Consumer::stripe_hooks(), shared, &hooks).await;
    Ok(())
}

impl Handler for Hooks {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        match serde_json::from_slice::<StripeHook>(&received.message.payload) {
            Ok(hook) => {
                let result = self.handle_hook(&hook, received).await?;
                EVENTS.add(1, &[KeyValue::new("result", result)]);
                Ok(Handled::Done)
            }
            Err(error) => Ok(Handled::Dead(format!("the event cannot be read: {error}"))),
        }
    }
}

impl Hooks {
    /// Returns the result for metrics.
    async fn handle_hook(
        &self,
        hook: &StripeHook,
        received: &Received,
    ) -> anyhow::Result<&'static str> {
        if hook.live != self.is_live {
            return Ok("other_mode");
        }
        let Some(customer) = &hook.customer else {
            return Ok("no_customer");
        };
        let covered = self.covered(customer);
        let mut covered = covered.lock().await;
        let end = self.end().await?;
        let sequence = delivery::sequence(&received.message);
        if covered.is_some_and(|covered| covered.covers(sequence, &end)) {
            return Ok("covered");
        }
        let Some(tenant) = self.reconciler.tenant_of(customer).await? else {
            let (id, kind) = (&hook.id, &hook.kind);
            tracing::warn!(%id, kind, %customer, "no tenant has the customer of an event of Stripe");
            return Ok("unknown_customer");
        };
        let records = self.reconciler.mend(tenant, received.trace).await?;
        *covered = Some(end);
        Ok(if records > 0 { "recorded" } else { "unchanged" })
    }

    fn covered(&self, customer: &StripeCustomerId) -> Covered {
        let mut all = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_or_insert(customer.clone(), Covered::default)
            .clone()
    }

    async fn end(&self) -> anyhow::Result<End> {
        let stream = self.jetstream.get_stream(STRIPE).await;
        let stream = stream.context("reading the state of the stream of Stripe's events")?;
        let info = stream.cached_info();
        Ok(End {
            created_at: info.created.into(),
            sequence: info.state.last_sequence,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_end_of_a_stream_covers_no_event_of_its_successor() {
        let end = |created_at: u64, sequence| End {
            created_at: UNIX_EPOCH + Duration::from_secs(created_at),
            sequence,
        };
        let before = end(1, 7);
        assert!(before.covers(7, &end(1, 9)));
        assert!(!before.covers(8, &end(1, 9)));
        assert!(!before.covers(1, &end(2, 1)), "a stream that is new");
    }
}
