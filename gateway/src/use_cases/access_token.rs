//! Access tokens. The text of a token is in one answer and is stored nowhere.

use std::time::Duration;

use events_schema::{
    AccessTokenId, BuiltInRole, CommandId, IpNetwork, Name, Permissions, ServiceId, Time,
    access_token::{self, Command, NewToken, Notice},
    member::{self, Status},
    service,
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::{Filter, Sort},
        views::ViewDocument,
    },
    clock::now,
    error::Error,
    identity::{Caller, Membership, Uses, bearer::AccessToken, caller::new_command_id},
    security::{SecurityEvent, SecurityEvents},
};

/// How long a token is valid if the client gives no expiry: 90 days.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The most owners who get a mail.
const MAX_OWNERS: i64 = 10;
const BY_CREATION: Sort = Sort {
    field: "created_at",
    descending: false,
};

/// What a client chooses for a new token.
pub(crate) struct Wanted {
    pub(crate) name: Name,
    pub(crate) scopes: Permissions,
    pub(crate) expires_at: Option<Time>,
    /// The networks in which the token is valid; `None` for all.
    pub(crate) networks: Option<Vec<IpNetwork>>,
    /// The service that the token is for; `None` for the caller.
    pub(crate) service: Option<ServiceId>,
}

/// Creates and deletes access tokens, and reads when they were last used.
#[derive(Clone, Debug)]
pub(crate) struct AccessTokens {
    pub(crate) commands: Commands,
    pub(crate) uses: Uses,
    pub(crate) security: SecurityEvents,
}

impl AccessTokens {
    /// Creates a token. Each call creates a new one, since the token is random and shown once.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such service; `Rejected` if the caller may not change
    /// services, the scopes are empty or more than the caller holds, or the expiry or the number of
    /// networks is out of bounds.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        wanted: Wanted,
    ) -> Result<(AccessToken, ViewDocument<access_token::View>), Error> {
        let membership = caller.membership()?;
        let creator = &caller.person()?.account;
        let service = match wanted.service {
            Some(service) => Some((service, notice(membership, service).await?)),
            None => None,
        };
        let token = AccessToken::mint(membership.tenant.id)?;
        let new = NewToken {
            name: wanted.name,
            scopes: wanted.scopes,
            expires_at: wanted.expires_at.unwrap_or_else(default_expiry),
            creator: creator.id,
            email: Some(creator.view.email.clone()),
            epoch: Some(creator.view.epoch),
        };
        let create = command_of(new, service, wanted.networks);
        let command = new_command_id()?;
        let request = CommandRequest::new(membership.tenant_id(), token.id(), command, create);
        let (sender, views) = (caller.sender(), &membership.views);
        let created = self.commands.send_and_get(&sender, views, request).await?;
        let event = SecurityEvent::AccessTokenCreated;
        self.security.record(event, caller, Some(creator.id));
        Ok((token, created))
    }

    /// Deletes a token, which is not valid any more then.
    ///
    /// # Errors
    /// `Rejected` if the tenant has no such token, or it holds more than the caller; `Pending` if
    /// the outcome of the command is not known in time.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        command: CommandId,
        id: AccessTokenId,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        let request = CommandRequest::new(membership.tenant_id(), id, command, Command::Delete);
        let (sender, views) = (caller.sender(), &membership.views);
        let sent = self
            .commands
            .send::<access_token::View>(&sender, views, request);
        sent.await?;
        let deleted = SecurityEvent::AccessTokenDeleted;
        let account = caller.identity()?.account_id();
        self.security.record(deleted, caller, Some(account));
        Ok(())
    }

    /// Returns when a token was last used, to the minute; `None` if never.
    ///
    /// # Errors
    /// If the record of uses cannot be read.
    pub(crate) async fn last_use(&self, id: AccessTokenId) -> Result<Option<Time>, Error> {
        self.uses.of_token(id).await
    }
}

/// Returns what mails about a token of this service say, and which owners get them.
///
/// # Errors
/// `NotFound` if the tenant has no such service.
async fn notice(membership: &Membership, service: ServiceId) -> Result<Notice, Error> {
    let views = &membership.views;
    let found = views.get::<service::View>(membership.tenant.id).await?;
    let service = found.and_then(|mut found| found.view.services.remove(&service));
    let service = service.ok_or(Error::NotFound)?;
    let owners = Filter::default()
        .is("role", BuiltInRole::Owner)?
        .is("status", Status::Accepted)?;
    let owners = views.list::<member::View>(owners, BY_CREATION, false, MAX_OWNERS);
    Ok(Notice {
        tenant_name: membership.tenant.view.name.clone(),
        service_name: service.name,
        owners: owners
            .await?
            .into_iter()
            .map(|owner| owner.view.email)
            .collect(),
    })
}

fn command_of(
    token: NewToken,
    service: Option<(ServiceId, Notice)>,
    networks: Option<Vec<IpNetwork>>,
) -> Command {
    match (service, networks) {
        (Some((service, notice)), networks) => Command::CreateForService {
            token,
            service,
            networks,
            notice: Some(notice),
        },
        (None, Some(networks)) => Command::CreateInNetworks { token, networks },
        (None, None) => Command::Create(token),
    }
}

fn default_expiry() -> Time {
    let lifetime_ms = i64::try_from(DEFAULT_LIFETIME.as_millis()).unwrap_or(0);
    Time(now().0 + lifetime_ms)
}
