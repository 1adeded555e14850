//! Mails about a trial at Stripe.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{account::Account, status};
use crate::support::{eventually, text};

const THREE_DAYS: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Until then the subscription must be recorded. A trial that is shorter than three days by then
/// has no reminder.
const RECORDED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_reminded_once_three_days_before_a_trial_at_stripe_ends() {
    let account = Account::open().await;
    let tenant = account.tenant("weavers").await;
    let reminded_at = SystemTime::now() + RECORDED_WITHIN;
    let end = (reminded_at + THREE_DAYS).duration_since(UNIX_EPOCH);
    let form = [
        ("customer", tenant.customer.as_str()),
        ("items[0][price]", &account.price),
        ("trial_end", &end.unwrap().as_secs().to_string()),
    ];
    account.post("subscriptions", &form).await;
    eventually("the trial", || async {
        status(&account.view(&tenant).await) == "trialing"
    })
    .await;
    let reminder = tenant.owner.mail("ada@example.com", "trial of the plan", 1);
    let reminder = reminder.await;
    // Stripe counts whole seconds.
    assert!(SystemTime::now() + Duration::from_secs(1) >= reminded_at);
    assert_eq!(text(&reminder, "/subject"), "Your trial ends soon");
    assert!(text(&reminder, "/text").contains("weavers"), "{reminder}");
    account.settle().await;
    let all = tenant
        .owner
        .mails_to("ada@example.com", "trial of the plan");
    assert_eq!(all.await.len(), 1);
}
