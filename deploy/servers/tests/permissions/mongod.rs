//! What each user of mongod may do.

use mongodb::{
    IndexModel,
    bson::{Document, doc},
    error::ErrorKind,
};
use servers::{
    Mongod, Passwords,
    Role::{
        self, Commands, Effects, Gateway, Inbound, Migrator, Operator, Reactions, Views, Webhooks,
        Workers,
    },
};

/// MongoDB's code for an operation that the user may not do.
const UNAUTHORIZED: i32 = 13;

/// Whether each of some operations is allowed to a role: read, write, create an index, drop a
/// database, create a user.
async fn allowed(mongod: &Mongod, role: Role) -> [bool; 5] {
    let client = mongodb::Client::with_uri_str(mongod.uri(role))
        .await
        .unwrap();
    let own = client.database("ultimate_backend_acme");
    let documents = own.collection::<Document>("project");
    let index = IndexModel::builder().keys(doc! { "a": 1 }).build();
    let user = doc! { "createUser": format!("{role:?}"), "pwd": "x", "roles": [] };
    let results = [
        documents.find_one(doc! {}).await.err(),
        documents.insert_one(doc! {}).await.err(),
        documents.create_index(index).await.err(),
        own.drop().await.err(),
        client.database("admin").run_command(user).await.err(),
    ];
    results.map(|error| match error.map(|error| *error.kind) {
        None => true,
        Some(ErrorKind::Command(error)) if error.code == UNAUTHORIZED => false,
        Some(error) => panic!("{error}"),
    })
}

#[tokio::test]
async fn at_mongod_only_those_who_keep_views_write_and_only_operators_drop_databases() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = Passwords::random().unwrap();
    let mongod = Mongod::start(dir.path(), &passwords).await.unwrap();
    let allowed = async |role| allowed(&mongod, role).await;
    for role in [Gateway, Commands, Reactions, Effects, Webhooks, Inbound] {
        assert_eq!(allowed(role).await, [true, false, false, false, false]);
    }
    for role in [Workers, Views] {
        assert_eq!(allowed(role).await, [true, true, true, false, false]);
    }
    assert_eq!(allowed(Migrator).await, [true, true, true, true, false]);
    assert_eq!(allowed(Operator).await, [true; 5]);
    let stranger = format!(
        "mongodb://127.0.0.1:{}/?directConnection=true",
        mongod.port()
    );
    let stranger = mongodb::Client::with_uri_str(stranger).await.unwrap();
    let documents = stranger
        .database("ultimate_backend")
        .collection::<Document>("account");
    documents.find_one(doc! {}).await.unwrap_err();
}
