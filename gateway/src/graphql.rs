//! Assembles the GraphQL schema, and gives resolvers what they need: shared state, the caller,
//! commands and views.
//!
//! Each area's queries, mutations and types are in its own file; HTTP is in `http.rs`, limits in
//! `limits.rs`.

mod access_token;
mod account;
mod audit;
mod connection;
mod feed;
pub(crate) mod limits;
mod loaders;
mod member;
mod platform;
mod profile;
mod project;
mod role;
mod session;
mod tenant;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_graphql::{
    Context, InputValueError, InputValueResult, MergedObject, Object, Scalar, ScalarType,
    SimpleObject, Value,
};
use axum::http::header::SET_COOKIE;
use events_schema::{CommandId, Id, Time, View};
use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::loaders::Loaders;
use crate::{
    State,
    access::operations::{self, Authorize},
    backend::commands::Wish,
    backend::views::Scoped,
    error::Error,
    identity::caller::Caller,
    identity::cookie,
};

/// Answers that must not tell whether an address is known take at least this long: longer than
/// hashing a password and deciding a command together on a machine that is not overloaded.
const UNTELLING: Duration = Duration::from_millis(300);

pub(crate) type Schema = async_graphql::Schema<Query, Mutation, feed::Feeds>;

/// Everything that may be asked.
///
/// # Errors
/// If an operation does not declare who may use it.
pub(crate) fn schema(state: Arc<State>) -> anyhow::Result<Schema> {
    let production = state.config.production;
    let schema = builder().data(state).extension(Authorize);
    let schema = if production {
        schema.disable_introspection().disable_suggestions()
    } else {
        schema
    }
    .finish();
    operations::check(&schema.sdl())?;
    Ok(schema)
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, feed::Feeds> {
    Schema::build(Query::default(), Mutation, feed::Feeds)
}

/// What may be read.
#[derive(Default, MergedObject)]
pub(crate) struct Query(
    profile::ProfileQuery,
    session::SessionQuery,
    tenant::TenantQueries,
    member::MemberQueries,
    role::RoleQueries,
    access_token::AccessTokenQueries,
    project::ProjectQueries,
    audit::AuditQueries,
    platform::PlatformQueries,
);

/// What may be done, by area. Fields of one request are done one after the other, also within an
/// area.
pub(crate) struct Mutation;

#[Object]
impl Mutation {
    /// Accounts, passwords and sessions.
    async fn account(&self) -> Option<AccountMutation> {
        Some(AccountMutation::default())
    }

    /// The caller's own profile.
    async fn profile(&self) -> Option<profile::ProfileMutation> {
        Some(profile::ProfileMutation)
    }

    /// Tenants.
    async fn tenant(&self) -> Option<tenant::TenantMutation> {
        Some(tenant::TenantMutation)
    }

    /// Who belongs to the tenant.
    async fn member(&self) -> Option<member::MemberMutation> {
        Some(member::MemberMutation)
    }

    /// The tenant's own roles.
    async fn role(&self) -> Option<role::RoleMutation> {
        Some(role::RoleMutation)
    }

    /// Keys for machines.
    async fn access_token(&self) -> Option<access_token::AccessTokenMutation> {
        Some(access_token::AccessTokenMutation)
    }

    /// Projects.
    async fn project(&self) -> Option<project::ProjectMutation> {
        Some(project::ProjectMutation)
    }
}

/// Accounts, passwords and sessions.
#[derive(Default, MergedObject)]
#[graphql(serial)]
pub(crate) struct AccountMutation(
    account::RegistrationMutation,
    account::PasswordMutation,
    session::SessionMutation,
);

/// It was done.
#[derive(SimpleObject)]
pub(crate) struct Success {
    /// Always true: what fails is an error.
    success: bool,
}

impl Success {
    // `Option` since GraphQL puts null where a field fails, here and at every field below.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every resolver that may fail answers a nullable field"
    )]
    const fn yes() -> Result<Option<Self>, Error> {
        Ok(Some(Self { success: true }))
    }
}

/// A point in time, RFC 3339 in UTC.
struct DateTime(Time);

/// An id in an argument: what is no id names nothing, like an id that is nobody's.
fn id_of(text: &async_graphql::ID) -> Result<Id, Error> {
    Id::parse(text).map_err(|_| Error::NotFound)
}

#[Scalar]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let text = if let Value::String(text) = &value {
            text.parse::<Timestamp>().ok()
        } else {
            None
        };
        text.map(|time| Self(Time(time.as_millisecond())))
            .ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Timestamp::from_millisecond(self.0.0)
            .map_or(Value::Null, |time| Value::String(time.to_string()))
    }
}

/// A field being resolved: who wants it, and what it takes to answer.
struct Field<'a> {
    ctx: &'a Context<'a>,
    state: &'a State,
    caller: &'a Caller,
    command: OnceLock<CommandId>,
}

impl<'a> Field<'a> {
    fn of(ctx: &'a Context<'a>) -> Self {
        Self {
            ctx,
            state: ctx.data_unchecked::<Arc<State>>(),
            caller: ctx.data_unchecked::<Caller>(),
            command: OnceLock::new(),
        }
    }

    /// What belongs to no tenant.
    fn platform(&self) -> Scoped {
        self.state.views.platform()
    }

    /// What is read once for all fields of the request.
    fn loaders(&self) -> &'a Loaders {
        self.ctx.data_unchecked::<Loaders>()
    }

    /// The command of this field: the same for the same request said again under one
    /// `Idempotency-Key`.
    fn command_id(&self) -> Result<CommandId, Error> {
        if let Some(id) = self.command.get() {
            return Ok(*id);
        }
        let id = self
            .caller
            .command_id(&self.state.config.secret, self.ctx)?;
        Ok(*self.command.get_or_init(|| id))
    }

    /// Says this field's command about an aggregate, and waits until the view `V` shows it.
    async fn send<V: View>(
        &self,
        scope: &Scoped,
        aggregate: Id,
        payload: impl Serialize,
    ) -> Result<u64, Error> {
        self.send_at::<V>(scope, aggregate, None, payload).await
    }

    /// The same, refused where the aggregate is at another revision than the client has seen, if it
    /// said which.
    async fn send_at<V: View>(
        &self,
        scope: &Scoped,
        aggregate: Id,
        seen: Option<i64>,
        payload: impl Serialize,
    ) -> Result<u64, Error> {
        let expected = seen
            .map(u64::try_from)
            .transpose()
            .map_err(|_| Error::input("revision", "revision must not be negative."))?;
        let wish = Wish {
            aggregate,
            id: self.command_id()?,
            expected,
            payload,
        };
        self.state
            .commands
            .send::<V, _>(self.caller, scope, wish)
            .await
    }

    fn give_cookie(&self, token: &cookie::Token) {
        self.ctx
            .append_http_header(SET_COOKIE, token.set_cookie(self.state.config.is_https()));
    }

    fn clear_cookie(&self) {
        self.ctx.append_http_header(
            SET_COOKIE,
            cookie::clear_cookie(self.state.config.is_https()),
        );
    }
}

/// Answers no sooner than [`UNTELLING`], however little there was to do.
async fn untelling<T>(answer: impl Future<Output = T>) -> T {
    tokio::join!(answer, tokio::time::sleep(UNTELLING)).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_repository_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/graphql/schema.graphql");
        let sdl = builder().finish().sdl();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &sdl).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            sdl,
            "if the change is meant, run `UPDATE_SCHEMA=1 cargo test -p gateway`"
        );
    }

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        assert_eq!(
            DateTime(Time(1_700_000_000_123)).to_value(),
            Value::String("2023-11-14T22:13:20.123Z".to_owned())
        );
    }
}
