//! Hosts of tenants that do not answer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use event_store::{CommandSender, Trace};
use events_schema::{
    AccountId, Area, AreaName, Command, CommandId, Description, EmailAddress, HostName, Id, Name,
    Placement, Slug, TenantId, TenantKey, project, tenant,
};
use mongodb::bson::{Document, doc};
use servers::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::fill::write_to_log;
use crate::support::{DEADLINE, World, connect, eventually, id};

/// Sends a command as the gateway does; returns the aggregate.
async fn decide<A: Area>(sender: &CommandSender, tenant: TenantKey, payload: A::Command) -> Id {
    let command = id();
    // A tenant takes its own id, every other aggregate that of its command.
    let aggregate = if A::NAME == AreaName::Tenant {
        tenant.0
    } else {
        command
    };
    let command = Command::<A>::by_system(
        CommandId(command),
        TenantId::Tenant(tenant),
        aggregate.into(),
        SystemTime::now().into(),
        payload,
    );
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let outcome = sender.send(command, Trace::begin(), deadline).await;
    let begun = matches!(outcome.unwrap().revision(), Ok(1 | 2));
    assert!(begun, "the command was refused");
    aggregate
}

/// Creates a tenant on the host `dead`, and one in the shared database.
async fn tenants(sender: &CommandSender) -> [TenantKey; 2] {
    [
        tenant_at(sender, Some("dead")).await,
        tenant_at(sender, None).await,
    ]
}

/// Creates a tenant on a host, or in the shared database.
async fn tenant_at(sender: &CommandSender, host: Option<&str>) -> TenantKey {
    let create = tenant::Command::Create {
        name: Name::parse("Acme").unwrap(),
        slug: Slug::parse(&format!("acme-{}", id())).unwrap(),
        owner: AccountId(id()),
        email: EmailAddress::parse("ada@example.com").unwrap(),
        plan: None,
        placement: match host {
            None => Placement::Shared,
            Some(host) => Placement::Database {
                host: Some(HostName::parse(host).unwrap()),
            },
        },
        places: None,
    };
    let tenant = TenantKey(id());
    decide::<tenant::Area>(sender, tenant, create).await;
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_delays_only_its_own_tenants() {
    let world = World::start().await;
    let dead_host = "dead=mongodb://127.0.0.1:9/?directConnection=true";
    let _worker = world
        .workers::<1>(&["--loops", "commands,views", "--mongo-hosts", dead_host])
        .await;
    let sender = CommandSender::start(world.gateway.clone()).await.unwrap();
    let [dead, alive] = tenants(&sender).await;
    let started = Instant::now();
    for _ in 0..15 {
        decide::<project::Area>(&sender, dead, project()).await;
        let shown = decide::<project::Area>(&sender, alive, project()).await;
        eventually("a project", || async {
            let documents = world.documents(AreaName::Project).await;
            documents.contains_key(&shown.to_string())
        })
        .await;
    }
    // Each attempt to reach the host takes two seconds.
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(world.documents(AreaName::Project).await.len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_for_long_delays_nobody_else_and_misses_nothing_when_it_returns() {
    let world = World::start().await;
    // Connections hang there for now.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dead_host = format!("dead={}", through(&world, address));
    let arguments = ["--loops", "commands,views", "--mongo-hosts", &dead_host];
    let [mut first, _second] = world.workers::<2>(&arguments).await;
    let sender = CommandSender::start(world.gateway.clone()).await.unwrap();
    let [dead, alive] = tenants(&sender).await;
    // More than a consumer of the views may have under way.
    let of_dead = Vec::from_iter((0..11_000).map(|_| id()));
    write_to_log(&world, TenantId::Tenant(dead), &of_dead, 1).await;
    write_to_log(&world, TenantId::Tenant(dead), &of_dead[..500], 2).await;
    let of_alive = Vec::from_iter((0..100).map(|_| id()));
    write_to_log(&world, TenantId::Tenant(alive), &of_alive, 1).await;
    eventually("the projects of the other tenant", || async {
        world.documents(AreaName::Project).await.len() == of_alive.len()
    })
    .await;
    eventually("an empty consumer", || async {
        let events = world.operator.get_stream("EVENTS").await.unwrap();
        let info = events.consumer_info("views_project").await.unwrap();
        info.num_pending == 0 && info.num_ack_pending == 0
    })
    .await;
    // Parked tenants stay parked after their worker dies.
    first.kill().await.unwrap();
    let _third = world.spawn_worker(&arguments);
    write_to_log(&world, TenantId::Tenant(dead), &of_dead[500..600], 2).await;

    let returned = tokio::spawn(forward(listener, address_of_mongod(&world)));
    let client = mongodb::Client::with_uri_str(world.servers.mongo_url(Role::Operator));
    let own = client
        .await
        .unwrap()
        .database(&format!("ultimate_backend_{dead}"));
    let projects = own.collection::<Document>("project");
    eventually("all documents", || async {
        let second = projects.count_documents(doc! { "revision": 2_i64 });
        second.await.unwrap() == 600
            && projects.count_documents(doc! {}).await.unwrap() == of_dead.len() as u64
    })
    .await;
    eventually("no record", || async {
        let records = world.views.collection::<Document>("parked");
        records.count_documents(doc! {}).await.unwrap() == 0
    })
    .await;
    // From now on, its commits are written at once.
    let shown = decide::<project::Area>(&sender, dead, project()).await;
    eventually("a project", || async {
        let which = doc! { "_id": shown.to_string() };
        projects.find_one(which).await.unwrap().is_some()
    })
    .await;
    returned.abort();
}

fn address_of_mongod(world: &World) -> String {
    format!("127.0.0.1:{}", world.servers.mongods[0].port())
}

/// The URL of mongod for workers, by way of another address.
fn through(world: &World, address: SocketAddr) -> String {
    let url = world.servers.mongo_url(Role::Workers);
    url.replace(&address_of_mongod(world), &address.to_string())
}

/// Forwards connections to another address.
async fn forward(listener: TcpListener, to: String) {
    forward_late(listener, to, Duration::ZERO).await;
}

/// Forwards connections to another address, each request after a pause.
async fn forward_late(listener: TcpListener, to: String, pause: Duration) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(&to).await.unwrap();
        tokio::spawn(async move {
            let (mut requests, mut answers) = client.into_split();
            let (mut answered, mut asked) = server.into_split();
            let ask = async {
                let mut request = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = requests.read(&mut request).await {
                    tokio::time::sleep(pause).await;
                    asked.write_all(&request[..length]).await.unwrap();
                }
            };
            tokio::join!(ask, async { _ = copy(&mut answered, &mut answers).await });
        });
    }
}

fn project() -> project::Command {
    project::Command::Create {
        name: Name::parse("Loom").unwrap(),
        description: Description::default(),
        status: project::Status::Active,
        creator: AccountId(id()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_seen_while_a_tenant_moves_is_at_both_places() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = address_of_mongod(&world);
    let slow = tokio::spawn(forward_late(listener, server, Duration::from_millis(50)));
    let host = format!("slow={}", through(&world, address));
    let arguments = ["--loops", "commands,views", "--mongo-hosts", &host];
    let _worker = world.workers::<1>(&arguments).await;
    let sender = CommandSender::start(world.gateway.clone()).await.unwrap();
    let moving = tenant_at(&sender, None).await;
    let begin = tenant::Command::BeginMove {
        to: Placement::Database {
            host: Some(HostName::parse("slow").unwrap()),
        },
        run: id(),
    };
    let operator = connect(&world.servers, Role::Migrator, "_INBOX_migrator").await;
    let operator = CommandSender::start(operator).await.unwrap();
    decide::<tenant::Area>(&operator, moving, begin).await;
    eventually("the place of the move", || async {
        let tenant = doc! { "_id": moving.to_string(), "view.moving_to": { "$exists": true } };
        let tenants = world.views.collection::<Document>("tenant");
        tenants.find_one(tenant).await.unwrap().is_some()
    })
    .await;
    let client = mongodb::Client::with_uri_str(world.servers.mongo_url(Role::Operator));
    let client = client.await.unwrap();
    let new = client.database(&format!("ultimate_backend_{moving}"));
    let new = new.collection::<Document>("project");
    let old = world.views.collection::<Document>("project");
    for _ in 0..10 {
        let project = decide::<project::Area>(&sender, moving, project()).await;
        let project = doc! { "_id": project.to_string() };
        while old.find_one(project.clone()).await.unwrap().is_none() {}
        let is_there = new.find_one(project.clone()).await.unwrap().is_some();
        assert!(is_there, "the place that will be read misses a project");
    }
    slow.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_another_log_at_a_tenants_own_host_concern_this_tenant_alone() {
    let world = World::start().await;
    let host = format!("dead={}", world.servers.mongo_url(Role::Workers));
    // The user of the loop `views` may do all that this takes.
    let _commands = world.spawn_worker(&["--loops", "commands"]);
    let mut worker = world.spawn_worker(&["--loops", "views", "--mongo-hosts", &host]);
    world.answering().await;
    let sender = CommandSender::start(world.gateway.clone()).await.unwrap();
    let [own, _] = tenants(&sender).await;
    let shown = decide::<project::Area>(&sender, own, project()).await;
    let client = mongodb::Client::with_uri_str(world.servers.mongo_url(Role::Operator));
    let database = client.await.unwrap();
    let database = database.database(&format!("ultimate_backend_{own}"));
    let projects = database.collection::<Document>("project");
    let which = doc! { "_id": shown.to_string() };
    eventually("the project", || async {
        projects.find_one(which.clone()).await.unwrap().is_some()
    })
    .await;
    let right = projects.find_one(which.clone()).await.unwrap();
    // Somebody else has written there.
    let foreign = doc! { "$set": { "sequence": 1_000_000_000_000_000_i64, "revision": 7_i64 } };
    projects.update_one(which.clone(), foreign).await.unwrap();
    // The commit of the project comes again.
    let deleted = world
        .operator
        .delete_consumer_from_stream("views_project", "EVENTS");
    deleted.await.unwrap();
    eventually("the right document", || async {
        projects.find_one(which.clone()).await.unwrap() == right
    })
    .await;
    assert!(
        worker.try_wait().unwrap().is_none(),
        "the worker has stopped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_completes_the_other_tenants_if_two_hosts_do_not_answer() {
    let world = World::start().await;
    let hosts = "dead=mongodb://127.0.0.1:9/?directConnection=true;\
                 gone=mongodb://127.0.0.1:10/?directConnection=true";
    let arguments = ["--loops", "commands,views", "--mongo-hosts", hosts];
    let _worker = world.workers::<1>(&arguments).await;
    let sender = CommandSender::start(world.gateway.clone()).await.unwrap();
    let mut expected = Vec::new();
    for host in [Some("dead"), Some("gone"), None] {
        let tenant = tenant_at(&sender, host).await;
        let project = decide::<project::Area>(&sender, tenant, project()).await;
        if host.is_none() {
            expected.push(project.to_string());
        }
    }
    let shown = async || {
        let documents = world.documents(AreaName::Project).await;
        Vec::from_iter(documents.into_keys())
    };
    eventually("the project", || async { shown().await == expected }).await;
    let projects = world.views.collection::<Document>("project");
    projects.delete_many(doc! {}).await.unwrap();
    let rebuild = [
        "rebuild-views",
        "--areas",
        "project",
        "--mongo-hosts",
        hosts,
    ];
    let ended = world.process(&rebuild).output().await.unwrap();
    let output = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(!ended.status.success());
    assert!(
        output.contains("2 databases of the view project"),
        "{output}"
    );
    assert_eq!(shown().await, expected);
}
