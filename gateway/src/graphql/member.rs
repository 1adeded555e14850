//! Who belongs to the tenant: invite, accept, change, remove.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use events_schema::{
    AccountId, BuiltInRole, EmailAddress, Id, Permission, TenantId,
    member::{self, Membership, Status},
    tenant,
};
use events_schema::{Action, Resource};
use mongodb::bson::{Document as Filter, doc};
use tokio::time::Instant;

use super::{
    DateTime, Field, Success,
    connection::{Connection, Listing, Page, one_of, page},
    id_of,
    loaders::Person,
    role::Role,
    tenant::Tenant,
};
use crate::{
    backend::views::{Found, Scoped},
    error::Error,
};

/// The roles that every tenant has, each holding all that the next one holds.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "BuiltInRole")]
pub(super) enum MemberRole {
    /// Also ends the tenant.
    Owner,
    /// Also runs the tenant: its people, roles and settings.
    Admin,
    /// Also ends projects, and makes keys for machines.
    Developer,
    /// Works on projects.
    Member,
    /// Sees projects.
    Guest,
}

/// How far an invitation has come.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Status")]
enum MemberStatus {
    /// Invited.
    Pending,
    /// A member.
    Accepted,
    /// Invited, and said no.
    Rejected,
}

impl MemberStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// Somebody who belongs to the tenant, or is invited to.
pub(super) struct Member(pub(super) Found<member::View>);

#[Object]
impl Member {
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The address that was invited.
    async fn email(&self) -> &str {
        self.0.view.email.as_str()
    }

    /// Who it is, once they have accepted.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.0.view.account {
            Some(account) => Field::of(ctx).loaders().person(account).await,
            None => Ok(None),
        }
    }

    async fn role(&self) -> MemberRole {
        self.0.view.role.into()
    }

    /// The tenant's own roles that they have beside it.
    async fn roles(&self, ctx: &Context<'_>) -> Result<Option<Vec<Role>>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let all = field.loaders().roles(membership).await?;
        Ok(Some(
            self.0
                .view
                .roles
                .iter()
                .filter_map(|id| Some(Role::of_tenant(*id, all.get(id)?, &membership.roles)))
                .collect(),
        ))
    }

    async fn status(&self) -> MemberStatus {
        self.0.view.status.into()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Counts the changes.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

/// Which members; what is absent does not matter.
#[derive(Default, InputObject)]
struct MemberFilter {
    status: Option<Vec<MemberStatus>>,
    role: Option<Vec<MemberRole>>,
    email: Option<String>,
}

/// In which order.
#[derive(Clone, Copy, Default, Enum, Eq, PartialEq)]
enum MemberOrder {
    #[default]
    CreatedAtAsc,
    CreatedAtDesc,
    EmailAsc,
    EmailDesc,
}

#[derive(Default)]
pub(crate) struct MemberQueries;

#[Object]
impl MemberQueries {
    /// Who belongs to the tenant, or is invited to.
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
        let MemberFilter {
            status,
            role,
            email,
        } = filter.unwrap_or_default();
        let mut filter = Filter::new();
        one_of(
            &mut filter,
            "view.status",
            status.map(|all| all.into_iter().map(|one| one.as_str().to_owned()).collect()),
        );
        one_of(
            &mut filter,
            "view.role",
            role.map(|all| {
                all.into_iter()
                    .map(|one| BuiltInRole::from(one).to_string())
                    .collect()
            }),
        );
        if let Some(email) = email {
            filter.insert(
                "view.email",
                EmailAddress::parse(&email)
                    .map_err(Error::invalid("email"))?
                    .as_str(),
            );
        }
        let (order, descending) = match order_by.unwrap_or_default() {
            MemberOrder::CreatedAtAsc => ("created_at", false),
            MemberOrder::CreatedAtDesc => ("created_at", true),
            MemberOrder::EmailAsc => ("email", false),
            MemberOrder::EmailDesc => ("email", true),
        };
        let views = &Field::of(ctx).caller.membership()?.views;
        let wanted = Page {
            first,
            after,
            last,
            before,
        };
        Ok(Some(
            page(
                ctx,
                views,
                wanted,
                Listing {
                    filter,
                    order,
                    descending,
                },
                Member,
            )
            .await?,
        ))
    }

    /// One member or invitation.
    async fn member(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Member>, Error> {
        let views = &Field::of(ctx).caller.membership()?.views;
        Ok(Some(Member(
            views.get(id_of(&id)?).await?.ok_or(Error::NotFound)?,
        )))
    }
}

#[derive(InputObject)]
struct InviteMemberInput {
    email: String,
    role: MemberRole,
}

#[derive(InputObject)]
struct InvitationInput {
    /// The token in the mail's link.
    #[graphql(secret)]
    token: String,
}

#[derive(InputObject)]
struct UpdateMemberInput {
    id: ID,
    role: MemberRole,
    /// The revision that was read; at any other, nothing is changed and the answer is CONFLICT.
    revision: Option<i64>,
}

/// Who belongs to the tenant.
pub(crate) struct MemberMutation;

#[Object(serial)]
impl MemberMutation {
    /// Invites an address by a mail with a link that is good for seven days; said again, it sends
    /// another. Nobody can make anybody more than they are themselves.
    async fn invite(
        &self,
        ctx: &Context<'_>,
        input: InviteMemberInput,
    ) -> Result<Option<Member>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let email = EmailAddress::parse(&input.email).map_err(Error::invalid("email"))?;
        let known = membership
            .views
            .find_one::<member::View>(doc! { "view.email": email.as_str() })
            .await?;
        let id = known.map_or(field.command_id()?.0, |known| known.id);
        let (tenant_name, held) = (
            membership.tenant.view.name.clone(),
            membership.rights.clone(),
        );
        let invite = member::Command::Invite {
            email,
            role: input.role.into(),
            tenant_name,
            held,
        };
        field
            .send::<member::View>(&membership.views, id, invite)
            .await?;
        Ok(Some(Member(
            membership.views.get(id).await?.ok_or(Error::NotFound)?,
        )))
    }

    /// Accepts the invitation to the caller's own address.
    async fn accept_invitation(
        &self,
        ctx: &Context<'_>,
        input: InvitationInput,
    ) -> Result<Option<Tenant>, Error> {
        let field = Field::of(ctx);
        let identity = field.caller.person()?;
        let (tenant, views, id, challenge) = open(&field, &input.token).await?;
        let (account, email) = (identity.account_id(), identity.account.view.email.clone());
        let accept = member::Command::Accept {
            challenge,
            account,
            email,
        };
        let revision = field
            .send::<member::View>(&views, id, accept)
            .await
            .map_err(|error| error.if_missing(wrong_link))?;
        let deadline = Instant::now() + field.state.config.command_timeout();
        if field
            .platform()
            .wait_for::<Membership>(id, revision, deadline)
            .await?
        {
            Ok(Some(Tenant(tenant)))
        } else {
            Err(Error::Pending(field.command_id()?))
        }
    }

    /// Refuses the invitation to the caller's own address.
    async fn reject_invitation(
        &self,
        ctx: &Context<'_>,
        input: InvitationInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let email = field.caller.person()?.account.view.email.clone();
        let (_, views, id, challenge) = open(&field, &input.token).await?;
        let reject = member::Command::Reject { challenge, email };
        field
            .send::<member::View>(&views, id, reject)
            .await
            .map_err(|error| error.if_missing(wrong_link))?;
        Success::yes()
    }

    /// Gives a member another role. A tenant keeps an owner.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateMemberInput,
    ) -> Result<Option<Member>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let id = id_of(&input.id)?;
        ensure_no_stronger(membership, id).await?;
        let other_owner = other_owner(&membership.views, id).await?;
        let change = member::Command::ChangeRole {
            role: input.role.into(),
            held: membership.rights.clone(),
            other_owner,
        };
        field
            .send_at::<member::View>(&membership.views, id, input.revision, change)
            .await?;
        Ok(Some(Member(
            membership.views.get(id).await?.ok_or(Error::NotFound)?,
        )))
    }

    /// Removes a member, or withdraws an invitation. Everybody may remove themselves. A tenant
    /// keeps an owner.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let membership = field.caller.membership()?;
        let by = field.caller.identity()?;
        let own = by.session().is_some() && *id == membership.member.id.to_string();
        if !own
            && !membership
                .rights
                .contains(&Permission(Action::Delete, Resource::Member))
        {
            return Err(Error::Forbidden);
        }
        let id = id_of(&id)?;
        if !own {
            ensure_no_stronger(membership, id).await?;
        }
        let other_owner = other_owner(&membership.views, id).await?;
        let by: Option<AccountId> = own.then(|| by.account_id());
        let remove = member::Command::Remove {
            held: membership.rights.clone(),
            by,
            other_owner,
        };
        field
            .send::<member::View>(&membership.views, id, remove)
            .await?;
        Success::yes()
    }
}

/// Reads an invitation's token: to which tenant, and which of its members.
async fn open(
    field: &Field<'_>,
    token: &str,
) -> Result<(Found<tenant::View>, Scoped, Id, events_schema::ChallengeId), Error> {
    let (tenant, member, challenge) = field
        .state
        .config
        .secret
        .open_invitation_token(token)
        .ok_or_else(wrong_link)?;
    let tenant = field
        .platform()
        .get::<tenant::View>(tenant)
        .await?
        .ok_or_else(wrong_link)?;
    let views = field.state.views.of(&tenant)?;
    debug_assert_eq!(views.tenant(), TenantId::Tenant(tenant.id));
    Ok((tenant, views, member.0, challenge))
}

fn wrong_link() -> Error {
    Error::input(
        "token",
        "The invitation is not for you, or no longer valid.",
    )
}

/// Nobody takes away what they could not give: whoever has more rights, by whatever roles, is out
/// of the caller's reach.
async fn ensure_no_stronger(
    membership: &crate::identity::caller::Membership,
    member: Id,
) -> Result<(), Error> {
    let found = membership
        .views
        .get::<member::View>(member)
        .await?
        .ok_or(Error::NotFound)?;
    if membership
        .roles
        .of_member(&found.view)
        .is_subset(&membership.rights)
    {
        Ok(())
    } else {
        Err(Error::Forbidden)
    }
}

/// An owner beside this member, if there is one: whoever ends an ownership must name one who stays.
async fn other_owner(views: &Scoped, member: Id) -> Result<Option<events_schema::MemberId>, Error> {
    let owner = doc! { "view.role": "owner", "view.status": "accepted", "_id": { "$ne": member.to_string() } };
    Ok(views
        .find_one::<member::View>(owner)
        .await?
        .map(|found| events_schema::MemberId(found.id)))
}
