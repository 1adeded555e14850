//! A tenant with one member of each built-in role.

use futures_util::future::join_all;
use local::Local;
use serde_json::{Value, json};

use super::{Browser, CREATE_PROJECT, input, start, text};

pub const CREATE_ROLE: &str = "
    mutation($input: CreateRoleInput!) {
        role { create(input: $input) { id effectivePermissions } }
    }";
pub const UPDATE_ROLE: &str = "
    mutation($input: UpdateRoleInput!) {
        role { update(input: $input) { id effectivePermissions } }
    }";
pub const DELETE_ROLE: &str = "
    mutation($id: ID!) {
        role { delete(id: $id) { success } }
    }";
pub const ASSIGN_ROLE: &str = "
    mutation($input: AssignRoleInput!) {
        role { assign(input: $input) { id roles { name } } }
    }";
pub const RENAME_TENANT: &str = r#"
    mutation {
        tenant { update(input: { name: "Mine" }) { id } }
    }"#;
pub const UNASSIGN_ROLE: &str = "
    mutation($input: AssignRoleInput!) {
        role { unassign(input: $input) { id } }
    }";

/// The tenant is acme; each browser names it.
pub struct Team {
    pub backend: Local,
    pub owner: Browser,
    pub admin: Browser,
    pub developer: Browser,
    pub member: Browser,
    pub guest: Browser,
}

impl Team {
    pub async fn start() -> Self {
        let backend = start().await;
        let roles = ["owner", "admin", "developer", "member", "guest"];
        let emails = roles.map(|role| format!("{role}@example.com"));
        let people = emails
            .iter()
            .map(|email| Browser::signed_up(&backend, email));
        let mut people = join_all(people).await;
        people[0].create_tenant("acme").await;
        for person in &mut people {
            *person = person.in_tenant("acme");
        }
        for at in 1..roles.len() {
            people[0]
                .add_member(&people[at], &emails[at], &roles[at].to_uppercase())
                .await;
        }
        let [owner, admin, developer, member, guest] = people.try_into().ok().unwrap();
        Self {
            backend,
            owner,
            admin,
            developer,
            member,
            guest,
        }
    }

    /// Everything that an attempt to gain permissions could change.
    pub async fn snapshot(&self) -> Value {
        let query = "{
            members { nodes { id email role status revision roles { id } } }
            roles { id name permissions inherits }
            accessTokens { nodes { id scopes } }
            projects { nodes { id revision } }
            tenant { revision }
        }";
        self.owner.data(query, ()).await
    }

    /// Creates a role as the owner; returns its id.
    pub async fn create_role(&self, name: &str, permissions: &[&str], inherits: &[&str]) -> String {
        create_role(&self.owner, role(name, permissions, inherits)).await
    }

    /// Creates a project as the owner; returns its id.
    pub async fn create_project(&self, name: &str) -> String {
        let created = self
            .owner
            .data(CREATE_PROJECT, input(json!({ "name": name })))
            .await;
        text(&created, "/project/create/id")
    }
}

/// Creates a role, with an idempotency key as a careful client sends it; returns its id.
pub async fn create_role(by: &Browser, variables: Value) -> String {
    let key = text(&variables, "/input/name");
    let created = by
        .with_idempotency_key(&key)
        .data(CREATE_ROLE, variables)
        .await;
    text(&created, "/role/create/id")
}

/// The variables of [`CREATE_ROLE`].
pub fn role(name: &str, permissions: &[&str], inherits: &[&str]) -> Value {
    input(json!({ "name": name, "permissions": permissions, "inherits": inherits }))
}

/// The variables of [`ASSIGN_ROLE`] and [`UNASSIGN_ROLE`].
pub fn assignment(member: &str, role: &str) -> Value {
    input(json!({ "member": member, "role": role }))
}

/// The variables of [`CREATE_TOKEN`](super::CREATE_TOKEN).
pub fn scopes(scopes: &[&str]) -> Value {
    input(json!({ "name": "Robot", "scopes": scopes }))
}

/// The variables of [`UPDATE_MEMBER`](super::UPDATE_MEMBER).
pub fn member_role(id: &str, role: &str) -> Value {
    input(json!({ "id": id, "role": role }))
}
