//! A new secret, while programs with the old and the new one run together.

use events_schema::secret::Secret;
use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::{
    second_factor::LOG_IN,
    support::{
        Browser, Device, Gateway, START_LOGIN, VERIFY, add_passkey, answer, bad_input, code, input,
        site, site_with, start,
    },
};

/// A secret that the workers of the backend do not have.
const NEXT: &str = "k2:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

/// Derives from the next secret, and accepts the one of the workers if `accepts` says so.
pub fn rotate(config: &mut gateway::Config, accepts: bool) {
    let next = Secret::parse(NEXT).unwrap();
    let former = std::mem::replace(&mut config.secrets.secret, next);
    config.secrets.accepted_secrets = Vec::from_iter(accepts.then_some(former));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_a_new_secret_accepts_the_codes_and_cookies_of_the_former_one() {
    let backend = start().await;
    let rotated = Gateway::start(&backend, |config| rotate(config, true)).await;
    let ended = Gateway::start(&backend, |config| rotate(config, false)).await;
    let ada = Browser::new(&backend);
    ada.register("ada@example.com").await;
    let code = code(&ada.mail("ada@example.com", "code", 1).await);
    let answer = input(json!({ "email": "ada@example.com", "code": code }));
    // Neither the browser's cookie nor the code of the mail is known there.
    let refused = ada.at_gateway(&ended).error(VERIFY, &answer).await;
    assert_eq!(refused["code"], "BAD_USER_INPUT");
    ada.at_gateway(&rotated).data(VERIFY, &answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_out_by_a_new_secret() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let ended = Gateway::start(&backend, |config| rotate(config, false)).await;
    assert!(ada.at_gateway(&ended).is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_passkey_counts_once_at_gateways_with_different_secrets() {
    let backend = start().await;
    let former = site(&backend).await;
    let rotated = site_with(&backend, |config| rotate(config, true)).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let mut phone = Device::new();
    add_passkey(&ada.at_gateway(&former), &mut phone, "Phone").await;
    let asked = Browser::new(&backend).at_gateway(&former);
    let asked = asked.post(START_LOGIN, ()).await;
    let cookie = asked.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let asked: Value = asked.json().await.unwrap();
    let proof = answer(phone.get(&asked["data"]["account"]["startPasskey"]).await);
    let at = |gateway| {
        let browser = Browser::new(&backend).at_gateway(gateway);
        browser.with_header("cookie", cookie)
    };
    at(&rotated).data(LOG_IN, &proof).await;
    let again = at(&former).error(LOG_IN, &proof).await;
    assert_eq!(again, bad_input("response"));
}
