//! Who becomes a member by logging in.

use super::*;
use crate::{
    billing::{CANCEL, CHANGE, create_plan, free, limit, set_default},
    email_change::moves,
    members::SUSPEND,
    second_factor::{LOG_IN, second},
    sso_revocation::{CREDENTIALS, UNLINK},
    support::{DELETE_MEMBER, INVITE, add_second_factor, documents_of, make_administrator},
};

const EVE: &str = "eve@example.com";
const NOT_INVITED: &str = "failed&reason=not_invited";

fn invitation(email: &str, role: &str) -> Value {
    input(json!({ "email": email, "role": role }))
}

/// A platform administrator at the same gateway, which knows at once what they change.
async fn root(world: &World) -> Browser {
    let root = world.person("root@example.com").await;
    make_administrator(&world.backend, &root, "root@example.com").await;
    root
}

async fn role(browser: &Browser) -> String {
    text(&browser.data(ME, ()).await, "/me/member/role")
}

/// Whether the person of this browser is no member of acme.
async fn is_stranger(browser: &Browser) -> bool {
    browser.in_tenant("acme").code(ME, ()).await == "NOT_FOUND"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_log_in_makes_a_member_whose_session_is_valid_in_the_tenant_alone() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let methods = r#"{ loginMethods(email: "x@corp.example") { sso { title startUrl } } }"#;
    let shown = world.browser().data(methods, ()).await;
    let sso = &shown["loginMethods"]["sso"];
    let start_url = format!("{}/oauth/{id}/start", world.url);
    assert_eq!(*sso, json!({ "title": "Acme", "startUrl": start_url }));

    let bob = world.comes(BOB, &id).await;
    let me = bob.data(ME, ()).await;
    assert_eq!(me["me"]["member"]["role"], "GUEST");
    assert_eq!(
        me["me"]["tenant"]["id"],
        me["me"]["authentication"]["tenantId"]
    );
    assert_eq!(bob.code(PROFILE, ()).await, "STEP_UP_REQUIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_whom_the_issuer_knows_becomes_no_member() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let eve = world.browser();
    assert_eq!(world.tries(&eve, EVE, &id).await, "code");
    // The account is Eve's own, as after any registration.
    eve.data(LOG_IN, by_code(&eve, EVE).await).await;
    eve.data(PROFILE, ()).await;
    assert!(is_stranger(&eve).await);
    let again = world.browser();
    assert_eq!(world.tries(&again, EVE, &id).await, NOT_INVITED);
    assert_eq!(again.code(PROFILE, ()).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_was_invited_becomes_a_member_in_the_role_of_the_invitation() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    ada.data(INVITE, invitation(BOB, "DEVELOPER")).await;
    let bob = world.comes(BOB, &id).await;
    assert_eq!(role(&bob).await, "DEVELOPER");
    // The domain of an invited address need not be verified: its owner proves it by a code.
    ada.data(INVITE, invitation(EVE, "MEMBER")).await;
    let eve = world.browser().in_tenant("acme");
    assert_eq!(world.tries(&eve, EVE, &id).await, "code");
    eve.data(LOG_IN, by_code(&eve, EVE).await).await;
    assert_eq!(role(&eve).await, "MEMBER");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_seat_nobody_joins_and_no_account_is_opened() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let root = root(&world).await;
    ada.data(INVITE, invitation("carl@corp.example", "GUEST"))
        .await;
    set_default(&root, free("Small", &[], &[("seats", 2)])).await;
    let accounts = documents_of(&world.backend, "account").await.len();
    let bob = world.browser();
    let full = "failed&reason=limit_reached";
    assert_eq!(world.tries(&bob, BOB, &id).await, full);
    let unchanged = documents_of(&world.backend, "account").await.len();
    assert_eq!(unchanged, accounts);
    // The invitation has a seat.
    world.comes("carl@corp.example", &id).await;
    set_default(&root, free("Large", &[], &[("seats", 3)])).await;
    world.comes(BOB, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_a_proof_of_their_own_is_logged_in_although_they_do_not_join() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let root = root(&world).await;
    set_default(&root, free("Small", &[], &[("seats", 1)])).await;
    let unproved = json!({ "sub": "8", "email": BOB, "email_verified": false });
    world.issuer.identifies(unproved);
    let bob = world.browser();
    assert_eq!(world.logs_in(&bob, &id).await, "code");
    bob.data(LOG_IN, by_code(&bob, BOB).await).await;
    bob.data(PROFILE, ()).await;
    assert!(is_stranger(&bob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_is_taken_after_the_second_factor() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let root = root(&world).await;
    set_default(&root, free("Small", &[], &[("seats", 1)])).await;
    let bob = world.person(BOB).await;
    let (mut app, _) = add_second_factor(&bob).await;
    world.links(&bob, BOB, &id).await;
    assert!(is_stranger(&bob).await);
    set_default(&root, free("Large", &[], &[("seats", 2)])).await;
    let browser = world.browser().in_tenant("acme");
    assert_eq!(world.tries(&browser, BOB, &id).await, "second_factor");
    assert_eq!(limit(&ada, "seats").await["used"], 1);
    browser
        .data(LOG_IN, second("Totp", &app.next().await))
        .await;
    assert_eq!(role(&browser).await, "GUEST");
    assert_eq!(limit(&ada, "seats").await["used"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_links_the_issuer_to_their_account_is_a_member_at_once() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let bob = world.person(BOB).await;
    world.links(&bob, BOB, &id).await;
    assert_eq!(role(&bob.in_tenant("acme")).await, "GUEST");
    bob.data(PROFILE, ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whom_the_tenant_has_removed_needs_an_invitation() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.person(BOB).await;
    let member = ada.add_member(&bob, BOB, "MEMBER").await;
    world.links(&bob, BOB, &id).await;
    ada.data(DELETE_MEMBER, json!({ "id": member })).await;
    let again = world.browser();
    assert_eq!(world.tries(&again, BOB, &id).await, NOT_INVITED);
    assert!(is_stranger(&bob).await);

    ada.data(INVITE, invitation(BOB, "DEVELOPER")).await;
    let back = world.comes(BOB, &id).await;
    assert_eq!(role(&back).await, "DEVELOPER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_has_left_may_come_back_and_one_who_has_joined_and_is_removed_may_not() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.comes(BOB, &id).await;
    let member = bob.member_id().await;
    bob.data(DELETE_MEMBER, json!({ "id": member })).await;
    assert!(is_stranger(&bob).await);
    let bob = world.comes(BOB, &id).await;
    let member = bob.member_id().await;
    ada.data(DELETE_MEMBER, json!({ "id": member })).await;
    let again = world.browser();
    assert_eq!(world.tries(&again, BOB, &id).await, NOT_INVITED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_member_stays_outside() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.comes(BOB, &id).await;
    let member = bob.member_id().await;
    ada.data(SUSPEND, json!({ "id": member })).await;
    assert!(is_stranger(&bob).await);
    let again = world.comes(BOB, &id).await;
    assert!(is_stranger(&again).await);
}

/// Bob, who has become a member by the connection, has unlinked his identity there, and has another
/// address by now. Also returns the member.
async fn bob_elsewhere(world: &World, id: &str) -> (Browser, String) {
    let bob = world.person(BOB).await;
    world.links(&bob, BOB, id).await;
    let member = bob.in_tenant("acme").member_id().await;
    let identity = bob.data(CREDENTIALS, ()).await;
    let identity = text(&identity, "/credentials/identities/0/id");
    bob.data(UNLINK, json!({ "id": identity })).await;
    moves(&bob, BOB, "bob@example.org").await;
    (bob, member)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_comes_back_with_another_account_only_by_an_invitation() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let (_bob, member) = bob_elsewhere(&world, &id).await;
    ada.data(DELETE_MEMBER, json!({ "id": member })).await;
    let again = world.browser();
    assert_eq!(world.tries(&again, BOB, &id).await, NOT_INVITED);
    ada.data(INVITE, invitation(BOB, "DEVELOPER")).await;
    let back = world.comes(BOB, &id).await;
    assert_eq!(role(&back).await, "DEVELOPER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_member_does_not_come_back_with_another_account() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let (_bob, member) = bob_elsewhere(&world, &id).await;
    ada.data(SUSPEND, json!({ "id": member })).await;
    // The member follows the address of the account, and is in the way of it until then.
    eventually("the refusal of the identity", || async {
        world.tries(&world.browser(), BOB, &id).await == NOT_INVITED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_has_left_may_come_back_with_another_account() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let (bob, member) = bob_elsewhere(&world, &id).await;
    let bob = bob.in_tenant("acme");
    bob.data(DELETE_MEMBER, json!({ "id": member })).await;
    world.comes(BOB, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_invited_as_an_owner_is_sent_to_the_link_and_no_account_is_opened() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    ada.data(INVITE, invitation(BOB, "OWNER")).await;
    let accounts = documents_of(&world.backend, "account").await.len();
    let bob = world.browser();
    let needs_link = "failed&reason=owner_invited";
    assert_eq!(world.tries(&bob, BOB, &id).await, needs_link);
    let unchanged = documents_of(&world.backend, "account").await.len();
    assert_eq!(unchanged, accounts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_a_plan_lets_in_only_whom_it_has_invited() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let root = root(&world).await;
    ada.data(INVITE, invitation("carl@corp.example", "GUEST"))
        .await;
    let plan = create_plan(&root, free("Free", &[], &[])).await;
    ada.data(CHANGE, input(json!({ "plan": plan }))).await;
    ada.data(CANCEL, ()).await;
    let bob = world.browser();
    assert_eq!(world.tries(&bob, BOB, &id).await, "failed&reason=refused");
    world.comes("carl@corp.example", &id).await;
}

/// Begins a log-in of Bob that waits for his second factor, and lets the connection trust more
/// meanwhile; returns what the log-in leads to.
async fn waits_for_too_long(world: &World, (ada, id): (&Browser, &str), code: Value) -> Value {
    let browser = world.browser().in_tenant("acme");
    assert_eq!(world.tries(&browser, BOB, id).await, "second_factor");
    let update = json!({ "id": id, "trustsTwoFactors": true });
    ada.data(UPDATE, input(update)).await;
    browser.error(LOG_IN, code).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_former_issuer_makes_no_member_after_the_second_factor() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let root = root(&world).await;
    set_default(&root, free("Small", &[], &[("seats", 1)])).await;
    let bob = world.person(BOB).await;
    let (mut app, _) = add_second_factor(&bob).await;
    world.links(&bob, BOB, &id).await;
    set_default(&root, free("Large", &[], &[("seats", 2)])).await;
    let code = second("Totp", &app.next().await);
    let refused = waits_for_too_long(&world, (&ada, &id), code).await;
    assert_eq!(refused, json!({ "code": "UNAUTHENTICATED" }));
    assert!(is_stranger(&bob).await);
    assert_eq!(limit(&ada, "seats").await["used"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_former_issuer_begins_no_session_of_a_member() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.person(BOB).await;
    let (mut app, _) = add_second_factor(&bob).await;
    world.links(&bob, BOB, &id).await;
    assert_eq!(role(&bob.in_tenant("acme")).await, "GUEST");
    let code = second("Totp", &app.next().await);
    let refused = waits_for_too_long(&world, (&ada, &id), code).await;
    assert_eq!(refused, json!({ "code": "UNAUTHENTICATED" }));
}
