//! Projects, the example area: fields, revisions, lists, and what a request costs MongoDB.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{TryStreamExt as _, future::join_all};
use local::Local;
use mongodb::{
    Database,
    bson::{Document, doc},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, CREATE_PROJECT, DELETE_PROJECT, Gateway, LIST_PROJECTS, PLATFORM, ada_in_acme,
    bad_input, code_of, collections, create_project, eventually, input, list, mongo, project_names,
    share, start, succeeded,
};

const UPDATE: &str = "
    mutation($input: UpdateProjectInput!) {
        project { update(input: $input) { id name description status revision } }
    }";
const ONE: &str = "query($id: ID!) { project(id: $id) { id name description status revision } }";

/// A project of Ada's. Many tests share her tenant; each has its own project there.
struct World {
    ada: Browser,
    id: String,
}

fn with_project(test: impl AsyncFnOnce(&World)) {
    static ADA: OnceCell<(Local, Browser)> = OnceCell::const_new();
    let start = async || {
        let backend = start().await;
        let ada = ada_in_acme(&backend).await;
        (backend, ada)
    };
    share(&ADA, start, async |(_, ada)| {
        let id = create_project(ada, "Rocket").await;
        test(&World {
            ada: ada.clone(),
            id,
        })
        .await;
    });
}

impl World {
    async fn project(&self) -> Value {
        self.ada.data(ONE, json!({ "id": self.id })).await["project"].clone()
    }

    /// The variables of a mutation of the project.
    fn with_id(&self, mut fields: Value) -> Value {
        fields["id"] = json!(self.id);
        input(fields)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_project_is_answered_trimmed_and_with_its_creator() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let project = json!({
        "name": "  Rocket 🚀 ", "description": " To the\n\tmoon ", "status": "ON_HOLD",
    });
    let created = ada.data(CREATE_PROJECT, input(project)).await["project"]["create"].clone();
    let profile = ada.data("{ profile { id } }", ()).await;
    assert_eq!(created["name"], "Rocket 🚀");
    assert_eq!(created["description"], "To the\n\tmoon");
    assert_eq!(created["status"], "ON_HOLD");
    assert_eq!(created["revision"], 1);
    assert_eq!(created["createdBy"]["id"], profile["profile"]["id"]);
    assert_eq!(created["createdAt"], created["updatedAt"]);
}

#[test]
fn an_update_changes_the_given_fields_and_counts_only_what_changed() {
    with_project(async |world| {
        for (fields, name, description, status, revision) in [
            (json!({ "name": "Probe" }), "Probe", "", "ACTIVE", 2),
            (json!({ "description": "Far" }), "Probe", "Far", "ACTIVE", 3),
            (json!({ "description": "" }), "Probe", "", "ACTIVE", 4),
            (
                json!({ "status": "COMPLETED", "revision": 4 }),
                "Probe",
                "",
                "COMPLETED",
                5,
            ),
            (json!({}), "Probe", "", "COMPLETED", 5),
            (
                json!({ "name": "Probe", "status": "COMPLETED" }),
                "Probe",
                "",
                "COMPLETED",
                5,
            ),
        ] {
            let updated = world.ada.data(UPDATE, world.with_id(fields.clone())).await;
            let expected = json!({
                "id": world.id, "name": name, "description": description, "status": status,
                "revision": revision,
            });
            assert_eq!(updated["project"]["update"], expected, "{fields}");
            assert_eq!(world.project().await, expected, "{fields}");
        }
    });
}

#[test]
fn a_mutation_at_another_revision_than_the_current_one_changes_nothing() {
    with_project(async |world| {
        world
            .ada
            .data(UPDATE, world.with_id(json!({ "name": "Probe" })))
            .await;
        let before = world.project().await;
        for stale in [0, 1, 3, 5, i64::from(i32::MAX)] {
            let update = world.with_id(json!({ "name": "Stale", "revision": stale }));
            assert_eq!(world.ada.code(UPDATE, update).await, "CONFLICT", "{stale}");
            let delete = world.with_id(json!({ "revision": stale }));
            assert_eq!(
                world.ada.code(DELETE_PROJECT, delete).await,
                "CONFLICT",
                "{stale}"
            );
        }
        let update = world.with_id(json!({ "name": "Stale", "revision": -1 }));
        assert_eq!(world.ada.error(UPDATE, update).await, bad_input("revision"));
        let delete = world.with_id(json!({ "revision": -1 }));
        assert_eq!(
            world.ada.error(DELETE_PROJECT, delete).await,
            bad_input("revision")
        );
        assert_eq!(world.project().await, before);
    });
}

#[test]
fn of_ten_concurrent_updates_at_one_revision_one_succeeds() {
    with_project(async |world| {
        let update = |at| {
            let fields = json!({ "name": format!("Racer {at}"), "revision": 1 });
            world.ada.gql(UPDATE, world.with_id(fields))
        };
        let answers = join_all((0..10).map(update)).await;
        assert_eq!(
            answers.iter().filter(|answer| succeeded(answer)).count(),
            1,
            "{answers:?}"
        );
        let conflicts = answers
            .iter()
            .filter(|answer| code_of(answer) == "CONFLICT")
            .count();
        assert_eq!(conflicts, 9, "{answers:?}");
        assert_eq!(world.project().await["revision"], 2);
    });
}

#[test]
fn a_deleted_project_is_answered_like_one_that_never_existed() {
    with_project(async |world| {
        let ada = &world.ada;
        ada.data(DELETE_PROJECT, world.with_id(json!({ "revision": 1 })))
            .await;
        let missing = ada.gql(ONE, json!({ "id": "0".repeat(32) })).await;
        assert_eq!(code_of(&missing), "NOT_FOUND");
        let upper = world.id.to_uppercase();
        for id in [world.id.as_str(), "", "x", r#"{"$ne":null}"#, &upper] {
            assert_eq!(ada.gql(ONE, json!({ "id": id })).await, missing, "{id}");
            let update = input(json!({ "id": id, "name": "Late" }));
            assert_eq!(ada.code(UPDATE, update).await, "NOT_FOUND", "{id}");
            let delete = input(json!({ "id": id }));
            assert_eq!(ada.code(DELETE_PROJECT, delete).await, "NOT_FOUND", "{id}");
        }
    });
}

#[test]
fn the_longest_name_and_description_are_accepted() {
    with_project(async |world| {
        let (name, description) = ("ä".repeat(100), "ä".repeat(10_000));
        let project = input(json!({ "name": name, "description": description }));
        let created = world.ada.data(CREATE_PROJECT, project).await["project"]["create"].clone();
        assert_eq!(created["name"], name);
        assert_eq!(created["description"], description);
    });
}

/// A field and a value that it must refuse.
fn wrong_values() -> Vec<(&'static str, Value)> {
    let mut wrong = Vec::new();
    for name in [
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
    ] {
        wrong.push(("name", json!(name)));
    }
    for name in ["x".repeat(101), "ä".repeat(101)] {
        wrong.push(("name", json!(name)));
    }
    for description in [
        "a\u{0}b",
        "a\u{1b}[31m",
        "a\u{202e}b",
        "a\u{2066}b",
        &"x".repeat(10_001),
    ] {
        wrong.push(("description", json!(description)));
    }
    for status in [json!("active"), json!("GONE"), json!(1), json!(["ACTIVE"])] {
        wrong.push(("status", status));
    }
    wrong.extend([("name", json!(1)), ("description", json!({}))]);
    wrong
}

#[test]
fn a_wrong_field_is_refused_by_name() {
    with_project(async |world| {
        let ada = &world.ada;
        for (field, value) in wrong_values() {
            let mut fields = json!({ "name": "Fine" });
            fields[field] = value.clone();
            let error = ada.error(CREATE_PROJECT, input(fields.clone())).await;
            assert_eq!(error, bad_input(field), "{value}");
            let error = ada.error(UPDATE, world.with_id(fields)).await;
            assert_eq!(error, bad_input(field), "{value}");
        }
        for (fields, field) in [
            (json!({}), "name"),
            (json!({ "name": null }), "name"),
            (json!({ "name": "Fine", "creator": "x" }), "creator"),
        ] {
            assert_eq!(
                ada.error(CREATE_PROJECT, input(fields)).await["field"],
                field
            );
        }
        let fine = json!({ "where": { "name": "Fine" } });
        let created = ada.data(LIST_PROJECTS, fine).await["projects"]["totalCount"].clone();
        assert_eq!(created, 0);
        assert_eq!(world.project().await["revision"], 1);
    });
}

/// Ada with five projects in acme; there is another in a second tenant of hers.
async fn five_projects(backend: &Local) -> Browser {
    let ada = ada_in_acme(backend).await;
    ada.create_tenant("apex").await;
    create_project(&ada.in_tenant("apex"), "Elsewhere").await;
    for (name, status) in [
        ("delta", "ACTIVE"),
        ("Bravo", "ON_HOLD"),
        ("alpha", "ARCHIVED"),
        ("Bravo", "ACTIVE"),
        ("Éclair", "COMPLETED"),
    ] {
        ada.data(
            CREATE_PROJECT,
            input(json!({ "name": name, "status": status })),
        )
        .await;
    }
    ada
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_ordered() {
    let backend = start().await;
    let ada = five_projects(&backend).await;
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
        let names = project_names(&ada, json!({ "orderBy": order })).await;
        assert_eq!(names, expected, "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_filtered_and_counted_over_all_pages() {
    let backend = start().await;
    let ada = five_projects(&backend).await;
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
        let page = ada
            .data(LIST_PROJECTS, json!({ "where": filter, "first": 1 }))
            .await;
        assert_eq!(page["projects"]["totalCount"], expected.len(), "{filter}");
        let names = project_names(&ada, json!({ "where": filter })).await;
        assert_eq!(names, expected, "{filter}");
    }
    let error = ada
        .error(LIST_PROJECTS, json!({ "where": { "name": "" } }))
        .await;
    assert_eq!(error, bad_input("name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_creates_one_project_for_each_tenant_and_input() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    ada.create_tenant("apex").await;
    let mut ids = BTreeSet::new();
    for (tenant, name, key) in [
        ("acme", "One", "k1"),
        ("apex", "One", "k1"),
        ("acme", "Two", "k1"),
        ("acme", "One", "k2"),
    ] {
        let keyed = ada.in_tenant(tenant).with_idempotency_key(key);
        let created = join_all((0..10).map(|_| create_project(&keyed, name))).await;
        let created: BTreeSet<_> = created.into_iter().collect();
        assert_eq!(created.len(), 1, "{tenant} {name} {key}");
        ids.extend(created);
    }
    assert_eq!(
        ids.len(),
        4,
        "another tenant, input or key is another project"
    );
    for (tenant, expected) in [("acme", &["One", "Two", "One"][..]), ("apex", &["One"])] {
        let names = project_names(&ada.in_tenant(tenant), json!({})).await;
        assert_eq!(names, expected, "{tenant}");
    }
}

/// The queries of the gateway on a collection. Those of the workers have another `appName`.
async fn asked(database: &Database, collection: &str) -> Vec<Document> {
    let by_gateway = doc! {
        "appName": "gateway",
        "ns": format!("{}.{collection}", database.name()),
        "op": { "$in": ["query", "command"] },
    };
    let profile = database.collection("system.profile");
    let requests = profile
        .find(by_gateway)
        .sort(doc! { "ts": 1 })
        .await
        .unwrap();
    requests.try_collect().await.unwrap()
}

/// How many queries a list of so many projects costs on each collection.
async fn cost(database: &Database, ada: &Browser, first: usize) -> BTreeMap<String, usize> {
    let query = "
        query($first: Int) {
            projects(first: $first) {
                nodes { name createdBy { firstname } tenant { normalizedName } }
            }
        }";
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let answer = ada.data(query, json!({ "first": first })).await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let nodes = list(&answer["projects"]["nodes"]);
    assert_eq!(nodes.len(), first);
    assert!(
        nodes
            .iter()
            .all(|node| node["createdBy"]["firstname"] == "Ada"),
        "{answer}"
    );
    let mut cost = BTreeMap::new();
    for collection in collections(database.client(), database.name()).await {
        let count = asked(database, &collection).await.len();
        cost.insert(collection, count);
    }
    database
        .collection::<Document>("system.profile")
        .drop()
        .await
        .unwrap();
    cost
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_projects_by_five_people_cost_as_much_as_one() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let mut people = vec![ada.clone()];
    for name in ["bob", "cyd", "dan", "eve"] {
        let email = format!("{name}@example.com");
        let person = Browser::signed_up(&backend, &email).await;
        ada.add_member(&person, &email, "MEMBER").await;
        people.push(person.in_tenant("acme"));
    }
    join_all((0..50).map(|at| create_project(&people[at % 5], "Rocket"))).await;
    let database = mongo(&backend).await.database(PLATFORM);
    // A gateway that has served nobody yet has nothing in memory.
    let fresh = Gateway::start(&backend, |_| {}).await;
    let at_fresh = ada.at_gateway(&fresh);
    eventually("the use of memory", || async {
        cost(&database, &at_fresh, 1).await["tenant"] == 0
    })
    .await;
    let fifty = cost(&database, &at_fresh, 50).await;
    // The gateway gathers what it reads for a moment, which may end too early on a busy machine.
    let of_creators = fifty["account"];
    assert!(
        (1..=2).contains(&of_creators),
        "not one query each: {fifty:?}"
    );
    assert_eq!(fifty["project"], 1, "{fifty:?}");
    // From then on, only the list itself is read.
    for first in [1, 50] {
        let mut again = cost(&database, &at_fresh, first).await;
        again.retain(|_, count| *count > 0);
        assert_eq!(again, BTreeMap::from([("project".to_owned(), 1)]));
    }
}
