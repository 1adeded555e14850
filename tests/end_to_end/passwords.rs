//! Passwords: how guessing is slowed down, and how an owner regains access.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Browser, LOGIN, OTHER_PASSWORD, PASSWORD, code_of, credentials, input, start, succeeded, token,
};

const SEND_RESET: &str = r#"
    mutation {
        account { sendResetPasswordEmail(input: { email: "ada@example.com" }) { success } }
    }"#;
const RESET: &str = "
    mutation($input: ResetPasswordInput!) {
        account { resetPassword(input: $input) { success } }
    }";

/// Ten wrong passwords, which lock the address.
async fn lock(eve: &Browser, email: &str) {
    for _ in 0..10 {
        let code = eve.code(LOGIN, credentials(email, OTHER_PASSWORD)).await;
        assert_eq!(code, "UNAUTHENTICATED", "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passwords_lock_an_address_with_or_without_an_account() {
    let backend = start().await;
    Browser::signed_up(&backend, "ada@example.com").await;
    let eve = Browser::new(&backend);
    for email in ["ada@example.com", "nobody@example.com"] {
        lock(&eve, email).await;
        let error = eve.error(LOGIN, credentials(email, PASSWORD)).await;
        assert_eq!(error["code"], "RATE_LIMITED", "{email}");
        assert!(
            error["retryAfter"]
                .as_u64()
                .is_some_and(|seconds| seconds > 0),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_reset_unlocks_the_address_and_revokes_its_sessions() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let (phone, eve) = (Browser::new(&backend), Browser::new(&backend));
    phone.log_in("ada@example.com").await;
    lock(&eve, "ada@example.com").await;

    ada.data(SEND_RESET, ()).await;
    let token = token(&ada.mail("ada@example.com", "reset-password", 1).await);
    let reset = |password: &str| input(json!({ "token": token, "password": password }));
    assert_eq!(ada.error(RESET, reset("short")).await["field"], "password");
    ada.data(RESET, reset(OTHER_PASSWORD)).await;
    assert!(ada.is_logged_in().await, "a reset logs its client in");
    assert!(
        !phone.is_logged_in().await,
        "every earlier session has ended"
    );
    let again = ada.error(RESET, reset(PASSWORD)).await;
    assert_eq!(again["field"], "token", "a link works once");
    let login = eve.login("ada@example.com", OTHER_PASSWORD).await;
    assert!(
        succeeded(&login),
        "the address is no longer locked: {login}"
    );
    ada.mail("ada@example.com", "changed", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_wrong_passwords_are_all_counted() {
    let backend = start().await;
    let guess = async |_| {
        let answer = Browser::new(&backend)
            .login("ada@example.com", OTHER_PASSWORD)
            .await;
        code_of(&answer).clone()
    };
    let codes = join_all((0..100).map(guess)).await;
    let checked = codes
        .iter()
        .filter(|code| **code == "UNAUTHENTICATED")
        .count();
    let refused = codes.iter().filter(|code| **code == "RATE_LIMITED").count();
    assert!(
        (1..=10).contains(&checked),
        "{checked} guesses were checked"
    );
    assert_eq!(checked + refused, 100, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_does_not_starve_readers() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let flood = join_all((0..300).map(|at| {
        let eve = Browser::new(&backend);
        async move {
            let answer = eve
                .login(&format!("user{at}@example.com"), OTHER_PASSWORD)
                .await;
            code_of(&answer).clone()
        }
    }));
    let reads = async {
        for _ in 0..20 {
            let read = tokio::time::timeout(Duration::from_secs(5), ada.is_logged_in()).await;
            assert!(read.expect("reads wait for logins"));
        }
    };
    let (codes, ()) = tokio::join!(flood, reads);
    let expected = |code: &serde_json::Value| *code == "UNAUTHENTICATED" || *code == "RATE_LIMITED";
    assert!(codes.iter().all(expected), "{codes:?}");
}
