//! The security events that people read: the owner of an account what happened to it, the
//! administrators of a tenant what its members were refused.

use std::fs;

use futures_util::future::join_all;
use local::Local;
use serde_json::{Value, json};

use crate::{
    cargo_dev::{Dev, operator_of},
    second_factor::LOG_IN,
    support::{
        ACCEPT_INVITATION, Browser, CHANGE_PASSWORD, CREATE_PROJECT, CREATE_TOKEN, DELETE_TOKEN,
        Device, INVITE, OTHER_PASSWORD, PASSWORD, Team, ada_and_bob, ada_in_acme, add_passkey,
        administrator, bad_input, by_passkey, eventually, input, invite, list, operator, site,
        start, start_with, succeeded, text, token,
    },
};

const ADA: &str = "ada@example.com";
const ACTIVITY: &str = "
    query($first: Int, $after: String) {
        accountActivity(first: $first, after: $after) {
            nodes { at event address device }
            pageInfo { hasNextPage endCursor }
        }
    }";
const REFUSALS: &str = "
    query($first: Int, $after: String) {
        refusals(first: $first, after: $after) {
            nodes {
                at operation permission address device
                actor { kind id person { firstname } }
            }
            pageInfo { hasNextPage endCursor }
        }
    }";
const SEND_RESET: &str = r#"
    mutation {
        account { sendResetPasswordEmail(input: { email: "ada@example.com" }) { success } }
    }"#;
const RESET: &str = "
    mutation($input: ResetPasswordInput!) {
        account { resetPassword(input: $input) { success } }
    }";
const REMOVE_PASSKEY: &str = "
    mutation($id: ID!) {
        credential { removePasskey(id: $id) { unknownCredential } }
    }";
const REMOVE_PASSKEYS: &str = "
    mutation($id: ID!) {
        platform { removePasskeys(id: $id) { email } }
    }";
const REVOKE: &str = "
    mutation($id: ID!) {
        account { revokeSession(id: $id) { success } }
    }";
const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";

/// The names of the events of a person's account, the latest first.
async fn activity(person: &Browser) -> Vec<String> {
    let shown = person.data(ACTIVITY, ()).await;
    let nodes = list(&shown["accountActivity"]["nodes"]).iter();
    nodes.map(|event| text(event, "/event")).collect()
}

/// Waits until a person's activity begins with these events, the latest first.
async fn shows(person: &Browser, latest: &[&str]) {
    eventually(&format!("{latest:?}"), || async {
        let shown = activity(person).await;
        shown.len() >= latest.len() && shown.iter().zip(latest).all(|(one, other)| one == other)
    })
    .await;
}

/// The refusals in the tenant of an administrator's browser, the latest first.
async fn refusals(administrator: &Browser) -> Vec<Value> {
    let shown = administrator.data(REFUSALS, json!({ "first": 100 })).await;
    list(&shown["refusals"]["nodes"]).clone()
}

fn operations(refusals: &[Value]) -> Vec<&str> {
    let operations = refusals.iter().map(|refusal| refusal["operation"].as_str());
    operations.map(Option::unwrap).collect()
}

/// Tries to create a project, which this person may not.
async fn is_refused(person: &Browser) {
    let code = person
        .code(CREATE_PROJECT, input(json!({ "name": "No" })))
        .await;
    assert_eq!(code, "FORBIDDEN");
}

/// Waits until an administrator sees this operation as the latest that was refused.
async fn sees_refused(administrator: &Browser, operation: &str) {
    eventually(operation, || async {
        operations(&refusals(administrator).await).first() == Some(&operation)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_logins_to_their_own_account_with_address_and_device() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let (ada, bob) = ada_and_bob(&backend).await;
    let thief = Browser::new(&backend).with_header("user-agent", "Thief/2.0");
    let thief = thief.with_header("x-client", "192.0.2.7");
    thief.login(ADA, OTHER_PASSWORD).await;
    thief.login("nobody@example.com", OTHER_PASSWORD).await;
    ada.with_header("x-client", "192.0.2.8").log_in(ADA).await;
    let latest = ["login_succeeded", "login_failed", "login_succeeded"];
    shows(&ada, &latest).await;
    let shown = ada.data(ACTIVITY, ()).await;
    let shown = list(&shown["accountActivity"]["nodes"]);
    assert_eq!(shown.len(), 3);
    for (event, device, address) in [
        (&shown[0], "Browser/1.0", json!("192.0.2.8")),
        (&shown[1], "Thief/2.0", json!("192.0.2.7")),
        (&shown[2], "Browser/1.0", Value::Null),
    ] {
        assert_eq!(
            (&event["device"], &event["address"]),
            (&json!(device), &address)
        );
        text(event, "/at").parse::<jiff::Timestamp>().unwrap();
    }
    assert_eq!(activity(&bob).await, ["login_succeeded"]);
    assert_eq!(thief.code(ACTIVITY, ()).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_changes_their_password_and_sessions() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let phone = Browser::new(&backend);
    let session = text(
        &phone.login(ADA, PASSWORD).await,
        "/data/account/login/session/id",
    );
    shows(&ada, &["login_succeeded", "login_succeeded"]).await;
    ada.data(REVOKE, json!({ "id": session })).await;
    shows(&ada, &["session_revoked"]).await;
    let change = |old| input(json!({ "oldPassword": old, "newPassword": OTHER_PASSWORD }));
    ada.code(CHANGE_PASSWORD, change("wrong")).await;
    shows(&ada, &["login_failed", "session_revoked"]).await;
    ada.data(CHANGE_PASSWORD, change(PASSWORD)).await;
    shows(&ada, &["password_changed", "login_failed"]).await;
    phone.data(SEND_RESET, ()).await;
    shows(&ada, &["reset_requested", "password_changed"]).await;
    let link = token(&ada.mail(ADA, "new password", 1).await);
    let reset = json!({ "token": link, "password": PASSWORD });
    phone.data(RESET, input(reset)).await;
    shows(&phone, &["password_reset", "reset_requested"]).await;
    phone.data(REVOKE_ALL, ()).await;
    phone.log_in(ADA).await;
    shows(&phone, &["login_succeeded", "sessions_revoked"]).await;
    let stranger = Browser::new(&backend).with_header("x-client", "192.0.2.7");
    assert!(succeeded(&stranger.register(ADA).await));
    shows(&phone, &["registration_refused", "login_succeeded"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_becomes_of_their_passkeys_and_who_tries_them_in_vain() {
    let backend = start().await;
    let gateway = site(&backend).await;
    let ada = Browser::signed_up(&backend, ADA).await.at_gateway(&gateway);
    let thief = Browser::new(&backend).at_gateway(&gateway);
    let is_refused = async |device: &mut Device| {
        let proof = by_passkey(&thief, device).await;
        assert_eq!(thief.error(LOG_IN, proof).await, bad_input("response"));
    };
    let mut removed = Device::new();
    let id = add_passkey(&ada, &mut removed, "Old").await;
    ada.data(REMOVE_PASSKEY, json!({ "id": id })).await;
    shows(&ada, &["passkey_removed", "stepped_up", "passkey_added"]).await;
    is_refused(&mut removed).await;
    shows(&ada, &["login_failed", "passkey_removed"]).await;

    let mut phone = Device::counting();
    add_passkey(&ada, &mut phone, "Phone").await;
    let mut copy = phone.clone();
    let own = by_passkey(&thief, &mut phone).await;
    thief.data(LOG_IN, own).await;
    is_refused(&mut copy).await;
    shows(&ada, &["passkey_suspended", "login_succeeded"]).await;
    is_refused(&mut phone).await;
    shows(&ada, &["login_failed", "passkey_suspended"]).await;

    let root = administrator(&backend, "root@example.com").await;
    let profile = ada.data("{ profile { id } }", ()).await;
    let id = json!({ "id": profile["profile"]["id"] });
    root.data(REMOVE_PASSKEYS, id).await;
    shows(&ada, &["passkey_removed", "login_failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_becomes_of_their_access_tokens() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let far_away = json!({
        "name": "Robot", "scopes": ["read_project"], "networks": ["192.0.2.0/24"],
    });
    let created = ada.data(CREATE_TOKEN, input(far_away)).await;
    let secret = text(&created, "/accessToken/create/token");
    let robot = Browser::machine(&backend, &secret);
    assert_eq!(robot.code(ACTIVITY, ()).await, "UNAUTHENTICATED");
    shows(&ada, &["token_refused", "access_token_created"]).await;
    let id = text(&created, "/accessToken/create/accessToken/id");
    ada.data(DELETE_TOKEN, json!({ "id": id })).await;
    shows(&ada, &["access_token_deleted", "token_refused"]).await;
    let (robot, _) = ada.create_machine(&backend, &["read_project"]).await;
    assert_eq!(robot.code(ACTIVITY, ()).await, "FORBIDDEN");
    let shown = ada.gql(ACTIVITY, ()).await.to_string();
    assert!(!shown.contains(&secret) && !shown.contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_operation_is_shown_to_administrators_of_its_tenant_and_to_nobody_else() {
    let team = Team::start().await;
    let rival = Browser::signed_up(&team.backend, "eve@example.com").await;
    rival.create_tenant("rival").await;
    let rival = rival.in_tenant("rival");
    is_refused(&team.guest).await;
    for administrator in [&team.owner, &team.admin] {
        sees_refused(administrator, "project.create").await;
    }
    let shown = &refusals(&team.admin).await[0];
    assert_eq!(shown["permission"], "create_project");
    assert_eq!(shown["actor"]["kind"], "PERSON");
    let guest = text(
        &team.guest.data("{ profile { id } }", ()).await,
        "/profile/id",
    );
    assert_eq!(shown["actor"]["id"], guest.as_str());
    assert_eq!(shown["address"], "127.0.0.1");
    assert_eq!(shown["device"], "Browser/1.0");

    for other in [&team.developer, &team.member, &team.guest] {
        assert_eq!(other.code(REFUSALS, ()).await, "FORBIDDEN");
    }
    assert_eq!(activity(&team.guest).await, ["login_succeeded"]);
    assert_eq!(
        rival.in_tenant("acme").code(REFUSALS, ()).await,
        "NOT_FOUND"
    );
    sees_refused(&team.owner, "tenant.refusals").await;
    assert_eq!(refusals(&rival).await, [json!(null); 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_learns_of_refused_fields_and_machines_but_not_of_what_is_no_part_of_it() {
    let team = Team::start().await;
    team.guest.gql("{ tenant { settings { key } } }", ()).await;
    sees_refused(&team.owner, "tenant.settings").await;
    // The platform refuses these, or another tenant does.
    let accounts = "{ platform { accounts { totalCount } } }";
    assert_eq!(team.guest.code(accounts, ()).await, "FORBIDDEN");
    team.member.create_tenant("other").await;
    let other = team.member.in_tenant("other");
    let in_list = "{ tenants { nodes { normalizedName settings { key } } } }";
    assert_eq!(other.code(in_list, ()).await, "FORBIDDEN");
    let (robot, _) = team
        .owner
        .create_machine(&team.backend, &["read_project"])
        .await;
    is_refused(&robot).await;
    sees_refused(&team.owner, "project.create").await;
    let shown = refusals(&team.owner).await;
    assert_eq!(operations(&shown), ["project.create", "tenant.settings"]);
    assert_eq!(shown[0]["actor"]["kind"], "ACCESS_TOKEN");
    assert_eq!(refusals(&other).await, [json!(null); 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_is_bounded_and_hides_neither_other_members_nor_other_tenants() {
    let team = Team::start().await;
    team.admin.create_tenant("quiet").await;
    let quiet = team.admin.in_tenant("quiet");
    let guest = team.guest.in_tenant("quiet");
    let email = "guest@example.com";
    quiet.data(INVITE, invite(email, "GUEST")).await;
    let link = token(&guest.mail(email, "invites", 2).await);
    let accept = input(json!({ "token": link }));
    guest.data(ACCEPT_INVITATION, accept).await;
    for _ in 0..10 {
        join_all((0..20).map(|_| is_refused(&team.guest))).await;
    }
    is_refused(&guest).await;
    sees_refused(&quiet, "project.create").await;
    // The stream keeps this one last, so all that were kept before are shown with it.
    let code = team.member.code(REFUSALS, ()).await;
    assert_eq!(code, "FORBIDDEN");
    sees_refused(&team.owner, "tenant.refusals").await;
    let kept = refusals(&team.owner).await.len() - 1;
    // An hour has room for 60, and a little more while the test runs.
    assert!((60..70).contains(&kept), "{kept}");
}

/// Stores this many events on a subject, as a gateway does. Their operations are numbers.
async fn store(backend: &Local, subject: &str, count: usize) {
    let operator = operator(backend).await;
    let mut stored = Vec::new();
    for at in 0..count {
        let event = json!({
            "time": at, "event": "flooded", "actor": { "kind": "anonymous" },
            "origin": { "device": "x" }, "operation": at.to_string(),
        });
        let sent = operator.publish(subject.to_owned(), event.to_string().into());
        stored.push(sent.await.unwrap().into_future());
    }
    for stored in join_all(stored).await {
        stored.unwrap();
    }
}

/// All pages of a list: what each entry has in a field, and the last cursor.
async fn pages(
    browser: &Browser,
    document: &str,
    list_name: &str,
    field: &str,
) -> (Vec<String>, Value) {
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = json!({ "first": 90, "after": after });
        let page = browser.data(document, page).await[list_name].clone();
        let nodes = list(&page["nodes"]).iter();
        seen.extend(nodes.map(|node| node[field].as_str().unwrap().to_owned()));
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            return (seen, after);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_keeps_its_latest_thousand_and_pages_show_each_once() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    let acme = text(&ada.create_tenant("acme").await, "/id");
    let loom = text(&bob.create_tenant("loom").await, "/id");
    let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("loom"));
    store(&backend, &format!("sec.tenant.{loom}"), 1).await;
    store(&backend, &format!("sec.tenant.{acme}"), 1_150).await;
    let (seen, after) = pages(&ada, REFUSALS, "refusals", "operation").await;
    let latest = (150..1_150).rev().map(|at| at.to_string());
    assert_eq!(seen, Vec::from_iter(latest));
    assert_eq!(refusals(&bob).await.len(), 1);
    // Positions in one tenant or list are none in another.
    let after = json!({ "after": after });
    for (person, document) in [(&bob, REFUSALS), (&ada, ACTIVITY)] {
        assert_eq!(person.error(document, &after).await, bad_input("after"));
    }
    let too_many = ada.error(REFUSALS, json!({ "first": 101 })).await;
    assert_eq!(too_many, bad_input("first"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_attempts_pushes_out_other_attempts_and_nothing_that_the_owner_did() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let thief = Browser::new(&backend);
    thief.login(ADA, OTHER_PASSWORD).await;
    shows(&ada, &["login_failed", "login_succeeded"]).await;
    let account = text(&ada.data("{ profile { id } }", ()).await, "/profile/id");
    store(&backend, &format!("sec.account.{account}.others"), 1_000).await;
    let (seen, _) = pages(&ada, ACTIVITY, "accountActivity", "event").await;
    assert_eq!(seen.len(), 1_001);
    assert!(seen[..1_000].iter().all(|event| event == "flooded"));
    assert_eq!(seen[1_000], "login_succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_stream_all_else_works_and_the_log_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let dev = Dev::start_logging(&data, &log, &[]).await;
    let ada = dev.browser();
    ada.sign_up(ADA).await;
    ada.create_tenant("acme").await;
    let ada = ada.in_tenant("acme");
    shows(&ada, &["login_succeeded"]).await;
    let lines = |text: &str| fs::read_to_string(&log).unwrap().matches(text).count();
    let operator = operator_of(&data).await;
    // As before `workers migrate` of this release.
    let stream = operator.get_stream("SECURITY").await.unwrap();
    let config = stream.cached_info().config.clone();
    operator.delete_stream("SECURITY").await.unwrap();
    for _ in 0..3 {
        assert!(succeeded(&dev.browser().login(ADA, PASSWORD).await));
        assert_eq!(activity(&ada).await, [""; 0]);
        assert_eq!(refusals(&ada).await, [json!(null); 0]);
    }
    assert_eq!(lines("security events are lost"), 1);
    operator.create_stream(config).await.unwrap();
    eventually("an event that is kept", || async {
        dev.browser().log_in(ADA).await;
        activity(&ada).await.contains(&"login_succeeded".to_owned())
    })
    .await;
    let again = "security events are kept again";
    eventually(again, || async { lines(again) == 1 }).await;
    assert_eq!(lines("security events are lost"), 1);
}
