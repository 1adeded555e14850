//! Members: invite, accept, change roles, remove.
//!
//! The domain decides who may grant or revoke which role. The commands carry what it needs: the
//! permissions of the caller and of the member.

use events_schema::{
    BuiltInRole, ChallengeId, CommandId, EmailAddress, MemberId, Permissions, PersonName, has_link,
    member::{self, Command, Status, View},
    secret::ServerKey,
    tenant,
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::Filter,
        views::{TenantViews, ViewDocument, Views},
    },
    error::Error,
    identity::{Caller, Membership, mail_quota::MailQuota},
};

/// Invites, changes and removes members.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) mails: MailQuota,
    pub(crate) secret: ServerKey,
}

/// An invitation that a link opens.
struct Invitation {
    tenant: ViewDocument<tenant::View>,
    views: TenantViews,
    member: MemberId,
    challenge: ChallengeId,
}

impl Members {
    /// Invites an address, or sends the invitation again. Who invites an owner must have a fresh
    /// session.
    ///
    /// # Errors
    /// `StepUpRequired` or `Forbidden` without one, for an owner;
    /// `Rejected` if the address belongs to a member, or the role has permissions that the caller
    /// lacks; `RateLimited` after too many invitations of the tenant or to the address.
    pub(crate) async fn invite(
        &self,
        caller: &Caller,
        id: CommandId,
        email: EmailAddress,
        role: BuiltInRole,
    ) -> Result<ViewDocument<View>, Error> {
        let membership = caller.membership()?;
        if role == BuiltInRole::Owner {
            caller.must_be_fresh()?;
        }
        let tenant = membership.tenant.id;
        let account = caller.identity()?.account_id();
        let counted = self.mails.count_invitation(tenant, account, &email, id.0);
        counted.await?;
        let by_email = Filter::default().is("email", &email)?;
        let known = membership.views.find::<View>(by_email).await?;
        let member = known.map_or(MemberId(id.0), |known| known.id);
        let invite = Command::Invite {
            email,
            role,
            tenant_name: membership.tenant.view.name.clone(),
            inviter: inviter(caller),
        };
        let request = CommandRequest::new(membership.tenant_id(), member, id, invite);
        self.send_and_get(caller, membership, request).await
    }

    /// Accepts the invitation to the caller's own address.
    ///
    /// # Errors
    /// `BadUserInput` if the link is wrong, no longer valid, or for another address.
    pub(crate) async fn accept(
        &self,
        caller: &Caller,
        id: CommandId,
        token: &str,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let identity = caller.person()?;
        let invitation = self.open(token).await?;
        let member = invitation.member;
        let accept = Command::Accept {
            challenge: invitation.challenge,
            account: identity.account_id(),
            email: identity.account.view.email.clone(),
        };
        let revision = self.answer(caller, id, &invitation, accept).await?;
        let (platform, deadline) = (self.views.platform(), self.commands.deadline());
        let shown = platform.wait_for::<member::Membership>(member, revision, true, deadline);
        if shown.await? {
            Ok(invitation.tenant)
        } else {
            Err(Error::Pending(id))
        }
    }

    /// Rejects the invitation to the caller's own address.
    ///
    /// # Errors
    /// `BadUserInput` if the link is wrong, no longer valid, or for another address.
    pub(crate) async fn reject(
        &self,
        caller: &Caller,
        id: CommandId,
        token: &str,
    ) -> Result<(), Error> {
        let email = caller.person()?.account.view.email.clone();
        let invitation = self.open(token).await?;
        let challenge = invitation.challenge;
        let reject = Command::Reject { challenge, email };
        self.answer(caller, id, &invitation, reject).await?;
        Ok(())
    }

    async fn answer(
        &self,
        caller: &Caller,
        id: CommandId,
        invitation: &Invitation,
        payload: Command,
    ) -> Result<u64, Error> {
        let views = &invitation.views;
        let request = CommandRequest::new(views.tenant(), invitation.member, id, payload);
        let sender = caller.sender();
        let sent = self.commands.send::<View>(&sender, views, request);
        sent.await.map_err(|error| error.if_missing(wrong_link))
    }

    async fn open(&self, token: &str) -> Result<Invitation, Error> {
        let opened = self.secret.open_invitation_token(token);
        let (tenant, member, challenge) = opened.ok_or_else(wrong_link)?;
        let tenant = self.views.platform().get::<tenant::View>(tenant).await?;
        let tenant = tenant.ok_or_else(wrong_link)?;
        Ok(Invitation {
            views: self.views.of(&tenant)?,
            tenant,
            member,
            challenge,
        })
    }

    /// Changes the built-in role of a member. Who gives or takes ownership must have a fresh session.
    ///
    /// # Errors
    /// `StepUpRequired` or `Forbidden` without one, for an owner, present or future;
    /// `NotFound` if there is no such member; `Rejected` if the tenant would lose its last owner,
    /// or the member or the role has permissions that the caller lacks.
    pub(crate) async fn change_role(
        &self,
        caller: &Caller,
        id: CommandId,
        member: MemberId,
        role: BuiltInRole,
        expected: Option<u64>,
    ) -> Result<ViewDocument<View>, Error> {
        let membership = caller.membership()?;
        let found = membership.views.get::<View>(member).await?;
        let found = found.ok_or(Error::NotFound)?;
        if role == BuiltInRole::Owner || is_owner(&found.view) {
            caller.must_be_fresh()?;
        }
        let change = Command::ChangeRole {
            role,
            member_holds: membership.roles.of_member(&found.view),
            other_owner: other_owner(&membership.views, member).await?,
        };
        let request = CommandRequest::new(membership.tenant_id(), member, id, change);
        self.send_and_get(caller, membership, request.expecting(expected))
            .await
    }

    /// Suspends a member, or restores one.
    ///
    /// # Errors
    /// `NotFound` if there is no such member; `Rejected` if it is an owner, or has permissions that
    /// the caller lacks.
    pub(crate) async fn suspend(
        &self,
        caller: &Caller,
        id: CommandId,
        member: MemberId,
        is_suspended: bool,
    ) -> Result<ViewDocument<View>, Error> {
        let membership = caller.membership()?;
        let member_holds = permissions_of(membership, member).await?;
        let member_holds = member_holds.ok_or(Error::NotFound)?;
        let change = if is_suspended {
            Command::Suspend { member_holds }
        } else {
            Command::Restore { member_holds }
        };
        let request = CommandRequest::new(membership.tenant_id(), member, id, change);
        self.send_and_get(caller, membership, request).await
    }

    /// Removes a member, or withdraws an invitation. Who removes an owner must have a fresh session.
    ///
    /// # Errors
    /// `StepUpRequired` or `Forbidden` without one, for an owner; `NotFound` if there is no such member; `Rejected` if the tenant would lose its last owner,
    /// or the member is not the caller and has permissions that the caller lacks.
    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        id: CommandId,
        member: MemberId,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        // The domain also decides on a missing member: without the permission to remove members,
        // the answer must not reveal whether one exists.
        let found = membership.views.get::<View>(member).await?;
        let found = found.map(|found| found.view);
        let may_remove = membership.permissions.contains(&member::DELETE);
        if may_remove && found.as_ref().is_some_and(is_owner) {
            caller.must_be_fresh()?;
        }
        let member_holds = found.map(|found| membership.roles.of_member(&found));
        let remove = Command::Remove {
            member_holds: member_holds.unwrap_or_default(),
            other_owner: other_owner(&membership.views, member).await?,
        };
        let request = CommandRequest::new(membership.tenant_id(), member, id, remove);
        let (sender, views) = (caller.sender(), &membership.views);
        let sent = self.commands.send::<View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    async fn send_and_get(
        &self,
        caller: &Caller,
        membership: &Membership,
        request: CommandRequest<member::Area>,
    ) -> Result<ViewDocument<View>, Error> {
        let sender = caller.sender();
        let sent = self
            .commands
            .send_and_get(&sender, &membership.views, request);
        sent.await
    }
}

/// Returns the name of the person who invites; `None` for a machine, or if the name could be taken
/// for a link.
fn inviter(caller: &Caller) -> Option<PersonName> {
    let account = &caller.person().ok()?.account.view;
    let name = format!(
        "{} {}",
        account.firstname.as_str(),
        account.lastname.as_str()
    );
    let name = Some(name).filter(|name| !has_link(name))?;
    PersonName::parse(&name).ok()
}

fn wrong_link() -> Error {
    Error::input(
        "token",
        "The invitation is for another address or no longer valid. Ask for a new one.",
    )
}

fn is_owner(member: &View) -> bool {
    member.role == BuiltInRole::Owner && member.status == Status::Accepted
}

/// Returns the permissions that all roles of a member hold together; `None` if there is no such
/// member.
async fn permissions_of(
    membership: &Membership,
    member: MemberId,
) -> Result<Option<Permissions>, Error> {
    let found = membership.views.get::<View>(member).await?;
    Ok(found.map(|found| membership.roles.of_member(&found.view)))
}

/// Finds another owner, since a tenant must not lose its last one.
///
/// # Errors
/// If the views cannot be read.
pub(crate) async fn other_owner(
    views: &TenantViews,
    member: MemberId,
) -> Result<Option<MemberId>, Error> {
    let owner = Filter::default()
        .is("role", BuiltInRole::Owner)?
        .is("status", Status::Accepted)?
        .except(member);
    Ok(views.find::<View>(owner).await?.map(|found| found.id))
}
