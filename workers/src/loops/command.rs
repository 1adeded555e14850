//! Commands in, commits and outcomes out.
//!
//! Within a process, commands for one aggregate are decided one after the other. Between processes
//! the guard of the append decides who was first; the loser reloads the aggregate and decides
//! again.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use async_nats::Client;
use event_store::{Append, Appended, EventLog, GroupCommit, Trace};
use events_schema::{
    Actor, Area as _, Claim, ClaimHolder, Command, CommandId, Commit, Id, Outcome, Reject,
    RejectionKind, Time,
    subject::{SENDERS, inbox_of},
};
use lru::LruCache;
use serde::Serialize;
use tracing::debug_span;

use crate::{
    aggregate::{Aggregate, Decision, EventOf, Facts},
    decode,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_consumers},
        history::{self, Histories, History, subject_of},
        limit::{Limits, check_objects},
        slots::Slots,
    },
};

/// How often a lost race is retried at once. After that the consumer redelivers the command, which
/// a thousand racers for one aggregate need.
const MAX_RACES: usize = 16;

/// Commands that a process has fetched, of which only some have a slot. So many commands for one
/// aggregate or of one tenant do not hold up the others. Not more of them, since the ack wait runs
/// while they wait.
const MAX_WAITING: usize = 256;

/// How old a command may be. Later its sender has given up, and its rights may have changed.
const EXPIRES_AFTER_MS: i64 = 60_000;
/// Commands that stored nothing whose outcomes are remembered: those of some seconds at full load.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();
/// How long they are remembered: twice as long as a sender usually waits. Later, a repetition is
/// decided again.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Decides the commands of one area until `shutdown`, then finishes the ones in progress.
///
/// # Errors
/// Never: failures are retried or end in DEAD. The result fits the other loops.
pub async fn run<A: Aggregate>(shared: Shared, commits: GroupCommit) -> anyhow::Result<()> {
    let consumer = Consumer::commands(A::Area::NAME);
    let decider = Decider::<A> {
        log: commits.log().clone(),
        commits,
        histories: Histories::new(history::MAX_BYTES),
        limits: Limits::new(),
        slots: Slots::new(consumer.concurrency),
        not_stored: Mutex::new(LruCache::new(REMEMBERED)),
        client: shared.client.clone(),
    };
    let internal = Consumer::internal_commands(A::Area::NAME);
    let consumers: Vec<_> = [consumer].into_iter().chain(internal).collect();
    handle_consumers(&consumers, MAX_WAITING, shared, &decider).await;
    Ok(())
}

/// Who keeps others from each claim, and since when, with the sequence that guards it.
type Holders = HashMap<Claim, Held>;

/// What is known about a claim.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    by: Option<Id>,
    since: Option<Time>,
    sequence: u64,
}

struct Decider<A: Aggregate> {
    client: Client,
    log: EventLog,
    commits: GroupCommit,
    histories: Histories<A>,
    limits: Limits<A::Area>,
    slots: Slots,
    /// The outcomes of the latest commands that stored nothing. The log answers a repetition of all
    /// others. A sender may repeat a command whose outcome is under way, and must get the same one.
    not_stored: Mutex<LruCache<CommandId, (Instant, Outcome)>>,
}

impl<A: Aggregate> Handler for Decider<A> {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let command = match decode::command::<A::Area>(&message.subject, &message.payload) {
            Ok(command) => command,
            Err(reason) => return delivery::undecoded(reason),
        };
        let outcome = self.decide(&command, received.trace).await?;
        tracing::debug!(
            subject = %message.subject, command = %command.id, aggregate = %command.aggregate,
            ?outcome, "decided"
        );
        let reply = command.reply.filter(|reply| is_inbox(reply));
        if let Some(reply) = reply {
            let outcome = serde_json::to_vec(&outcome)?;
            let sent = self.client.publish(reply, outcome.into()).await;
            sent.context("sending the outcome")?;
        }
        Ok(Handled::Done)
    }
}

impl<A: Aggregate> Decider<A> {
    async fn decide(&self, command: &Command<A::Area>, trace: Trace) -> anyhow::Result<Outcome> {
        let key = (command.tenant, command.aggregate);
        let kept = self.histories.get(key);
        let mut history = kept.lock().await;
        // Only the first command of an aggregate waits for a slot. The others wait for the first.
        let _slot = self.slots.take(command.tenant).await?;
        if let Some((at, outcome)) = self.not_stored().get(&command.id)
            && at.elapsed() < REMEMBERED_FOR
        {
            return Ok(outcome.clone());
        }
        let outcome = self.decide_on(&mut history, command, trace).await;
        match &outcome {
            // A repetition may be newer.
            Ok(Outcome::Rejected(rejection)) if *rejection == Stale::Expired.to_rejection() => {}
            Ok(outcome @ (Outcome::Rejected(_) | Outcome::Unchanged { .. })) => {
                let remembered = (Instant::now(), outcome.clone());
                self.not_stored().put(command.id, remembered);
            }
            Ok(Outcome::Committed { .. } | Outcome::DoneBefore { .. }) => {}
            // It is unknown what is stored, so the next command loads the aggregate again.
            Err(_) => *history = History::default(),
        }
        self.histories.used(&key, history.size());
        outcome
    }

    fn not_stored(&self) -> MutexGuard<'_, LruCache<CommandId, (Instant, Outcome)>> {
        self.not_stored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn decide_on(
        &self,
        history: &mut History<A>,
        command: &Command<A::Area>,
        trace: Trace,
    ) -> anyhow::Result<Outcome> {
        let subject = subject_of::<A>(command.tenant, command.aggregate);
        // An aggregate that takes its id from this command cannot exist yet, unless the command
        // comes again. Then the append finds out.
        let is_new = command.aggregate.into() == command.id.0;
        if history.revision == 0 && !is_new {
            history.refresh(&self.log, &subject).await?;
        }
        for _ in 0..MAX_RACES {
            if let Some(outcome) = history.answer(command.id) {
                return Ok(outcome);
            }
            let outcome = self.decide_once(history, command, &subject, trace).await?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            // A replica that lags behind would lead to the same conflict again.
            history.refresh_from_leader(&self.log, &subject).await?;
        }
        bail!("another decision was first {MAX_RACES} times in a row")
    }

    /// Decides on the known state. `None` if another decision was first.
    async fn decide_once(
        &self,
        history: &mut History<A>,
        command: &Command<A::Area>,
        subject: &str,
        trace: Trace,
    ) -> anyhow::Result<Option<Outcome>> {
        let mut facts = facts_of(command);
        let holders = history.state.claims(&command.payload, &facts);
        let holders = self.holders(holders, facts.now).await?;
        let held = holders
            .iter()
            .filter_map(|(claim, held)| Some((*claim, held.by?)));
        facts.holders = held.collect();
        let decided = match stale(command, history.revision) {
            Some(stale) => Err(stale.to_rejection()),
            None => {
                let span = debug_span!("decide");
                let decided = span.in_scope(|| history.state.decide(&command.payload, &facts));
                decided.map_err(|rejection| rejection.to_rejection())
            }
        };
        match decided {
            Err(rejection) => {
                self.if_current(history, subject, Outcome::Rejected(rejection))
                    .await
            }
            Ok(decision) if decision.events.is_empty() => {
                let revision = history.revision;
                self.if_current(history, subject, Outcome::Unchanged { revision })
                    .await
            }
            Ok(decision) => {
                let stored = self.store(history, command, subject, decision, holders, trace);
                stored.await
            }
        }
    }

    /// Stores what was decided, unless a limit is reached. `None` if another append was first.
    async fn store(
        &self,
        history: &mut History<A>,
        command: &Command<A::Area>,
        subject: &str,
        decision: Decision<EventOf<A>>,
        holders: Holders,
        trace: Trace,
    ) -> anyhow::Result<Option<Outcome>> {
        let (state, events) = (&history.state, &decision.events);
        let permit = match state.objects() {
            Some(used) => check_objects(state, used, command, events).map(|()| None),
            None => self.limits.permit(&self.log, command, events).await?,
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(rejection) => {
                let outcome = Outcome::Rejected(rejection);
                return self.if_current(history, subject, outcome).await;
            }
        };
        let mut claims = self.claim_appends(command, &decision, holders).await?;
        // Directly before the commit.
        claims.extend(permit.as_ref().map(|permit| permit.claim.clone()));
        let appended = self.append(history, command, decision.events, claims, trace);
        appended.await
    }

    /// Appends the commit of a decision behind its claims. `None` if another append was first.
    async fn append(
        &self,
        history: &mut History<A>,
        command: &Command<A::Area>,
        events: Vec<EventOf<A>>,
        claims: Vec<Append>,
        trace: Trace,
    ) -> anyhow::Result<Option<Outcome>> {
        let commit = commit_of(history.revision + 1, command, events);
        let payload = serde_json::to_vec(&commit)?;
        let bytes = payload.len();
        let append = Append {
            subject: commit.subject().to_string(),
            last: history.last_sequence,
            expires_after: A::Area::RETENTION,
            payload: payload.into(),
        };
        let appended = if claims.is_empty() {
            self.commits.append(append, trace).await?
        } else {
            let all = [claims, vec![append]].concat();
            self.log.append(&all, trace).await?
        };
        match appended {
            Appended::Conflict => Ok(None),
            Appended::At(sequence) => {
                history.apply(&commit, bytes, sequence)?;
                let revision = commit.revision;
                Ok(Some(Outcome::Committed { revision, sequence }))
            }
        }
    }

    /// No guard protects an outcome that stores nothing. So it is valid only if the leader has
    /// nothing newer.
    async fn if_current(
        &self,
        history: &History<A>,
        subject: &str,
        outcome: Outcome,
    ) -> anyhow::Result<Option<Outcome>> {
        let last = self.log.last(subject).await?;
        let last = last.map_or(0, |message| message.sequence);
        Ok((last == history.last_sequence).then_some(outcome))
    }

    async fn holders(&self, claims: Vec<Claim>, now: Time) -> anyhow::Result<Holders> {
        let mut holders = HashMap::new();
        for claim in claims {
            let holder = match self.log.last(&claim.to_string()).await? {
                Some(message) => {
                    let stored: ClaimHolder = serde_json::from_slice(&message.payload)?;
                    Held {
                        by: stored.kept_by(now),
                        since: stored.since,
                        sequence: message.sequence,
                    }
                }
                None => Held::default(),
            };
            holders.insert(claim, holder);
        }
        Ok(holders)
    }

    /// Returns the messages that take, release and touch the claims of a decision, each under its
    /// guard.
    async fn claim_appends(
        &self,
        command: &Command<A::Area>,
        decision: &Decision<EventOf<A>>,
        mut holders: Holders,
    ) -> anyhow::Result<Vec<Append>> {
        let (own, now) = (command.aggregate.into(), command.time);
        let changed = || {
            let own = decision.take.iter().chain(&decision.release);
            own.chain(&decision.touch)
        };
        let unknown = changed().filter(|claim| !holders.contains_key(claim));
        holders.extend(self.holders(unknown.copied().collect(), now).await?);
        let mut appends = Vec::new();
        for claim in changed() {
            let held = holders.get(claim).copied().unwrap_or_default();
            let current = held.by;
            let is_touched = decision.touch.contains(claim);
            let expected = if is_touched { current } else { Some(own) };
            if current.is_some() && current != expected {
                bail!("{claim} is held by {current:?}, which the decision overlooked");
            }
            let holder = expected.filter(|_| !decision.release.contains(claim));
            let written = match holder {
                Some(holder) if is_touched => ClaimHolder::held_by(holder, held.since),
                Some(holder) => ClaimHolder::held_by(holder, Some(now)),
                None => ClaimHolder::released(*claim, own, held.since, now),
            };
            appends.push(Append {
                subject: claim.to_string(),
                last: held.sequence,
                expires_after: None,
                payload: serde_json::to_vec(&written)?.into(),
            });
        }
        Ok(appends)
    }
}

/// Outcomes go only to users that send commands, whatever a command asks for.
fn is_inbox(reply: &str) -> bool {
    SENDERS.iter().any(|user| {
        let rest = reply.strip_prefix(&inbox_of(user));
        rest.is_some_and(|rest| rest.starts_with('.'))
    })
}

#[derive(Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
enum Stale {
    #[error("It has changed since you read it. Read it again and repeat the change.")]
    RevisionConflict,
    #[error("The request waited for too long and was not done. Send it again.")]
    Expired,
}

impl Reject for Stale {
    fn kind(&self) -> RejectionKind {
        RejectionKind::Conflict
    }
}

/// Returns why a command is too late to be decided.
fn stale<A: events_schema::Area>(command: &Command<A>, revision: u64) -> Option<Stale> {
    // Commands of the system follow from the log, and a replay sends them again.
    let age_ms = Time::from(SystemTime::now())
        .0
        .saturating_sub(command.time.0);
    // A time in the future would let the command live longer.
    if command.actor != Actor::System && age_ms.saturating_abs() > EXPIRES_AFTER_MS {
        let id = command.id;
        tracing::warn!(age_ms, command = %id, "a command has expired; do the clocks agree?");
        return Some(Stale::Expired);
    }
    let has_seen = command.expected.is_none_or(|seen| seen == revision);
    (!has_seen).then_some(Stale::RevisionConflict)
}

fn facts_of<A: events_schema::Area>(command: &Command<A>) -> Facts<A> {
    Facts {
        tenant: command.tenant,
        id: command.aggregate,
        command: command.id,
        actor: command.actor,
        held: command.held.clone(),
        now: command.time,
        holders: HashMap::new(),
    }
}

fn commit_of<A: events_schema::Area>(
    revision: u64,
    command: &Command<A>,
    events: Vec<A::Event>,
) -> Commit<A> {
    Commit {
        tenant: command.tenant,
        area: command.area,
        id: command.aggregate,
        revision,
        command: command.id,
        actor: command.actor,
        time: command.time,
        origin: command.origin.clone(),
        events,
    }
}
