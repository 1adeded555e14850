//! What a log-in by another party is worth: the party may answer without the person.

use super::*;
use crate::{step_up::STEP_UP, support::START_TOTP};

const FRESH_UNTIL: &str = "{ sessions { current authentication { freshUntil } } }";

async fn is_stale(browser: &Browser) {
    let stale = json!({ "code": "STEP_UP_REQUIRED", "methods": ["EmailCode"] });
    assert_eq!(browser.error(START_TOTP, ()).await, stale);
    let shown = browser.data(FRESH_UNTIL, ()).await;
    let sessions = shown["sessions"].as_array().unwrap().iter();
    let mut current = sessions.filter(|session| session["current"] == true);
    let authentication = &current.next().unwrap()["authentication"];
    let until = authentication["freshUntil"].as_str();
    let until = until.map(|text| text.parse::<jiff::Timestamp>().unwrap());
    assert!(until.is_none_or(|until| until < jiff::Timestamp::now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_is_fresh_if_the_person_has_just_logged_in_at_the_party() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "google").await, "done");
    ada.data(START_TOTP, ()).await;
    let now = jiff::Timestamp::now().as_second();
    for auth_time in [json!(now - 11 * 60), json!(0), Value::Null] {
        world.provider.claims(json!({ "auth_time": auth_time }));
        let phone = world.browser();
        assert_eq!(world.logs_in(&phone, "google").await, "done");
        is_stale(&phone).await;
    }
    world.provider.claims(json!({ "auth_time": now - 60 }));
    let phone = world.browser();
    assert_eq!(world.logs_in(&phone, "google").await, "done");
    phone.data(START_TOTP, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_has_no_other_log_in_steps_up_by_a_mailed_code() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": ADA, "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "github").await, "done");
    is_stale(&ada).await;
    ada.data(SEND, input(json!({ "email": ADA }))).await;
    let params = json!({ "code": mailed(&ada, ADA, 1).await });
    let by_code = input(json!({ "service": "EmailCode", "params": params }));
    ada.data(STEP_UP, by_code).await;
    ada.data(START_TOTP, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_party_opens_without_the_person_is_not_fresh() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    world.provider.claims(json!({ "auth_time": null }));
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "google").await, "done");
    is_stale(&ada).await;
}
