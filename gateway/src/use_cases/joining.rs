//! Becoming a member of a tenant by logging in with its own issuer.

use std::sync::Arc;

use events_schema::{
    Actor, BuiltInRole, DomainName, EmailAddress, Rejection, RejectionKind, TenantKey, Time,
    account,
    connection::{self, Connection},
    member::{self, Command, INVITATION_LIFETIME, SEATS, Status},
    tenant,
};

use super::{billing::TenantBilling, opening::Word, second_factor::ENDED};
use crate::{
    backend::{
        commands::{CommandRequest, Commands, Sender},
        filter::Filter,
        plans::{Plans, TenantPlan},
        views::{TenantViews, ViewDocument, Views},
    },
    clock::now,
    error::Error,
    identity::{Caller, caller::new_command_id},
};

/// Makes people members.
#[derive(Clone, Debug)]
pub(crate) struct Joins {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) plans: Plans,
}

/// How a tenant lets a person in.
struct Door {
    plan: TenantPlan,
    /// The invitation of the address, or a former one.
    known: Option<ViewDocument<member::View>>,
    /// The role that the connection gives; `None` if only the invitation lets the person in.
    role: Option<BuiltInRole>,
}

impl Joins {
    /// Makes the owner of an account a member of the tenant of a connection, unless they are one:
    /// by their invitation, or in the connection's role if the address is of one of its domains.
    /// Also remembers by which identity the member has come.
    ///
    /// # Errors
    /// `Unauthenticated` if the word of the connection counts no more; `LimitReached` or
    /// `PaymentRequired` if the tenant takes no further member; `Rejected` if neither the address
    /// nor an invitation lets them in, the invitation needs its link, or the tenant has removed or
    /// suspended them, with whatever account.
    pub(crate) async fn join(
        &self,
        caller: &Caller,
        word: &Word,
        account: &ViewDocument<account::View>,
    ) -> Result<(), Error> {
        let (tenant, views) = self.tenant(word).await?;
        let connection = self.connection(word).await?;
        let own = Filter::default().is("account", account.id)?;
        let email = account.view.email.clone();
        let (member, role, plan) = match views.find::<member::View>(own).await? {
            Some(present) => (present.id, None, None),
            None => {
                let joining = member::joining_id(tenant.id, account.id);
                let door = self.door(tenant.id, &views, (&connection, word), &email);
                let door = door.await?;
                let member = door.known.map_or(joining, |known| known.id);
                (member, door.role, Some(Arc::new(door.plan)))
            }
        };
        let join = Command::Join {
            account: account.id,
            email,
            role,
            identities: word.identities.clone(),
        };
        let sender = Sender {
            // Whoever sends the request may be logged in as somebody else still.
            actor: Actor::Account(account.id),
            held: None,
            plan,
            origin: Some(caller.origin.clone()),
            trace: caller.trace,
        };
        let request = CommandRequest::new(views.tenant(), member, new_command_id()?, join);
        let sent = self.commands.send::<member::View>(&sender, &views, request);
        sent.await.map(|_revision| ())
    }

    /// Checks that a person with this address, who has no account yet, would become a member.
    /// Others may take the last seat meanwhile.
    ///
    /// # Errors
    /// Those of [`join`](Self::join). Whom the tenant has removed with another account is only
    /// refused there.
    pub(crate) async fn check(&self, word: &Word, email: &EmailAddress) -> Result<(), Error> {
        let (tenant, views) = self.tenant(word).await?;
        let connection = self.connection(word).await?;
        let door = self.door(tenant.id, &views, (&connection, word), email);
        let Door { plan, known, .. } = door.await?;
        let is_invited = known.is_some_and(|known| invitation(&known.view, now()).is_some());
        if is_invited {
            return Ok(());
        }
        let billing = TenantBilling { plan, views };
        let used = billing.used(SEATS).await?;
        billing.plan.check_room::<member::Area>(used)
    }

    async fn tenant(
        &self,
        word: &Word,
    ) -> Result<(ViewDocument<tenant::View>, TenantViews), Error> {
        let platform = self.views.platform();
        let tenant = platform.get::<tenant::View>(word.scope.tenant).await?;
        let tenant = tenant.ok_or(Error::NotFound)?;
        let views = self.views.of(&tenant)?;
        Ok((tenant, views))
    }

    /// Returns the connection that has given its word, if that counts still.
    async fn connection(&self, word: &Word) -> Result<Connection, Error> {
        let platform = self.views.platform();
        let found = platform.get::<connection::View>(word.scope.tenant).await?;
        let found = found.and_then(|found| found.view.find(word.scope.connection).cloned());
        let connection = found.filter(|connection| connection.stands_by(word.epoch));
        connection.ok_or(ENDED)
    }

    async fn door(
        &self,
        tenant: TenantKey,
        views: &TenantViews,
        (connection, word): (&Connection, &Word),
        email: &EmailAddress,
    ) -> Result<Door, Error> {
        let role = role(connection, word.is_insider, email);
        let by_email = Filter::default().is("email", email)?;
        let known = views.find::<member::View>(by_email).await?;
        let invitation = known
            .as_ref()
            .and_then(|known| invitation(&known.view, now()));
        match (invitation, role) {
            (Some(BuiltInRole::Owner), _) => return Err(owner_invited()),
            (None, None) => return Err(not_invited()),
            (Some(_), _) | (None, Some(_)) => {}
        }
        let plan = self.plans.of(views, tenant).await?;
        // An invitation has a seat already.
        if invitation.is_none() && !plan.entitlements.may_create() {
            return Err(Error::PaymentRequired);
        }
        Ok(Door { plan, known, role })
    }
}

/// Returns the role that a connection gives to a person with this address, if it lets them in.
fn role(connection: &Connection, is_insider: bool, email: &EmailAddress) -> Option<BuiltInRole> {
    let domain = DomainName::of(email).filter(|domain| connection.has_verified(domain));
    domain
        .filter(|_| is_insider)
        .map(|_| connection.settings.role)
}

/// Returns the role of an invitation that may be answered at this time. That as an owner needs its
/// link.
fn invitation(member: &member::View, now: Time) -> Option<BuiltInRole> {
    let sent_at = member.invitation.as_ref().map(|mail| mail.requested_at);
    let is_recent = sent_at.is_some_and(|at| now.since(at) < INVITATION_LIFETIME);
    (member.status == Status::Pending && is_recent).then_some(member.role)
}

/// The answer to a person whom nothing lets in, as the domain gives it, too.
fn not_invited() -> Error {
    forbidden(
        "not_invited",
        "You need an invitation. Ask an administrator for one.",
    )
}

/// The answer to a person who is invited as an owner, as the domain gives it, too.
fn owner_invited() -> Error {
    forbidden(
        "owner_invited",
        "You are invited as an owner. Open the link in the mail of the invitation.",
    )
}

fn forbidden(code: &str, message: &str) -> Error {
    Error::Rejected(Rejection {
        kind: RejectionKind::Forbidden,
        code: code.to_owned(),
        message: message.to_owned(),
        used: None,
    })
}

#[cfg(test)]
mod tests;
