//! Clients that leave, messages that are lost, and servers that are killed: nobody else notices.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt as _, future::join_all};
use mongodb::bson::{Document, doc};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{
    Browser, CREATE_PROJECT, PLATFORM, PROJECTS, REGISTER, ada_in_acme, close_stream,
    create_project, eventually, input, mongo, open_stream, operator, project_names, start,
    succeeded, text,
};

/// Connections that are dropped at once.
const DROPPED: usize = 200;
/// How long the next answer may take. It comes within milliseconds, unless the gateway's pool of
/// connections to MongoDB stalls: then it takes half a minute.
const NEXT_WITHIN: Duration = Duration::from_secs(2);

const PROJECT: &str = "query($id: ID!) { project(id: $id) { name } }";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_in_mid_request_delay_nobody_else() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    create_project(&ada, "Loom").await;
    let (machine, _) = ada.create_machine(&backend, &["read_project"]).await;
    let token = machine.authorization();
    let body = json!({ "query": PROJECTS }).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         authorization: {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = backend.url().replace("http://", "");
    for round in 0..10 {
        let dropped = (0..DROPPED).map(async |at| {
            let mut client = TcpStream::connect(&address).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            // Some leave before the gateway has read the request, some in the midst of it.
            sleep(Duration::from_millis(at as u64 % 20)).await;
        });
        join_all(dropped).await;
        let started = Instant::now();
        let next = timeout(NEXT_WITHIN, ada.data(PROJECTS, ())).await;
        assert!(next.is_ok(), "round {round}: no answer in {NEXT_WITHIN:?}");
        println!("round {round}: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_loses_the_stream_of_changes_reads_the_database() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let id = create_project(&ada, "Loom").await;
    let name = async || {
        let project = ada.data(PROJECT, json!({ "id": id })).await;
        text(&project, "/project/name")
    };
    let database = mongo(&backend).await.database(PLATFORM);
    let projects = database.collection::<Document>("project");
    // A change that is never announced.
    let change = doc! { "$set": { "view.name": "Wheel" } };
    let changed = projects.update_one(doc! { "_id": &id }, change).await;
    assert_eq!(changed.unwrap().modified_count, 1);
    assert_eq!(name().await, "Loom", "objects by id come from memory");

    let operator = operator(&backend).await;
    operator.delete_stream("VIEWS").await.unwrap();
    eventually("the change", || async { name().await == "Wheel" }).await;
    // The workers create the stream again, and changes are announced again.
    eventually("the stream", || async {
        operator.get_stream("VIEWS").await.is_ok()
    })
    .await;
    create_project(&ada, "Spindle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_stream_of_commands_loses_no_command_and_doubles_none() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let operator = operator(&backend).await;
    let done = AtomicUsize::new(0);
    let create = async |client: usize| {
        for at in 0..20 {
            let project = json!({ "name": format!("{client} {at}") });
            let answer = ada.gql(CREATE_PROJECT, input(project)).await;
            assert!(succeeded(&answer), "{answer}");
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let register = async |at: usize| {
        let person = json!({
            "firstname": "Bob", "lastname": "Babbage",
            "email": format!("user{at}@example.com"), "password": "correct horse battery",
        });
        let answer = Browser::new(&backend).gql(REGISTER, input(person)).await;
        assert!(succeeded(&answer), "{answer}");
    };
    let lose = async || {
        for already in [40, 240, 440] {
            eventually("progress", || async {
                done.load(Ordering::Relaxed) >= already
            })
            .await;
            operator.delete_stream("COMMANDS").await.unwrap();
        }
    };
    tokio::join!(
        join_all((0..32).map(create)),
        join_all((0..10).map(register)),
        lose()
    );
    let projects = ada.data("{ projects { totalCount } }", ()).await;
    assert_eq!(projects["projects"]["totalCount"], 640);
    // Each registration leads to a command of a reaction, and to a mail.
    for at in 0..10 {
        let email = format!("user{at}@example.com");
        ada.mail(&email, "code", 1).await;
        assert_eq!(ada.mails_to(&email, "code").await.len(), 1, "{email}");
    }
    let dead = operator.get_stream("DEAD").await.unwrap();
    assert_eq!(dead.cached_info().state.messages, 0);
}

/// Creates projects until `stop`, each again with its key until it succeeds. Returns their names.
async fn create_until(
    ada: &Browser,
    client: usize,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> Vec<String> {
    let mut names = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let name = format!("project {client} {}", names.len());
        let keyed = ada.with_idempotency_key(&name);
        while !succeeded(
            &keyed
                .gql(CREATE_PROJECT, input(json!({ "name": name })))
                .await,
        ) {}
        names.push(name);
        done.fetch_add(1, Ordering::Relaxed);
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_server_killed_fifty_times_loses_nothing_and_doubles_nothing() {
    const KILLS: usize = 50;
    let mut backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let strangers: Vec<_> = (0..KILLS).map(|_| Browser::new(&backend)).collect();
    let operator = operator(&backend).await;
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let nats = &mut backend.servers.nats[0];
    let kill = async {
        for (at, stranger) in strangers.iter().enumerate() {
            let before = done.load(Ordering::Relaxed);
            eventually("progress", || async {
                done.load(Ordering::Relaxed) > before + at % 11
            })
            .await;
            let email = format!("user{at}@example.com");
            // The answer may come before the kill or after the restart.
            let keyed = stranger.with_idempotency_key(&email);
            let register = async { while !succeeded(&keyed.register(&email).await) {} };
            let restart = async {
                sleep(Duration::from_millis(at as u64 % 7)).await;
                nats.kill().await.unwrap();
                nats.restart().await.unwrap();
            };
            tokio::join!(register, restart);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let clients = (0..8).map(|client| create_until(&ada, client, &stop, &done));
    let (names, ()) = tokio::join!(join_all(clients), kill);
    let mut names = names.concat();

    let database = mongo(&backend).await.database(PLATFORM);
    let stored = database.collection::<Document>("project");
    let stored: Vec<Document> = stored
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let name = |project: &Document| {
        let view = project.get_document("view").unwrap();
        view.get_str("name").unwrap().to_owned()
    };
    let mut stored: Vec<_> = stored.iter().map(name).collect();
    names.sort();
    stored.sort();
    assert_eq!(stored, names);
    for at in 0..KILLS {
        let email = format!("user{at}@example.com");
        ada.mail(&email, "code", 1).await;
    }
    assert_eq!(
        ada.mails().await.len(),
        KILLS + 1,
        "one for each registration"
    );
    let dead = operator.get_stream("DEAD").await.unwrap();
    assert_eq!(dead.cached_info().state.messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_unavailable_while_no_command_can_be_sent() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    create_project(&ada, "before").await;
    close_stream(&backend, "COMMANDS").await;
    let refused = ada
        .error(CREATE_PROJECT, input(json!({ "name": "meanwhile" })))
        .await;
    assert_eq!(refused["code"], "UNAVAILABLE");
    assert_eq!(refused["retryAfter"], 2);
    open_stream(&backend, "COMMANDS").await;
    create_project(&ada, "after").await;
    assert_eq!(project_names(&ada, json!({})).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_pending_while_the_log_takes_no_commit_and_is_made_later() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await.with_idempotency_key("one");
    close_stream(&backend, "EVENTS").await;
    let project = input(json!({ "name": "Loom" }));
    let pending = ada.error(CREATE_PROJECT, &project).await;
    assert_eq!(pending["code"], "PENDING");
    open_stream(&backend, "EVENTS").await;
    eventually("the project", || async {
        project_names(&ada, json!({})).await == ["Loom"]
    })
    .await;
    let repeated = ada.data(CREATE_PROJECT, &project).await;
    assert_eq!(repeated["project"]["create"]["id"], pending["commandId"]);
    assert_eq!(project_names(&ada, json!({})).await, ["Loom"]);
}
