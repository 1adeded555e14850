//! What Stripe tells about payments, with the development Stripe in its place.

mod account;
mod events;
mod reconciling;
mod refusals;

use serde_json::{Value, json};

use self::account::{Account, billing};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_the_plan_of_its_subscription_until_that_is_deleted_in_the_dashboard() {
    let account = Account::open().await;
    let tenant = account.tenant("weavers").await;
    let subscription = account.subscribe(&tenant, 3).await;
    eventually("the plan", || async {
        billing(&tenant).await == json!({ "plan": { "name": "Team" }, "standing": "ACTIVE" })
    })
    .await;
    account
        .delete(&format!("subscriptions/{subscription}"))
        .await;
    eventually("the default plan", || async {
        billing(&tenant).await == json!({ "plan": { "name": "Free" }, "standing": "ENDED" })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_missing_since_the_day_of_its_invoice() {
    let account = Account::open().await;
    let tenant = account.tenant("weavers").await;
    account.subscribe(&tenant, 3).await;
    account
        .use_card(&tenant.customer, "pm_card_chargeCustomerFail")
        .await;
    let standing = async || billing(&tenant).await["standing"].clone();
    eventually("the subscription", || async {
        standing().await == "ACTIVE"
    })
    .await;
    account.pass_days(31).await;
    eventually("the grace", || async { standing().await == "GRACE" }).await;
    let view = account.view(&tenant).await;
    let since = view["subscription"]["past_due_since"].as_i64().unwrap();
    let period = view["payment"]["subscription"]["period_end"]
        .as_i64()
        .unwrap();
    let month = 27 * 24 * 60 * 60 * 1000;
    assert!(since < period - month, "{view}");
}

/// The names of the results that a tenant's view has of its payments.
fn status(view: &Value) -> &str {
    let status = &view["payment"]["subscription"]["status"];
    status.as_str().unwrap_or("none")
}
