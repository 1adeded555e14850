//! What the platform's administrators change for one tenant: exceptions from its plan, and a plan
//! without payment.

use super::*;
use crate::support::{CREATE_TOKEN, code_of, eventually, scopes};

const OVERRIDE: &str = "
    mutation($input: OverrideBillingInput!) {
        platform {
            overrideBilling(input: $input) {
                features
                override { granted withheld limits { name value } until reason }
            }
        }
    }";
const END_OVERRIDE: &str = "
    mutation($tenant: ID!) { platform { endOverride(tenant: $tenant) { features } } }";
const GRANT: &str = "
    mutation($input: GrantPlanInput!) {
        platform {
            grantPlan(input: $input) { plan { name } standing grant { plan { name } reason } }
        }
    }";
const END_GRANT: &str = "
    mutation($tenant: ID!) { platform { endGrant(tenant: $tenant) { plan { name } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_feature_is_refused_until_an_administrator_makes_an_exception_that_ends() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    set_default(&root, free("Small", &["webhooks"], &[])).await;
    create_plan(&root, free("Large", &["access_tokens"], &[])).await;
    let expected = json!({
        "code": "FEATURE_NOT_IN_PLAN", "feature": "access_tokens", "plans": ["Large"],
    });
    let create = scopes(&["read_project"]);
    assert_eq!(ada.error(CREATE_TOKEN, create.clone()).await, expected);
    // The list can be read, and so can everything else.
    ada.data("{ accessTokens { totalCount } }", ()).await;
    let tenant = tenant_id(&ada).await;
    let exception = json!({
        "tenant": tenant, "grant": ["access_tokens"], "withhold": ["webhooks"],
        "limits": [{ "name": "projects", "value": 1 }], "reason": "A pilot.",
    });
    assert_eq!(
        ada.code(OVERRIDE, input(exception.clone())).await,
        "FORBIDDEN"
    );
    let overridden = root.data(OVERRIDE, input(exception.clone())).await;
    let expected = json!({
        "features": ["access_tokens"],
        "override": {
            "granted": ["access_tokens"], "withheld": ["webhooks"], "until": null,
            "limits": [{ "name": "projects", "value": 1 }], "reason": "A pilot.",
        },
    });
    assert_eq!(overridden["platform"]["overrideBilling"], expected);
    ada.data(CREATE_TOKEN, create.clone()).await;
    create_project(&ada, "1").await;
    assert_eq!(
        ada.code(CREATE_PROJECT, project("2")).await,
        "LIMIT_REACHED"
    );
    root.data(END_OVERRIDE, json!({ "tenant": tenant })).await;
    create_project(&ada, "2").await;
    assert_eq!(
        ada.code(CREATE_TOKEN, create.clone()).await,
        "FEATURE_NOT_IN_PLAN"
    );
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let mut short = exception;
    short["until"] = json!(soon.to_string());
    root.data(OVERRIDE, input(short)).await;
    ada.data(CREATE_TOKEN, create.clone()).await;
    eventually("the end of the exception", || async {
        code_of(&ada.gql(CREATE_TOKEN, &create).await) == "FEATURE_NOT_IN_PLAN"
    })
    .await;
    assert!(jiff::Timestamp::now() >= soon);
    let missing = json!({ "tenant": MISSING, "reason": "None." });
    assert_eq!(root.code(OVERRIDE, input(missing)).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_plan_counts_instead_of_the_chosen_one() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    set_default(&root, free("Free", &[], &[])).await;
    let price = json!({ "amount": { "amount": 900, "currency": "EUR" }, "interval": "MONTH" });
    let plan = json!({ "name": "Team", "features": ["audit_log", "webhooks"], "prices": [price] });
    let plan = create_plan(&root, plan).await;
    let tenant = tenant_id(&ada).await;
    let grant = input(json!({ "tenant": tenant, "plan": plan, "reason": "A friend." }));
    assert_eq!(ada.code(GRANT, grant.clone()).await, "FORBIDDEN");
    let granted = root.data(GRANT, grant).await;
    let expected = json!({
        "plan": { "name": "Team" }, "standing": "ACTIVE",
        "grant": { "plan": { "name": "Team" }, "reason": "A friend." },
    });
    assert_eq!(granted["platform"]["grantPlan"], expected);
    let billing = ada.data(BILLING, ()).await;
    assert_eq!(
        billing["billing"]["features"],
        json!(["audit_log", "webhooks"])
    );
    let last = "{ auditLog(first: 1) { nodes { area address device } } }";
    let last = ada.data(last, ()).await;
    let expected = json!([{ "area": "BILLING", "address": null, "device": null }]);
    assert_eq!(last["auditLog"]["nodes"], expected, "staff stays hidden");
    let of_tenant = "query($tenant: ID!) {
        platform { billing(tenant: $tenant) { plan { name } features } }
    }";
    let seen = root.data(of_tenant, json!({ "tenant": tenant })).await;
    let features = ["audit_log", "webhooks"];
    let expected = json!({ "plan": { "name": "Team" }, "features": features });
    assert_eq!(seen["platform"]["billing"], expected);
    let ended = root.data(END_GRANT, json!({ "tenant": tenant })).await;
    assert_eq!(ended["platform"]["endGrant"]["plan"]["name"], "Free");
}
