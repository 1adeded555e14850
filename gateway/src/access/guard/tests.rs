use std::{
    future::{pending, ready},
    sync::Arc,
};

use events_schema::{
    Document, Feature, Id, Name, Permissions, PlanId, PlanVersion, TenantId, TenantKey, Time,
    billing::{self, Subscription},
    plan::{self, CATALOGUE, Plan, Version},
    project, webhook,
};
use futures_util::FutureExt as _;

use super::*;
use crate::access::Credentials;

const TENANT: TenantKey = TenantKey(Id::from_bytes([1; 16]));
const PLAN: PlanId = PlanId(Id::from_bytes([2; 16]));
const OTHER_PLAN: PlanId = PlanId(Id::from_bytes([3; 16]));
const PERSON: Credentials = Credentials::Session {
    is_platform_admin: false,
    aal: 1,
    best_aal: 1,
    methods: &[],
    is_fresh: true,
    is_scoped: false,
};
/// Long after the tenant should have paid.
const NOW: Time = Time(i64::MAX / 2);

fn offered(name: &str, features: &[Feature]) -> Plan {
    let version = Version {
        features: features.iter().copied().collect(),
        ..Version::default()
    };
    Plan {
        name: Name::parse(name).unwrap(),
        versions: vec![version],
        archived: false,
        created_at: Time(0),
        updated_at: Time(0),
    }
}

/// A tenant whose plan has these features, beside a plan that has webhooks.
fn tenant(features: &[Feature], has_paid: bool) -> TenantPlan {
    let catalogue = plan::View {
        plans: [
            (PLAN, offered("Small", features)),
            (OTHER_PLAN, offered("Large", &[webhook::FEATURE])),
        ]
        .into(),
        default: None,
        ..plan::View::default()
    };
    let (catalogue, billing) = documents(catalogue, has_paid);
    TenantPlan::new(TENANT, Some(catalogue), Some(billing), NOW)
}

/// The documents that a gateway has in memory of a tenant.
fn documents(
    catalogue: plan::View,
    has_paid: bool,
) -> (Arc<Document<plan::View>>, Arc<Document<billing::View>>) {
    let subscription = Subscription {
        plan: PlanVersion {
            plan: PLAN,
            number: 1,
        },
        price: None,
        trial_end: None,
        cancel_at: None,
        past_due_since: (!has_paid).then_some(Time(0)),
        next: None,
    };
    let billing = billing::View {
        subscription: Some(subscription),
        ..billing::View::default()
    };
    let catalogue = Document {
        id: CATALOGUE,
        tenant: TenantId::Platform,
        revision: 1,
        sequence: 1,
        view: Some(catalogue),
    };
    let billing = Document {
        id: TENANT,
        tenant: TenantId::Tenant(TENANT),
        revision: 1,
        sequence: 2,
        view: Some(billing),
    };
    (Arc::new(catalogue), Arc::new(billing))
}

/// Who asks: without credentials, from outside the tenant, without or with the permission.
#[derive(Clone, Copy, Debug)]
enum Asking {
    Stranger,
    Outsider,
    Guest,
    Creator,
}

async fn answer(access: &Access, asking: Asking, plan: &TenantPlan) -> String {
    let held = Permissions::from([webhook::CREATE]);
    let nothing = Permissions::new();
    let credentials = match asking {
        Asking::Stranger => Credentials::None,
        Asking::Outsider | Asking::Guest | Asking::Creator => PERSON,
    };
    let held = match asking {
        Asking::Stranger => Err(Error::not_logged_in()),
        Asking::Outsider => Err(Error::NotFound),
        Asking::Guest => Ok(&nothing),
        Asking::Creator => Ok(&held),
    };
    let rights = Rights { credentials, held };
    match guard(access, rights, ready(Ok(plan))).await {
        Ok(()) => "allowed".to_owned(),
        Err(error) => format!("{error:?}").chars().take(12).collect(),
    }
}

#[tokio::test]
async fn the_first_refusal_is_the_answer() {
    use Asking::{Creator, Guest, Outsider, Stranger};
    let access = Access::permission("x", webhook::CREATE)
        .feature(webhook::FEATURE)
        .creates();
    let with = [webhook::FEATURE];
    for (asking, has_paid, features, expected) in [
        (Stranger, false, &[][..], "Unauthentica"),
        (Outsider, false, &[], "NotFound"),
        (Guest, false, &[], "Forbidden"),
        (Creator, false, &[], "PaymentRequi"),
        (Creator, false, &with, "PaymentRequi"),
        (Creator, true, &[], "FeatureNotIn"),
        (Creator, true, &with, "allowed"),
        (Guest, true, &with, "Forbidden"),
    ] {
        let plan = tenant(features, has_paid);
        let what = format!("{asking:?} {has_paid} {features:?}");
        assert_eq!(answer(&access, asking, &plan).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_tenant_that_has_not_paid_creates_nothing_and_may_do_the_rest() {
    let row = Access::permission("x", webhook::CREATE);
    let unpaid = tenant(&[webhook::FEATURE], false);
    for (access, expected) in [
        (row, "allowed"),
        (row.feature(webhook::FEATURE), "allowed"),
        (row.creates(), "PaymentRequi"),
        (row.limit(project::PROJECTS), "PaymentRequi"),
    ] {
        assert_eq!(answer(&access, Asking::Creator, &unpaid).await, expected);
    }
}

#[test]
fn a_missing_feature_is_named_with_the_plans_that_have_it() {
    let error = tenant(&[], true).lacks(webhook::FEATURE);
    let Error::FeatureNotInPlan { feature, plans } = error else {
        panic!("{error:?}");
    };
    assert_eq!(feature, webhook::FEATURE);
    assert_eq!(plans, [Name::parse("Large").unwrap()]);
}

#[test]
fn the_plan_is_read_only_for_an_operation_that_depends_on_it() {
    let held = Permissions::from([webhook::CREATE]);
    let is_answered = |access: Access| {
        let rights = Rights {
            credentials: PERSON,
            held: Ok(&held),
        };
        guard(&access, rights, pending()).now_or_never().is_some()
    };
    let row = Access::permission("x", webhook::CREATE);
    assert!(is_answered(row));
    assert!(!is_answered(row.creates()));
    assert!(!is_answered(row.feature(webhook::FEATURE)));
}

/// It measures, so run it alone in a release build:
/// `cargo test --release --lib -- --ignored --nocapture takes_at_most`.
#[tokio::test]
#[ignore = "it measures"]
async fn the_guard_takes_at_most_20_microseconds() {
    const TIMES: u32 = 100_000;
    let most = std::time::Duration::from_micros(20);
    let plans = (0..100_u8).map(|number| {
        let plan = PlanId(Id::from_bytes([number; 16]));
        (
            plan,
            offered(&format!("Plan {number}"), &[webhook::FEATURE]),
        )
    });
    let catalogue = plan::View {
        plans: plans.collect(),
        ..plan::View::default()
    };
    let (catalogue, billing) = documents(catalogue, true);
    let access = Access::permission("x", webhook::CREATE)
        .feature(webhook::FEATURE)
        .limit(project::PROJECTS);
    let began = std::time::Instant::now();
    for _ in 0..TIMES {
        let (catalogue, billing) = (Some(catalogue.clone()), Some(billing.clone()));
        let plan = TenantPlan::new(TENANT, catalogue, billing, NOW);
        assert_eq!(answer(&access, Asking::Creator, &plan).await, "allowed");
    }
    let each = began.elapsed() / TIMES;
    println!("the guard takes {each:?}");
    assert!(each <= most, "{each:?}");
}
