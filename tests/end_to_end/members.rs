//! Members: the life of an invitation, changes of role, leaving, and what comes of a hundred who
//! want the same at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use serde_json::{Value, json};

use crate::support::{ACCEPT, Browser, FOUND, Gateway, INVITE, eventually, start, text, token};

const REJECT: &str =
    "mutation($input: InvitationInput!) { member { rejectInvitation(input: $input) { success } } }";
const DELETE: &str = "mutation($id: ID!) { member { delete(id: $id) { success } } }";
const UPDATE: &str = "mutation($input: UpdateMemberInput!) { member { update(input: $input) { id role status revision } } }";
const MEMBERS: &str = "query($where: MemberFilter, $orderBy: MemberOrder) { members(where: $where, orderBy: $orderBy) { totalCount nodes { id email role status revision } } }";

fn invitation(token: &str) -> Value {
    json!({ "input": { "token": token } })
}

fn invite(email: &str, role: &str) -> Value {
    json!({ "input": { "email": email, "role": role } })
}

fn update(id: &str, role: &str) -> Value {
    json!({ "input": { "id": id, "role": role } })
}

/// The addresses of a list, in its order.
async fn emails(browser: &Browser, variables: Value) -> Vec<String> {
    let members = browser.data(MEMBERS, variables).await;
    members["members"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(node, "/email"))
        .collect()
}

async fn joined(local: &local::Local, email: &str) -> Browser {
    let browser = Browser::new(local);
    browser.join(email).await;
    browser
}

async fn my_id(browser: &Browser) -> String {
    text(
        &browser.data("{ me { member { id } } }", json!({})).await,
        "/me/member/id",
    )
}

/// The owners who are stored, past the gateway.
async fn stored_owners(local: &local::Local) -> u64 {
    let mongo = Client::with_uri_str(local.servers.mongod.uri())
        .await
        .unwrap();
    let owners = doc! { "view.role": "owner", "view.status": "accepted" };
    mongo
        .database("ultimate_backend")
        .collection::<Document>("member")
        .count_documents(owners)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_for_one_address_and_works_once() {
    let local = start().await;
    let (ada, bob, eve) = (
        joined(&local, "ada@example.com").await,
        joined(&local, "bob@example.com").await,
        joined(&local, "eve@example.com").await,
    );
    let acme = ada.found("acme").await;
    let ada = ada.inside("acme");
    let invited = ada
        .data(INVITE, invite("Bob@Example.com", "DEVELOPER"))
        .await;
    let expected = json!({ "email": "bob@example.com", "role": "DEVELOPER", "status": "PENDING", "revision": 1 });
    let without_id = |member: &Value| {
        let mut member = member.clone();
        member.as_object_mut().unwrap().remove("id");
        member
    };
    assert_eq!(without_id(&invited["member"]["invite"]), expected);
    let link = token(&ada.mail("bob@example.com", "invited", 1).await);
    assert_eq!(
        bob.inside("acme")
            .code("{ me { permissions } }", json!({}))
            .await,
        "NOT_FOUND",
        "who is invited is not in yet"
    );

    // Eve has stolen the link. She hears what she would hear of one that never was.
    let mut forged = link.clone();
    forged.replace_range(10..11, if &link[10..11] == "A" { "B" } else { "A" });
    for document in [ACCEPT, REJECT] {
        let stolen = eve.run(document, invitation(&link)).await;
        assert_eq!(
            stolen["errors"][0]["extensions"],
            json!({ "code": "BAD_USER_INPUT", "field": "token" }),
            "{stolen}"
        );
        for wrong in [
            "",
            "x",
            forged.as_str(),
            &link[1..],
            &format!("{link}A"),
            "\u{0}",
        ] {
            assert_eq!(
                eve.run(document, invitation(wrong)).await,
                stolen,
                "{wrong:?}"
            );
            assert_eq!(
                bob.run(document, invitation(wrong)).await,
                stolen,
                "{wrong:?}"
            );
        }
        assert_eq!(
            Browser::new(&local).code(document, invitation(&link)).await,
            "UNAUTHENTICATED"
        );
    }
    assert_eq!(
        eve.inside("acme")
            .code("{ me { permissions } }", json!({}))
            .await,
        "NOT_FOUND"
    );
    assert_eq!(
        ada.data(MEMBERS, json!({ "where": { "status": "PENDING" } }))
            .await["members"]["totalCount"],
        1,
        "nothing came of it"
    );

    let answers = [
        bob.data(ACCEPT, invitation(&link)).await,
        bob.data(ACCEPT, invitation(&link)).await,
    ];
    assert_eq!(
        answers[0]["member"]["acceptInvitation"],
        json!({ "id": acme["id"], "normalizedName": "acme" })
    );
    assert_eq!(
        answers[0], answers[1],
        "accepted twice, the answer is the same"
    );
    assert_eq!(
        bob.error(REJECT, invitation(&link)).await["field"],
        "token",
        "what is accepted cannot be refused"
    );
    let me = bob
        .inside("acme")
        .data("{ me { member { role status revision } } }", json!({}))
        .await;
    assert_eq!(
        me["me"]["member"],
        json!({ "role": "DEVELOPER", "status": "ACCEPTED", "revision": 2 })
    );
    for role in ["DEVELOPER", "GUEST"] {
        assert_eq!(
            ada.code(INVITE, invite("bob@example.com", role)).await,
            "CONFLICT",
            "a member already"
        );
    }
    assert_eq!(eve.error(ACCEPT, invitation(&link)).await["field"], "token");

    ada.data(DELETE, json!({ "id": invited["member"]["invite"]["id"] }))
        .await;
    assert_eq!(
        bob.error(ACCEPT, invitation(&link)).await["field"],
        "token",
        "a used link lets nobody in again"
    );
    assert_eq!(
        bob.inside("acme")
            .code("{ me { permissions } }", json!({}))
            .await,
        "NOT_FOUND"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_can_be_refused_repeated_and_withdrawn() {
    let local = start().await;
    let (ada, bob) = (
        joined(&local, "ada@example.com").await,
        joined(&local, "bob@example.com").await,
    );
    ada.found("acme").await;
    let ada = ada.inside("acme");
    let id = text(
        &ada.data(INVITE, invite("bob@example.com", "MEMBER")).await,
        "/member/invite/id",
    );
    let first = token(&ada.mail("bob@example.com", "invited", 1).await);
    for _ in 0..2 {
        assert_eq!(
            bob.data(REJECT, invitation(&first)).await["member"]["rejectInvitation"]["success"],
            true
        );
    }
    assert_eq!(
        bob.error(ACCEPT, invitation(&first)).await["field"],
        "token",
        "what is refused cannot be accepted"
    );
    assert_eq!(
        emails(&ada, json!({ "where": { "status": "REJECTED" } })).await,
        ["bob@example.com"]
    );

    let again = ada.data(INVITE, invite("bob@example.com", "GUEST")).await;
    assert_eq!(
        again["member"]["invite"],
        json!({ "id": id, "email": "bob@example.com", "role": "GUEST", "status": "PENDING", "revision": 3 })
    );
    let second = token(&ada.mail("bob@example.com", "invited", 2).await);
    assert_eq!(
        bob.error(ACCEPT, invitation(&first)).await["field"],
        "token",
        "the older link is void"
    );
    // As another role, so that it is another invitation and not the same button pressed twice.
    ada.data(INVITE, invite("bob@example.com", "MEMBER")).await;
    let third = token(&ada.mail("bob@example.com", "invited", 3).await);
    assert_eq!(
        bob.error(ACCEPT, invitation(&second)).await["field"],
        "token",
        "the older link is void"
    );

    ada.data(DELETE, json!({ "id": id })).await;
    for document in [ACCEPT, REJECT] {
        assert_eq!(
            bob.error(document, invitation(&third)).await["field"],
            "token",
            "withdrawn"
        );
    }
    assert_eq!(ada.code(DELETE, json!({ "id": id })).await, "NOT_FOUND");
    assert_eq!(
        ada.code(
            "query($id: ID!) { member(id: $id) { id } }",
            json!({ "id": id })
        )
        .await,
        "NOT_FOUND"
    );
    let anew = text(
        &ada.data(INVITE, invite("bob@example.com", "MEMBER")).await,
        "/member/invite/id",
    );
    assert_ne!(anew, id);
    bob.data(
        ACCEPT,
        invitation(&token(&ada.mail("bob@example.com", "invited", 4).await)),
    )
    .await;
    assert_eq!(my_id(&bob.inside("acme")).await, anew);
    assert_eq!(
        ada.mails()
            .await
            .iter()
            .filter(|mail| mail["text"].as_str().unwrap().contains("invited"))
            .count(),
        4
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_account_cannot_accept_what_was_sent_to_its_address() {
    let local = start().await;
    let ada = joined(&local, "ada@example.com").await;
    ada.found("acme").await;
    let ada = ada.inside("acme");
    // Eve opens an account for an address that is not hers; Ada invites whom she takes for Bob.
    let eve = Browser::new(&local);
    eve.register("bob@example.com").await;
    ada.data(INVITE, invite("bob@example.com", "OWNER")).await;
    let link = token(&ada.mail("bob@example.com", "invited", 1).await);
    eve.login("bob@example.com", crate::support::PASSWORD).await;
    assert_eq!(eve.code(ACCEPT, invitation(&link)).await, "UNAUTHENTICATED");
    assert_eq!(stored_owners(&local).await, 1);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_change_and_a_tenant_keeps_an_owner_whoever_leaves() {
    let local = start().await;
    let (ada, bob) = (
        joined(&local, "ada@example.com").await,
        joined(&local, "bob@example.com").await,
    );
    ada.found("acme").await;
    let ada_in = ada.inside("acme");
    let (ada_id, bob_id) = (
        my_id(&ada_in).await,
        ada_in.take_in(&bob, "bob@example.com", "ADMIN").await,
    );
    let bob_in = bob.inside("acme");
    // A third who is only invited as an owner is none.
    ada_in
        .data(INVITE, invite("cyd@example.com", "OWNER"))
        .await;
    assert_eq!(
        ada_in.code(DELETE, json!({ "id": ada_id })).await,
        "CONFLICT",
        "the last owner cannot leave"
    );
    for role in ["ADMIN", "GUEST"] {
        assert_eq!(
            ada_in.code(UPDATE, update(&ada_id, role)).await,
            "CONFLICT",
            "nor become less"
        );
    }
    assert_eq!(
        ada_in.data(UPDATE, update(&ada_id, "OWNER")).await["member"]["update"]["revision"],
        1,
        "nothing was changed"
    );

    let stale = json!({ "input": { "id": bob_id, "role": "OWNER", "revision": 1 } });
    assert_eq!(ada_in.code(UPDATE, stale).await, "CONFLICT");
    let negative = json!({ "input": { "id": bob_id, "role": "OWNER", "revision": -1 } });
    assert_eq!(ada_in.error(UPDATE, negative).await["field"], "revision");
    assert_eq!(
        bob_in.data("{ me { member { role } } }", json!({})).await["me"]["member"]["role"],
        "ADMIN"
    );
    let seen = json!({ "input": { "id": bob_id, "role": "OWNER", "revision": 2 } });
    let promoted = ada_in.data(UPDATE, seen).await;
    assert_eq!(
        promoted["member"]["update"],
        json!({ "id": bob_id, "role": "OWNER", "status": "ACCEPTED", "revision": 3 })
    );

    assert_eq!(
        ada_in.data(DELETE, json!({ "id": ada_id })).await["member"]["delete"]["success"],
        true,
        "a second owner stays"
    );
    assert_eq!(
        ada_in.code("{ me { permissions } }", json!({})).await,
        "NOT_FOUND"
    );
    eventually("the end of a membership", || async {
        ada.data("{ tenants { totalCount } }", json!({})).await["tenants"]["totalCount"] == 0
    })
    .await;
    assert_eq!(
        ada.code("{ tenant(normalizedName: \"acme\") { id } }", json!({}))
            .await,
        "NOT_FOUND"
    );
    assert_eq!(
        bob_in.code(DELETE, json!({ "id": bob_id })).await,
        "CONFLICT",
        "now Bob is the last"
    );

    let guest = bob_in.take_in(&ada, "ada@example.com", "GUEST").await;
    assert_ne!(guest, ada_id, "who comes back is a new member");
    assert_eq!(
        ada_in.data(DELETE, json!({ "id": guest })).await["member"]["delete"]["success"],
        true,
        "also a guest may leave"
    );
    assert_eq!(stored_owners(&local).await, 1);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_filtered_and_ordered() {
    let local = start().await;
    let (ada, bob) = (
        joined(&local, "mia@example.com").await,
        joined(&local, "bob@example.com").await,
    );
    ada.found("acme").await;
    ada.found("apex").await;
    ada.inside("apex")
        .data(INVITE, invite("other@example.com", "ADMIN"))
        .await;
    let ada = ada.inside("acme");
    ada.take_in(&bob, "bob@example.com", "ADMIN").await;
    for (email, role) in [
        ("zoe@example.com", "GUEST"),
        ("cyd@example.com", "GUEST"),
        ("dan@example.com", "DEVELOPER"),
    ] {
        ada.data(INVITE, invite(email, role)).await;
    }
    for (order, expected) in [
        ("CREATED_AT_ASC", ["mia", "bob", "zoe", "cyd", "dan"]),
        ("CREATED_AT_DESC", ["dan", "cyd", "zoe", "bob", "mia"]),
        ("EMAIL_ASC", ["bob", "cyd", "dan", "mia", "zoe"]),
        ("EMAIL_DESC", ["zoe", "mia", "dan", "cyd", "bob"]),
    ] {
        assert_eq!(
            emails(&ada, json!({ "orderBy": order })).await,
            expected.map(|name| format!("{name}@example.com")),
            "{order}"
        );
    }
    for (filter, expected) in [
        (json!({ "status": "ACCEPTED" }), &["bob", "mia"][..]),
        (
            json!({ "status": ["PENDING", "REJECTED"] }),
            &["cyd", "dan", "zoe"],
        ),
        (
            json!({ "role": ["GUEST", "OWNER"] }),
            &["cyd", "mia", "zoe"],
        ),
        (json!({ "role": "GUEST", "status": "ACCEPTED" }), &[]),
        (json!({ "email": " DAN@example.com" }), &["dan"]),
        (json!({ "email": "other@example.com" }), &[]),
        (json!({ "status": [] }), &[]),
        (json!({}), &["bob", "cyd", "dan", "mia", "zoe"]),
    ] {
        let found = emails(&ada, json!({ "where": filter, "orderBy": "EMAIL_ASC" })).await;
        assert_eq!(
            found,
            expected
                .iter()
                .map(|name| format!("{name}@example.com"))
                .collect::<Vec<_>>(),
            "{filter}"
        );
    }
    for wrong in ["", "no address", "{\"$ne\":null}", "a@b"] {
        assert_eq!(
            ada.error(MEMBERS, json!({ "where": { "email": wrong } }))
                .await,
            json!({ "code": "BAD_USER_INPUT", "field": "email" })
        );
        assert_eq!(
            ada.error(INVITE, invite(wrong, "GUEST")).await,
            json!({ "code": "BAD_USER_INPUT", "field": "email" })
        );
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_found_one_slug_at_once_and_one_tenant_comes_of_it() {
    let local = start().await;
    let emails: Vec<_> = (0..4).map(|at| format!("user{at}@example.com")).collect();
    let people = join_all(emails.iter().map(|email| joined(&local, email))).await;
    let input = json!({ "input": { "name": "Acme", "normalizedName": "acme" } });
    let answers =
        join_all((0..100).map(|at| people[at % people.len()].run(FOUND, input.clone()))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer["errors"].is_null());
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in lost {
        assert_eq!(
            answer["errors"][0]["extensions"]["code"], "CONFLICT",
            "{answer}"
        );
    }
    let mut mine = 0;
    for person in &people {
        mine += person.data("{ tenants { totalCount } }", json!({})).await["tenants"]["totalCount"]
            .as_i64()
            .unwrap();
    }
    assert_eq!((mine, stored_owners(&local).await), (1, 1));
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_invitations_of_one_address_make_one_member_and_a_hundred_acceptances_one_entry()
{
    let local = start().await;
    let (ada, bob) = (
        joined(&local, "ada@example.com").await,
        joined(&local, "bob@example.com").await,
    );
    ada.found("acme").await;
    let ada = ada.inside("acme");
    let answers =
        join_all((0..100).map(|_| ada.run(INVITE, invite("bob@example.com", "MEMBER")))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer["errors"].is_null());
    let ids: BTreeSet<_> = won
        .iter()
        .map(|answer| text(answer, "/data/member/invite/id"))
        .collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    for answer in lost {
        assert_eq!(
            answer["errors"][0]["extensions"]["code"], "CONFLICT",
            "{answer}"
        );
    }
    let pending = ada
        .data(MEMBERS, json!({ "where": { "status": "PENDING" } }))
        .await;
    assert_eq!(
        (
            &pending["members"]["totalCount"],
            &pending["members"]["nodes"][0]["revision"]
        ),
        (&json!(1), &json!(1))
    );

    let link = token(&ada.mail("bob@example.com", "invited", 1).await);
    let answers = join_all((0..100).map(|_| bob.run(ACCEPT, invitation(&link)))).await;
    for answer in &answers {
        assert_eq!((&answer["errors"], answer), (&Value::Null, &answers[0]));
    }
    let accepted = ada
        .data(MEMBERS, json!({ "where": { "email": "bob@example.com" } }))
        .await;
    assert_eq!(
        (
            &accepted["members"]["totalCount"],
            &accepted["members"]["nodes"][0]["revision"]
        ),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        bob.data("{ tenants { totalCount } }", json!({})).await["tenants"]["totalCount"],
        1
    );
    assert_eq!(
        ada.mails()
            .await
            .iter()
            .filter(|mail| mail["to"][0] == "bob@example.com")
            .count(),
        2,
        "to verify, and to invite once"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_turn_on_each_other_a_hundred_times_and_one_always_stays() {
    let local = start().await;
    let people = [
        joined(&local, "ada@example.com").await,
        joined(&local, "bob@example.com").await,
    ];
    people[0].found("acme").await;
    // Each comes by another gateway.
    let second = Gateway::start(&local, |_| {}).await;
    let people = [
        people[0].inside("acme"),
        people[1].at_gateway(&second).inside("acme"),
    ];
    let addresses = ["ada@example.com", "bob@example.com"];
    let mut ids = [
        my_id(&people[0]).await,
        people[0].take_in(&people[1], addresses[1], "OWNER").await,
    ];
    let mut refusals = std::collections::BTreeMap::new();
    for round in 0..100 {
        let removes = round % 4 == 0;
        let against = |other: usize| {
            let (by, id) = (people[1 - other].clone(), ids[other].clone());
            async move {
                if removes {
                    by.run(DELETE, json!({ "id": id })).await
                } else {
                    by.run(
                        UPDATE,
                        update(&id, if round % 2 == 0 { "ADMIN" } else { "GUEST" }),
                    )
                    .await
                }
            }
        };
        let answers = tokio::join!(against(1), against(0));
        let won = [answers.0["errors"].is_null(), answers.1["errors"].is_null()];
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "round {round}: {answers:?}"
        );
        assert_eq!(stored_owners(&local).await, 1, "round {round}: {answers:?}");
        let (winner, loser) = if won[0] { (0, 1) } else { (1, 0) };
        let refusal = if won[0] { &answers.1 } else { &answers.0 };
        let code = refusal["errors"][0]["extensions"]["code"].as_str().unwrap();
        // Too late by an instant, or by so much that the loser was no owner or no member any more.
        assert!(
            ["CONFLICT", "FORBIDDEN", "NOT_FOUND"].contains(&code),
            "round {round}: {refusal}"
        );
        *refusals.entry(code.to_owned()).or_insert(0) += 1;
        let owners = emails(&people[winner], json!({ "where": { "role": "OWNER" } })).await;
        assert_eq!(owners, [addresses[winner]], "round {round}");
        if removes {
            ids[loser] = people[winner]
                .take_in(&people[loser], addresses[loser], "OWNER")
                .await;
        } else {
            people[winner]
                .data(UPDATE, update(&ids[loser], "OWNER"))
                .await;
        }
    }
    assert!(
        refusals.contains_key("CONFLICT"),
        "no round was a race: {refusals:?}"
    );
    second.stop().await;
    local.stop().await.unwrap();
}
