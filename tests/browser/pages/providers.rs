//! Logging in by another party.

use super::*;

/// Goes on as this person at the party, whose word proves no address.
async fn is_identified(world: &mut World, email: &str) {
    let (party, person) = (&world.provider.url, json!({ "sub": "9", "email": email }));
    world.provider.identifies(person);
    let is_there = format!("location.href.startsWith({})", json!(party));
    world.page.press("Continue with Facebook").await;
    world.page.until(&is_there).await;
    let at = world.page.evaluate("location.href").await;
    let back = world.provider.sends_back(at.as_str().unwrap());
    let back = format!("{}{back}", world.url());
    world.page.go(&back).await;
    world.page.arrives_at("/account/login").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_proves_the_address_by_a_code_that_goes_there() {
    let mut world = logged_out("/account/login?return_to=/account/security").await;
    is_identified(&mut world, "bob@example.com").await;
    world.page.shows("The e-mail address must be proved").await;
    let shown = world.page.evaluate("document.body.innerText").await;
    let shown = shown.as_str().unwrap();
    assert!(!shown.contains("has an account"), "{shown}");
    let code = world.mailed("bob@example.com", 1).await;
    world.page.type_in("code", &code).await;
    world.page.press("Continue").await;
    world.page.arrives_at("/account/security").await;
    world.page.shows("bob@example.com").await;
    world.page.shows("Facebook").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_with_an_account_links_the_identity_after_the_code() {
    let mut world = logged_out("/account/login?return_to=/account/security").await;
    is_identified(&mut world, ADA).await;
    let code = world.mailed(ADA, 1).await;
    world.page.type_in("code", &code).await;
    world.page.press("Continue").await;
    world
        .page
        .shows("You are logged in. Link your Facebook")
        .await;
    world.touches(true).await;
    world.page.press("Link Facebook").await;
    // A mailed code is not enough, since the account has a passkey.
    world.page.press("Use a passkey").await;
    world.page.arrives_at("/account/security").await;
    world.page.shows("Linked").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_log_in_that_has_ended_leads_to_the_page() {
    let mut world = logged_out("/account/login").await;
    world
        .page
        .go("/oauth/facebook/callback?code=a&state=b")
        .await;
    world.page.arrives_at("/account/login").await;
    world.page.shows("Please begin again").await;
    world.page.press("Continue with Facebook").await;
}
