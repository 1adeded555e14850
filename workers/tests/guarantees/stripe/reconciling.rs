//! `workers reconcile-billing` as a program: its options, its output and its exit code.

use std::process::Output;

use events_schema::{
    AccountId, EmailAddress, Placement, Slug, StripeCustomerId, TenantKey, billing, tenant,
};

use super::*;

/// A tenant with a customer, as its log has it.
async fn tenant(world: &World, slug: &str, customer: &str) -> TenantKey {
    let key = TenantKey(id());
    let create = tenant::Command::Create {
        name: Name::parse(slug).unwrap(),
        slug: Slug::parse(slug).unwrap(),
        owner: AccountId(id()),
        email: EmailAddress::parse("ada@example.com").unwrap(),
        plan: None,
        placement: Placement::Shared,
        places: None,
    };
    let (of, command) = (TenantId::Tenant(key), CommandId(key.0));
    send::<tenant::Area>(world, of, key, command, create).await;
    let customer = StripeCustomerId::parse(customer).unwrap();
    let record = billing::Command::RecordCustomer { customer };
    let role = Role::Migrator;
    send_as::<billing::Area>(world, role, of, key, CommandId(id()), record).await;
    key
}

/// Somebody subscribes a customer in the dashboard, and no event tells it.
fn subscribe_at_stripe(kept: &Kept, subscription: &str, customer: &str) {
    let price = kept.lock().unwrap()["prices"][0].clone();
    let item = json!({
        "id": format!("si_{subscription}"), "quantity": 1, "price": price,
        "current_period_end": 1_997_000_000
    });
    let subscription = json!({
        "id": subscription, "customer": customer, "status": "active", "metadata": {},
        "items": { "data": [item] }
    });
    _ = keep(kept, "subscriptions", subscription);
}

/// Runs the program with further arguments.
async fn reconcile(world: &World, url: &str, further: &[&str]) -> Output {
    let stripe = ["--stripe-key", "sk_test_1", "--stripe-url", url];
    let arguments = [&["reconcile-billing"], stripe.as_slice(), further].concat();
    world.process(&arguments).output().await.unwrap()
}

/// The tenants of the lines that the program has printed, in their order by id. Each line is about
/// a subscription, which is mended or not.
fn printed(output: &Output, mended: bool) -> Vec<String> {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let mut tenants = Vec::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["kind"], "subscription", "{line}");
        assert_eq!(line["at_stripe"]["quantity"], 1, "{line}");
        assert_eq!(line["mended"], mended, "{line}");
        tenants.push(line["tenant"].as_str().unwrap().to_owned());
    }
    tenants.sort();
    tenants
}

fn assert_exit(output: &Output, code: i32, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(says), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_shows_what_differs_and_mends_one_tenant_or_all() {
    let kept = Kept::default();
    let url = serve(kept.clone()).await;
    let world = World::start().await;
    let _deciding = world.workers::<1>(COMMANDS_AND_VIEWS).await;
    let (acme, burger) = (
        tenant(&world, "acme", "cus_1").await,
        tenant(&world, "burger", "cus_2").await,
    );
    let run = |further: &'static [&'static str]| reconcile(&world, &url, further);
    create_plan(&world).await;
    // It also creates the prices that Stripe does not know.
    assert_exit(&run(&[]).await, 0, "");
    assert_eq!(kept.lock().unwrap()["prices"].len(), 1);
    subscribe_at_stripe(&kept, "sub_1", "cus_1");
    subscribe_at_stripe(&kept, "sub_2", "cus_2");

    let [acme_id, burger_id] = [acme, burger].map(|key| key.to_string());
    let both = vec![acme_id.clone(), burger_id.clone()];
    for _ in 0..2 {
        let found = run(&["--dry-run", "--json"]).await;
        assert_exit(&found, 1, "2 differences are not mended");
        assert_eq!(printed(&found, false), both);
    }
    let mended = run(&["--tenant", "acme", "--json"]).await;
    assert_exit(&mended, 0, "");
    assert_eq!(printed(&mended, true), [acme_id]);

    let by_id = ["--tenant", burger_id.as_str(), "--json", "--dry-run"];
    let found = reconcile(&world, &url, &by_id).await;
    assert_exit(&found, 1, "1 differences are not mended");
    assert_eq!(printed(&found, false), [burger_id]);
    let silent = run(&[]).await;
    assert_exit(&silent, 0, "");
    assert!(silent.stdout.is_empty(), "only `--json` prints");
    let found = run(&["--dry-run", "--json"]).await;
    assert_exit(&found, 0, "");
    assert!(found.stdout.is_empty());

    let unknown = run(&["--tenant", "nobody"]).await;
    assert_exit(&unknown, 1, "there is no tenant nobody");
}
