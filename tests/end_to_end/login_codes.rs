//! Logging in by a code in a mail.

use futures_util::future::join_all;
use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::{
    second_factor::{LOG_IN, second},
    support::{
        Browser, Gateway, add_second_factor, bad_input, code, code_of, input, start, start_with,
        succeeded,
    },
};

const ADA: &str = "ada@example.com";
pub const SEND: &str = "
    mutation($input: EmailInput!) {
        account { sendLoginCode(input: $input) { success } }
    }";
/// A word that only these mails have.
const MAIL: &str = "in which you asked for it";

fn to(email: &str) -> Value {
    input(json!({ "email": email }))
}
fn with(email: &str, code: &str) -> Value {
    let params = json!({ "email": email, "code": code });
    input(json!({ "service": "EmailCode", "params": params }))
}

/// Asks for a code in a new browser; returns both.
async fn asks(backend: &local::Local) -> (Browser, String) {
    let browser = Browser::new(backend);
    browser.data(SEND, to(ADA)).await;
    let code = code(&browser.mail(ADA, MAIL, 1).await);
    (browser, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_once_by_a_code_in_the_browser_that_has_asked_for_it() {
    let backend = start().await;
    Browser::signed_up(&backend, ADA).await;
    let (phone, code) = asks(&backend).await;
    let elsewhere = Browser::new(&backend);
    let wrong = bad_input("code");
    assert_eq!(elsewhere.error(LOG_IN, with(ADA, &code)).await, wrong);
    assert_eq!(
        phone.error(LOG_IN, with("bob@example.com", &code)).await,
        wrong
    );
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let answer = phone.data(LOG_IN, with(ADA, &spaced)).await;
    let authentication = &answer["account"]["login"]["session"]["authentication"];
    let proofs = json!([{ "kind": "EMAIL_CODE" }]);
    assert_eq!(*authentication, json!({ "aal": 1, "proofs": proofs }));
    assert!(phone.is_logged_in().await);
    assert_eq!(phone.error(LOG_IN, with(ADA, &code)).await, wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_of_a_mailed_code_lead_to_one_success() {
    let backend = start().await;
    Browser::signed_up(&backend, ADA).await;
    let (phone, code) = asks(&backend).await;
    let copies = join_all((0..50).map(|_| phone.gql(LOG_IN, with(ADA, &code)))).await;
    let count = copies.iter().filter(|answer| succeeded(answer)).count();
    assert_eq!(count, 1, "{copies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_code_takes_five_tries() {
    let backend = start().await;
    Browser::signed_up(&backend, ADA).await;
    let (phone, right) = asks(&backend).await;
    for try_ in 0..5 {
        let wrong = format!("00000{try_}");
        assert_ne!(wrong, right, "one test in 200,000 fails here");
        let error = phone.error(LOG_IN, with(ADA, &wrong)).await;
        assert_eq!(error, bad_input("code"));
    }
    let error = phone.error(LOG_IN, with(ADA, &right)).await;
    assert_eq!(error, bad_input("code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_code_tells_nothing_about_an_address() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let ada = Browser::new(&backend).with_header("x-client", "7.7.7.7");
    ada.sign_up(ADA).await;
    let mut answers = Vec::new();
    for email in [ADA, "eve@example.com"] {
        let browser = Browser::new(&backend).with_header("x-client", "6.6.6.6");
        let sent = browser.post(SEND, to(email)).await;
        let cookie = sent.headers()[SET_COOKIE].to_str().unwrap();
        let (pair, attributes) = cookie.split_once(';').unwrap();
        assert!(pair.starts_with("login-code="), "{cookie}");
        let cookie = (pair.len(), attributes.to_owned());
        let sent = sent.text().await.unwrap();
        let again = browser.gql(SEND, to(email)).await;
        assert_eq!(code_of(&again), "RATE_LIMITED", "{again}");
        let wrong = browser.post(LOG_IN, with(email, "000000")).await;
        answers.push((cookie, sent, wrong.text().await.unwrap()));
    }
    assert_eq!(answers[0], answers[1]);
    ada.mail(ADA, MAIL, 1).await;
    assert!(ada.mails_to("eve@example.com", "").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookies_are_bound_to_the_host() {
    let backend = start().await;
    let gateway = Gateway::start(&backend, |config| {
        config.posture.public_url = "https://localhost".to_owned();
    })
    .await;
    let browser = Browser::new(&backend).at_gateway(&gateway);
    let sent = browser.post(SEND, to(ADA)).await;
    let cookie = sent.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-login-code="), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600; Secure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_code_does_not_replace_the_second_factor() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, _) = add_second_factor(&ada).await;
    let (phone, code) = asks(&backend).await;
    let answer = phone.data(LOG_IN, with(ADA, &code)).await;
    let login = &answer["account"]["login"];
    assert!(login["session"].is_null() && login["challenge"].is_object());
    assert!(!phone.is_logged_in().await);
    let answer = phone.data(LOG_IN, second("Totp", &app.next().await)).await;
    let authentication = &answer["account"]["login"]["session"]["authentication"];
    let proofs = json!([{ "kind": "EMAIL_CODE" }, { "kind": "TOTP" }]);
    assert_eq!(*authentication, json!({ "aal": 2, "proofs": proofs }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_a_new_device_is_mailed_once() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    ada.log_in(ADA).await;
    let phone = Browser::new(&backend).with_header("user-agent", "Phone/1.0");
    phone.log_in(ADA).await;
    let mail = ada.mail(ADA, "do not know: Phone/1.0", 1).await;
    assert!(mail["text"].is_string());
    phone.log_in(ADA).await;
    // A later mail of the same kind comes after any that is sent for these.
    let other = Browser::new(&backend).with_header("user-agent", "Tablet/1.0");
    other.log_in(ADA).await;
    ada.mail(ADA, "do not know: Tablet/1.0", 1).await;
    assert_eq!(ada.mails_to(ADA, "do not know").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_code_makes_a_session_fresh() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    ada.data(SEND, to(ADA)).await;
    let code = code(&ada.mail(ADA, MAIL, 1).await);
    let step_up = "mutation($input: LoginInput!) {
        account { stepUp(input: $input) { session { authentication { proofs { kind } } } } }
    }";
    let params = json!({ "code": code });
    let by_code = input(json!({ "service": "EmailCode", "params": params }));
    let answer = ada.data(step_up, by_code).await;
    let proofs = &answer["account"]["stepUp"]["session"]["authentication"]["proofs"];
    assert_eq!(
        *proofs,
        json!([{ "kind": "PASSWORD" }, { "kind": "EMAIL_CODE" }])
    );
}
