//! `workers reconcile-billing` finds what the events of Stripe have not told.

use events_schema::{
    Command, CommandId, StripeAccountId, StripeCustomerId, TenantId,
    billing::Command::RecordCustomer,
    plan::{self, CATALOGUE, StripeAccount},
};
use serde_json::{Value, json};
use workers::{Difference, DifferenceKind};

use super::{
    account::{Account, Tenant, billing},
    status,
};
use crate::support::{
    Browser, documents_of, eventually, input, operator_nats, send_command_of_operator, text,
};

const DELETE_TENANT: &str = "
    mutation($input: DeleteTenantInput!) { tenant { delete(input: $input) { success } } }";
/// Differences of each kind.
const EACH: usize = 8;
const KINDS: usize = 6;

/// Changes something at Stripe.
async fn plant(account: &Account, tenant: &Tenant, subscription: &str, kind: usize) {
    let path = format!("subscriptions/{subscription}");
    let item = async || {
        let item = account.get(&path).await;
        text(&item, "/items/data/0/id")
    };
    match kind {
        0 => _ = account.delete(&path).await,
        1 => {
            let ends = [("cancel_at_period_end", "true")];
            _ = account.post(&path, &ends).await;
        }
        2 => {
            let customer = format!("customers/{}", tenant.customer);
            _ = account.delete(&customer).await;
        }
        3 => {
            let item = item().await;
            let seats = [("items[0][id]", item.as_str()), ("items[0][quantity]", "9")];
            _ = account.post(&path, &seats).await;
        }
        4 => {
            let (item, price) = (item().await, other_price(account).await);
            let items = [("items[0][id]", item.as_str()), ("items[0][price]", &price)];
            _ = account.post(&path, &items).await;
        }
        _ => _ = account.subscribe(tenant, 9).await,
    }
}

/// Creates a price that no plan has.
async fn other_price(account: &Account) -> String {
    let product = text(
        &account.get(&format!("prices/{}", account.price)).await,
        "/product",
    );
    let price = [
        ("currency", "eur"),
        ("product", product.as_str()),
        ("recurring[interval]", "month"),
        ("unit_amount", "700"),
    ];
    text(&account.post("prices", &price).await, "/id")
}

fn paid(view: &Value) -> &Value {
    &view["payment"]["subscription"]
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_differences_are_found_and_mended_and_a_second_run_finds_none() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let mut tenants = Vec::new();
    for number in 0..=KINDS * EACH {
        let tenant = account.tenant(&format!("tenant-{number}")).await;
        let subscription = account.subscribe(&tenant, 3).await;
        tenants.push((tenant, subscription));
    }
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!((differences.len(), remaining), (tenants.len(), 0));

    let (deleted, deleted_subscription) = tenants.pop().unwrap();
    for (number, (tenant, subscription)) in tenants.iter().enumerate() {
        plant(&account, tenant, subscription, number % KINDS).await;
    }
    let slug = format!("tenant-{}", tenants.len());
    let delete = input(json!({ "normalizedName": slug }));
    deleted.owner.data(DELETE_TENANT, delete).await;
    eventually("its end", || async {
        let path = format!("subscriptions/{deleted_subscription}");
        account.get(&path).await["status"] == "canceled"
    })
    .await;
    // Somebody in the dashboard does not know that.
    let deleted_subscription = account.subscribe(&deleted, 3).await;
    let price = format!("prices/{}", account.price);
    account.post(&price, &[("active", "false")]).await;

    // A second subscription counts, and the first one should charge no more.
    let all = 51 + EACH as u64;
    let (differences, remaining) = account.reconcile(true).await;
    assert_eq!((differences.len() as u64, remaining), (all, all));
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!((differences.len() as u64, remaining), (all, 0));
    assert!(differences.iter().all(|it| it.mended), "{differences:?}");
    let (differences, remaining) = account.reconcile(true).await;
    assert_eq!((differences, remaining), (Vec::new(), 0));

    for (number, (tenant, subscription)) in tenants.iter().enumerate() {
        let kind = number % KINDS;
        let (expected, seats) = match kind {
            0 | 2 => ("ended", 3),
            3 | 5 => ("active", 9),
            _ => ("active", 3),
        };
        eventually("what Stripe has", || async {
            let view = account.view(tenant).await;
            status(&view) == expected
                && paid(&view)["quantity"] == seats
                && paid(&view)["cancel_at"].is_null() != [0, 1, 2].contains(&kind)
                && (paid(&view)["price"] == *account.price) == (kind != 4)
                && (paid(&view)["id"] == **subscription) == (kind != 5)
                && view["payment"]["customer"].is_null() == (kind == 2)
        })
        .await;
    }
    assert_eq!(billing(&tenants[0].0).await["plan"]["name"], "Free");
    let first = format!("subscriptions/{}", tenants[KINDS - 1].1);
    assert_eq!(account.get(&first).await["status"], "canceled");
    let cancelled = account
        .get(&format!("subscriptions/{deleted_subscription}"))
        .await;
    assert_eq!(cancelled["status"], "canceled");
    assert_eq!(account.get(&price).await["active"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_pays_no_more_and_its_invoices_stay() {
    let account = Account::open().await;
    let tenant = account.tenant("weavers").await;
    let subscription = account.subscribe(&tenant, 3).await;
    eventually("the subscription", || async {
        status(&account.view(&tenant).await) == "active"
    })
    .await;
    // The next invoice would charge two more seats.
    let path = format!("subscriptions/{subscription}");
    let item = text(&account.get(&path).await, "/items/data/0/id");
    let seats = [("items[0][id]", item.as_str()), ("items[0][quantity]", "5")];
    account.post(&path, &seats).await;
    let delete = input(json!({ "normalizedName": "weavers" }));
    tenant.owner.data(DELETE_TENANT, delete).await;
    eventually("the end", || async {
        account.get(&path).await["status"] == "canceled"
    })
    .await;
    let invoices = format!("invoices?subscription={subscription}");
    let invoices = account.get(&invoices).await;
    assert_eq!(invoices["data"].as_array().unwrap().len(), 2);
    let last = invoices["data"][0]["total"].as_i64().unwrap();
    assert!((1_700..=1_800).contains(&last), "{invoices}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_refuses_about_one_tenant_holds_up_no_other() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let tenants = [account.tenant("one").await, account.tenant("two").await];
    let mut subscriptions = Vec::new();
    for tenant in &tenants {
        subscriptions.push(account.subscribe(tenant, 3).await);
    }
    account.reconcile(false).await;
    let second = 1;
    let customer = StripeCustomerId::parse("cus_of_another_account").unwrap();
    let first = tenants[1 - second].key;
    account.send(first, RecordCustomer { customer }).await;
    account
        .delete(&format!("subscriptions/{}", subscriptions[second]))
        .await;
    let (mut differences, remaining) = account.reconcile(false).await;
    // A run begins with any tenant.
    differences.sort_by_key(|difference| difference.tenant != Some(first));
    let is_as_expected = |found: &[Difference]| {
        let [unclear, subscription] = found else {
            return false;
        };
        matches!(unclear.kind, DifferenceKind::Unclear { .. })
            && unclear.tenant == Some(first)
            && matches!(subscription.kind, DifferenceKind::Subscription { .. })
            && subscription.mended
    };
    assert!(is_as_expected(&differences), "{differences:?}");
    assert_eq!(remaining, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_stripe_has_no_more_is_for_a_person() {
    let account = Account::open().await;
    let own = account.get(&format!("prices/{}", account.price)).await;
    let (product, lookup_key) = (text(&own, "/product"), text(&own, "/lookup_key"));
    // Somebody gives its lookup key to another price, so that nothing is found in its place.
    let other = [
        ("currency", "eur"),
        ("product", &product),
        ("recurring[interval]", "month"),
        ("unit_amount", "900"),
        ("lookup_key", &lookup_key),
        ("transfer_lookup_key", "true"),
    ];
    account.post("prices", &other).await;
    let (differences, remaining) = account.reconcile(false).await;
    let [difference] = differences.as_slice() else {
        panic!("{differences:?}");
    };
    let DifferenceKind::Unclear { reason } = &difference.kind else {
        panic!("{difference:?}");
    };
    assert!(reason.contains(&account.price), "{reason}");
    assert_eq!(
        (difference.tenant, difference.mended, remaining),
        (None, false, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_another_account_is_refused_until_an_operator_adopts_it() {
    let account = Account::open().await;
    let known = || async {
        let plans = documents_of(&account.backend, "plan").await;
        plans[0]["view"]["stripe_account"].clone()
    };
    let own = json!({ "id": "acct_development", "live": false });
    eventually("the account", || async { known().await == own }).await;
    let other = StripeAccount {
        id: StripeAccountId::parse("acct_other").unwrap(),
        live: false,
    };
    let adopt = plan::Command::RecordAccount {
        account: other,
        adopt: true,
    };
    let command = Command::<plan::Area>::by_system(
        CommandId(event_store::random_id().unwrap()),
        TenantId::Platform,
        CATALOGUE,
        std::time::SystemTime::now().into(),
        adopt,
    );
    send_command_of_operator(&account.backend, command).await;
    let refused = account.try_reconcile(false).await.unwrap_err().to_string();
    assert!(
        refused.contains("workers adopt-stripe-account"),
        "{refused}"
    );
    let (nats, stripe) = (operator_nats(&account.backend), account.options());
    let adopted = workers::adopt_stripe_account(&nats, &stripe).await.unwrap();
    assert_eq!(json!(adopted), own);
    let (_, remaining) = account.reconcile(false).await;
    assert_eq!(remaining, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_customer_is_deleted_in_the_dashboard_gets_another_one() {
    let account = Account::open().await;
    let tenant = account.tenant("weavers").await;
    account.subscribe(&tenant, 3).await;
    let plan = async || billing(&tenant).await["plan"]["name"].clone();
    eventually("the plan", || async { plan().await == "Team" }).await;
    account
        .delete(&format!("customers/{}", tenant.customer))
        .await;
    eventually("the default plan", || async { plan().await == "Free" }).await;
    let customer = async || account.view(&tenant).await["payment"]["customer"].clone();
    eventually("no customer", || async { customer().await.is_null() }).await;
    const SETUP: &str = "mutation { card { createSetupIntent { clientSecret } } }";
    tenant.owner.data(SETUP, ()).await;
    eventually("another customer", || async {
        let customer = customer().await;
        customer.is_string() && customer != *tenant.customer
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_never_began_leaves_a_tenant_its_free_plan() {
    const CHOOSE: &str = "
        mutation($input: ChangeSubscriptionInput!) {
            billing { changeSubscription(input: $input) { plan { name } } }
        }";
    let account = Account::open().await;
    let visitor = Browser::new(&account.backend);
    let plans = visitor.data("{ plans { id name free } }", ()).await;
    let plans = plans["plans"].as_array().unwrap();
    let free = plans.iter().find(|plan| plan["free"] == true).unwrap();
    let chooses = account.tenant("weavers").await;
    let free = input(json!({ "plan": free["id"] }));
    chooses.owner.data(CHOOSE, free).await;
    let chooses_none = account.tenant("spinners").await;
    for tenant in [&chooses, &chooses_none] {
        account
            .use_card(&tenant.customer, "pm_card_authenticationRequired")
            .await;
        let form = [
            ("customer", tenant.customer.as_str()),
            ("items[0][price]", &account.price),
            ("payment_behavior", "allow_incomplete"),
        ];
        let begun = account.post("subscriptions", &form).await;
        assert_eq!(begun["status"], "incomplete");
        let path = format!("subscriptions/{}", text(&begun, "/id"));
        account.delete(&path).await;
    }
    account.settle().await;
    assert_eq!(account.reconcile(true).await.0, []);
    for tenant in [&chooses, &chooses_none] {
        let expected = json!({ "plan": { "name": "Free" }, "standing": "ACTIVE" });
        assert_eq!(billing(tenant).await, expected);
    }
}
