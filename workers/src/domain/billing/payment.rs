//! What a tenant pays by Stripe: it asks, an effect does it at Stripe, and records what has become
//! of it.

use events_schema::{
    Claim, CommandId, PlanVersion, PriceId, StripeCustomerId, StripePriceId, Time,
    billing::{
        Change, ChangeTime, Event, Override, Paid, PaidStatus, Payment, PendingStatus,
        Subscription, Wanted, apply,
    },
    plan::{self, MAX_TRIAL_DAYS},
};

use super::{Billing, DAY, Rejection};
use crate::aggregate::Decision;

/// Longest text of Stripe that is kept, in characters.
const MAX_TEXT: usize = 300;

impl Billing {
    /// Returns what the tenant pays, and what it has asked for.
    pub const fn payment(&self) -> &Payment {
        &self.0.payment
    }

    /// Returns the plan that the tenant has chosen, ended or not.
    pub const fn chosen(&self) -> Option<&Subscription> {
        self.0.subscription.as_ref()
    }

    /// Returns the exceptions from the tenant's plan, valid or not.
    pub const fn overrides(&self) -> Option<&Override> {
        self.0.overrides.as_ref()
    }

    /// Returns the plan and price that the tenant has chosen, if it is not a free plan.
    pub fn chosen_price(&self) -> Option<(PlanVersion, PriceId)> {
        let chosen = self.chosen()?;
        Some((chosen.plan, chosen.price?))
    }

    /// Returns the plan and price that a price at Stripe stands for. If the catalogue does not know
    /// it, the tenant keeps those that it has chosen.
    pub fn plan_of(
        &self,
        price: &StripePriceId,
        catalogue: &plan::View,
    ) -> Option<(PlanVersion, PriceId)> {
        catalogue.priced(price).or_else(|| self.chosen_price())
    }

    /// Whether Stripe decides which plan the tenant has, or will.
    pub(super) fn is_paying(&self) -> bool {
        self.awaited().is_some() || self.payment().lasting().is_some()
    }

    pub(super) fn subscribe(
        &self,
        wanted: &Wanted,
        trial_days: u16,
        request: CommandId,
        at: Time,
    ) -> Result<Option<Event>, Rejection> {
        if trial_days > MAX_TRIAL_DAYS {
            return Err(Rejection::TrialTooLong);
        }
        if wanted.at == ChangeTime::Now && self.is_leaving(at) {
            return Err(Rejection::PlanComing);
        }
        let lasting = self.payment().lasting();
        let may_try = lasting.is_none() && !self.0.tried.contains(&wanted.plan.plan);
        let trial_end = (may_try && trial_days > 0).then(|| at + DAY * u32::from(trial_days));
        let is_so = match self.awaited() {
            Some(Change::Subscribe { wanted: asked, .. }) => asked == wanted,
            Some(Change::Cancel | Change::Resume) => false,
            None => lasting.is_some_and(|paid| self.has(paid, wanted)),
        };
        Ok((!is_so).then(|| Event::ChangeRequested {
            request,
            at,
            wanted: wanted.clone(),
            trial_end,
        }))
    }

    pub(super) fn cancel_paid(&self, paid: &Paid, request: CommandId, at: Time) -> Option<Event> {
        let is_so = match self.awaited() {
            Some(change) => *change == Change::Cancel,
            None => paid.cancel_at.is_some(),
        };
        (!is_so).then_some(Event::CancelRequested { request, at })
    }

    pub(super) fn resume_paid(&self, paid: &Paid, request: CommandId, at: Time) -> Option<Event> {
        let is_so = match self.awaited() {
            Some(change) => *change == Change::Resume,
            None => paid.cancel_at.is_none(),
        };
        (!is_so).then_some(Event::ResumeRequested { request, at })
    }

    pub(super) fn expect_customer(&self, at: Time) -> Option<Event> {
        let payment = self.payment();
        let is_new = payment.customer.is_none() && payment.since.is_none();
        is_new.then_some(Event::CustomerExpected { at })
    }

    /// If another customer was recorded, it has been deleted at Stripe.
    pub(super) fn record_customer(&self, customer: &StripeCustomerId) -> Decision<Event> {
        let before = self.payment().customer.as_ref();
        if before == Some(customer) {
            return Decision::unchanged();
        }
        let customer = customer.clone();
        Decision {
            take: vec![Claim::stripe_customer(&customer)],
            release: before.map(Claim::stripe_customer).into_iter().collect(),
            ..Decision::events(vec![Event::CustomerRecorded { customer }])
        }
    }

    /// Returns the event that records what the tenant pays for; `None` if that is known. An ended
    /// subscription that is known says nothing of the plan that was chosen since.
    pub fn record_subscription(
        &self,
        (plan, price): (PlanVersion, PriceId),
        paid: &Paid,
        past_due_since: Option<Time>,
        request: Option<CommandId>,
        now: Time,
    ) -> Option<Event> {
        let known = self.0.subscription.as_ref();
        let known_since = known.and_then(|known| known.past_due_since);
        let since = past_due_since.or(known_since).unwrap_or(now);
        let event = Event::SubscriptionRecorded {
            plan,
            price,
            subscription: paid.clone(),
            past_due_since: (paid.status == PaidStatus::PastDue).then_some(since),
            request,
        };
        let is_same = self.payment().subscription.as_ref() == Some(paid);
        let is_known = is_same && (paid.status == PaidStatus::Ended || !self.is_changed_by(&event));
        let pending = self.payment().pending.as_ref();
        let is_awaited = pending.is_some_and(|pending| Some(pending.request) == request);
        (!is_known || is_awaited).then_some(event)
    }

    /// Returns the event that sets the number of seats; `None` if the tenant does not pay this price,
    /// or Stripe counts so many, or will.
    pub fn set_seats(
        &self,
        price: &StripePriceId,
        quantity: u64,
        request: CommandId,
    ) -> Option<Event> {
        let payment = self.payment();
        let paid = payment.lasting().filter(|paid| paid.price == *price)?;
        let seats = payment.seats.as_ref();
        let awaited = seats.map_or(paid.quantity, |seats| seats.quantity);
        (awaited != quantity).then(|| Event::SeatsChanged {
            request,
            price: price.clone(),
            quantity,
        })
    }

    /// Whether Stripe has not done yet what the tenant has asked for, or the owner of the card must
    /// confirm it.
    pub fn is_changing(&self) -> bool {
        let pending = self.payment().pending.as_ref();
        pending.is_some_and(|pending| match pending.status {
            PendingStatus::Pending | PendingStatus::ActionRequired => true,
            PendingStatus::Failed { .. } => false,
        })
    }

    pub(super) fn record_action(&self, request: CommandId) -> Option<Event> {
        let is_awaited = self.awaits(request);
        is_awaited.then_some(Event::ActionRequired { request })
    }

    pub(super) fn record_failure(
        &self,
        request: CommandId,
        code: &str,
        message: &str,
    ) -> Option<Event> {
        let short = |text: &str| text.chars().take(MAX_TEXT).collect();
        let pending = self.payment().pending.as_ref();
        let is_open = pending.is_some_and(|pending| match pending.status {
            PendingStatus::Pending | PendingStatus::ActionRequired => pending.request == request,
            PendingStatus::Failed { .. } => false,
        });
        is_open.then(|| Event::ChangeFailed {
            request,
            code: short(code),
            message: short(message),
        })
    }

    /// Returns the change that Stripe has not confirmed yet.
    fn awaited(&self) -> Option<&Change> {
        let pending = self.payment().pending.as_ref();
        let awaited = pending.filter(|it| it.status == PendingStatus::Pending);
        awaited.map(|awaited| &awaited.change)
    }

    /// Whether Stripe has not confirmed yet what this command has asked for.
    fn awaits(&self, request: CommandId) -> bool {
        let pending = self.payment().pending.as_ref();
        self.awaited().is_some() && pending.is_some_and(|pending| pending.request == request)
    }

    /// Whether another plan comes with the next period.
    fn is_leaving(&self, now: Time) -> bool {
        let chosen = self.chosen().filter(|_| self.payment().lasting().is_some());
        chosen.is_some_and(|chosen| chosen.coming_at(now).is_some())
    }

    fn is_changed_by(&self, event: &Event) -> bool {
        let mut after = self.0.clone();
        apply(&mut after, event);
        after != self.0
    }

    fn has(&self, paid: &Paid, wanted: &Wanted) -> bool {
        let chosen = self.0.subscription.as_ref();
        let plan = chosen.map(|it| it.next.as_ref().map_or(it.plan, |next| next.plan));
        let (price, quantity) = (&wanted.stripe_price, wanted.quantity);
        wanted.promotion_code.is_none()
            && plan == Some(wanted.plan)
            && (&paid.price, paid.quantity) == (price, quantity)
            && paid.cancel_at.is_none()
    }
}
