//! The audit log: who changed what in the tenant, when and from where. It is read from the log
//! itself, the latest entries first.
//!
//! The commits of a tenant's connections belong to the platform, under the tenant's id. They are
//! read beside the tenant's own.

use event_store::EventLog;
use events_schema::{
    AccessTokenId, AccountId, Actor, AreaName, Id, ServiceId, Subject, TenantId, TenantKey, Time,
    subject::{events_of_object, events_of_tenant, events_of_tenant_in},
};

use crate::{
    backend::log::{Entry, entries},
    clock::now,
    error::Error,
};

/// Commits of the first read, which usually suffices.
const FIRST_READ: usize = 200;
/// Maximum older commits that are searched after the first read.
const MAX_SEARCHED: usize = 10_000;
/// How far the time of a commit, which its gateway has set, may be from the time when the log has
/// stored it. Workers refuse commands that are more than a minute off; deciding takes seconds.
/// Commits of the system may be further off: they carry the time of their cause.
const CLOCKS_DIFFER_BY_MS: i64 = 2 * 60 * 1000;

/// The look for the record of a domain, each day. It changes nothing that anybody wants to see.
const ROUTINE: &str = "domain_checked";

/// Whether the audit log of a tenant shows the changes of an area.
pub(crate) fn is_audited(area: AreaName) -> bool {
    area.feed().is_some() || area == AreaName::Connection
}

/// Reads the audit logs of tenants.
#[derive(Clone, Debug)]
pub(crate) struct AuditLog {
    log: EventLog,
}

/// The conditions that an entry must meet. `None` is met by every entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditFilter {
    /// The id of an account, an access token or a service. An account has made what it did as
    /// another person, too.
    pub(crate) actor: Option<String>,
    pub(crate) areas: Option<Vec<AreaName>>,
    /// The id of the object that was changed.
    pub(crate) id: Option<String>,
    pub(crate) since: Option<Time>,
    /// The end of the time range, which is excluded.
    pub(crate) until: Option<Time>,
}

/// Where commits are that a tenant sees.
#[derive(Debug, PartialEq)]
struct Source {
    /// Whose commits they are.
    tenant: TenantId,
    subjects: String,
}

/// Entries of the audit log, the latest first.
#[derive(Debug, Default)]
pub(crate) struct AuditPage {
    pub(crate) entries: Vec<Entry>,
    pub(crate) has_more: bool,
}

impl AuditLog {
    /// Reads from this log.
    pub(crate) fn new(log: EventLog) -> Self {
        Self { log }
    }

    /// Returns up to `size` of a tenant's latest entries before this sequence. The server finds the
    /// commits of an object or an area. Among them, this searches at most ten thousand.
    ///
    /// # Errors
    /// `BadUserInput` if none of them match; `Internal` if the log cannot be read.
    pub(crate) async fn latest(
        &self,
        tenant: TenantKey,
        filter: &AuditFilter,
        before: Option<u64>,
        size: usize,
    ) -> Result<AuditPage, Error> {
        let sources = filter.sources(tenant);
        let Some((main, beside)) = sources.split_first() else {
            return Ok(AuditPage::default());
        };
        let end = self.end(&main.subjects, filter, before).await?;
        let stored = self
            .log
            .page_before(&main.subjects, end, FIRST_READ)
            .await?;
        let oldest = stored.first().map_or(1, |oldest| oldest.sequence);
        let mut latest = entries(main.tenant, &stored)?;
        latest.extend(self.between(beside, oldest, end).await?);
        latest.sort_by_key(|entry| entry.sequence);
        let is_complete = stored.is_empty() || filter.excludes_all_before(&latest);
        let mut found = filter.matching(latest);
        if found.len() > size || is_complete {
            return Ok(page(found, size, false));
        }
        // The log can be searched forward only, so the beginning is found first.
        let start = self
            .log
            .start_before(&main.subjects, oldest, MAX_SEARCHED)
            .await?;
        let older = self.between(&sources, start, oldest).await?;
        let is_complete = filter.excludes_all_before(&older);
        found.extend(filter.matching(older));
        let stopped = start > 1 && !is_complete;
        if found.is_empty() && stopped {
            return Err(Error::input(
                "where",
                "where matches none of the latest 10000 changes. Set until to an earlier time.",
            ));
        }
        Ok(page(found, size, stopped))
    }

    /// Returns the entries of all these sources from one sequence until before another one, in
    /// their order.
    async fn between(&self, sources: &[Source], start: u64, end: u64) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        for Source { tenant, subjects } in sources {
            let mut next = Some(start);
            while let Some(from) = next.filter(|from| *from < end) {
                let mut page = self.log.page(subjects, from).await?;
                next = page.next().filter(|_| !page.is_last());
                page.messages.retain(|message| message.sequence < end);
                all.extend(entries(*tenant, &page.messages)?);
            }
        }
        all.sort_by_key(|entry| entry.sequence);
        Ok(all)
    }

    /// Returns the sequence before which the search begins.
    async fn end(
        &self,
        subjects: &str,
        filter: &AuditFilter,
        before: Option<u64>,
    ) -> Result<u64, Error> {
        let end = before.unwrap_or(u64::MAX);
        let Some(Time(until)) = filter.until else {
            return Ok(end);
        };
        let stored_until = Time(until.saturating_add(CLOCKS_DIFFER_BY_MS));
        if stored_until > now() {
            return Ok(end);
        }
        let first = self.log.first_since(subjects, stored_until).await?;
        Ok(first.map_or(end, |first| end.min(first)))
    }
}

/// Returns at most `size` entries. More may follow if more were found, or if the search stopped.
fn page(mut entries: Vec<Entry>, size: usize, stopped: bool) -> AuditPage {
    let has_more = stopped || entries.len() > size;
    entries.truncate(size);
    AuditPage { entries, has_more }
}

impl AuditFilter {
    /// Returns the narrowest subjects that have all matching commits, those of the tenant itself
    /// first; none if there can be no such commit.
    fn sources(&self, key: TenantKey) -> Vec<Source> {
        let tenant = TenantId::Tenant(key);
        let connections = Subject::Event {
            tenant: TenantId::Platform,
            area: AreaName::Connection,
            id: key.0,
        };
        let connections = Source {
            tenant: TenantId::Platform,
            subjects: connections.to_string(),
        };
        let own = |subjects| Source { tenant, subjects };
        let own = match (&self.id, self.areas.as_deref()) {
            (Some(id), _) => match Id::parse(id) {
                Ok(id) => own(events_of_object(tenant, id)),
                Err(_) => return Vec::new(),
            },
            (None, Some([AreaName::Connection])) => return vec![connections],
            (None, Some([area])) => own(events_of_tenant_in(tenant, *area)),
            (None, _) => own(events_of_tenant(tenant)),
        };
        let mut areas = self.areas.iter().flatten();
        let of_area = self.areas.is_none() || areas.any(|area| *area == AreaName::Connection);
        let of_object = self.id.as_ref().is_none_or(|id| *id == key.to_string());
        let connections = (of_area && of_object).then_some(connections);
        [own].into_iter().chain(connections).collect()
    }

    /// Whether every entry before these is too old, however the clocks differ.
    fn excludes_all_before(&self, entries: &[Entry]) -> bool {
        let (Some(Time(since)), Some(first)) = (self.since, entries.first()) else {
            return false;
        };
        first.commit.time.0 < since.saturating_sub(2 * CLOCKS_DIFFER_BY_MS)
    }

    /// Returns those of these entries that match, the latest first.
    fn matching(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let latest_first = entries.into_iter().rev();
        latest_first.filter(|entry| self.matches(entry)).collect()
    }

    fn matches(&self, entry: &Entry) -> bool {
        let Entry { area, commit, .. } = entry;
        let is_asked_for =
            |asked: &Option<String>, id: Option<String>| asked.is_none() || *asked == id;
        is_audited(*area)
            && commit.events.iter().all(|event| event.name != ROUTINE)
            && self.since.is_none_or(|since| commit.time >= since)
            && self.until.is_none_or(|until| commit.time < until)
            && self.areas.as_ref().is_none_or(|areas| areas.contains(area))
            && self
                .actor
                .as_ref()
                .is_none_or(|asked| is_by(commit.actor, asked))
            && is_asked_for(&self.id, Some(commit.id.to_string()))
    }
}

/// Whether this id is that of the actor, or of one of its parts.
fn is_by(actor: Actor, asked: &str) -> bool {
    let also = match actor {
        Actor::Service { token, .. } => Some(token.0),
        Actor::Impersonated { by, .. } => Some(by.0),
        Actor::Account(_) | Actor::AccessToken(_) | Actor::System | Actor::Anonymous => None,
    };
    let ids = actor_id(actor)
        .into_iter()
        .chain(also.map(|id| id.to_string()));
    ids.into_iter().any(|id| id == asked)
}

/// Returns the id of the account, the access token or the service; `None` for the system.
pub(crate) fn actor_id(actor: Actor) -> Option<String> {
    match actor {
        Actor::Account(AccountId(id))
        | Actor::AccessToken(AccessTokenId(id))
        | Actor::Service {
            service: ServiceId(id),
            ..
        }
        | Actor::Impersonated {
            account: AccountId(id),
            ..
        } => Some(id.to_string()),
        Actor::System | Actor::Anonymous => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{CommandId, CommitSummary, Id};

    use super::*;

    const ADA: Id = Id::from_bytes([1; 16]);
    const PROJECT: Id = Id::from_bytes([2; 16]);

    fn entry(area: AreaName, time: i64) -> Entry {
        let commit = CommitSummary {
            tenant: TenantId::Tenant(TenantKey(Id::from_bytes([9; 16]))),
            area: area.to_string(),
            id: PROJECT,
            revision: 1,
            command: CommandId(PROJECT),
            actor: Actor::Account(AccountId(ADA)),
            time: Time(time),
            origin: None,
            events: Vec::new(),
        };
        Entry {
            sequence: 1,
            area,
            commit,
        }
    }

    fn matches(filter: AuditFilter) -> bool {
        filter.matches(&entry(AreaName::Project, 10))
    }

    #[test]
    fn an_entry_must_meet_all_conditions() {
        let none = AuditFilter::default;
        let (ada, other) = (Some(ADA.to_string()), Some(PROJECT.to_string()));
        let areas = |area| Some(vec![area]);
        for (expected, filter) in [
            (true, none()),
            (
                true,
                AuditFilter {
                    actor: ada.clone(),
                    ..none()
                },
            ),
            (
                false,
                AuditFilter {
                    actor: other.clone(),
                    ..none()
                },
            ),
            (
                true,
                AuditFilter {
                    id: other.clone(),
                    ..none()
                },
            ),
            (
                false,
                AuditFilter {
                    id: ada.clone(),
                    ..none()
                },
            ),
            (
                true,
                AuditFilter {
                    areas: areas(AreaName::Project),
                    ..none()
                },
            ),
            (
                false,
                AuditFilter {
                    areas: areas(AreaName::Role),
                    ..none()
                },
            ),
            (
                true,
                AuditFilter {
                    since: Some(Time(10)),
                    until: Some(Time(11)),
                    ..none()
                },
            ),
            (
                false,
                AuditFilter {
                    since: Some(Time(11)),
                    ..none()
                },
            ),
            (
                false,
                AuditFilter {
                    until: Some(Time(10)),
                    ..none()
                },
            ),
            (
                false,
                AuditFilter {
                    actor: ada,
                    id: Some("x".to_owned()),
                    ..none()
                },
            ),
        ] {
            assert_eq!(matches(filter.clone()), expected, "{filter:?}");
        }
    }

    #[test]
    fn an_administrator_and_the_person_as_whom_they_act_are_both_asked_for() {
        let (account, by) = (AccountId(ADA), AccountId(PROJECT));
        let mut entry = entry(AreaName::Project, 10);
        entry.commit.actor = Actor::Impersonated { account, by };
        let found = |actor: Id| {
            let filter = AuditFilter {
                actor: Some(actor.to_string()),
                ..AuditFilter::default()
            };
            filter.matches(&entry)
        };
        assert!(found(ADA) && found(PROJECT));
        assert!(!found(Id::from_bytes([9; 16])));
    }

    #[test]
    fn the_commits_of_connections_are_read_unless_other_areas_or_objects_are_asked_for() {
        let key = TenantKey(Id::from_bytes([9; 16]));
        let of_platform = |filter: &AuditFilter| {
            let sources = filter.sources(key);
            let of_platform = |source: &&Source| source.tenant == TenantId::Platform;
            (sources.len(), sources.iter().filter(of_platform).count())
        };
        let filter = |id: Option<Id>, areas: Option<&[AreaName]>| AuditFilter {
            id: id.map(|id| id.to_string()),
            areas: areas.map(<[_]>::to_vec),
            ..AuditFilter::default()
        };
        let (connection, member) = (AreaName::Connection, AreaName::Member);
        for (id, areas, expected) in [
            (None, None, (2, 1)),
            (None, Some(&[connection][..]), (1, 1)),
            (None, Some(&[member, connection]), (2, 1)),
            (None, Some(&[member]), (1, 0)),
            (Some(key.0), None, (2, 1)),
            (Some(PROJECT), None, (1, 0)),
        ] {
            assert_eq!(
                of_platform(&filter(id, areas)),
                expected,
                "{id:?} {areas:?}"
            );
        }
    }

    #[test]
    fn an_area_without_a_feed_is_not_shown() {
        assert!(!AuditFilter::default().matches(&entry(AreaName::Session, 10)));
    }
}
