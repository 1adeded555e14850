//! Plans, features and limits: what a tenant may use, and how it learns what it may not.

mod exceptions;
mod lowering;
mod trials;
mod webhooks;

use events_schema::Feature;
use futures_util::future::join_all;
use local::Local;
use serde_json::{Value, json};

use crate::support::{
    Browser, CREATE_PROJECT, DELETE_MEMBER, DELETE_PROJECT, INVITE, MISSING, Team, ada_in_acme,
    administrator, bad_input, create_project, eventually, input, invite, list, start, succeeded,
    text,
};

const PLANS: &str = "{
    plans {
        id name version features limits { name value } trialDays free default archived
        prices { id amount { amount currency decimals } interval per }
    }
}";
const PLAN: &str = "query($id: ID!) { plan(id: $id) { name version archived } }";
const CREATE_PLAN: &str = "
    mutation($input: CreatePlanInput!) {
        plan { create(input: $input) { id version prices { id } } }
    }";
const UPDATE_PLAN: &str = "
    mutation($input: UpdatePlanInput!) {
        plan { update(input: $input) { name version features } }
    }";
const DELETE_PLAN: &str = "mutation($id: ID!) { plan { delete(id: $id) { success } } }";
const SET_DEFAULT: &str = "mutation($id: ID!) { plan { setDefault(id: $id) { name default } } }";
const BILLING: &str = "{
    billing {
        plan { name version } standing features limits { name value used }
        subscription { plan { name } price { id } trialEnd cancelAt }
    }
}";
pub const CHANGE: &str = "
    mutation($input: ChangeSubscriptionInput!) {
        billing { changeSubscription(input: $input) { plan { name version } standing } }
    }";
pub const CANCEL: &str = "
    mutation { billing { cancelSubscription { plan { name } standing } } }";
const RESUME: &str = "
    mutation { billing { resumeSubscription { plan { name } standing } } }";

/// The names of all features.
fn features() -> Vec<&'static str> {
    Feature::all().iter().map(|one| one.as_str()).collect()
}

/// The limit of this name in the tenant's billing.
pub async fn limit(browser: &Browser, name: &str) -> Value {
    let billing = browser.data(BILLING, ()).await;
    let mut limits = list(&billing["billing"]["limits"]).iter();
    limits.find(|one| one["name"] == name).unwrap().clone()
}

/// A platform administrator.
pub async fn root(backend: &Local) -> Browser {
    administrator(backend, "root@example.com").await
}

/// The input of a free plan.
pub fn free(name: &str, features: &[&str], limits: &[(&str, u64)]) -> Value {
    let limits = limits.iter();
    let limits = limits.map(|(name, value)| json!({ "name": name, "value": value }));
    let limits = Vec::from_iter(limits);
    json!({ "name": name, "features": features, "limits": limits })
}

/// Creates a plan; returns its id.
pub async fn create_plan(root: &Browser, plan: Value) -> String {
    let created = root.data(CREATE_PLAN, input(plan)).await;
    text(&created, "/plan/create/id")
}

/// Creates a plan and makes it the default one; returns its id.
pub async fn set_default(root: &Browser, plan: Value) -> String {
    let id = create_plan(root, plan).await;
    let set = root.data(SET_DEFAULT, json!({ "id": id })).await;
    assert_eq!(set["plan"]["setDefault"]["default"], true);
    id
}

async fn tenant_id(browser: &Browser) -> String {
    text(&browser.data("{ tenant { id } }", ()).await, "/tenant/id")
}

fn project(name: &str) -> Value {
    input(json!({ "name": name }))
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reads_plans_and_only_administrators_of_the_platform_change_them() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let stranger = Browser::new(&backend);
    assert_eq!(stranger.data(PLANS, ()).await["plans"], json!([]));
    let plan = json!({
        "name": "Team", "features": ["webhooks"], "limits": [{ "name": "projects", "value": 3 }],
        "trialDays": 14,
        "prices": [{
            "amount": { "amount": 9_007_199_254_740_991_i64, "currency": "JPY" },
            "interval": "YEAR", "per": "SEAT",
        }],
    });
    assert_eq!(
        ada.code(CREATE_PLAN, input(plan.clone())).await,
        "FORBIDDEN"
    );
    assert_eq!(
        stranger.code(CREATE_PLAN, input(plan.clone())).await,
        "UNAUTHENTICATED"
    );
    let created = root.data(CREATE_PLAN, input(plan)).await;
    let (id, price) = (
        text(&created, "/plan/create/id"),
        text(&created, "/plan/create/prices/0/id"),
    );
    let expected = json!([{
        "id": id, "name": "Team", "version": 1, "features": ["webhooks"],
        "limits": [{ "name": "projects", "value": 3 }], "trialDays": 14, "free": false,
        "default": false, "archived": false,
        "prices": [{
            "id": price, "interval": "YEAR", "per": "SEAT",
            "amount": { "amount": 9_007_199_254_740_991_i64, "currency": "JPY", "decimals": 0 },
        }],
    }]);
    assert_eq!(stranger.data(PLANS, ()).await["plans"], expected);
    let change = json!({ "id": id, "name": "Crew", "features": [] });
    let updated = root.data(UPDATE_PLAN, input(change)).await;
    let expected = json!({ "name": "Crew", "version": 2, "features": [] });
    assert_eq!(updated["plan"]["update"], expected);
    root.data(DELETE_PLAN, json!({ "id": id })).await;
    assert_eq!(stranger.data(PLANS, ()).await["plans"], json!([]));
    let archived = stranger.data(PLAN, json!({ "id": id })).await;
    let expected = json!({ "name": "Crew", "version": 2, "archived": true });
    assert_eq!(archived["plan"], expected);
    let missing = json!({ "id": MISSING });
    assert_eq!(stranger.code(PLAN, missing).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_plan_is_refused_with_the_name_of_its_field() {
    let backend = start().await;
    let root = root(&backend).await;
    let price = |currency: &str| {
        let amount = json!({ "amount": 100, "currency": currency });
        json!([{ "amount": amount, "interval": "MONTH" }])
    };
    let projects = |value: i64| json!({ "name": "projects", "value": value });
    for (field, wrong) in [
        ("features", json!({ "features": ["teleport"] })),
        (
            "limits",
            json!({ "limits": [{ "name": "moons", "value": 1 }] }),
        ),
        ("limits", json!({ "limits": [projects(-1)] })),
        ("limits", json!({ "limits": [projects(1), projects(2)] })),
        (
            "value",
            json!({ "limits": [projects(9_007_199_254_740_992)] }),
        ),
        ("currency", json!({ "prices": price("euro") })),
        (
            "trialDays",
            json!({ "prices": price("EUR"), "trialDays": 731 }),
        ),
        ("name", json!({ "name": "" })),
    ] {
        let mut plan = json!({ "name": "Team" });
        let fields = wrong.as_object().unwrap().clone();
        plan.as_object_mut().unwrap().extend(fields);
        assert_eq!(
            root.error(CREATE_PLAN, input(plan)).await,
            bad_input(field),
            "{wrong}"
        );
    }
    let unknown = root
        .gql(CREATE_PLAN, input(free("Team", &["x"], &[])))
        .await;
    let message = text(&unknown, "/errors/0/message");
    assert!(
        features().iter().all(|one| message.contains(one)),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fourth_project_of_three_is_refused_until_one_is_deleted_or_the_plan_allows_more() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let robot = ada.create_machine(&backend, &["create_project"]).await.0;
    let first = create_project(&ada, "1").await;
    let small = set_default(&root, free("Small", &features(), &[("projects", 3)])).await;
    create_plan(&root, free("Large", &[], &[])).await;
    create_plan(&root, free("Same", &[], &[("projects", 3)])).await;
    // Also those that were created before there was a limit count.
    let others = (2..10).map(async |at: u32| {
        let name = at.to_string();
        succeeded(&robot.gql(CREATE_PROJECT, project(&name)).await)
    });
    let created = join_all(others).await;
    assert_eq!(created.iter().filter(|created| **created).count(), 2);
    let expected = json!({
        "code": "LIMIT_REACHED", "limit": "projects", "allowed": 3, "used": 3, "plans": ["Large"],
    });
    for browser in [&ada, &robot] {
        assert_eq!(browser.error(CREATE_PROJECT, project("x")).await, expected);
    }
    let expected = json!({ "name": "projects", "value": 3, "used": 3 });
    assert_eq!(limit(&ada, "projects").await, expected);
    let expected = json!({ "name": "seats", "value": null, "used": 1 });
    assert_eq!(limit(&ada, "seats").await, expected);
    ada.data(DELETE_PROJECT, input(json!({ "id": first })))
        .await;
    create_project(&ada, "4").await;
    assert_eq!(
        ada.code(CREATE_PROJECT, project("5")).await,
        "LIMIT_REACHED"
    );
    // A tenant without a plan of its own has the latest version of the default plan.
    let change = free("Small", &features(), &[("projects", 2)]);
    let mut change = change.as_object().unwrap().clone();
    change.insert("id".to_owned(), json!(small));
    root.data(UPDATE_PLAN, input(json!(change))).await;
    let refused = ada.error(CREATE_PROJECT, project("5")).await;
    assert_eq!(
        (&refused["allowed"], &refused["used"]),
        (&json!(2), &json!(3))
    );
    change.insert("limits".to_owned(), json!([]));
    root.data(UPDATE_PLAN, input(json!(change))).await;
    create_project(&ada, "5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_pending_invitations_take_seats() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    set_default(&root, free("Small", &[], &[("seats", 2)])).await;
    let bob = invite("bob@example.com", "GUEST");
    ada.data(INVITE, bob.clone()).await;
    // The same invitation takes no further seat.
    let invited = ada.data(INVITE, bob).await;
    let refused = ada.error(INVITE, invite("eve@example.com", "GUEST")).await;
    let expected = json!({
        "code": "LIMIT_REACHED", "limit": "seats", "allowed": 2, "used": 2, "plans": [],
    });
    assert_eq!(refused, expected);
    let used = async || limit(&ada, "seats").await["used"].clone();
    assert_eq!(used().await, 2);
    let id = json!({ "id": text(&invited, "/member/invite/id") });
    ada.data(DELETE_MEMBER, id).await;
    assert_eq!(used().await, 1);
    ada.data(INVITE, invite("eve@example.com", "GUEST")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_plan_a_tenant_may_use_everything() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    create_plan(&root, free("Small", &[], &[("projects", 0)])).await;
    create_project(&ada, "1").await;
    let billing = ada.data(BILLING, ()).await["billing"].clone();
    assert_eq!(
        (&billing["plan"], &billing["subscription"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&billing["standing"], &billing["features"]),
        (&json!("ACTIVE"), &json!(features()))
    );
    for limit in list(&billing["limits"]) {
        assert_eq!(limit["value"], Value::Null, "{limit}");
    }
    assert_eq!(limit(&ada, "projects").await["used"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_is_checked_before_the_plan_and_owners_change_it() {
    let team = Team::start().await;
    let root = root(&team.backend).await;
    set_default(&root, free("Nothing", &["audit_log"], &[("projects", 0)])).await;
    let plan = create_plan(&root, free("Some", &["access_tokens"], &[("projects", 1)])).await;
    for (browser, expected) in [
        (&team.owner, "LIMIT_REACHED"),
        (&team.member, "LIMIT_REACHED"),
        (&team.guest, "FORBIDDEN"),
        (&root.in_tenant("acme"), "NOT_FOUND"),
        (
            &Browser::new(&team.backend).in_tenant("acme"),
            "UNAUTHENTICATED",
        ),
    ] {
        assert_eq!(browser.code(CREATE_PROJECT, project("1")).await, expected);
    }
    // What a plan refuses shows no attack, so only the guest is among those who were refused.
    let refused = async || {
        let refusals = "{ refusals(first: 9) { nodes { permission } } }";
        team.owner.data(refusals, ()).await["refusals"]["nodes"].clone()
    };
    eventually("the refusal", || async { refused().await != json!([]) }).await;
    assert_eq!(refused().await, json!([{ "permission": "create_project" }]));
    for (browser, may_read) in [
        (&team.owner, true),
        (&team.admin, true),
        (&team.developer, false),
    ] {
        assert_eq!(succeeded(&browser.gql(BILLING, ()).await), may_read);
    }
    let choose = input(json!({ "plan": plan }));
    assert_eq!(team.admin.code(CHANGE, choose.clone()).await, "FORBIDDEN");
    let chosen = team.owner.data(CHANGE, choose).await;
    let expected = json!({ "plan": { "name": "Some", "version": 1 }, "standing": "ACTIVE" });
    assert_eq!(chosen["billing"]["changeSubscription"], expected);
    create_project(&team.member, "1").await;
    let robot = team
        .owner
        .create_machine(&team.backend, &["read_billing"])
        .await
        .0;
    let read = robot.data(BILLING, ()).await;
    assert_eq!(read["billing"]["plan"]["name"], "Some");
    assert_eq!(robot.code(CREATE_PROJECT, project("2")).await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_keeps_the_version_that_it_has_chosen() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    set_default(&root, free("Free", &[], &[])).await;
    let plan = create_plan(&root, free("Team", &["webhooks"], &[])).await;
    let choose = input(json!({ "plan": plan }));
    ada.data(CHANGE, choose.clone()).await;
    let change = json!({ "id": plan, "features": ["audit_log"] });
    root.data(UPDATE_PLAN, input(change)).await;
    let has = async || ada.data(BILLING, ()).await["billing"]["features"].clone();
    assert_eq!(has().await, json!(["webhooks"]));
    let chosen = ada.data(CHANGE, choose.clone()).await;
    assert_eq!(
        chosen["billing"]["changeSubscription"]["plan"]["version"],
        2
    );
    assert_eq!(has().await, json!(["audit_log"]));
    let cancelled = ada.data(CANCEL, ()).await;
    let expected = json!({ "plan": { "name": "Free" }, "standing": "ENDED" });
    assert_eq!(cancelled["billing"]["cancelSubscription"], expected);
    assert_eq!(ada.code(RESUME, ()).await, "CONFLICT");
    root.data(DELETE_PLAN, json!({ "id": plan })).await;
    assert_eq!(ada.code(CHANGE, choose).await, "CONFLICT");
    let missing = input(json!({ "plan": MISSING }));
    assert_eq!(ada.code(CHANGE, missing).await, "NOT_FOUND");
}
