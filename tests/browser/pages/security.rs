//! The page of security.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_logs_in_by_a_passkey_and_manages_passkeys() {
    let mut world = logged_out("/account/login?return_to=/account/security").await;
    world.touches(true).await;
    let page = &mut world.page;
    page.press("Use a passkey").await;
    page.arrives_at("/account/security").await;
    page.press("Rename").await;
    page.type_in("name", "Telephone").await;
    page.press("Continue").await;
    page.shows("The passkey is renamed.").await;
    page.shows("Telephone").await;
    page.is_at("Passkeys").await;
    page.press("Remove").await;
    page.shows("Remove the password?").await;
    page.press("Cancel").await;
    page.is_at("Remove").await;
    page.press("Remove").await;
    page.press("Remove").await;
    page.shows("The password is removed.").await;
    page.is_at("Password").await;
    // The passkey is the last way to log in now.
    page.press("Remove").await;
    page.shows("Remove the passkey “Telephone”?").await;
    page.press("Remove").await;
    page.until("document.querySelector('[role=status]').textContent.length > 3")
        .await;
    page.shows("Telephone").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_wrong_code_of_a_new_app_may_be_typed_again_and_its_recovery_codes_stay_until_done() {
    let mut world = logged_out("/account/login").await;
    world.logs_in().await;
    world.page.arrives_at("/account/security").await;
    world.touches(true).await;
    let page = &mut world.page;
    page.press("Add an authenticator app").await;
    page.press("Use a passkey").await;
    page.shows("Scan the code").await;
    let secret = page.text_of("dialog code").await;
    let pictures = "document.querySelectorAll('dialog svg path').length";
    assert_eq!(page.evaluate(pictures).await, 1);
    let mut app = Authenticator::new(&secret);
    let right = app.next().await;
    let wrong = if right == "000000" {
        "000001"
    } else {
        "000000"
    };
    page.type_in("code", wrong).await;
    page.press("Continue").await;
    page.until("document.querySelector('dialog [role=alert]')?.textContent")
        .await;
    assert_eq!(page.text_of("dialog code").await, secret);
    page.type_in("code", &right).await;
    page.press("Continue").await;
    page.shows("Keep these recovery codes").await;
    let labelled = "document.getElementById(
        document.querySelector('dialog').getAttribute('aria-labelledby')).textContent";
    let label = page.evaluate(labelled).await;
    assert!(label.as_str().unwrap().starts_with("Keep these"), "{label}");
    // Chromium closes a dialog by the second one, whatever the page says to the first.
    for _ in 0..3 {
        page.escape().await;
    }
    page.shows("Keep these recovery codes").await;
    page.press("Done").await;
    page.shows("10 recovery codes are left").await;
    page.shows("The second factor is on.").await;
    page.is_at("Second factor").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_who_cancels_a_proof_has_changed_nothing_and_reads_no_error() {
    let mut world = logged_out("/account/login").await;
    world.logs_in().await;
    let page = &mut world.page;
    page.arrives_at("/account/security").await;
    page.press("Add an authenticator app").await;
    page.shows("Prove that it is you").await;
    page.escape().await;
    page.until("!document.querySelector('dialog[open]')").await;
    page.until("document.querySelector('[role=status]').textContent === ''")
        .await;
    page.is_at("Add an authenticator app").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_who_removes_what_has_proved_the_session_logs_in_again() {
    let mut world = logged_out("/account/login").await;
    world.logs_in().await;
    world.page.arrives_at("/account/security").await;
    let _app = world.adds_app().await;
    // Another device: the passkey is not on it.
    world.change("WebAuthn.clearCredentials", json!({})).await;
    world.touches(true).await;
    let page = &mut world.page;
    page.press("Add a passkey").await;
    page.type_in("name", "Telephone").await;
    page.press("Continue").await;
    page.shows("The passkey is added.").await;
    world.touches(false).await;
    world.page.press("Log out here").await;
    world.page.arrives_at("/account/login").await;
    world.touches(true).await;
    let page = &mut world.page;
    page.press("Use a passkey").await;
    page.arrives_at("/account/security").await;
    page.shows("Telephone").await;
    // Nothing proves the session after this.
    let remove = "[...document.querySelectorAll('#passkeys li:last-child button')].at(-1).click()";
    page.evaluate(remove).await;
    page.shows("Remove the passkey “Telephone”?").await;
    page.press("Remove").await;
    page.arrives_at("/account/login").await;
}
