//! Invitations: each is for one address and valid once; it is rejected, repeated or withdrawn.

use local::Local;
use serde_json::{Value, json};

use crate::support::{
    ACCEPT_INVITATION, Browser, DELETE_MEMBER, INVITE, MEMBERS, PASSWORD, PERMISSIONS, ada_and_bob,
    ada_in_acme, bad_input, code_of, documents_of, emails, eventually, input, invite, start,
    start_with, stored_owners, succeeded, text, token,
};

const REJECT: &str = "
    mutation($input: InvitationInput!) {
        member { rejectInvitation(input: $input) { success } }
    }";

/// The variables of an acceptance or a rejection.
fn by_token(token: &str) -> Value {
    input(json!({ "token": token }))
}

/// Ada owns acme, where her browser is; Bob has an account and is no member.
struct World {
    backend: Local,
    acme: Value,
    ada: Browser,
    bob: Browser,
}

impl World {
    async fn start() -> Self {
        let backend = start().await;
        let (ada, bob) = ada_and_bob(&backend).await;
        let acme = ada.create_tenant("acme").await;
        let ada = ada.in_tenant("acme");
        Self {
            backend,
            acme,
            ada,
            bob,
        }
    }

    /// Invites Bob for the n-th time; returns the invitation's id and the token of its mail.
    async fn invite_bob(&self, role: &str, nth: usize) -> (String, String) {
        let invited = self.ada.data(INVITE, invite("bob@example.com", role)).await;
        let mail = self.ada.mail("bob@example.com", "invites", nth).await;
        (text(&invited, "/member/invite/id"), token(&mail))
    }

    async fn assert_invalid(&self, token: &str, document: &str, why: &str) {
        let error = self.bob.error(document, by_token(token)).await;
        assert_eq!(error["field"], "token", "{why}");
    }

    async fn bob_is_no_member(&self) {
        let code = self.bob.in_tenant("acme").code(PERMISSIONS, ()).await;
        assert_eq!(code, "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_pending_until_it_is_accepted() {
    let world = World::start().await;
    let invited = world
        .ada
        .data(INVITE, invite("Bob@Example.com", "DEVELOPER"))
        .await;
    let mut invited = invited["member"]["invite"].clone();
    invited.as_object_mut().unwrap().remove("id");
    let expected = json!({
        "email": "bob@example.com", "role": "DEVELOPER", "status": "PENDING", "revision": 1,
    });
    assert_eq!(invited, expected);
    world.bob_is_no_member().await;

    let link = token(&world.ada.mail("bob@example.com", "invites", 1).await);
    let accepted = world.bob.data(ACCEPT_INVITATION, by_token(&link)).await;
    let tenant = json!({ "id": world.acme["id"], "normalizedName": "acme" });
    assert_eq!(accepted["member"]["acceptInvitation"], tenant);
    let again = world.bob.data(ACCEPT_INVITATION, by_token(&link)).await;
    assert_eq!(again, accepted, "a second acceptance gets the same answer");
    world
        .assert_invalid(&link, REJECT, "an accepted invitation cannot be rejected")
        .await;
    let query = "{ me { member { role status revision } } }";
    let me = world.bob.in_tenant("acme").data(query, ()).await;
    let expected = json!({ "role": "DEVELOPER", "status": "ACCEPTED", "revision": 2 });
    assert_eq!(me["me"]["member"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_invitation_is_refused_like_one_that_never_existed() {
    let world = World::start().await;
    let eve = Browser::signed_up(&world.backend, "eve@example.com").await;
    let (_, link) = world.invite_bob("DEVELOPER", 1).await;
    let mut forged = link.clone();
    forged.replace_range(10..11, if &link[10..11] == "A" { "B" } else { "A" });
    let longer = format!("{link}A");
    for document in [ACCEPT_INVITATION, REJECT] {
        let stolen = eve.gql(document, by_token(&link)).await;
        assert_eq!(
            eve.error(document, by_token(&link)).await,
            bad_input("token"),
            "{stolen}"
        );
        for wrong in ["", "x", &forged, &link[1..], &longer, "\u{0}"] {
            for browser in [&eve, &world.bob] {
                let answer = browser.gql(document, by_token(wrong)).await;
                assert_eq!(answer, stolen, "{wrong:?}");
            }
        }
        let nobody = Browser::new(&world.backend);
        assert_eq!(
            nobody.code(document, by_token(&link)).await,
            "UNAUTHENTICATED"
        );
    }
    assert_eq!(
        eve.in_tenant("acme").code(PERMISSIONS, ()).await,
        "NOT_FOUND"
    );
    let pending = json!({ "where": { "status": "PENDING" } });
    assert_eq!(
        world.ada.data(MEMBERS, pending).await["members"]["totalCount"],
        1
    );

    world.bob.data(ACCEPT_INVITATION, by_token(&link)).await;
    assert_eq!(
        eve.error(ACCEPT_INVITATION, by_token(&link)).await,
        bad_input("token")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_be_invited_again() {
    let world = World::start().await;
    world
        .ada
        .add_member(&world.bob, "bob@example.com", "DEVELOPER")
        .await;
    for role in ["DEVELOPER", "GUEST"] {
        let code = world
            .ada
            .code(INVITE, invite("bob@example.com", role))
            .await;
        assert_eq!(code, "CONFLICT", "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_cannot_come_back_by_a_used_link() {
    let world = World::start().await;
    let (id, link) = world.invite_bob("DEVELOPER", 1).await;
    world.bob.data(ACCEPT_INVITATION, by_token(&link)).await;
    world.ada.data(DELETE_MEMBER, json!({ "id": id })).await;
    world
        .assert_invalid(&link, ACCEPT_INVITATION, "the link was used")
        .await;
    world.bob_is_no_member().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_invitation_cannot_be_accepted() {
    let world = World::start().await;
    let (_, link) = world.invite_bob("MEMBER", 1).await;
    for _ in 0..2 {
        let answer = world.bob.data(REJECT, by_token(&link)).await;
        assert_eq!(answer["member"]["rejectInvitation"]["success"], true);
    }
    world
        .assert_invalid(&link, ACCEPT_INVITATION, "it was rejected")
        .await;
    let rejected = json!({ "where": { "status": "REJECTED" } });
    assert_eq!(emails(&world.ada, rejected).await, ["bob@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_invitation_invalidates_the_earlier_link() {
    let world = World::start().await;
    let (id, first) = world.invite_bob("MEMBER", 1).await;
    world.bob.data(REJECT, by_token(&first)).await;
    let again = world
        .ada
        .data(INVITE, invite("bob@example.com", "GUEST"))
        .await;
    let expected = json!({
        "id": id, "email": "bob@example.com", "role": "GUEST", "status": "PENDING", "revision": 3,
    });
    assert_eq!(again["member"]["invite"], expected);
    let second = token(&world.ada.mail("bob@example.com", "invites", 2).await);
    world
        .assert_invalid(&first, ACCEPT_INVITATION, "a second one was sent")
        .await;
    // With another role, or it would be the same button pressed twice.
    world.invite_bob("MEMBER", 3).await;
    world
        .assert_invalid(&second, ACCEPT_INVITATION, "a third one was sent")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_invitation_is_refused() {
    let world = World::start().await;
    let (id, link) = world.invite_bob("MEMBER", 1).await;
    world.ada.data(DELETE_MEMBER, json!({ "id": id })).await;
    for document in [ACCEPT_INVITATION, REJECT] {
        world.assert_invalid(&link, document, "withdrawn").await;
    }
    let id = json!({ "id": id });
    assert_eq!(world.ada.code(DELETE_MEMBER, &id).await, "NOT_FOUND");
    let query = "query($id: ID!) { member(id: $id) { id } }";
    assert_eq!(world.ada.code(query, &id).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_after_a_withdrawn_one_is_for_a_new_member() {
    let world = World::start().await;
    let (withdrawn, _) = world.invite_bob("MEMBER", 1).await;
    world
        .ada
        .data(DELETE_MEMBER, json!({ "id": withdrawn }))
        .await;
    let (id, link) = world.invite_bob("MEMBER", 2).await;
    assert_ne!(id, withdrawn);
    world.bob.data(ACCEPT_INVITATION, by_token(&link)).await;
    assert_eq!(world.bob.in_tenant("acme").member_id().await, id);
    assert_eq!(
        world.ada.mails_to("bob@example.com", "invites").await.len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_account_cannot_accept_an_invitation_to_its_address() {
    let backend = start().await;
    let ada = crate::support::ada_in_acme(&backend).await;
    // Eve opens an account for Bob's address, which is not hers; Ada invites Bob.
    let eve = Browser::new(&backend);
    eve.register("bob@example.com").await;
    ada.data(INVITE, invite("bob@example.com", "OWNER")).await;
    let link = token(&ada.mail("bob@example.com", "invites", 1).await);
    eve.login("bob@example.com", PASSWORD).await;
    assert_eq!(
        eve.code(ACCEPT_INVITATION, by_token(&link)).await,
        "UNAUTHENTICATED"
    );
    assert_eq!(stored_owners(&backend).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_to_one_address_are_spaced_whatever_the_role() {
    let backend = start_with(&["--invitations-per-address", "5"]).await;
    let ada = ada_in_acme(&backend).await;
    let invite_as = async |role: &str| ada.gql(INVITE, invite("bob@example.com", role)).await;
    for role in ["GUEST", "MEMBER"] {
        let invited = invite_as(role).await;
        assert!(succeeded(&invited), "{invited}");
    }
    let mail = ada.mail("bob@example.com", "invites", 1).await;
    let text_of_mail = text(&mail, "/text");
    assert!(
        text_of_mail.contains("Ada Lovelace invites you to join acme"),
        "{text_of_mail}"
    );
    // Withdrawn and sent again.
    let invited = invite_as("GUEST").await;
    let id = json!({ "id": text(&invited, "/data/member/invite/id") });
    ada.data(DELETE_MEMBER, id).await;
    let refused = invite_as("DEVELOPER").await;
    assert_eq!(code_of(&refused), "RATE_LIMITED", "{refused}");
    let other = ada.gql(INVITE, invite("eve@example.com", "GUEST")).await;
    assert!(succeeded(&other), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sends_a_limited_number_of_invitations_a_day() {
    let backend = start_with(&["--invitations-per-day", "2"]).await;
    let ada = ada_in_acme(&backend).await;
    let invite_to = async |email: &str| ada.gql(INVITE, invite(email, "GUEST")).await;
    for email in ["a@example.com", "b@example.com"] {
        let invited = invite_to(email).await;
        assert!(succeeded(&invited), "{invited}");
    }
    let refused = invite_to("c@example.com").await;
    assert_eq!(code_of(&refused), "RATE_LIMITED", "{refused}");
    let wait = refused["errors"][0]["extensions"]["retryAfter"].as_u64();
    assert!(wait.is_some_and(|seconds| seconds <= 24 * 60 * 60));
}

const STOP_INVITATIONS: &str = "
    mutation($input: StopInvitationsInput!) {
        recipient { stopInvitations(input: $input) { success } }
    }";

/// Ada invites Bob, who has no account and stops invitations by the link in the mail.
pub(crate) async fn stop_invitations_to_bob(backend: &Local, ada: &Browser) {
    ada.data(INVITE, invite("bob@example.com", "GUEST")).await;
    let mail = text(&ada.mail("bob@example.com", "invites", 1).await, "/text");
    let (_, link) = mail.split_once("/invitation/stop#token=").unwrap();
    let link = link.split_whitespace().next().unwrap();
    let bob = Browser::new(backend);
    let page = bob.http().get(bob.url("/invitation/stop")).send().await;
    let page = page.unwrap().text().await.unwrap();
    assert!(page.contains("stopInvitations"), "{page}");
    let other_link = token(&json!({ "text": mail }));
    for wrong in [&other_link, &link[1..], ""] {
        let error = bob.error(STOP_INVITATIONS, by_token(wrong)).await;
        assert_eq!(error, bad_input("token"), "{wrong}");
    }
    for _ in ["once", "again"] {
        bob.data(STOP_INVITATIONS, by_token(link)).await;
    }
}

/// Waits until so many mails were withdrawn.
async fn withdrawn(backend: &Local, count: usize) {
    eventually("the withdrawn mails", || async {
        let mails = documents_of(backend, "email").await.into_iter();
        let withdrawn = mails.filter(|mail| mail["view"]["status"] == "withdrawn");
        withdrawn.count() == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_without_an_account_stops_the_invitations_of_all_tenants() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    stop_invitations_to_bob(&backend, &ada).await;
    ada.create_tenant("apex").await;
    for (nth, tenant) in ["acme", "apex"].into_iter().enumerate() {
        let ada = ada.in_tenant(tenant);
        let answers = ["bob@example.com", "eve@example.com"].map(|email| {
            let ada = &ada;
            async move {
                let answer = ada.data(INVITE, invite(email, "MEMBER")).await;
                answer["member"]["invite"]["status"].clone()
            }
        });
        for answer in answers {
            assert_eq!(answer.await, "PENDING", "who invites learns nothing");
        }
        ada.mail("eve@example.com", "invites", nth + 1).await;
        withdrawn(&backend, nth + 1).await;
    }
    assert_eq!(ada.mails_to("bob@example.com", "invites").await.len(), 1);
    let stored = documents_of(&backend, "recipient").await;
    assert_eq!(stored.len(), 1);
    assert!(!stored[0].to_string().contains("bob"), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_proves_the_address_resumes_invitations() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    stop_invitations_to_bob(&backend, &ada).await;
    let bob = Browser::signed_up(&backend, "bob@example.com").await;
    let wants = async || {
        let answer = bob.data("{ recipient { wantsInvitations } }", ()).await;
        answer["recipient"]["wantsInvitations"].clone()
    };
    assert_eq!(wants().await, false);
    let resume = "mutation { recipient { resumeInvitations { success } } }";
    bob.data(resume, ()).await;
    assert_eq!(wants().await, true);
    ada.data(INVITE, invite("bob@example.com", "MEMBER")).await;
    ada.mail("bob@example.com", "invites", 2).await;
    let nobody = Browser::new(&backend);
    assert_eq!(nobody.code(resume, ()).await, "UNAUTHENTICATED");
}
