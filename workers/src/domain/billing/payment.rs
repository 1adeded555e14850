//! What a tenant pays by Stripe: it asks, an effect does it at Stripe, and records what has become
//! of it.

use std::time::Duration;

use events_schema::{
    Claim, CommandId, PlanId, PlanVersion, PriceId, StripeCustomerId, StripePriceId, Time,
    billing::{
        Change, ChangeTime, Event, Override, Paid, PaidStatus, Payment, PendingStatus,
        Subscription, Wanted, apply,
    },
    plan::{self, MAX_TRIAL_DAYS},
};

use super::{Billing, DAY, Rejection};
use crate::aggregate::Decision;

/// How long an effect is believed to have a request in hand. Later, the request may be lost.
const IN_HAND: Duration = Duration::from_secs(60);
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
        if let Some(undecided) = self.undecided() {
            let is_same = is_same_choice(undecided, wanted);
            let repeated = is_same.then(|| self.repeat(at));
            return repeated.ok_or(Rejection::ChangePending);
        }
        self.ensure_begun(at)?;
        if wanted.at == ChangeTime::Now && self.is_leaving(at) {
            return Err(Rejection::PlanComing);
        }
        let wanted = &self.staying(wanted, at);
        match self.awaited() {
            Some(Change::Subscribe { wanted: asked, .. }) if asked == wanted => {
                return Ok(self.repeat(at));
            }
            Some(Change::Subscribe { .. } | Change::Cancel | Change::Resume | Change::End) => {}
            None if self.has(wanted) => return Ok(None),
            None => {}
        }
        self.ensure_changeable(wanted)?;
        Ok(Some(Event::ChangeRequested {
            request,
            at,
            wanted: wanted.clone(),
            trial_end: self.new_trial(wanted.plan, trial_days, at),
        }))
    }

    /// Returns when the trial ends that a tenant would get with a plan; `None` if it gets none.
    fn new_trial(&self, plan: PlanVersion, days: u16, at: Time) -> Option<Time> {
        let days = self.new_trial_days(plan.plan, days);
        days.map(|days| at + DAY * u32::from(days))
    }

    /// Returns the length of the trial that a tenant would get with a plan; `None` if it gets none.
    /// `days` is what the catalogue says.
    pub fn new_trial_days(&self, plan: PlanId, days: u16) -> Option<u16> {
        let lasting = self.payment().lasting();
        let begins = lasting.is_none_or(|paid| paid.status == PaidStatus::Trialing);
        let may_try = begins && !self.0.tried.contains(&plan);
        (may_try && days > 0).then_some(days)
    }

    /// Checks that no plan waits for its first payment. Until that is made, Stripe's period belongs
    /// to this plan, and the tenant has the one before.
    fn ensure_begun(&self, now: Time) -> Result<(), Rejection> {
        let payment = self.payment();
        let chosen = self.chosen().and_then(|chosen| chosen.next.as_ref());
        let waits = chosen.filter(|next| next.once_paid);
        let (Some(next), Some(paid)) = (waits, payment.lasting()) else {
            return Ok(());
        };
        if paid.status == PaidStatus::PastDue {
            Err(Rejection::PaymentMissing)
        } else if next.at <= now {
            Err(Rejection::ChangePending)
        } else {
            Ok(())
        }
    }

    /// Checks that Stripe would charge what a change costs.
    fn ensure_changeable(&self, wanted: &Wanted) -> Result<(), Rejection> {
        let payment = self.payment();
        let Some(paid) = payment.lasting() else {
            return Ok(());
        };
        if paid.status == PaidStatus::PastDue {
            return Err(Rejection::PaymentMissing);
        }
        if wanted.at == ChangeTime::PeriodEnd && payment.seats.is_some() {
            return Err(Rejection::SeatsPending);
        }
        Ok(())
    }

    /// Returns what a tenant wants. If it stays with its plan instead of leaving it, it has the
    /// units that are paid, so that others are charged when they are counted.
    fn staying(&self, wanted: &Wanted, now: Time) -> Wanted {
        let chosen = self.chosen().filter(|_| self.is_leaving(now));
        let stays = chosen.filter(|it| (it.plan, it.price) == (wanted.plan, Some(wanted.price)));
        let next = stays.and_then(|chosen| chosen.next.as_ref());
        let paid = next.and_then(|next| next.paid_quantity);
        Wanted {
            quantity: paid.unwrap_or(wanted.quantity),
            ..wanted.clone()
        }
    }

    /// Returns the request that nothing may replace until Stripe has answered: a first
    /// subscription, of which there could be two, and a plan for the next period, which would come
    /// at once if nobody knew that it was asked for.
    fn undecided(&self) -> Option<&Wanted> {
        match self.awaited()? {
            Change::Subscribe { wanted, .. } => {
                let is_first = self.payment().lasting().is_none();
                (is_first || wanted.at == ChangeTime::PeriodEnd).then_some(wanted)
            }
            Change::Cancel | Change::Resume | Change::End => None,
        }
    }

    /// Returns the event that repeats the last request, unless an effect has it in hand. It keeps
    /// its id, by which Stripe knows what was done.
    fn repeat(&self, at: Time) -> Option<Event> {
        let pending = self.payment().pending.as_ref();
        let lost = pending.filter(|_| !self.is_in_hand(at))?;
        self.request_again(lost.request, at)
    }

    pub(super) fn cancel_paid(
        &self,
        paid: &Paid,
        request: CommandId,
        at: Time,
    ) -> Result<Option<Event>, Rejection> {
        let is_so = match self.awaited() {
            Some(_) if self.undecided().is_some() => return Err(Rejection::ChangePending),
            Some(change) => *change == Change::Cancel && self.is_in_hand(at),
            None => paid.cancel_at.is_some(),
        };
        Ok((!is_so).then_some(Event::CancelRequested { request, at }))
    }

    pub(super) fn resume_paid(
        &self,
        paid: &Paid,
        request: CommandId,
        at: Time,
    ) -> Result<Option<Event>, Rejection> {
        let is_so = match self.awaited() {
            Some(_) if self.undecided().is_some() => return Err(Rejection::ChangePending),
            Some(change) => *change == Change::Resume && self.is_in_hand(at),
            None => paid.cancel_at.is_none(),
        };
        Ok((!is_so).then_some(Event::ResumeRequested { request, at }))
    }

    /// Returns the event that ends what the tenant pays for, or is about to pay for.
    pub(super) fn end_paid(&self, request: CommandId, at: Time) -> Option<Event> {
        let may_pay = self.payment().is_paying() || self.payment().customer.is_some();
        let is_so = self.awaited() == Some(&Change::End);
        (may_pay && !is_so).then_some(Event::EndRequested { request, at })
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

    /// The next request creates another customer. With the customer, Stripe has ended what it pays
    /// for.
    pub(super) fn forget_customer(&self, customer: &StripeCustomerId, at: Time) -> Decision<Event> {
        if self.payment().customer.as_ref() != Some(customer) {
            return Decision::unchanged();
        }
        let customer = customer.clone();
        let release = vec![Claim::stripe_customer(&customer)];
        let ended = self.ended(at).into_iter();
        let forgotten = Event::CustomerForgotten { customer, at };
        Decision {
            release,
            ..Decision::events(ended.chain([forgotten]).collect())
        }
    }

    /// Returns the event of the end of what the tenant pays for; `None` if it pays for nothing.
    fn ended(&self, at: Time) -> Option<Event> {
        let lasting = self.payment().lasting()?;
        let (plan, price) = self.chosen_price()?;
        Some(Event::SubscriptionRecorded {
            plan,
            price,
            subscription: Paid {
                status: PaidStatus::Ended,
                cancel_at: Some(at),
                ..lasting.clone()
            },
            past_due_since: None,
            request: None,
        })
    }

    /// Returns the event of a request that Stripe has not confirmed, as of now; `None` if it has.
    pub(super) fn request_again(&self, request: CommandId, at: Time) -> Option<Event> {
        let pending = self.payment().pending.as_ref();
        let pending = pending.filter(|it| it.request == request && self.is_changing())?;
        let asked_at = pending.at;
        Some(match pending.change.clone() {
            Change::Subscribe { wanted, trial_end } => Event::ChangeRequested {
                request,
                at,
                wanted,
                // The trial is as long as it was.
                trial_end: trial_end.map(|end| Time(end.0 + at.0 - asked_at.0)),
            },
            Change::Cancel => Event::CancelRequested { request, at },
            Change::Resume => Event::ResumeRequested { request, at },
            Change::End => Event::EndRequested { request, at },
        })
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
        let paid = &self.with_end(paid, now);
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

    /// Returns the event that sets the number of seats; `None` if the tenant does not pay this
    /// price, or Stripe counts so many, or will.
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

    /// Returns an ended subscription with an end that has come, whatever the clocks say. Otherwise
    /// it could be resumed.
    fn with_end(&self, paid: &Paid, now: Time) -> Paid {
        if paid.status != PaidStatus::Ended {
            return paid.clone();
        }
        let known = self.payment().subscription.as_ref();
        let known = known.filter(|it| it.id == paid.id && it.status == PaidStatus::Ended);
        let cancel_at = match known {
            Some(known) => known.cancel_at.map(|end| end.min(now)),
            None => Some(paid.cancel_at.unwrap_or(now).min(now)),
        };
        Paid {
            cancel_at,
            ..paid.clone()
        }
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

    /// Whether the last request is so young that an effect will do it.
    fn is_in_hand(&self, now: Time) -> bool {
        let pending = self.payment().pending.as_ref();
        pending.is_some_and(|pending| now < pending.at + IN_HAND)
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

    /// Whether a tenant has what it wants.
    fn has(&self, wanted: &Wanted) -> bool {
        let Some(paid) = self.payment().lasting() else {
            return false;
        };
        let chosen = self.0.subscription.as_ref();
        let plan = chosen.map(|it| it.next.as_ref().map_or(it.plan, |next| next.plan));
        let (price, quantity) = (&wanted.stripe_price, wanted.quantity);
        wanted.promotion_code.is_none()
            && plan == Some(wanted.plan)
            && (&paid.price, paid.quantity) == (price, quantity)
            && paid.cancel_at.is_none()
    }
}

/// Whether a tenant asks for the same once more. The number of seats may have changed since.
fn is_same_choice(asked: &Wanted, wanted: &Wanted) -> bool {
    let choice = |it: &Wanted| (it.plan, it.price, it.at, it.promotion_code.clone());
    choice(asked) == choice(wanted)
}
