//! The audit log: who did what in the tenant, when, from where. Read from the log itself, the
//! latest first.

use async_graphql::{
    Context, Enum, ID, InputObject, Object, SimpleObject,
    connection::{self, Edge, EmptyFields},
};
use events_schema::{AccessTokenId, AccountId, Actor, Area, Time};

use super::{DateTime, Field, loaders::Person};
use crate::{
    backend::log::{Entry, From},
    error::Error,
    identity::caller::Membership,
};

/// Entries on a page where nobody says how many, and at most.
const DEFAULT_SIZE: usize = 50;
const LARGEST_SIZE: i64 = 100;
/// Commits that are read at once while looking for entries.
const CHUNK: u64 = 200;
/// Chunks that one request reads at most: ten thousand commits.
const MOST_CHUNKS: usize = 50;

/// A part of the business.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
pub(super) enum AreaName {
    AccessToken,
    Member,
    Project,
    Role,
    Tenant,
}

impl AreaName {
    pub(super) const ALL: [Self; 5] = [
        Self::AccessToken,
        Self::Member,
        Self::Project,
        Self::Role,
        Self::Tenant,
    ];

    /// The area, if it is one that belongs to tenants.
    pub(super) fn of(area: Area) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.area() == area)
    }

    pub(super) const fn area(self) -> Area {
        match self {
            Self::AccessToken => Area::AccessToken,
            Self::Member => Area::Member,
            Self::Project => Area::Project,
            Self::Role => Area::Role,
            Self::Tenant => Area::Tenant,
        }
    }
}

/// Who did something.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
pub(super) enum ActorKind {
    /// A person.
    Person,
    /// A machine, by an access token.
    AccessToken,
    /// The system, in consequence of something else.
    System,
}

/// Who did something.
pub(super) struct Doer(pub(super) Actor);

#[Object(name = "Actor")]
impl Doer {
    async fn kind(&self) -> ActorKind {
        match self.0 {
            Actor::Account(_) => ActorKind::Person,
            Actor::AccessToken(_) => ActorKind::AccessToken,
            Actor::System | Actor::Anonymous => ActorKind::System,
        }
    }

    /// Of the account or the access token.
    async fn id(&self) -> Option<ID> {
        match self.0 {
            Actor::Account(AccountId(id)) | Actor::AccessToken(AccessTokenId(id)) => {
                Some(id.to_string().into())
            }
            Actor::System | Actor::Anonymous => None,
        }
    }

    /// Who it is, if it is a person.
    async fn person(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.0 {
            Actor::Account(account) => Field::of(ctx).loaders().person(account).await,
            Actor::AccessToken(_) | Actor::System | Actor::Anonymous => Ok(None),
        }
    }
}

/// Something that was done.
#[derive(SimpleObject)]
struct AuditEntry {
    at: DateTime,
    actor: Doer,
    area: AreaName,
    /// Of what changed.
    id: ID,
    /// To which revision it changed.
    revision: u64,
    /// What happened, such as `created`.
    events: Vec<String>,
    /// The network address that it was asked from.
    address: Option<String>,
    /// What the client said that it is.
    device: Option<String>,
}

impl AuditEntry {
    fn of(entry: Entry) -> Option<Self> {
        let Entry {
            area,
            id,
            revision,
            time,
            actor,
            origin,
            events,
            ..
        } = entry;
        let (address, device) = origin
            .map(|origin| (origin.address, Some(origin.device)))
            .unwrap_or_default();
        Some(Self {
            at: DateTime(time),
            actor: Doer(actor),
            area: AreaName::of(area)?,
            id: id.to_string().into(),
            revision,
            events,
            address: address.map(|address| address.as_str().to_owned()),
            device: device.map(|device| device.as_str().to_owned()),
        })
    }
}

/// Which entries; what is absent does not matter.
#[derive(Default, InputObject)]
struct AuditFilter {
    /// Of whoever did it: an account or an access token.
    actor: Option<ID>,
    area: Option<Vec<AreaName>>,
    /// Of what changed.
    id: Option<ID>,
    since: Option<DateTime>,
    until: Option<DateTime>,
}

impl AuditFilter {
    fn lets_through(&self, entry: &Entry) -> bool {
        let actor = match entry.actor {
            Actor::Account(AccountId(id)) | Actor::AccessToken(AccessTokenId(id)) => {
                Some(id.to_string())
            }
            Actor::System | Actor::Anonymous => None,
        };
        let until = self.until.as_ref().is_none_or(|until| entry.time < until.0);
        AreaName::of(entry.area)
            .is_some_and(|area| self.area.as_ref().is_none_or(|areas| areas.contains(&area)))
            && self
                .actor
                .as_ref()
                .is_none_or(|wanted| actor.as_deref() == Some(wanted.as_str()))
            && self
                .id
                .as_ref()
                .is_none_or(|wanted| entry.id.to_string() == **wanted)
            && until
    }
}

type Connection = connection::Connection<String, AuditEntry, EmptyFields>;

#[derive(Default)]
pub(crate) struct AuditQueries;

#[Object]
impl AuditQueries {
    /// Who did what in the tenant, when, from where; the latest first.
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where")] filter: Option<AuditFilter>,
        first: Option<i64>,
        after: Option<String>,
    ) -> Result<Option<Connection>, Error> {
        let field = Field::of(ctx);
        let size = match first {
            None => DEFAULT_SIZE,
            Some(size @ 0..=LARGEST_SIZE) => usize::try_from(size).unwrap_or(0),
            Some(_) => {
                return Err(Error::input(
                    "first",
                    format!("first must be 0 to {LARGEST_SIZE}."),
                ));
            }
        };
        let before = after
            .as_deref()
            .map(|cursor| read_cursor("after", cursor))
            .transpose()?;
        let filter = filter.unwrap_or_default();
        let (entries, more) =
            latest(&field, field.caller.membership()?, &filter, before, size).await?;
        let mut connection = Connection::new(before.is_some(), more);
        let edge = |entry: Entry| {
            Some(Edge::new(
                write_cursor(entry.sequence),
                AuditEntry::of(entry)?,
            ))
        };
        connection
            .edges
            .extend(entries.into_iter().filter_map(edge));
        Ok(Some(connection))
    }
}

/// The latest entries before a sequence, and whether there may be more.
async fn latest(
    field: &Field<'_>,
    membership: &Membership,
    filter: &AuditFilter,
    before: Option<u64>,
    size: usize,
) -> Result<(Vec<Entry>, bool), Error> {
    let (log, tenant) = (&field.state.log, membership.tenant_id());
    // Beyond everything: no log has so many.
    let mut end = before.unwrap_or(1 << 62);
    if let Some(DateTime(until)) = &filter.until
        && let Some(first) = log.page(tenant, From::Time(*until), 1).await?.0.first()
    {
        end = end.min(first.sequence);
    }
    let since = filter
        .since
        .as_ref()
        .map_or(Time(i64::MIN), |since| since.0);
    let mut found = Vec::new();
    for _ in 0..MOST_CHUNKS {
        let start = chunk_before(field, membership, end).await?;
        let (chunk, _) = log
            .page(
                tenant,
                From::Sequence(start),
                usize::try_from(CHUNK).unwrap_or(0),
            )
            .await?;
        let chunk: Vec<Entry> = chunk
            .into_iter()
            .filter(|entry| entry.sequence < end)
            .collect();
        let Some(oldest) = chunk.first().map(|entry| (entry.sequence, entry.time)) else {
            return Ok((found, false));
        };
        found.extend(
            chunk
                .into_iter()
                .rev()
                .filter(|entry| entry.time >= since && filter.lets_through(entry)),
        );
        if found.len() > size {
            found.truncate(size);
            return Ok((found, true));
        }
        if oldest.1 < since {
            return Ok((found, false));
        }
        end = oldest.0;
    }
    if found.is_empty() {
        return Err(Error::input(
            "where",
            "Nothing was found among the latest ten thousand entries; name an earlier time in until.",
        ));
    }
    Ok((found, true))
}

/// A sequence from which up to [`CHUNK`] of the tenant's commits stand before `end`. The log is
/// read forward only, but tells how many follow: so it is found by halving.
async fn chunk_before(field: &Field<'_>, membership: &Membership, end: u64) -> Result<u64, Error> {
    let (log, tenant) = (&field.state.log, membership.tenant_id());
    let behind = log.count(tenant, end).await?;
    let (mut low, mut high) = (1, end.min(field.state.log.last_sequence().await? + 1));
    if log.count(tenant, low).await? - behind <= CHUNK {
        return Ok(low);
    }
    // At `low` there are too many, at `high` few enough.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if log.count(tenant, middle).await?.saturating_sub(behind) > CHUNK {
            low = middle
        } else {
            high = middle
        }
    }
    Ok(high)
}

pub(super) fn write_cursor(sequence: u64) -> String {
    data_encoding::BASE64URL_NOPAD.encode(&sequence.to_be_bytes())
}

pub(super) fn read_cursor(field: &'static str, text: &str) -> Result<u64, Error> {
    let bytes = data_encoding::BASE64URL_NOPAD
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    let sequence = bytes
        .map(u64::from_be_bytes)
        .filter(|sequence| *sequence < 1 << 62);
    sequence.ok_or_else(|| Error::input(field, format!("{field} must be a cursor of this list.")))
}
