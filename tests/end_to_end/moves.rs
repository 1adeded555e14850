//! A tenant's views move while they are used. Moves are killed, repeated and taken over.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use events_schema::{HostName, Placement};
use futures_util::future::join_all;
use local::Local;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    matrix::{Schema, create_everything},
    placement::{config, create_tenant, own_database, use_tenant},
    support::{
        Browser, PLATFORM, PROJECTS, choose_new_plan, collections, create_project, documents, list,
        mongo, start, start_with, tenant_views, text,
    },
};

async fn move_tenant(backend: &Local, tenant: &str, to: Placement) -> anyhow::Result<()> {
    let (nats, mongo) = config(backend);
    workers::move_tenant(&nats, &mongo, tenant, to, &|_| {}).await
}

fn own_place() -> Placement {
    Placement::Database {
        host: Some(HostName::parse("other").unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_takes_every_view_of_the_tenant_and_leaves_none_behind() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let schema = Schema::of(&ada).await;
    for (slug, kind) in [
        ("acme", "SHARED"),
        ("other", "OWN"),
        ("neighbour", "SHARED"),
    ] {
        let tenant = create_tenant(&ada, slug, json!({ "kind": kind })).await;
        create_everything(&ada.in_tenant(slug), &schema, slug).await;
        choose_new_plan(&backend, &text(&tenant, "/id")).await;
    }
    let id = async |slug: &str| {
        text(
            &ada.in_tenant(slug)
                .data("{ me { tenant { id } } }", ())
                .await,
            "/me/tenant/id",
        )
    };
    let (acme, other, neighbour) = (id("acme").await, id("other").await, id("neighbour").await);
    let mongo = mongo(&backend).await;
    let in_platform = async |tenant: &str| documents(&mongo, PLATFORM, tenant).await;
    // What the platform keeps of a tenant whose views live elsewhere does not move.
    let kept = in_platform(&other).await;
    let before = in_platform(&acme).await;
    let of_neighbour = in_platform(&neighbour).await;
    let mut movable: BTreeMap<_, _> = before.clone();
    movable.retain(|view, _| !kept.contains_key(view));
    assert!(movable.len() >= 4, "{movable:?}");

    move_tenant(&backend, "acme", own_place()).await.unwrap();
    assert_eq!(
        documents(&mongo, &own_database(&acme), &acme).await,
        movable
    );
    assert_eq!(
        views_at(&mongo, &acme).await,
        tenant_views(),
        "nothing of the platform moves"
    );
    let left = in_platform(&acme).await;
    assert!(
        left.keys().all(|view| kept.contains_key(view)),
        "left behind: {left:?}"
    );
    assert_eq!(in_platform(&neighbour).await, of_neighbour);

    move_tenant(&backend, &acme, Placement::Shared)
        .await
        .unwrap();
    assert_eq!(in_platform(&acme).await, before);
    assert_eq!(
        documents(&mongo, &own_database(&acme), &acme).await,
        BTreeMap::new()
    );
    assert_eq!(in_platform(&neighbour).await, of_neighbour);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_complete_at_every_moment_of_a_move() {
    // On a busy machine a command may take longer than the gateway waits by default.
    let patient = [
        "--tenant-databases",
        "hybrid",
        "--command-timeout-ms",
        "14000",
    ];
    let backend = start_with(&patient).await;
    let ada = crate::support::ada_in_acme(&backend).await;
    use_tenant(&ada).await;
    let moved = AtomicBool::new(false);
    let created = AtomicUsize::new(3);
    let query = "{ projects { totalCount } members { nodes { id } } roles { id } }";
    let use_it = async {
        while !moved.load(Ordering::SeqCst) {
            create_project(&ada, "Rocket").await;
            let count = created.fetch_add(1, Ordering::SeqCst) + 1;
            let seen = ada.data(query, ()).await;
            assert_eq!(seen["projects"]["totalCount"], count);
            assert_eq!(list(&seen["members"]["nodes"]).len(), 2);
            assert_eq!(list(&seen["roles"]).len(), 6);
            // Some hundred times in half a minute: enough to meet every step of the move.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    let move_it = async {
        move_tenant(&backend, "acme", own_place()).await.unwrap();
        moved.store(true, Ordering::SeqCst);
    };
    tokio::join!(use_it, move_it);
    let shown = ada.data("{ tenant { database { kind host } } }", ()).await;
    assert_eq!(
        shown["tenant"]["database"],
        json!({ "kind": "OWN", "host": "other" })
    );
    let projects = ada.data(PROJECTS, ()).await["projects"]["totalCount"].clone();
    assert_eq!(projects, created.load(Ordering::SeqCst));
    let acme = text(
        &ada.data("{ me { tenant { id } } }", ()).await,
        "/me/tenant/id",
    );
    let stored = documents(&mongo(&backend).await, &own_database(&acme), &acme).await;
    assert_eq!(stored["project"], created.load(Ordering::SeqCst) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_place_is_written_while_requests_may_still_read_it() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let acme = text(&ada.create_tenant("acme").await, "/id");
    let ada = ada.in_tenant(&acme);
    let dropping = AtomicBool::new(false);
    let move_it = async {
        let (nats, mongo) = config(&backend);
        let to = Placement::Database { host: None };
        let progress = |step: &str| {
            dropping.fetch_or(step.starts_with("dropping"), Ordering::SeqCst);
        };
        let moved = workers::move_tenant(&nats, &mongo, "acme", to, &progress);
        moved.await.unwrap();
    };
    let use_it = async {
        let platform = mongo(&backend).await.database(PLATFORM);
        let is_read_there = doc! { "_id": &acme, "view.placement.type": "database" };
        let tenants = platform.collection::<Document>("tenant");
        while tenants
            .find_one(is_read_there.clone())
            .await
            .unwrap()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let project = doc! { "_id": create_project(&ada, "Rocket").await };
        let projects = platform.collection::<Document>("project");
        while projects.find_one(project.clone()).await.unwrap().is_none() {
            assert!(
                !dropping.load(Ordering::SeqCst),
                "the old place misses a project"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(move_it, use_it);
    let left = documents(&mongo(&backend).await, PLATFORM, &acme).await;
    assert!(!left.contains_key("project"), "{left:?}");
}

/// The views in a tenant's own database.
async fn views_at(mongo: &Client, tenant: &str) -> Vec<String> {
    let mut views = collections(mongo, &own_database(tenant)).await;
    views.retain(|name| name != "confirmation");
    views
}

/// Moves a tenant to a database of its own, and kills the move after a pause at this step.
async fn kill_move_at(backend: &Local, tenant: &str, step: &str, pause: Duration) {
    let (nats, mongo) = config(backend);
    let reached = Notify::new();
    let progress = |said: &str| {
        if said.starts_with(step) {
            reached.notify_one();
        }
    };
    let moved = workers::move_tenant(&nats, &mongo, tenant, own_place(), &progress);
    let killed = async {
        reached.notified().await;
        tokio::time::sleep(pause).await;
    };
    tokio::select! {
        biased;
        () = killed => {}
        moved = moved => panic!("the move of {tenant} has ended: {moved:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_at_any_step_is_completed_by_the_next_run() {
    let patient = [
        "--tenant-databases",
        "hybrid",
        "--command-timeout-ms",
        "14000",
    ];
    let backend = start_with(&patient).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let steps = [
        "writing to both",
        "filling",
        "project:",
        "reading from",
        "writing to the new",
        "dropping",
    ];
    let pauses = [0, 30].map(Duration::from_millis);
    let cuts = steps
        .iter()
        .flat_map(|step| pauses.map(|pause| (*step, pause)));
    let moves = cuts.enumerate().map(async |(number, (step, pause))| {
        let slug = format!("tenant-{number}");
        let tenant = create_tenant(&ada, &slug, json!({ "kind": "SHARED" })).await;
        let id = text(&tenant, "/id");
        let owner = ada.in_tenant(&slug);
        let (moved, created) = (AtomicBool::new(false), AtomicUsize::new(0));
        let use_it = async {
            while !moved.load(Ordering::SeqCst) {
                create_project(&owner, "Rocket").await;
                let count = created.fetch_add(1, Ordering::SeqCst) + 1;
                let seen = owner.data("{ projects { totalCount } }", ()).await;
                assert_eq!(seen["projects"]["totalCount"], count, "{step} {pause:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let move_it = async {
            kill_move_at(&backend, &slug, step, pause).await;
            move_tenant(&backend, &slug, own_place()).await.unwrap();
            moved.store(true, Ordering::SeqCst);
        };
        tokio::join!(use_it, move_it);
        let mongo = mongo(&backend).await;
        let stored = documents(&mongo, &own_database(&id), &id).await;
        assert_eq!(stored["project"], created.load(Ordering::SeqCst) as u64);
        let left = documents(&mongo, PLATFORM, &id).await;
        assert!(!left.contains_key("project"), "{step} {pause:?}: {left:?}");
        let views = views_at(&mongo, &id).await;
        assert_eq!(views, tenant_views(), "{step} {pause:?}");
    });
    join_all(moves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_takes_over_a_move_and_the_earlier_one_drops_nothing() {
    let patient = [
        "--tenant-databases",
        "hybrid",
        "--command-timeout-ms",
        "14000",
    ];
    let backend = start_with(&patient).await;
    let ada = crate::support::ada_in_acme(&backend).await;
    create_project(&ada, "Rocket").await;
    let step = Mutex::new(String::new());
    let (nats, mongo) = config(&backend);
    let run = async |to: Placement| {
        let progress = |said: &str| said.clone_into(&mut step.lock().unwrap());
        workers::move_tenant(&nats, &mongo, "acme", to, &progress).await
    };
    let reached = async |wanted: &str| {
        while !step.lock().unwrap().starts_with(wanted) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let second = async {
        reached("reading from").await;
        run(own_place()).await
    };
    let straight_back = async {
        reached("writing to the new").await;
        // Until the old place is dropped, there are 15 seconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        run(Placement::Shared).await
    };
    let (first, second, back) = tokio::join!(run(own_place()), second, straight_back);
    for taken_over in [first, second] {
        let error = format!("{:#}", taken_over.unwrap_err());
        assert!(error.contains("taken over"), "{error}");
    }
    back.unwrap();
    create_project(&ada, "Rocket").await;
    let shown = ada.data(
        "{ tenant { database { kind } } projects { totalCount } }",
        (),
    );
    let expected = json!({
        "tenant": { "database": { "kind": "SHARED" } }, "projects": { "totalCount": 2 },
    });
    assert_eq!(shown.await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_the_same_server_under_another_name_is_refused() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    create_tenant(&ada, "acme", json!({ "kind": "OWN" })).await;
    let ada = ada.in_tenant("acme");
    create_project(&ada, "Rocket").await;
    // Both names mean the same server here.
    let error = move_tenant(&backend, "acme", own_place()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("one database"), "{error}");
    let shown = ada.data("{ projects { totalCount } }", ()).await;
    assert_eq!(shown["projects"]["totalCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_by_a_program_that_does_not_know_a_view_is_refused() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    let acme = text(&ada.create_tenant("acme").await, "/id");
    let newer = mongo(&backend).await.database(PLATFORM);
    let newer = newer.collection::<Document>("newer");
    newer.insert_one(doc! { "tenant": &acme }).await.unwrap();
    let error = move_tenant(&backend, "acme", own_place())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not know the view newer"));
    let shown = ada.in_tenant("acme");
    let shown = shown.data("{ tenant { database { kind } } }", ()).await;
    assert_eq!(shown["tenant"]["database"]["kind"], "SHARED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_an_unknown_tenant_is_refused() {
    let backend = start_with(&["--tenant-databases", "hybrid"]).await;
    let error = move_tenant(&backend, "nowhere", Placement::Shared)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no tenant nowhere; give its slug or id"
    );
}
