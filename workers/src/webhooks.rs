//! Webhooks: sends the events of tenants to the servers of customers.
//!
//! The log is the queue, and a webhook is a position in it. A commit *wakes* the webhooks that want
//! its events ([`wake`]). A worker takes the lease of an awake webhook and sends what it has not got
//! ([`deliver`], [`session`]): [`line`] says what is next. Wake-ups are transport: whatever is
//! lost, [`sweep`] finds within minutes. Delivery reads no view.

mod attempts;
mod cursors;
mod deliver;
mod histories;
mod line;
mod lost;
mod message;
mod oauth2;
mod report;
mod retries;
mod session;
mod slots;
mod sweep;
mod tenants;
mod wake;

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::jetstream;
use event_store::{CommandSender, EventLog};

use self::{
    attempts::Attempts, deliver::Deliveries, message::Messages, report::Reports, sweep::Sweep,
};
pub use self::{
    cursors::Cursors,
    tenants::Tenants,
    wake::{Wakes, Why},
};
use crate::{config::Config, effect::outbound::Outbound, loops::Shared, owners::Owners};

/// Sends events to webhooks until `shutdown`, then finishes the requests in progress.
///
/// # Errors
/// If the configuration is wrong.
pub async fn run(config: &Config, shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let log = EventLog::new(shared.client.clone());
    let key = config.secrets.key();
    let tenants = Tenants::new(log.clone());
    let wakes = Wakes::new(jetstream::new(shared.client.clone()));
    let cursors = Cursors::new(jetstream::new(shared.client.clone()));
    let outbound = Outbound::new(&config.outbound).context("preparing requests to webhooks")?;
    let deliveries = Arc::new(Deliveries::new(session::Parts {
        log: log.clone(),
        tenants: tenants.clone(),
        cursors: cursors.clone(),
        wakes: wakes.clone(),
        messages: Messages::new(log.clone(), outbound, key, &config.posture.public_url),
        attempts: Attempts::new(shared.client.clone()),
        reports: Reports::new(sender, Owners::new(log.clone())),
        large_pages: session::LargePages::default(),
    }));
    let sweep = Sweep::new(log, tenants.clone(), cursors.clone(), wakes.clone());
    let sweeping = tokio::spawn(sweep.run(shared.reconnects.clone()));
    tokio::join!(
        wake::run(shared.clone(), tenants, cursors, wakes),
        deliver::run(shared, deliveries)
    );
    sweeping.abort();
    Ok(())
}
