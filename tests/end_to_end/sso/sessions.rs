//! What a session by a connection may do, and when it ends.

use super::*;
use crate::{
    email_change::{CONFIRM, asks},
    support::succeeded,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_lies_about_a_linked_person_gets_nothing_outside_its_tenant() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let victim = world.person(BOB).await;
    victim.create_tenant("mine").await;
    world.links(&victim, BOB, &id).await;

    let thief = world.comes(BOB, &id).await;
    for document in [
        PROFILE,
        "{ sessions { id } }",
        "{ credentials { hasPassword } }",
        "{ tenants { nodes { id } } }",
        "{ accountActivity { nodes { at } } }",
        "mutation { account { revokeAllSessions { success } } }",
        r#"mutation { credential { setPassword(password: "a new password") { success } } }"#,
        "mutation { credential { startPasskey } }",
        "mutation { credential { startTotp { uri } } }",
        r#"mutation { credential { unlink(id: "0") { success } } }"#,
        r#"mutation { profile { requestEmailChange(email: "x@evil.example") { success } } }"#,
        "mutation { profile { delete { id } } }",
        r#"mutation { tenant { create(input: { name: "Xyz" }) { id } } }"#,
    ] {
        let code = thief.code(document, ()).await;
        assert_eq!(code, "STEP_UP_REQUIRED", "{document}");
    }
    let code = thief.in_tenant("mine").code(ME, ()).await;
    assert_eq!(code, "NOT_FOUND");
    thief.data(ME, ()).await;

    thief.data(STEP_UP, by_password()).await;
    let mine = thief.in_tenant("mine").gql(ME, ()).await;
    assert!(succeeded(&mine), "{mine}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_connection_end_when_it_is_deleted() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.comes(BOB, &id).await;
    ada.data(DELETE, json!({ "id": id })).await;
    assert_eq!(bob.code(ME, ()).await, "UNAUTHENTICATED");
    let start = bob.visit(&format!("/oauth/{id}/start")).await;
    assert_eq!(start.unwrap_err().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_factors_of_the_issuer_count_in_the_tenant_if_the_tenant_says_so() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let level = async |methods: Value| {
        world.issuer.claims(json!({ "amr": methods }));
        let bob = world.comes(BOB, &id).await;
        bob.data(ME, ()).await["me"]["authentication"]["aal"].clone()
    };
    assert_eq!(level(json!(["mfa"])).await, 1, "not yet");
    let trusts = json!({ "id": id, "trustsTwoFactors": true });
    ada.data(UPDATE, input(trusts)).await;
    for (methods, expected) in [
        (json!(["mfa"]), 2),
        (json!(["pwd", "otp"]), 2),
        (json!(["pwd"]), 1),
        (Value::Null, 1),
    ] {
        assert_eq!(level(methods.clone()).await, expected, "{methods}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_factors_of_the_issuer_let_no_silence_change_the_address_of_the_account() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let trusts = json!({ "id": id, "trustsTwoFactors": true });
    ada.data(UPDATE, input(trusts)).await;
    let owner = world.person(BOB).await;
    world.links(&owner, BOB, &id).await;

    world.issuer.claims(json!({ "amr": ["mfa"] }));
    let thief = world.comes(BOB, &id).await;
    thief.data(STEP_UP, by_password()).await;
    let (code, _) = asks(&thief, BOB, "bob@evil.example").await;
    thief.data(CONFIRM, json!({ "token": code })).await;
    let change = "{ profile { emailChange { status changesAt } } }";
    let change = &thief.data(change, ()).await["profile"]["emailChange"];
    let waits = json!({ "status": "AWAITS_PRESENT_ADDRESS", "changesAt": null });
    assert_eq!(*change, waits);
}
