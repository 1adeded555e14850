//! What a worker does by itself: it checks its account when it starts, and compares billings.

use std::process::{Output, Stdio};

use events_schema::{
    Command, CommandId, StripeAccountId, TenantId,
    plan::{self, CATALOGUE, StripeAccount},
};
use serde_json::json;
use tokio::time::timeout;

use super::{
    account::{Account, worker},
    status,
};
use crate::support::{DEADLINE, documents_of, eventually, send_command_of_operator};

/// Records another account than that of the key, or the other mode, once the own one is recorded.
async fn adopt(account: &Account, id: &str, live: bool) {
    let is_recorded = || async {
        let plans = documents_of(&account.backend, "plan").await;
        plans[0]["view"]["stripe_account"].is_object()
    };
    eventually("the account of the key", is_recorded).await;
    let id = StripeAccountId::parse(id).unwrap();
    let command = Command::<plan::Area>::by_system(
        CommandId(event_store::random_id().unwrap()),
        TenantId::Platform,
        CATALOGUE,
        std::time::SystemTime::now().into(),
        plan::Command::RecordAccount {
            account: StripeAccount { id, live },
            adopt: true,
        },
    );
    send_command_of_operator(&account.backend, command).await;
}

/// Runs a worker until it ends by itself.
async fn ended(account: &Account, loops: &str) -> Output {
    let mut worker = worker(&account.backend, &["--loops", loops]);
    let worker = worker.stderr(Stdio::piped()).spawn().unwrap();
    let ended = timeout(DEADLINE, worker.wait_with_output()).await;
    ended.expect("the worker runs on").unwrap()
}

fn assert_refused(ended: &Output, of: &str) {
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{error}");
    assert!(error.contains("workers adopt-stripe-account"), "{error}");
    assert!(error.contains(of), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_the_key_of_another_account_or_mode_does_not_start() {
    let account = Account::open().await;
    for (id, live, of) in [
        ("acct_other", false, "acct_other (test)"),
        ("acct_development", true, "acct_development (live)"),
    ] {
        adopt(&account, id, live).await;
        // This loop checks nothing later.
        assert_refused(&ended(&account, "inbound").await, of);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_could_not_ask_for_its_account_ends_once_that_is_another_one() {
    let account = Account::open().await;
    adopt(&account, "acct_other", false).await;
    let away = json!({
        "kind": "answer", "status": 500, "next": 1, "method": "GET", "path": "/v1/account",
    });
    account.control("faults", away).await;
    let ended = ended(&account, "effects").await;
    assert_refused(&ended, "acct_other (test)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_compares_billings_with_stripe_without_being_asked() {
    let account = Account::open().await;
    account.control("delivery", json!({ "mode": "omit" })).await;
    let tenant = account.tenant("weavers").await;
    account.subscribe(&tenant, 3).await;
    let compares = ["--loops", "effects", "--comparison-interval-s", "1"];
    let _worker = worker(&account.backend, &compares).spawn().unwrap();
    eventually("what Stripe has", || async {
        status(&account.view(&tenant).await) == "active"
    })
    .await;
}
