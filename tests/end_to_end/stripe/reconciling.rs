//! `workers reconcile-billing` finds what the events of Stripe have not told.

use serde_json::json;

use super::{
    account::{Account, Tenant, billing},
    status,
};
use crate::support::{eventually, input};

const DELETE_TENANT: &str = "
    mutation($input: DeleteTenantInput!) { tenant { delete(input: $input) { success } } }";
/// Differences of each kind.
const EACH: usize = 12;

/// Changes something at Stripe, or deletes the tenant.
async fn plant(account: &Account, tenant: &Tenant, subscription: &str, kind: usize) {
    let path = format!("subscriptions/{subscription}");
    match kind {
        0 => _ = account.delete(&path).await,
        1 => {
            _ = account
                .post(&path, &[("cancel_at_period_end", "true")])
                .await
        }
        2 => {
            _ = account
                .delete(&format!("customers/{}", tenant.customer))
                .await
        }
        _ => {
            let item = account.get(&path).await;
            let item = item["items"]["data"][0]["id"].as_str().unwrap();
            let seats = [("items[0][id]", item), ("items[0][quantity]", "9")];
            _ = account.post(&path, &seats).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_differences_are_found_and_mended_and_a_second_run_finds_none() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let mut tenants = Vec::new();
    for number in 0..=4 * EACH {
        let tenant = account.tenant(&format!("tenant-{number}")).await;
        let subscription = account.subscribe(&tenant, 3).await;
        tenants.push((tenant, subscription));
    }
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!((differences.len(), remaining), (tenants.len(), 0));

    let (deleted, deleted_subscription) = tenants.pop().unwrap();
    for (number, (tenant, subscription)) in tenants.iter().enumerate() {
        plant(&account, tenant, subscription, number % 4).await;
    }
    let slug = format!("tenant-{}", tenants.len());
    let delete = input(json!({ "normalizedName": slug }));
    deleted.owner.data(DELETE_TENANT, delete).await;
    let price = format!("prices/{}", account.price);
    account.post(&price, &[("active", "false")]).await;

    let (differences, remaining) = account.reconcile(true).await;
    assert_eq!((differences.len(), remaining), (50, 50));
    let (differences, remaining) = account.reconcile(false).await;
    assert_eq!((differences.len(), remaining), (50, 0));
    assert!(differences.iter().all(|it| it.mended), "{differences:?}");
    let (differences, remaining) = account.reconcile(true).await;
    assert_eq!((differences, remaining), (Vec::new(), 0));

    for (number, (tenant, _)) in tenants.iter().enumerate() {
        let (expected, seats) = match number % 4 {
            0 | 2 => ("ended", 3),
            1 => ("active", 3),
            _ => ("active", 9),
        };
        eventually("what Stripe has", || async {
            let view = account.view(tenant).await;
            let quantity = &view["payment"]["subscription"]["quantity"];
            status(&view) == expected && quantity == seats
        })
        .await;
    }
    assert_eq!(billing(&tenants[0].0).await["plan"]["name"], "Free");
    let cancelled = account
        .get(&format!("subscriptions/{deleted_subscription}"))
        .await;
    assert_eq!(cancelled["status"], "canceled");
    assert_eq!(account.get(&price).await["active"], true);
}
