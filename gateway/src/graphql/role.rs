//! Roles: the built-in ones, and those that a tenant makes for itself.
//!
//! A tenant has at most a hundred, so they come as a list and not by pages.

use std::collections::BTreeSet;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use events_schema::{
    BuiltInRole, Id, Name, Permission, Permissions, RoleId, member,
    role::{self, Parent},
};

use super::{Field, Success, id_of, member::Member};
use crate::{access::rights::RoleRights, error::Error, identity::caller::Membership};

/// What somebody may be in a tenant.
#[derive(SimpleObject)]
pub(super) struct Role {
    /// For a built-in role, its name.
    id: ID,
    name: String,
    /// Whether it is one that every tenant has, and that cannot be changed.
    built_in: bool,
    /// What it holds by itself, such as `read_project`.
    permissions: Vec<String>,
    /// The roles that it inherits from.
    inherits: Vec<ID>,
    /// All that it holds, by itself and by inheritance.
    effective_permissions: Vec<String>,
}

impl Role {
    fn of_every_tenant(role: BuiltInRole, rights: &RoleRights) -> Self {
        Self {
            id: role.as_str().into(),
            name: role.as_str().to_owned(),
            built_in: true,
            permissions: texts(role.own()),
            inherits: role
                .inherits()
                .into_iter()
                .map(|lower| lower.as_str().into())
                .collect(),
            effective_permissions: texts(&rights.of(Parent::BuiltIn(role))),
        }
    }

    pub(super) fn of_tenant(id: RoleId, role: &role::Role, rights: &RoleRights) -> Self {
        let parent = |parent: &Parent| match parent {
            Parent::BuiltIn(role) => role.as_str().into(),
            Parent::Custom(id) => id.to_string().into(),
        };
        Self {
            id: id.to_string().into(),
            name: role.name.as_str().to_owned(),
            built_in: false,
            permissions: texts(&role.permissions),
            inherits: role.inherits.iter().map(parent).collect(),
            effective_permissions: texts(&rights.of(Parent::Custom(id))),
        }
    }
}

fn texts<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> Vec<String> {
    permissions.into_iter().map(ToString::to_string).collect()
}

#[derive(Default)]
pub(crate) struct RoleQueries;

#[Object]
impl RoleQueries {
    /// All roles of the tenant, the built-in ones first.
    async fn roles(&self, ctx: &Context<'_>) -> Result<Option<Vec<Role>>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let custom = field.loaders().roles(membership).await?;
        let built_in = BuiltInRole::ALL
            .into_iter()
            .rev()
            .map(|role| Role::of_every_tenant(role, &membership.roles));
        Ok(Some(
            built_in
                .chain(
                    custom
                        .iter()
                        .map(|(id, role)| Role::of_tenant(*id, role, &membership.roles)),
                )
                .collect(),
        ))
    }

    /// One role.
    async fn role(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Role>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        if let Ok(role) = BuiltInRole::parse(&id) {
            return Ok(Some(Role::of_every_tenant(role, &membership.roles)));
        }
        let id = RoleId(id_of(&id)?);
        let role = field
            .loaders()
            .roles(membership)
            .await?
            .get(&id)
            .ok_or(Error::NotFound)?;
        Ok(Some(Role::of_tenant(id, role, &membership.roles)))
    }
}

#[derive(InputObject)]
struct CreateRoleInput {
    name: String,
    /// Such as `read_project`.
    permissions: Vec<String>,
    /// Ids of roles whose permissions it also holds.
    inherits: Option<Vec<ID>>,
}

/// What to change; what is absent stays.
#[derive(InputObject)]
struct UpdateRoleInput {
    id: ID,
    name: Option<String>,
    /// All permissions, anew.
    permissions: Option<Vec<String>>,
    /// All roles that it inherits from, anew.
    inherits: Option<Vec<ID>>,
}

#[derive(InputObject)]
struct AssignRoleInput {
    member: ID,
    role: ID,
}

/// The tenant's own roles.
pub(crate) struct RoleMutation;

#[Object(serial)]
impl RoleMutation {
    /// Makes a role. Nobody can grant what they do not hold.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateRoleInput,
    ) -> Result<Option<Role>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let create = role::Command::Create {
            name: Name::parse(&input.name).map_err(Error::invalid("name"))?,
            permissions: permissions(&input.permissions)?,
            inherits: parents(&input.inherits.unwrap_or_default())?,
            held: membership.rights.clone(),
        };
        send(&field, membership, create).await?;
        shown(&field, membership, RoleId(field.command_id()?.0)).await
    }

    /// Changes a role; whoever has it holds the new permissions at once.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateRoleInput,
    ) -> Result<Option<Role>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let role = custom(&input.id)?;
        let update = role::Command::Update {
            role,
            name: input
                .name
                .as_deref()
                .map(Name::parse)
                .transpose()
                .map_err(Error::invalid("name"))?,
            permissions: input.permissions.as_deref().map(permissions).transpose()?,
            inherits: input.inherits.as_deref().map(parents).transpose()?,
            held: membership.rights.clone(),
        };
        send(&field, membership, update).await?;
        shown(&field, membership, role).await
    }

    /// Ends a role; whoever has it holds nothing by it any more.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let delete = role::Command::Delete {
            role: custom(&id)?,
            held: membership.rights.clone(),
        };
        send(&field, membership, delete).await?;
        Success::yes()
    }

    /// Gives a member one of the tenant's own roles beside the one they have.
    async fn assign(
        &self,
        ctx: &Context<'_>,
        input: AssignRoleInput,
    ) -> Result<Option<Member>, Error> {
        let role = within_own_rights(&Field::of(ctx), &input.role).await?;
        give_or_take(ctx, &input.member, member::Command::AssignRole { role }).await
    }

    /// Takes one of the tenant's own roles from a member.
    async fn unassign(
        &self,
        ctx: &Context<'_>,
        input: AssignRoleInput,
    ) -> Result<Option<Member>, Error> {
        let role = within_own_rights(&Field::of(ctx), &input.role).await?;
        give_or_take(ctx, &input.member, member::Command::UnassignRole { role }).await
    }
}

async fn send(
    field: &Field<'_>,
    membership: &Membership,
    command: role::Command,
) -> Result<u64, Error> {
    field
        .send::<role::View>(&membership.views, membership.tenant.id, command)
        .await
}

/// A role as it stands after a command; read anew, since the request has perhaps read it before.
async fn shown(
    field: &Field<'_>,
    membership: &Membership,
    id: RoleId,
) -> Result<Option<Role>, Error> {
    let found = membership
        .views
        .get::<role::View>(membership.tenant.id)
        .await?
        .ok_or(Error::NotFound)?;
    let rights = field
        .state
        .rights
        .of(&membership.views, membership.tenant.id)
        .await?;
    Ok(Some(Role::of_tenant(
        id,
        found.view.roles.get(&id).ok_or(Error::NotFound)?,
        &rights,
    )))
}

/// A role that may be given and taken by the caller: one that is there and holds no more than they
/// do.
async fn within_own_rights(field: &Field<'_>, id: &ID) -> Result<RoleId, Error> {
    let membership = field.caller.membership()?;
    let role = custom(id)?;
    if !field.loaders().roles(membership).await?.contains_key(&role) {
        return Err(Error::NotFound);
    }
    let granted = membership.roles.of(Parent::Custom(role));
    if granted.is_subset(&membership.rights) {
        Ok(role)
    } else {
        Err(Error::Forbidden)
    }
}

async fn give_or_take(
    ctx: &Context<'_>,
    member: &ID,
    command: member::Command,
) -> Result<Option<Member>, Error> {
    let field = Field::of(ctx);
    let views = &field.caller.membership()?.views;
    let id: Id = id_of(member)?;
    field.send::<member::View>(views, id, command).await?;
    Ok(Some(Member(views.get(id).await?.ok_or(Error::NotFound)?)))
}

/// The id of a role that can be changed; a built-in one cannot.
fn custom(id: &ID) -> Result<RoleId, Error> {
    if BuiltInRole::parse(id).is_ok() {
        Err(Error::Forbidden)
    } else {
        Ok(RoleId(id_of(id)?))
    }
}

pub(super) fn permissions(texts: &[String]) -> Result<Permissions, Error> {
    texts
        .iter()
        .map(|text| Permission::parse(text))
        .collect::<Result<_, _>>()
        .map_err(Error::invalid("permissions"))
}

fn parents(ids: &[ID]) -> Result<BTreeSet<Parent>, Error> {
    let parent = |id: &ID| match BuiltInRole::parse(id) {
        Ok(role) => Ok(Parent::BuiltIn(role)),
        Err(_) => Ok(Parent::Custom(RoleId(id_of(id)?))),
    };
    ids.iter().map(parent).collect()
}
