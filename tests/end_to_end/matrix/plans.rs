//! The plan of a tenant decides after the role: every operation that depends on a plan, by every
//! role and scope, at every standing, with and without features and free places.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use events_schema::{
    Command, CommandId, Feature, Id, PlanId, PlanVersion, PriceId, StripeItemId, StripePriceId,
    StripeSubscriptionId, TenantId, TenantKey, Time,
    billing::{self, Command::RecordSubscription, Paid, PaidStatus},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{Operation, World, expected_codes, operations_table, row_of};
use crate::{
    billing::{free, root, set_default},
    support::{Browser, MISSING, eventually, list, send_command_of_operator},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What an answer says of the plan of a tenant.
const CODES: [&str; 3] = ["PAYMENT_REQUIRED", "FEATURE_NOT_IN_PLAN", "LIMIT_REACHED"];
const STANDINGS: [&str; 5] = ["RESTRICTED", "ENDED", "GRACE", "TRIAL", "ACTIVE"];
const BILLING: &str = "{ billing { standing features limits { name value } } }";

/// What a tenant may use.
#[derive(Clone, Debug)]
struct State {
    standing: &'static str,
    features: Vec<&'static str>,
    /// Whether it may have further objects of any kind.
    has_places: bool,
}

fn all_features() -> Vec<&'static str> {
    Feature::all().iter().map(|one| one.as_str()).collect()
}

/// All states. Those without places come first: later, what is invited once is there.
fn states() -> Vec<State> {
    let mut states = Vec::new();
    for has_places in [false, true] {
        for standing in STANDINGS {
            for features in [Vec::new(), all_features()] {
                states.push(State {
                    standing,
                    features,
                    has_places,
                });
            }
        }
    }
    states
}

/// Records a subscription to this plan that stands so.
async fn subscribe(world: &World, number: usize, plan: PlanId, standing: &str) {
    let now = SystemTime::now();
    let (status, missing_since) = match standing {
        "ACTIVE" => (PaidStatus::Active, None),
        "TRIAL" => (PaidStatus::Trialing, None),
        "GRACE" => (PaidStatus::PastDue, Some(now - DAY)),
        "RESTRICTED" => (PaidStatus::PastDue, Some(now - 15 * DAY)),
        "ENDED" => (PaidStatus::Ended, None),
        other => panic!("{other}"),
    };
    let end = Time::from(now + 30 * DAY);
    let subscription = Paid {
        id: StripeSubscriptionId::parse(&format!("sub_{number}")).unwrap(),
        item: StripeItemId::parse("si_1").unwrap(),
        status,
        price: StripePriceId::parse("price_1").unwrap(),
        quantity: 1,
        period_end: end,
        trial_end: (status == PaidStatus::Trialing).then_some(end),
        cancel_at: (status == PaidStatus::Ended).then(|| now.into()),
    };
    let tenant = TenantKey::parse(&world.acme).unwrap();
    let record = RecordSubscription {
        plan: PlanVersion { plan, number: 1 },
        price: PriceId(Id::from_bytes([3; 16])),
        subscription,
        past_due_since: missing_since.map(Time::from),
        request: None,
    };
    let command = Command::<billing::Area>::by_system(
        CommandId(event_store::random_id().unwrap()),
        TenantId::Tenant(tenant),
        tenant,
        now.into(),
        record,
    );
    send_command_of_operator(&world.backend, command).await;
}

/// Gives the callers' tenant a plan, and waits until their gateway knows it.
async fn enter(world: &World, root: &Browser, number: usize, state: &State) {
    let limits: &[_] = match state.has_places {
        true => &[],
        false => &[("projects", 0), ("seats", 1), ("webhooks", 0)],
    };
    // A tenant whose plan has ended has the default one.
    let plan = free(&format!("Plan {number}"), &state.features, limits);
    let plan = set_default(root, plan).await;
    let plan = PlanId(Id::parse(&plan).unwrap());
    subscribe(world, number, plan, state.standing).await;
    await_state(world, state).await;
}

async fn await_state(world: &World, state: &State) {
    let owner = &world.callers[0].1;
    eventually(&format!("{state:?}"), || async {
        let billing = owner.data(BILLING, ()).await["billing"].clone();
        let limits = list(&billing["limits"]).iter();
        let mut values = limits.map(|limit| limit["value"].is_null());
        billing["standing"] == state.standing
            && billing["features"] == json!(state.features)
            && values.all(|is_unlimited| is_unlimited == state.has_places)
    })
    .await;
}

/// The code of an answer. An area has limits of its own, too, which give another reason.
fn code<'a>(operation: &Operation, answer: &'a Value) -> &'a str {
    let reason = operation
        .extensions(answer)
        .map(|extensions| &extensions["reason"]);
    let reason = reason.and_then(Value::as_str);
    if reason.is_some_and(|reason| reason != "limit_reached") {
        "none"
    } else {
        operation.code(answer)
    }
}

/// What a row of the reviewed table needs of the plan.
#[derive(Default)]
struct Needs<'r> {
    creates: bool,
    feature: Option<&'r str>,
    limit: bool,
}

impl<'r> Needs<'r> {
    fn of(row: &'r str) -> Self {
        let mut needs = Self::default();
        for condition in row.split("; ").skip(1) {
            match condition.split_once(' ') {
                Some(("feature", name)) => needs.feature = Some(name),
                Some(("limit", _)) => needs.limit = true,
                Some(_) => {}
                None => needs.creates |= condition == "creates",
            }
        }
        needs
    }

    fn depends_on_plan(&self) -> bool {
        self.creates || self.feature.is_some() || self.limit
    }

    /// The code of the first refusal; `None` if the plan allows it.
    fn refusal(&self, state: &State) -> Option<&'static str> {
        let lacks = |name: &str| !state.features.contains(&name);
        if self.creates && state.standing == "RESTRICTED" {
            Some("PAYMENT_REQUIRED")
        } else if self.feature.is_some_and(lacks) {
            Some("FEATURE_NOT_IN_PLAN")
        } else {
            (self.limit && !state.has_places).then_some("LIMIT_REACHED")
        }
    }
}

/// A machine that may read projects, and do nothing else.
const NARROW: &str = "NARROW";

struct Matrix {
    world: World,
    table: BTreeMap<&'static str, &'static str>,
    narrow: Browser,
}

impl Matrix {
    fn cases(&self) -> Vec<(&Operation, &'static str, &Browser)> {
        let mut cases = self.world.cases();
        let operations = self.world.repeatable().into_iter();
        cases.extend(operations.map(|operation| (operation, NARROW, &self.narrow)));
        cases
    }

    fn needs(&self, operation: &Operation) -> Needs<'static> {
        Needs::of(self.table[row_of(&self.table, operation)])
    }

    /// The codes that refuse a role whatever the plan is.
    fn refusals_of_role(&self, operation: &Operation, role: &str) -> &'static [&'static str] {
        let row = row_of(&self.table, operation);
        match role {
            NARROW => &["FORBIDDEN"],
            role => expected_codes(row, self.table[row], role),
        }
    }

    async fn answer(&self, operation: &Operation, browser: &Browser) -> Value {
        let request = operation.request(&self.world.schema, &mut |_, _| json!(MISSING));
        self.world.ask(browser, &request, &[]).await
    }

    /// Tries each operation that depends on a plan by each caller.
    async fn try_all(&self, state: &State) {
        let mut cases = self.cases();
        cases.retain(|(operation, _, _)| self.needs(operation).depends_on_plan());
        assert!(cases.len() > 100, "{} cases", cases.len());
        let try_case = async |(operation, role, browser): (&Operation, &str, &Browser)| {
            let answer = self.answer(operation, browser).await;
            let code = code(operation, &answer);
            let what = format!("{state:?} {role} {}: {answer}", operation.name);
            let refusal = self.needs(operation).refusal(state);
            match (self.refusals_of_role(operation, role), refusal) {
                ([], None) => {
                    let refusals = [&CODES[..], &["FORBIDDEN", "UNAUTHENTICATED"]].concat();
                    assert!(!refusals.contains(&code), "{what}");
                }
                ([], Some(refusal)) => assert_eq!(code, refusal, "{what}"),
                (codes, _) => assert!(codes.contains(&code), "{what}"),
            }
        };
        stream::iter(cases).for_each_concurrent(8, try_case).await;
    }

    /// Tries each operation that depends on no plan.
    async fn try_others(&self, state: &State) {
        let mut cases = self.cases();
        cases.retain(|(operation, _, _)| !self.needs(operation).depends_on_plan());
        let try_case = async |(operation, role, browser): (&Operation, &str, &Browser)| {
            let answer = self.answer(operation, browser).await;
            let code = code(operation, &answer);
            let what = format!("{state:?} {role} {}: {answer}", operation.name);
            assert!(!CODES.contains(&code), "{what}");
        };
        stream::iter(cases).for_each_concurrent(8, try_case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standing_feature_and_limit_refuse_in_this_order_and_only_those_whose_role_may_do_it() {
    let world = World::start().await;
    let root = root(&world.backend).await;
    let owner = &world.callers[0].1;
    let narrow = owner
        .create_machine(&world.backend, &["read_project"])
        .await;
    let matrix = Matrix {
        narrow: narrow.0,
        table: operations_table(),
        world,
    };

    // Without a default plan, a tenant whose plan has ended still reads.
    let none = State {
        standing: "RESTRICTED",
        features: vec!["audit_log"],
        has_places: true,
    };
    let gone = PlanId(Id::from_bytes([9; 16]));
    subscribe(&matrix.world, 0, gone, "ENDED").await;
    await_state(&matrix.world, &none).await;
    matrix.try_all(&none).await;

    for (number, state) in states().iter().enumerate() {
        enter(&matrix.world, &root, number + 1, state).await;
        matrix.try_all(state).await;
        if number == 0 {
            matrix.try_others(state).await;
        }
    }
}
