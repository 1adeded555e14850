//! What workers do about customers and requests that are lost, and about deleted tenants.

use super::*;

#[test]
fn a_deleted_customer_is_forgotten() {
    let customer = || StripeCustomerId::parse("cus_1").unwrap();
    let recorded = given::<Billing>([Event::CustomerRecorded {
        customer: customer(),
    }]);
    let forget = || Command::ForgetCustomer {
        customer: customer(),
    };
    let forgotten = || Event::CustomerForgotten {
        customer: customer(),
        at: Time(5),
    };
    recorded.when(forget()).at(5).decides(Decision {
        release: vec![Claim::stripe_customer(&customer())],
        ..Decision::events(vec![forgotten()])
    });
    let after = recorded.and([forgotten()]);
    let payment = after.state().payment();
    assert_eq!((&payment.customer, payment.since), (&None, Some(Time(5))));
    after.when(forget()).changes_nothing();
    let other = given::<Billing>([Event::CustomerRecorded {
        customer: StripeCustomerId::parse("cus_2").unwrap(),
    }]);
    other.when(forget()).changes_nothing();
}

#[test]
fn a_request_that_stripe_has_not_confirmed_is_made_again() {
    let again = |request| Command::RequestAgain { request };
    for asked in [
        requested(REQUEST, Some(DAY_MS)),
        cancel_requested(),
        resume_requested(),
    ] {
        let asked_at = |ms: i64| {
            let mut event = asked.clone();
            if let Event::ChangeRequested { at, .. }
            | Event::CancelRequested { at, .. }
            | Event::ResumeRequested { at, .. } = &mut event
            {
                *at = Time(ms);
            }
            if let Event::ChangeRequested { trial_end, .. } = &mut event {
                *trial_end = trial_end.map(|end| Time(end.0 + ms));
            }
            event
        };
        let waits = paying().and([asked.clone()]);
        waits.when(again(REQUEST)).at(7).then([asked_at(7)]);
        waits.when(again(OTHER)).changes_nothing();
        let failed = waits.and([failed()]);
        failed.when(again(REQUEST)).changes_nothing();
    }
    paying().when(again(OTHER)).changes_nothing();
}

#[test]
fn a_deleted_tenant_that_pays_or_is_about_to_ends_that_once() {
    let (request, at) = (REQUEST, Time(0));
    let ends = || Event::EndRequested { request, at };
    let customer = StripeCustomerId::parse("cus_1").unwrap();
    let known = given([Event::CustomerRecorded { customer }]);
    for billing in [paying(), given([requested(OTHER, None)]), known] {
        billing.when(Command::End).then([ends()]);
        let ending = billing.and([ends()]);
        ending.when(Command::End).changes_nothing();
    }
    given::<Billing>([]).when(Command::End).changes_nothing();
}
