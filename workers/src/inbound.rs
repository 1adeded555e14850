//! Inbound hooks: turns what other services have sent into commands.
//!
//! Gateways verify hooks and store them in the stream `INBOX`. This loop reads them, and one pure
//! function for each kind of provider says which commands follow. Their ids derive from the hook,
//! so a hook that is handled again changes nothing twice. What became of a hook is recorded beside
//! it.

mod failures;
mod github;
mod handler;
mod inbox;
mod sources;

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use event_store::{CommandSender, EventLog};
use events_schema::{
    TenantId,
    inbound_source::{Area, Event},
    subject::parse_hook,
};
use futures_util::StreamExt as _;

pub use self::sources::Sources;
use self::{failures::Failures, handler::Handler, inbox::Inbox};
use crate::{
    decode::{self, Newer},
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Received},
        retry::is_outage,
        slots::Slots,
    },
};

/// After this many failures, a hook that cannot be handled is recorded as failed. An outage is not
/// counted, so a hook waits for its end.
const ATTEMPTS: u32 = 10;
/// How long one attempt may take: less than the ack wait, so that its end can be recorded.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(25);
/// How long a hook waits whose tenant has its share of the slots. It doubles with each delivery, so
/// that a flood is not delivered again all the time.
const TENANT_IS_FULL_FIRST: Duration = Duration::from_millis(500);
const TENANT_IS_FULL_LONGEST: Duration = Duration::from_secs(8);

/// Handles hooks until `shutdown`, also those that people want to be handled once more.
///
/// # Errors
/// Never: failures are retried or recorded. The result fits the other loops.
pub async fn run(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let inbox = Inbox::new(jetstream::new(shared.client.clone()));
    let sources = Sources::new(EventLog::new(shared.client.clone()));
    let handler = Arc::new(Handler::new(inbox, sources, sender));
    let replays = Replays(handler.clone());
    tokio::join!(
        handle_hooks(shared.clone(), handler),
        delivery::handle_all(Consumer::inbound_replays(), shared, &replays)
    );
    Ok(())
}

/// Handles hooks. Those of one tenant beyond its share go back, so that they do not hold up others.
async fn handle_hooks(shared: Shared, handler: Arc<Handler>) {
    let context = &jetstream::new(shared.client.clone());
    let consumer = &Consumer::inbound_hooks();
    let (slots, failures) = (&Slots::new(consumer.concurrency), &Failures::new());
    let handler = &handler;
    delivery::messages(consumer.clone(), shared)
        .for_each_concurrent(consumer.concurrency, |received| async move {
            let Some(_slot) = slots.try_take(tenant_of(&received)) else {
                let deliveries = delivery::deliveries(&received.message);
                delivery::retry(&received.message, tenant_is_full(deliveries)).await;
                return;
            };
            let handled = handle(handler, failures, &received);
            delivery::handle(context, consumer, &received, handled).await;
        })
        .await;
}

/// Returns whose share a hook takes. What is no hook is settled at once.
fn tenant_of(received: &Received) -> TenantId {
    let source = parse_hook(&received.message.subject);
    source.map_or(TenantId::Platform, |(tenant, _)| TenantId::Tenant(tenant))
}

/// Returns how long a hook waits that had no slot at its latest delivery.
fn tenant_is_full(deliveries: i64) -> Duration {
    let doublings = u32::try_from(deliveries - 1).unwrap_or(0).min(10);
    let wait = TENANT_IS_FULL_FIRST * 2_u32.pow(doublings);
    wait.min(TENANT_IS_FULL_LONGEST)
}

/// Handles a hook. If that fails again and again, it is recorded, so that its tenant sees it.
async fn handle(
    handler: &Handler,
    failures: &Failures,
    received: &Received,
) -> anyhow::Result<Handled> {
    let message = &received.message;
    let hook = match inbox::decode(&message.subject, &message.payload) {
        Ok(hook) => hook,
        Err(reason) => return Ok(Handled::Dead(format!("{reason:#}"))),
    };
    let attempt = handler.handle(&hook, received.trace);
    let Err(error) = delivery::bounded(ATTEMPT_WITHIN, attempt).await else {
        return Ok(Handled::Done);
    };
    // Another worker may know what a newer release has written.
    let is_ours = !is_outage(&error) && !error.is::<Newer>();
    if !is_ours || failures.count(delivery::sequence(message)) < ATTEMPTS {
        return Err(error);
    }
    let reason = "The hook could not be handled. Replay it later.";
    handler.fail(&hook, reason).await?;
    Ok(Handled::Dead(format!("{error:#}")))
}

/// Handles the hooks once more that commits name.
struct Replays(Arc<Handler>);

impl delivery::Handler for Replays {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        let TenantId::Tenant(tenant) = commit.tenant else {
            return Ok(Handled::Dead("the platform has no hooks".to_owned()));
        };
        for event in &commit.events {
            match event {
                Event::ReplayRequested { source, hook } => {
                    let replay = self.0.replay((tenant, *source), *hook, received.trace);
                    replay.await?;
                }
                Event::Created { .. }
                | Event::Updated { .. }
                | Event::Deleted { .. }
                | Event::SecretRotated { .. }
                | Event::Resealed { .. } => {}
            }
        }
        Ok(Handled::Done)
    }
}
