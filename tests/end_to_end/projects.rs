//! Projects, the example area: its fields, its revisions, its lists by pages, and what a request
//! costs MongoDB.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{TryStreamExt as _, future::join_all};
use mongodb::{
    Client, Database,
    bson::{Document, doc},
};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::{Browser, start, text};

const CREATE: &str = "mutation($input: CreateProjectInput!) { project { create(input: $input) { id name description status revision createdBy { id } tenant { normalizedName } createdAt updatedAt } } }";
const UPDATE: &str = "mutation($input: UpdateProjectInput!) { project { update(input: $input) { id name description status revision } } }";
const DELETE: &str =
    "mutation($input: DeleteProjectInput!) { project { delete(input: $input) { success } } }";
const ONE: &str = "query($id: ID!) { project(id: $id) { id name description status revision } }";
const LIST: &str = "query($where: ProjectFilter, $orderBy: ProjectOrder, $first: Int, $after: String, $last: Int, $before: String) { projects(where: $where, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) { totalCount nodes { id name } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

async fn world() -> (local::Local, Browser) {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    ada.found("acme").await;
    let ada = ada.inside("acme");
    (local, ada)
}

async fn create(browser: &Browser, name: &str) -> String {
    text(
        &browser
            .data(CREATE, json!({ "input": { "name": name } }))
            .await,
        "/project/create/id",
    )
}

async fn names(browser: &Browser, variables: Value) -> Vec<String> {
    let found = browser.data(LIST, variables).await;
    found["projects"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(node, "/name"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_changed_and_ended() {
    let (local, ada) = world().await;
    let input =
        json!({ "name": "  Rocket 🚀 ", "description": " To the\n\tmoon ", "status": "ON_HOLD" });
    let made = ada.data(CREATE, json!({ "input": input })).await["project"]["create"].clone();
    let profile = ada.data("{ profile { id } }", json!({})).await;
    let shown = (
        &made["name"],
        &made["description"],
        &made["status"],
        &made["revision"],
        &made["createdBy"]["id"],
    );
    assert_eq!(
        shown,
        (
            &json!("Rocket 🚀"),
            &json!("To the\n\tmoon"),
            &json!("ON_HOLD"),
            &json!(1),
            &profile["profile"]["id"]
        )
    );
    assert_eq!(made["createdAt"], made["updatedAt"]);
    let id = text(&made, "/id");
    let one = async || ada.data(ONE, json!({ "id": id })).await["project"].clone();

    for (input, expected) in [
        (
            json!({ "name": "Probe" }),
            ("Probe", "To the\n\tmoon", "ON_HOLD", 2),
        ),
        (json!({ "description": "" }), ("Probe", "", "ON_HOLD", 3)),
        (
            json!({ "status": "COMPLETED", "revision": 3 }),
            ("Probe", "", "COMPLETED", 4),
        ),
        (json!({}), ("Probe", "", "COMPLETED", 4)),
        (
            json!({ "name": "Probe", "status": "COMPLETED" }),
            ("Probe", "", "COMPLETED", 4),
        ),
    ] {
        let mut input = input;
        input["id"] = json!(id);
        let updated =
            ada.data(UPDATE, json!({ "input": input })).await["project"]["update"].clone();
        let (name, description, status, revision) = expected;
        let expected = json!({ "id": id, "name": name, "description": description, "status": status, "revision": revision });
        assert_eq!((&updated, &one().await), (&expected, &expected), "{input}");
    }
    let before = one().await;
    for stale in [0, 1, 3, 5, i64::from(i32::MAX)] {
        let update = json!({ "input": { "id": id, "name": "Stale", "revision": stale } });
        assert_eq!(ada.code(UPDATE, update).await, "CONFLICT", "{stale}");
        assert_eq!(
            ada.code(DELETE, json!({ "input": { "id": id, "revision": stale } }))
                .await,
            "CONFLICT",
            "{stale}"
        );
    }
    for (document, input) in [
        (UPDATE, json!({ "id": id, "name": "Stale", "revision": -1 })),
        (DELETE, json!({ "id": id, "revision": -1 })),
    ] {
        assert_eq!(
            ada.error(document, json!({ "input": input })).await,
            json!({ "code": "BAD_USER_INPUT", "field": "revision" })
        );
    }
    assert_eq!(one().await, before, "nothing was changed");
    // Ten who have read the same revision: one of them is right.
    let racers = (0..10).map(|at| {
        ada.run(
            UPDATE,
            json!({ "input": { "id": id, "name": format!("Racer {at}"), "revision": 4 } }),
        )
    });
    let answers = join_all(racers.collect::<Vec<_>>()).await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer["errors"].is_null())
            .count(),
        1,
        "{answers:?}"
    );
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer["errors"][0]["extensions"]["code"] == "CONFLICT")
            .count(),
        9,
        "{answers:?}"
    );
    assert_eq!(one().await["revision"], 5);

    ada.data(DELETE, json!({ "input": { "id": id, "revision": 5 } }))
        .await;
    let missing = ada.run(ONE, json!({ "id": "0".repeat(32) })).await;
    for id in [id.as_str(), "", "x", "{\"$ne\":null}", &id.to_uppercase()] {
        assert_eq!(ada.run(ONE, json!({ "id": id })).await, missing, "{id}");
        assert_eq!(
            ada.code(UPDATE, json!({ "input": { "id": id, "name": "Late" } }))
                .await,
            "NOT_FOUND",
            "{id}"
        );
        assert_eq!(
            ada.code(DELETE, json!({ "input": { "id": id } })).await,
            "NOT_FOUND",
            "{id}"
        );
    }
    assert_eq!(missing["errors"][0]["extensions"]["code"], "NOT_FOUND");
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_a_project_is_bounded_and_named_when_refused() {
    let (local, ada) = world().await;
    let id = create(&ada, "Rocket").await;
    let (name, description) = ("ä".repeat(100), "ä".repeat(10_000));
    let made = ada
        .data(
            CREATE,
            json!({ "input": { "name": name, "description": description } }),
        )
        .await;
    assert_eq!(
        (
            &made["project"]["create"]["name"],
            &made["project"]["create"]["description"]
        ),
        (&json!(name), &json!(description))
    );
    let wrong_names = [
        "",
        "   ",
        "\n",
        "a\nb",
        "a\u{0}b",
        "a\tb",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{202e}b",
        "a\u{200b}b",
        "\u{feff}a",
    ];
    let wrong_names = wrong_names
        .into_iter()
        .map(str::to_owned)
        .chain(["x".repeat(101), "ä".repeat(101)]);
    let wrong_descriptions = ["a\u{0}b", "a\u{1b}[31m", "a\u{202e}b", "a\u{2066}b"]
        .into_iter()
        .map(str::to_owned)
        .chain(["x".repeat(10_001)]);
    let wrong: Vec<(&str, Value)> = (wrong_names.map(|name| ("name", json!(name))))
        .chain(wrong_descriptions.map(|text| ("description", json!(text))))
        .chain(
            [json!("active"), json!("GONE"), json!(1), json!(["ACTIVE"])]
                .map(|status| ("status", status)),
        )
        .chain([("name", json!(1)), ("description", json!({}))])
        .collect();
    for (field, value) in wrong {
        let mut input = json!({ "name": "Fine" });
        input[field] = value.clone();
        assert_eq!(
            ada.error(CREATE, json!({ "input": input })).await,
            json!({ "code": "BAD_USER_INPUT", "field": field }),
            "{value}"
        );
        input["id"] = json!(id);
        assert_eq!(
            ada.error(UPDATE, json!({ "input": input })).await,
            json!({ "code": "BAD_USER_INPUT", "field": field }),
            "{value}"
        );
    }
    assert_eq!(
        ada.error(CREATE, json!({ "input": {} })).await["field"],
        "name"
    );
    assert_eq!(
        ada.error(CREATE, json!({ "input": { "name": null } }))
            .await["field"],
        "name"
    );
    assert_eq!(
        ada.error(
            CREATE,
            json!({ "input": { "name": "Fine", "creator": "x" } })
        )
        .await["field"],
        "creator"
    );
    assert_eq!(
        ada.data(LIST, json!({})).await["projects"]["totalCount"],
        2,
        "nothing else was made"
    );
    assert_eq!(
        ada.data(ONE, json!({ "id": id })).await["project"]["revision"],
        1
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_filtered_ordered_and_counted() {
    let (local, ada) = world().await;
    ada.found("apex").await;
    create(&ada.inside("apex"), "Elsewhere").await;
    for (name, status) in [
        ("delta", "ACTIVE"),
        ("Bravo", "ON_HOLD"),
        ("alpha", "ARCHIVED"),
        ("Bravo", "ACTIVE"),
        ("Éclair", "COMPLETED"),
    ] {
        ada.data(
            CREATE,
            json!({ "input": { "name": name, "status": status } }),
        )
        .await;
    }
    for (order, expected) in [
        (
            "CREATED_AT_ASC",
            ["delta", "Bravo", "alpha", "Bravo", "Éclair"],
        ),
        (
            "CREATED_AT_DESC",
            ["Éclair", "Bravo", "alpha", "Bravo", "delta"],
        ),
        ("NAME_ASC", ["Bravo", "Bravo", "alpha", "delta", "Éclair"]),
        ("NAME_DESC", ["Éclair", "delta", "alpha", "Bravo", "Bravo"]),
    ] {
        assert_eq!(
            names(&ada, json!({ "orderBy": order })).await,
            expected,
            "{order}"
        );
    }
    for (filter, expected) in [
        (json!({ "status": "ACTIVE" }), &["delta", "Bravo"][..]),
        (
            json!({ "status": ["ARCHIVED", "COMPLETED"] }),
            &["alpha", "Éclair"],
        ),
        (json!({ "status": [] }), &[]),
        (json!({ "name": "Bravo" }), &["Bravo", "Bravo"]),
        (json!({ "name": "Bravo", "status": "ON_HOLD" }), &["Bravo"]),
        (json!({ "name": "bravo" }), &[]),
        (json!({ "name": "Elsewhere" }), &[]),
        (json!({ "name": "^B.*" }), &[]),
        (
            json!({ "name": null, "status": null }),
            &["delta", "Bravo", "alpha", "Bravo", "Éclair"],
        ),
    ] {
        let page = ada.data(LIST, json!({ "where": filter, "first": 1 })).await;
        assert_eq!(
            page["projects"]["totalCount"],
            expected.len(),
            "of all pages: {filter}"
        );
        assert_eq!(
            names(&ada, json!({ "where": filter })).await,
            expected,
            "{filter}"
        );
    }
    assert_eq!(
        ada.error(LIST, json!({ "where": { "name": "" } })).await,
        json!({ "code": "BAD_USER_INPUT", "field": "name" })
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_project_once_whatever_comes_and_goes_meanwhile() {
    let (local, ada) = world().await;
    // Names come thrice each, so that the id must decide among equals.
    let made = join_all((0..57).map(|at| {
        let ada = ada.clone();
        async move { create(&ada, &format!("Project {:02}", at % 19)).await }
    }))
    .await;
    let made: BTreeSet<_> = made.into_iter().collect();
    let mut fleeting = Vec::new();
    for order in ["CREATED_AT_ASC", "CREATED_AT_DESC", "NAME_ASC", "NAME_DESC"] {
        for (size, cursor, backward) in [("first", "after", false), ("last", "before", true)] {
            let (mut seen, mut cursors, mut at) = (Vec::new(), Vec::new(), Value::Null);
            loop {
                let page = ada
                    .data(LIST, json!({ "orderBy": order, size: 7, cursor: at }))
                    .await["projects"]
                    .clone();
                let nodes = page["nodes"].as_array().unwrap();
                let ids = nodes.iter().map(|node| text(node, "/id"));
                seen.extend(if backward {
                    ids.rev().collect::<Vec<_>>()
                } else {
                    ids.collect()
                });
                cursors.extend(
                    page["edges"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|edge| text(edge, "/cursor")),
                );
                assert!(
                    nodes.len() <= 7 && page["totalCount"].as_u64().unwrap() >= 57,
                    "{page}"
                );
                let (more, end) = if backward {
                    ("hasPreviousPage", "startCursor")
                } else {
                    ("hasNextPage", "endCursor")
                };
                if page["pageInfo"][more] == false {
                    break;
                }
                assert_eq!(nodes.len(), 7, "a full page, if there are more");
                at = page["pageInfo"][end].clone();
                // One that comes before, behind or between, and one that goes: perhaps the one that
                // the cursor stands on.
                for name in ["Project 00", "Project 09x", "Zebra"] {
                    fleeting.push(create(&ada, name).await);
                }
                let last = seen
                    .iter()
                    .rev()
                    .find(|id| fleeting.contains(id))
                    .or(fleeting.first())
                    .unwrap()
                    .clone();
                fleeting.retain(|id| *id != last);
                ada.data(DELETE, json!({ "input": { "id": last } })).await;
                assert!(seen.len() < 1_000, "the pages have no end");
            }
            let each: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(
                each.len(),
                seen.len(),
                "{order} {size}: one was shown twice"
            );
            assert!(
                made.is_subset(&each),
                "{order} {size}: {:?} were not shown",
                made.difference(&each).collect::<Vec<_>>()
            );
            assert_eq!(
                cursors.iter().collect::<BTreeSet<_>>().len(),
                cursors.len(),
                "each node has a cursor of its own"
            );
            for id in fleeting.drain(..) {
                ada.data(DELETE, json!({ "input": { "id": id } })).await;
            }
        }
    }
    let left = ada.data(LIST, json!({ "first": 100 })).await["projects"].clone();
    assert_eq!(
        (
            left["totalCount"].as_u64(),
            left["nodes"].as_array().unwrap().len()
        ),
        (Some(57), 57)
    );
    let all: BTreeSet<_> = left["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(node, "/id"))
        .collect();
    assert_eq!(all, made);
    let between = json!({ "after": left["edges"][9]["cursor"], "before": left["edges"][20]["cursor"], "first": 5 });
    let between = ada.data(LIST, between).await["projects"]["nodes"].clone();
    assert_eq!(
        between.as_array().unwrap().as_slice(),
        &left["nodes"].as_array().unwrap()[10..15]
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_sizes_and_cursors_are_refused_by_name() {
    let (local, ada) = world().await;
    for name in ["One", "Two", "Three"] {
        create(&ada, name).await;
    }
    for (variables, field) in [
        (json!({ "first": -1 }), "first"),
        (json!({ "first": 101 }), "first"),
        (json!({ "first": i32::MIN }), "first"),
        (json!({ "last": -1 }), "last"),
        (json!({ "last": 101 }), "last"),
        (json!({ "first": 1, "last": 1 }), "last"),
        (json!({ "first": 1.5 }), "first"),
        (json!({ "first": "1" }), "first"),
    ] {
        assert_eq!(
            ada.error(LIST, variables.clone()).await,
            json!({ "code": "BAD_USER_INPUT", "field": field }),
            "{variables}"
        );
    }
    assert_eq!(names(&ada, json!({ "first": 0 })).await.len(), 0);
    assert_eq!(names(&ada, json!({ "last": 100 })).await.len(), 3);
    let cursor = |value: Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let id = "0".repeat(32);
    let mut wrong = vec![
        String::new(),
        "x".to_owned(),
        "!!!!".to_owned(),
        "0".repeat(32),
        cursor(json!([])),
        cursor(json!([1])),
    ];
    wrong.extend(
        [
            json!([null, id]),
            json!([{ "$ne": null }, id]),
            json!([[1], id]),
            json!([1, "x"]),
            json!([1.5, id]),
        ]
        .map(cursor),
    );
    wrong.push(format!("{}=", cursor(json!([1, id]))));
    for cursor in wrong {
        for field in ["after", "before"] {
            assert_eq!(
                ada.error(LIST, json!({ field: cursor })).await,
                json!({ "code": "BAD_USER_INPUT", "field": field }),
                "{cursor}"
            );
        }
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_beyond_the_range_of_int_is_refused_by_name() {
    let (local, ada) = world().await;
    for size in [json!(3_000_000_000_u64), json!(-3_000_000_000_i64)] {
        assert_eq!(
            ada.error(LIST, json!({ "first": size })).await,
            json!({ "code": "BAD_USER_INPUT", "field": "first" }),
            "{size}"
        );
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_order_is_refused_by_name() {
    let (local, ada) = world().await;
    for name in ["One", "Two", "Three"] {
        create(&ada, name).await;
    }
    for (of, at) in [
        ("NAME_ASC", "CREATED_AT_ASC"),
        ("CREATED_AT_ASC", "NAME_ASC"),
    ] {
        let page = ada.data(LIST, json!({ "orderBy": of, "first": 1 })).await;
        let answer = ada
            .run(
                LIST,
                json!({ "orderBy": at, "after": page["projects"]["pageInfo"]["endCursor"] }),
            )
            .await;
        assert_eq!(
            answer["errors"][0]["extensions"],
            json!({ "code": "BAD_USER_INPUT", "field": "after" }),
            "{of} at {at}: {answer}"
        );
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_project_in_each_tenant() {
    let (local, ada) = world().await;
    ada.found("apex").await;
    let key = |key: &str| {
        [("idempotency-key".parse().unwrap(), key.parse().unwrap())]
            .into_iter()
            .collect::<HeaderMap>()
    };
    let said = |tenant: &'static str, name: &'static str, with: &'static str| {
        let ada = ada.inside(tenant);
        async move {
            let answer = ada
                .run_with(CREATE, json!({ "input": { "name": name } }), key(with))
                .await;
            text(&answer.json().await.unwrap(), "/data/project/create/id")
        }
    };
    let mut ids = BTreeMap::new();
    for (tenant, name, with) in [
        ("acme", "One", "k1"),
        ("apex", "One", "k1"),
        ("acme", "Two", "k1"),
        ("acme", "One", "k2"),
    ] {
        let answers: BTreeSet<_> = join_all((0..10).map(|_| said(tenant, name, with)))
            .await
            .into_iter()
            .collect();
        assert_eq!(answers.len(), 1, "{tenant} {name} {with}");
        ids.insert(answers.into_iter().next().unwrap(), tenant);
    }
    assert_eq!(
        ids.len(),
        4,
        "another tenant, body or key is another project"
    );
    for (tenant, expected) in [("acme", &["One", "Two", "One"][..]), ("apex", &["One"])] {
        assert_eq!(
            names(&ada.inside(tenant), json!({})).await,
            expected,
            "{tenant}"
        );
    }
    local.stop().await.unwrap();
}

/// What the gateway has asked of MongoDB, by collection; whatever the workers ask goes by another
/// name.
async fn asked(database: &Database, collection: &str) -> Vec<Document> {
    let by_gateway = doc! { "appName": "gateway", "ns": format!("{}.{collection}", database.name()), "op": { "$in": ["query", "command"] } };
    database
        .collection("system.profile")
        .find(by_gateway)
        .sort(doc! { "ts": 1 })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_projects_by_five_people_cost_one_query_for_all_creators() {
    let (local, ada) = world().await;
    let mut people = vec![ada.clone()];
    for name in ["bob", "cyd", "dan", "eve"] {
        let (browser, email) = (Browser::new(&local), format!("{name}@example.com"));
        browser.join(&email).await;
        ada.take_in(&browser, &email, "MEMBER").await;
        people.push(browser.inside("acme"));
    }
    join_all((0..50).map(|at| {
        let person = people[at % people.len()].clone();
        async move { create(&person, &format!("Project {at}")).await }
    }))
    .await;
    let mongo = Client::with_uri_str(local.servers.mongod.uri())
        .await
        .unwrap();
    let database = mongo.database("ultimate_backend");
    let query = "query($first: Int) { projects(first: $first) { nodes { name createdBy { firstname } tenant { normalizedName } } } }";
    let mut costs = Vec::new();
    for first in [1, 50] {
        database.run_command(doc! { "profile": 2 }).await.unwrap();
        let found = ada.data(query, json!({ "first": first })).await;
        database.run_command(doc! { "profile": 0 }).await.unwrap();
        let nodes = found["projects"]["nodes"].as_array().unwrap();
        assert!(
            nodes.len() == first
                && nodes
                    .iter()
                    .all(|node| node["createdBy"]["firstname"] == "Ada"),
            "{found}"
        );
        let accounts = asked(&database, "account").await;
        // The caller's own account is asked for by id, the creators' by a list of ids.
        let creators: Vec<_> = accounts
            .iter()
            .filter(|entry| entry.to_string().contains("$in"))
            .collect();
        assert_eq!(creators.len(), 1, "{first} projects: {accounts:#?}");
        let mut cost = BTreeMap::new();
        for collection in ["account", "session", "tenant", "member", "role", "project"] {
            cost.insert(collection, asked(&database, collection).await.len());
        }
        costs.push(cost);
        database
            .collection::<Document>("system.profile")
            .drop()
            .await
            .unwrap();
    }
    assert_eq!(costs[0], costs[1], "fifty cost as much as one");
    assert_eq!(
        (costs[0]["account"], costs[0]["tenant"]),
        (2, 1),
        "{costs:?}"
    );
    local.stop().await.unwrap();
}
