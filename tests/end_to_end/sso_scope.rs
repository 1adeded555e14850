//! What a session by a connection may do, over the whole table of operations.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    matrix::{Schema, operations_table, row_of},
    sso::{BOB, LINK, World},
    support::MISSING,
};

/// Operations that everybody may use, and the one that ends the restriction.
const OPEN: [&str; 2] = ["anyone", "also by a connection alone"];

#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_a_connection_does_nothing_that_the_table_does_not_open_to_it() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let owner = world.person(BOB).await;
    owner.create_tenant("mine").await;
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&owner, &id).await, "linking");
    owner.data(LINK, ()).await;
    let thief = world.browser().in_tenant("mine");
    assert_eq!(world.logs_in(&thief, &id).await, "done");

    let (schema, table) = (Schema::of(&owner).await, operations_table());
    let mut tried = BTreeSet::new();
    for operation in schema.operations() {
        let row = row_of(&table, &operation);
        let mut conditions = table[row].split("; ");
        if conditions.any(|condition| OPEN.contains(&condition)) {
            continue;
        }
        let is_of_account = ["logged in", "platform administrators"]
            .iter()
            .any(|who| table[row].starts_with(who));
        let (document, variables) = operation.request(&schema, &mut |_, _| json!(MISSING));
        let answer = thief.gql(&document, variables).await;
        let expected: &[&str] = if is_of_account {
            &["STEP_UP_REQUIRED"]
        } else {
            // The tenant is the person's own, and not that of the connection.
            &["NOT_FOUND", "STEP_UP_REQUIRED"]
        };
        let code = operation.code(&answer);
        assert!(expected.contains(&code), "{}: {answer}", operation.name);
        tried.insert(row);
    }
    // The only subscription is tried in `sso_revocation.rs`.
    let is_closed = |row: &&&str| !OPEN.iter().any(|open| table[**row].contains(open));
    let closed = table.keys().filter(is_closed).copied();
    let left: Vec<_> = closed.filter(|row| !tried.contains(row)).collect();
    assert_eq!(left, ["tenant.events"]);
}
