//! What a session proves, how long it is fresh, and how a person makes it fresh again.

use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::{
    second_factor::{LOG_IN, second},
    support::{
        ASSIGN_ROLE, Browser, CHANGE_PASSWORD, CREATE_ROLE, CREATE_TOKEN, DELETE_ACME, Gateway,
        OTHER_PASSWORD, PASSWORD, PLATFORM, UPDATE_MEMBER, UPDATE_ROLE, ada_in_acme,
        add_second_factor, assignment, bad_input, create_role, eventually, input, list, mongo,
        role, set_platform_admin, start, succeeded, text,
    },
};

const CREATE_CONNECTION: &str = r#"
    mutation {
        sso {
            create(input: {
                name: "Acme", issuer: "https://login.example.com", clientId: "x", clientSecret: "x",
                role: GUEST
            }) { id }
        }
    }"#;
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
    sessions.update_many(live, change).await.unwrap();
    let accounts = mongo(backend).await.database(PLATFORM);
    let accounts = accounts.collection::<Document>("account");
    let enrolled = "view.second_factor.totp.enrolled_at";
    let created = "view.second_factor.recovery_codes.created_at";
    let change = doc! { "$set": { enrolled: past, created: past } };
    let with_app = doc! { enrolled: { "$exists": true } };
    accounts.update_many(with_app, change).await.unwrap();
    Gateway::start(backend, |_| {}).await
}

/// All operations that need a fresh session, with variables that suffice to be refused.
fn fresh_operations(member: &str) -> Vec<(&'static str, Value)> {
    let change = json!({ "oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD });
    let token = json!({ "name": "Robot", "scopes": ["read_project"] });
    let owner = json!({ "id": member, "role": "OWNER" });
    vec![
        (CHANGE_PASSWORD, input(change)),
        (CREATE_TOKEN, input(token)),
        (DELETE_ACME, json!({})),
        (UPDATE_MEMBER, input(owner)),
        (
            r#"mutation { credential { startLink(provider: "google") } }"#,
            json!({}),
        ),
        (
            "mutation { credential { confirmLink { success } } }",
            json!({}),
        ),
        (
            r#"mutation { credential { unlink(id: "x") { success } } }"#,
            json!({}),
        ),
        (
            r#"mutation { credential { setPassword(password: "x") { success } } }"#,
            json!({}),
        ),
        (
            "mutation { credential { removePassword { success } } }",
            json!({}),
        ),
        ("mutation { credential { startTotp { uri } } }", json!({})),
        (
            r#"mutation { credential { confirmTotp(code: "000000") } }"#,
            json!({}),
        ),
        (
            "mutation { credential { removeTotp { success } } }",
            json!({}),
        ),
        ("mutation { credential { newRecoveryCodes } }", json!({})),
        ("mutation { credential { startPasskey } }", json!({})),
        (
            r#"mutation { credential { addPasskey(name: "x", response: {}) { id } } }"#,
            json!({}),
        ),
        (
            r#"mutation { credential { removePasskey(id: "x") { unknownCredential } } }"#,
            json!({}),
        ),
        (
            r#"mutation { profile { requestEmailChange(email: "x@example.com") { success } } }"#,
            json!({}),
        ),
        ("mutation { profile { delete { id } } }", json!({})),
        (
            r#"mutation { support { grant(until: "2099-01-01T00:00:00Z") { grantedUntil } } }"#,
            json!({}),
        ),
        (CREATE_CONNECTION, json!({})),
        (
            r#"mutation { sso { update(input: { id: "x" }) { id } } }"#,
            json!({}),
        ),
        (
            r#"mutation { sso { delete(id: "x") { success } } }"#,
            json!({}),
        ),
        (
            r#"mutation { sso { enforce(input: { id: "x", enforced: true }) { id } } }"#,
            json!({}),
        ),
        (
            r#"mutation { sso { addDomain(input: { id: "x", domain: "x.example" }) { name } } }"#,
            json!({}),
        ),
        (
            r#"mutation { sso { verifyDomain(input: { id: "x", domain: "x.example" }) { name } } }"#,
            json!({}),
        ),
        (
            r#"mutation { sso { removeDomain(input: { id: "x", domain: "x.example" }) { success } } }"#,
            json!({}),
        ),
        (
            r#"mutation { platform { removeSecondFactor(id: "x") { id } } }"#,
            json!({}),
        ),
        (
            r#"mutation { platform { removePasskeys(id: "x") { id } } }"#,
            json!({}),
        ),
    ]
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
    for (document, variables) in fresh_operations(&member) {
        assert_eq!(ada.error(document, variables).await, expected, "{document}");
    }
    let demote = input(json!({ "id": member, "role": "GUEST" }));
    let code = ada.code(UPDATE_MEMBER, demote).await;
    assert_eq!(code, "CONFLICT", "only giving ownership needs it");
    ada.data(STEP_UP, by_password(PASSWORD)).await;
    ada.data(CREATE_TOKEN, input(token)).await;
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
    assert_eq!(level(&thief).await, 2);
    ada.data("mutation { credential { newRecoveryCodes } }", ())
        .await;
    assert_eq!(level(&thief).await, 1);
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
    assert_eq!(level(&thief).await, 2);
    ada.data("mutation { credential { removeTotp { success } } }", ())
        .await;
    eventually("the removal", || async { level(&thief).await == 1 }).await;
    add_second_factor(&ada).await;
    assert_eq!(level(&ada).await, 2);
    assert_eq!(level(&thief).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_operations_that_need_a_fresh_session_is_complete() {
    let table = include_str!("../../gateway/src/access/operations.txt");
    let rows = table.lines().filter(|row| row.contains("; fresh"));
    // Giving ownership has no row of its own.
    assert_eq!(rows.count() + 1, fresh_operations("").len());
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
