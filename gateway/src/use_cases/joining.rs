//! Becoming a member of a tenant by logging in with its own issuer.

use std::sync::Arc;

use events_schema::{
    Actor, EmailAddress, MemberId, Scope, account, connection,
    member::{self, Command},
    tenant,
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands, Sender},
        filter::Filter,
        plans::Plans,
        views::{TenantViews, ViewDocument, Views},
    },
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

impl Joins {
    /// Makes the owner of an account a member of the tenant of a connection, in the connection's role,
    /// unless they are one.
    ///
    /// # Errors
    /// `NotFound` if the connection exists no more; `LimitReached` or `PaymentRequired` if the tenant
    /// takes no further member; `Rejected` if it has removed the person.
    pub(crate) async fn join(
        &self,
        caller: &Caller,
        scope: Scope,
        account: &ViewDocument<account::View>,
    ) -> Result<(), Error> {
        let platform = self.views.platform();
        let tenant = platform.get::<tenant::View>(scope.tenant).await?;
        let tenant = tenant.ok_or(Error::NotFound)?;
        let views = self.views.of(&tenant)?;
        let own = Filter::default().is("account", account.id)?;
        if views.find::<member::View>(own).await?.is_some() {
            return Ok(());
        }
        let connections = platform.get::<connection::View>(scope.tenant).await?;
        let connections = connections.ok_or(Error::NotFound)?.view;
        let connection = connections.find(scope.connection).ok_or(Error::NotFound)?;
        let plan = self.plans.of(&views, tenant.id).await?;
        if !plan.entitlements.may_create() {
            return Err(Error::PaymentRequired);
        }
        let email = account.view.email.clone();
        let invited = invited(&views, &email).await?;
        let member = invited.unwrap_or_else(|| member::joining_id(tenant.id, account.id));
        let join = Command::Join {
            account: account.id,
            email,
            role: connection.settings.role,
        };
        let sender = Sender {
            // Whoever sends the request may be logged in as somebody else still.
            actor: Actor::Account(account.id),
            held: None,
            plan: Some(Arc::new(plan)),
            origin: Some(caller.origin.clone()),
            trace: caller.trace,
        };
        let request = CommandRequest::new(views.tenant(), member, new_command_id()?, join);
        let sent = self.commands.send::<member::View>(&sender, &views, request);
        sent.await.map(|_revision| ())
    }
}

/// Finds the invitation of an address.
async fn invited(views: &TenantViews, email: &EmailAddress) -> Result<Option<MemberId>, Error> {
    let by_email = Filter::default().is("email", email)?;
    let found = views.find::<member::View>(by_email).await?;
    Ok(found.map(|found| found.id))
}
