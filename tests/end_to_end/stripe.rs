//! What Stripe tells about payments, with the development Stripe in its place.

pub mod account;
mod conflicts;
mod events;
mod kills;
mod reconciling;
mod refusals;
mod starts;
mod trials;

use serde_json::{Value, json};

use self::account::{Account, billing};
use crate::support::{eventually, input, text};

const CHANGE: &str = "
    mutation($input: ChangeSubscriptionInput!) {
        billing { changeSubscription(input: $input) { standing } }
    }";

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

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_customer_was_deleted_in_the_dashboard_pays_as_another_one() {
    // Tests have little room on their stacks.
    let account = Box::pin(Account::open()).await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let tenant = Box::pin(account.tenant("weavers")).await;
    let deleted = format!("customers/{}", tenant.customer);
    account.delete(&deleted).await;
    let plans = Box::pin(tenant.owner.data("{ plans { name id prices { id } } }", ()));
    let plans = plans.await["plans"].clone();
    let team = plans
        .as_array()
        .unwrap()
        .iter()
        .find(|plan| plan["name"] == "Team");
    let team = team.unwrap();
    let choice = json!({ "plan": team["id"], "price": team["prices"][0]["id"] });
    Box::pin(tenant.owner.data(CHANGE, input(choice.clone()))).await;
    let payment = async || account.view(&tenant).await["payment"].clone();
    eventually("a customer without a card", || async {
        payment().await["pending"]["status"]["code"] == "card_missing"
    })
    .await;
    let customer = text(&payment().await, "/customer");
    assert_ne!(customer, tenant.customer);
    account.use_card(&customer, "pm_card_visa").await;
    Box::pin(tenant.owner.data(CHANGE, input(choice))).await;
    eventually("the subscription", || async {
        status(&account.view(&tenant).await) == "active"
    })
    .await;
    let customers = account.get("customers").await;
    assert_eq!(customers["data"].as_array().unwrap().len(), 1);
}

/// The names of the results that a tenant's view has of its payments.
fn status(view: &Value) -> &str {
    let status = &view["payment"]["subscription"]["status"];
    status.as_str().unwrap_or("none")
}
