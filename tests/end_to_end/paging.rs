//! Lists by pages: each item appears once, even if others come and go; wrong sizes and cursors.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use local::Local;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, DELETE_PROJECT, LIST_PROJECTS, ada_in_acme, bad_input, create_project, input, list,
    project_names, share, start, text,
};

/// Names the arguments and fields of one direction.
struct Direction {
    size: &'static str,
    cursor: &'static str,
    has_more: &'static str,
    end: &'static str,
    backward: bool,
}

const DIRECTIONS: [Direction; 2] = [
    Direction {
        size: "first",
        cursor: "after",
        has_more: "hasNextPage",
        end: "endCursor",
        backward: false,
    },
    Direction {
        size: "last",
        cursor: "before",
        has_more: "hasPreviousPage",
        end: "startCursor",
        backward: true,
    },
];

async fn delete(ada: &Browser, id: &str) {
    ada.data(DELETE_PROJECT, input(json!({ "id": id }))).await;
}

fn ids(nodes: &[Value]) -> Vec<String> {
    nodes.iter().map(|node| text(node, "/id")).collect()
}

/// Creates projects before, behind and between those of a page, and deletes one: where it can, the
/// one that the cursor stands on.
async fn disturb(ada: &Browser, seen: &[String], fleeting: &mut Vec<String>) {
    for name in ["Project 00", "Project 09x", "Zebra"] {
        fleeting.push(create_project(ada, name).await);
    }
    let on_cursor = seen.iter().rev().find(|id| fleeting.contains(id));
    let gone = on_cursor.unwrap_or(&fleeting[0]).clone();
    fleeting.retain(|id| *id != gone);
    delete(ada, &gone).await;
}

/// Reads all pages while projects come and go; returns the ids and cursors that were shown.
async fn read_all(ada: &Browser, order: &str, way: &Direction) -> (Vec<String>, Vec<String>) {
    let (mut seen, mut cursors, mut at) = (Vec::new(), Vec::new(), Value::Null);
    let mut fleeting = Vec::new();
    loop {
        let variables = json!({ "orderBy": order, way.size: 7, way.cursor: at });
        let page = ada.data(LIST_PROJECTS, variables).await["projects"].clone();
        let mut shown = ids(list(&page["nodes"]));
        assert!(
            shown.len() <= 7 && page["totalCount"].as_u64().unwrap() >= 57,
            "{page}"
        );
        let full = shown.len() == 7;
        if way.backward {
            shown.reverse();
        }
        seen.extend(shown);
        cursors.extend(
            list(&page["edges"])
                .iter()
                .map(|edge| text(edge, "/cursor")),
        );
        if page["pageInfo"][way.has_more] == false {
            break;
        }
        assert!(full, "a page is full if there are more");
        at = page["pageInfo"][way.end].clone();
        disturb(ada, &seen, &mut fleeting).await;
        assert!(seen.len() < 1_000, "the pages have no end");
    }
    for id in fleeting {
        delete(ada, &id).await;
    }
    (seen, cursors)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_project_once_while_others_come_and_go() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    // Each name occurs three times, so that the id must decide among equals.
    let names: Vec<_> = (0..57)
        .map(|at| format!("Project {:02}", at % 19))
        .collect();
    let created = join_all(names.iter().map(|name| create_project(&ada, name))).await;
    let created: BTreeSet<_> = created.into_iter().collect();
    for order in ["CREATED_AT_ASC", "CREATED_AT_DESC", "NAME_ASC", "NAME_DESC"] {
        for way in &DIRECTIONS {
            let what = format!("{order} {}", way.size);
            let (seen, cursors) = read_all(&ada, order, way).await;
            let each: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(each.len(), seen.len(), "{what}: one was shown twice");
            let missed: Vec<_> = created.difference(&each).collect();
            assert!(missed.is_empty(), "{what}: {missed:?} were not shown");
            let different = cursors.iter().collect::<BTreeSet<_>>().len();
            assert_eq!(
                different,
                cursors.len(),
                "{what}: each node has its own cursor"
            );
        }
    }
    let left = ada.data(LIST_PROJECTS, json!({ "first": 100 })).await["projects"].clone();
    let nodes = list(&left["nodes"]);
    assert_eq!((&left["totalCount"], nodes.len()), (&json!(57), 57));
    assert_eq!(ids(nodes).into_iter().collect::<BTreeSet<_>>(), created);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_between_two_cursors_holds_neither() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    for at in 0..25 {
        create_project(&ada, &format!("Project {at}")).await;
    }
    let all = ada.data(LIST_PROJECTS, json!({ "first": 100 })).await["projects"].clone();
    let (after, before) = (&all["edges"][9]["cursor"], &all["edges"][20]["cursor"]);
    let between = json!({ "after": after, "before": before, "first": 5 });
    let between = ada.data(LIST_PROJECTS, between).await["projects"]["nodes"].clone();
    assert_eq!(list(&between)[..], list(&all["nodes"])[10..15]);
}

/// Runs a test in the tenant that the tests below share; each adds projects at most.
fn in_acme(test: impl AsyncFnOnce(&Browser)) {
    static ADA: OnceCell<(Local, Browser)> = OnceCell::const_new();
    let start = async || {
        let backend = start().await;
        let ada = ada_in_acme(&backend).await;
        (backend, ada)
    };
    share(&ADA, start, async |(_, ada)| test(ada).await);
}

#[test]
fn a_wrong_size_is_refused_by_name() {
    in_acme(async |ada| {
        for (variables, field) in [
            (json!({ "first": -1 }), "first"),
            (json!({ "first": 101 }), "first"),
            (json!({ "first": i32::MIN }), "first"),
            (json!({ "last": -1 }), "last"),
            (json!({ "last": 101 }), "last"),
            (json!({ "first": 1, "last": 1 }), "last"),
            (json!({ "first": 1.5 }), "first"),
            (json!({ "first": "1" }), "first"),
            (json!({ "first": 3_000_000_000_u64 }), "first"),
            (json!({ "first": -3_000_000_000_i64 }), "first"),
        ] {
            assert_eq!(
                ada.error(LIST_PROJECTS, &variables).await,
                bad_input(field),
                "{variables}"
            );
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_holds_none_to_a_hundred() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    for name in ["One", "Two", "Three"] {
        create_project(&ada, name).await;
    }
    assert_eq!(project_names(&ada, json!({ "first": 0 })).await.len(), 0);
    assert_eq!(project_names(&ada, json!({ "last": 100 })).await.len(), 3);
}

#[test]
fn a_wrong_cursor_is_refused_by_name() {
    in_acme(async |ada| {
        create_project(ada, "One").await;
        let encode =
            |value: Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let id = "0".repeat(32);
        let mut wrong: Vec<String> = ["", "x", "!!!!", &id].map(str::to_owned).into();
        wrong.extend(
            [
                json!([]),
                json!(["created_at", 1]),
                json!(["created_at", null, id]),
                json!(["created_at", { "$ne": null }, id]),
                json!(["created_at", [1], id]),
                json!(["created_at", 1, "x"]),
                json!(["created_at", 1.5, id]),
            ]
            .map(encode),
        );
        wrong.push(format!("{}=", encode(json!(["created_at", 1, id]))));
        for cursor in wrong {
            for field in ["after", "before"] {
                let error = ada.error(LIST_PROJECTS, json!({ field: cursor })).await;
                assert_eq!(error, bad_input(field), "{cursor}");
            }
        }
    });
}

#[test]
fn a_cursor_of_another_order_is_refused_by_name() {
    in_acme(async |ada| {
        for name in ["One", "Two", "Three"] {
            create_project(ada, name).await;
        }
        for (of, at) in [
            ("NAME_ASC", "CREATED_AT_ASC"),
            ("CREATED_AT_ASC", "NAME_ASC"),
        ] {
            let page = ada
                .data(LIST_PROJECTS, json!({ "orderBy": of, "first": 1 }))
                .await;
            let cursor = &page["projects"]["pageInfo"]["endCursor"];
            let error = ada
                .error(LIST_PROJECTS, json!({ "orderBy": at, "after": cursor }))
                .await;
            assert_eq!(error, bad_input("after"), "{of} at {at}");
        }
    });
}
