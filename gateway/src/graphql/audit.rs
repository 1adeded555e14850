//! The audit log of the tenant.

use super::{
    actor::ActorView,
    area_name::TenantArea,
    cursor::Timeline,
    field::FieldContext,
    scalars::{DateTime, to_id},
};
use crate::{
    backend::log::Entry,
    error::Error,
    use_cases::audit::{AuditFilter, AuditPage},
};
use async_graphql::{
    Context, ID, InputObject, Object, SimpleObject,
    connection::{self, Edge, EmptyFields},
};

/// Entries on a page if the client gives no size.
const DEFAULT_SIZE: usize = 50;
/// Maximum entries on a page.
const LARGEST_SIZE: i64 = 100;

/// A change that was made in the tenant.
#[derive(SimpleObject)]
struct AuditEntry {
    /// When the change was made.
    at: DateTime,
    /// Who made the change.
    actor: ActorView,
    /// The area of the object that was changed.
    area: TenantArea,
    /// Id of the object that was changed: 32 lower-case hex digits.
    id: ID,
    /// Revision of the object after the change.
    revision: u64,
    /// Names of the events of the change, such as `created`. Newer versions may add names.
    events: Vec<String>,
    /// IP address that the request came from. Null if it is unknown, and for the system.
    address: Option<String>,
    /// The client's description of itself (its `User-Agent`), up to 200 characters. Null for the
    /// system.
    device: Option<String>,
}

impl AuditEntry {
    fn of(entry: Entry) -> Self {
        let Entry { area, commit, .. } = entry;
        let origin = commit.origin.map(|origin| (origin.address, origin.device));
        let (address, device) = origin.unzip();
        Self {
            at: DateTime(commit.time),
            actor: ActorView(commit.actor),
            area: TenantArea(area),
            id: to_id(commit.id),
            revision: commit.revision,
            events: commit.events.into_iter().map(|event| event.name).collect(),
            address: address.flatten().map(Into::into),
            device: device.map(Into::into),
        }
    }
}

/// Which entries to list. An entry must meet all conditions; an absent one is ignored.
#[derive(Default, InputObject)]
#[graphql(name = "AuditFilter")]
struct AuditFilterInput {
    /// The change was made by the account, access token or service with this id. An account has made
    /// what it did as another person, too.
    actor: Option<ID>,
    /// The object belongs to one of these areas.
    area: Option<Vec<TenantArea>>,
    /// The object with this id was changed.
    id: Option<ID>,
    /// The change was made at this time or later.
    since: Option<DateTime>,
    /// The change was made before this time.
    until: Option<DateTime>,
}

impl From<AuditFilterInput> for AuditFilter {
    fn from(input: AuditFilterInput) -> Self {
        let areas = input.area;
        Self {
            actor: input.actor.map(|id| id.0),
            areas: areas.map(|areas| areas.into_iter().map(|area| area.0).collect()),
            id: input.id.map(|id| id.0),
            since: input.since.map(|DateTime(time)| time),
            until: input.until.map(|DateTime(time)| time),
        }
    }
}

type Connection = connection::Connection<String, AuditEntry, EmptyFields>;

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "AuditQueries")]
impl Queries {
    /// Who changed what in the tenant, when and from where, the latest first. One request searches
    /// at most 10,000 changes, so a page may be short although more pages follow. If none of them
    /// match, the error is `BAD_USER_INPUT`: set `until` to an earlier time.
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            name = "where",
            desc = "Which entries to list. All entries by default."
        )]
        filter: Option<AuditFilterInput>,
        #[graphql(desc = "Entries on the page: 0 to 100, 50 by default.")] first: Option<i64>,
        #[graphql(desc = "Cursor of the last entry of the previous page.")] after: Option<String>,
    ) -> Result<Option<Connection>, Error> {
        let field = FieldContext::of(ctx);
        let (tenant, size) = (field.membership()?.tenant.id, page_size(first)?);
        let (cursors, timeline) = (field.cursors(), Timeline::Commits(tenant));
        let before = after.map(|after| cursors.read(timeline, "after", &after));
        let before = before.transpose()?;
        let filter = AuditFilter::from(filter.unwrap_or_default());
        let audit = &field.use_cases.audit;
        let latest = audit.latest(tenant, &filter, before, size);
        let AuditPage { entries, has_more } = latest.await?;
        let mut connection = Connection::new(before.is_some(), has_more);
        for entry in entries {
            let cursor = cursors.write(timeline, entry.sequence)?;
            connection
                .edges
                .push(Edge::new(cursor, AuditEntry::of(entry)));
        }
        Ok(Some(connection))
    }
}

/// Returns the size of a page that a client asks for.
///
/// # Errors
/// `BadUserInput` if the size is out of bounds.
pub(super) fn page_size(first: Option<i64>) -> Result<usize, Error> {
    match first {
        None => Ok(DEFAULT_SIZE),
        Some(size @ 0..=LARGEST_SIZE) => Ok(usize::try_from(size).unwrap_or(0)),
        Some(_) => {
            let message = format!("first must be between 0 and {LARGEST_SIZE}.");
            Err(Error::input("first", message))
        }
    }
}
