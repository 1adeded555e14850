//! Lets Stripe count the seats that a tenant uses, if it pays for each seat.
//!
//! The difference for the rest of the period is on the next invoice: nobody has to confirm a payment
//! because somebody was invited. A number can be set any number of times, and the last one counts.

use events_schema::{
    TenantKey,
    billing::{Command, Event, Paid, PendingStatus, Seats},
};

use crate::{
    catalogue::LatestCatalogue,
    domain::billing::Billing,
    effect::{
        Effect, Failure, Lane, Setup, Undone,
        change_subscription::{before_payment, is_being_paid, is_lasting, paid},
        stripe_failure,
    },
    stripe::{IdempotencyKey, Stripe, StripeError, Subscription},
};

/// Changes how many seats a subscription counts.
pub struct FollowSeats {
    stripe: Stripe,
    catalogue: LatestCatalogue,
}

/// The seats to count, and what is known of the tenant.
pub struct Task {
    seats: Seats,
    paid: Paid,
    record: Billing,
}

impl Effect for FollowSeats {
    type Record = Billing;
    type Task = Task;
    const NAME: &'static str = "follow_seats";
    const UNDONE: Option<Undone> = None;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(setup.stripe.cloned().map(|stripe| Self {
            stripe,
            catalogue: LatestCatalogue::new(setup.log.clone()),
        }))
    }

    fn attempts(&self) -> i64 {
        stripe_failure::ATTEMPTS
    }

    /// Seats wait for the answer to a change.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::SeatsChanged { .. }
            | Event::ActionRequired { .. }
            | Event::SubscriptionRecorded { .. }
            | Event::ChangeFailed { .. } => true,
            Event::Changed { .. }
            | Event::TrialStarted { .. }
            | Event::Cancelled { .. }
            | Event::Resumed
            | Event::Overridden(_)
            | Event::OverrideEnded
            | Event::Granted(_)
            | Event::GrantEnded
            | Event::ChangeRequested { .. }
            | Event::CancelRequested { .. }
            | Event::EndRequested { .. }
            | Event::ResumeRequested { .. }
            | Event::CustomerExpected { .. }
            | Event::CustomerRecorded { .. }
            | Event::CustomerForgotten { .. } => false,
        }
    }

    fn pending(record: &Billing) -> Option<Task> {
        let payment = record.payment();
        let (seats, paid) = (payment.seats.clone()?, payment.lasting()?.clone());
        let waits = payment.pending.as_ref().is_some_and(|pending| {
            match pending.status {
                PendingStatus::Pending => true,
                // The owner of the card may never confirm it. Further seats would cost nothing.
                PendingStatus::ActionRequired => seats.quantity <= paid.quantity,
                PendingStatus::Failed { .. } => false,
            }
        });
        (!waits).then(|| Task {
            seats,
            paid,
            record: record.clone(),
        })
    }

    fn lane(task: &Task) -> Lane {
        Lane {
            destination: task.paid.id.to_string(),
            is_urgent: false,
            not_before: None,
        }
    }

    async fn perform(&self, _: TenantKey, task: &Task) -> Result<Command, Failure> {
        let present = self.follow(task).await?;
        let mut subscription = paid(&present)?;
        if is_being_paid(&self.stripe, &task.record, &present).await? {
            subscription = before_payment(&task.record, subscription);
        }
        let catalogue = self.catalogue.read().await?;
        let plan = task.record.plan_of(&subscription.price, catalogue.plans());
        let (plan, price) = plan.ok_or_else(|| {
            let error = anyhow::anyhow!("no plan has the price of {}", present.id);
            Failure::Permanent(error)
        })?;
        Ok(Command::RecordSubscription {
            plan,
            price,
            subscription,
            past_due_since: None,
            request: Some(task.seats.request),
        })
    }

    /// Nothing is recorded of it: Stripe goes on to count as many seats as before.
    fn failed(task: &Task, reason: String) -> Command {
        Command::RecordFailure {
            request: task.seats.request,
            code: "internal".to_owned(),
            message: reason,
        }
    }
}

impl FollowSeats {
    /// Returns the subscription as it is afterwards.
    async fn follow(&self, task: &Task) -> Result<Subscription, StripeError> {
        let Task { seats, paid, .. } = task;
        let mut present = self.stripe.subscription(&paid.id).await?;
        if seats.quantity > paid.quantity && present.has_pending_update() {
            self.drop_waiting_change(seats, &present).await?;
            present = self.stripe.subscription(&paid.id).await?;
        }
        let item = present.item().filter(|_| is_lasting(&present));
        let Some(item) = item.filter(|item| item.price.id == seats.price) else {
            return Ok(present);
        };
        if item.quantity == Some(seats.quantity) {
            return Ok(present);
        }
        let counted = item.quantity.unwrap_or_default();
        let key = IdempotencyKey::new(seats.request.0, &format!("seats after {counted}"));
        let set = self
            .stripe
            .set_quantity(key, &present.id, &item.id, seats.quantity);
        set.await?;
        self.stripe.subscription(&paid.id).await
    }

    /// Voids the invoice that a change waits for. Once it is paid, the change would count as many
    /// seats as there were when it was asked for.
    async fn drop_waiting_change(
        &self,
        seats: &Seats,
        present: &Subscription,
    ) -> Result<(), StripeError> {
        let Some(invoice) = &present.latest_invoice else {
            return Ok(());
        };
        let key = IdempotencyKey::new(seats.request.0, &format!("void {invoice}"));
        match self.stripe.void_invoice(key, invoice).await {
            // It has just been paid, or has expired.
            Err(StripeError::Refused { .. }) => Ok(()),
            voided => voided,
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        CommandId, Id, Name, PlanId, PlanVersion, PriceId, StripeItemId, StripePriceId,
        StripeSubscriptionId, Time,
        billing::{ChangeTime, PaidStatus, Wanted},
    };

    use super::*;
    use crate::domain::testing::given;

    const REQUEST: CommandId = CommandId(Id::from_bytes([9; 16]));
    const PLAN: PlanVersion = PlanVersion {
        plan: PlanId(Id::from_bytes([2; 16])),
        number: 1,
    };
    const PRICE: PriceId = PriceId(Id::from_bytes([3; 16]));

    fn price() -> StripePriceId {
        StripePriceId::parse("price_1").unwrap()
    }
    /// A tenant that pays for three seats.
    fn pays() -> Event {
        Event::SubscriptionRecorded {
            plan: PLAN,
            price: PRICE,
            subscription: Paid {
                id: StripeSubscriptionId::parse("sub_1").unwrap(),
                item: StripeItemId::parse("si_1").unwrap(),
                status: PaidStatus::Active,
                price: price(),
                quantity: 3,
                period_end: Time(1_000),
                trial_end: None,
                cancel_at: None,
            },
            past_due_since: None,
            request: None,
        }
    }
    fn seats(quantity: u64) -> Event {
        Event::SeatsChanged {
            request: CommandId(Id::from_bytes([1; 16])),
            price: price(),
            quantity,
        }
    }
    /// The tenant wants a plan.
    fn wants() -> Event {
        Event::ChangeRequested {
            request: REQUEST,
            at: Time(0),
            wanted: Wanted {
                plan: PLAN,
                price: PRICE,
                stripe_price: StripePriceId::parse("price_2").unwrap(),
                quantity: 3,
                name: Name::parse("Weavers").unwrap(),
                proration_date: None,
                at: ChangeTime::Now,
                once_paid: false,
                promotion_code: None,
            },
            trial_end: None,
        }
    }
    fn is_due(events: impl IntoIterator<Item = Event>) -> bool {
        let billing = given::<Billing>([pays()]).and(events);
        FollowSeats::pending(billing.state()).is_some()
    }

    #[test]
    fn further_seats_wait_for_stripe_and_not_for_the_owner_of_a_card() {
        let action = || Event::ActionRequired { request: REQUEST };
        assert!(is_due([seats(4)]));
        assert!(!is_due([wants(), seats(4)]));
        assert!(is_due([wants(), seats(4), action()]));
        assert!(!is_due([wants(), seats(2), action()]));
        assert!(FollowSeats::is_requested_by(&action()));
    }
}
