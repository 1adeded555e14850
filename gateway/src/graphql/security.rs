//! The security events of the caller's account, and of the tenant.

use async_graphql::{
    Context, Object, SimpleObject,
    connection::{self, Edge, EmptyFields},
};
use events_schema::SecurityEntry;

use super::{
    actor::ActorView, audit::page_size, cursor::Timeline, field::FieldContext, scalars::DateTime,
};
use crate::{error::Error, use_cases::security::HistoryPage};

/// Something that happened to the caller's account.
#[derive(SimpleObject)]
struct AccountActivity {
    /// When it happened.
    at: DateTime,
    /// What happened: `login_succeeded`, `login_failed`, `login_limited` (refused without a check,
    /// after too many failures), `login_code_requested`, `reset_requested`, `password_reset`,
    /// `password_changed`, `stepped_up`, `second_factor_enrolled`, `second_factor_removed`,
    /// `recovery_codes_renewed`, `second_factor_wrong`, `passkey_added`, `passkey_removed`,
    /// `passkey_suspended` (somebody may have copied it), `email_change_requested`,
    /// `email_changed`, `email_change_refused`, `email_restored` (by the owner of a former
    /// address), `deletion_requested`, `deletion_cancelled`, `impersonation_begun` (an
    /// administrator of the platform acts as the caller), `session_revoked`, `sessions_revoked`
    /// (all of them), `access_token_created`, `access_token_deleted`, `token_refused` (an access
    /// token of the caller was used that is not valid, or not in that network) or
    /// `registration_refused` (somebody tried to register with the address). Newer versions may add
    /// names.
    event: String,
    /// IP address that the request came from. Null if it is unknown.
    address: Option<String>,
    /// The client's description of itself (its `User-Agent`), up to 200 characters.
    device: String,
}

/// An operation or a field that a member of the tenant was refused.
#[derive(SimpleObject)]
struct Refusal {
    /// When it was refused.
    at: DateTime,
    /// Who was refused.
    actor: ActorView,
    /// What was refused, such as `project.create`, or `tenant.settings` for a field.
    operation: String,
    /// The permission that it needs, such as `create_project`. Null if it needs no certain one. Some
    /// operations refuse access tokens, whatever they hold.
    permission: Option<String>,
    /// IP address that the request came from. Null if it is unknown.
    address: Option<String>,
    /// The client's description of itself (its `User-Agent`), up to 200 characters.
    device: String,
}

impl From<SecurityEntry> for AccountActivity {
    fn from(entry: SecurityEntry) -> Self {
        Self {
            at: DateTime(entry.time),
            event: entry.event,
            address: entry.origin.address.map(Into::into),
            device: entry.origin.device.into(),
        }
    }
}

impl From<SecurityEntry> for Refusal {
    fn from(entry: SecurityEntry) -> Self {
        Self {
            at: DateTime(entry.time),
            actor: ActorView(entry.actor),
            operation: entry.operation.unwrap_or_default(),
            permission: entry.permission,
            address: entry.origin.address.map(Into::into),
            device: entry.origin.device.into(),
        }
    }
}

type Connection<N> = connection::Connection<String, N, EmptyFields>;

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "SecurityQueries")]
impl Queries {
    /// What happened to the caller's account, such as logins and changes of the password, and from
    /// where, the latest first. It is kept for 90 days at most, and no more than 1,000 events that
    /// the caller caused and 1,000 that others did. An event is shown shortly after it happened. In
    /// a flood, some are left out.
    async fn account_activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Events on the page: 0 to 100, 50 by default.")] first: Option<i64>,
        #[graphql(desc = "Cursor of the last event of the previous page.")] after: Option<String>,
    ) -> Result<Option<Connection<AccountActivity>>, Error> {
        let field = FieldContext::of(ctx);
        let (account, size) = (field.caller.person()?.account_id(), page_size(first)?);
        let timeline = Timeline::Activity(account);
        let before = read_cursor(&field, timeline, after)?;
        let history = &field.use_cases.security;
        let page = history.of_account(account, before, size).await?;
        Ok(Some(connection(&field, timeline, before, page)?))
    }

    /// Which operations and fields the members of the tenant were refused, since they lack the
    /// permission, the latest first. It is kept for 90 days at most, and no more than 1,000. A
    /// refusal is shown shortly after it happened. In a flood, some are left out.
    async fn refusals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Refusals on the page: 0 to 100, 50 by default.")] first: Option<i64>,
        #[graphql(desc = "Cursor of the last refusal of the previous page.")] after: Option<String>,
    ) -> Result<Option<Connection<Refusal>>, Error> {
        let field = FieldContext::of(ctx);
        let (tenant, size) = (field.membership()?.tenant.id, page_size(first)?);
        let timeline = Timeline::Refusals(tenant);
        let before = read_cursor(&field, timeline, after)?;
        let history = &field.use_cases.security;
        let page = history.of_tenant(tenant, before, size).await?;
        Ok(Some(connection(&field, timeline, before, page)?))
    }
}

fn read_cursor(
    field: &FieldContext<'_>,
    timeline: Timeline,
    after: Option<String>,
) -> Result<Option<u64>, Error> {
    let before = after.map(|after| field.cursors().read(timeline, "after", &after));
    before.transpose()
}

fn connection<N: From<SecurityEntry> + async_graphql::OutputType>(
    field: &FieldContext<'_>,
    timeline: Timeline,
    before: Option<u64>,
    page: HistoryPage,
) -> Result<Connection<N>, Error> {
    let mut connection = Connection::new(before.is_some(), page.has_more);
    for event in page.events {
        let cursor = field.cursors().write(timeline, event.sequence)?;
        connection
            .edges
            .push(Edge::new(cursor, N::from(event.entry)));
    }
    Ok(connection)
}
