//! Passkeys: adding them as a person does, logging in and stepping up by them, and what hostile
//! devices and thieves get.

use events_schema::{AccountId, Command, CommandId, TenantId, account};
use futures_util::future::join_all;
use local::Local;
use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::{
    second_factor::{LOG_IN, second},
    step_up::STEP_UP,
    support::{
        ADD_PASSKEY, Browser, Device, Gateway, PASSWORD, START_ADDING, START_LOGIN, add_passkey,
        add_second_factor, administrator, answer, bad_input, by_passkey, code_of, eventually,
        input, list, send_command, site, site_with, start, succeeded, text,
    },
};

const ADA: &str = "ada@example.com";
const PASSKEYS: &str = "{
    credentials {
        passkeys { id name addedAt lastUsedAt suspendedAt backedUp transports aaguid }
    }
}";
const SESSIONS: &str = "{ sessions { authentication { aal proofs { kind } } } }";
const REMOVE: &str = "
    mutation($id: ID!) {
        credential { removePasskey(id: $id) { unknownCredential allAcceptedCredentials } }
    }";
const RENAME: &str = "
    mutation($id: ID!, $name: String!) {
        credential { renamePasskey(id: $id, name: $name) { name } }
    }";

/// Ada, logged in, at a gateway for passkeys.
async fn ada_at_a_site(backend: &Local) -> (Browser, Gateway) {
    let gateway = site(backend).await;
    let ada = Browser::signed_up(backend, ADA).await;
    (ada.at_gateway(&gateway), gateway)
}

/// Another browser at the same gateway.
fn at(backend: &Local, gateway: &Gateway) -> Browser {
    Browser::new(backend).at_gateway(gateway)
}

async fn passkeys(browser: &Browser) -> Vec<Value> {
    let shown = browser.data(PASSKEYS, ()).await;
    list(&shown["credentials"]["passkeys"]).to_vec()
}

async fn is_refused(browser: &Browser, document: &str, answer: Value) {
    assert_eq!(browser.error(document, answer).await, bad_input("response"));
}

/// Sends a command to an account as a gateway does.
async fn command(backend: &Local, browser: &Browser, payload: account::Command) {
    let profile = browser.data("{ profile { id } }", ()).await;
    let account = AccountId::parse(&text(&profile, "/profile/id")).unwrap();
    let (id, now) = (
        event_store::random_id().unwrap(),
        std::time::SystemTime::now().into(),
    );
    let platform = TenantId::Platform;
    let command = Command::by_system(CommandId(id), platform, account, now, payload);
    send_command::<account::Area>(backend, command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_adds_a_passkey_and_logs_in_by_it_alone() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let mut phone = Device::new();
    let id = add_passkey(&ada, &mut phone, "Phone").await;
    ada.mail(ADA, "the passkey “Phone” logs in", 1).await;
    let shown = &passkeys(&ada).await[0];
    assert_eq!(
        (&shown["id"], &shown["name"]),
        (&json!(id), &json!("Phone"))
    );
    assert_eq!(shown["transports"], json!(["internal", "hybrid"]));
    assert_eq!(shown["aaguid"], "00000000-0000-0000-0000-000000000000");
    assert_eq!(
        (&shown["lastUsedAt"], &shown["backedUp"]),
        (&Value::Null, &json!(true))
    );
    let sessions = ada.data(SESSIONS, ()).await;
    let both = json!([{ "kind": "PASSWORD" }, { "kind": "PASSKEY" }]);
    assert_eq!(sessions["sessions"][0]["authentication"]["proofs"], both);

    let browser = at(&backend, &gateway);
    let proof = by_passkey(&browser, &mut phone).await;
    let login = browser.data(LOG_IN, proof).await["account"]["login"].take();
    assert_eq!(login["user"]["email"], ADA);
    let authentication = json!({ "aal": 2, "proofs": [{ "kind": "PASSKEY" }] });
    assert_eq!(login["session"]["authentication"], authentication);
    assert!(browser.is_logged_in().await);
    assert!(passkeys(&ada).await[0]["lastUsedAt"].is_string());
    // The session is fresh, so it may remove what it was proved by. It ends with that.
    browser.data(REMOVE, json!({ "id": id })).await;
    ada.mail(ADA, "“Phone” no longer logs in", 1).await;
    assert!(!browser.is_logged_in().await);
    let shown = ada.data(SESSIONS, ()).await;
    let password = json!({ "aal": 1, "proofs": [{ "kind": "PASSWORD" }] });
    assert_eq!(shown["sessions"], json!([{ "authentication": password }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_renamed_and_belongs_to_its_owner() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let id = add_passkey(&ada, &mut Device::new(), "Phone").await;
    let renamed = json!({ "id": id, "name": "Key" });
    ada.data(RENAME, renamed.clone()).await;
    assert_eq!(passkeys(&ada).await[0]["name"], "Key");
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    let bob = bob.at_gateway(&gateway);
    assert_eq!(bob.code(RENAME, renamed).await, "NOT_FOUND");
    assert_eq!(bob.code(REMOVE, json!({ "id": id })).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_passkey_the_password_alone_makes_no_session_fresh() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let mut phone = Device::new();
    add_passkey(&ada, &mut phone, "Phone").await;
    let browser = at(&backend, &gateway);
    browser.log_in(ADA).await;
    let required = json!({ "code": "STEP_UP_REQUIRED", "methods": ["Passkey"] });
    assert_eq!(browser.error(START_ADDING, ()).await, required);
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    let bob = bob.at_gateway(&gateway);
    let mut others = Device::new();
    add_passkey(&bob, &mut others, "Key").await;
    let of_bob = by_passkey(&browser, &mut others).await;
    is_refused(&browser, STEP_UP, of_bob).await;
    assert_eq!(browser.error(START_ADDING, ()).await, required);
    let proof = by_passkey(&browser, &mut phone).await;
    let stepped_up = browser.data(STEP_UP, proof).await;
    let session = &stepped_up["account"]["stepUp"]["session"];
    assert_eq!(session["authentication"]["aal"], 2);
    browser.data(START_ADDING, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_needs_no_second_factor() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    add_second_factor(&ada).await;
    let mut phone = Device::new();
    add_passkey(&ada, &mut phone, "Phone").await;
    let browser = at(&backend, &gateway);
    let proof = by_passkey(&browser, &mut phone).await;
    let login = browser.data(LOG_IN, proof).await;
    assert!(login["account"]["login"]["challenge"].is_null());
    assert!(browser.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_answer_logs_nobody_in() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let mut phone = Device::new();
    add_passkey(&ada, &mut phone, "Phone").await;
    let eve = at(&backend, &gateway);
    let asked = eve.data(START_LOGIN, ()).await["account"]["startPasskey"].take();
    let honest = phone.get(&asked).await;
    let again = |change: fn(&mut [u8])| phone.signed_again(honest.clone(), change);
    // Behind the hash of 32 bytes are the flags.
    let not_verified = again(|data| data[32] &= !0x04);
    let not_present = again(|data| data[32] &= !0x01);
    let device_bound = again(|data| data[32] &= !(0x08 | 0x10));
    let other_party = again(|data| data[0] ^= 1);
    let mut bogus = honest.clone();
    bogus["response"]["signature"] = again(|data| data[36] = 1)["response"]["signature"].take();
    let mut nobody = honest.clone();
    nobody["response"]["userHandle"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
    let mut anonymous = honest.clone();
    anonymous["response"]["userHandle"] = Value::Null;
    let mut other_key = honest.clone();
    other_key["id"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
    let other_origin = phone.at("http://localhost:1").get(&asked).await;
    let mut other_challenge = asked.clone();
    other_challenge["challenge"] = json!("A".repeat(43));
    let other_challenge = phone.get(&other_challenge).await;
    for wrong in [
        not_verified,
        not_present,
        device_bound,
        other_party,
        bogus,
        nobody,
        anonymous,
        other_key,
        other_origin,
        other_challenge,
        json!("garbage"),
    ] {
        is_refused(&eve, LOG_IN, answer(wrong)).await;
    }
    // Without the cookie of the browser that has asked.
    is_refused(&at(&backend, &gateway), LOG_IN, answer(honest.clone())).await;
    assert!(!eve.is_logged_in().await);
    eve.data(LOG_IN, answer(honest)).await;
    assert!(eve.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_used_once_even_if_it_is_sent_fifty_times() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let mut phone = Device::new();
    add_passkey(&ada, &mut phone, "Phone").await;
    let asked = at(&backend, &gateway).post(START_LOGIN, ()).await;
    let cookie = asked.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    assert!(cookie.starts_with("passkey="), "{cookie}");
    let asked: Value = asked.json().await.unwrap();
    let response = phone.get(&asked["data"]["account"]["startPasskey"]).await;
    let proof = answer(response);
    let copies = (0..50).map(|_| {
        let browser = at(&backend, &gateway).with_header("cookie", cookie);
        let proof = proof.clone();
        async move { browser.gql(LOG_IN, proof).await }
    });
    let answers = join_all(copies).await;
    let successes = answers.iter().filter(|answer| succeeded(answer));
    assert_eq!(successes.count(), 1);
    let thief = at(&backend, &gateway).with_header("cookie", cookie);
    is_refused(&thief, LOG_IN, proof).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_serves_only_what_it_was_asked_for() {
    let backend = start().await;
    let (ada, _gateway) = ada_at_a_site(&backend).await;
    let mut phone = Device::new();
    add_passkey(&ada, &mut phone, "Phone").await;
    let asked = ada.data(START_ADDING, ()).await["credential"]["startPasskey"].take();
    let used = phone.clone().get(&asked).await;
    is_refused(&ada, STEP_UP, answer(used)).await;
    let made = Device::new().create(&asked).await;
    ada.data(START_LOGIN, ()).await;
    let added = json!({ "name": "Key", "response": made });
    is_refused(&ada, ADD_PASSKEY, added).await;
    assert_eq!(passkeys(&ada).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_whose_counter_does_not_rise_is_suspended() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let mut phone = Device::counting();
    let id = add_passkey(&ada, &mut phone, "Phone").await;
    let mut copy = phone.clone();
    let browser = at(&backend, &gateway);
    let proof = by_passkey(&browser, &mut phone).await;
    browser.data(LOG_IN, proof).await;
    let thief = at(&backend, &gateway);
    let of_copy = by_passkey(&thief, &mut copy).await;
    is_refused(&thief, LOG_IN, of_copy).await;
    ada.mail(ADA, "somebody may have copied", 1).await;
    assert!(passkeys(&ada).await[0]["suspendedAt"].is_string());
    assert!(
        !browser.is_logged_in().await,
        "nothing else proves the session"
    );
    let proof = by_passkey(&browser, &mut phone).await;
    is_refused(&browser, LOG_IN, proof).await;
    // It makes no session fresh, so the password does again.
    browser.log_in(ADA).await;
    let removed = browser.data(REMOVE, json!({ "id": id })).await;
    let accepted = &removed["credential"]["removePasskey"]["allAcceptedCredentials"];
    assert_eq!(accepted["allAcceptedCredentialIds"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_passkey_is_void_at_the_next_request_on_another_gateway() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let (mut phone, mut key) = (Device::new(), Device::new());
    let id = add_passkey(&ada, &mut phone, "Phone").await;
    add_passkey(&ada, &mut key, "Key").await;
    let other = site(&backend).await;
    let browser = at(&backend, &other);
    let proof = by_passkey(&browser, &mut phone).await;
    browser.data(LOG_IN, proof).await;
    let proof = by_passkey(&browser, &mut phone).await;
    let fresh = "mutation { credential { newRecoveryCodes } }";
    assert_eq!(browser.code(fresh, ()).await, "CONFLICT");
    let removed = ada.data(REMOVE, json!({ "id": id })).await;
    is_refused(&browser, LOG_IN, proof).await;
    // Nor does the session that it has begun.
    assert_eq!(browser.code(fresh, ()).await, "UNAUTHENTICATED");
    assert!(!browser.is_logged_in().await);
    let (unknown, accepted) = (
        &removed["credential"]["removePasskey"]["unknownCredential"],
        &removed["credential"]["removePasskey"]["allAcceptedCredentials"],
    );
    let id_of = |device: &Device| {
        let id = &device.key.as_ref().unwrap().credential_id;
        data_encoding::BASE64URL_NOPAD.encode(id)
    };
    assert_eq!(
        *unknown,
        json!({ "rpId": "localhost", "credentialId": id_of(&phone) })
    );
    assert_eq!(accepted["rpId"], "localhost");
    assert_eq!(accepted["allAcceptedCredentialIds"], json!([id_of(&key)]));
    let handle = key.key.as_ref().unwrap().user_handle.as_ref().unwrap();
    let handle = data_encoding::BASE64URL_NOPAD.encode(handle);
    assert_eq!(accepted["userId"], handle);
    let at_gateway = at(&backend, &gateway);
    let proof = by_passkey(&at_gateway, &mut key).await;
    at_gateway.data(LOG_IN, proof).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_first_factor_was_removed_steps_up_by_another_one() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    let (_app, codes) = add_second_factor(&ada).await;
    let mut phone = Device::new();
    let id = add_passkey(&ada, &mut phone, "Phone").await;
    let browser = at(&backend, &gateway);
    let proof = by_passkey(&browser, &mut phone).await;
    browser.data(LOG_IN, proof).await;
    let recovered = second("RecoveryCode", &codes[0]);
    browser.data(STEP_UP, recovered).await;
    ada.data(REMOVE, json!({ "id": id })).await;
    let methods = json!(["Totp", "RecoveryCode", "Password", "EmailCode"]);
    let required = json!({ "code": "STEP_UP_REQUIRED", "methods": methods });
    assert_eq!(browser.error(START_ADDING, ()).await, required);
    let password = json!({ "service": "Password", "params": { "password": PASSWORD } });
    browser.data(STEP_UP, input(password)).await;
    browser.data(START_ADDING, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_works_on_the_sub_domains_of_tenants_if_they_name_tenants() {
    let backend = start().await;
    let change = |config: &mut gateway::Config| {
        config.tenant_resolvers = vec![gateway::Resolver::Subdomain];
    };
    let named = site_with(&backend, change).await;
    let other = site(&backend).await;
    let ada = Browser::signed_up(&backend, ADA).await.at_gateway(&named);
    let mut phone = Device::new();
    add_passkey(&ada, &mut phone, "Phone").await;
    let mut of_acme = phone.at("http://acme.localhost:9900");
    for (gateway, host) in [
        (&named, "localhost:9900"),
        (&named, "loom.localhost:9900"),
        (&other, "acme.localhost:9900"),
    ] {
        let browser = at(&backend, gateway).with_header("host", host);
        let proof = by_passkey(&browser, &mut of_acme).await;
        is_refused(&browser, LOG_IN, proof).await;
    }
    let browser = at(&backend, &named).with_header("host", "acme.localhost:9900");
    let proof = by_passkey(&browser, &mut of_acme).await;
    browser.data(LOG_IN, proof).await;
    assert!(browser.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_gets_twenty_new_credentials_a_day_and_removes_as_many_as_it_has() {
    let backend = start().await;
    let (ada, _gateway) = ada_at_a_site(&backend).await;
    let mut last = add_passkey(&ada, &mut Device::new(), "Phone").await;
    for _ in 1..20 {
        ada.data(REMOVE, json!({ "id": last })).await;
        last = add_passkey(&ada, &mut Device::new(), "Phone").await;
    }
    let asked = ada.data(START_ADDING, ()).await["credential"]["startPasskey"].take();
    let made = Device::new().create(&asked).await;
    let added = json!({ "name": "Phone", "response": made });
    assert_eq!(ada.code(ADD_PASSKEY, added).await, "RATE_LIMITED");
    ada.data(REMOVE, json!({ "id": last })).await;
    assert!(passkeys(&ada).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_last_passkeys_that_are_removed_at_once_one_stays() {
    let backend = start().await;
    let (ada, _gateway) = ada_at_a_site(&backend).await;
    let first = add_passkey(&ada, &mut Device::new(), "Phone").await;
    let second = add_passkey(&ada, &mut Device::new(), "Key").await;
    command(&backend, &ada, account::Command::RemovePassword).await;
    let removed = [&first, &second].map(|id| ada.gql(REMOVE, json!({ "id": id })));
    let removed = join_all(removed).await;
    let refused: Vec<_> = removed.iter().filter(|answer| !succeeded(answer)).collect();
    assert_eq!(refused.len(), 1, "{removed:?}");
    assert_eq!(code_of(refused[0]), "CONFLICT");
    assert_eq!(passkeys(&ada).await.len(), 1);
    let login = ada.login(ADA, PASSWORD).await;
    assert_eq!(code_of(&login), "UNAUTHENTICATED", "there is no password");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_removes_passkeys_that_were_lost() {
    let backend = start().await;
    let (ada, gateway) = ada_at_a_site(&backend).await;
    add_passkey(&ada, &mut Device::new(), "Phone").await;
    let root = administrator(&backend, "root@example.com").await;
    let accounts = r#"{ platform { accounts(email: "ada@example.com") { nodes { id } } } }"#;
    let accounts = root.data(accounts, ()).await;
    let id = text(&accounts, "/platform/accounts/nodes/0/id");
    let remove = "mutation($id: ID!) { platform { removePasskeys(id: $id) { email } } }";
    assert_eq!(ada.code(remove, json!({ "id": id })).await, "FORBIDDEN");
    root.data(remove, json!({ "id": id })).await;
    ada.mail(ADA, "“Phone” no longer logs in", 1).await;
    let browser = at(&backend, &gateway);
    browser.log_in(ADA).await;
    eventually("a session that is fresh by the password", || async {
        succeeded(&browser.gql(START_ADDING, ()).await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_answer_to_the_latest_request_adds_a_passkey_and_only_once() {
    let backend = start().await;
    let (ada, _gateway) = ada_at_a_site(&backend).await;
    let first = ada.data(START_ADDING, ()).await["credential"]["startPasskey"].take();
    let latest = ada.data(START_ADDING, ()).await["credential"]["startPasskey"].take();
    let made = async |asked: &Value| {
        let response = Device::new().create(asked).await;
        json!({ "name": "Phone", "response": response })
    };
    is_refused(&ada, ADD_PASSKEY, made(&first).await).await;
    let add = made(&latest).await;
    ada.data(ADD_PASSKEY, add.clone()).await;
    is_refused(&ada, ADD_PASSKEY, add).await;
    assert_eq!(passkeys(&ada).await.len(), 1);
    let without = json!({ "service": "Passkey", "params": {} });
    is_refused(&ada, STEP_UP, input(without)).await;
}
