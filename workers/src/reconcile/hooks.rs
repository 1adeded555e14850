//! Reads Stripe's events from the stream `INBOX`.

use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock, PoisonError},
};

use anyhow::Context as _;
use async_nats::jetstream;
use event_store::{
    CommandSender, EventLog,
    telemetry::{self, KeyValue},
};
use events_schema::{StripeCustomerId, StripeHook, subject::INBOX};
use futures_util::StreamExt as _;
use lru::LruCache;
use tokio::sync::Mutex;

use super::Reconciler;
use crate::{
    config::Config,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Received},
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

/// The sequence of `INBOX` up to which events of a customer came before it was read. Its lock
/// orders those who read the customer.
type Covered = Arc<Mutex<u64>>;

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
    let context = jetstream::new(shared.client.clone());
    let log = EventLog::new(shared.client.clone());
    let hooks = Arc::new(Hooks {
        reconciler: Reconciler::new(stripe, log, sender),
        jetstream: context.clone(),
        is_live: config.stripe.is_live(),
        covered: std::sync::Mutex::new(LruCache::new(REMEMBERED)),
    });
    let consumer = Consumer::stripe_hooks();
    delivery::messages(consumer.clone(), shared)
        .for_each_concurrent(consumer.concurrency, |received| {
            let (hooks, context, consumer) = (hooks.clone(), context.clone(), consumer.clone());
            async move {
                let handled = handle(&hooks, &received);
                delivery::handle(&context, &consumer, &received, handled).await;
            }
        })
        .await;
    Ok(())
}

async fn handle(hooks: &Hooks, received: &Received) -> anyhow::Result<Handled> {
    match serde_json::from_slice::<StripeHook>(&received.message.payload) {
        Ok(hook) => {
            let result = hooks.handle(&hook, received).await?;
            EVENTS.add(1, &[KeyValue::new("result", result)]);
            Ok(Handled::Done)
        }
        Err(error) => Ok(Handled::Dead(format!("the event cannot be read: {error}"))),
    }
}

impl Hooks {
    /// Returns the result for metrics.
    async fn handle(&self, hook: &StripeHook, received: &Received) -> anyhow::Result<&'static str> {
        if hook.live != self.is_live {
            return Ok("other_mode");
        }
        let Some(customer) = &hook.customer else {
            return Ok("no_customer");
        };
        let covered = self.covered(customer);
        let mut covered = covered.lock().await;
        if delivery::sequence(&received.message) <= *covered {
            return Ok("covered");
        }
        let Some(tenant) = self.reconciler.tenant_of(customer).await? else {
            let (id, kind) = (&hook.id, &hook.kind);
            tracing::warn!(%id, kind, %customer, "no tenant has the customer of an event of Stripe");
            return Ok("unknown_customer");
        };
        let last = self.last_sequence().await?;
        let records = self.reconciler.mend(tenant, received.trace).await?;
        *covered = last;
        Ok(if records > 0 { "recorded" } else { "unchanged" })
    }

    fn covered(&self, customer: &StripeCustomerId) -> Covered {
        let mut all = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_or_insert(customer.clone(), Covered::default)
            .clone()
    }

    async fn last_sequence(&self) -> anyhow::Result<u64> {
        let stream = self.jetstream.get_stream(INBOX).await;
        let stream = stream.context("reading the state of INBOX")?;
        Ok(stream.cached_info().state.last_sequence)
    }
}
