//! Every operation of the API and who may use it: the one table. An operation without a row keeps
//! the gateway from starting.
//!
//! It is asked before a field is resolved, so no resolver can forget to. What a resolver checks
//! beyond it concerns the arguments.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::ensure;
use async_graphql::{
    PathSegment, QueryPathSegment, ServerError, ServerResult, Value, async_trait,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo},
    parser::{
        parse_schema,
        types::{TypeKind, TypeSystemDefinition},
    },
};
use events_schema::{Action, Permission, Resource};

use crate::{error::Error, identity::caller::Caller};
use Access::{Anyone, Group, Member, PlatformAdmin, Session, Tenant};
use Action::{Create, Delete, Read, Update};

/// Who may use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever asks.
    Anyone,
    /// Only a name for the operations within.
    Group,
    /// A person who is logged in.
    Session,
    /// A platform administrator who is logged in.
    PlatformAdmin,
    /// Whoever belongs to the tenant, whatever their role.
    Member,
    /// Whoever belongs to the tenant and holds this permission.
    Tenant(Action, Resource),
}

/// Type, field, access.
pub(crate) const OPERATIONS: &[(&str, &str, Access)] = &[
    ("Query", "profile", Session),
    ("Query", "sessions", Session),
    ("Query", "tenants", Session),
    ("Query", "tenant", Session),
    ("Query", "tenantAvailable", Session),
    ("Query", "me", Member),
    ("Query", "members", Tenant(Read, Resource::Member)),
    ("Query", "member", Tenant(Read, Resource::Member)),
    ("Query", "roles", Tenant(Read, Resource::Role)),
    ("Query", "role", Tenant(Read, Resource::Role)),
    ("Query", "accessTokens", Tenant(Read, Resource::AccessToken)),
    ("Query", "accessToken", Tenant(Read, Resource::AccessToken)),
    ("Query", "projects", Tenant(Read, Resource::Project)),
    ("Query", "project", Tenant(Read, Resource::Project)),
    ("Query", "auditLog", Tenant(Read, Resource::AuditLog)),
    ("Query", "platform", Group),
    ("PlatformQuery", "tenants", PlatformAdmin),
    ("PlatformQuery", "accounts", PlatformAdmin),
    ("Mutation", "account", Group),
    ("AccountMutation", "register", Anyone),
    ("AccountMutation", "verifyAccount", Anyone),
    ("AccountMutation", "verifyActivationLink", Anyone),
    ("AccountMutation", "sendVerificationEmail", Anyone),
    ("AccountMutation", "sendResetPasswordEmail", Anyone),
    ("AccountMutation", "resetPassword", Anyone),
    ("AccountMutation", "changePassword", Session),
    ("AccountMutation", "login", Anyone),
    ("AccountMutation", "logout", Anyone),
    ("AccountMutation", "revokeSession", Session),
    ("AccountMutation", "revokeAllSessions", Session),
    ("Mutation", "profile", Group),
    ("ProfileMutation", "update", Session),
    ("Mutation", "tenant", Group),
    ("TenantMutation", "create", Session),
    ("TenantMutation", "update", Tenant(Update, Resource::Tenant)),
    ("TenantMutation", "delete", Tenant(Delete, Resource::Tenant)),
    ("Mutation", "member", Group),
    ("MemberMutation", "invite", Tenant(Create, Resource::Member)),
    ("MemberMutation", "acceptInvitation", Session),
    ("MemberMutation", "rejectInvitation", Session),
    ("MemberMutation", "update", Tenant(Update, Resource::Member)),
    // Everybody may leave; who removes somebody else needs delete_member, which the resolver asks
    // for.
    ("MemberMutation", "delete", Member),
    ("Mutation", "role", Group),
    ("RoleMutation", "create", Tenant(Create, Resource::Role)),
    ("RoleMutation", "update", Tenant(Update, Resource::Role)),
    ("RoleMutation", "delete", Tenant(Delete, Resource::Role)),
    ("RoleMutation", "assign", Tenant(Update, Resource::Member)),
    ("RoleMutation", "unassign", Tenant(Update, Resource::Member)),
    ("Mutation", "accessToken", Group),
    (
        "AccessTokenMutation",
        "create",
        Tenant(Create, Resource::AccessToken),
    ),
    (
        "AccessTokenMutation",
        "delete",
        Tenant(Delete, Resource::AccessToken),
    ),
    ("Mutation", "project", Group),
    (
        "ProjectMutation",
        "create",
        Tenant(Create, Resource::Project),
    ),
    (
        "ProjectMutation",
        "update",
        Tenant(Update, Resource::Project),
    ),
    (
        "ProjectMutation",
        "delete",
        Tenant(Delete, Resource::Project),
    ),
    // And the permission to read each area that it is about, which the resolver asks for.
    ("Subscription", "events", Member),
];

/// Who may use a field; none where it is no operation.
fn access(parent: &str, field: &str) -> Option<Access> {
    OPERATIONS
        .iter()
        .find(|(of, name, _)| *of == parent && *name == field)
        .map(|(_, _, access)| *access)
}

/// Whether a type's fields are operations.
fn has_operations(name: &str) -> bool {
    ["Query", "Mutation", "Subscription"]
        .iter()
        .any(|root| name.ends_with(root))
}

/// Compares the table with the schema.
///
/// # Errors
/// If an operation has no row, or a row no operation.
pub(crate) fn check(sdl: &str) -> anyhow::Result<()> {
    let mut fields = BTreeSet::new();
    for definition in parse_schema(sdl)?.definitions {
        let TypeSystemDefinition::Type(definition) = definition else {
            continue;
        };
        let TypeKind::Object(object) = &definition.node.kind else {
            continue;
        };
        let name = definition.node.name.node.as_str();
        if has_operations(name) {
            fields.extend(
                object
                    .fields
                    .iter()
                    .map(|field| (name.to_owned(), field.node.name.node.to_string())),
            );
        }
    }
    let rows: BTreeSet<_> = OPERATIONS
        .iter()
        .map(|(of, name, _)| ((*of).to_owned(), (*name).to_owned()))
        .collect();
    ensure!(
        rows.len() == OPERATIONS.len(),
        "an operation stands twice in gateway/src/access/operations.rs"
    );
    let missing: Vec<_> = fields.difference(&rows).collect();
    ensure!(
        missing.is_empty(),
        "{missing:?} declare no access in gateway/src/access/operations.rs"
    );
    let vain: Vec<_> = rows.difference(&fields).collect();
    ensure!(
        vain.is_empty(),
        "{vain:?} stand in gateway/src/access/operations.rs and nowhere else"
    );
    Ok(())
}

impl Access {
    /// Whether the caller may. The tenant comes before the permission: who does not belong to it
    /// hears nothing of either.
    pub(crate) fn allows(self, caller: &Caller) -> Result<(), Error> {
        match self {
            Anyone | Group => Ok(()),
            Session => caller.person().map(|_| ()),
            PlatformAdmin if caller.person()?.is_platform_admin => Ok(()),
            PlatformAdmin => Err(Error::Forbidden),
            Member => caller.membership().map(|_| ()),
            Tenant(action, resource)
                if caller
                    .membership()?
                    .rights
                    .contains(&Permission(action, resource)) =>
            {
                Ok(())
            }
            Tenant(..) => Err(Error::Forbidden),
        }
    }
}

/// The refusals of one request: the library has no way to answer null and go on with the rest.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Vec<ServerError>>);

impl Refusals {
    /// All of them.
    pub(crate) fn take(&self) -> Vec<ServerError> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks the table before each operation.
pub(crate) struct Authorize;

impl ExtensionFactory for Authorize {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for Authorize {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        if !has_operations(info.parent_type)
            || info.is_for_introspection
            || info.name.starts_with("__")
        {
            return next.run(ctx, info).await;
        }
        let caller: &Caller = ctx.data_unchecked();
        let allowed = access(info.parent_type, info.name)
            .map_or(Err(Error::Forbidden), |access| access.allows(caller));
        let Err(error) = allowed else {
            return next.run(ctx, info).await;
        };
        let mut error = ServerError::from(error);
        error.locations.push(info.field.name.pos);
        let segments: Vec<_> = std::iter::once(info.path_node)
            .chain(info.path_node.parents())
            .map(|node| node.segment)
            .collect();
        error.path = segments.into_iter().rev().map(segment).collect();
        let refusals: &Arc<Refusals> = ctx.data_unchecked();
        refusals
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(error);
        Ok(Some(Value::Null))
    }
}

fn segment(segment: QueryPathSegment<'_>) -> PathSegment {
    match segment {
        QueryPathSegment::Index(at) => PathSegment::Index(at),
        QueryPathSegment::Name(name) => PathSegment::Field(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use events_schema::BuiltInRole;

    use super::*;

    #[test]
    fn an_operation_without_a_row_and_a_row_without_an_operation_are_refused() {
        let sdl = include_str!("../graphql/schema.graphql");
        check(sdl).unwrap();
        let more = sdl.replace(
            "type ProjectMutation {",
            "type ProjectMutation {\n  explode: Boolean",
        );
        assert!(check(&more).unwrap_err().to_string().contains("explode"));
        let less = sdl.replace("type PlatformQuery {", "type Elsewhere {");
        assert!(
            check(&less)
                .unwrap_err()
                .to_string()
                .contains("PlatformQuery")
        );
    }

    /// Who may do what, for people to review: regenerated by `UPDATE_SCHEMA=1 cargo test -p
    /// gateway`.
    #[test]
    fn the_reviewed_table_of_roles_and_operations_is_that_of_the_code() {
        let mut text = String::from(
            "# Who may use which operation. Generated from operations.rs and events-schema/src/permission.rs; review every change.\n",
        );
        for (of, name, access) in OPERATIONS {
            let who = match access {
                Group => continue,
                Anyone => "anyone".to_owned(),
                Session => "logged in".to_owned(),
                PlatformAdmin => "platform administrators".to_owned(),
                Member => "every member".to_owned(),
                Tenant(action, resource) => {
                    let permission = Permission(*action, *resource);
                    assert!(
                        Permission::ALL.contains(&permission),
                        "{permission} cannot be granted"
                    );
                    let roles = BuiltInRole::ALL
                        .into_iter()
                        .rev()
                        .filter(|role| role.permissions().contains(&permission));
                    format!(
                        "{} ({permission})",
                        roles
                            .map(BuiltInRole::as_str)
                            .collect::<Vec<_>>()
                            .join(", ")
                    )
                }
            };
            text.push_str(&format!("{of}.{name}: {who}\n"));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/access/operations.txt");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "if meant, run `UPDATE_SCHEMA=1 cargo test -p gateway`"
        );
    }
}
