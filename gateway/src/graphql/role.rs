//! Roles: the built-in ones, and the custom ones of a tenant.
//!
//! A tenant has at most a hundred, so they are one list without pages.

use std::collections::BTreeSet;

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::{
    BuiltInRole, Name, Permission, Permissions, RoleId,
    role::{Command, Parent},
};

use super::{
    field::FieldContext,
    member::Member,
    role_object::Role,
    scalars::{Success, id_of, optional, parsed},
};
use crate::{error::Error, use_cases::list::IndexCheck};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "RoleQueries")]
impl Queries {
    /// All roles of the tenant: the built-in ones, the strongest first, then the custom ones.
    async fn roles(&self, ctx: &Context<'_>) -> Result<Option<Vec<Role>>, Error> {
        let field = FieldContext::of(ctx);
        let membership = field.membership()?;
        let held = &membership.roles;
        let custom = field.loaders().roles(membership).await?.iter();
        let custom = custom.map(|(id, role)| Role::of_tenant(*id, role, held));
        let built_in = BuiltInRole::ALL.into_iter().rev();
        let built_in = built_in.map(|role| Role::of_every_tenant(role, held));
        Ok(Some(built_in.chain(custom).collect()))
    }

    /// One role. The id of a built-in role is its name, such as `admin`. `NOT_FOUND` if the tenant
    /// has no such role.
    async fn role(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Role>, Error> {
        let field = FieldContext::of(ctx);
        let membership = field.membership()?;
        if let Ok(role) = BuiltInRole::parse(&id) {
            return Ok(Some(Role::of_every_tenant(role, &membership.roles)));
        }
        let id = id_of(&id)?;
        let custom = field.loaders().roles(membership).await?;
        let role = custom.get(&id).ok_or(Error::NotFound)?;
        Ok(Some(Role::of_tenant(id, role, &membership.roles)))
    }
}

/// The data of a new role.
#[derive(InputObject)]
struct CreateRoleInput {
    /// Name of the role, 1 to 100 characters. `CONFLICT` if another role of the tenant has it.
    name: String,
    /// The permissions that the role itself holds, such as `read_project`. `BAD_USER_INPUT` if one
    /// is unknown.
    permissions: Vec<String>,
    /// Ids of the roles to inherit permissions from. None by default. `CONFLICT` if one does not
    /// exist; `LIMIT_REACHED` if the role would inherit from more than 20 custom roles, directly or
    /// through others.
    inherits: Option<Vec<ID>>,
}

/// The change of a role. An absent field keeps its value.
#[derive(InputObject)]
struct UpdateRoleInput {
    /// Id of the custom role. `FORBIDDEN` for a built-in one.
    id: ID,
    /// New name, 1 to 100 characters. `CONFLICT` if another role of the tenant has it.
    name: Option<String>,
    /// Replaces all permissions that the role itself holds. `BAD_USER_INPUT` if one is unknown.
    permissions: Option<Vec<String>>,
    /// Replaces all roles to inherit from. `CONFLICT` if one does not exist, or inherits from this
    /// role.
    inherits: Option<Vec<ID>>,
}

/// A custom role and a member.
#[derive(InputObject)]
struct AssignRoleInput {
    /// Id of the member.
    member: ID,
    /// Id of the custom role. `FORBIDDEN` for a built-in one.
    role: ID,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "RoleMutations")]
impl Mutations {
    /// Changes of custom roles.
    async fn role(&self) -> Option<RoleMutation> {
        Some(RoleMutation)
    }
}

pub(super) struct RoleMutation;

/// Changes of custom roles.
#[Object(serial)]
impl RoleMutation {
    /// Creates a custom role. `FORBIDDEN` if it would hold permissions that the caller lacks;
    /// `STEP_UP_REQUIRED` if it would hold permissions that only owners have, unless the session is
    /// fresh; `LIMIT_REACHED` if the tenant has 100 custom roles.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateRoleInput,
    ) -> Result<Option<Role>, Error> {
        let field = FieldContext::of(ctx);
        let create = Command::Create {
            name: parsed("name", &input.name, Name::parse)?,
            permissions: parse_permissions("permissions", &input.permissions)?,
            inherits: parse_parents(&input.inherits.unwrap_or_default())?,
        };
        let id = field.command_id()?;
        let roles = &field.use_cases.roles;
        let created = roles.save(field.caller, id, RoleId(id.0), create);
        Ok(Some(Role::changed(&created.await?)))
    }

    /// Changes a custom role, for all of its members at once. `FORBIDDEN` if it has or would have
    /// permissions that the caller lacks; `STEP_UP_REQUIRED` if it would have permissions that only
    /// owners have, unless the session is fresh.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateRoleInput,
    ) -> Result<Option<Role>, Error> {
        let field = FieldContext::of(ctx);
        let role = custom_id(&input.id)?;
        let permissions = input.permissions.as_deref();
        let permissions = permissions.map(|texts| parse_permissions("permissions", texts));
        let update = Command::Update {
            role,
            name: optional("name", input.name, Name::parse)?,
            permissions: permissions.transpose()?,
            inherits: input.inherits.as_deref().map(parse_parents).transpose()?,
        };
        let roles = &field.use_cases.roles;
        let updated = roles.save(field.caller, field.command_id()?, role, update);
        Ok(Some(Role::changed(&updated.await?)))
    }

    /// Deletes a custom role. Members lose the permissions that it grants. `FORBIDDEN` if it has
    /// permissions that the caller lacks.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (roles, role) = (&field.use_cases.roles, custom_id(&id)?);
        roles
            .delete(field.caller, field.command_id()?, role)
            .await?;
        Success::yes()
    }

    /// Assigns a custom role to a member, in addition to the built-in one. `FORBIDDEN` if the role
    /// has permissions that the caller lacks; `STEP_UP_REQUIRED` if it has permissions that only
    /// owners have, unless the session is fresh; `LIMIT_REACHED` if the member has 20 custom roles.
    async fn assign(
        &self,
        ctx: &Context<'_>,
        input: AssignRoleInput,
    ) -> Result<Option<Member>, Error> {
        let field = FieldContext::of(ctx);
        let (role, member) = (custom_id(&input.role)?, id_of(&input.member)?);
        let roles = &field.use_cases.roles;
        let assigned = roles.assign(field.caller, field.command_id()?, member, role);
        Ok(Some(Member(assigned.await?)))
    }

    /// Unassigns a custom role from a member. `FORBIDDEN` if the role has permissions that the
    /// caller lacks.
    async fn unassign(
        &self,
        ctx: &Context<'_>,
        input: AssignRoleInput,
    ) -> Result<Option<Member>, Error> {
        let field = FieldContext::of(ctx);
        let (role, member) = (custom_id(&input.role)?, id_of(&input.member)?);
        let roles = &field.use_cases.roles;
        let unassigned = roles.unassign(field.caller, field.command_id()?, member, role);
        Ok(Some(Member(unassigned.await?)))
    }
}

/// Parses the id of a custom role. A built-in one cannot be changed.
fn custom_id(id: &ID) -> Result<RoleId, Error> {
    if BuiltInRole::parse(id).is_ok() {
        return Err(Error::Forbidden);
    }
    id_of(id)
}

/// Parses the permissions in this input.
///
/// # Errors
/// `BadUserInput` if one is unknown.
pub(super) fn parse_permissions(
    field: &'static str,
    texts: &[String],
) -> Result<Permissions, Error> {
    let permissions = texts
        .iter()
        .map(|text| parsed(field, text, Permission::parse));
    permissions.collect()
}

fn parse_parents(ids: &[ID]) -> Result<BTreeSet<Parent>, Error> {
    let parents = ids.iter().map(|id| match BuiltInRole::parse(id) {
        Ok(role) => Ok(Parent::BuiltIn(role)),
        Err(_) => Ok(Parent::Custom(id_of(id)?)),
    });
    parents.collect()
}
