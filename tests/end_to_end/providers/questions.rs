//! What a provider is asked, and for how long.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_provider_ends_a_log_in_with_a_reason_in_time() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    // So it is asked three times: for tokens, keys and the address.
    world.provider.claims(json!({ "email": null }));
    let browser = world.browser();
    let back = world.begins(&browser, "google").await;
    world.provider.takes(Duration::from_secs(3));
    let began = Instant::now();
    let to = browser.visit(&back).await.unwrap();
    assert!(to.ends_with("login=failed&reason=unavailable"), "{to}");
    assert!(began.elapsed() < Duration::from_secs(8), "{began:?}");
    assert!(!browser.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_asked_for_the_address_of_a_person_whom_nobody_knows() {
    let world = World::start().await;
    for (sub, name) in [("7", "google"), ("8", "github")] {
        let email = format!("{name}@gmail.com");
        let person = json!({ "sub": sub, "email": email, "email_verified": true });
        world.provider.identifies(person);
        world.provider.claims(json!({ "email": null }));
        let asked = world.provider.asked();
        for _ in 0..2 {
            assert_eq!(world.logs_in(&world.browser(), name).await, "done");
            assert_eq!(world.provider.asked(), asked + 1, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authoritative_provider_says_elsewhere_that_an_address_is_not_verified() {
    let world = World::start().await;
    // The ID token has the address, but does not say whether it is verified.
    world.provider.claims(json!({ "email_verified": null }));
    for (sub, verified, info, expected) in [
        ("1", json!(true), json!({}), "done"),
        ("2", Value::Null, json!({}), "done"),
        ("3", json!(false), json!({}), "code"),
        (
            "4",
            json!(true),
            json!({ "email": "eve@example.com" }),
            "code",
        ),
    ] {
        let email = format!("{sub}@example.com");
        let person = json!({ "sub": sub, "email": email, "email_verified": verified });
        world.provider.identifies(person);
        world.provider.user_info(info);
        let learned = world.logs_in(&world.browser(), "corp").await;
        assert_eq!(learned, expected, "{sub}");
    }
}
