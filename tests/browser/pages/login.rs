//! Logging in on the page.

use sha1::{Digest as _, Sha1};

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_logs_in_by_password_and_second_factor() {
    let mut world = logged_out("/account/login").await;
    world.logs_in().await;
    world.page.arrives_at("/account/security").await;
    let (mut app, _) = world.adds_app().await;
    let page = &mut world.page;
    page.press("Log out here").await;
    page.arrives_at("/account/login").await;
    world.logs_in().await;
    let page = &mut world.page;
    page.shows("One more step").await;
    page.type_in("code", &app.next().await).await;
    page.press("Continue").await;
    page.arrives_at("/account/security").await;
    page.shows(ADA).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn the_page_leads_to_this_deployment_only() {
    let mut world = World::start().await;
    for path in [
        "//evil.example",
        "/\\evil.example",
        "/.//evil.example",
        "/a/..//evil.example",
        "/%2e//evil.example",
        "/\t/evil.example",
        "https://evil.example/",
        "javascript:document.title='evil'",
    ] {
        // The page goes on without a click after a log-in by another party.
        let to = json!(path);
        let login =
            format!("`/account/login?login=linked&return_to=${{encodeURIComponent({to})}}`");
        world.page.go_to(&login).await;
        world.page.arrives_at("/account/security").await;
        world.page.go("/account/verify").await;
        world.page.arrives_at("/account/verify").await;
    }
    let page = "/account/login?login=linked&return_to=%2Faccount%2Fkeep";
    world.page.go(page).await;
    world.page.arrives_at("/account/keep").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_compromised_password_is_told_of_after_the_second_factor() {
    let folder = tempfile::tempdir().unwrap();
    let (hashes, packed) = (folder.path().join("hashes"), folder.path().join("packed"));
    let hash = data_encoding::HEXUPPER.encode(&Sha1::digest(PASSWORD));
    std::fs::write(&hashes, format!("{hash}:7\r\n")).unwrap();
    gateway::pack_passwords(&hashes, &packed, &mut |_| {}).unwrap();
    let world = World::start_with(|config| config.pwned_passwords = Some(packed));
    let mut world = world.await;
    world.logs_out("/account/login").await;
    world.logs_in().await;
    world.page.shows("data leak").await;
    world.page.press("Later").await;
    world.page.arrives_at("/account/security").await;
    let (mut app, _) = world.adds_app().await;
    world.page.press("Log out here").await;
    world.page.arrives_at("/account/login").await;
    world.logs_in().await;
    let page = &mut world.page;
    page.shows("One more step").await;
    page.type_in("code", &app.next().await).await;
    page.press("Continue").await;
    page.shows("data leak").await;
    page.press("Change it").await;
    page.arrives_at("/account/security").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_who_has_forgotten_the_password_gets_a_mail() {
    let mut world = logged_out("/account/login").await;
    let page = &mut world.page;
    page.type_in("email", ADA).await;
    page.press("Forgot the password?").await;
    page.shows("If the address has an account").await;
    let mailbox = Browser::new(&world.backend);
    let mail = mailbox.mail(ADA, "/account/reset-password#token=", 1);
    mail.await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn the_address_field_offers_passkeys_also_after_another_window_has_asked_for_one() {
    let mut world = logged_out("/account/login").await;
    // Both windows keep what they were asked in one cookie, and the other one asks last.
    let other_window = r#"
        const get = navigator.credentials.get.bind(navigator.credentials);
        const query = "mutation { account { startPasskey } }";
        let hasAsked = false;
        navigator.credentials.get = async (options) => {
            if (!hasAsked) {
                await fetch("/graphql", {
                    method: "POST",
                    headers: { "content-type": "application/json" },
                    body: JSON.stringify({ query }),
                });
                // A request that has ended meanwhile gets no answer that could be refused.
                hasAsked = !options.signal?.aborted;
            }
            return get(options);
        };
    "#;
    world.page.shows("Use a passkey").await;
    world.page.evaluate(other_window).await;
    // The person comes back to this window.
    let looks = "document.dispatchEvent(new Event('visibilitychange'))";
    world.page.evaluate(looks).await;
    world.touches(true).await;
    let page = &mut world.page;
    page.shows("Another window").await;
    page.arrives_at("/account/security").await;
}
