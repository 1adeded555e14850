//! Members of the tenant, and invitations.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use events_schema::{
    AreaName, BuiltInRole, EmailAddress,
    member::{self, Status},
};

use super::{
    authentication::Authentication,
    field::FieldContext,
    loaders::Person,
    page::{Connection, connection},
    role_object::Role,
    scalars::{DateTime, Success, expected, id_of, optional, parsed, to_id},
    service::Service,
    tenant::Tenant,
};
use crate::{
    backend::views::ViewDocument,
    error::Error,
    use_cases::list::{FilterBy, IndexCheck, List, OrderBy, Page, Selection},
};

/// All members and invitations of a tenant.
const MEMBERS: List<member::View> = List::new(&[STATUS, ROLE, EMAIL], &[BY_CREATION, BY_EMAIL]);
const STATUS: FilterBy<member::View> = FilterBy::field("status");
const ROLE: FilterBy<member::View> = FilterBy::field("role");
const EMAIL: FilterBy<member::View> = FilterBy::selective("email");
const BY_CREATION: OrderBy<member::View> = OrderBy::field("created_at");
const BY_EMAIL: OrderBy<member::View> = OrderBy::field("email");
pub(super) const INDEX_CHECKS: &[IndexCheck] = &[|| MEMBERS.check_indexes()];

/// A role that every tenant has. Each role holds all permissions of the weaker ones.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "BuiltInRole")]
pub(super) enum MemberRole {
    /// May do everything that an admin may, and delete the tenant.
    Owner,
    /// May do everything that a developer may, manage members, services, roles and settings, grant
    /// access to administrators of the platform, change all tasks and read the audit log.
    Admin,
    /// May do everything that a member may, delete projects and manage access tokens.
    Developer,
    /// May do everything that a guest may, create and change projects, create tasks, and read
    /// members and roles.
    Member,
    /// May read projects and tasks.
    Guest,
}

/// The state of an invitation or a member.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Status")]
enum MemberStatus {
    /// The invitation is not answered yet. Its link may have expired.
    Pending,
    /// The invitation was accepted, or the member founded the tenant.
    Accepted,
    /// The invitation was rejected.
    Rejected,
    /// The member has no access until they are restored.
    Suspended,
}

pub(super) struct Member(pub(super) ViewDocument<member::View>);

/// A member of the tenant, or an invitation.
#[Object]
impl Member {
    /// Id of the member: 32 lower-case hex digits. It is not the id of the account.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// The e-mail address that was invited. For the founder, the address of the account.
    /// `FORBIDDEN` without the permission `read_member`, except to the person themselves.
    async fn email(&self, ctx: &Context<'_>) -> Result<Option<&str>, Error> {
        let field = FieldContext::of(ctx);
        let person = field.caller.person().ok();
        let is_own = person.is_some_and(|one| Some(one.account_id()) == self.0.view.account);
        let membership = field.membership()?;
        let (tenant, held) = (membership.tenant.id, &membership.permissions);
        field.ensure_shown(AreaName::Member, "email", tenant, held, is_own)?;
        Ok(Some(self.0.view.email.as_str()))
    }

    /// The person. Null until the invitation is accepted, or if the account no longer exists.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.0.view.account {
            Some(account) => FieldContext::of(ctx).loaders().person(account).await,
            None => Ok(None),
        }
    }

    /// The built-in role.
    async fn role(&self) -> MemberRole {
        self.0.view.role.into()
    }

    /// The custom roles of the member, in addition to the built-in one.
    async fn roles(&self, ctx: &Context<'_>) -> Result<Option<Vec<Role>>, Error> {
        let field = FieldContext::of(ctx);
        let membership = field.membership()?;
        let all = field.loaders().roles(membership).await?;
        let ids = self.0.view.roles.iter();
        let roles = ids.filter_map(|id| {
            let role = all.get(id)?;
            Some(Role::of_tenant(*id, role, &membership.roles))
        });
        Ok(Some(roles.collect()))
    }

    /// The state of the invitation.
    async fn status(&self) -> MemberStatus {
        self.0.view.status.into()
    }

    /// When the member was first invited, or founded the tenant.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// When the member was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Revision of the member: the number of its changes, the invitation included. Pass it to
    /// `update` to detect a change that another client has made in the meantime.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

/// The caller as a member of the tenant that the request is for.
#[derive(SimpleObject)]
struct Me {
    /// The tenant that the request is for.
    tenant: Tenant,
    /// The caller as a member. For an access token, its creator. Null for a service.
    member: Option<Member>,
    /// The service whose access token the request has. Null for others.
    service: Option<Service>,
    /// The permissions that this request holds in the tenant, such as `read_project`.
    permissions: Vec<String>,
    /// What the person has proved in the session. Null for an access token.
    authentication: Option<Authentication>,
}

/// Which members to list. A member must meet all conditions; an absent one is ignored.
#[derive(Default, InputObject)]
struct MemberFilter {
    /// The invitation has one of these states.
    status: Option<Vec<MemberStatus>>,
    /// The member has one of these built-in roles.
    role: Option<Vec<MemberRole>>,
    /// This e-mail address was invited.
    email: Option<String>,
}

/// The order of a list of members.
#[derive(Clone, Copy, Default, Enum, Eq, PartialEq)]
enum MemberOrder {
    /// By the time of the invitation, the oldest first.
    #[default]
    CreatedAtAsc,
    /// By the time of the invitation, the newest first.
    CreatedAtDesc,
    /// By e-mail address.
    EmailAsc,
    /// By e-mail address, in reverse order.
    EmailDesc,
}

impl MemberOrder {
    const fn field(self) -> (OrderBy<member::View>, bool) {
        match self {
            Self::CreatedAtAsc => (BY_CREATION, false),
            Self::CreatedAtDesc => (BY_CREATION, true),
            Self::EmailAsc => (BY_EMAIL, false),
            Self::EmailDesc => (BY_EMAIL, true),
        }
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "MemberQueries")]
impl Queries {
    /// The tenant's members and invitations, by pages: `first` and `after`, or `last` and `before`.
    /// A page has 50 members by default and at most 100. By default, the oldest invitation comes
    /// first.
    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a Relay connection"
    )]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where")] filter: Option<MemberFilter>,
        order_by: Option<MemberOrder>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Member>>, Error> {
        let field = FieldContext::of(ctx);
        let MemberFilter {
            status,
            role,
            email,
        } = filter.unwrap_or_default();
        let status = status.map(|all| all.into_iter().map(Status::from).collect());
        let role = role.map(|all| all.into_iter().map(BuiltInRole::from).collect());
        let email = optional("email", email, EmailAddress::parse)?;
        let (order, descending) = order_by.unwrap_or_default().field();
        let selection = Selection::of(&MEMBERS)
            .one_of::<Status>(&STATUS, status)?
            .one_of::<BuiltInRole>(&ROLE, role)?
            .is(&EMAIL, email)?
            .sorted_by(&order, descending)?;
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let plain = &field.use_cases.plain;
        let listed = plain.list(field.caller, selection, &page, field.wanted());
        Ok(Some(connection(listed.await?, Member)))
    }

    /// One member or invitation. `NOT_FOUND` if the tenant has no such member.
    async fn member(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Member>, Error> {
        let field = FieldContext::of(ctx);
        let found = field.use_cases.plain.get(field.caller, id_of(&id)?);
        Ok(Some(Member(found.await?)))
    }

    /// The caller as a member of the tenant that the request is for.
    async fn me(&self, ctx: &Context<'_>) -> Result<Option<Me>, Error> {
        let field = FieldContext::of(ctx);
        let membership = field.membership()?;
        let permissions = membership.permissions.iter();
        let person = field.caller.person().ok();
        let service = match field.caller.service() {
            Some(id) => field.use_cases.services.find(field.caller, id).await?,
            None => None,
        };
        Ok(Some(Me {
            tenant: Tenant(membership.tenant.clone()),
            member: membership.member.clone().map(Member),
            service: service.map(Service),
            permissions: permissions.map(|held| held.to_string()).collect(),
            authentication: person.map(Authentication::of),
        }))
    }
}

/// The address to invite.
#[derive(InputObject)]
struct InviteMemberInput {
    /// The e-mail address, such as `ada@example.com`.
    email: String,
    /// The built-in role. `FORBIDDEN` if it has permissions that the caller lacks;
    /// `STEP_UP_REQUIRED` for an owner, unless the session is fresh.
    role: MemberRole,
}

/// The link of an invitation.
#[derive(InputObject)]
struct InvitationInput {
    /// The token in the link of the mail.
    #[graphql(secret)]
    token: String,
}

/// A change of a member's built-in role.
#[derive(InputObject)]
struct UpdateMemberInput {
    /// Id of the member.
    id: ID,
    /// The new built-in role. `FORBIDDEN` if it has permissions that the caller lacks;
    /// `STEP_UP_REQUIRED` for an owner, unless the session is fresh.
    role: MemberRole,
    /// The revision that the client has read. If the member has another one, nothing is changed and
    /// the error is `CONFLICT`.
    revision: Option<i64>,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "MemberMutations")]
impl Mutations {
    /// Changes of members and invitations.
    async fn member(&self) -> Option<MemberMutation> {
        Some(MemberMutation)
    }
}

pub(super) struct MemberMutation;

/// Changes of members and invitations.
#[Object(serial)]
impl MemberMutation {
    /// Invites an e-mail address by a mail with a link, which is valid for seven days. A repeated
    /// invitation sends another mail and invalidates the earlier link; within a minute, the same
    /// invitation sends none. `CONFLICT` if the address belongs to a member.
    async fn invite(
        &self,
        ctx: &Context<'_>,
        input: InviteMemberInput,
    ) -> Result<Option<Member>, Error> {
        let field = FieldContext::of(ctx);
        let email = parsed("email", &input.email, EmailAddress::parse)?;
        let members = &field.use_cases.members;
        let id = field.command_id()?;
        let invited = members.invite(field.caller, id, email, input.role.into());
        Ok(Some(Member(invited.await?)))
    }

    /// Accepts the invitation to the caller's e-mail address and returns the tenant.
    /// `BAD_USER_INPUT` if the link is for another address or no longer valid.
    async fn accept_invitation(
        &self,
        ctx: &Context<'_>,
        input: InvitationInput,
    ) -> Result<Option<Tenant>, Error> {
        let field = FieldContext::of(ctx);
        let (members, id) = (&field.use_cases.members, field.command_id()?);
        let tenant = members.accept(field.caller, id, &input.token).await?;
        Ok(Some(Tenant(tenant)))
    }

    /// Rejects the invitation to the caller's e-mail address. `BAD_USER_INPUT` if the link is for
    /// another address or no longer valid.
    async fn reject_invitation(
        &self,
        ctx: &Context<'_>,
        input: InvitationInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (members, id) = (&field.use_cases.members, field.command_id()?);
        members.reject(field.caller, id, &input.token).await?;
        Success::yes()
    }

    /// Changes the built-in role of a member. `FORBIDDEN` if the member has permissions that the
    /// caller lacks; `CONFLICT` if the tenant would lose its last owner.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateMemberInput,
    ) -> Result<Option<Member>, Error> {
        let field = FieldContext::of(ctx);
        let (member, role) = (id_of(&input.id)?, input.role.into());
        let expected = expected(input.revision)?;
        let (members, id) = (&field.use_cases.members, field.command_id()?);
        let changed = members.change_role(field.caller, id, member, role, expected);
        Ok(Some(Member(changed.await?)))
    }

    /// Suspends a member: they keep their roles, and lose access until they are restored; so do
    /// their access tokens. `FORBIDDEN` if the member has permissions that the caller lacks;
    /// `CONFLICT` if the member is an owner.
    async fn suspend(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Member>, Error> {
        suspend(ctx, &id, true).await
    }

    /// Gives a suspended member access again. `FORBIDDEN` if the member's roles have permissions
    /// that the caller lacks.
    async fn restore(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Member>, Error> {
        suspend(ctx, &id, false).await
    }

    /// Removes a member, or withdraws an invitation. All members may remove themselves. `FORBIDDEN`
    /// if the member has permissions that the caller lacks; `CONFLICT` if the tenant would lose its
    /// last owner.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (members, member) = (&field.use_cases.members, id_of(&id)?);
        let command = field.command_id()?;
        members.remove(field.caller, command, member).await?;
        Success::yes()
    }
}

async fn suspend(ctx: &Context<'_>, id: &ID, is_suspended: bool) -> Result<Option<Member>, Error> {
    let field = FieldContext::of(ctx);
    let (members, member) = (&field.use_cases.members, id_of(id)?);
    let command = field.command_id()?;
    let changed = members.suspend(field.caller, command, member, is_suspended);
    Ok(Some(Member(changed.await?)))
}
