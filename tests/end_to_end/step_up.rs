//! What a session proves, how long it is fresh, and how a person makes it fresh again.

use std::collections::BTreeSet;

use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::{
    matrix::{Operation, Schema, is_fresh, operations_table, row_of},
    revocation::soon,
    second_factor::{LOG_IN, second},
    services::{CHANGE_ROLE as CHANGE_SERVICE_ROLE, create as create_service},
    support::{
        ASSIGN_ROLE, Browser, CREATE_ROLE, CREATE_TOKEN, DELETE_MEMBER, Gateway, INVITE, MISSING,
        OTHER_PASSWORD, PASSWORD, PLATFORM, Team, UPDATE_MEMBER, UPDATE_ROLE, ada_in_acme,
        add_second_factor, assignment, bad_input, create_role, eventually, input, invite, list,
        mongo, role, set_platform_admin, start, succeeded, text,
    },
};

const ADA: &str = "ada@example.com";
pub const STEP_UP: &str = "
    mutation($input: LoginInput!) {
        account {
            stepUp(input: $input) {
                session { current authentication { aal proofs { kind } freshUntil } }
            }
        }
    }";
const SESSIONS: &str = "{
    sessions { current authentication { aal proofs { kind at provider } freshUntil } }
}";
const MINUTE_MS: i64 = 60 * 1000;

fn by_password(password: &str) -> Value {
    input(json!({ "service": "Password", "params": { "password": password } }))
}

/// As if everything had been proved this long ago, at a gateway that has no session in memory.
async fn later(backend: &Local, minutes: i64) -> Gateway {
    let sessions = mongo(backend).await.database(PLATFORM);
    let sessions = sessions.collection::<Document>("session");
    let past = jiff::Timestamp::now().as_millisecond() - minutes * MINUTE_MS;
    let change = doc! { "$set": { "view.proofs.$[].at": past } };
    // One that has ended leaves a document without a view.
    let live = doc! { "view.proofs": { "$exists": true } };
    sessions.update_many(live.clone(), change).await.unwrap();
    let change = doc! { "$set": { "view.proofs.$[password].of": past } };
    let by_password = sessions.update_many(live, change);
    let by_password = by_password.array_filters([doc! { "password.kind": "password" }]);
    by_password.await.unwrap();
    let accounts = mongo(backend).await.database(PLATFORM);
    let accounts = accounts.collection::<Document>("account");
    for since in [
        "view.password_set_at",
        "view.second_factor.totp.enrolled_at",
        "view.second_factor.recovery_codes.created_at",
    ] {
        let change = doc! { "$set": { since: past } };
        let with = doc! { since: { "$exists": true } };
        accounts.update_many(with, change).await.unwrap();
    }
    Gateway::start(backend, |_| {}).await
}

/// All operations that need a fresh session, by the reviewed table, with variables that suffice to
/// be refused; and both ways to give ownership, which have no row. A new operation is covered as soon as the
/// gateway has it.
async fn fresh_operations(browser: &Browser, member: &str) -> Vec<(String, Value)> {
    let (table, schema) = (operations_table(), Schema::of(browser).await);
    let mut operations = schema.operations();
    operations.retain(|operation| is_fresh(table[row_of(&table, operation)]));
    let covered = operations.iter().map(|operation| row_of(&table, operation));
    let covered: BTreeSet<&str> = covered.collect();
    let rows = table.iter().filter(|(_, row)| is_fresh(row));
    let rows: BTreeSet<&str> = rows.map(|(name, _)| *name).collect();
    assert_eq!(covered, rows);
    let request = |operation: &Operation| operation.request(&schema, &mut |_, _| json!(MISSING));
    let mut requests: Vec<_> = operations.iter().map(request).collect();
    let owner = json!({ "id": member, "role": "OWNER" });
    requests.push((UPDATE_MEMBER.to_owned(), input(owner)));
    requests.push((INVITE.to_owned(), invite("bob@example.com", "OWNER")));
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_minutes_a_session_must_prove_again_who_it_is() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let member = ada.member_id().await;
    let gateway = later(&backend, 9).await;
    let earlier = ada.at_gateway(&gateway);
    let token = json!({ "name": "Robot", "scopes": ["read_project"] });
    earlier.data(CREATE_TOKEN, input(token.clone())).await;

    let gateway = later(&backend, 10).await;
    let ada = ada.at_gateway(&gateway);
    let methods = json!(["Password", "EmailCode"]);
    let expected = json!({ "code": "STEP_UP_REQUIRED", "methods": methods });
    for (document, variables) in fresh_operations(&ada, &member).await {
        let refused = ada.error(&document, variables).await;
        assert_eq!(refused, expected, "{document}");
    }
    ada.data(STEP_UP, by_password(PASSWORD)).await;
    ada.data(CREATE_TOKEN, input(token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_ownership_away_must_have_a_fresh_session() {
    let team = Team::start().await;
    let owner = json!({ "id": team.owner.member_id().await });
    let guest = json!({ "id": team.guest.member_id().await });
    let demote = |member: &Value| input(json!({ "id": member["id"], "role": "DEVELOPER" }));
    let gateway = later(&team.backend, 10).await;
    let stale = team.owner.at_gateway(&gateway);
    for (document, variables) in [
        (UPDATE_MEMBER, demote(&owner)),
        (DELETE_MEMBER, owner.clone()),
    ] {
        let code = stale.code(document, variables).await;
        assert_eq!(code, "STEP_UP_REQUIRED", "{document}");
    }
    let by_guest = team.guest.at_gateway(&gateway);
    let code = by_guest.code(DELETE_MEMBER, &owner).await;
    assert_eq!(code, "FORBIDDEN", "a guest does not learn who is an owner");
    stale.data(UPDATE_MEMBER, demote(&guest)).await;
    stale.data(DELETE_MEMBER, &guest).await;
    stale.data(STEP_UP, by_password(PASSWORD)).await;
    let last = stale.code(UPDATE_MEMBER, demote(&owner)).await;
    assert_eq!(last, "CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_a_service_more_must_have_a_fresh_session() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let import = create_service(&ada, "Import", "MEMBER").await;
    let gateway = later(&backend, 10).await;
    let stale = ada.at_gateway(&gateway);
    let change = |role| input(json!({ "id": import, "role": role }));
    let code = stale.code(CHANGE_SERVICE_ROLE, change("ADMIN")).await;
    assert_eq!(code, "STEP_UP_REQUIRED");
    stale.data(CHANGE_SERVICE_ROLE, change("GUEST")).await;
    stale.data(STEP_UP, by_password(PASSWORD)).await;
    stale.data(CHANGE_SERVICE_ROLE, change("ADMIN")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_permissions_of_owners_by_a_role_must_have_a_fresh_session() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let member = ada.member_id().await;
    let chief = create_role(&ada, role("Chief", &["delete_tenant"], &[])).await;
    let reader = create_role(&ada, role("Reader", &["read_project"], &[])).await;

    let gateway = later(&backend, 10).await;
    let stale = ada.at_gateway(&gateway);
    let inherits = input(json!({ "id": reader, "inherits": ["owner"] }));
    let holds = input(json!({ "id": reader, "permissions": ["delete_tenant"] }));
    for (document, variables) in [
        (CREATE_ROLE, role("Second", &["delete_tenant"], &[])),
        (CREATE_ROLE, role("Second", &[], &["owner"])),
        (CREATE_ROLE, role("Second", &[], &[&chief])),
        (UPDATE_ROLE, inherits),
        (UPDATE_ROLE, holds),
        (ASSIGN_ROLE, assignment(&member, &chief)),
    ] {
        let code = stale.code(document, variables.clone()).await;
        assert_eq!(code, "STEP_UP_REQUIRED", "{variables}");
    }
    stale
        .data(CREATE_ROLE, role("Second", &["read_project"], &["admin"]))
        .await;
    stale.data(ASSIGN_ROLE, assignment(&member, &reader)).await;
    stale.data(STEP_UP, by_password(PASSWORD)).await;
    stale.data(ASSIGN_ROLE, assignment(&member, &chief)).await;
}

/// The level of the session of this browser.
async fn level(browser: &Browser) -> Value {
    let shown = browser.data(SESSIONS, ()).await;
    let mut sessions = list(&shown["sessions"]).iter();
    let current = sessions.find(|session| session["current"] == true);
    current.unwrap()["authentication"]["aal"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_a_recovery_code_counts_until_the_codes_are_replaced() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (_app, codes) = add_second_factor(&ada).await;
    let thief = Browser::new(&backend);
    thief.log_in(ADA).await;
    let stolen = second("RecoveryCode", &codes[0]);
    thief.data(LOG_IN, stolen).await;
    let gateway = later(&backend, 5).await;
    let (ada, thief) = (ada.at_gateway(&gateway), thief.at_gateway(&gateway));
    let second_gateway = Gateway::start(&backend, |_| {}).await;
    let elsewhere = thief.at_gateway(&second_gateway);
    for thief in [&thief, &elsewhere] {
        assert_eq!(level(thief).await, 2);
    }
    ada.data("mutation { credential { newRecoveryCodes } }", ())
        .await;
    assert_eq!(level(&thief).await, 1);
    soon("the end elsewhere", || async {
        level(&elsewhere).await == 1
    })
    .await;
    assert_eq!(level(&ada).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_an_app_that_was_replaced_counts_no_more() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, _) = add_second_factor(&ada).await;
    let thief = Browser::new(&backend);
    thief.log_in(ADA).await;
    thief.data(LOG_IN, second("Totp", &app.next().await)).await;
    let gateway = later(&backend, 5).await;
    let (ada, thief) = (ada.at_gateway(&gateway), thief.at_gateway(&gateway));
    let second_gateway = Gateway::start(&backend, |_| {}).await;
    let elsewhere = thief.at_gateway(&second_gateway);
    for thief in [&thief, &elsewhere] {
        assert_eq!(level(thief).await, 2);
    }
    ada.data("mutation { credential { removeTotp { success } } }", ())
        .await;
    for thief in [&thief, &elsewhere] {
        soon("the removal", || async { level(thief).await == 1 }).await;
    }
    add_second_factor(&ada).await;
    assert_eq!(level(&ada).await, 2);
    for thief in [&thief, &elsewhere] {
        assert_eq!(level(thief).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_up_starts_a_new_session_and_ends_the_old_one() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let wrong = ada.error(STEP_UP, by_password(OTHER_PASSWORD)).await;
    assert_eq!(wrong, bad_input("password"));
    let missing = input(json!({ "service": "Password", "params": {} }));
    assert_eq!(ada.error(STEP_UP, missing).await, bad_input("password"));
    // The session that the browser has now, in a browser of its own.
    let response = ada.post(STEP_UP, by_password(PASSWORD)).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let thief = Browser::new(&backend).with_header("cookie", &cookie);
    assert!(thief.is_logged_in().await);
    let stepped_up = ada.data(STEP_UP, by_password(PASSWORD)).await;
    assert!(stepped_up["account"]["stepUp"]["session"]["current"] == true);
    eventually("the end of the old session", || async {
        !thief.is_logged_in().await
    })
    .await;
    assert!(ada.is_logged_in().await);
    let sessions = ada.data(SESSIONS, ()).await;
    assert_eq!(list(&sessions["sessions"]).len(), 1);
    let nobody = Browser::new(&backend);
    assert_eq!(
        nobody.code(STEP_UP, by_password(PASSWORD)).await,
        "UNAUTHENTICATED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_second_factor_the_password_alone_makes_no_session_fresh() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let phone = Browser::new(&backend);
    phone.log_in(ADA).await;
    let (mut app, codes) = add_second_factor(&ada).await;
    let shown = |answer: &Value| answer["account"]["stepUp"]["session"]["authentication"].clone();
    let methods = json!(["Totp", "RecoveryCode"]);
    let expected = json!({ "code": "STEP_UP_REQUIRED", "methods": methods });
    let start = "mutation { credential { newRecoveryCodes } }";
    eventually("the second factor", || async {
        let answer = phone.gql(start, ()).await;
        answer["errors"][0]["extensions"] == expected
    })
    .await;
    let weak = shown(&phone.data(STEP_UP, by_password(PASSWORD)).await);
    assert_eq!(
        (&weak["aal"], &weak["freshUntil"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(phone.error(start, ()).await, expected);
    let strong = shown(&phone.data(STEP_UP, second("RecoveryCode", &codes[0])).await);
    assert_eq!(strong["aal"], 2);
    let proofs = json!([{ "kind": "PASSWORD" }, { "kind": "RECOVERY_CODE" }]);
    assert_eq!(strong["proofs"], proofs);

    let gateway = later(&backend, 10).await;
    let phone = phone.at_gateway(&gateway);
    assert_eq!(phone.error(start, ()).await, expected);
    phone.data(STEP_UP, by_password(PASSWORD)).await;
    assert_eq!(
        phone.error(start, ()).await,
        expected,
        "a thief may know the password"
    );
    phone.data(STEP_UP, second("Totp", &app.next().await)).await;
    phone.data(start, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_earlier_release_began_with_a_password() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let sessions = mongo(&backend).await.database(PLATFORM);
    let sessions = sessions.collection::<Document>("session");
    let change = doc! { "$unset": { "view.proofs": "" } };
    sessions.update_many(doc! {}, change).await.unwrap();
    let gateway = Gateway::start(&backend, |_| {}).await;
    let shown = ada.at_gateway(&gateway).data(SESSIONS, ()).await;
    let shown = &shown["sessions"][0]["authentication"];
    assert_eq!(
        (&shown["aal"], &shown["proofs"][0]["kind"]),
        (&json!(1), &json!("PASSWORD"))
    );
    let at: jiff::Timestamp = text(shown, "/proofs/0/at").parse().unwrap();
    let until: jiff::Timestamp = text(shown, "/freshUntil").parse().unwrap();
    let fresh_ms = until.as_millisecond() - at.as_millisecond();
    assert_eq!(fresh_ms, 10 * MINUTE_MS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_the_platform_needs_two_factors() {
    let backend = start().await;
    let root = Browser::signed_up(&backend, "root@example.com").await;
    let phone = Browser::new(&backend);
    phone.log_in("root@example.com").await;
    let query = "{ platform { tenants { totalCount } } }";
    assert_eq!(root.code(query, ()).await, "FORBIDDEN");
    let granted = set_platform_admin(&backend, "root@example.com", true);
    granted.await.unwrap();
    eventually("the administration", || async {
        root.code(query, ()).await == "SECOND_FACTOR_REQUIRED"
    })
    .await;
    add_second_factor(&root).await;
    eventually("the second factor", || async {
        succeeded(&root.gql(query, ()).await)
    })
    .await;
    assert_eq!(phone.code(query, ()).await, "STEP_UP_REQUIRED");
}
