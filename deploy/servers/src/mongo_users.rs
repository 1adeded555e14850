//! The users of a private mongod, with the rights that docs/operations.md gives them.

use anyhow::Result;
use mongodb::{
    Database,
    bson::{Document, doc},
    error::ErrorKind,
    options::{AuthMechanism, Credential},
};

use crate::roles::{Passwords, Role};

/// The user that a key file lets in. It may do everything.
pub(crate) const SYSTEM: &str = "__system";
/// The database of this user.
pub(crate) const SYSTEM_SOURCE: &str = "local";
/// The server's answer when there is such a user.
const USER_EXISTS: i32 = 51_003;
/// The server's answer when there is such a role.
const ROLE_EXISTS: i32 = 51_002;
/// The role that writes the outbox and nothing else.
const OUTBOX: &str = "outbox";

/// Returns what a user may do. Those who write views create indexes, too, since they prepare the
/// database of a new tenant. Only an operator's command drops a database.
const fn rights(user: Role) -> &'static [&'static str] {
    match user {
        Role::Gateway | Role::Commands | Role::Reactions | Role::Webhooks | Role::Inbound => {
            &["readAnyDatabase"]
        }
        Role::Effects => &["readAnyDatabase", OUTBOX],
        Role::Workers | Role::Views => &["readWriteAnyDatabase"],
        Role::Migrator => &["readWriteAnyDatabase", "dbAdminAnyDatabase"],
        Role::Operator => &["root"],
    }
}

/// Returns what the owner of a key file logs in with.
pub(crate) fn by_key(key: &str) -> Credential {
    Credential::builder()
        .username(SYSTEM.to_owned())
        .password(key.to_owned())
        .source(SYSTEM_SOURCE.to_owned())
        .mechanism(AuthMechanism::ScramSha256)
        .build()
}

/// Creates the users, or gives them these passwords.
///
/// # Errors
/// If the server does not answer.
pub(crate) async fn set_users(admin: &Database, passwords: &Passwords) -> Result<()> {
    let actions = [
        "find",
        "insert",
        "update",
        "remove",
        "createCollection",
        "createIndex",
        "listIndexes",
    ];
    let outbox = doc! {
        "createRole": OUTBOX,
        "privileges": [{
            "resource": { "db": "ultimate_backend", "collection": "outbox" },
            "actions": &actions[..],
        }],
        "roles": [],
    };
    create(admin, outbox, ROLE_EXISTS).await?;
    for user in Role::ALL {
        let settings = doc! {
            "pwd": passwords.of(user),
            "roles": rights(user).to_vec(),
            "mechanisms": ["SCRAM-SHA-256"],
        };
        let mut user_with_settings = doc! { "createUser": user.as_str() };
        user_with_settings.extend(settings.clone());
        if !create(admin, user_with_settings, USER_EXISTS).await? {
            let mut update = doc! { "updateUser": user.as_str() };
            update.extend(settings);
            admin.run_command(update).await?;
        }
    }
    Ok(())
}

/// Creates something; false if it exists.
async fn create(admin: &Database, command: Document, exists: i32) -> Result<bool> {
    match admin.run_command(command).await {
        Err(error) if matches!(&*error.kind, ErrorKind::Command(error) if error.code == exists) => {
            Ok(false)
        }
        created => created.map(|_| Ok(true))?,
    }
}
