//! Deleting an account: some days after its owner has asked for it, so that nobody loses it by a
//! mistake or to a thief.

use std::time::Duration;

use events_schema::{
    AccountId, BuiltInRole, CommandId, TenantId,
    account::{self, Command},
    member, tenant,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{member::other_owner, tenant::first_tenants};
use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::Filter,
        views::{ViewDocument, Views},
    },
    clock::now,
    config::AccountOptions,
    error::{Error, OwnedTenant},
    identity::{Caller, mail_quota::MailQuota},
    security::{SecurityEvent, SecurityEvents},
};

/// Maximum tenants of an account that are looked at. The worker that deletes the account looks at
/// all.
const MAX_TENANTS: i64 = 1_000;
/// Tenants that are looked at at once.
const AT_ONCE: usize = 8;

/// Deletes accounts.
#[derive(Clone, Debug)]
pub(crate) struct Deletions {
    commands: Commands,
    views: Views,
    mails: MailQuota,
    security: SecurityEvents,
    /// How long the owner may keep the account after all.
    grace: Duration,
}

impl Deletions {
    /// Deletes accounts as the operator has chosen.
    pub(crate) fn new(
        commands: &Commands,
        views: &Views,
        mails: &MailQuota,
        security: &SecurityEvents,
        options: &AccountOptions,
    ) -> Self {
        Self {
            commands: commands.clone(),
            views: views.clone(),
            mails: mails.clone(),
            security: security.clone(),
            grace: Duration::from_secs(options.deletion_grace_s),
        }
    }

    /// Asks for the deletion of the caller's account. A second request does not postpone the first
    /// one.
    ///
    /// # Errors
    /// `SoleOwner` if the account is the only owner of a tenant; `RateLimited` after 20 requests
    /// within a day.
    pub(crate) async fn request(
        &self,
        caller: &Caller,
        id: CommandId,
    ) -> Result<ViewDocument<account::View>, Error> {
        let account = caller.person()?.account_id();
        let tenants = self.owned_alone(account).await?;
        if !tenants.is_empty() {
            return Err(Error::SoleOwner { tenants });
        }
        self.mails.count_deletion(account).await?;
        let at = now() + self.grace;
        let requested = self.send(caller, account, id, Command::RequestDeletion { at });
        let requested = requested.await?;
        let event = SecurityEvent::DeletionRequested;
        self.security.record(event, caller, Some(account));
        Ok(requested)
    }

    /// Keeps the caller's account.
    ///
    /// # Errors
    /// `Rejected` if it is being deleted just now.
    pub(crate) async fn cancel(
        &self,
        caller: &Caller,
        id: CommandId,
    ) -> Result<ViewDocument<account::View>, Error> {
        let account = caller.person()?.account_id();
        let kept = self.send(caller, account, id, Command::CancelDeletion);
        let kept = kept.await?;
        let event = SecurityEvent::DeletionCancelled;
        self.security.record(event, caller, Some(account));
        Ok(kept)
    }

    /// Returns the tenants that would lose their only owner.
    async fn owned_alone(&self, account: AccountId) -> Result<Vec<OwnedTenant>, Error> {
        let tenants = first_tenants(&self.views, account, MAX_TENANTS).await?;
        let owned = stream::iter(tenants)
            .map(|tenant| async move {
                let is_alone = self.is_sole_owner(account, &tenant).await?;
                let (id, name) = (tenant.id, tenant.view.name);
                Ok::<_, Error>(is_alone.then_some(OwnedTenant { id, name }))
            })
            .buffered(AT_ONCE);
        let owned: Vec<_> = owned.try_collect().await?;
        Ok(owned.into_iter().flatten().collect())
    }

    async fn is_sole_owner(
        &self,
        account: AccountId,
        tenant: &ViewDocument<tenant::View>,
    ) -> Result<bool, Error> {
        let views = self.views.of(tenant)?;
        let own = Filter::default().is("account", account)?;
        let own = views.find::<member::View>(own).await?;
        match own.filter(|own| own.view.role == BuiltInRole::Owner) {
            Some(own) => Ok(other_owner(&views, own.id).await?.is_none()),
            None => Ok(false),
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        account: AccountId,
        id: CommandId,
        payload: Command,
    ) -> Result<ViewDocument<account::View>, Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = CommandRequest::new(TenantId::Platform, account, id, payload);
        let sent = self.commands.send_and_get(&sender, &platform, request);
        sent.await
    }
}
