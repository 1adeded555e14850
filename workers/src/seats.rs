//! Counts the seats of tenants that pay for each: members and pending invitations. The number is
//! recorded whenever it differs from what Stripe counts, and an effect tells Stripe.
//!
//! Whoever records a number has counted after reading the revision that the record must still have.
//! So the last record has the last count, whatever the order of commits and workers is.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use event_store::{CommandSender, EventLog, Trace, random_id};
use events_schema::{
    Command, CommandId, StripePriceId, Subject, TenantId, TenantKey, Time, allowed,
    billing::{self, Command::SetSeats},
    member::{self, SEATS},
    paid_seats,
    plan::{self, Per},
};

use crate::{
    catalogue::LatestCatalogue,
    domain::billing::Billing,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{Handled, Handler, Received, handle_all},
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
    let log = EventLog::new(shared.client.clone());
    let seats = Seats {
        catalogue: LatestCatalogue::new(log.clone()),
        members: Limits::new(),
        log,
        sender,
    };
    handle_all(Consumer::seats(), shared, &seats).await;
    Ok(())
}

impl Handler for Seats {
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
}

impl Seats {
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

/// Returns the price that a tenant pays for each seat; `None` if it pays none. While another plan
/// comes, its seats are counted with the next period: Stripe would charge or give back its price for
/// the rest of this one.
fn seats_paid_for(billing: &Billing, catalogue: &plan::View, now: Time) -> Option<SeatPrice> {
    let paid = billing.payment().lasting()?;
    let is_leaving = billing
        .chosen()
        .is_some_and(|it| it.coming_at(now).is_some());
    let (plan, id) = catalogue.priced(&paid.price).filter(|_| !is_leaving)?;
    let version = catalogue.version(plan)?;
    let price = catalogue.price(plan, id)?;
    (price.per == Per::Seat).then(|| SeatPrice {
        price: paid.price.clone(),
        most: allowed(version, billing.overrides(), SEATS, now),
    })
}

#[cfg(test)]
mod tests {
    use events_schema::{
        CommandId, Currency, Id, Money, Name, PlanId, PlanVersion, StripeItemId,
        StripeSubscriptionId,
        billing::{ChangeTime, Event, Paid, PaidStatus, Wanted},
        plan::{Interval, Plan, Price, Version},
    };

    use super::*;
    use crate::domain::testing::given;

    const END: Time = Time(100);

    fn plan(number: u8) -> PlanVersion {
        let plan = PlanId(Id::from_bytes([number; 16]));
        PlanVersion { plan, number: 1 }
    }
    fn price() -> Price {
        Price {
            amount: Money::new(500, Currency::parse("EUR").unwrap()).unwrap(),
            interval: Interval::Month,
            per: Per::Seat,
        }
    }
    fn stripe_price(number: u8) -> StripePriceId {
        StripePriceId::parse(&format!("price_{number}")).unwrap()
    }
    /// Plans 1 and 2, which both cost something for each seat.
    fn catalogue() -> plan::View {
        let plans = [1, 2].map(|number| {
            let version = Version {
                prices: vec![price()],
                ..Version::default()
            };
            let offered = Plan {
                name: Name::parse("Team").unwrap(),
                versions: vec![version],
                archived: false,
                created_at: Time(0),
                updated_at: Time(0),
            };
            (plan(number).plan, offered)
        });
        let prices = [1, 2].map(|it| (plan(it).price_id(&price()), stripe_price(it)));
        plan::View {
            plans: plans.into(),
            stripe_prices: prices.into(),
            ..plan::View::default()
        }
    }
    fn recorded(number: u8, period_end: Time) -> Event {
        Event::SubscriptionRecorded {
            plan: plan(number),
            price: plan(number).price_id(&price()),
            subscription: Paid {
                id: StripeSubscriptionId::parse("sub_1").unwrap(),
                item: StripeItemId::parse("si_1").unwrap(),
                status: PaidStatus::Active,
                price: stripe_price(number),
                quantity: 3,
                period_end,
                trial_end: None,
                cancel_at: None,
            },
            past_due_since: None,
            request: None,
        }
    }
    /// The tenant wants plan 1 from the next period on.
    fn leaves() -> Event {
        Event::ChangeRequested {
            request: CommandId(Id::from_bytes([9; 16])),
            at: Time(0),
            wanted: Wanted {
                plan: plan(1),
                price: plan(1).price_id(&price()),
                stripe_price: stripe_price(1),
                quantity: 3,
                name: Name::parse("Weavers").unwrap(),
                proration_date: None,
                at: ChangeTime::PeriodEnd,
                once_paid: false,
                promotion_code: None,
            },
            trial_end: None,
        }
    }

    #[test]
    fn seats_are_not_counted_at_the_price_of_a_plan_that_comes_later() {
        let counted = |billing: &Billing, now| {
            let found = seats_paid_for(billing, &catalogue(), now);
            found.map(|found| found.price)
        };
        let paying = given::<Billing>([recorded(2, END)]);
        assert_eq!(counted(paying.state(), Time(0)), Some(stripe_price(2)));
        let leaving = paying.and([leaves(), recorded(1, END)]);
        assert_eq!(counted(leaving.state(), Time(0)), None);
        assert_eq!(counted(leaving.state(), END), Some(stripe_price(1)));
        let renewed = leaving.and([recorded(1, Time(200))]);
        assert_eq!(counted(renewed.state(), Time(0)), Some(stripe_price(1)));
    }
}
