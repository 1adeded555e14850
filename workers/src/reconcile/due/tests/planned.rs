//! Plans of the next period, and when they are recorded.

use super::*;

/// A tenant that has paid for another plan, and wants this one next, once that is paid.
fn wants_to_grow_into_the_plan() -> [Event; 2] {
    let [before, asked, _] = grows_into_the_plan();
    [before, asked]
}

#[test]
fn a_plan_of_the_next_period_is_recorded_by_the_effect_that_has_it_in_hand() {
    let found = at_stripe([subscription("sub_1", "active", "price_1")]);
    let hook = due_after(wants_to_grow_into_the_plan(), &found);
    let again = Command::RequestAgain { request: REQUEST };
    assert_eq!(hook, Due::Record(again), "an hour later");
    let refused = Event::ChangeFailed {
        request: REQUEST,
        code: "parameter_invalid".to_owned(),
        message: "No.".to_owned(),
    };
    let being_paid = AtStripe {
        is_being_paid: true,
        ..found
    };
    let failed = wants_to_grow_into_the_plan().into_iter().chain([refused]);
    let Due::Record(Command::RecordSubscription { subscription, .. }) =
        due_after(failed, &being_paid)
    else {
        panic!("Stripe has it all the same");
    };
    assert_eq!(subscription.period_end, BEFORE, "it is not paid yet");
}

/// A tenant that has paid for another plan, and has this one next, once that is paid.
fn grows_into_the_plan() -> [Event; 3] {
    let asked = requested_as(Wanted {
        at: ChangeTime::PeriodEnd,
        once_paid: true,
        ..wanted()
    });
    let recorded = |plan: PlanVersion, request: Option<CommandId>| Event::SubscriptionRecorded {
        plan,
        price: plan.price_id(&price()),
        subscription: Paid {
            period_end: BEFORE,
            ..paid("sub_1", PaidStatus::Active)
        },
        past_due_since: None,
        request,
    };
    [recorded(OTHER, None), asked, recorded(TEAM, Some(REQUEST))]
}

#[test]
fn a_period_is_recorded_when_it_is_paid_if_a_plan_waits_for_that() {
    let renewed = |status: &str, is_being_paid: bool| AtStripe {
        is_being_paid,
        ..at_stripe([subscription("sub_1", status, "price_1")])
    };
    let recorded_with = |found: &AtStripe| match due_after(grows_into_the_plan(), found) {
        Due::Record(Command::RecordSubscription { subscription, .. }) => Some(subscription.status),
        Due::Nothing => None,
        due @ (Due::Record(_) | Due::Unclear(_)) => panic!("{due:?}"),
    };
    assert_eq!(recorded_with(&renewed("active", true)), None);
    let paid = recorded_with(&renewed("active", false));
    assert_eq!(paid, Some(PaidStatus::Active));
    let late = recorded_with(&renewed("past_due", false));
    assert_eq!(late, Some(PaidStatus::PastDue));
}
