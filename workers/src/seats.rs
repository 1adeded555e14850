//! Counts the seats of tenants that pay for each: members and pending invitations. The number is
//! recorded whenever it differs from what Stripe counts, and an effect tells Stripe.
//!
//! Whoever records a number has counted after reading the revision that the record must still have.
//! So the last record has the last count, whatever the order of commits and workers is.

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context as _, bail};
use async_nats::jetstream;
use event_store::{CommandSender, EventLog, Trace, random_id};
use events_schema::{
    Command, CommandId, StripePriceId, Subject, TenantId, TenantKey, Time, allowed,
    billing::{self, Command::SetSeats},
    member::{self, SEATS},
    paid_seats,
    plan::{self, Per},
};
use futures_util::StreamExt as _;

use crate::{
    catalogue::LatestCatalogue,
    domain::billing::Billing,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Received},
        history::{History, subject_of},
        limit::Limits,
    },
    record::{Recorded, record},
};

/// How often a record may lose against another one. Each time, the seats are counted again.
const ROUNDS: usize = 10;

/// Counts the seats of tenants.
struct Seats {
    log: EventLog,
    sender: CommandSender,
    catalogue: LatestCatalogue,
    members: Limits<member::Area>,
}

/// Counts the seats of a tenant after each commit about its members or billing, until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let context = jetstream::new(shared.client.clone());
    let log = EventLog::new(shared.client.clone());
    let seats = Arc::new(Seats {
        catalogue: LatestCatalogue::new(log.clone()),
        members: Limits::new(),
        log,
        sender,
    });
    let consumer = Consumer::seats();
    delivery::messages(consumer.clone(), shared)
        .for_each_concurrent(consumer.concurrency, |received| {
            let (seats, context, consumer) = (seats.clone(), context.clone(), consumer.clone());
            async move {
                let handled = seats.handle(&received);
                delivery::handle(&context, &consumer, &received, handled).await;
            }
        })
        .await;
    Ok(())
}

impl Seats {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        if let Ok(Subject::Event {
            tenant: TenantId::Tenant(tenant),
            ..
        }) = Subject::parse(&received.message.subject)
        {
            self.follow(tenant, received.trace).await?;
        }
        Ok(Handled::Done)
    }

    /// Records how many seats a tenant pays for, if that has changed.
    async fn follow(&self, tenant: TenantKey, trace: Trace) -> anyhow::Result<()> {
        let owner = TenantId::Tenant(tenant);
        let subject = subject_of::<Billing>(owner, tenant);
        let mut billing = History::<Billing>::default();
        for _ in 0..ROUNDS {
            billing.refresh_from_leader(&self.log, &subject).await?;
            let now = Time::from(SystemTime::now());
            let catalogue = self.catalogue.read().await?;
            let Some(paid) = seats_paid_for(&billing.state, catalogue.plans(), now) else {
                return Ok(());
            };
            let used = self.members.live(&self.log, owner, now).await?;
            let (price, quantity) = (paid.price.clone(), paid_seats(used, paid.most));
            let request = CommandId(random_id()?);
            if billing.state.set_seats(&price, quantity, request).is_none() {
                return Ok(());
            }
            let payload = SetSeats { price, quantity };
            let revision = billing.revision;
            if self
                .record(tenant, revision, (request, payload), trace)
                .await?
            {
                return Ok(());
            }
        }
        bail!("the billing of tenant {tenant} changes all the time")
    }

    /// Records something, unless the billing has changed since this revision. Returns whether it is
    /// recorded.
    async fn record(
        &self,
        tenant: TenantKey,
        revision: u64,
        (request, payload): (CommandId, billing::Command),
        trace: Trace,
    ) -> anyhow::Result<bool> {
        let mut command = Command::<billing::Area>::by_system(
            request,
            TenantId::Tenant(tenant),
            tenant,
            SystemTime::now().into(),
            payload,
        );
        command.expected = Some(revision);
        let recorded = record(&self.sender, command, trace).await;
        Ok(recorded.context("recording the seats")? != Recorded::Conflict)
    }
}

/// A price that is paid for each seat.
#[derive(Debug, PartialEq)]
struct SeatPrice {
    price: StripePriceId,
    /// How many seats the plan allows; `None` for any number.
    most: Option<u64>,
}

/// Returns the price that a tenant pays for each seat; `None` if it pays none.
fn seats_paid_for(billing: &Billing, catalogue: &plan::View, now: Time) -> Option<SeatPrice> {
    let paid = billing.payment().lasting()?;
    let (plan, id) = catalogue.priced(&paid.price)?;
    let version = catalogue.version(plan)?;
    let mut prices = version.prices.iter();
    let price = prices.find(|price| plan.price_id(price) == id)?;
    (price.per == Per::Seat).then(|| SeatPrice {
        price: paid.price.clone(),
        most: allowed(version, billing.overrides(), SEATS, now),
    })
}
