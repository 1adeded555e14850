//! Where a tenant's views live: the same requests get the same answers everywhere, no document is
//! in another tenant's database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use event_store::{MongoOptions, NatsOptions};
use events_schema::{AreaName, HostName, TenantKey};
use futures_util::{StreamExt, TryStreamExt};
use local::Local;
use mongodb::{
    Client, Database,
    bson::{Document, doc},
};
use serde_json::{Value, json};
use servers::Role;

use crate::{
    impersonation::grant_support,
    invitations::stop_invitations_to_bob,
    matrix::{Schema, create_everything},
    support::{
        Browser, CREATE_TENANT, PLATFORM, bad_input, choose_new_plan, create_project, documents,
        input, invite, mongo, start_with, tenant_views, text,
    },
};

const CREATE_PROJECT: &str = "
    mutation($input: CreateProjectInput!) {
        project { create(input: $input) { name status revision createdBy { firstname } } }
    }";
const CREATE_ROLE: &str = "
    mutation($input: CreateRoleInput!) {
        role { create(input: $input) { name effectivePermissions } }
    }";
const CREATE_TOKEN: &str = "
    mutation($input: CreateAccessTokenInput!) {
        accessToken { create(input: $input) { accessToken { name scopes } } }
    }";
const UPDATE_SETTINGS: &str = "
    mutation($input: UpdateTenantInput!) {
        tenant { update(input: $input) { settings { key value } } }
    }";
const READ: &str = "{
    projects(orderBy: NAME_DESC, first: 2) {
        totalCount
        nodes { name }
        pageInfo { hasNextPage }
    }
    members(orderBy: EMAIL_ASC) { nodes { role status } }
    roles { name builtIn }
    accessTokens { nodes { name } }
    me { permissions }
    auditLog { nodes { area events } }
}";

/// The database of a tenant that has one of its own.
pub(crate) fn own_database(tenant: &str) -> String {
    format!("{PLATFORM}_{tenant}")
}

/// Uses a tenant for a while; returns all answers, without ids.
pub(crate) async fn use_tenant(owner: &Browser) -> Vec<Value> {
    let role = json!({
        "name": "Auditor", "permissions": ["read_audit_log"], "inherits": ["guest"],
    });
    let mut answers = Vec::new();
    for (document, variables) in [
        (CREATE_PROJECT, input(json!({ "name": "Rocket" }))),
        (CREATE_PROJECT, input(json!({ "name": "Boat" }))),
        (CREATE_PROJECT, input(json!({ "name": "Bicycle" }))),
        (INVITE_WITHOUT_ID, invite("x@example.com", "GUEST")),
        (CREATE_ROLE, input(role)),
        (
            CREATE_TOKEN,
            input(json!({ "name": "CI", "scopes": ["read_project"] })),
        ),
        (
            UPDATE_SETTINGS,
            input(json!({ "settings": [{ "key": "color", "value": "red" }] })),
        ),
        (READ, Value::Null),
    ] {
        answers.push(owner.data(document, variables).await);
    }
    answers
}

const INVITE_WITHOUT_ID: &str = "
    mutation($input: InviteMemberInput!) {
        member { invite(input: $input) { email role status } }
    }";

/// Creates a tenant whose views live where `database` says; null for the default.
pub(crate) async fn create_tenant(owner: &Browser, slug: &str, database: Value) -> Value {
    let tenant = json!({ "name": slug, "normalizedName": slug, "database": database });
    owner.data(CREATE_TENANT, input(tenant)).await["tenant"]["create"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_get_the_same_answers_wherever_their_views_live() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let mut all_answers = Vec::new();
    for (slug, database, kind) in [
        ("by-default", Value::Null, "SHARED"),
        ("shared", json!({ "kind": "SHARED" }), "SHARED"),
        ("own", json!({ "kind": "OWN" }), "OWN"),
        ("own-host", json!({ "kind": "OWN", "host": "other" }), "OWN"),
    ] {
        let tenant = create_tenant(&ada, slug, database).await;
        assert_eq!(tenant["database"]["kind"], kind);
        all_answers.push(use_tenant(&ada.in_tenant(slug)).await);
    }
    for answers in &all_answers {
        assert_eq!(*answers, all_answers[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_a_bounded_number_of_databases() {
    let options = ["--tenant-databases", "hybrid", "--databases-per-host", "2"];
    let backend = start_with(&options).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    for slug in ["first", "second"] {
        create_tenant(&ada, slug, json!({ "kind": "OWN" })).await;
    }
    let create = async |slug: &str, database: Value| {
        let tenant = json!({ "name": slug, "normalizedName": slug, "database": database });
        ada.gql(CREATE_TENANT, input(tenant)).await
    };
    let refused = create("third", json!({ "kind": "OWN" })).await;
    let extensions = &refused["errors"][0]["extensions"];
    let expected = json!({ "code": "LIMIT_REACHED", "reason": "too_many_databases" });
    assert_eq!(*extensions, expected);
    for (slug, database) in [
        ("fourth", json!({ "kind": "OWN", "host": "other" })),
        ("fifth", json!({ "kind": "SHARED" })),
    ] {
        let answer = create(slug, database).await;
        assert!(answer["errors"].is_null(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_of_a_tenant_lives_in_its_own_database_with_all_its_indexes() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let shared = create_tenant(&ada, "shared", json!({ "kind": "SHARED" })).await;
    let own = create_tenant(&ada, "own", json!({ "kind": "OWN" })).await;
    let schema = Schema::of(&ada).await;
    for slug in ["shared", "own"] {
        create_everything(&ada.in_tenant(slug), &schema, slug).await;
        grant_support(&ada.in_tenant(slug)).await;
    }
    let (shared, own) = (text(&shared, "/id"), text(&own, "/id"));
    for tenant in [&shared, &own] {
        choose_new_plan(&backend, tenant).await;
    }
    let mongo = mongo(&backend).await;
    let database = own_database(&own);
    let in_own = documents(&mongo, &database, &own).await;
    let stored: BTreeSet<&str> = in_own.keys().map(String::as_str).collect();
    assert_eq!(stored, tenant_views().into_iter().collect());
    let of_own = documents(&mongo, PLATFORM, &own).await;
    let of_shared = documents(&mongo, PLATFORM, &shared).await;
    for (view, count) in &in_own {
        assert_eq!(
            of_own.get(view),
            None,
            "{view} is in the platform's database"
        );
        assert_eq!(of_shared.get(view), Some(count), "{view}");
        let collection = mongo.database(&database).collection::<Document>(view);
        let foreign = doc! { "tenant": { "$ne": &own } };
        assert_eq!(
            collection.count_documents(foreign).await.unwrap(),
            0,
            "{view}"
        );
        let expected = indexes(&mongo, PLATFORM, view).await;
        assert_eq!(indexes(&mongo, &database, view).await, expected, "{view}");
        assert!(expected.len() > 1, "{view}: {expected:?}");
    }
}

/// The names of a collection's indexes.
async fn indexes(mongo: &Client, database: &str, view: &str) -> BTreeSet<String> {
    let collection = mongo.database(database).collection::<Document>(view);
    let indexes = collection.list_indexes().await.unwrap();
    indexes
        .map(|index| index.unwrap().options.unwrap().name.unwrap())
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_unknown_or_without_a_database_is_refused_by_name() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    for database in [
        json!({ "kind": "OWN", "host": "nowhere" }),
        json!({ "kind": "SHARED", "host": "other" }),
    ] {
        let tenant = json!({ "name": "x", "normalizedName": "xyz", "database": database });
        assert_eq!(
            ada.error(CREATE_TENANT, input(tenant)).await,
            bad_input("host")
        );
    }
}

async fn connections(mongo: &Client) -> i32 {
    let status = mongo
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await
        .unwrap();
    status
        .get_document("connections")
        .unwrap()
        .get_i32("current")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_tenants_with_databases_of_their_own_share_a_few_connections() {
    let backend = start_with(&["--tenant-databases", "database"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let tenant = json!({
        "name": "x", "normalizedName": "xyz", "database": { "kind": "SHARED" },
    });
    assert_eq!(
        ada.error(CREATE_TENANT, input(tenant)).await["field"],
        "database"
    );
    let few = 5;
    for at in 0..few {
        let slug = format!("tenant-{at}");
        ada.create_tenant(&slug).await;
        use_tenant(&ada.in_tenant(&slug)).await;
    }
    let mongo = mongo(&backend).await;
    let before = connections(&mongo).await;
    for at in few..40 {
        let slug = format!("tenant-{at}");
        assert_eq!(ada.create_tenant(&slug).await["database"]["kind"], "OWN");
        create_project(&ada.in_tenant(&slug), "Rocket").await;
    }
    let after = connections(&mongo).await;
    assert!(
        after <= before + 10,
        "{before} connections for {few} tenants, {after} for 40"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_of_a_deleted_tenant_are_dropped_after_the_grace_period() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let mut ids = BTreeMap::new();
    for (slug, kind) in [("own", "OWN"), ("shared", "SHARED"), ("stays", "OWN")] {
        let tenant = create_tenant(&ada, slug, json!({ "kind": kind })).await;
        create_project(&ada.in_tenant(slug), "Loom").await;
        ids.insert(slug, text(&tenant, "/id"));
    }
    for slug in ["own", "shared"] {
        let delete = "mutation($input: DeleteTenantInput!) {
            tenant { delete(input: $input) { success } }
        }";
        let input = input(json!({ "normalizedName": slug }));
        ada.in_tenant(slug).data(delete, input).await;
    }
    let mongo = mongo(&backend).await;
    let there = async |slug: &str, database: &str| {
        !documents(&mongo, database, &ids[slug]).await.is_empty()
    };
    let (own, stays) = (own_database(&ids["own"]), own_database(&ids["stays"]));
    let (nats, options) = config(&backend);
    let drop_after = async |grace: Duration| {
        let dropped = Mutex::new(BTreeSet::new());
        let progress = |tenant: TenantKey, _: &str| {
            dropped.lock().unwrap().insert(tenant.to_string());
        };
        let done = workers::drop_deleted(&nats, &options, grace, &progress).await;
        done.unwrap();
        dropped.into_inner().unwrap()
    };

    assert_eq!(
        drop_after(Duration::from_secs(60 * 60)).await,
        BTreeSet::new()
    );
    assert!(there("own", &own).await && there("shared", PLATFORM).await);

    let both = BTreeSet::from(["own", "shared"].map(|slug| ids[slug].clone()));
    assert_eq!(drop_after(Duration::ZERO).await, both);
    assert!(!there("own", &own).await && !there("shared", PLATFORM).await);
    assert!(there("stays", &stays).await);
    // A rebuild brings nothing back.
    let areas = AreaName::ALL.to_vec();
    let rebuilt = workers::rebuild_views(&nats, &options, &areas, 64, &|_, _| ());
    rebuilt.await.unwrap();
    assert!(!there("own", &own).await && !there("shared", PLATFORM).await);
    assert_eq!(drop_after(Duration::ZERO).await, BTreeSet::new());
}

/// The options of the operator's commands.
pub(crate) fn config(backend: &Local) -> (NatsOptions, MongoOptions) {
    let mongo_url = backend.servers.mongo_url(Role::Migrator);
    let mongo = MongoOptions {
        mongo_hosts: vec![(HostName::parse("other").unwrap(), mongo_url.clone())],
        mongo_database: PLATFORM.to_owned(),
        mongo_url,
    };
    (
        NatsOptions {
            nats_url: backend.servers.nats_url(Role::Migrator),
            ..NatsOptions::default()
        },
        mongo,
    )
}

/// The documents of a view in one database, by id.
async fn stored(database: &Database, view: &str) -> BTreeMap<String, Document> {
    let found = database.collection::<Document>(view).find(doc! {}).await;
    let documents: Vec<Document> = found.unwrap().try_collect().await.unwrap();
    let by_id = documents.into_iter();
    by_id
        .map(|document| (text(&json!(document), "/_id"), document))
        .collect()
}

/// Rebuilds all views; returns what was done to each.
async fn rebuild(backend: &Local) -> Vec<String> {
    let (nats, mongo) = config(backend);
    let done = Mutex::new(Vec::new());
    let progress = |view: &str, step: &str| {
        if step.starts_with("done") {
            done.lock().unwrap().push(format!("{view}: {step}"));
        }
    };
    let memory_mib = workers::REBUILD_MEMORY_MIB;
    let rebuilt = workers::rebuild_views(&nats, &mongo, AreaName::ALL, memory_mib, &progress);
    rebuilt.await.unwrap();
    done.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_restores_every_view_wherever_it_lives() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let schema = Schema::of(&ada).await;
    let shared = create_tenant(&ada, "shared", json!({ "kind": "SHARED" })).await;
    let own = create_tenant(&ada, "own", json!({ "kind": "OWN" })).await;
    for (slug, tenant) in [("shared", &shared), ("own", &own)] {
        create_everything(&ada.in_tenant(slug), &schema, slug).await;
        grant_support(&ada.in_tenant(slug)).await;
        choose_new_plan(&backend, &text(tenant, "/id")).await;
    }
    stop_invitations_to_bob(&backend, &ada.in_tenant("shared")).await;
    let mongo = mongo(&backend).await;
    let platform = mongo.database(PLATFORM);
    let own = mongo.database(&own_database(&text(&own, "/id")));
    let mut places: Vec<_> = AreaName::ALL
        .iter()
        .flat_map(|area| area.views())
        // Mails are being sent meanwhile.
        .filter(|(view, _)| *view != "email")
        .map(|(view, _)| (&platform, *view))
        .collect();
    places.extend(tenant_views().into_iter().map(|view| (&own, view)));
    let mut before = Vec::new();
    for (database, view) in &places {
        let documents = stored(database, view).await;
        assert!(!documents.is_empty(), "{view} in {}", database.name());
        before.push(documents);
        let collection = database.collection::<Document>(view);
        collection.drop().await.unwrap();
    }
    rebuild(&backend).await;
    for ((database, view), before) in places.iter().zip(before) {
        let after = stored(database, view).await;
        assert_eq!(after, before, "{view} in {}", database.name());
    }
    // A document in a database where its tenant does not keep it.
    let projects = own.collection::<Document>("project");
    let stray = projects.find_one(doc! {}).await.unwrap().unwrap();
    let shared = platform.collection::<Document>("project");
    shared.insert_one(stray).await.unwrap();
    for done in rebuild(&backend).await {
        let removed = usize::from(done.starts_with("project:"));
        let expected = format!(" 0 documents written, {removed} removed");
        assert!(done.ends_with(&expected), "{done}");
    }
}
