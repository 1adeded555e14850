//! Races: a hundred concurrent requests for one thing, and owners who remove each other.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    ACCEPT_INVITATION, Browser, CREATE_TENANT, DELETE_MEMBER, Gateway, INVITE, MEMBERS,
    UPDATE_MEMBER, ada_and_bob, code_of, emails, input, invite, start, stored_owners, succeeded,
    text, token,
};

/// Returns the answers that succeeded. All others must be conflicts, or lost too many races for the
/// count of mails to the address.
fn winners(answers: &[Value]) -> Vec<&Value> {
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| succeeded(answer));
    for answer in lost {
        let code = code_of(answer);
        assert!(code == "CONFLICT" || code == "RATE_LIMITED", "{answer}");
    }
    won
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_requests_for_one_slug_create_one_tenant() {
    let backend = start().await;
    let people = join_all((0..4).map(|at| {
        let backend = &backend;
        async move { Browser::signed_up(backend, &format!("user{at}@example.com")).await }
    }))
    .await;
    let acme = input(json!({ "name": "Acme", "normalizedName": "acme" }));
    let create = |at: usize| people[at % people.len()].gql(CREATE_TENANT, &acme);
    let answers = join_all((0..100).map(create)).await;
    assert_eq!(winners(&answers).len(), 1, "{answers:?}");
    let mut tenants = 0;
    for person in &people {
        let answer = person.data("{ tenants { totalCount } }", ()).await;
        tenants += answer["tenants"]["totalCount"].as_i64().unwrap();
    }
    assert_eq!((tenants, stored_owners(&backend).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_invitations_and_acceptances_create_one_member() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    let ada = ada.in_tenant("acme");
    let invite_bob = |_| ada.gql(INVITE, invite("bob@example.com", "MEMBER"));
    let answers = join_all((0..100).map(invite_bob)).await;
    let ids = winners(&answers)
        .into_iter()
        .map(|answer| text(answer, "/data/member/invite/id"));
    assert_eq!(ids.collect::<BTreeSet<_>>().len(), 1, "{answers:?}");
    let count_and_revision = async |filter: Value| {
        let members = ada.data(MEMBERS, json!({ "where": filter })).await["members"].clone();
        (
            members["totalCount"].clone(),
            members["nodes"][0]["revision"].clone(),
        )
    };
    let pending = count_and_revision(json!({ "status": "PENDING" })).await;
    assert_eq!(pending, (json!(1), json!(1)));

    let link = token(&ada.mail("bob@example.com", "invites", 1).await);
    let accept = |_| bob.gql(ACCEPT_INVITATION, input(json!({ "token": link })));
    let answers = join_all((0..100).map(accept)).await;
    for answer in &answers {
        assert!(succeeded(answer) && *answer == answers[0], "{answer}");
    }
    let accepted = count_and_revision(json!({ "email": "bob@example.com" })).await;
    assert_eq!(accepted, (json!(1), json!(2)));
    let tenants = bob.data("{ tenants { totalCount } }", ()).await;
    assert_eq!(tenants["tenants"]["totalCount"], 1);
    let mails = ada.mails_to("bob@example.com", "").await.len();
    assert_eq!(mails, 2, "one to verify, one to invite");
}

/// Two owners of acme, each at a gateway of their own.
struct Owners {
    people: [Browser; 2],
    ids: [String; 2],
}

const ADDRESSES: [&str; 2] = ["ada@example.com", "bob@example.com"];

impl Owners {
    /// One owner's attempt to remove or demote the other.
    async fn attack(&self, victim: usize, round: usize) -> Value {
        let (attacker, id) = (&self.people[1 - victim], &self.ids[victim]);
        match round % 4 {
            0 => attacker.gql(DELETE_MEMBER, json!({ "id": id })).await,
            2 => {
                attacker
                    .gql(UPDATE_MEMBER, input(json!({ "id": id, "role": "ADMIN" })))
                    .await
            }
            _ => {
                attacker
                    .gql(UPDATE_MEMBER, input(json!({ "id": id, "role": "GUEST" })))
                    .await
            }
        }
    }

    /// Makes the loser of a round an owner again.
    async fn restore(&mut self, loser: usize, round: usize) {
        let (winner, guest) = (&self.people[1 - loser], &self.people[loser]);
        if round.is_multiple_of(4) {
            self.ids[loser] = winner.add_member(guest, ADDRESSES[loser], "OWNER").await;
        } else {
            let owner = input(json!({ "id": self.ids[loser], "role": "OWNER" }));
            winner.data(UPDATE_MEMBER, owner).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_remove_each_other_at_once_one_stays() {
    let backend = start().await;
    let second = Gateway::start(&backend, |_| {}).await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    let (ada, bob) = (
        ada.in_tenant("acme"),
        bob.at_gateway(&second).in_tenant("acme"),
    );
    let ids = [
        ada.member_id().await,
        ada.add_member(&bob, ADDRESSES[1], "OWNER").await,
    ];
    let mut owners = Owners {
        people: [ada, bob],
        ids,
    };
    let mut refusals = BTreeMap::new();
    for round in 0..100 {
        let (on_bob, on_ada) = tokio::join!(owners.attack(1, round), owners.attack(0, round));
        let what = format!("round {round}: {on_bob} {on_ada}");
        let ada_won = succeeded(&on_bob);
        assert_ne!(ada_won, succeeded(&on_ada), "{what}");
        assert_eq!(stored_owners(&backend).await, 1, "{what}");
        let (winner, refusal) = if ada_won { (0, on_ada) } else { (1, on_bob) };
        let code = text(code_of(&refusal), "");
        // Without a race, the loser is no longer an owner or a member when its request is checked.
        assert!(
            ["CONFLICT", "FORBIDDEN", "NOT_FOUND"].contains(&code.as_str()),
            "{what}"
        );
        *refusals.entry(code).or_insert(0) += 1;
        let left = emails(
            &owners.people[winner],
            json!({ "where": { "role": "OWNER" } }),
        )
        .await;
        assert_eq!(left, [ADDRESSES[winner]], "{what}");
        owners.restore(1 - winner, round).await;
    }
    assert!(
        refusals.contains_key("CONFLICT"),
        "no round was a race: {refusals:?}"
    );
}
