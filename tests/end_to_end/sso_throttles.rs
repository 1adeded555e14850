//! A hostile issuer logs in as often as it likes. It must neither guess what only the person knows
//! nor lock them out.

use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::{
    second_factor::{LOG_IN, second},
    sso::{BOB, LINK, STEP_UP, World, by_password},
    support::{
        Authenticator, Browser, PASSWORD, add_second_factor, code_of, credentials, eventually,
        input, succeeded,
    },
};

/// Wrong proofs that need no wait.
const FREE: usize = 10;

const CARL: &str = "carl@corp.example";

/// Bob, who has linked his identity at the connection, with its id.
async fn linked_bob(world: &World) -> (Browser, String) {
    let (_ada, id) = world.verified().await;
    (linked(world, BOB, &id).await, id)
}

/// A person who has linked their identity at the connection, which further log-ins are about.
async fn linked(world: &World, email: &str, id: &str) -> Browser {
    let person = world.person(email).await;
    world
        .issuer
        .identifies(json!({ "sub": email, "email": email }));
    assert_eq!(world.logs_in(&person, id).await, "linking");
    person.data(LINK, ()).await;
    person
}

fn wrong_password() -> Value {
    input(json!({ "service": "Password", "params": { "password": "a wrong password" } }))
}

/// Whether a wrong proof was compared; if not, it must wait.
fn is_compared(answer: &Value) -> bool {
    let code = code_of(answer);
    assert!(
        code == "BAD_USER_INPUT" || code == "RATE_LIMITED",
        "{answer}"
    );
    code == "BAD_USER_INPUT"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_guesses_ten_passwords_however_often_it_logs_in_and_the_owner_hears_of_it() {
    let world = World::start().await;
    let (bob, id) = linked_bob(&world).await;
    let mut compared = 0;
    for _ in 0..5 {
        let thief = world.browser();
        assert_eq!(world.logs_in(&thief, &id).await, "done");
        for _ in 0..3 {
            let answer = thief.gql(STEP_UP, wrong_password()).await;
            compared += usize::from(is_compared(&answer));
        }
    }
    assert_eq!(compared, FREE);
    bob.mail(BOB, "Many log-ins", 1).await;
    // The owner knows the password, and is not asked to wait.
    bob.data(STEP_UP, by_password()).await;
    world.browser().log_in(BOB).await;
    // The count is that of one person.
    linked(&world, CARL, &id).await;
    let thief = world.browser();
    assert_eq!(world.logs_in(&thief, &id).await, "done");
    assert!(is_compared(&thief.gql(STEP_UP, wrong_password()).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_gets_no_device_and_its_log_ins_send_no_mail() {
    let world = World::start().await;
    let (bob, id) = linked_bob(&world).await;
    let devices = bob.mails_to(BOB, "device that we do not know").await.len();
    let thief = world.browser();
    let start = thief.visit(&format!("/oauth/{id}/start")).await.unwrap();
    let back = thief.url(&world.issuer.sends_back(&start));
    let done = thief.http().get(back).send().await.unwrap();
    let cookies: Vec<_> = done.headers().get_all(SET_COOKIE).iter().collect();
    let has = |name: &str| {
        let mut cookies = cookies.iter().map(|cookie| cookie.to_str().unwrap());
        cookies.any(|cookie| cookie.starts_with(name))
    };
    assert!(has("session=") && !has("device="), "{cookies:?}");
    // A log-in by the password tells of the device, and comes after the mail that must not come.
    let stranger = world.browser();
    stranger.log_in(BOB).await;
    eventually("the mail of the log-in by the password", || async {
        bob.mails_to(BOB, "device that we do not know").await.len() > devices
    })
    .await;
    assert_eq!(
        bob.mails_to(BOB, "device that we do not know").await.len(),
        devices + 1
    );
}

/// Gives wrong codes in further log-ins by the connection; returns how many were compared.
async fn guesses_codes(world: &World, id: &str, app: &Authenticator, log_ins: usize) -> usize {
    let mut compared = 0;
    for _ in 0..log_ins {
        let thief = world.browser();
        assert_eq!(world.logs_in(&thief, id).await, "second_factor");
        for _ in 0..5 {
            // One that was used already.
            let answer = thief.gql(LOG_IN, second("Totp", &app.latest())).await;
            compared += usize::from(is_compared(&answer));
        }
    }
    compared
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_guesses_ten_codes_and_locks_nobody_out_of_the_second_factor() {
    let world = World::start().await;
    let (bob, id) = linked_bob(&world).await;
    let (mut app, codes) = add_second_factor(&bob).await;
    assert_eq!(guesses_codes(&world, &id, &app, 3).await, FREE);

    let phone = world.browser();
    let begun = phone.gql(LOG_IN, credentials(BOB, PASSWORD)).await;
    assert!(succeeded(&begun), "{begun}");
    phone.data(LOG_IN, second("Totp", &app.next().await)).await;
    bob.data(STEP_UP, second("RecoveryCode", &codes[0])).await;
    // The count is that of one person.
    let carl = linked(&world, CARL, &id).await;
    let (app, _) = add_second_factor(&carl).await;
    assert_eq!(guesses_codes(&world, &id, &app, 1).await, 5);
}
