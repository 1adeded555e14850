//! Becoming a member of a tenant by logging in with its own issuer.

use std::sync::Arc;

use events_schema::{
    Actor, BuiltInRole, DomainName, EmailAddress, Rejection, RejectionKind, account,
    connection::{self, Connection},
    member::{self, Command, INVITATION_LIFETIME, SEATS, Status},
    tenant,
};

use super::{billing::TenantBilling, opening::Word};
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

/// A tenant that lets a person in.
struct Door {
    tenant: ViewDocument<tenant::View>,
    views: TenantViews,
    plan: TenantPlan,
    /// The invitation of the address, or a former one.
    known: Option<ViewDocument<member::View>>,
    /// The role that the connection gives; `None` if only the invitation lets the person in.
    role: Option<BuiltInRole>,
}

impl Joins {
    /// Makes the owner of an account a member of the tenant of a connection, unless they are one:
    /// by their invitation, or in the connection's role if the address is of one of its domains.
    ///
    /// # Errors
    /// `NotFound` if the connection exists no more, or trusts another issuer by now; `LimitReached`
    /// or `PaymentRequired` if the tenant takes no further member; `Rejected` if neither the
    /// address nor an invitation lets them in, or the tenant has removed them.
    pub(crate) async fn join(
        &self,
        caller: &Caller,
        word: Word,
        account: &ViewDocument<account::View>,
    ) -> Result<(), Error> {
        let (tenant, views) = self.tenant(word).await?;
        let own = Filter::default().is("account", account.id)?;
        if views.find::<member::View>(own).await?.is_some() {
            return Ok(());
        }
        let email = account.view.email.clone();
        let door = self.door(tenant, views, word, &email).await?;
        let joining = member::joining_id(door.tenant.id, account.id);
        let member = door.known.map_or(joining, |known| known.id);
        let join = Command::Join {
            account: account.id,
            email,
            role: door.role,
        };
        let sender = Sender {
            // Whoever sends the request may be logged in as somebody else still.
            actor: Actor::Account(account.id),
            held: None,
            plan: Some(Arc::new(door.plan)),
            origin: Some(caller.origin.clone()),
            trace: caller.trace,
        };
        let views = &door.views;
        let request = CommandRequest::new(views.tenant(), member, new_command_id()?, join);
        let sent = self.commands.send::<member::View>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    /// Checks that a person with this address, who has no account yet, would become a member.
    /// Others may take the last seat meanwhile.
    ///
    /// # Errors
    /// Those of [`join`](Self::join).
    pub(crate) async fn check(&self, word: Word, email: &EmailAddress) -> Result<(), Error> {
        let (tenant, views) = self.tenant(word).await?;
        let Door {
            views, plan, known, ..
        } = self.door(tenant, views, word, email).await?;
        if known.is_some_and(|known| is_open(&known.view)) {
            return Ok(());
        }
        let billing = TenantBilling { plan, views };
        let used = billing.used(SEATS).await?;
        billing.plan.check_room::<member::Area>(used)
    }

    async fn tenant(&self, word: Word) -> Result<(ViewDocument<tenant::View>, TenantViews), Error> {
        let platform = self.views.platform();
        let tenant = platform.get::<tenant::View>(word.scope.tenant).await?;
        let tenant = tenant.ok_or(Error::NotFound)?;
        let views = self.views.of(&tenant)?;
        Ok((tenant, views))
    }

    async fn door(
        &self,
        tenant: ViewDocument<tenant::View>,
        views: TenantViews,
        word: Word,
        email: &EmailAddress,
    ) -> Result<Door, Error> {
        let platform = self.views.platform();
        let connections = platform.get::<connection::View>(tenant.id).await?;
        let connections = connections.ok_or(Error::NotFound)?.view;
        let connection = connections.find(word.scope.connection);
        let connection = connection.filter(|connection| connection.epoch <= word.epoch);
        let role = role(connection.ok_or(Error::NotFound)?, word, email);
        let by_email = Filter::default().is("email", email)?;
        let known = views.find::<member::View>(by_email).await?;
        let is_invited = known.as_ref().is_some_and(|known| is_open(&known.view));
        if role.is_none() && !is_invited {
            return Err(not_invited());
        }
        let plan = self.plans.of(&views, tenant.id).await?;
        // An invitation has a seat already.
        if !is_invited && !plan.entitlements.may_create() {
            return Err(Error::PaymentRequired);
        }
        Ok(Door {
            tenant,
            views,
            plan,
            known,
            role,
        })
    }
}

/// Returns the role that a connection gives to a person with this address, if it lets them in.
fn role(connection: &Connection, word: Word, email: &EmailAddress) -> Option<BuiltInRole> {
    let domain = DomainName::of(email).filter(|domain| connection.has_verified(domain));
    let role = connection.settings.role;
    domain.filter(|_| word.is_insider).map(|_| role)
}

/// Whether an invitation may be accepted by logging in. One as an owner needs its link.
fn is_open(member: &member::View) -> bool {
    let sent_at = member.invitation.as_ref().map(|mail| mail.requested_at);
    let is_recent = sent_at.is_some_and(|at| now().since(at) < INVITATION_LIFETIME);
    member.status == Status::Pending && member.role != BuiltInRole::Owner && is_recent
}

/// The answer to a person whom nothing lets in, as the domain gives it, too.
fn not_invited() -> Error {
    Error::Rejected(Rejection {
        kind: RejectionKind::Forbidden,
        code: "not_invited".to_owned(),
        message: "You need an invitation. Ask an administrator for one.".to_owned(),
        used: None,
    })
}
