//! The backend from inside, as its operator sees it: streams, consumers and databases.

use std::collections::BTreeMap;

use async_nats::{ConnectOptions, jetstream};
use events_schema::{View as _, access_token, member, project, role};
use local::Local;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use servers::Role;

/// The database of the platform.
pub const PLATFORM: &str = "ultimate_backend";

/// A client that may look at streams and consumers.
pub async fn operator(backend: &Local) -> jetstream::Context {
    let password = backend.servers.passwords.of(Role::Operator).to_owned();
    let options = ConnectOptions::with_user_and_password("operator".to_owned(), password)
        .custom_inbox_prefix("_INBOX_operator");
    let client = options
        .connect(backend.servers.nats.url(Role::Operator))
        .await;
    jetstream::new(client.unwrap())
}

pub async fn mongo(backend: &Local) -> Client {
    Client::with_uri_str(backend.servers.mongod.uri())
        .await
        .unwrap()
}

/// The collections of the views that live where their tenant lives.
///
/// Written by hand until `events_schema` lists them;
/// `every_view_of_a_tenant_lives_in_its_own_database` compares the list with the database.
pub fn tenant_views() -> Vec<&'static str> {
    vec![
        access_token::View::NAME,
        member::View::NAME,
        project::View::NAME,
        role::View::NAME,
    ]
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

/// How many owners are stored, past the gateway.
pub async fn stored_owners(backend: &Local) -> u64 {
    let members = mongo(backend)
        .await
        .database(PLATFORM)
        .collection::<Document>("member");
    let owners = doc! { "view.role": "owner", "view.status": "accepted" };
    members.count_documents(owners).await.unwrap()
}
