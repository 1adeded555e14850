//! Each part of the list is read once, and a long list in parts.

use events_schema::Id;
use serde_json::{Value, json};

use super::*;
use crate::stripe::{
    StripeOptions, StripeTax,
    testing::{Act, Server, json as ok},
};

const FIRST: TenantKey = TenantKey(Id::from_bytes([1; 16]));
const SECOND: TenantKey = TenantKey(Id::from_bytes([2; 16]));

fn stripe(server: &Server) -> Stripe {
    let options = StripeOptions {
        stripe_key: "sk_test_1".parse().unwrap(),
        stripe_url: server.url().parse().unwrap(),
        stripe_tax: StripeTax::None,
        stripe_rate: 100,
    };
    Stripe::new(&options).unwrap().unwrap()
}

fn customer(id: &str, tenant: TenantKey, created: i64) -> Value {
    let metadata = json!({ "ub_tenant": tenant.to_string() });
    json!({ "id": id, "created": created, "metadata": metadata })
}

fn page(data: &[Value], has_more: bool) -> Act {
    ok(&json!({ "data": data, "has_more": has_more }).to_string())
}

/// The lists that were asked for: since when, until when, and after which customer.
fn lists(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter();
    let lists = requests.filter(|it| it.starts_with("GET /v1/customers?"));
    let shown = lists.map(|list| {
        let query = list.split_once('?').unwrap().1;
        let pairs = url::form_urlencoded::parse(query.split(' ').next().unwrap().as_bytes());
        let wanted = pairs.filter(|(name, _)| name != "limit");
        wanted
            .map(|(_, value)| value.into_owned())
            .collect::<Vec<_>>()
    });
    shown.map(|list| list.join(" ")).collect()
}

#[tokio::test]
async fn many_tenants_that_wait_read_each_part_of_the_list_once() {
    let first = customer("cus_1", FIRST, 120);
    let second = customer("cus_2", SECOND, 150);
    let third = customer("cus_3", FIRST, 210);
    let server = Server::acts([
        page(std::slice::from_ref(&second), true),
        page(std::slice::from_ref(&first), false),
        ok(&first.to_string()),
        ok(&second.to_string()),
        page(std::slice::from_ref(&third), false),
        ok(&third.to_string()),
        page(&[], false),
        ok(&json!({ "id": "cus_2", "deleted": true }).to_string()),
    ])
    .await;
    let stripe = stripe(&server);
    let find = async |tenant, since, until| {
        let time = (Timestamp(since), Timestamp(until));
        let found = stripe.find_old_customer(tenant, time).await.unwrap();
        found.map(|found| found.id.to_string())
    };
    assert_eq!(find(FIRST, 100, 200).await.as_deref(), Some("cus_1"));
    assert_eq!(find(SECOND, 100, 200).await.as_deref(), Some("cus_2"));
    assert_eq!(find(SECOND, 151, 200).await, None);
    assert_eq!(find(FIRST, 100, 300).await.as_deref(), Some("cus_3"));
    assert_eq!(find(SECOND, 50, 300).await, None);
    let expected = ["100 200", "100 200 cus_2", "200 300", "50 100"];
    assert_eq!(lists(&server), expected);
    assert_eq!(find(FIRST, 300, 300).await, None);
}

#[tokio::test]
async fn a_long_list_is_read_by_several_attempts() {
    let page_at = |created: i64| {
        let other = customer(&format!("cus_{created}"), SECOND, created);
        page(&[other], true)
    };
    let mut acts: Vec<Act> = (0..20).map(|at| page_at(1_000 - at)).collect();
    let own = customer("cus_1", FIRST, 500);
    acts.push(page(std::slice::from_ref(&own), false));
    acts.push(ok(&own.to_string()));
    let acts: [Act; 22] = acts.try_into().ok().unwrap();
    let server = Server::acts(acts).await;
    let stripe = stripe(&server);
    let time = (Timestamp(100), Timestamp(1_000));
    let long = stripe.find_old_customer(FIRST, time).await.unwrap_err();
    assert!(matches!(long, StripeError::Unavailable(_)), "{long:?}");
    let found = stripe.find_old_customer(FIRST, time).await.unwrap();
    assert_eq!(found.unwrap().id.as_str(), "cus_1");
    assert_eq!(lists(&server)[20], "100 981");
}
