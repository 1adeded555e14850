//! The users of a private mongod, with the rights that docs/operations.md gives them.

use anyhow::Result;
use mongodb::{
    Database,
    bson::doc,
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
/// Each user, with what it may do. The workers create indexes, since they also prepare the database
/// of a new tenant. Only an operator's command drops a database.
const USERS: [(Role, &[&str]); 4] = [
    (Role::Gateway, &["readAnyDatabase"]),
    (Role::Workers, &["readWriteAnyDatabase"]),
    (
        Role::Migrator,
        &["readWriteAnyDatabase", "dbAdminAnyDatabase"],
    ),
    (Role::Operator, &["root"]),
];

/// Returns the user that a role logs in as.
pub(crate) fn user_of(role: Role) -> Role {
    match role {
        Role::Workers | Role::Commands | Role::Views | Role::Reactions | Role::Effects => {
            Role::Workers
        }
        Role::Gateway | Role::Migrator | Role::Operator => role,
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
    for (user, roles) in USERS {
        let (name, password) = (user.as_str(), passwords.of(user));
        let mechanisms = ["SCRAM-SHA-256"];
        let roles = roles.to_vec();
        let create = doc! {
            "createUser": name, "pwd": password, "roles": &roles, "mechanisms": &mechanisms[..],
        };
        let update = doc! {
            "updateUser": name, "pwd": password, "roles": &roles, "mechanisms": &mechanisms[..],
        };
        match admin.run_command(create).await {
            Err(error) if exists(&error) => admin.run_command(update).await?,
            created => created?,
        };
    }
    Ok(())
}

fn exists(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if error.code == USER_EXISTS)
}
