use super::*;
use crate::{
    Currency, Id, Money, Name, PlanId, PriceId, Reason, StripeItemId, StripePriceId,
    StripeSubscriptionId, access_token,
    billing::{Grant, NextPlan, Paid, PaidStatus, Payment},
    member,
    plan::{Interval, Plan, Version},
    project, webhook,
};

const DAY: i64 = 24 * 60 * 60 * 1000;
const FREE: PlanId = PlanId(Id::from_bytes([1; 16]));
const TEAM: PlanId = PlanId(Id::from_bytes([2; 16]));
const GONE: PlanId = PlanId(Id::from_bytes([3; 16]));

fn version(plan: PlanId, number: u32) -> PlanVersion {
    PlanVersion { plan, number }
}
fn offer<const N: usize>(features: [Feature; N], projects: Option<u64>) -> Version {
    Version {
        features: features.into(),
        limits: projects
            .map(|most| (project::PROJECTS, most))
            .into_iter()
            .collect(),
        ..Version::default()
    }
}
fn plan<const N: usize>(name: &str, versions: [Version; N]) -> Plan {
    Plan {
        name: Name::parse(name).unwrap(),
        versions: versions.into(),
        archived: false,
        created_at: Time(0),
        updated_at: Time(0),
    }
}
/// `Free` has 3 projects, and 2 since its second version; `Team` has webhooks and 100 projects.
fn catalogue() -> plan::View {
    let free = plan("Free", [offer([], Some(3)), offer([], Some(2))]);
    let team = plan("Team", [offer([webhook::FEATURE], Some(100))]);
    plan::View {
        plans: [(FREE, free), (TEAM, team)].into(),
        default: Some(FREE),
        ..plan::View::default()
    }
}
fn without_default() -> plan::View {
    plan::View {
        default: None,
        ..catalogue()
    }
}
fn subscribed(plan: PlanVersion) -> Subscription {
    Subscription {
        plan,
        price: None,
        trial_end: None,
        cancel_at: None,
        past_due_since: None,
        next: None,
    }
}
fn billing(subscription: Subscription) -> billing::View {
    billing::View {
        subscription: Some(subscription),
        ..billing::View::default()
    }
}
/// A tenant that pays for `Team` until day 30, or tries it until day 7.
fn paying(status: PaidStatus) -> billing::View {
    let is_trial = status == PaidStatus::Trialing;
    let paid = Paid {
        id: StripeSubscriptionId::parse("sub_1").unwrap(),
        item: StripeItemId::parse("si_1").unwrap(),
        status,
        price: StripePriceId::parse("price_1").unwrap(),
        quantity: 1,
        period_end: Time(30 * DAY),
        trial_end: is_trial.then_some(Time(7 * DAY)),
        cancel_at: None,
    };
    billing::View {
        payment: Payment {
            subscription: Some(paid),
            ..Payment::default()
        },
        ..billing(subscribed(version(TEAM, 1)))
    }
}
fn reason() -> Reason {
    Reason::parse("A friend").unwrap()
}
fn of(billing: &billing::View, now: i64) -> Entitlements {
    entitlements(Some(&catalogue()), Some(billing), Time(now))
}
fn projects(entitled: &Entitlements) -> Option<u64> {
    entitled.limit(project::PROJECTS)
}

#[test]
fn the_lists_derive_from_the_access_tables() {
    let features = [
        "access_tokens",
        "audit_log",
        "custom_roles",
        "inbound_hooks",
        "webhooks",
    ];
    let listed: Vec<&str> = Feature::all().iter().map(|one| one.as_str()).collect();
    assert_eq!(listed, features);
    let limits = [project::PROJECTS, member::SEATS, webhook::WEBHOOKS];
    assert_eq!(Limit::all(), limits);
    assert_eq!(Feature::parse("access_tokens"), Ok(access_token::FEATURE));
    let error = Limit::parse("moons").unwrap_err().to_string();
    assert_eq!(error, "must be one of projects, seats, webhooks");
}

#[test]
fn a_stored_name_of_a_newer_release_is_kept_and_means_nothing() {
    let stored = r#"{"features":["fly"],"limits":{"moons":3},"prices":[],"trial_days":0}"#;
    let version: Version = serde_json::from_str(stored).unwrap();
    assert_eq!(serde_json::to_string(&version).unwrap(), stored);
    assert!(
        Feature::all()
            .iter()
            .all(|one| !version.features.contains(one))
    );
    assert!(
        Limit::all()
            .iter()
            .all(|one| !version.limits.contains_key(one))
    );
    for wrong in ["", "Fly", "fly!", &"x".repeat(names::MAX_NAME + 1)] {
        assert_eq!(Feature::from_stored(wrong), None, "{wrong}");
    }
}

#[test]
fn without_plans_everything_is_allowed() {
    let nothing = billing::View::default();
    for (catalogue, billing) in [
        (None, None),
        (Some(plan::View::default()), None),
        (Some(without_default()), None),
        (Some(without_default()), Some(&nothing)),
    ] {
        let entitled = entitlements(catalogue.as_ref(), billing, Time(0));
        assert!(Feature::all().iter().all(|one| entitled.has(*one)));
        assert!(entitled.limits.is_empty() && entitled.may_create());
        assert_eq!((entitled.plan, entitled.standing), (None, Standing::Active));
    }
}

#[test]
fn a_tenant_without_a_plan_has_the_latest_version_of_the_default_plan() {
    let entitled = entitlements(Some(&catalogue()), None, Time(0));
    assert_eq!(entitled.plan, Some(version(FREE, 2)));
    assert_eq!(entitled.standing, Standing::Active);
    assert_eq!(projects(&entitled), Some(2));
    assert!(!entitled.has(webhook::FEATURE));
    assert_eq!(entitled.limit(member::SEATS), None);
}

#[test]
fn a_tenant_keeps_its_version_until_it_changes() {
    let entitled = of(&billing(subscribed(version(FREE, 1))), 0);
    assert_eq!(
        (entitled.plan, projects(&entitled)),
        (Some(version(FREE, 1)), Some(3))
    );
    let entitled = of(&billing(subscribed(version(TEAM, 1))), 0);
    assert!(entitled.has(webhook::FEATURE));
}

#[test]
fn a_version_that_the_catalogue_does_not_have_counts_as_none() {
    for unknown in [version(GONE, 1), version(TEAM, 2), version(TEAM, 0)] {
        let entitled = of(&billing(subscribed(unknown)), 0);
        assert_eq!(entitled.plan, Some(version(FREE, 2)), "{unknown:?}");
    }
}

#[test]
fn a_trial_ends_with_the_default_plan() {
    let trial = billing(Subscription {
        trial_end: Some(Time(DAY)),
        ..subscribed(version(TEAM, 1))
    });
    for (now, plan, standing) in [
        (0, version(TEAM, 1), Standing::Trial),
        (DAY - 1, version(TEAM, 1), Standing::Trial),
        (DAY, version(FREE, 2), Standing::Ended),
    ] {
        let entitled = of(&trial, now);
        assert_eq!((entitled.plan, entitled.standing), (Some(plan), standing));
        assert!(entitled.may_create());
    }
}

#[test]
fn a_plan_that_was_given_up_lasts_until_its_end() {
    let cancelled = billing(Subscription {
        trial_end: Some(Time(2 * DAY)),
        cancel_at: Some(Time(DAY)),
        ..subscribed(version(TEAM, 1))
    });
    assert_eq!(of(&cancelled, DAY - 1).standing, Standing::Trial);
    assert_eq!(of(&cancelled, DAY).standing, Standing::Ended);
}

#[test]
fn a_tenant_whose_plan_has_ended_creates_nothing_if_there_is_no_default_plan() {
    let ended = billing(Subscription {
        cancel_at: Some(Time(0)),
        ..subscribed(version(TEAM, 1))
    });
    let entitled = entitlements(Some(&without_default()), Some(&ended), Time(0));
    assert_eq!(
        (entitled.plan, entitled.standing),
        (None, Standing::Restricted)
    );
    assert!(!entitled.may_create());
    let reads: Vec<&str> = entitled.features.iter().map(|one| one.as_str()).collect();
    assert_eq!(reads, ["audit_log"], "it reads what was there");
}

#[test]
fn a_missing_payment_restricts_a_tenant_after_14_days() {
    let past_due = billing(Subscription {
        past_due_since: Some(Time(DAY)),
        ..subscribed(version(TEAM, 1))
    });
    for (now, standing) in [
        (DAY, Standing::Grace),
        (15 * DAY - 1, Standing::Grace),
        (15 * DAY, Standing::Restricted),
    ] {
        let entitled = of(&past_due, now);
        assert_eq!(entitled.standing, standing);
        assert_eq!(entitled.may_create(), standing == Standing::Grace);
        assert!(entitled.has(webhook::FEATURE), "it keeps its plan");
    }
}

#[test]
fn a_trial_at_stripe_is_a_trial() {
    let trial = of(&paying(PaidStatus::Trialing), 0);
    assert_eq!(trial.standing, Standing::Trial);
    assert_eq!(
        of(&paying(PaidStatus::Active), 0).standing,
        Standing::Active
    );
}

#[test]
fn a_trial_of_which_stripe_tells_nothing_more_ends_14_days_later() {
    let trial = paying(PaidStatus::Trialing);
    for (now, plan, standing) in [
        (10 * DAY - 1, version(TEAM, 1), Standing::Trial),
        (10 * DAY, version(TEAM, 1), Standing::Grace),
        (21 * DAY - 1, version(TEAM, 1), Standing::Grace),
        (21 * DAY, version(FREE, 2), Standing::Ended),
    ] {
        let entitled = of(&trial, now);
        assert_eq!((entitled.plan, entitled.standing), (Some(plan), standing));
    }
}

#[test]
fn a_period_of_which_stripe_tells_no_successor_counts_as_a_missing_payment() {
    let paying = paying(PaidStatus::Active);
    for (now, standing) in [
        (33 * DAY - 1, Standing::Active),
        (33 * DAY, Standing::Grace),
        (44 * DAY - 1, Standing::Grace),
        (44 * DAY, Standing::Restricted),
    ] {
        let entitled = of(&paying, now);
        assert_eq!(entitled.plan, Some(version(TEAM, 1)));
        assert_eq!(entitled.standing, standing, "{now}");
    }
}

#[test]
fn a_missing_payment_counts_from_when_stripe_has_asked_for_it() {
    let mut late = paying(PaidStatus::PastDue);
    late.subscription.as_mut().unwrap().past_due_since = Some(Time(0));
    assert_eq!(of(&late, 13 * DAY).standing, Standing::Grace);
    assert_eq!(of(&late, 14 * DAY).standing, Standing::Restricted);
}

#[test]
fn a_granted_plan_replaces_the_own_one_until_it_ends() {
    let granted = billing::View {
        grant: Some(Grant {
            plan: version(TEAM, 1),
            until: Some(Time(DAY)),
            reason: reason(),
        }),
        ..billing(Subscription {
            past_due_since: Some(Time(-20 * DAY)),
            ..subscribed(version(FREE, 1))
        })
    };
    let during = of(&granted, DAY - 1);
    assert_eq!(
        (during.plan, during.standing),
        (Some(version(TEAM, 1)), Standing::Active)
    );
    let after = of(&granted, DAY);
    assert_eq!(
        (after.plan, after.standing),
        (Some(version(FREE, 1)), Standing::Restricted)
    );
}

#[test]
fn exceptions_grant_and_withhold_features_and_change_limits_until_they_end() {
    let exceptional = billing::View {
        overrides: Some(Override {
            features: [(webhook::FEATURE, false), (access_token::FEATURE, true)].into(),
            limits: [(project::PROJECTS, None), (member::SEATS, Some(5))].into(),
            until: Some(Time(DAY)),
            reason: reason(),
        }),
        ..billing(subscribed(version(TEAM, 1)))
    };
    let during = of(&exceptional, DAY - 1);
    assert!(!during.has(webhook::FEATURE) && during.has(access_token::FEATURE));
    assert_eq!(
        (projects(&during), during.limit(member::SEATS)),
        (None, Some(5))
    );
    let after = of(&exceptional, DAY);
    assert!(after.has(webhook::FEATURE) && !after.has(access_token::FEATURE));
    assert_eq!(
        (projects(&after), after.limit(member::SEATS)),
        (Some(100), None)
    );
}

#[test]
fn exceptions_count_for_tenants_without_a_plan_too() {
    let exceptional = billing::View {
        overrides: Some(Override {
            features: [(webhook::FEATURE, false)].into(),
            limits: [(project::PROJECTS, Some(1))].into(),
            until: None,
            reason: reason(),
        }),
        ..billing::View::default()
    };
    let entitled = entitlements(None, Some(&exceptional), Time(i64::MAX));
    assert!(!entitled.has(webhook::FEATURE) && entitled.has(access_token::FEATURE));
    assert_eq!(projects(&entitled), Some(1));
}

#[test]
fn while_another_plan_comes_a_tenant_has_no_more_seats_than_it_has_paid() {
    let price = |per| plan::Price {
        amount: Money::new(500, Currency::parse("EUR").unwrap()).unwrap(),
        interval: Interval::Month,
        per,
    };
    let seats = |per, paid_quantity, grant: Option<Grant>, now| {
        let mut catalogue = catalogue();
        let mut team = offer([], None);
        team.prices = vec![price(per)];
        catalogue.plans.insert(TEAM, plan("Team", [team]));
        let own = version(TEAM, 1);
        let leaving = Subscription {
            price: Some(own.price_id(&price(per))),
            next: Some(NextPlan {
                plan: version(FREE, 1),
                price: PriceId(Id::from_bytes([9; 16])),
                at: Time(30 * DAY),
                paid_quantity,
                once_paid: false,
            }),
            ..subscribed(own)
        };
        let billing = billing::View {
            subscription: Some(leaving),
            grant,
            ..paying(PaidStatus::Active)
        };
        let entitled = entitlements(Some(&catalogue), Some(&billing), Time(now));
        entitled.limit(member::SEATS)
    };
    let granted = Grant {
        plan: version(TEAM, 1),
        until: None,
        reason: reason(),
    };
    assert_eq!(seats(Per::Seat, Some(3), None, 0), Some(3));
    assert_eq!(seats(Per::Seat, Some(3), None, 30 * DAY), None);
    assert_eq!(seats(Per::Tenant, Some(3), None, 0), None);
    assert_eq!(seats(Per::Seat, None, None, 0), None);
    assert_eq!(seats(Per::Seat, Some(3), Some(granted), 0), None);
}

#[test]
fn a_tenant_pays_for_the_seats_in_use_up_to_what_its_plan_allows_and_for_one_at_least() {
    assert_eq!([0, 1, 7].map(|used| paid_seats(used, None)), [1, 1, 7]);
    assert_eq!([0, 3, 7].map(|used| paid_seats(used, Some(3))), [1, 3, 3]);
    assert_eq!(paid_seats(7, Some(0)), 1);
}

#[test]
fn until_a_larger_plan_is_paid_a_tenant_has_what_the_plan_before_offers() {
    let growing = |once_paid: bool| {
        let mut billing = paying(PaidStatus::PastDue);
        billing.subscription = Some(Subscription {
            past_due_since: Some(Time(30 * DAY)),
            next: Some(NextPlan {
                plan: version(TEAM, 1),
                price: PriceId(Id::from_bytes([9; 16])),
                at: Time(30 * DAY),
                paid_quantity: None,
                once_paid,
            }),
            ..subscribed(version(FREE, 1))
        });
        billing
    };
    let waits = |day: i64| {
        let entitled = of(&growing(true), day * DAY);
        (projects(&entitled), entitled.standing)
    };
    assert_eq!(waits(31), (Some(3), Standing::Grace));
    assert_eq!(waits(44), (Some(3), Standing::Restricted));
    let by_date = of(&growing(false), 31 * DAY);
    assert_eq!(projects(&by_date), Some(100));
}
