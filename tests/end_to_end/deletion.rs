//! Deleting accounts: not at once, not by mistake, and then for ever.

use events_schema::{
    AccountId, ChallengeId, Command, CommandId, EmailAddress, Id, MemberId, TenantId, member,
};
use futures_util::future::join;
use local::Local;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::{
    email_change::{UNDO, moves},
    mail::replay,
    support::{
        Browser, CREATE_TENANT, DELETE_MEMBER, Gateway, INVITE, LOGIN, PASSWORD, PLATFORM,
        UPDATE_MEMBER, VERIFY, ada_in_acme, code, code_of, credentials, documents_of, emails,
        eventually, input, invite, mongo, send_command, start, start_with, store_deletion,
        succeeded, text, token,
    },
};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
/// One client may not register one address so soon again, so tests are several clients.
const SOON: [&str; 4] = [
    "--deletion-grace-s",
    "1",
    "--client-address-header",
    "x-client",
];
const DELETE: &str = "mutation { profile { delete { deletionAt } } }";
const CANCEL: &str = "mutation { profile { cancelDeletion { deletionAt } } }";
const PROFILE: &str = "{ profile { deletionAt } }";
/// Words that only these mails have.
const REQUESTED: &str = "Your account will be deleted on";
const KEPT: &str = "Your account will not be deleted";
const STOPPED: &str = "it is the only owner of a team";
const DONE: &str = "You have left all teams";

/// Ada and Bob, who both own the tenant `acme`.
async fn two_owners(backend: &Local) -> (Browser, Browser) {
    let ada = ada_in_acme(backend).await;
    let bob = Browser::signed_up(backend, BOB).await;
    let member = ada.add_member(&bob, BOB, "ADMIN").await;
    let owner = input(json!({ "id": member, "role": "OWNER" }));
    ada.data(UPDATE_MEMBER, owner).await;
    (ada, bob.in_tenant("acme"))
}

async fn deletion_at(browser: &Browser) -> Value {
    browser.data(PROFILE, ()).await["profile"]["deletionAt"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn until_its_time_comes_an_account_works_and_can_be_kept() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let asked = ada.data(DELETE, ()).await;
    let at = text(&asked, "/profile/delete/deletionAt");
    let days = at.parse::<jiff::Timestamp>().unwrap().as_millisecond()
        - jiff::Timestamp::now().as_millisecond();
    let day = 24 * 60 * 60 * 1000;
    assert!((13 * day..=14 * day).contains(&days), "{at}");
    let mail = ada.mail(ADA, REQUESTED, 1).await;
    assert!(text(&mail, "/text").contains("/account/keep"), "{mail}");
    let again = ada.data(DELETE, ()).await;
    assert_eq!(again, asked, "a second request postpones nothing");

    let phone = Browser::new(&backend);
    let login = LOGIN.replace("user { id", "user { deletionAt id");
    let answer = phone.data(&login, credentials(ADA, PASSWORD)).await;
    assert_eq!(answer["account"]["login"]["user"]["deletionAt"], at);
    let kept = phone.data(CANCEL, ()).await;
    assert_eq!(kept["profile"]["cancelDeletion"]["deletionAt"], Value::Null);
    ada.mail(ADA, KEPT, 1).await;
    assert_eq!(deletion_at(&ada).await, Value::Null);
    phone.data(CANCEL, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_deleted_account_has_ends_and_its_address_is_free() {
    let backend = start_with(&SOON).await;
    let (ada, bob) = two_owners(&backend).await;
    let (machine, _) = ada.create_machine(&backend, &["read_project"]).await;
    let phone = Browser::new(&backend);
    phone.log_in(ADA).await;
    let projects = "{ projects { totalCount } }";
    machine.data(projects, ()).await;

    ada.data(DELETE, ()).await;
    bob.mail(ADA, DONE, 1).await;
    for browser in [&ada, &phone] {
        eventually("the end of the sessions", || async {
            !browser.is_logged_in().await
        })
        .await;
    }
    assert_eq!(machine.code(projects, ()).await, "UNAUTHENTICATED");
    let login = Browser::new(&backend).login(ADA, PASSWORD).await;
    assert_eq!(code_of(&login), "UNAUTHENTICATED");
    eventually("the end of the membership", || async {
        emails(&bob, json!({})).await == [BOB]
    })
    .await;

    let again = Browser::new(&backend).with_header("x-client", "9.9.9.9");
    again.register(ADA).await;
    let code = code(&again.mail(ADA, "code", 2).await);
    again
        .data(VERIFY, input(json!({ "email": ADA, "code": code })))
        .await;
    again.log_in(ADA).await;
    let tenants = again.data("{ tenants { totalCount } }", ()).await;
    assert_eq!(tenants["tenants"]["totalCount"], 0, "it is another account");
    let tenant = json!({ "name": "New", "normalizedName": "new" });
    again.data(CREATE_TENANT, input(tenant)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_owner_of_tenants_is_told_which_they_are() {
    let backend = start().await;
    let (ada, _) = two_owners(&backend).await;
    let beta = text(&ada.create_tenant("beta").await, "/id");
    let error = ada.error(DELETE, ()).await;
    let tenants = json!([{ "id": beta, "name": "beta" }]);
    assert_eq!(error, json!({ "code": "SOLE_OWNER", "tenants": tenants }));
    assert_eq!(deletion_at(&ada).await, Value::Null);
    let delete = r#"mutation { tenant { delete(input: { normalizedName: "beta" }) { success } } }"#;
    ada.in_tenant("beta").data(delete, ()).await;
    ada.data(DELETE, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_become_the_only_owner_is_kept() {
    let backend = start().await;
    let gateway = Gateway::start(&backend, |config| config.accounts.deletion_grace_s = 10).await;
    let (ada, bob) = two_owners(&backend).await;
    ada.at_gateway(&gateway).data(DELETE, ()).await;
    let id = bob.member_id().await;
    bob.data(DELETE_MEMBER, json!({ "id": id })).await;
    ada.mail(ADA, STOPPED, 1).await;
    eventually("the end of the deletion", || async {
        deletion_at(&ada).await == Value::Null
    })
    .await;
    assert_eq!(emails(&ada, json!({})).await, [ADA]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_are_due_at_once_one_stays() {
    let backend = start_with(&SOON).await;
    let (ada, bob) = two_owners(&backend).await;
    join(ada.data(DELETE, ()), bob.data(DELETE, ())).await;
    let told = async |email, word| ada.mails_to(email, word).await.len();
    let all = async |word| told(ADA, word).await + told(BOB, word).await;
    eventually("the end of both deletions", || async {
        all(DONE).await + all(STOPPED).await == 2
    })
    .await;
    assert_eq!(all(STOPPED).await, 1);
    let (stays, email) = match told(ADA, STOPPED).await {
        1 => (&ada, ADA),
        _ => (&bob, BOB),
    };
    eventually("the end of the other membership", || async {
        emails(stays, json!({})).await == [email]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_gets_the_account_back_before_a_thief_has_deleted_it() {
    let backend = start_with(&SOON).await;
    let thief = Browser::signed_up(&backend, ADA).await;
    moves(&thief, ADA, "thief@example.org").await;
    let asked = thief.data(DELETE, ()).await;
    let at = text(&asked, "/profile/delete/deletionAt");
    let days = at.parse::<jiff::Timestamp>().unwrap().as_millisecond()
        - jiff::Timestamp::now().as_millisecond();
    let day = 24 * 60 * 60 * 1000;
    assert!((29 * day..=30 * day).contains(&days), "{at}");
    let owner = Browser::new(&backend);
    let undo = token(&owner.mail(ADA, "will be deleted on", 1).await);
    owner.data(UNDO, json!({ "token": undo })).await;
    let accounts = documents_of(&backend, "account").await;
    let back = accounts.iter().find(|it| it["view"]["email"] == ADA);
    assert!(back.unwrap()["view"]["closes_at"].is_null(), "{accounts:?}");
}

/// The id of the account of this browser.
async fn account_id(browser: &Browser) -> String {
    let shown = browser.data("{ profile { id } }", ()).await;
    text(&shown, "/profile/id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_cannot_be_left_keeps_nobody_in_the_others() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    for slug in ["one", "two", "three", "four"] {
        ada.create_tenant(slug).await;
    }
    let bob = Browser::signed_up(&backend, BOB).await;
    bob.create_tenant("acme").await;
    let bob = bob.in_tenant("acme");
    bob.add_member(&ada, ADA, "GUEST").await;
    store_deletion(&backend, &account_id(&ada).await).await;
    eventually("the end of the membership", || async {
        emails(&bob, json!({})).await == [BOB]
    })
    .await;
}

/// The tenant and the id of the invitation of this address, and the challenge that it was mailed.
async fn invitation(backend: &Local, email: &str) -> (TenantId, MemberId, ChallengeId) {
    let members = documents_of(backend, "member").await;
    let found = members.iter().find(|it| it["view"]["email"] == email);
    let found = found.unwrap();
    let id = |path: &str| Id::parse(&text(found, path)).unwrap();
    let tenant = TenantId::parse(&text(found, "/tenant")).unwrap();
    let challenge = ChallengeId(id("/view/invitation/id"));
    (tenant, MemberId(id("/_id")), challenge)
}

/// Accepts an invitation of this address as a gateway does that knows nothing of the account's end
/// or its other address.
async fn accepts_late(backend: &Local, account: &str, email: &str) {
    let (tenant, member, challenge) = invitation(backend, email).await;
    let accept = member::Command::Accept {
        challenge,
        account: AccountId::parse(account).unwrap(),
        email: EmailAddress::parse(email).unwrap(),
    };
    let id = CommandId(event_store::random_id().unwrap());
    let now = std::time::SystemTime::now().into();
    let command = Command::<member::Area>::by_system(id, tenant, member, now, accept);
    send_command(backend, command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_an_invitation_while_the_account_is_deleted_does_not_stay() {
    let backend = start_with(&SOON).await;
    let (ada, bob) = two_owners(&backend).await;
    let account = account_id(&ada).await;
    ada.data(DELETE, ()).await;
    bob.mail(ADA, DONE, 1).await;
    eventually("the end of the membership", || async {
        emails(&bob, json!({})).await == [BOB]
    })
    .await;
    bob.data(INVITE, invite(ADA, "GUEST")).await;
    accepts_late(&backend, &account, ADA).await;
    eventually("the end of the late membership", || async {
        emails(&bob, json!({})).await == [BOB]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_an_invitation_while_the_address_changes_gets_the_new_one() {
    let backend = start().await;
    let bob = Browser::signed_up(&backend, BOB).await;
    bob.create_tenant("acme").await;
    let bob = bob.in_tenant("acme");
    let ada = Browser::signed_up(&backend, ADA).await;
    bob.data(INVITE, invite(ADA, "GUEST")).await;
    moves(&ada, ADA, "ada@example.org").await;
    accepts_late(&backend, &account_id(&ada).await, ADA).await;
    eventually("the new address of the member", || async {
        let mut known = emails(&bob, json!({})).await;
        known.sort();
        known == ["ada@example.org", BOB]
    })
    .await;
}

/// When the deletion in the outbox is attempted next.
async fn due_at(backend: &Local) -> Option<DateTime> {
    let platform = mongo(backend).await.database(PLATFORM);
    let outbox = platform.collection::<Document>("outbox");
    let found = outbox.find_one(doc! { "effect": "close_account" }).await;
    let found = found.unwrap()?;
    Some(*found.get_datetime("due_at").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_cancelled_brings_no_later_one_forward() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let soon = Gateway::start(&backend, |config| config.accounts.deletion_grace_s = 5).await;
    ada.at_gateway(&soon).data(DELETE, ()).await;
    ada.data(CANCEL, ()).await;
    let asked = ada.data(DELETE, ()).await;
    let at = text(&asked, "/profile/delete/deletionAt");
    let at: jiff::Timestamp = at.parse().unwrap();
    eventually("the attempt that comes too early", || async {
        let due = due_at(&backend).await.map(DateTime::timestamp_millis);
        due.is_some_and(|due| (due - at.as_millisecond()).abs() < 5_000)
    })
    .await;
    assert!(ada.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_replay_of_the_log_deletes_and_mails_nothing_again() {
    let backend = start_with(&SOON).await;
    let (ada, bob) = two_owners(&backend).await;
    ada.data(DELETE, ()).await;
    bob.mail(ADA, DONE, 1).await;
    let again = Browser::new(&backend).with_header("x-client", "9.9.9.9");
    again.register(ADA).await;
    let code = code(&again.mail(ADA, "code", 2).await);
    let verify = input(json!({ "email": ADA, "code": code }));
    again.data(VERIFY, verify).await;
    again.log_in(ADA).await;
    bob.add_member(&again, ADA, "GUEST").await;
    moves(&bob, BOB, "bob@example.org").await;
    bob.mail(BOB, "no longer log in with this", 1).await;
    bob.mail("bob@example.org", "has this e-mail address now", 1)
        .await;
    let before = bob.mails().await.len();

    let replayed = replay(&backend).await;
    for expected in [
        "effects_close_account",
        "effects_change_email",
        "effects_account_members",
        "effects_member_accounts",
    ] {
        assert!(replayed.iter().any(|name| name == expected), "{replayed:?}");
    }
    // A later registration is served behind the whole replay.
    Browser::new(&backend).register("last@example.com").await;
    bob.mail("last@example.com", "code", 1).await;
    assert_eq!(bob.mails().await.len(), before + 1);
    let login = again.login(ADA, PASSWORD).await;
    assert!(succeeded(&login), "{login}");
    assert_eq!(emails(&bob, json!({})).await.len(), 2);
    let accounts = documents_of(&backend, "account").await;
    let live = accounts.iter().filter(|it| it["view"].is_object());
    assert_eq!(live.count(), 2, "{accounts:?}");
}
