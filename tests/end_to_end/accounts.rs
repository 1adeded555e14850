//! Accounts, sessions and mail as people use them, and as those do who should not.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::support::{Browser, LOGIN, PASSWORD, REGISTER, VERIFY, code, eventually, start, token};
use futures_util::future::join_all;
use serde_json::{Value, json};

const OTHER_PASSWORD: &str = "another quite long password";
const UPDATE: &str = "mutation($input: UpdateProfileInput!) { profile { update(input: $input) { firstname lastname revision } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_person_registers_verifies_logs_in_and_manages_the_profile() {
    let local = start().await;
    let ada = Browser::new(&local);
    assert!(!ada.is_logged_in().await);
    assert_eq!(
        ada.register("Ada@Example.com").await["data"]["account"]["register"]["success"],
        true
    );

    let early = ada.login("ada@example.com", PASSWORD).await;
    assert_eq!(
        early["errors"][0]["extensions"]["code"], "UNAUTHENTICATED",
        "not verified yet: {early}"
    );
    assert_eq!(
        early,
        ada.login("nobody@example.com", PASSWORD).await,
        "as for an address that nobody has"
    );

    let mail = ada.mail("ada@example.com", "code", 1).await;
    assert!(mail["html"].as_str().unwrap().contains(&code(&mail)));
    assert!(
        mail["text"].as_str().unwrap().contains(&local.url()),
        "the link leads to the gateway"
    );
    ada.data(
        VERIFY,
        json!({ "input": { "email": " ADA@example.com", "code": code(&mail) } }),
    )
    .await;
    let answer = ada.login("ada@example.com", PASSWORD).await;
    let login = &answer["data"]["account"]["login"];
    assert_eq!(
        (
            &login["user"]["verified"],
            &login["session"]["device"],
            &login["session"]["current"]
        ),
        (&json!(true), &json!("Browser/1.0"), &json!(true))
    );

    let profile = ada
        .data(
            "{ profile { firstname lastname email verified createdAt } }",
            json!({}),
        )
        .await;
    assert_eq!(profile["profile"]["lastname"], "Lovelace");
    let updated = ada
        .data(UPDATE, json!({ "input": { "lastname": "Byron" } }))
        .await;
    assert_eq!(updated["profile"]["update"]["firstname"], "Ada");
    let profile = ada.data("{ profile { lastname } }", json!({})).await;
    assert_eq!(
        profile["profile"]["lastname"], "Byron",
        "what was written is read"
    );

    ada.data("mutation { account { logout { success } } }", json!({}))
        .await;
    assert!(!ada.is_logged_in().await);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_address_gets_the_same_answer_and_its_owner_a_mail() {
    let local = start().await;
    let (ada, eve) = (Browser::new(&local), Browser::new(&local));
    ada.join("ada@example.com").await;
    assert_eq!(
        eve.register("ADA@example.com").await,
        eve.register("new@example.com").await
    );
    ada.mail("ada@example.com", "register", 1).await;
    // However often it is tried, one such mail an hour.
    for _ in 0..3 {
        eve.register("ada@example.com").await;
    }
    eve.register("last@example.com").await;
    eve.mail("last@example.com", "code", 1).await;
    let told = ada
        .mails()
        .await
        .into_iter()
        .filter(|mail| mail["to"][0] == "ada@example.com")
        .count();
    assert!(
        told <= 3,
        "one to verify, and one or, over the turn of an hour, two to warn; not {told}"
    );
    assert!(ada.is_logged_in().await);
    assert_eq!(
        eve.login("ada@example.com", OTHER_PASSWORD).await["errors"][0]["extensions"]["code"],
        "UNAUTHENTICATED"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_people_register_one_address_at_once_and_one_account_comes_of_it() {
    let local = start().await;
    let ada = Browser::new(&local);
    let register = async |browser: Browser| {
        loop {
            let answer = browser.register("ada@example.com").await;
            if answer["errors"][0]["extensions"]["code"] != "RATE_LIMITED" {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let answers = join_all((0..100).map(|_| register(Browser::new(&local)))).await;
    assert_eq!(
        answers
            .iter()
            .map(Value::to_string)
            .collect::<BTreeSet<_>>()
            .len(),
        1,
        "{}",
        answers[0]
    );
    let code = code(&ada.mail("ada@example.com", "code", 1).await);
    ada.data(
        VERIFY,
        json!({ "input": { "email": "ada@example.com", "code": code } }),
    )
    .await;
    assert!(ada.login("ada@example.com", PASSWORD).await["errors"].is_null());
    let verifications = ada
        .mails()
        .await
        .into_iter()
        .filter(|mail| mail["text"].as_str().unwrap().contains("code"))
        .count();
    assert_eq!(verifications, 1);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_end_a_challenge_and_a_link_verifies_once_asked_for_again() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.register("ada@example.com").await;
    let mail = ada.mail("ada@example.com", "code", 1).await;
    let right = code(&mail);
    let wrong = if right == "000000" {
        "111111"
    } else {
        "000000"
    };
    let unknown = ada
        .error(
            VERIFY,
            json!({ "input": { "email": "nobody@example.com", "code": wrong } }),
        )
        .await;
    for _ in 0..5 {
        let error = ada
            .error(
                VERIFY,
                json!({ "input": { "email": "ada@example.com", "code": wrong } }),
            )
            .await;
        assert_eq!(
            (&error["code"], &error["field"]),
            (&unknown["code"], &unknown["field"]),
            "as for an unknown address"
        );
    }
    let error = ada
        .error(
            VERIFY,
            json!({ "input": { "email": "ada@example.com", "code": right } }),
        )
        .await;
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("BAD_USER_INPUT"), &json!("code")),
        "the right code comes too late"
    );

    let verify = "mutation($token: String!) { account { verifyActivationLink(input: { token: $token }) { success } } }";
    assert_eq!(
        ada.error(verify, json!({ "token": token(&mail) })).await["field"],
        "token",
        "the link ended with the code"
    );
    assert_eq!(
        ada.error(verify, json!({ "token": "x".repeat(86) })).await["field"],
        "token"
    );
    // A new mail within a minute of the first is not sent, and the answer does not tell.
    let again = "mutation($email: String!) { account { sendVerificationEmail(input: { email: $email }) { success } } }";
    for email in ["ada@example.com", "nobody@example.com"] {
        assert_eq!(
            ada.data(again, json!({ "email": email })).await["account"]["sendVerificationEmail"]["success"],
            true
        );
    }
    let bob = Browser::new(&local);
    bob.register("bob@example.com").await;
    let mail = bob.mail("bob@example.com", "code", 1).await;
    bob.data(verify, json!({ "token": token(&mail) })).await;
    assert!(bob.login("bob@example.com", PASSWORD).await["errors"].is_null());
    assert_eq!(
        ada.mails()
            .await
            .iter()
            .filter(|mail| mail["to"][0] == "nobody@example.com")
            .count(),
        0
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passwords_make_an_address_wait_known_or_not_and_a_reset_by_mail_frees_it() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let phone = Browser::new(&local);
    assert!(phone.login("ada@example.com", PASSWORD).await["errors"].is_null());
    let eve = Browser::new(&local);
    let mut errors = Vec::new();
    for email in ["ada@example.com", "nobody@example.com"] {
        for _ in 0..10 {
            let error = eve
                .error(LOGIN, json!({ "input": { "service": "Password", "params": { "email": email, "password": OTHER_PASSWORD } } }))
                .await;
            assert_eq!(error["code"], "UNAUTHENTICATED", "{email}");
        }
        let error =
            eve.error(LOGIN, json!({ "input": { "service": "Password", "params": { "email": email, "password": PASSWORD } } })).await;
        assert_eq!(error["code"], "RATE_LIMITED", "{email}");
        assert!(
            error["retryAfter"]
                .as_u64()
                .is_some_and(|seconds| seconds > 0)
        );
        errors.push(error["code"].clone());
    }
    assert_eq!(errors[0], errors[1]);

    ada.data("mutation { account { sendResetPasswordEmail(input: { email: \"ada@example.com\" }) { success } } }", json!({})).await;
    let token = token(&ada.mail("ada@example.com", "reset-password", 1).await);
    let reset = "mutation($input: ResetPasswordInput!) { account { resetPassword(input: $input) { success } } }";
    let short = ada
        .error(
            reset,
            json!({ "input": { "token": token, "password": "short" } }),
        )
        .await;
    assert_eq!(short["field"], "password");
    ada.data(
        reset,
        json!({ "input": { "token": token, "password": OTHER_PASSWORD } }),
    )
    .await;
    assert!(
        ada.is_logged_in().await,
        "whoever has reset the password is in"
    );
    assert!(
        !phone.is_logged_in().await,
        "and every session from before is over"
    );
    assert_eq!(
        ada.error(
            reset,
            json!({ "input": { "token": token, "password": PASSWORD } })
        )
        .await["field"],
        "token",
        "a link works once"
    );
    assert!(
        eve.login("ada@example.com", OTHER_PASSWORD).await["errors"].is_null(),
        "the owner need not wait"
    );
    ada.mail("ada@example.com", "changed", 1).await;
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_wrong_passwords_are_all_counted() {
    let local = start().await;
    let answers = join_all((0..100).map(|_| {
        let eve = Browser::new(&local);
        async move {
            eve.login("ada@example.com", OTHER_PASSWORD).await["errors"][0]["extensions"]["code"]
                .clone()
        }
    }))
    .await;
    let tried = answers
        .iter()
        .filter(|code| **code == "UNAUTHENTICATED")
        .count();
    assert!((1..=10).contains(&tried), "{tried} guesses were looked at");
    assert!(
        answers
            .iter()
            .all(|code| *code == "UNAUTHENTICATED" || *code == "RATE_LIMITED"),
        "{answers:?}"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shown_and_ended_on_every_gateway_within_two_seconds() {
    let local = start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second_url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let second = tokio::spawn(gateway::run(
        local.gateway().clone(),
        listener,
        shutdown.clone(),
    ));

    let phone = Browser::new(&local);
    phone.join("ada@example.com").await;
    let laptop = Browser::at(&second_url, &local.mail_url());
    let logged_in = laptop.login("ada@example.com", PASSWORD).await;
    let laptop_session = logged_in["data"]["account"]["login"]["session"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let sessions = phone
        .data(
            "{ sessions { id device startedAt lastUsedAt current } }",
            json!({}),
        )
        .await;
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(
        sessions["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|session| session["current"] == true)
            .count(),
        1
    );

    let revoke = "mutation($id: ID!) { account { revokeSession(id: $id) { success } } }";
    let eve = Browser::new(&local);
    eve.join("eve@example.com").await;
    let foreign = eve.error(revoke, json!({ "id": laptop_session })).await;
    let missing = eve.error(revoke, json!({ "id": "0".repeat(32) })).await;
    assert_eq!(
        (&foreign["code"], &missing["code"]),
        (&json!("NOT_FOUND"), &json!("NOT_FOUND"))
    );
    assert!(laptop.is_logged_in().await);

    phone.data(revoke, json!({ "id": laptop_session })).await;
    ends_within_two_seconds(&laptop).await;
    assert!(laptop.login("ada@example.com", PASSWORD).await["errors"].is_null());
    phone
        .data(
            "mutation { account { revokeAllSessions { success } } }",
            json!({}),
        )
        .await;
    ends_within_two_seconds(&laptop).await;
    ends_within_two_seconds(&phone).await;

    for browser in [&phone, &laptop] {
        assert!(browser.login("ada@example.com", PASSWORD).await["errors"].is_null());
    }
    let change = "mutation($input: ChangePasswordInput!) { account { changePassword(input: $input) { success } } }";
    let wrong = phone
        .error(
            change,
            json!({ "input": { "oldPassword": OTHER_PASSWORD, "newPassword": OTHER_PASSWORD } }),
        )
        .await;
    assert_eq!(wrong["field"], "oldPassword");
    phone
        .data(
            change,
            json!({ "input": { "oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD } }),
        )
        .await;
    ends_within_two_seconds(&laptop).await;
    assert!(
        phone.is_logged_in().await,
        "who changed the password stays, in a session of its own"
    );
    assert!(laptop.login("ada@example.com", OTHER_PASSWORD).await["errors"].is_null());
    shutdown.cancel();
    second.await.unwrap().unwrap();
    local.stop().await.unwrap();
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_login_renews_the_session_and_the_cookie_is_out_of_reach_of_scripts() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let variables = json!({ "input": { "service": "Password", "params": { "email": "ada@example.com", "password": PASSWORD } } });
    let response = ada.run_with(LOGIN, variables, Default::default()).await;
    let cookie = response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    for part in ["session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let sessions = ada.data("{ sessions { id } }", json!({})).await;
    assert_eq!(
        sessions["sessions"].as_array().unwrap().len(),
        1,
        "the one before ended"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_an_idempotency_key_is_done_once() {
    let local = start().await;
    let ada = Browser::new(&local);
    let key = |key: &str| {
        [("idempotency-key".parse().unwrap(), key.parse().unwrap())]
            .into_iter()
            .collect::<reqwest::header::HeaderMap>()
    };
    let input = json!({ "input": { "firstname": "Ada", "lastname": "Lovelace", "email": "ada@example.com", "password": PASSWORD } });
    let answers = join_all((0..5).map(|_| {
        let (ada, input) = (ada.clone(), input.clone());
        async move {
            ada.run_with(REGISTER, input, key("register-1"))
                .await
                .text()
                .await
                .unwrap()
        }
    }))
    .await;
    assert_eq!(answers.iter().collect::<BTreeSet<_>>().len(), 1);
    let code = code(&ada.mail("ada@example.com", "code", 1).await);
    for _ in 0..3 {
        let verify = json!({ "input": { "email": "ada@example.com", "code": code } });
        let answer: Value = ada
            .run_with(VERIFY, verify, key("verify-1"))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(
            answer["data"]["account"]["verifyAccount"]["success"], true,
            "{answer}"
        );
    }
    ada.login("ada@example.com", PASSWORD).await;
    assert_eq!(
        ada.mails().await.len(),
        1,
        "nobody was told that the address is taken"
    );

    let mut revisions = BTreeSet::new();
    for _ in 0..3 {
        let answer: Value = ada
            .run_with(
                UPDATE,
                json!({ "input": { "lastname": "Byron" } }),
                key("update-1"),
            )
            .await
            .json()
            .await
            .unwrap();
        revisions.insert(answer["data"]["profile"]["update"]["revision"].to_string());
    }
    assert_eq!(revisions.len(), 1);
    let bad = ada
        .run_with(
            UPDATE,
            json!({ "input": { "lastname": "Byron" } }),
            key(&"x".repeat(129)),
        )
        .await;
    let bad: Value = bad.json().await.unwrap();
    assert_eq!(
        bad["errors"][0]["extensions"]["code"], "BAD_USER_INPUT",
        "{bad}"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_browsers_update_one_profile_and_each_reads_what_it_wrote() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let before = ada.data("{ profile { revision } }", json!({})).await["profile"]["revision"]
        .as_u64()
        .unwrap();
    let answers = join_all((0..32).map(|client| {
        let ada = ada.clone();
        async move {
            ada.data(
                UPDATE,
                json!({ "input": { "lastname": format!("Byron {client}") } }),
            )
            .await
        }
    }))
    .await;
    assert!(
        answers
            .iter()
            .all(|answer| answer["profile"]["update"]["revision"].as_u64().unwrap() > before)
    );
    let after = ada.data("{ profile { revision } }", json!({})).await["profile"]["revision"]
        .as_u64()
        .unwrap();
    assert_eq!(after, before + 32, "no update lost, none done twice");
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_does_not_starve_the_rest() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let flood = join_all((0..300).map(|at| {
        let eve = Browser::new(&local);
        async move {
            eve.login(&format!("user{at}@example.com"), OTHER_PASSWORD)
                .await["errors"][0]["extensions"]["code"]
                .clone()
        }
    }));
    let reads = async {
        for _ in 0..20 {
            assert!(
                tokio::time::timeout(Duration::from_secs(5), ada.is_logged_in())
                    .await
                    .expect("reads wait for logins")
            );
        }
    };
    let (answers, ()) = tokio::join!(flood, reads);
    assert!(
        answers
            .iter()
            .all(|code| *code == "UNAUTHENTICATED" || *code == "RATE_LIMITED"),
        "{answers:?}"
    );
    local.stop().await.unwrap();
}
