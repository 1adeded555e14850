//! Sessions: how they start, are listed and are revoked.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::{
    step_up::STEP_UP,
    support::{
        Browser, Gateway, LOGIN, OTHER_PASSWORD, PASSWORD, PLATFORM, credentials, eventually,
        input, list, mongo, operator, start, succeeded, text,
    },
};

const SESSIONS: &str = "{ sessions { id device startedAt lastUsedAt current } }";
const REVOKE: &str = "
    mutation($id: ID!) {
        account { revokeSession(id: $id) { success } }
    }";
const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";
const CHANGE_PASSWORD: &str = "
    mutation($input: ChangePasswordInput!) {
        account { changePassword(input: $input) { success } }
    }";

const RENAME: &str = "
    mutation($input: RenameSessionInput!) {
        account { renameSession(input: $input) { id name current } }
    }";

async fn ends_within_two_seconds(browser: &Browser) {
    let start = Instant::now();
    eventually("the end of a session", || async {
        !browser.is_logged_in().await
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

/// Ada's phone at one gateway and her laptop at another; the id of the laptop's session.
async fn phone_and_laptop(backend: &local::Local, second: &Gateway) -> (Browser, Browser, String) {
    let phone = Browser::signed_up(backend, "ada@example.com").await;
    let laptop = Browser::new(backend).at_gateway(second);
    let answer = laptop.login("ada@example.com", PASSWORD).await;
    let session = text(&answer, "/data/account/login/session/id");
    (phone, laptop, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_names_a_session_and_the_one_that_replaces_it_keeps_the_name() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let sessions = ada.data(SESSIONS, ()).await;
    let id = text(&sessions, "/sessions/0/id");
    let renamed = |id: &str, name: &str| input(json!({ "id": id, "name": name }));
    let phone = ada.data(RENAME, renamed(&id, " Phone ")).await;
    let expected = json!({ "id": id, "name": "Phone", "current": true });
    assert_eq!(phone["account"]["renameSession"], expected);
    let refused = ada.code(RENAME, renamed(&id, "")).await;
    assert_eq!(refused, "BAD_USER_INPUT");

    let params = json!({ "password": PASSWORD });
    let again = input(json!({ "service": "Password", "params": params }));
    ada.data(STEP_UP, again).await;
    let shown = ada.data("{ sessions { id name } }", ()).await;
    let shown = list(&shown["sessions"]);
    assert_eq!((shown.len(), &shown[0]["name"]), (1, &json!("Phone")));

    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    let current = text(&shown[0], "/id");
    for other in [&current, &id] {
        let code = eve.code(RENAME, renamed(other, "Mine")).await;
        assert_eq!(code, "NOT_FOUND");
    }
    assert_eq!(ada.code(RENAME, renamed(&id, "Old")).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_all_their_sessions_and_which_one_is_current() {
    let backend = start().await;
    let second = Gateway::start(&backend, |_| {}).await;
    let (phone, _laptop, _) = phone_and_laptop(&backend, &second).await;
    let sessions = phone.data(SESSIONS, ()).await;
    let sessions = list(&sessions["sessions"]);
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        sessions
            .iter()
            .filter(|session| session["current"] == true)
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_refused_by_every_gateway_within_two_seconds() {
    let backend = start().await;
    let second = Gateway::start(&backend, |_| {}).await;
    let (phone, laptop, session) = phone_and_laptop(&backend, &second).await;
    phone.data(REVOKE, json!({ "id": session })).await;
    ends_within_two_seconds(&laptop).await;
    assert!(phone.is_logged_in().await);

    laptop.log_in("ada@example.com").await;
    phone.data(REVOKE_ALL, ()).await;
    ends_within_two_seconds(&laptop).await;
    ends_within_two_seconds(&phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_persons_session_is_revoked_like_one_that_does_not_exist() {
    let backend = start().await;
    let second = Gateway::start(&backend, |_| {}).await;
    let (_phone, laptop, session) = phone_and_laptop(&backend, &second).await;
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    assert_eq!(
        eve.code(REVOKE, json!({ "id": session })).await,
        "NOT_FOUND"
    );
    assert_eq!(
        eve.code(REVOKE, json!({ "id": "0".repeat(32) })).await,
        "NOT_FOUND"
    );
    assert!(laptop.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_revokes_every_other_session() {
    let backend = start().await;
    let second = Gateway::start(&backend, |_| {}).await;
    let (phone, laptop, _) = phone_and_laptop(&backend, &second).await;
    let change = |old: &str| input(json!({ "oldPassword": old, "newPassword": OTHER_PASSWORD }));
    let wrong = phone.error(CHANGE_PASSWORD, change(OTHER_PASSWORD)).await;
    assert_eq!(wrong["field"], "oldPassword");
    phone.data(CHANGE_PASSWORD, change(PASSWORD)).await;
    ends_within_two_seconds(&laptop).await;
    assert!(
        phone.is_logged_in().await,
        "the client that changed it has a new session"
    );
    assert!(succeeded(
        &laptop.login("ada@example.com", OTHER_PASSWORD).await
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_cannot_read_the_session_cookie() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let response = ada
        .post(LOGIN, credentials("ada@example.com", PASSWORD))
        .await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    for part in ["session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_revokes_the_previous_session_of_the_browser() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    ada.log_in("ada@example.com").await;
    let sessions: Value = ada.data(SESSIONS, ()).await;
    assert_eq!(list(&sessions["sessions"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_after_twelve_hours_without_use_at_any_gateway() {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let id = text(&ada.data(SESSIONS, ()).await, "/sessions/0/id");
    let operator = operator(&backend).await;
    let uses = operator.get_key_value("SESSION_USES").await.unwrap();
    assert_eq!(
        uses.get(&id).await.unwrap(),
        None,
        "the start is its first use"
    );

    // As if it had been started 13 hours ago. The memory of a new gateway does not have it yet.
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let long_ago = now_ms - 13 * HOUR_MS;
    let sessions = mongo(&backend)
        .await
        .database(PLATFORM)
        .collection::<Document>("session");
    let change = doc! { "$set": { "view.started_at": long_ago, "view.last_used_at": long_ago } };
    sessions.update_many(doc! {}, change).await.unwrap();
    let gateway = Gateway::start(&backend, |_| {}).await;
    let ada = ada.at_gateway(&gateway);
    assert_eq!(ada.code(SESSIONS, ()).await, "UNAUTHENTICATED");

    // As another gateway would have recorded it.
    let an_hour_ago = now_ms - HOUR_MS;
    uses.put(&id, an_hour_ago.to_string().into()).await.unwrap();
    let shown = ada.data(SESSIONS, ()).await;
    let last_used_at: jiff::Timestamp = text(&shown, "/sessions/0/lastUsedAt").parse().unwrap();
    assert!(last_used_at.as_millisecond() >= an_hour_ago);
    eventually("the record of this use", || async {
        let recorded = uses.get(&id).await.unwrap().unwrap();
        let recorded: i64 = str::from_utf8(&recorded).unwrap().parse().unwrap();
        recorded > now_ms - HOUR_MS / 4
    })
    .await;
    let commits = commits_of_sessions(&operator).await;
    assert_eq!(commits, 1, "uses are not in the log");
}

async fn commits_of_sessions(operator: &jetstream::Context) -> usize {
    let events = operator.get_stream("EVENTS").await.unwrap();
    let subjects = events.info_with_subjects("evt.platform.session.*").await;
    let subjects: Vec<(String, usize)> = subjects.unwrap().try_collect().await.unwrap();
    subjects.iter().map(|(_, count)| count).sum()
}
