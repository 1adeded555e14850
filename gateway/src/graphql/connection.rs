//! The connections of a tenant: its own issuers, and their domains. The API calls them `sso`.
//!
//! A tenant has at most ten, so they are one list without pages.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use events_schema::{
    DomainName, Name,
    connection::{self, Changes, CheckOutcome, ClientId, Issuer},
};

use super::{
    field::FieldContext,
    member::MemberRole,
    scalars::{DateTime, Success, id_of, optional, parsed, to_id},
};
use crate::{
    error::Error,
    use_cases::{connection::NewConnection, list::IndexCheck},
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

struct Connection(connection::Connection);

/// An OpenID Connect issuer of the tenant, by which its people log in. A session that has begun by it
/// is valid in the tenant alone.
#[Object]
impl Connection {
    /// Id of the connection: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// The name for people, 1 to 100 characters.
    async fn name(&self) -> &str {
        self.0.settings.name.as_str()
    }

    /// The issuer, as it calls itself.
    async fn issuer(&self) -> &str {
        self.0.settings.issuer.as_str()
    }

    /// What the issuer calls this deployment.
    async fn client_id(&self) -> &str {
        self.0.settings.client_id.as_str()
    }

    /// The built-in role of people who log in for the first time.
    async fn role(&self) -> MemberRole {
        self.0.settings.role.into()
    }

    /// Whether two factors count as proved in the tenant if the issuer says, by `amr`, that it has
    /// checked them.
    async fn trusts_two_factors(&self) -> bool {
        self.0.settings.trusts_two_factors
    }

    /// Whether everybody in the tenant needs the connection. Owners may use a passkey instead, and
    /// access tokens need nothing.
    async fn enforced(&self) -> bool {
        self.0.is_enforced
    }

    /// The domains whose addresses the issuer may name.
    async fn domains(&self) -> Vec<ConnectionDomain> {
        let domains = self.0.domains.iter().cloned();
        domains.map(ConnectionDomain).collect()
    }

    /// The one URL to register at the issuer: it sends people back there.
    async fn redirect_uri(&self, ctx: &Context<'_>) -> String {
        let connections = &FieldContext::of(ctx).use_cases.connections;
        connections.redirect_uri(self.0.id)
    }

    /// Where a browser goes to log in by the connection. `?return_to=` with a path names where it
    /// comes back to.
    async fn start_url(&self, ctx: &Context<'_>) -> String {
        let connections = &FieldContext::of(ctx).use_cases.connections;
        connections.start_url(self.0.id)
    }

    /// When the connection was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the connection was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

struct ConnectionDomain(connection::Domain);

/// A domain of a connection. Once it is verified, the issuer's word proves its addresses.
#[Object]
impl ConnectionDomain {
    /// The name, in the ASCII form of DNS, such as `example.com`.
    async fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// Whether its addresses count as proved.
    async fn status(&self) -> DomainStatus {
        if self.0.is_verified() {
            DomainStatus::Verified
        } else if self.0.next_check_at.is_some() {
            DomainStatus::Checking
        } else {
            DomainStatus::Unverified
        }
    }

    /// The DNS record that verifies the domain. It must stay: it is looked for each day.
    async fn record(&self) -> DnsRecord {
        DnsRecord::of(&self.0)
    }

    /// What the last look for the record has led to. Null if there was none.
    async fn last_check(&self) -> Option<DomainCheck> {
        self.0.outcome.map(Into::into)
    }

    /// When the record was last looked for.
    async fn checked_at(&self) -> Option<DateTime> {
        self.0.checked_at.map(DateTime)
    }

    /// When the domain was verified. Null if it is not.
    async fn verified_at(&self) -> Option<DateTime> {
        self.0.verified_at.map(DateTime)
    }

    /// Until when the domain stays verified although its record is missing. Null unless it is.
    async fn verified_until(&self) -> Option<DateTime> {
        self.0.counts_until().map(DateTime)
    }
}

/// Whether the addresses of a domain count as proved.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum DomainStatus {
    /// They do not. Publish the record, and verify the domain.
    Unverified,
    /// The record is being looked for. That takes some seconds.
    Checking,
    /// They do.
    Verified,
}

/// What the last look for the record of a domain has led to.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "CheckOutcome")]
enum DomainCheck {
    /// The record is there.
    Found,
    /// There is no such record. DNS may take some minutes to show a new one.
    Missing,
    /// DNS does not answer.
    Unavailable,
    /// The record is there, and the domain is verified for another tenant.
    Taken,
}

/// A record to publish in DNS.
#[derive(SimpleObject)]
struct DnsRecord {
    /// Always `TXT`.
    #[graphql(name = "type")]
    kind: &'static str,
    /// The name, such as `_ub-challenge.example.com`.
    name: String,
    /// The text.
    value: String,
}

impl DnsRecord {
    fn of(domain: &connection::Domain) -> Self {
        Self {
            kind: "TXT",
            name: domain.name.record(),
            value: domain.challenge.clone(),
        }
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "ConnectionQueries")]
impl Queries {
    /// The connections of the tenant, the oldest first. There are at most 10.
    async fn sso(&self, ctx: &Context<'_>) -> Result<Option<Vec<Connection>>, Error> {
        let field = FieldContext::of(ctx);
        let connections = field.use_cases.connections.list(field.caller).await?;
        Ok(Some(connections.into_iter().map(Connection).collect()))
    }
}

/// The data of a new connection.
#[derive(InputObject)]
struct CreateConnectionInput {
    /// The name for people, 1 to 100 characters.
    name: String,
    /// The issuer, as it calls itself: an `https` URL without a query.
    issuer: String,
    /// What the issuer calls this deployment, 1 to 255 characters.
    client_id: String,
    /// The client secret, 1 to 1024 bytes. It is never shown.
    #[graphql(secret)]
    client_secret: String,
    /// The built-in role of people who log in for the first time. `FORBIDDEN` if it has permissions
    /// that the caller lacks; `BAD_USER_INPUT` for an owner.
    role: MemberRole,
    /// Whether two factors count as proved in the tenant if the issuer says, by `amr`, that it has
    /// checked them.
    #[graphql(default)]
    trusts_two_factors: bool,
}

/// A change of a connection. What is absent stays.
#[derive(InputObject)]
struct UpdateConnectionInput {
    /// Id of the connection.
    id: ID,
    /// The name for people, 1 to 100 characters.
    name: Option<String>,
    /// The issuer. Another one needs a `clientSecret`, too.
    issuer: Option<String>,
    /// What the issuer calls this deployment.
    client_id: Option<String>,
    /// The client secret.
    #[graphql(secret)]
    client_secret: Option<String>,
    /// The built-in role of people who log in for the first time.
    role: Option<MemberRole>,
    /// Whether two factors count as proved in the tenant if the issuer says so.
    trusts_two_factors: Option<bool>,
}

/// Whether a tenant demands a connection.
#[derive(InputObject)]
struct EnforceConnectionInput {
    /// Id of the connection.
    id: ID,
    /// Whether everybody in the tenant needs it.
    enforced: bool,
}

/// A domain of a connection.
#[derive(InputObject)]
struct ConnectionDomainInput {
    /// Id of the connection.
    id: ID,
    /// The domain, such as `example.com`.
    domain: String,
}

impl ConnectionDomainInput {
    fn domain(&self) -> Result<DomainName, Error> {
        parsed("domain", &self.domain, DomainName::parse)
    }
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "ConnectionMutations")]
impl Mutations {
    /// Changes of the tenant's own issuers.
    async fn sso(&self) -> Option<SsoMutation> {
        Some(SsoMutation)
    }
}

pub(super) struct SsoMutation;

/// Changes of the tenant's own issuers.
#[Object(serial)]
impl SsoMutation {
    /// Creates a connection. It serves once a domain is verified, or a person has linked it.
    /// `LIMIT_REACHED` if the tenant has 10; `RATE_LIMITED` after 50 changes of its connections a day.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateConnectionInput,
    ) -> Result<Option<Connection>, Error> {
        let field = FieldContext::of(ctx);
        let new = NewConnection {
            name: parsed("name", &input.name, Name::parse)?,
            issuer: parsed("issuer", &input.issuer, Issuer::parse)?,
            client_id: parsed("clientId", &input.client_id, ClientId::parse)?,
            client_secret: input.client_secret,
            role: input.role.into(),
            trusts_two_factors: input.trusts_two_factors,
        };
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let created = connections.create(field.caller, command, new);
        Ok(Some(Connection(created.await?)))
    }

    /// Changes a connection. `NOT_FOUND` if the tenant has no such connection; `FORBIDDEN` if its role
    /// has permissions that the caller lacks, and more than the name changes; `CONFLICT` if everybody
    /// needs the connection, and its issuer or client id changes; `RATE_LIMITED` after 50 changes a day.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateConnectionInput,
    ) -> Result<Option<Connection>, Error> {
        let field = FieldContext::of(ctx);
        let id = id_of(&input.id)?;
        let changes = Changes {
            name: optional("name", input.name, Name::parse)?,
            issuer: optional("issuer", input.issuer, Issuer::parse)?,
            client_id: optional("clientId", input.client_id, ClientId::parse)?,
            client_secret: None,
            role: input.role.map(Into::into),
            trusts_two_factors: input.trusts_two_factors,
        };
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let updated = connections.update(field.caller, command, id, changes, input.client_secret);
        Ok(Some(Connection(updated.await?)))
    }

    /// Deletes a connection. Its domains become free, and the sessions for which it alone vouches end
    /// at once.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let deleted = connections.delete(field.caller, command, id_of(&id)?);
        deleted.await?;
        Success::yes()
    }

    /// Demands a connection of everybody in the tenant, or does so no longer. `SSO_REQUIRED` if the
    /// caller's own session has not begun by it; `BAD_USER_INPUT` if the deployment offers no passkeys;
    /// `CONFLICT` if none of its domains is verified, or the connection was changed after the caller had
    /// logged in by it; `RATE_LIMITED` after 50 changes a day.
    async fn enforce(
        &self,
        ctx: &Context<'_>,
        input: EnforceConnectionInput,
    ) -> Result<Option<Connection>, Error> {
        let field = FieldContext::of(ctx);
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let id = id_of(&input.id)?;
        let enforced = connections.enforce(field.caller, command, id, input.enforced);
        Ok(Some(Connection(enforced.await?)))
    }

    /// Adds a domain, and returns the record that verifies it. `BAD_USER_INPUT` for a domain in which
    /// anybody can have an address; `LIMIT_REACHED` if the connection has 20; `FORBIDDEN` if the role of
    /// the connection has permissions that the caller lacks; `RATE_LIMITED` after 50 changes a day.
    async fn add_domain(
        &self,
        ctx: &Context<'_>,
        input: ConnectionDomainInput,
    ) -> Result<Option<DnsRecord>, Error> {
        let field = FieldContext::of(ctx);
        let (connection, domain) = (id_of(&input.id)?, input.domain()?);
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let added = connections.add_domain(field.caller, command, connection, domain);
        Ok(Some(DnsRecord::of(&added.await?)))
    }

    /// Looks for the record of a domain. The answer comes at once, with the status `CHECKING`; within
    /// some seconds, `lastCheck` says what was found. `FORBIDDEN` if the role of the connection has
    /// permissions that the caller lacks.
    async fn verify_domain(
        &self,
        ctx: &Context<'_>,
        input: ConnectionDomainInput,
    ) -> Result<Option<ConnectionDomain>, Error> {
        let field = FieldContext::of(ctx);
        let (connection, domain) = (id_of(&input.id)?, input.domain()?);
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let asked = connections.verify_domain(field.caller, command, connection, domain);
        Ok(Some(ConnectionDomain(asked.await?)))
    }

    /// Removes a domain. Its addresses do not count as proved any more, and another tenant may verify
    /// it. `CONFLICT` if everybody needs the connection, and no other domain is verified.
    async fn remove_domain(
        &self,
        ctx: &Context<'_>,
        input: ConnectionDomainInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (connections, command) = (&field.use_cases.connections, field.command_id()?);
        let (connection, domain) = (id_of(&input.id)?, input.domain()?);
        let removed = connections.remove_domain(field.caller, command, connection, domain);
        removed.await?;
        Success::yes()
    }
}
