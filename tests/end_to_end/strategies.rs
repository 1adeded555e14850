//! Where tenants' views live: the same requests, the same answers, and no document in another's
//! database; and moving them while everything runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Browser, FOUND, start_with};
use events_schema::{HostName, Place};
use futures_util::{StreamExt, future::join_all};
use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use servers::Role;

const CREATE_PROJECT: &str = "mutation($input: CreateProjectInput!) { project { create(input: $input) { name status revision createdBy { firstname } } } }";
const TENANT_VIEWS: [&str; 4] = ["access_token", "member", "project", "role"];

async fn mongo(local: &Local) -> mongodb::Client {
    mongodb::Client::with_uri_str(local.servers.mongod.uri())
        .await
        .unwrap()
}

/// How many documents of a tenant each of its views has in a database.
async fn documents(mongo: &mongodb::Client, database: &str, tenant: &str) -> Vec<u64> {
    let database = mongo.database(database);
    let counts = TENANT_VIEWS.map(|view| {
        let collection = database.collection::<Document>(view);
        async move {
            collection
                .count_documents(doc! { "tenant": tenant })
                .await
                .unwrap()
        }
    });
    join_all(counts).await
}

/// A day in the life of a tenant; answers everything that was answered.
async fn live(owner: &Browser) -> Vec<Value> {
    let mut answers = Vec::new();
    for name in ["Rocket", "Boat", "Bicycle"] {
        answers.push(
            owner
                .run(CREATE_PROJECT, json!({ "input": { "name": name } }))
                .await,
        );
    }
    for (query, variables) in [
        (
            "mutation($input: InviteMemberInput!) { member { invite(input: $input) { email role status } } }",
            json!({ "input": { "email": "x@example.com", "role": "GUEST" } }),
        ),
        (
            "mutation($input: CreateRoleInput!) { role { create(input: $input) { name effectivePermissions } } }",
            json!({ "input": { "name": "Auditor", "permissions": ["read_audit_log"], "inherits": ["guest"] } }),
        ),
        (
            "mutation($input: CreateAccessTokenInput!) { accessToken { create(input: $input) { accessToken { name scopes } } } }",
            json!({ "input": { "name": "CI", "scopes": ["read_project"] } }),
        ),
        (
            "mutation($input: UpdateTenantInput!) { tenant { update(input: $input) { settings { key value } } } }",
            json!({ "input": { "settings": [{ "key": "color", "value": "red" }] } }),
        ),
        (
            "{ projects(orderBy: NAME_DESC, first: 2) { totalCount nodes { name } pageInfo { hasNextPage } } members(orderBy: EMAIL_ASC) { nodes { role status } } roles { name builtIn } accessTokens { nodes { name } } me { permissions } }",
            json!({}),
        ),
        ("{ auditLog { nodes { area events } } }", json!({})),
    ] {
        answers.push(owner.run(query, variables).await);
    }
    assert!(
        answers.iter().all(|answer| answer["errors"].is_null()),
        "{answers:#?}"
    );
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_live_alike_wherever_they_live_and_none_in_anothers_database() {
    let local = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let mut lives = Vec::new();
    for (slug, database) in [
        ("by-default", Value::Null),
        ("shared", json!({ "kind": "SHARED" })),
        ("own", json!({ "kind": "OWN" })),
        ("own-host", json!({ "kind": "OWN", "host": "other" })),
    ] {
        let founded = ada
            .data(
                FOUND,
                json!({ "input": { "name": slug, "normalizedName": slug, "database": database } }),
            )
            .await;
        let tenant = founded["tenant"]["create"].clone();
        lives.push((tenant.clone(), live(&ada.inside(slug)).await));
        assert_eq!(
            tenant["database"]["kind"],
            if slug.starts_with("own") {
                "OWN"
            } else {
                "SHARED"
            }
        );
    }
    for (tenant, answers) in &lives[1..] {
        assert_eq!(answers, &lives[0].1, "{tenant}");
    }
    let mongo = mongo(&local).await;
    for (tenant, _) in &lives {
        let id = tenant["id"].as_str().unwrap();
        let own = format!("ultimate_backend_{id}");
        let (in_shared, in_own) = (
            documents(&mongo, "ultimate_backend", id).await,
            documents(&mongo, &own, id).await,
        );
        let (here, there) = if tenant["database"]["kind"] == "OWN" {
            (in_own, in_shared)
        } else {
            (in_shared, in_own)
        };
        assert_eq!(
            (here, there),
            (vec![1, 2, 3, 1], vec![0, 0, 0, 0]),
            "{tenant}"
        );
        if tenant["database"]["kind"] == "OWN" {
            let indexes: Vec<_> = mongo
                .database(&own)
                .collection::<Document>("project")
                .list_indexes()
                .await
                .unwrap()
                .collect()
                .await;
            assert_eq!(indexes.len(), 5, "{indexes:?}");
            for view in TENANT_VIEWS {
                let collection = mongo.database(&own).collection::<Document>(view);
                assert_eq!(
                    collection
                        .count_documents(doc! { "tenant": { "$ne": id } })
                        .await
                        .unwrap(),
                    0
                );
            }
        }
    }
    for (database, field) in [
        (json!({ "kind": "OWN", "host": "nowhere" }), "host"),
        (json!({ "kind": "SHARED", "host": "other" }), "host"),
    ] {
        let error = ada
            .error(
                FOUND,
                json!({ "input": { "name": "x", "normalizedName": "xyz", "database": database } }),
            )
            .await;
        assert_eq!(error["field"], field);
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_gets_a_database_of_its_own_over_the_same_few_connections() {
    let local = start_with(&["--tenant-databases", "database"]).await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    assert_eq!(
        ada.error(FOUND, json!({ "input": { "name": "x", "normalizedName": "xyz", "database": { "kind": "SHARED" } } })).await["field"],
        "database"
    );
    let mongo = mongo(&local).await;
    let connections = async || {
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
    };
    let few = 5;
    for at in 0..few {
        live(&{
            ada.found(&format!("tenant-{at}")).await;
            ada.inside(&format!("tenant-{at}"))
        })
        .await;
    }
    let before = connections().await;
    for at in few..40 {
        let slug = format!("tenant-{at}");
        assert_eq!(ada.found(&slug).await["database"]["kind"], "OWN");
        ada.inside(&slug)
            .data(CREATE_PROJECT, json!({ "input": { "name": slug } }))
            .await;
    }
    let after = connections().await;
    assert!(
        after <= before + 10,
        "{before} connections for {few} tenants, {after} for 40"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_moved_while_it_is_used_and_nobody_notices() {
    let local = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let tenant = ada.found("acme").await["id"].as_str().unwrap().to_owned();
    ada.found("neighbour").await;
    let neighbour = ada.inside("neighbour");
    neighbour
        .data(CREATE_PROJECT, json!({ "input": { "name": "theirs" } }))
        .await;
    let ada = ada.inside("acme");
    live(&ada).await;
    let nats = workers::config::Nats {
        nats_url: local.servers.nats.url(Role::Workers),
    };
    let hosts = vec![(
        HostName::parse("other").unwrap(),
        local.servers.mongod.uri(),
    )];
    let mongo_config = workers::config::Mongo {
        mongo_url: local.servers.mongod.uri(),
        mongo_database: "ultimate_backend".to_owned(),
        mongo_hosts: hosts,
    };
    let moved = AtomicBool::new(false);
    let made = AtomicUsize::new(3);
    let use_it = async {
        while !moved.load(Ordering::SeqCst) {
            let at = made.fetch_add(1, Ordering::SeqCst);
            ada.data(
                CREATE_PROJECT,
                json!({ "input": { "name": format!("during {at}") } }),
            )
            .await;
            // What was written is there to be read, with everything before it, at every moment.
            let seen = ada
                .data(
                    "{ projects { totalCount } members { nodes { id } } roles { id } }",
                    json!({}),
                )
                .await;
            assert_eq!(seen["projects"]["totalCount"], at + 1);
            assert_eq!(
                (
                    seen["members"]["nodes"].as_array().unwrap().len(),
                    seen["roles"].as_array().unwrap().len()
                ),
                (2, 6)
            );
        }
    };
    let move_it = async {
        let own = Place::Database {
            host: Some(HostName::parse("other").unwrap()),
        };
        workers::move_tenant(&nats, &mongo_config, "acme", own, |_| {})
            .await
            .unwrap();
        moved.store(true, Ordering::SeqCst);
    };
    tokio::join!(use_it, move_it);
    let shown = ada
        .data("{ tenant { database { kind host } } }", json!({}))
        .await;
    assert_eq!(
        shown["tenant"]["database"],
        json!({ "kind": "OWN", "host": "other" })
    );
    let mongo = mongo(&local).await;
    let own = format!("ultimate_backend_{tenant}");
    assert_eq!(
        documents(&mongo, "ultimate_backend", &tenant).await,
        [0, 0, 0, 0],
        "the old place is empty"
    );
    assert_eq!(
        documents(&mongo, &own, &tenant).await,
        [1, 2, made.load(Ordering::SeqCst) as u64, 1]
    );

    workers::move_tenant(&nats, &mongo_config, &tenant, Place::Shared, |_| {})
        .await
        .unwrap();
    assert_eq!(documents(&mongo, &own, &tenant).await, [0, 0, 0, 0]);
    assert_eq!(
        ada.data("{ projects { totalCount } }", json!({})).await["projects"]["totalCount"],
        made.load(Ordering::SeqCst)
    );
    assert_eq!(
        neighbour
            .data("{ projects { totalCount } }", json!({}))
            .await["projects"]["totalCount"],
        1
    );
    let nowhere = workers::move_tenant(&nats, &mongo_config, "nowhere", Place::Shared, |_| {})
        .await
        .unwrap_err();
    assert_eq!(nowhere.to_string(), "there is no tenant nowhere");
    local.stop().await.unwrap();
}
