//! Changing the address of an account: both owners agree, and nobody gets or keeps one that is not
//! theirs.

use std::{
    future::ready,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use local::Local;
use serde_json::{Value, json};

use crate::support::{
    Browser, CHANGE_PASSWORD, Device, LOGIN, OTHER_PASSWORD, PASSWORD, VERIFY, ada_in_acme,
    add_passkey, add_second_factor, bad_input, by_passkey, code, code_of, documents_of, emails,
    eventually, input, site, start, start_with, store_unproved_account, succeeded, text, token,
};

const OLD: &str = "ada@example.com";
const NEW: &str = "ada@example.org";
pub const REQUEST: &str = "
    mutation($email: String!) {
        profile { requestEmailChange(email: $email) { success } }
    }";
pub const CONFIRM: &str = "
    mutation($token: String!) {
        profile { confirmEmailChange(token: $token) }
    }";
pub const UNDO: &str = "
    mutation($token: String!) {
        profile { undoEmailChange(token: $token) { success } }
    }";
const PROFILE: &str = "{ profile { email emailChange { email status changesAt } } }";
const SEND_RESET: &str = r#"
    mutation {
        account { sendResetPasswordEmail(input: { email: "ada@example.com" }) { success } }
    }"#;
const RESET: &str = "
    mutation($input: ResetPasswordInput!) {
        account { resetPassword(input: $input) { success } }
    }";
/// Words that only these mails have.
const CODE: &str = "use this e-mail address for an account";
const LINK: &str = "wants to change its e-mail address";
const HELD: &str = "Your account has this address already";
const CHANGED_FROM: &str = "no longer log in with this";
const CHANGED_TO: &str = "has this e-mail address now";
const RESTORED_TO: &str = "has this e-mail address again";
const ENDED: &str = "was not changed: the change was refused";

fn to(email: &str) -> Value {
    json!({ "email": email })
}
fn with(token: &str) -> Value {
    json!({ "token": token })
}

/// The status of an answer to [`CONFIRM`].
fn status(answer: &Value) -> &Value {
    &answer["profile"]["confirmEmailChange"]
}

/// Asks for another address; returns the code and the token of the link.
pub async fn asks(browser: &Browser, from: &str, new: &str) -> (String, String) {
    browser.data(REQUEST, to(new)).await;
    let (code_mail, link) = join(browser.mail(new, CODE, 1), browser.mail(from, LINK, 1)).await;
    (code(&code_mail), token(&link))
}

/// Gives the account of this browser another address.
pub async fn moves(browser: &Browser, from: &str, new: &str) {
    let (code, link) = asks(browser, from, new).await;
    browser.data(CONFIRM, with(&code)).await;
    let answer = browser.data(CONFIRM, with(&link)).await;
    assert_eq!(*status(&answer), "CHANGED");
}

async fn address(browser: &Browser) -> String {
    let shown = browser.data(PROFILE, ()).await;
    text(&shown, "/profile/email")
}

async fn logs_in(backend: &Local, email: &str, password: &str) -> bool {
    succeeded(&Browser::new(backend).login(email, password).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_changed_once_both_owners_agree_and_the_former_one_is_free() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let ada = Browser::signed_up(&backend, OLD).await;
    let (code, link) = asks(&ada, OLD, NEW).await;
    let waiting = |status: &str| {
        let change = json!({ "email": NEW, "status": status, "changesAt": null });
        json!({ "profile": { "email": OLD, "emailChange": change } })
    };
    assert_eq!(ada.data(PROFILE, ()).await, waiting("AWAITS_NEW_ADDRESS"));
    let answer = ada.data(CONFIRM, with(&code)).await;
    assert_eq!(*status(&answer), "AWAITS_PRESENT_ADDRESS");
    assert_eq!(
        ada.data(PROFILE, ()).await,
        waiting("AWAITS_PRESENT_ADDRESS")
    );
    assert!(!logs_in(&backend, NEW, PASSWORD).await);

    let mailbox = Browser::new(&backend);
    let answer = mailbox.data(CONFIRM, with(&link)).await;
    assert_eq!(*status(&answer), "CHANGED");
    let changed = json!({ "profile": { "email": NEW, "emailChange": null } });
    assert_eq!(ada.data(PROFILE, ()).await, changed);
    join(ada.mail(OLD, CHANGED_FROM, 1), ada.mail(NEW, CHANGED_TO, 1)).await;
    assert!(logs_in(&backend, NEW, PASSWORD).await);
    assert!(!logs_in(&backend, OLD, PASSWORD).await);
    for used in [&code, &link] {
        assert_eq!(ada.error(CONFIRM, with(used)).await, bad_input("token"));
    }
    // One client may not register one address so soon again.
    let grace = Browser::new(&backend).with_header("x-client", "9.9.9.9");
    grace.register(OLD).await;
    let code = self::code(&grace.mail(OLD, "code", 2).await);
    let verify = input(json!({ "email": OLD, "code": code }));
    grace.data(VERIFY, verify).await;
    grace.log_in(OLD).await;
    assert_eq!(address(&ada).await, NEW);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_may_come_before_the_code() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, OLD).await;
    let (code, link) = asks(&ada, OLD, NEW).await;
    let answer = ada.data(CONFIRM, with(&link)).await;
    assert_eq!(*status(&answer), "AWAITS_NEW_ADDRESS");
    let answer = ada.data(CONFIRM, with(&code)).await;
    assert_eq!(*status(&answer), "CHANGED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_serves_the_browser_that_has_asked_and_takes_five_tries() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, OLD).await;
    let (code, _) = asks(&ada, OLD, NEW).await;
    let wrong = bad_input("token");
    let phone = Browser::new(&backend);
    assert_eq!(phone.error(CONFIRM, with(&code)).await, wrong);
    phone.log_in(OLD).await;
    assert_eq!(phone.error(CONFIRM, with(&code)).await, wrong);
    for guess in 0..5 {
        let guess = format!("00000{guess}");
        assert_ne!(guess, code, "one test in 200,000 fails here");
        assert_eq!(ada.error(CONFIRM, with(&guess)).await, wrong);
    }
    assert_eq!(ada.error(CONFIRM, with(&code)).await, wrong);
    assert_eq!(address(&ada).await, OLD);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_present_address_refuses_a_change() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, OLD).await;
    let (code, link) = asks(&ada, OLD, NEW).await;
    ada.data(CONFIRM, with(&code)).await;
    Browser::new(&backend).data(UNDO, with(&link)).await;
    ada.mail(OLD, ENDED, 1).await;
    for answer in [&code, &link] {
        assert_eq!(ada.error(CONFIRM, with(answer)).await, bad_input("token"));
    }
    let shown = ada.data(PROFILE, ()).await;
    let expected = json!({ "profile": { "email": OLD, "emailChange": null } });
    assert_eq!(shown, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_an_address_tells_nothing_about_it() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, OLD).await;
    Browser::signed_up(&backend, "bob@example.com").await;
    let mut answers = Vec::new();
    for email in ["bob@example.com", "free@example.com"] {
        let asked = ada.post(REQUEST, to(email)).await;
        let cookie = asked.headers()["set-cookie"].to_str().unwrap().to_owned();
        let (pair, attributes) = cookie.split_once(';').unwrap();
        assert!(pair.starts_with("email-change="), "{cookie}");
        let cookie = (pair.len(), attributes.to_owned());
        let asked = asked.text().await.unwrap();
        let shown = ada.data(PROFILE, ()).await["profile"]["emailChange"]["status"].clone();
        let wrong = ada.post(CONFIRM, with("000000")).await;
        let again = ada.gql(REQUEST, to(email)).await;
        let wrong = wrong.text().await.unwrap();
        answers.push((cookie, asked, shown, wrong, code_of(&again).clone()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].4, "RATE_LIMITED");
    ada.mail("bob@example.com", HELD, 1).await;
    ada.mail("free@example.com", CODE, 1).await;
    let codes = ada.mails_to("bob@example.com", CODE).await;
    assert!(codes.is_empty(), "{codes:?}");
    let own = ada.error(REQUEST, to(OLD)).await;
    assert_eq!(own, bad_input("email"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_accounts_that_want_one_address_one_gets_it() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let (ada, bob) = join(
        Browser::signed_up(&backend, OLD),
        Browser::signed_up(&backend, "bob@example.com"),
    )
    .await;
    // One client may not send mails to one address so soon after each other.
    let ada = ada.with_header("x-client", "7.7.7.7");
    let bob = bob.with_header("x-client", "8.8.8.8");
    let mut links = Vec::new();
    for (nth, (browser, from)) in [(&ada, OLD), (&bob, "bob@example.com")]
        .into_iter()
        .enumerate()
    {
        browser.data(REQUEST, to(NEW)).await;
        let code = code(&browser.mail(NEW, CODE, nth + 1).await);
        let answer = browser.data(CONFIRM, with(&code)).await;
        assert_eq!(*status(&answer), "AWAITS_PRESENT_ADDRESS");
        links.push(token(&browser.mail(from, LINK, 1).await));
    }
    let copies = links.iter().cycle().take(20);
    let copies = copies.map(|link| async {
        let mailbox = Browser::new(&backend);
        mailbox.gql(CONFIRM, with(link)).await
    });
    let answers = join_all(copies).await;
    let changed = answers.iter().filter(|answer| succeeded(answer));
    assert!(changed.count() >= 1, "{answers:?}");
    let addresses = [address(&ada).await, address(&bob).await];
    let winners = addresses.iter().filter(|address| *address == NEW).count();
    assert_eq!(winners, 1, "{addresses:?}");
    let accounts = documents_of(&backend, "account").await;
    let holders = accounts.iter().filter(|it| it["view"]["email"] == NEW);
    assert_eq!(holders.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_an_address_that_is_asked_for_keeps_it() {
    let backend = start().await;
    let thief = Browser::signed_up(&backend, OLD).await;
    let (code, link) = asks(&thief, OLD, NEW).await;
    thief.data(CONFIRM, with(&link)).await;
    let victim = Browser::new(&backend);
    victim.register(NEW).await;
    let mail = victim.mail(NEW, "code", 2).await;
    let verify = input(json!({ "email": NEW, "code": self::code(&mail) }));
    victim.data(VERIFY, verify).await;
    let late = thief.gql(CONFIRM, with(&code)).await;
    assert_eq!(code_of(&late), "CONFLICT", "{late}");
    victim.log_in(NEW).await;
    assert_eq!(address(&thief).await, OLD);
    let (victims, thieves) = join(
        victim.data("{ profile { id } }", ()),
        thief.data("{ profile { id } }", ()),
    )
    .await;
    assert_ne!(victims, thieves);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_reset_ends_the_change_that_a_thief_has_asked_for() {
    let backend = start().await;
    let owner = Browser::signed_up(&backend, OLD).await;
    let thief = Browser::new(&backend);
    thief.log_in(OLD).await;
    let (code, link) = asks(&thief, OLD, NEW).await;
    thief.data(CONFIRM, with(&code)).await;
    owner.data(SEND_RESET, ()).await;
    let reset = token(&owner.mail(OLD, "reset-password", 1).await);
    let reset = json!({ "token": reset, "password": OTHER_PASSWORD });
    owner.data(RESET, input(reset)).await;
    let late = Browser::new(&backend);
    assert_eq!(late.error(CONFIRM, with(&link)).await, bad_input("token"));
    assert_eq!(address(&owner).await, OLD);
    assert!(!thief.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_factors_the_silence_of_the_present_address_suffices() {
    let backend = start_with(&["--email-change-silence-s", "1"]).await;
    let ada = Browser::signed_up(&backend, OLD).await;
    add_second_factor(&ada).await;
    // The account must have had the app for as long as the address is silent.
    let added = Instant::now();
    let has_passed = || ready(added.elapsed() > Duration::from_millis(1_100));
    eventually("the age of the app", has_passed).await;
    let (code, _) = asks(&ada, OLD, NEW).await;
    let shown = ada.data(PROFILE, ()).await;
    assert!(
        shown["profile"]["emailChange"]["changesAt"].is_null(),
        "{shown}"
    );
    ada.data(CONFIRM, with(&code)).await;
    eventually("the change", || async { address(&ada).await == NEW }).await;
    join(ada.mail(OLD, CHANGED_FROM, 1), ada.mail(NEW, CHANGED_TO, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_that_was_just_added_replaces_no_answer_of_the_present_address() {
    let backend = start().await;
    let site = site(&backend).await;
    let thief = Browser::signed_up(&backend, OLD).await.at_gateway(&site);
    add_passkey(&thief, &mut Device::new(), "Phone").await;
    let (code, _) = asks(&thief, OLD, NEW).await;
    let answer = thief.data(CONFIRM, with(&code)).await;
    assert_eq!(*status(&answer), "AWAITS_PRESENT_ADDRESS");
    let shown = thief.data(PROFILE, ()).await;
    assert!(
        shown["profile"]["emailChange"]["changesAt"].is_null(),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_all_sessions_ends_the_change_that_one_of_them_has_asked_for() {
    let backend = start().await;
    let owner = Browser::signed_up(&backend, OLD).await;
    let thief = Browser::new(&backend);
    thief.log_in(OLD).await;
    let (code, link) = asks(&thief, OLD, NEW).await;
    thief.data(CONFIRM, with(&code)).await;
    let revoke = "mutation { account { revokeAllSessions { success } } }";
    owner.data(revoke, ()).await;
    let late = Browser::new(&backend);
    assert_eq!(late.error(CONFIRM, with(&link)).await, bad_input("token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_answer_tells_of_no_change_that_did_not_last() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, OLD).await;
    let (_, refused) = asks(&ada, OLD, "grace@example.org").await;
    let first = Browser::new(&backend).with_idempotency_key("first");
    let answer = first.data(CONFIRM, with(&refused)).await;
    assert_eq!(*status(&answer), "AWAITS_NEW_ADDRESS");
    Browser::new(&backend).data(UNDO, with(&refused)).await;
    let repeated = first.error(CONFIRM, with(&refused)).await;
    assert_eq!(repeated, bad_input("token"));

    ada.data(REQUEST, to(NEW)).await;
    let code = code(&ada.mail(NEW, CODE, 1).await);
    ada.data(CONFIRM, with(&code)).await;
    let link = token(&ada.mail(OLD, LINK, 2).await);
    let second = Browser::new(&backend).with_idempotency_key("second");
    for _ in 0..2 {
        let answer = second.data(CONFIRM, with(&link)).await;
        assert_eq!(*status(&answer), "CHANGED");
    }
    let undo = token(&ada.mail(OLD, CHANGED_FROM, 1).await);
    Browser::new(&backend).data(UNDO, with(&undo)).await;
    let repeated = second.error(CONFIRM, with(&link)).await;
    assert_eq!(repeated, bad_input("token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_gets_the_account_back_and_a_thief_keeps_nothing_of_it() {
    let backend = start().await;
    let owner = ada_in_acme(&backend).await;
    let site = site(&backend).await;
    let thief = Browser::new(&backend).in_tenant("acme").at_gateway(&site);
    thief.log_in(OLD).await;
    add_second_factor(&thief).await;
    let mut device = Device::new();
    add_passkey(&thief, &mut device, "Phone").await;
    // The thief reads the mailbox for a moment.
    moves(&thief, OLD, "thief@example.org").await;
    let passwords = json!({ "oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD });
    thief.data(CHANGE_PASSWORD, input(passwords)).await;
    let (machine, _) = thief.create_machine(&backend, &["read_project"]).await;
    assert!(!owner.is_logged_in().await);

    let undo = token(&owner.mail(OLD, CHANGED_FROM, 1).await);
    Browser::new(&backend).data(UNDO, with(&undo)).await;
    join(
        owner.mail(OLD, RESTORED_TO, 1),
        owner.mail("thief@example.org", "has undone the change", 1),
    )
    .await;
    assert!(!thief.is_logged_in().await);
    let projects = machine.code("{ projects { totalCount } }", ()).await;
    assert_eq!(projects, "UNAUTHENTICATED");
    for email in [OLD, "thief@example.org"] {
        for password in [PASSWORD, OTHER_PASSWORD] {
            assert!(!logs_in(&backend, email, password).await, "{email}");
        }
    }
    owner.data(SEND_RESET, ()).await;
    let reset = token(&owner.mail(OLD, "reset-password", 1).await);
    let reset = json!({ "token": reset, "password": PASSWORD });
    owner.data(RESET, input(reset)).await;
    assert!(owner.is_logged_in().await, "there is no second factor");
    let answer = by_passkey(&thief, &mut device).await;
    assert!(!succeeded(&thief.gql(LOGIN, answer).await), "nor a passkey");
    assert_eq!(address(&owner).await, OLD);
    let again = owner.error(UNDO, with(&undo)).await;
    assert_eq!(again, bad_input("token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_never_proved_an_address_gives_way_to_who_has() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, OLD).await;
    store_unproved_account(&backend, NEW).await;
    moves(&ada, OLD, NEW).await;
    assert_eq!(address(&ada).await, NEW);
    let held = ada.mails_to(NEW, HELD).await;
    assert!(held.is_empty(), "{held:?}");
    let accounts = documents_of(&backend, "account").await;
    let holders = accounts.iter().filter(|it| it["view"]["email"] == NEW);
    assert_eq!(holders.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenants_of_an_account_know_it_by_its_new_address() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    moves(&ada, OLD, NEW).await;
    eventually("the new address of the member", || async {
        emails(&ada, json!({})).await == [NEW]
    })
    .await;
}
