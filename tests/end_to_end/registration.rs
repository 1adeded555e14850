//! Registration, verification by mail and the profile.

use std::collections::BTreeSet;

use futures_util::{TryStreamExt as _, future::join_all};
use serde_json::{Value, json};

use crate::support::{
    Browser, OTHER_PASSWORD, PASSWORD, REGISTER, VERIFY, code, code_of, input, operator, start,
    start_with, succeeded, token,
};

const UPDATE: &str = "
    mutation($input: UpdateProfileInput!) {
        profile { update(input: $input) { firstname lastname revision } }
    }";
const VERIFY_LINK: &str = "
    mutation($token: String!, $password: String) {
        account { verifyActivationLink(input: { token: $token, password: $password }) { success } }
    }";
/// A gateway that learns clients' addresses from the header `x-client`.
const BEHIND_PROXY: &[&str] = &["--client-address-header", "x-client"];
const SEND_VERIFICATION: &str = "
    mutation($email: String!) {
        account { sendVerificationEmail(input: { email: $email }) { success } }
    }";

fn verification(email: &str, code: &str) -> Value {
    input(json!({ "email": email, "code": code }))
}

/// A code that is not this one.
fn other_than(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_registers_verifies_the_address_and_logs_in() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    assert!(!ada.is_logged_in().await);
    let answer = ada.register("Ada@Example.com").await;
    assert_eq!(answer["data"]["account"]["register"]["success"], true);

    let mail = ada.mail("ada@example.com", "code", 1).await;
    assert!(mail["html"].as_str().unwrap().contains(&code(&mail)));
    let text = mail["text"].as_str().unwrap();
    assert!(
        text.contains(&backend.url()),
        "the link leads to the gateway"
    );
    ada.data(VERIFY, verification(" ADA@example.com", &code(&mail)))
        .await;
    let answer = ada.login("ada@example.com", PASSWORD).await;
    let login = &answer["data"]["account"]["login"];
    assert_eq!(login["user"]["verified"], true);
    assert_eq!(login["session"]["device"], "Browser/1.0");
    assert_eq!(login["session"]["current"], true);

    ada.data("mutation { account { logout { success } } }", ())
        .await;
    assert!(!ada.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_an_unverified_address_is_refused_like_one_with_an_unknown_address() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    ada.register("ada@example.com").await;
    let unverified = ada.login("ada@example.com", PASSWORD).await;
    assert_eq!(code_of(&unverified), "UNAUTHENTICATED", "{unverified}");
    assert_eq!(unverified, ada.login("nobody@example.com", PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_shows_what_was_written_last() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let query = "{ profile { firstname lastname email verified createdAt } }";
    assert_eq!(ada.data(query, ()).await["profile"]["lastname"], "Lovelace");
    let updated = ada
        .data(UPDATE, input(json!({ "lastname": "Byron" })))
        .await;
    assert_eq!(updated["profile"]["update"]["firstname"], "Ada");
    assert_eq!(ada.data(query, ()).await["profile"]["lastname"], "Byron");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_address_gets_the_answer_of_a_new_one_and_its_owner_gets_one_mail_an_hour() {
    let backend = start_with(BEHIND_PROXY).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let client =
        |number: u8| Browser::new(&backend).with_header("x-client", &format!("6.6.6.{number}"));
    let known = client(1).register("ADA@example.com").await;
    assert_eq!(known, client(1).register("new@example.com").await);
    ada.mail("ada@example.com", "register", 1).await;
    for number in 2..5 {
        assert_eq!(client(number).register("ada@example.com").await, known);
    }
    client(5).register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    let mails = ada.mails_to("ada@example.com", "").await.len();
    assert!(
        mails <= 3,
        "one to verify, one to warn, two at the turn of an hour; not {mails}"
    );
    assert!(ada.is_logged_in().await);
    let answer = client(6).login("ada@example.com", OTHER_PASSWORD).await;
    assert_eq!(code_of(&answer), "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_in_the_log_only_when_its_address_is_proved() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    ada.register("ada@example.com").await;
    let mail = ada.mail("ada@example.com", "code", 1).await;
    let commits = async || {
        let log = operator(&backend).await.get_stream("EVENTS").await.unwrap();
        let subjects = log
            .info_with_subjects("evt.platform.account.>")
            .await
            .unwrap();
        subjects.try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!(commits().await, 0);
    ada.data(VERIFY, verification("ada@example.com", &code(&mail)))
        .await;
    assert_eq!(commits().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_registers_an_address_once_and_then_must_wait() {
    let backend = start().await;
    let register = async |browser: Browser| browser.register("ada@example.com").await;
    let answers = join_all((0..20).map(|_| register(Browser::new(&backend)))).await;
    let accepted = answers.iter().filter(|answer| succeeded(answer)).count();
    let refused = answers
        .iter()
        .filter(|answer| code_of(answer) == "RATE_LIMITED");
    assert_eq!((accepted, refused.count()), (1, 19), "{answers:?}");
    let ada = Browser::new(&backend);
    ada.register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    assert_eq!(ada.mails_to("ada@example.com", "code").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_of_one_address_wait_side_by_side_and_one_becomes_the_account() {
    let backend = start_with(BEHIND_PROXY).await;
    let client = |address: &str| Browser::new(&backend).with_header("x-client", address);
    let (eve, ada) = (client("6.6.6.6"), client("7.7.7.7"));
    let password = |password: &str| {
        input(json!({
            "firstname": "Eve", "lastname": "Evil", "email": "ada@example.com", "password": password,
        }))
    };
    // Eve is first, so that Ada confirms Eve's password if she opens the first mail.
    eve.data(REGISTER, password(OTHER_PASSWORD)).await;
    let first = ada.mail("ada@example.com", "code", 1).await;
    ada.data(REGISTER, password(PASSWORD)).await;
    let second = ada.mail("ada@example.com", "code", 2).await;
    let (of_eve, of_ada) = if code(&first) == code(&second) {
        panic!("two registrations have one code");
    } else {
        (first, second)
    };

    let link = |mail: &Value, password: Option<&str>| json!({ "token": token(mail), "password": password });
    let elsewhere = client("7.7.7.8");
    for browser in [&ada, &elsewhere] {
        let error = browser.error(VERIFY_LINK, link(&of_eve, None)).await;
        assert_eq!(error["field"], "password", "this browser proves nothing");
        let error = browser
            .error(VERIFY_LINK, link(&of_eve, Some(PASSWORD)))
            .await;
        assert_eq!(
            error["field"], "password",
            "Ada does not know this password"
        );
    }
    let error = ada.error(VERIFY, verification("ada@example.com", &code(&of_eve)));
    assert_eq!(error.await["field"], "code");
    // Eve has no mail. She knows her password, but not the code.
    let guess = input(json!({
        "email": "ada@example.com", "code": other_than(&code(&of_eve)), "password": OTHER_PASSWORD,
    }));
    assert_eq!(eve.error(VERIFY, guess).await["field"], "code");

    // On her phone, Ada knows her password.
    elsewhere
        .data(VERIFY_LINK, link(&of_ada, Some(PASSWORD)))
        .await;
    ada.log_in("ada@example.com").await;
    let error = eve.error(VERIFY_LINK, link(&of_eve, None)).await;
    assert_eq!(error["field"], "token", "the address has an account now");
    ada.log_in("ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_invalidate_the_code_of_a_mail_and_the_link_remains() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    ada.register("ada@example.com").await;
    let mail = ada.mail("ada@example.com", "code", 1).await;
    let (code, wrong) = (code(&mail), other_than(&code(&mail)));
    for _ in 0..5 {
        let error = ada.error(VERIFY, verification("ada@example.com", wrong));
        assert_eq!(error.await["field"], "code");
    }
    let error = ada.error(VERIFY, verification("ada@example.com", &code));
    assert_eq!(
        error.await["field"],
        "code",
        "the right code comes too late"
    );
    ada.data(VERIFY_LINK, json!({ "token": token(&mail) }))
        .await;
    ada.log_in("ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_wrong_codes_for_an_address_leave_its_registrations_only_the_link() {
    let backend = start_with(BEHIND_PROXY).await;
    let client =
        |number: usize| Browser::new(&backend).with_header("x-client", &format!("6.6.6.{number}"));
    let wrong = json!("not a code");
    let guess = |code: &Value| input(json!({ "email": "ada@example.com", "code": code }));
    for number in 0..4 {
        let eve = client(number);
        eve.register("ada@example.com").await;
        for _ in 0..5 {
            assert_eq!(eve.error(VERIFY, guess(&wrong)).await["field"], "code");
        }
    }
    let ada = client(9);
    ada.register("ada@example.com").await;
    let mail = ada.mail("ada@example.com", "code", 5).await;
    let right = json!(code(&mail));
    assert_eq!(ada.error(VERIFY, guess(&right)).await["field"], "code");
    ada.data(VERIFY_LINK, json!({ "token": token(&mail) }))
        .await;
    ada.log_in("ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_tries_passwords_leaves_the_link_to_the_owner() {
    let backend = start().await;
    let (ada, eve) = (Browser::new(&backend), Browser::new(&backend));
    ada.register("ada@example.com").await;
    let mail = ada.mail("ada@example.com", "code", 1).await;
    let guess = input(json!({
        "email": "ada@example.com", "code": "000000", "password": OTHER_PASSWORD,
    }));
    for _ in 0..25 {
        eve.error(VERIFY, guess.clone()).await;
    }
    let phone = Browser::new(&backend);
    let link = json!({ "token": token(&mail), "password": PASSWORD });
    phone.data(VERIFY_LINK, link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_guesses_no_code_and_uses_up_none_of_the_guesses() {
    let backend = start().await;
    let (ada, eve) = (Browser::new(&backend), Browser::new(&backend));
    ada.register("ada@example.com").await;
    let code = code(&ada.mail("ada@example.com", "code", 1).await);
    let guess = |email: &str, password: Option<&str>| {
        input(json!({ "email": email, "code": code, "password": password }))
    };
    let error = eve.error(VERIFY, guess("ada@example.com", None)).await;
    assert_eq!(error["field"], "password");
    assert_eq!(
        error,
        eve.error(VERIFY, guess("nobody@example.com", None)).await
    );
    for _ in 0..6 {
        let known = eve.error(VERIFY, guess("ada@example.com", Some(OTHER_PASSWORD)));
        let unknown = eve.error(VERIFY, guess("nobody@example.com", Some(OTHER_PASSWORD)));
        let (known, unknown) = (known.await, unknown.await);
        assert_eq!((&known, &known["field"]), (&unknown, &json!("code")));
    }
    ada.data(VERIFY, verification("ada@example.com", &code))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_verifies_an_address_and_a_forged_one_does_not() {
    let backend = start().await;
    let bob = Browser::new(&backend);
    bob.register("bob@example.com").await;
    let mail = bob.mail("bob@example.com", "code", 1).await;
    let forged = bob
        .error(VERIFY_LINK, json!({ "token": "x".repeat(86) }))
        .await;
    assert_eq!(forged["field"], "token");
    bob.data(VERIFY_LINK, json!({ "token": token(&mail) }))
        .await;
    bob.log_in("bob@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_verification_mail_does_not_reveal_whether_one_is_sent() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    ada.register("ada@example.com").await;
    ada.mail("ada@example.com", "code", 1).await;
    // Nobody has the second address; to the first, another mail within a minute is too soon.
    for email in ["ada@example.com", "nobody@example.com"] {
        let answer = ada.data(SEND_VERIFICATION, json!({ "email": email })).await;
        assert_eq!(
            answer["account"]["sendVerificationEmail"]["success"], true,
            "{email}"
        );
    }
    ada.register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    assert_eq!(ada.mails_to("nobody@example.com", "").await.len(), 0);
    assert_eq!(ada.mails_to("ada@example.com", "").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_an_idempotency_key_is_done_once() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    let person = input(json!({
        "firstname": "Ada",
        "lastname": "Lovelace",
        "email": "ada@example.com",
        "password": PASSWORD,
    }));
    let keyed = ada.with_idempotency_key("register-1");
    let answers = join_all((0..5).map(|_| keyed.gql(REGISTER, person.clone()))).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    let code = code(&ada.mail("ada@example.com", "code", 1).await);
    let keyed = ada.with_idempotency_key("verify-1");
    for _ in 0..3 {
        let answer = keyed
            .gql(VERIFY, verification("ada@example.com", &code))
            .await;
        assert_eq!(
            answer["data"]["account"]["verifyAccount"]["success"], true,
            "{answer}"
        );
    }
    ada.log_in("ada@example.com").await;
    assert_eq!(
        ada.mails().await.len(),
        1,
        "nobody was told that the address is taken"
    );

    let update = input(json!({ "lastname": "Byron" }));
    let keyed = ada.with_idempotency_key("update-1");
    let mut revisions = BTreeSet::new();
    for _ in 0..3 {
        let answer = keyed.data(UPDATE, update.clone()).await;
        revisions.insert(answer["profile"]["update"]["revision"].as_u64().unwrap());
    }
    assert_eq!(revisions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_that_is_too_long_is_refused() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let keyed = ada.with_idempotency_key(&"x".repeat(129));
    let code = keyed
        .code(UPDATE, input(json!({ "lastname": "Byron" })))
        .await;
    assert_eq!(code, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_concurrent_updates_of_one_profile_are_all_kept() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let revision = async || {
        let profile = ada.data("{ profile { revision } }", ()).await;
        profile["profile"]["revision"].as_u64().unwrap()
    };
    let before = revision().await;
    let update = async |client: u32| {
        let lastname = format!("Byron {client}");
        let answer = ada
            .data(UPDATE, input(json!({ "lastname": lastname })))
            .await;
        answer["profile"]["update"]["revision"].as_u64().unwrap()
    };
    let revisions = join_all((0..32).map(update)).await;
    assert!(
        revisions.iter().all(|revision| *revision > before),
        "each reads what it wrote"
    );
    assert_eq!(
        revision().await,
        before + 32,
        "no update is lost, none is done twice"
    );
}
