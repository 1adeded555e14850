//! When a tenant that pays gets another plan: a smaller one with the next period, since the present
//! one is paid until then, and everything else at once.

use events_schema::{
    PlanVersion, Time,
    billing::{self, ChangeTime, Paid, PaidStatus, Subscription},
    plan::{Price, View},
};

use super::choice::Unavailable;
use crate::error::Error;

/// A price that a tenant wants to pay.
#[derive(Clone, Copy)]
pub(super) struct Aim<'c> {
    pub(super) plan: PlanVersion,
    pub(super) price: &'c Price,
    pub(super) quantity: u64,
}

/// Returns when a tenant gets what it aims at. `asked` is what it asks for; `None` for the rule.
///
/// # Errors
/// `BadUserInput` if the next period does not have the plan.
pub(super) fn change_time(
    catalogue: Option<&View>,
    billing: Option<&billing::View>,
    aim: Aim<'_>,
    asked: Option<ChangeTime>,
    now: Time,
) -> Result<ChangeTime, Error> {
    let Some((chosen, paid)) = billing.and_then(lasting) else {
        return Ok(ChangeTime::Now);
    };
    if chosen.coming_at(now).is_some() && is_present(chosen, aim, now) {
        return Ok(ChangeTime::PeriodEnd);
    }
    let is_trial = paid.status == PaidStatus::Trialing;
    let is_later = !is_trial && pays_less_with(catalogue, billing, aim, now);
    let by_rule = if is_later {
        ChangeTime::PeriodEnd
    } else {
        ChangeTime::Now
    };
    let at = asked.unwrap_or(by_rule);
    let present = catalogue.and_then(|catalogue| present_price(catalogue, chosen, now));
    match at {
        ChangeTime::PeriodEnd if is_trial => {
            Err(Error::input("at", "at must be NOW during a trial."))
        }
        ChangeTime::PeriodEnd if present.is_some_and(|it| it.interval != aim.price.interval) => {
            Err(Error::input("at", "at must be NOW for another interval."))
        }
        ChangeTime::Now | ChangeTime::PeriodEnd => Ok(at),
    }
}

/// Checks that Stripe can compute what a change at this time costs.
///
/// # Errors
/// `Rejected` if a payment is missing, or another plan comes with the next period: then Stripe
/// counts as paid what is not, or computes from the other plan.
pub(super) fn ensure_computable(
    billing: Option<&billing::View>,
    at: ChangeTime,
    now: Time,
) -> Result<(), Error> {
    let Some((chosen, paid)) = billing.and_then(lasting) else {
        return Ok(());
    };
    if paid.status == PaidStatus::PastDue {
        return Err(Unavailable::PaymentMissing.to_error());
    }
    let is_coming = chosen.coming_at(now).is_some();
    if at == ChangeTime::Now && is_coming {
        return Err(Unavailable::PlanComing.to_error());
    }
    Ok(())
}

/// Checks that a tenant may choose a plan that costs nothing.
///
/// # Errors
/// `Rejected` while the tenant pays, or is about to: first that must end.
pub(super) fn ensure_not_paying(billing: Option<&billing::View>) -> Result<(), Error> {
    match billing.is_some_and(|billing| billing.payment.is_paying()) {
        true => Err(Unavailable::CancelFirst.to_error()),
        false => Ok(()),
    }
}

/// Whether a tenant would pay less in each period for what it aims at, in the same currency and
/// interval.
pub(super) fn pays_less_with(
    catalogue: Option<&View>,
    billing: Option<&billing::View>,
    aim: Aim<'_>,
    now: Time,
) -> bool {
    let Some((chosen, paid)) = billing.and_then(lasting) else {
        return false;
    };
    let Some(present) = catalogue.and_then(|catalogue| present_price(catalogue, chosen, now))
    else {
        return false;
    };
    let sum =
        |price: &Price, quantity: u64| i128::from(price.amount.amount()) * i128::from(quantity);
    let is_alike = present.interval == aim.price.interval
        && present.amount.currency() == aim.price.amount.currency();
    // While another plan comes, Stripe has its quantity.
    let coming = chosen.coming_at(now).and_then(|next| next.paid_quantity);
    let quantity = coming.unwrap_or(paid.quantity);
    is_alike && sum(aim.price, aim.quantity) < sum(present, quantity)
}

/// Returns what a tenant has chosen and pays for.
fn lasting(billing: &billing::View) -> Option<(&Subscription, &Paid)> {
    Some((billing.subscription.as_ref()?, billing.payment.lasting()?))
}

fn is_present(chosen: &Subscription, aim: Aim<'_>, now: Time) -> bool {
    let price = Some(aim.plan.price_id(aim.price));
    (chosen.plan_at(now), chosen.price_at(now)) == (aim.plan, price)
}

fn present_price<'c>(catalogue: &'c View, chosen: &Subscription, now: Time) -> Option<&'c Price> {
    catalogue.price(chosen.plan_at(now), chosen.price_at(now)?)
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Currency, Id, Money, Name, PlanId, StripeItemId, StripePriceId, StripeSubscriptionId,
        billing::{NextPlan, Payment},
        plan::{Interval, Per, Plan, Version},
    };

    use super::*;

    /// The price of each plan: 0 is what the tenant pays.
    const PRICES: [(i64, Interval, &str); 5] = [
        (1_000, Interval::Month, "EUR"),
        (400, Interval::Month, "EUR"),
        (3_000, Interval::Month, "EUR"),
        (10, Interval::Year, "EUR"),
        (10, Interval::Month, "JPY"),
    ];
    const END: Time = Time(100);

    fn plan(number: usize) -> PlanVersion {
        let plan = PlanId(Id::from_bytes([u8::try_from(number).unwrap(); 16]));
        PlanVersion { plan, number: 1 }
    }
    fn price(number: usize) -> Price {
        let (amount, interval, currency) = PRICES[number];
        Price {
            amount: Money::new(amount, Currency::parse(currency).unwrap()).unwrap(),
            interval,
            per: Per::Seat,
        }
    }
    fn catalogue() -> View {
        let with_price = |number| Plan {
            name: Name::parse("Team").unwrap(),
            versions: vec![Version {
                prices: vec![price(number)],
                ..Version::default()
            }],
            archived: false,
            created_at: Time(0),
            updated_at: Time(0),
        };
        let plans = (0..PRICES.len()).map(|number| (plan(number).plan, with_price(number)));
        View {
            plans: plans.collect(),
            ..View::default()
        }
    }
    /// A tenant that pays price 0 for two seats.
    fn paying(status: PaidStatus, next: Option<usize>) -> billing::View {
        let subscription = Subscription {
            plan: plan(0),
            price: Some(plan(0).price_id(&price(0))),
            trial_end: None,
            cancel_at: None,
            past_due_since: None,
            next: next.map(|next| NextPlan {
                plan: plan(next),
                price: plan(next).price_id(&price(next)),
                at: END,
                paid_quantity: None,
                once_paid: false,
            }),
        };
        let paid = Paid {
            id: StripeSubscriptionId::parse("sub_1").unwrap(),
            item: StripeItemId::parse("si_1").unwrap(),
            status,
            price: StripePriceId::parse("price_1").unwrap(),
            quantity: 2,
            period_end: END,
            trial_end: None,
            cancel_at: None,
        };
        billing::View {
            subscription: Some(subscription),
            payment: Payment {
                subscription: Some(paid),
                ..Payment::default()
            },
            ..billing::View::default()
        }
    }
    /// `NOW`, `PERIOD_END` or the code of the refusal.
    fn time(billing: &billing::View, aim: (usize, u64), asked: Option<ChangeTime>) -> &'static str {
        let (number, quantity) = aim;
        let aim = Aim {
            plan: plan(number),
            price: &price(number),
            quantity,
        };
        match change_time(Some(&catalogue()), Some(billing), aim, asked, Time(0)) {
            Ok(ChangeTime::Now) => "NOW",
            Ok(ChangeTime::PeriodEnd) => "PERIOD_END",
            Err(Error::BadUserInput { field, .. }) => field.unwrap_or_default(),
            Err(error) => panic!("{error:?}"),
        }
    }
    /// The code of the refusal to compute what a change costs; `None` if there is none.
    fn refusal(billing: &billing::View, at: ChangeTime) -> Option<String> {
        match ensure_computable(Some(billing), at, Time(0)) {
            Ok(()) => None,
            Err(Error::Rejected(rejection)) => Some(rejection.code),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn what_costs_less_comes_with_the_next_period_and_the_rest_at_once() {
        let billing = paying(PaidStatus::Active, None);
        for (aim, expected) in [
            ((0, 2), "NOW"),
            ((1, 2), "PERIOD_END"),
            ((1, 5), "NOW"),
            ((2, 2), "NOW"),
            ((3, 2), "NOW"),
            ((4, 2), "NOW"),
        ] {
            assert_eq!(time(&billing, aim, None), expected, "{aim:?}");
        }
        for billing in [
            paying(PaidStatus::Trialing, None),
            paying(PaidStatus::Ended, None),
            billing::View::default(),
        ] {
            assert_eq!(time(&billing, (1, 2), None), "NOW");
        }
    }

    #[test]
    fn a_tenant_may_ask_for_the_other_time_if_the_next_period_can_have_the_plan() {
        let (now, later) = (Some(ChangeTime::Now), Some(ChangeTime::PeriodEnd));
        let billing = paying(PaidStatus::Active, None);
        assert_eq!(time(&billing, (1, 2), now), "NOW");
        assert_eq!(time(&billing, (2, 2), later), "PERIOD_END");
        assert_eq!(time(&billing, (3, 2), later), "at");
        let trying = paying(PaidStatus::Trialing, None);
        assert_eq!(time(&trying, (1, 2), later), "at");
    }

    #[test]
    fn a_tenant_that_leaves_its_plan_may_stay_or_choose_again_for_the_next_period() {
        let leaving = paying(PaidStatus::Active, Some(1));
        assert_eq!(time(&leaving, (0, 2), None), "PERIOD_END");
        assert_eq!(time(&leaving, (0, 2), Some(ChangeTime::Now)), "PERIOD_END");
        let later = Some(ChangeTime::PeriodEnd);
        assert_eq!(time(&leaving, (2, 2), later), "PERIOD_END");
    }

    #[test]
    fn what_stripe_would_compute_wrong_is_refused_with_what_helps() {
        let (now, later) = (ChangeTime::Now, ChangeTime::PeriodEnd);
        let leaving = paying(PaidStatus::Active, Some(1));
        assert_eq!(refusal(&leaving, now).as_deref(), Some("plan_coming"));
        assert_eq!(refusal(&leaving, later), None);
        for next in [None, Some(1)] {
            let late = paying(PaidStatus::PastDue, next);
            for at in [now, later] {
                assert_eq!(refusal(&late, at).as_deref(), Some("payment_missing"));
            }
        }
        for status in [PaidStatus::Active, PaidStatus::Trialing, PaidStatus::Ended] {
            assert_eq!(refusal(&paying(status, None), now), None);
        }
    }

    #[test]
    fn who_pays_cannot_choose_a_free_plan_before_that_has_ended() {
        for status in [
            PaidStatus::Trialing,
            PaidStatus::Active,
            PaidStatus::PastDue,
        ] {
            let refused = ensure_not_paying(Some(&paying(status, None))).unwrap_err();
            let Error::Rejected(rejection) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(rejection.code, "cancel_first");
        }
        let ended = paying(PaidStatus::Ended, None);
        assert!(ensure_not_paying(Some(&ended)).is_ok() && ensure_not_paying(None).is_ok());
    }

    #[test]
    fn a_plan_costs_less_in_the_same_interval_and_currency_for_the_seats_that_are_paid() {
        let pays_less = |billing: &billing::View, number, quantity| {
            let aim = Aim {
                plan: plan(number),
                price: &price(number),
                quantity,
            };
            pays_less_with(Some(&catalogue()), Some(billing), aim, Time(0))
        };
        let active = paying(PaidStatus::Active, None);
        for (number, quantity, is_less) in [
            (1, 2, true),
            (1, 5, false),
            (0, 2, false),
            (2, 2, false),
            (3, 2, false),
            (4, 2, false),
        ] {
            let found = pays_less(&active, number, quantity);
            assert_eq!(found, is_less, "{number} {quantity}");
        }
        let mut leaving = paying(PaidStatus::Active, Some(1));
        let next = leaving.subscription.as_mut().unwrap().next.as_mut();
        next.unwrap().paid_quantity = Some(9);
        assert!(pays_less(&leaving, 2, 2));
    }
}
