//! Limits: how many live aggregates a tenant may have in an area. They are counted in the log. If
//! all objects of a tenant are one aggregate, they are counted there, and its own guard suffices.
//!
//! A commit that makes an aggregate live under a limit stands directly behind the tenant's claim of
//! the kind `limit`, in one batch and under the guard of that claim. So of two decisions that rely
//! on the same count only one is stored, and the other command counts again. A command without a
//! limit neither counts nor writes the claim; the next count includes what it has made.

use std::{collections::HashMap, marker::PhantomData};

use anyhow::ensure;
use event_store::{Append, EventLog, Stored, Unavailable};
use events_schema::{
    Area, Claim, ClaimHolder, Command, CommitSummary, Id, Life, Reject, Rejection, RejectionKind,
    Subject, TenantId, Time, subject::events_of_tenant_in, variant_name,
};
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;

use crate::{
    aggregate::{Aggregate, EventOf},
    loops::cache::Cache,
};

/// Bytes of the ids of live aggregates that a process caches for one area, about: 250,000 of them.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What a live aggregate takes, with the free room of the map.
const AGGREGATE_BYTES: usize = 64;
/// How much longer an aggregate that ends by itself is counted. A command that was sent before that
/// end may still be decided: it may be a minute old, its sender's clock may differ by another, and
/// its append takes seconds.
const LEEWAY_MS: i64 = 5 * 60 * 1000;

#[derive(Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
enum Exceeded {
    #[error("There are as many as the limit allows. Delete some, or ask for a higher limit.")]
    LimitReached,
}

impl Reject for Exceeded {
    fn kind(&self) -> RejectionKind {
        RejectionKind::Limit
    }
}

/// The counts of one area.
#[derive(Debug)]
pub struct Limits<A: Area> {
    tenants: Cache<TenantId, Live>,
    area: PhantomData<A>,
}

/// Allows to make one more aggregate live, by a commit that directly follows the claim. Until this
/// is dropped, other commands of the tenant wait: they would lose the race for the claim.
#[derive(Debug)]
pub struct Permit {
    pub claim: Append,
    _live: OwnedMutexGuard<Live>,
}

impl<A: Area> Limits<A> {
    pub fn new() -> Self {
        Self {
            tenants: Cache::new(MAX_BYTES),
            area: PhantomData,
        }
    }

    /// Counts for a command that would store these events. Returns no permit if none is needed:
    /// there is no limit, or no more aggregates are live afterwards. Returns a rejection if the
    /// limit is reached.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn permit(
        &self,
        log: &EventLog,
        command: &Command<A>,
        events: &[A::Event],
    ) -> anyhow::Result<Result<Option<Permit>, Rejection>> {
        let Some(limit) = command.limit else {
            return Ok(Ok(None));
        };
        let (own, now): (Id, Time) = (command.aggregate.into(), command.time);
        if !is_live_after::<A>(events, now)? {
            return Ok(Ok(None));
        }
        let claim = Claim::limit(command.tenant, A::NAME).to_string();
        let (live, claimed) = self.count(log, command.tenant, &claim).await?;
        if live.has(own, now) {
            return Ok(Ok(None));
        }
        let used = live.others(own, now);
        if used >= limit {
            return Ok(Err(reached(used)));
        }
        let holder = ClaimHolder::held_by(own, Some(now));
        let claim = Append {
            subject: claim,
            last: claimed,
            expires_after: None,
            payload: serde_json::to_vec(&holder)?.into(),
        };
        Ok(Ok(Some(Permit { claim, _live: live })))
    }

    /// Returns how many aggregates of a tenant are live.
    ///
    /// # Errors
    /// If the log does not answer.
    pub async fn live(&self, log: &EventLog, tenant: TenantId, now: Time) -> anyhow::Result<u64> {
        let mut live = self.tenants.get(tenant).lock_owned().await;
        let refreshed = live.refresh::<A>(log, tenant, 0).await;
        self.tenants.used(&tenant, live.size());
        refreshed?;
        Ok(live.count(now))
    }

    /// Returns the live aggregates of a tenant, and the last sequence of its claim.
    async fn count(
        &self,
        log: &EventLog,
        tenant: TenantId,
        claim: &str,
    ) -> anyhow::Result<(OwnedMutexGuard<Live>, u64)> {
        let mut live = self.tenants.get(tenant).lock_owned().await;
        // The claim is read first, so that the count includes all that was stored behind it.
        let claimed = log.last(claim).await?.map_or(0, |last| last.sequence);
        let refreshed = live.refresh::<A>(log, tenant, claimed).await;
        self.tenants.used(&tenant, live.size());
        refreshed?;
        Ok((live, claimed))
    }
}

/// Checks the limit of a command that would store these events in an aggregate of so many objects.
///
/// # Errors
/// If the limit is reached.
pub fn check_objects<A: Aggregate>(
    state: &A,
    used: u64,
    command: &Command<A::Area>,
    events: &[EventOf<A>],
) -> Result<(), Rejection> {
    let Some(limit) = command.limit.filter(|limit| used >= *limit) else {
        return Ok(());
    };
    let mut after = state.clone();
    for event in events {
        after.evolve(event, command.time);
    }
    // What a tenant has beyond its limit stays and changes.
    if after
        .objects()
        .is_some_and(|objects| objects > used.max(limit))
    {
        return Err(reached(used));
    }
    Ok(())
}

fn reached(used: u64) -> Rejection {
    let rejection = Exceeded::LimitReached.to_rejection();
    Rejection {
        used: Some(used),
        ..rejection
    }
}

/// Whether an aggregate is live after these events.
fn is_live_after<A: Area>(events: &[A::Event], time: Time) -> anyhow::Result<bool> {
    let Some(last) = events.last() else {
        return Ok(false);
    };
    let life = Life::after::<A>(&variant_name(last)?, time, None);
    Ok(life.is_live_at(time))
}

/// The live aggregates of one tenant in one area.
#[derive(Debug, Default)]
struct Live {
    aggregates: HashMap<Id, Life>,
    /// The sequence of the last commit that is included.
    reached: u64,
}

impl Live {
    /// Includes all commits that the leader of the log knows, and at least the one behind the claim
    /// with this sequence.
    async fn refresh<A: Area>(
        &mut self,
        log: &EventLog,
        tenant: TenantId,
        claimed: u64,
    ) -> anyhow::Result<()> {
        let filter = events_of_tenant_in(tenant, A::NAME);
        if self.reached == 0
            && let Some(last) = log.last_of_all(&filter).await?
        {
            self.apply_all::<A>(&last);
        }
        loop {
            let page = log.page(&filter, self.reached + 1).await?;
            self.apply_all::<A>(&page.messages);
            if page.is_last() {
                break;
            }
        }
        let rest = log.read_from_leader(&filter, self.reached + 1).await?;
        self.apply_all::<A>(&rest);
        // Otherwise that leader has been replaced and does not know it yet.
        ensure!(claimed == 0 || self.reached > claimed, Unavailable);
        Ok(())
    }

    fn apply_all<A: Area>(&mut self, messages: &[Stored]) {
        for message in messages {
            self.apply::<A>(message);
        }
    }

    fn apply<A: Area>(&mut self, message: &Stored) {
        self.reached = message.sequence;
        let Ok(Subject::Event { id, .. }) = Subject::parse(&message.subject) else {
            return;
        };
        match life_after::<A>(&message.payload) {
            Life::Ended => self.aggregates.remove(&id),
            life @ (Life::Open | Life::Until(_)) => self.aggregates.insert(id, life),
        };
    }

    /// Whether this aggregate is live.
    fn has(&self, id: Id, now: Time) -> bool {
        let life = self.aggregates.get(&id);
        life.is_some_and(|life| life.is_live_at(now))
    }

    /// Returns how many aggregates are live.
    fn count(&self, now: Time) -> u64 {
        let lives = self.aggregates.values();
        lives.filter(|life| life.is_live_at(now)).count() as u64
    }

    /// Returns how many aggregates other than this one are live, or have just ended by themselves.
    fn others(&self, own: Id, now: Time) -> u64 {
        let before = Time(now.0.saturating_sub(LEEWAY_MS));
        let others = self.aggregates.iter().filter(|(id, _)| **id != own);
        others.filter(|(_, life)| life.is_live_at(before)).count() as u64
    }

    /// Returns what it takes in memory, about.
    fn size(&self) -> usize {
        AGGREGATE_BYTES * self.aggregates.len()
    }
}

/// Returns how long an aggregate lives after a commit. One that cannot be read is counted, so that
/// no more are made than the limit allows.
fn life_after<A: Area>(commit: &[u8]) -> Life {
    let commit = serde_json::from_slice::<CommitSummary>(commit).ok();
    let life = commit.and_then(|commit| {
        let last = commit.events.last()?;
        Some(Life::after::<A>(&last.name, commit.time, last.lapses_at))
    });
    life.unwrap_or(Life::Open)
}

#[cfg(test)]
mod tests {
    use events_schema::{AreaName, CommandId, TenantKey, WebhookId, member, project, webhook};
    use serde_json::json;

    use super::*;
    use crate::domain::webhook::Webhooks;

    const MINUTE: i64 = 60 * 1000;
    const WEEK: i64 = 7 * 24 * 60 * MINUTE;
    const TENANT: &str = "00112233445566778899aabbccddeeff";

    fn id(number: u8) -> Id {
        Id::from_bytes([number; 16])
    }

    fn stored(sequence: u64, area: AreaName, number: u8, payload: Vec<u8>) -> Stored {
        let subject = format!("evt.{TENANT}.{area}.{}", id(number));
        let payload = payload.into();
        Stored {
            sequence,
            subject,
            payload,
        }
    }

    /// The live aggregates after commits at time zero: the number of each aggregate, and its event.
    fn live<A: Area>(commits: &[(u8, &str)]) -> Live {
        let mut live = Live::default();
        for (sequence, (number, event)) in (1..).zip(commits) {
            let commit = json!({
                "tenant": TENANT, "area": A::NAME, "id": id(*number), "revision": 1,
                "command": id(9), "actor": { "kind": "system" }, "time": 0,
                "events": [{ "type": event }],
            });
            let payload = serde_json::to_vec(&commit).unwrap();
            live.apply::<A>(&stored(sequence, A::NAME, *number, payload));
        }
        live
    }

    #[test]
    fn the_last_event_decides_whether_an_aggregate_is_counted() {
        let commits = [
            (1, "created"),
            (2, "created"),
            (2, "deleted"),
            (3, "updated"),
        ];
        let live = live::<project::Area>(&commits);
        assert_eq!(live.reached, 4);
        assert_eq!(live.others(id(9), Time(0)), 2);
        assert_eq!(live.others(id(1), Time(0)), 1, "without itself");
        assert!(live.has(id(1), Time(0)) && !live.has(id(2), Time(0)));
        assert_eq!(live.size(), 2 * AGGREGATE_BYTES);
    }

    #[test]
    fn an_invitation_that_is_sent_again_after_its_rejection_is_counted() {
        let commits = [(1, "invited"), (1, "rejected"), (1, "invited")];
        for (length, expected) in [(1, 1), (2, 0), (3, 1)] {
            let live = live::<member::Area>(&commits[..length]);
            assert_eq!(live.others(id(9), Time(0)), expected, "{length}");
        }
    }

    #[test]
    fn an_expired_invitation_is_counted_until_nobody_can_be_accepting_it() {
        let live = live::<member::Area>(&[(1, "invited"), (2, "accepted")]);
        // It takes a seat only if another one is free.
        assert!(live.has(id(1), Time(WEEK - 1)) && !live.has(id(1), Time(WEEK)));
        assert_eq!(live.others(id(9), Time(WEEK + 5 * MINUTE - 1)), 2);
        assert_eq!(live.others(id(9), Time(WEEK + 5 * MINUTE)), 1);
        assert_eq!([WEEK - 1, WEEK].map(|now| live.count(Time(now))), [2, 1]);
    }

    #[test]
    fn an_invitation_whose_role_has_changed_is_counted_until_it_expires() {
        let mut live = live::<member::Area>(&[(1, "invited")]);
        let changed = json!({
            "tenant": TENANT, "area": "member", "id": id(1), "revision": 2,
            "command": id(9), "actor": { "kind": "system" }, "time": MINUTE,
            "events": [{ "type": "role_assigned", "lapses_at": WEEK }],
        });
        let payload = serde_json::to_vec(&changed).unwrap();
        live.apply::<member::Area>(&stored(2, AreaName::Member, 1, payload));
        assert!(live.has(id(1), Time(WEEK - 1)));
        assert_eq!(live.others(id(9), Time(WEEK + 5 * MINUTE)), 0);
    }

    #[test]
    fn a_commit_that_cannot_be_read_is_counted() {
        let mut live = live::<project::Area>(&[(1, "deleted")]);
        for payload in ["garbage", "{}"] {
            let message = stored(2, AreaName::Project, 1, payload.into());
            live.apply::<project::Area>(&message);
            assert!(live.has(id(1), Time(0)), "{payload}");
        }
    }

    fn webhook_created(number: u8) -> webhook::Event {
        let settings = json!({
            "url": "https://example.com/hooks", "event_types": ["*"], "ordering": "aggregate",
            "payload": "thin", "content_type": "json", "rate_limit": 0, "concurrency": 8,
        });
        let secret = format!("k1:{}", "QUFB".repeat(13));
        let created = json!({
            "type": "created", "webhook": id(number), "settings": settings,
            "key": { "algorithm": "hmac", "secret": secret },
        });
        serde_json::from_value(created).unwrap()
    }

    #[test]
    fn the_objects_of_an_aggregate_are_counted_there_and_what_is_beyond_a_limit_stays() {
        let mut webhooks = Webhooks::default();
        for number in 1..=3 {
            webhooks.evolve(&webhook_created(number), Time(0));
        }
        let one = WebhookId(id(1));
        let [create, delete] = [webhook_created(4), webhook::Event::Deleted { webhook: one }];
        let disable = webhook::Command::Disable { webhook: one };
        let tenant = TenantKey(id(7));
        let of = TenantId::Tenant(tenant);
        for (limit, event, is_allowed) in [
            (None, &create, true),
            (Some(4), &create, true),
            (Some(3), &create, false),
            (Some(2), &create, false),
            (Some(3), &delete, true),
            (Some(0), &delete, true),
        ] {
            let payload = disable.clone();
            let command = Command::by_system(CommandId(id(9)), of, tenant, Time(0), payload);
            let command = Command { limit, ..command };
            let used = webhooks.objects().unwrap();
            let checked = check_objects(&webhooks, used, &command, std::slice::from_ref(event));
            let expected = if is_allowed { Ok(()) } else { Err(reached(3)) };
            assert_eq!(checked, expected, "{limit:?} {event:?}");
        }
    }
}
