//! Lets Stripe count the seats that a tenant uses, if it pays for each seat.
//!
//! The difference for the rest of the period is on the next invoice: nobody has to confirm a payment
//! because somebody was invited. A number can be set any number of times, and the last one counts.

use events_schema::{
    TenantKey,
    billing::{Command, Event, Paid, Seats},
};

use crate::{
    catalogue::LatestCatalogue,
    domain::billing::Billing,
    effect::{
        Effect, Failure, Lane, Setup, Undone,
        change_subscription::{is_lasting, paid},
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

    /// Seats wait for the end of a change.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::SeatsChanged { .. }
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
            | Event::CustomerForgotten { .. }
            | Event::ActionRequired { .. } => false,
        }
    }

    fn pending(record: &Billing) -> Option<Task> {
        let payment = record.payment();
        let (seats, paid) = (payment.seats.clone()?, payment.lasting()?.clone());
        (!record.is_changing()).then(|| Task {
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
        let subscription = paid(&present)?;
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
        let present = self.stripe.subscription(&paid.id).await?;
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
}
