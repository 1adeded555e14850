//! The connections of a tenant: its own issuers, and their domains.

use events_schema::{
    BuiltInRole, CommandId, ConnectionId, DomainName, Name, TenantId, TenantKey,
    connection::{
        Changes, ClientId, Command, Connection, Domain, Issuer, SEALED_FOR, Settings, View,
    },
    sealed::Sealed,
    secret::ServerKey,
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        views::Views,
    },
    error::Error,
    identity::{Caller, find::start_url, mail_quota::MailQuota, providers::Providers},
};

/// Longest client secret, in bytes.
const MAX_SECRET: usize = 1_024;

/// Creates, changes and deletes connections.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) providers: Providers,
    pub(crate) mails: MailQuota,
    pub(crate) secret: ServerKey,
    pub(crate) public_url: String,
    /// Whether the deployment offers passkeys.
    pub(crate) has_passkeys: bool,
}

/// A new connection.
pub(crate) struct NewConnection {
    pub(crate) name: Name,
    pub(crate) issuer: Issuer,
    pub(crate) client_id: ClientId,
    pub(crate) client_secret: String,
    pub(crate) role: BuiltInRole,
    pub(crate) trusts_two_factors: bool,
}

impl Connections {
    /// Returns all connections of the caller's tenant, the oldest first.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<Connection>, Error> {
        let tenant = caller.membership()?.tenant.id;
        let found = self.views.platform().get::<View>(tenant).await?;
        Ok(found.map_or_else(Vec::new, |found| found.view.connections))
    }

    /// Creates a connection.
    ///
    /// # Errors
    /// `BadUserInput` if requests must not go to the issuer, or the secret is empty or too long;
    /// `Rejected` if there are too many, or the role has permissions that the caller lacks;
    /// `RateLimited` after too many changes within a day.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        command: CommandId,
        new: NewConnection,
    ) -> Result<Connection, Error> {
        let membership = caller.membership()?;
        let (tenant, id) = (membership.tenant.id, ConnectionId(command.0));
        let create = Command::Create {
            settings: Settings {
                client_secret: self.seal(tenant, id, &new.client_secret)?,
                name: new.name,
                issuer: self.checked(new.issuer)?,
                client_id: new.client_id,
                role: new.role,
                trusts_two_factors: new.trusts_two_factors,
            },
            actor_holds: membership.permissions.clone(),
        };
        self.mails.count_connection_change(tenant).await?;
        self.change(caller, command, id, create).await
    }

    /// Changes a connection.
    ///
    /// # Errors
    /// `BadUserInput` if requests must not go to the issuer, or the secret is empty or too long;
    /// `Rejected` if there is no such connection, another issuer has no secret of its own, or the
    /// role has permissions that the caller lacks; `RateLimited` after too many changes within a
    /// day.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
        changes: Changes,
        secret: Option<String>,
    ) -> Result<Connection, Error> {
        let membership = caller.membership()?;
        let tenant = membership.tenant.id;
        let sealed = secret.map(|secret| self.seal(tenant, connection, &secret));
        let issuer = changes.issuer.map(|issuer| self.checked(issuer));
        let update = Command::Update {
            connection,
            changes: Changes {
                issuer: issuer.transpose()?,
                client_secret: sealed.transpose()?,
                ..changes
            },
            actor_holds: membership.permissions.clone(),
        };
        self.mails.count_connection_change(tenant).await?;
        self.change(caller, command, connection, update).await
    }

    /// Deletes a connection. The sessions that it alone vouches for end.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
    ) -> Result<(), Error> {
        let delete = Command::Delete { connection };
        self.send(caller, command, delete).await
    }

    /// Demands a connection of everybody in the tenant, or does so no longer. To demand it, the
    /// caller must have logged in by it, and there must be passkeys: so nobody locks themselves
    /// out, and owners get in while the issuer is down.
    ///
    /// # Errors
    /// `SsoRequired` if the caller has not; `BadUserInput` if there are no passkeys; `Rejected` if
    /// there is no such connection, none of its domains counts, or it trusts another issuer since
    /// the caller has logged in by it; `RateLimited` after too many changes within a day.
    pub(crate) async fn enforce(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
        is_enforced: bool,
    ) -> Result<Connection, Error> {
        let tenant = caller.membership()?.tenant.id;
        let found = self.find(caller, connection).await?;
        let came_by = caller.person()?.came_by(tenant, &found);
        if is_enforced && came_by.is_none() {
            let start_url = self.start_url(connection);
            return Err(Error::SsoRequired { start_url });
        }
        if is_enforced && !self.has_passkeys {
            return Err(no_passkeys());
        }
        if is_enforced {
            self.mails.count_connection_change(tenant).await?;
        }
        let enforce = Command::Enforce {
            connection,
            is_enforced,
            epoch: came_by.filter(|_| is_enforced),
        };
        self.change(caller, command, connection, enforce).await
    }

    /// Adds a domain to a connection, and returns it.
    ///
    /// # Errors
    /// `Rejected` if there is no such connection, or it refuses the domain; `RateLimited` after too
    /// many changes within a day.
    pub(crate) async fn add_domain(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
        domain: DomainName,
    ) -> Result<Domain, Error> {
        let membership = caller.membership()?;
        let mails = &self.mails;
        mails.count_connection_change(membership.tenant.id).await?;
        let add = Command::AddDomain {
            connection,
            domain: domain.clone(),
            actor_holds: membership.permissions.clone(),
        };
        self.change_domain(caller, command, (connection, &domain), add)
            .await
    }

    /// Looks for the record of a domain, and returns the domain.
    ///
    /// # Errors
    /// `Rejected` if there is no such connection or domain, or the role has permissions that the
    /// caller lacks.
    pub(crate) async fn verify_domain(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
        domain: DomainName,
    ) -> Result<Domain, Error> {
        let verify = Command::VerifyDomain {
            connection,
            domain: domain.clone(),
            actor_holds: caller.membership()?.permissions.clone(),
        };
        self.change_domain(caller, command, (connection, &domain), verify)
            .await
    }

    /// Removes a domain of a connection.
    ///
    /// # Errors
    /// `Rejected` if there is no such connection, or everybody needs it and no other domain counts.
    pub(crate) async fn remove_domain(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
        domain: DomainName,
    ) -> Result<(), Error> {
        let remove = Command::RemoveDomain { connection, domain };
        self.send(caller, command, remove).await
    }

    /// Returns where a browser begins to log in by a connection.
    pub(crate) fn start_url(&self, connection: ConnectionId) -> String {
        start_url(&self.public_url, connection)
    }

    /// Returns the one URL that an administrator registers at the issuer.
    pub(crate) fn redirect_uri(&self, connection: ConnectionId) -> String {
        format!("{}/oauth/{connection}/callback", self.public_url)
    }

    async fn change_domain(
        &self,
        caller: &Caller,
        command: CommandId,
        (connection, domain): (ConnectionId, &DomainName),
        payload: Command,
    ) -> Result<Domain, Error> {
        let changed = self.change(caller, command, connection, payload).await?;
        changed.domain(domain).cloned().ok_or(Error::NotFound)
    }

    async fn change(
        &self,
        caller: &Caller,
        command: CommandId,
        connection: ConnectionId,
        payload: Command,
    ) -> Result<Connection, Error> {
        self.send(caller, command, payload).await?;
        self.find(caller, connection).await
    }

    async fn find(&self, caller: &Caller, id: ConnectionId) -> Result<Connection, Error> {
        let all = self.list(caller).await?;
        let found = all.into_iter().find(|connection| connection.id == id);
        found.ok_or(Error::NotFound)
    }

    async fn send(
        &self,
        caller: &Caller,
        command: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let tenant = caller.membership()?.tenant.id;
        let request = CommandRequest::new(TenantId::Platform, tenant, command, payload);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self.commands.send::<View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }

    fn checked(&self, issuer: Issuer) -> Result<Issuer, Error> {
        let checked = self.providers.check_issuer(&issuer);
        checked.map_err(Error::invalid("issuer"))?;
        Ok(issuer)
    }

    fn seal(&self, tenant: TenantKey, id: ConnectionId, secret: &str) -> Result<Sealed, Error> {
        if !(1..=MAX_SECRET).contains(&secret.len()) || secret.contains(char::is_control) {
            let message = "clientSecret must have 1 to 1024 bytes, without control characters.";
            return Err(Error::input("clientSecret", message));
        }
        let nonce = event_store::random_bytes()?;
        let bound_to = [tenant.0.bytes().as_slice(), id.0.bytes()];
        let plain = secret.as_bytes();
        Ok(self.secret.seal(SEALED_FOR, &bound_to, nonce, plain))
    }
}

fn no_passkeys() -> Error {
    let message = "This deployment offers no passkeys, by which owners could get in while the issuer \
                   is down. It needs a public URL with a domain.";
    Error::request(message)
}
