//! Nobody pays twice, and nobody has what was not paid.

use std::slice::from_ref;

use events_schema::{PromotionCode, billing::refusal::PAYMENT_MISSING};

use super::*;

const CODES: &str = "GET /v1/promotion_codes";
const INVOICES: &str = "GET /v1/invoices";

fn wants_else(change: impl FnOnce(Wanted) -> Wanted) -> Task {
    let asked = Event::ChangeRequested {
        request: REQUEST,
        at: ASKED,
        wanted: change(wanted()),
        trial_end: None,
    };
    task([known(), pays()], asked)
}

fn with_code() -> Task {
    wants_else(|wanted| Wanted {
        promotion_code: Some(PromotionCode::parse("SUMMER").unwrap()),
        ..wanted
    })
}

fn code() -> Act {
    list(&[json!({ "id": "promo_1" })])
}

fn refused() -> Act {
    let error = json!({ "error": { "code": "invoice_not_open", "message": "No." } });
    answer("400 Bad Request", "", &error.to_string())
}

/// An invoice with this status.
fn invoice_that_is(status: &str) -> Act {
    ok(&json!({
        "id": "in_1", "currency": "eur", "subtotal": 900, "total": 900, "created": 1,
        "status": status
    })
    .to_string())
}

fn ends(mut subscription: Value) -> Value {
    subscription["cancel_at"] = json!(1_797_000_000);
    subscription
}

fn was_discounted(mut subscription: Value) -> Value {
    subscription["metadata"]["ub_discount_request"] = json!(REQUEST.to_string());
    subscription
}

#[tokio::test]
async fn a_subscription_that_its_owner_has_just_paid_is_changed_and_not_ended() {
    let waiting = subscription("incomplete", "price_0", OTHER);
    let paid = ok(&subscription("active", "price_0", OTHER).to_string());
    let acts = [
        list(from_ref(&waiting)),
        refused(),
        invoice_that_is("paid"),
        paid,
        present("active"),
        present("active"),
    ];
    let sent = [LIST, VOID, INVOICE, READ, CHANGE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;

    // Stripe has the payment, and not yet the subscription.
    let acts = [
        list(from_ref(&waiting)),
        refused(),
        invoice_that_is("paid"),
        ok(&waiting.to_string()),
    ];
    let (failed, requests) = perform(&subscribe(), acts).await;
    assert!(matches!(failed, Err(Failure::Outage(..))), "{failed:?}");
    assert_eq!(requests.len(), 4, "{requests:?}");

    let ended = ok(&waiting.to_string());
    let acts = [
        list(&[waiting]),
        refused(),
        invoice_that_is("void"),
        ended,
        present("active"),
        present("active"),
    ];
    let sent = [
        LIST,
        VOID,
        INVOICE,
        "DELETE /v1/subscriptions/sub_1",
        CREATE,
        READ,
    ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;
}

#[tokio::test]
async fn a_change_that_its_owner_has_just_paid_is_not_dropped() {
    let mut waiting = subscription("active", "price_0", OTHER);
    waiting["pending_update"] = pending_update("price_7");
    let acts = [list(&[waiting]), refused(), invoice_that_is("paid")];
    let (failed, requests) = perform(&subscribe(), acts).await;
    assert!(matches!(failed, Err(Failure::Outage(..))), "{failed:?}");
    assert_eq!(requests.len(), 3, "nothing is changed: {requests:?}");
}

#[tokio::test]
async fn a_first_payment_that_was_not_made_in_time_is_a_failure() {
    let expired = || {
        failed(
            "expired",
            "The payment was not confirmed in time. Choose the plan again.",
        )
    };
    let own = |status: &str| subscription(status, "price_1", REQUEST);
    let acts = [
        list(&[own("incomplete_expired")]),
        present("incomplete_expired"),
    ];
    records(&subscribe(), acts, expired(), &[LIST, READ]).await;
    let acts = [list(&[own("canceled")]), present("canceled"), list(&[])];
    records(&subscribe(), acts, expired(), &[LIST, READ, INVOICES]).await;

    let invoice = json!({
        "id": "in_1", "currency": "eur", "subtotal": 900, "total": 900, "created": 1
    });
    let acts = [
        list(&[own("canceled")]),
        present("canceled"),
        list(&[invoice]),
    ];
    let ended = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            cancel_at: Some(Time(1_797_000_000_000)),
            ..paid(PaidStatus::Ended)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    records(&subscribe(), acts, ended, &[LIST, READ, INVOICES]).await;
}

#[tokio::test]
async fn what_is_missing_is_paid_before_anything_is_changed() {
    for status in ["past_due", "unpaid"] {
        let acts = [list(&[subscription(status, "price_0", OTHER)])];
        let refused = failed("payment_missing", PAYMENT_MISSING);
        records(&subscribe(), acts, refused, &[LIST]).await;
    }
}

#[tokio::test]
async fn a_promotion_code_counts_once_for_a_request() {
    let done = || done(PaidStatus::Active);
    // A code alone.
    let own = subscription("active", "price_1", OTHER);
    let acts = [
        list(from_ref(&own)),
        code(),
        present("active"),
        present("active"),
    ];
    records(&with_code(), acts, done(), &[LIST, CODES, CHANGE, READ]).await;
    // An earlier attempt has set it. Meanwhile the code may have ended.
    let acts = [list(&[was_discounted(own)]), present("active")];
    records(&with_code(), acts, done(), &[LIST, READ]).await;

    let other = subscription("active", "price_0", OTHER);
    for (present_one, codes) in [(other.clone(), 1), (was_discounted(other), 0)] {
        let mut acts = vec![list(&[present_one])];
        acts.extend(std::iter::repeat_n(code(), codes));
        acts.resize(5, present("active"));
        let acts: [Act; 5] = acts.try_into().ok().unwrap();
        let (recorded, requests) = perform(&with_code(), acts).await;
        assert_eq!(recorded.unwrap(), done());
        let discounts = requests.iter().filter(|it| it.contains("promo_1"));
        assert_eq!(discounts.count(), codes, "{requests:?}");
        let looked_up = requests.iter().filter(|it| line(it) == CODES);
        assert_eq!(looked_up.count(), codes, "{requests:?}");
    }
}

#[tokio::test]
async fn a_plan_that_was_given_up_goes_on_only_once_its_change_is_paid() {
    let ending = ends(subscription("active", "price_0", OTHER));
    let mut waiting = ending.clone();
    waiting["pending_update"] = pending_update("price_1");
    let waiting = || ok(&waiting.to_string());
    let acts = [
        list(&[ending]),
        declined("authentication_required"),
        waiting(),
        waiting(),
        invoice(json!({ "status": "requires_action" })),
    ];
    let action = Command::RecordAction { request: REQUEST };
    let sent = [LIST, CHANGE, CHANGE, READ, INVOICE];
    records(&subscribe(), acts, action, &sent).await;

    let confirmed = ends(subscription("active", "price_1", OTHER));
    let acts = [list(&[confirmed]), present("active")];
    let sent = [LIST, CHANGE, READ];
    records(&subscribe(), acts, done(PaidStatus::Active), &sent).await;
}

#[tokio::test]
async fn a_renewal_is_recorded_before_a_plan_is_chosen_for_the_next_period() {
    let later = wants_else(|wanted| Wanted {
        stripe_price: StripePriceId::parse("price_7").unwrap(),
        at: ChangeTime::PeriodEnd,
        ..wanted
    });
    let mut renewed = subscription("active", "price_1", OTHER);
    renewed["items"]["data"][0]["current_period_end"] = json!(1_799_000_000);
    let known = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            period_end: Time(1_799_000_000_000),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: None,
    };
    records(&later, [list(&[renewed])], known, &[LIST]).await;
    let recorded = Event::SubscriptionRecorded {
        plan: TEAM,
        price: MONTHLY,
        subscription: paid(PaidStatus::Active),
        past_due_since: None,
        request: None,
    };
    assert!(ChangeSubscription::is_requested_by(&recorded));

    let present_one = subscription("active", "price_1", OTHER);
    let changed = ok(&subscription("active", "price_7", OTHER).to_string());
    let acts = [list(&[present_one]), changed];
    let (recorded, requests) = perform(&later, acts).await;
    recorded.unwrap();
    assert!(
        requests[1].contains("proration_behavior=none"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn seats_that_are_not_charged_yet_are_charged_when_a_tenant_is_deleted() {
    let (request, at) = (REQUEST, ASKED);
    let task = task([known(), pays()], Event::EndRequested { request, at });
    let active = subscription("active", "price_1", OTHER);
    let acts = [list(&[active]), present("canceled")];
    let (recorded, requests) = perform(&task, acts).await;
    recorded.unwrap();
    let ended = requests[1].lines().next().unwrap();
    let expected = "DELETE /v1/subscriptions/sub_1?invoice_now=true&prorate=false HTTP/1.1";
    assert_eq!(ended, expected);
}

/// A larger plan for the next period, once that is paid.
fn larger(wanted: Wanted) -> Wanted {
    Wanted {
        plan: COMPANY,
        price: COMPANY.price_id(&price()),
        stripe_price: StripePriceId::parse("price_2").unwrap(),
        at: ChangeTime::PeriodEnd,
        once_paid: true,
        ..wanted
    }
}

/// A tenant that pays for the plan, has chosen a larger one for the next period, once that is paid,
/// and gives it up at the beginning of this period.
fn gives_up_what_is_to_be_paid() -> Task {
    let larger = larger(wanted());
    let planned = Event::SubscriptionRecorded {
        plan: COMPANY,
        price: COMPANY.price_id(&price()),
        subscription: Paid {
            price: larger.stripe_price.clone(),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: Some(OTHER),
    };
    let asked = Event::ChangeRequested {
        request: OTHER,
        at: ASKED,
        wanted: larger,
        trial_end: None,
    };
    let cancelled = Event::CancelRequested {
        request: REQUEST,
        at: ASKED,
    };
    task([known(), pays(), asked, planned], cancelled)
}

#[tokio::test]
async fn a_period_counts_when_its_invoice_is_paid_if_a_plan_waits_for_that() {
    let (before, after) = (1_797_000_000, 1_799_000_000);
    let mut renewed = subscription("active", "price_2", OTHER);
    renewed["items"]["data"][0]["current_period_end"] = json!(after);
    renewed["cancel_at"] = json!(after);
    renewed["latest_invoice"] = json!("in_1");
    for (invoice, end) in [("draft", before), ("open", before), ("paid", after)] {
        let present = || ok(&renewed.to_string());
        let acts = [present(), present(), invoice_that_is(invoice)];
        let expected = Command::RecordSubscription {
            plan: COMPANY,
            price: COMPANY.price_id(&price()),
            subscription: Paid {
                price: StripePriceId::parse("price_2").unwrap(),
                period_end: Time(end * 1_000),
                cancel_at: Some(Time(after * 1_000)),
                ..paid(PaidStatus::Active)
            },
            past_due_since: None,
            request: Some(REQUEST),
        };
        let task = gives_up_what_is_to_be_paid();
        records(&task, acts, expected, &[READ, READ, INVOICE]).await;
    }
}

#[tokio::test]
async fn a_plan_waits_for_its_payment_also_if_its_period_has_begun_before_it_was_recorded() {
    let (before, after) = (1_797_000_000, 1_799_000_000);
    let mut renewed = subscription("active", "price_2", OTHER);
    renewed["items"]["data"][0]["current_period_end"] = json!(after);
    renewed["latest_invoice"] = json!("in_1");
    for (invoice, end) in [("draft", before), ("open", before), ("paid", after)] {
        let acts = [
            list(from_ref(&renewed)),
            invoice_that_is(invoice),
            ok(&renewed.to_string()),
            invoice_that_is(invoice),
        ];
        let expected = Command::RecordSubscription {
            plan: COMPANY,
            price: COMPANY.price_id(&price()),
            subscription: Paid {
                price: StripePriceId::parse("price_2").unwrap(),
                period_end: Time(end * 1_000),
                ..paid(PaidStatus::Active)
            },
            past_due_since: None,
            request: Some(REQUEST),
        };
        let sent = [LIST, INVOICE, READ, INVOICE];
        records(&wants_else(larger), acts, expected, &sent).await;
    }
}

#[tokio::test]
async fn a_period_that_begins_before_the_change_is_recorded_with_the_plan_that_it_is_paid_for() {
    let present_one = subscription("active", "price_1", OTHER);
    let mut changed = subscription("active", "price_2", OTHER);
    changed["items"]["data"][0]["current_period_end"] = json!(1_799_000_000);
    let acts = [list(&[present_one]), ok(&changed.to_string())];
    let renewed = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            period_end: Time(1_799_000_000_000),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: None,
    };
    records(&wants_else(larger), acts, renewed, &[LIST, CHANGE]).await;
}

/// An invoice whose one line charges a period, or the rest of one, at this price.
fn invoice_of(price: &str, proration: bool) -> Act {
    let line = json!({
        "parent": { "subscription_item_details": { "proration": proration } },
        "pricing": { "price_details": { "price": price } }
    });
    ok(&json!({
        "id": "in_1", "currency": "eur", "subtotal": 900, "total": 900, "created": 1,
        "status": "paid", "lines": { "data": [line] }
    })
    .to_string())
}

#[tokio::test]
async fn a_plan_whose_answer_is_lost_does_not_begin_with_a_period_that_is_charged_for_another() {
    let mut changed = subscription("active", "price_2", OTHER);
    changed["items"]["data"][0]["current_period_end"] = json!(1_799_000_000);
    let present = || list(from_ref(&changed));
    let renewed = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            period_end: Time(1_799_000_000_000),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: None,
    };
    let acts = [present(), invoice_of("price_1", false)];
    records(&wants_else(larger), acts, renewed, &[LIST, INVOICE]).await;

    let begun = Command::RecordSubscription {
        plan: COMPANY,
        price: COMPANY.price_id(&price()),
        subscription: Paid {
            price: StripePriceId::parse("price_2").unwrap(),
            period_end: Time(1_799_000_000_000),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    for invoice in [invoice_of("price_2", false), invoice_of("price_1", true)] {
        let read = ok(&changed.to_string());
        let acts = [present(), invoice, read, invoice_that_is("paid")];
        let sent = [LIST, INVOICE, READ, INVOICE];
        records(&wants_else(larger), acts, begun.clone(), &sent).await;
    }
}

#[tokio::test]
async fn a_renewal_of_the_plan_that_a_tenant_has_is_recorded_before_it_is_paid() {
    let again = wants_else(|wanted| Wanted {
        at: ChangeTime::PeriodEnd,
        once_paid: true,
        ..wanted
    });
    let mut renewed = subscription("active", "price_1", OTHER);
    renewed["items"]["data"][0]["current_period_end"] = json!(1_799_000_000);
    let acts = [list(from_ref(&renewed)), ok(&renewed.to_string())];
    let expected = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            period_end: Time(1_799_000_000_000),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    records(&again, acts, expected, &[LIST, READ]).await;
}

#[tokio::test]
async fn a_change_that_begins_a_period_of_its_own_is_no_renewal() {
    let monthly = subscription("active", "price_0", OTHER);
    let mut yearly = subscription("active", "price_1", OTHER);
    yearly["items"]["data"][0]["current_period_end"] = json!(1_828_000_000);
    let yearly = || ok(&yearly.to_string());
    let acts = [list(&[monthly]), yearly(), yearly()];
    let expected = Command::RecordSubscription {
        plan: TEAM,
        price: MONTHLY,
        subscription: Paid {
            period_end: Time(1_828_000_000_000),
            ..paid(PaidStatus::Active)
        },
        past_due_since: None,
        request: Some(REQUEST),
    };
    records(&subscribe(), acts, expected, &[LIST, CHANGE, READ]).await;
}
