//! The pages that the links in mails lead to.

use super::*;
use crate::support::{INVITE, invite, token};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn an_invited_person_logs_in_and_accepts() {
    let mut world = logged_out("/account/verify").await;
    let bob = Browser::signed_up(&world.backend, "bob@example.com").await;
    bob.create_tenant("acme").await;
    let bob = bob.in_tenant("acme");
    bob.data(INVITE, invite(ADA, "MEMBER")).await;
    let token = token(&bob.mail(ADA, "invites", 1).await);
    let page = &mut world.page;
    page.go(&format!("/invitation#token={token}")).await;
    page.arrives_at("/invitation").await;
    page.press("Accept").await;
    page.shows("You are not logged in.").await;
    page.press("Log in").await;
    page.arrives_at("/account/login").await;
    world.logs_in().await;
    let page = &mut world.page;
    page.arrives_at("/invitation").await;
    page.press("Accept").await;
    page.shows("You are a member now.").await;
    let kept = page.evaluate("Object.keys(sessionStorage).length").await;
    assert_eq!(kept, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_who_wants_to_keep_the_account_logs_in_first() {
    let mut world = logged_out("/account/keep").await;
    world.page.press("Log in").await;
    world.page.arrives_at("/account/login").await;
    world.logs_in().await;
    world.page.arrives_at("/account/keep").await;
}
