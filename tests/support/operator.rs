//! The backend from inside, as its operator sees it: streams, consumers and databases.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use async_nats::{ConnectOptions, jetstream};
use event_store::{CommandSender, MongoOptions, NatsOptions, Trace};
use events_schema::{
    AccountId, Actor, Area, AreaName, Claim, ClaimHolder, Command, CommandId, Commit, EmailAddress,
    Home, Id, Name, PasswordHash, PersonName, PlanId, PlanVersion, TenantId, TenantKey, Time,
    account, billing, plan, project::PROJECTS_CREATED,
};
use futures_util::TryStreamExt as _;
use local::Local;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use serde::Serialize;
use servers::Role;

use super::{DEADLINE, eventually};

/// The database of the platform.
pub const PLATFORM: &str = "ultimate_backend";

/// A client that may look at streams and consumers.
pub async fn operator(backend: &Local) -> jetstream::Context {
    let password = backend.servers.passwords.of(Role::Operator).to_owned();
    let options = ConnectOptions::with_user_and_password("operator".to_owned(), password)
        .custom_inbox_prefix("_INBOX_operator");
    let urls = backend.servers.nats_url(Role::Operator);
    let urls: Vec<&str> = urls.split(',').collect();
    jetstream::new(options.connect(urls).await.unwrap())
}

/// Makes an account an administrator of the platform, or an ordinary one again.
pub async fn set_platform_admin(
    backend: &Local,
    email: &str,
    is_granted: bool,
) -> anyhow::Result<()> {
    let nats = NatsOptions {
        nats_url: backend.servers.nats_url(Role::Migrator),
        ..NatsOptions::default()
    };
    let mongo = MongoOptions {
        mongo_url: backend.servers.mongo_url(Role::Migrator),
        mongo_database: PLATFORM.to_owned(),
        mongo_hosts: Vec::new(),
    };
    let email = EmailAddress::parse(email).unwrap();
    workers::set_platform_admin(&nats, &mongo, &email, is_granted).await
}

/// Stores an account, as a registration does that was completed with this hash of a password.
pub async fn store_account(backend: &Local, email: &str, password_hash: &str) {
    let name = |text: &str| PersonName::parse(text).unwrap();
    let complete = account::Command::CompleteRegistration {
        email: EmailAddress::parse(email).unwrap(),
        firstname: name("Ada"),
        lastname: name("Lovelace"),
        password_hash: PasswordHash::parse(password_hash).unwrap(),
    };
    let id = event_store::random_id().unwrap();
    send::<account::Area>(backend, TenantId::Platform, AccountId(id), id, complete).await;
    eventually("the account in its view", || async {
        !documents_of(backend, "account").await.is_empty()
    })
    .await;
}

/// Stores an account of an earlier release whose owner has never proved the address; returns its
/// id.
pub async fn store_unproved_account(backend: &Local, email: &str) -> String {
    let id = AccountId(event_store::random_id().unwrap());
    let claim = ClaimHolder::held_by(id.0, None);
    let claimed = Claim::email(&EmailAddress::parse(email).unwrap());
    store(backend, claimed.to_string(), &claim).await;
    let hash = PasswordHash::parse("$old").unwrap();
    let now = SystemTime::now().into();
    store_events(backend, id, (1, now), vec![registered(email, hash)]).await;
    eventually("the account in its view", || async {
        let accounts = documents_of(backend, "account").await;
        accounts.iter().any(|it| it["view"]["email"] == email)
    })
    .await;
    id.to_string()
}

/// Stores that nobody has ever proved the address of an account, as in an earlier release. The
/// password, the sessions and the identities stay.
pub async fn store_as_unproved(backend: &Local, email: &str) {
    let accounts = documents_of(backend, "account").await;
    let found = accounts.iter().find(|it| it["view"]["email"] == email);
    let found = found.unwrap();
    let hash = found["view"]["password_hash"].as_str().unwrap();
    let mut events = vec![registered(email, PasswordHash::parse(hash).unwrap())];
    for identity in found["view"]["identities"].as_array().into_iter().flatten() {
        events.push(account::Event::IdentityLinked {
            identity: serde_json::from_value(identity["id"].clone()).unwrap(),
            provider: serde_json::from_value(identity["provider"].clone()).unwrap(),
            email: EmailAddress::parse(email).unwrap(),
        });
    }
    let id = AccountId::parse(found["_id"].as_str().unwrap()).unwrap();
    let revision = found["revision"].as_u64().unwrap() + 1;
    // That of the password, so that the sessions that it has proved go on.
    let time = Time(found["view"]["password_set_at"].as_i64().unwrap());
    store_events(backend, id, (revision, time), events).await;
    eventually("the account in its view", || async {
        let accounts = documents_of(backend, "account").await;
        accounts.iter().any(|it| it["view"]["verified"] == false)
    })
    .await;
}

fn registered(email: &str, password_hash: PasswordHash) -> account::Event {
    let name = PersonName::parse("Eve").unwrap();
    account::Event::Registered {
        email: EmailAddress::parse(email).unwrap(),
        firstname: name.clone(),
        lastname: name,
        password_hash,
    }
}

/// Stores a commit of an account with this revision and time.
async fn store_events(
    backend: &Local,
    id: AccountId,
    (revision, time): (u64, Time),
    events: Vec<account::Event>,
) {
    let commit = Commit::<account::Area> {
        tenant: TenantId::Platform,
        area: AreaName::Account,
        id,
        revision,
        command: CommandId(event_store::random_id().unwrap()),
        actor: Actor::System,
        time,
        origin: None,
        events,
    };
    store(backend, commit.subject().to_string(), &commit).await;
}

/// Stores that an account was deleted, whatever it owns.
pub async fn store_deletion(backend: &Local, account: &str) {
    let accounts = documents_of(backend, "account").await;
    let found = accounts.iter().find(|it| it["_id"] == account);
    let revision = found.unwrap()["revision"].as_u64().unwrap() + 1;
    let id = AccountId::parse(account).unwrap();
    let closed = vec![account::Event::Closed { email: None }];
    let now = SystemTime::now().into();
    store_events(backend, id, (revision, now), closed).await;
}

/// Stores a message in the log, behind the back of the rules.
async fn store(backend: &Local, subject: String, message: &impl Serialize) {
    let payload = serde_json::to_vec(message).unwrap();
    let jetstream = operator(backend).await;
    let stored = jetstream.publish(subject, payload.into()).await.unwrap();
    stored.await.unwrap();
}

/// Creates a free plan that counts projects, and chooses it for a tenant.
pub async fn choose_new_plan(backend: &Local, tenant: &str) {
    let [create, change] = [(); 2].map(|()| event_store::random_id().unwrap());
    let new = plan::Command::Create {
        name: Name::parse(&create.to_string()).unwrap(),
        version: plan::Version {
            meters: [PROJECTS_CREATED].into(),
            ..plan::Version::default()
        },
    };
    send::<plan::Area>(backend, TenantId::Platform, plan::CATALOGUE, create, new).await;
    let chosen = billing::Command::Change {
        plan: PlanVersion {
            plan: PlanId(create),
            number: 1,
        },
        price: None,
        trial_days: 0,
    };
    let key = TenantKey::parse(tenant).unwrap();
    send::<billing::Area>(backend, TenantId::Tenant(key), key, change, chosen).await;
    let mongo = mongo(backend).await;
    let own = format!("{PLATFORM}_{tenant}");
    eventually(
        "the plan, the choice and the usage in their views",
        || async {
            let plans = documents_of(backend, "plan").await;
            let is_created = plans
                .iter()
                .any(|all| !all["view"]["plans"][create.to_string()].is_null());
            let shared = documents(&mongo, PLATFORM, tenant).await;
            let own = documents(&mongo, &own, tenant).await;
            let has = |view| shared.contains_key(view) || own.contains_key(view);
            is_created && has("billing") && has("usage")
        },
    )
    .await;
}

/// Sends a command with this id as a gateway does, and waits for its outcome.
async fn send<A: Area>(
    backend: &Local,
    tenant: TenantId,
    aggregate: A::Id,
    id: Id,
    payload: A::Command,
) {
    let now = SystemTime::now().into();
    let command = Command::<A>::by_system(CommandId(id), tenant, aggregate, now, payload);
    send_command(backend, command).await;
}

/// Sends a command as a gateway does, and waits for its outcome.
pub async fn send_command<A: Area>(backend: &Local, command: Command<A>) {
    let nats = NatsOptions {
        nats_url: backend.servers.nats_url(Role::Gateway),
        ..NatsOptions::default()
    };
    send_as(&nats, "gateway", command).await;
}

/// Sends a command that only workers and operators send, and waits for its outcome.
pub async fn send_command_of_operator<A: Area>(backend: &Local, command: Command<A>) {
    send_as(&operator_nats(backend), "migrator", command).await;
}

/// Sends a command that only workers send, and waits for its outcome.
pub async fn send_command_of_worker<A: Area>(backend: &Local, command: Command<A>) {
    let nats = NatsOptions {
        nats_url: backend.servers.nats_url(Role::Workers),
        ..NatsOptions::default()
    };
    send_as(&nats, "workers", command).await;
}

async fn send_as<A: Area>(nats: &NatsOptions, user: &'static str, command: Command<A>) {
    let client = event_store::connect(nats, user).await.unwrap();
    let sender = CommandSender::start(client).await.unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let outcome = sender.send(command, Trace::begin(), deadline).await;
    outcome.unwrap().revision().unwrap();
}

/// How the commands of an operator reach NATS.
pub fn operator_nats(backend: &Local) -> NatsOptions {
    NatsOptions {
        nats_url: backend.servers.nats_url(Role::Migrator),
        ..NatsOptions::default()
    }
}

/// The documents of a view of the platform.
pub async fn documents_of(backend: &Local, view: &str) -> Vec<serde_json::Value> {
    let database = mongo(backend).await.database(PLATFORM);
    let found = database.collection::<Document>(view).find(doc! {}).await;
    let found: Vec<Document> = found.unwrap().try_collect().await.unwrap();
    found
        .into_iter()
        .map(|document| serde_json::json!(document))
        .collect()
}

/// Lets workers receive no more commands of an area.
pub async fn hold_commands(backend: &Local, area: AreaName) {
    let operator = operator(backend).await;
    let stream = operator.get_stream("COMMANDS").await.unwrap();
    let consumer = format!("commands_{area}");
    let in_an_hour = SystemTime::now() + Duration::from_secs(60 * 60);
    let paused = stream.pause_consumer(&consumer, in_an_hour.into()).await;
    assert!(paused.unwrap().paused);
}

/// Makes a stream refuse every message.
pub async fn close_stream(backend: &Local, stream: &str) {
    limit_messages(backend, stream, 1).await;
}

/// Lets a stream accept messages again.
pub async fn open_stream(backend: &Local, stream: &str) {
    limit_messages(backend, stream, -1).await;
}

async fn limit_messages(backend: &Local, stream: &str, max_bytes: i32) {
    let operator = operator(backend).await;
    let stream = operator.get_stream(stream).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_message_size = max_bytes;
    operator.update_stream(config).await.unwrap();
}

pub async fn mongo(backend: &Local) -> Client {
    Client::with_uri_str(backend.servers.mongo_url(Role::Operator))
        .await
        .unwrap()
}

/// The names of all views that live with their tenant.
pub fn tenant_views() -> Vec<&'static str> {
    let views = AreaName::ALL.iter().flat_map(|area| area.views());
    let of_tenants = views.filter(|(_, home)| *home == Home::Tenant);
    of_tenants.map(|(name, _)| *name).collect()
}

/// The collections of a database.
pub async fn collections(mongo: &Client, database: &str) -> Vec<String> {
    let mut names = mongo
        .database(database)
        .list_collection_names()
        .await
        .unwrap();
    names.retain(|name| !name.starts_with("system."));
    names.sort();
    names
}

/// How many documents of a tenant each collection of a database holds, where it holds any.
pub async fn documents(mongo: &Client, database: &str, tenant: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in collections(mongo, database).await {
        let collection = mongo.database(database).collection::<Document>(&name);
        let count = collection
            .count_documents(doc! { "tenant": tenant })
            .await
            .unwrap();
        if count > 0 {
            counts.insert(name, count);
        }
    }
    counts
}

/// How many owners are stored. MongoDB is read directly, without the gateway.
pub async fn stored_owners(backend: &Local) -> u64 {
    let members = mongo(backend)
        .await
        .database(PLATFORM)
        .collection::<Document>("member");
    let owners = doc! { "view.role": "owner", "view.status": "accepted" };
    members.count_documents(owners).await.unwrap()
}
