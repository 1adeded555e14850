//! Passwords: how guessing is slowed down, and how an owner regains access.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use local::Local;
use serde_json::json;

use crate::support::{
    Browser, CHANGE_PASSWORD, Gateway, LOGIN, OTHER_PASSWORD, PASSWORD, REGISTER, ada_in_acme,
    code_of, credentials, documents_of, eventually, input, start, start_with, store_account,
    succeeded, text, token,
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
async fn a_guesser_locks_out_neither_other_clients_nor_known_devices_nor_sessions() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let (ada, eve) = (client(&backend, "7.7.7.7"), client(&backend, "6.6.6.6"));
    ada.sign_up("ada@example.com").await;
    lock(&eve, "ada@example.com").await;
    let locked = eve.login("ada@example.com", PASSWORD).await;
    assert_eq!(code_of(&locked), "RATE_LIMITED", "{locked}");
    client(&backend, "8.8.8.8").log_in("ada@example.com").await;
    // Even on the network of the guesser.
    let beside_eve = ada.with_header("x-client", "6.6.6.6");
    beside_eve.log_in("ada@example.com").await;
    let change = |old: &str| input(json!({ "oldPassword": old, "newPassword": OTHER_PASSWORD }));
    for _ in 0..10 {
        let error = beside_eve
            .error(CHANGE_PASSWORD, change("a wrong old password"))
            .await;
        assert_eq!(error["field"], "oldPassword");
    }
    let code = beside_eve.code(CHANGE_PASSWORD, change(PASSWORD)).await;
    assert_eq!(code, "RATE_LIMITED", "a session has a count of its own");
    beside_eve.log_in("ada@example.com").await;
    beside_eve.data(CHANGE_PASSWORD, change(PASSWORD)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_failures_of_strangers_lock_an_address_and_its_owner_gets_a_mail() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let ada = client(&backend, "7.7.7.7");
    ada.sign_up("ada@example.com").await;
    for number in 0..10 {
        lock(
            &client(&backend, &format!("6.6.6.{number}")),
            "ada@example.com",
        )
        .await;
    }
    let refused = client(&backend, "8.8.8.8")
        .login("ada@example.com", PASSWORD)
        .await;
    assert_eq!(code_of(&refused), "RATE_LIMITED", "{refused}");
    ada.mail("ada@example.com", "failed", 1).await;
    ada.log_in("ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_failures_of_one_ipv6_site_lock_an_address_for_this_site_alone() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    client(&backend, "7.7.7.7").sign_up("ada@example.com").await;
    for network in 1..=3 {
        let eve = client(&backend, &format!("2001:db8:0:{network}::1"));
        lock(&eve, "ada@example.com").await;
    }
    let log_in = async |address: &str| {
        let stranger = client(&backend, address);
        let answer = stranger.login("ada@example.com", PASSWORD).await;
        code_of(&answer).clone()
    };
    assert_eq!(log_in("2001:db8:0:4::1").await, "RATE_LIMITED");
    assert_eq!(log_in("2001:db8:1:1::1").await, json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_hides_the_clients_a_guesser_locks_nobody_out() {
    let backend = start().await;
    Browser::signed_up(&backend, "ada@example.com").await;
    let gateway = Gateway::start(&backend, |config| {
        config.posture.public_url = "https://localhost".to_owned();
    })
    .await;
    let behind_proxy = || Browser::new(&backend).at_gateway(&gateway);
    lock(&behind_proxy(), "ada@example.com").await;
    let answer = behind_proxy().login("ada@example.com", PASSWORD).await;
    assert!(succeeded(&answer), "{answer}");
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

/// Does some work while a client tries a hundred logins at once, each with another address.
async fn during_a_flood(eve: &Browser, work: impl Future<Output = ()>) {
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = join_all((0..100).map(|_| async {
        while !stop.load(Ordering::Relaxed) {
            let at = sent.fetch_add(1, Ordering::Relaxed);
            eve.login(&format!("user{at}@example.com"), OTHER_PASSWORD)
                .await;
        }
    }));
    let work = async {
        work.await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(flood, work);
}

/// A client of a gateway that learns clients' addresses from the header `x-client`.
fn client(backend: &Local, address: &str) -> Browser {
    Browser::new(backend).with_header("x-client", address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_from_one_client_keeps_nobody_else_out() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let (ada, eve) = (client(&backend, "7.7.7.7"), client(&backend, "6.6.6.6"));
    ada.sign_up("ada@example.com").await;
    let logins = async {
        for _ in 0..10 {
            ada.log_in("ada@example.com").await;
        }
    };
    during_a_flood(&eve, logins).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_refused_for_the_load_counts_as_no_failure() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let (ada, eve) = (client(&backend, "7.7.7.7"), client(&backend, "6.6.6.6"));
    let guess = async {
        for round in 0.. {
            let email = format!("ada{round}@example.com");
            let guesses = join_all((0..12).map(|_| eve.login(&email, OTHER_PASSWORD))).await;
            let checked = guesses
                .iter()
                .filter(|answer| code_of(answer) == "UNAUTHENTICATED");
            // Ten that were checked would lock the address.
            if checked.count() < 10 {
                let login = ada.login(&email, PASSWORD).await;
                assert_eq!(code_of(&login), "UNAUTHENTICATED", "{login}");
                break;
            }
        }
    };
    during_a_flood(&eve, guess).await;
}

/// `PASSWORD`, hashed with the parameters of a release that never was.
const OLD_HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$\
                        TUhCoV6YH8thtZpQqRp0JvQQ5ZYgiLA0LYApKDG6qtM";

#[tokio::test(flavor = "multi_thread")]
async fn a_login_renews_a_hash_with_parameters_of_an_earlier_release() {
    let backend = start().await;
    store_account(&backend, "ada@example.com", OLD_HASH).await;
    let (ada, phone) = (Browser::new(&backend), Browser::new(&backend));
    let stored = async || {
        let accounts = documents_of(&backend, "account").await;
        accounts[0]["view"]["password_hash"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(stored().await, OLD_HASH);
    ada.log_in("ada@example.com").await;
    eventually("a new hash", || async { stored().await != OLD_HASH }).await;
    assert!(stored().await.contains("m=19456,t=2,p=1"));
    assert!(ada.is_logged_in().await, "no session has ended");
    phone.log_in("ada@example.com").await;
}

/// Hashes as "Pwned Passwords" offers them, with those of [`PASSWORD`] and [`OTHER_PASSWORD`].
const HASHES: &str = "\
    000000005AD76BD555C1D6D771DE417A4B87E4B4:10\r\n\
    66FBBC3E64592B1646C9A42F0AE8C783C2503E9D:7\r\n\
    ABF7AAD6438836DBE526AA231ABDE2D0EEF74D42:123\r\n\
    FFFFFFFEE791CBAC0F6305CAF0CEE06BBE131160:2\r\n";

/// Packs the hashes; returns where they are.
pub fn packed_hashes(folder: &tempfile::TempDir) -> PathBuf {
    let (hashes, packed) = (folder.path().join("hashes"), folder.path().join("packed"));
    std::fs::write(&hashes, HASHES).unwrap();
    gateway::pack_passwords(&hashes, &packed, &mut |_| {}).unwrap();
    packed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compromised_password_is_refused_and_told_of_at_a_login() {
    let backend = start().await;
    Browser::signed_up(&backend, "ada@example.com").await;
    let folder = tempfile::tempdir().unwrap();
    let packed = packed_hashes(&folder);
    let gateway = Gateway::start(&backend, |config| {
        config.pwned_passwords = Some(packed);
    })
    .await;
    let ada = Browser::new(&backend).at_gateway(&gateway);
    let log_in = "mutation($input: LoginInput!) {
        account { login(input: $input) { user { email } passwordCompromised } }
    }";
    let told = async |password: &str| {
        let answer = ada.data(log_in, credentials("ada@example.com", password));
        answer.await["account"]["login"]["passwordCompromised"] == true
    };
    assert!(told(PASSWORD).await);
    ada.gql(SEND_RESET, ()).await;
    let link = token(&ada.mail("ada@example.com", "new password", 1).await);
    let person = json!({
        "firstname": "Bob", "lastname": "Byte", "email": "bob@example.com", "password": PASSWORD,
    });
    let change = json!({ "oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD });
    let reset = json!({ "token": link, "password": OTHER_PASSWORD });
    for (document, variables) in [
        (REGISTER, input(person)),
        (CHANGE_PASSWORD, input(change)),
        (RESET, input(reset)),
    ] {
        let answer = ada.gql(document, variables).await;
        let message = text(&answer, "/errors/0/message");
        assert!(message.contains("data leak"), "{document}: {answer}");
        assert_eq!(code_of(&answer), "BAD_USER_INPUT");
    }
    let new = "nobody has leaked this one";
    let other = json!({ "oldPassword": PASSWORD, "newPassword": new });
    ada.data(CHANGE_PASSWORD, input(other)).await;
    assert!(!told(new).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_a_persons_tenants_make_a_password_weak() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    ada.create_tenant("quetzalcoatlus").await;
    let weak = "Quetzalcoatlus2026";
    let change = json!({ "oldPassword": PASSWORD, "newPassword": weak });
    let answer = ada.gql(CHANGE_PASSWORD, input(change)).await;
    let message = text(&answer, "/errors/0/message");
    assert!(message.contains("easy to guess"), "{answer}");
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    let change = json!({ "oldPassword": PASSWORD, "newPassword": weak });
    bob.data(CHANGE_PASSWORD, input(change)).await;
}
