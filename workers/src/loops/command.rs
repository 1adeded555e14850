//! Commands in, commits and outcomes out: decode, load, decide, append, answer. It holds no rule of
//! any area.
//!
//! Commands for one aggregate are decided one after the other within a process; between processes
//! the guard of the append decides who was first, and the other decides again.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, bail};
use async_nats::{
    Client, HeaderMap,
    jetstream::{self, Message},
};
use bytes::Bytes;
use events_schema::{Claim, ClaimHolder, Command, Commit, Id, Outcome, Rejected, Subject, subject};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::{
    aggregate::{Aggregate, Decision, Facts},
    event_store::{Append, Appended, EventStore},
    loops::consumers::Consumer,
    loops::{
        delivery::{self, Handled, copy_trace},
        history::{Histories, History, subject_of},
    },
};

/// How often a lost race is run again at once; a thousand racers for one aggregate need the retries
/// of the consumer too.
const TRIES: usize = 16;

/// Decides the commands of one area until `shutdown`, then finishes what it began.
pub async fn run<A: Aggregate>(client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let context = jetstream::new(client.clone());
    let consumer = Consumer::commands(A::AREA);
    let desk = Arc::new(Desk::<A> {
        store: EventStore::new(client.clone()),
        histories: Histories::new(),
        client,
    });
    delivery::messages(context.clone(), consumer.clone(), shutdown)
        .for_each_concurrent(consumer.concurrency, |message| {
            let (desk, context, consumer) = (desk.clone(), context.clone(), consumer.clone());
            async move { delivery::handle(&context, &consumer, &message, desk.answer(&message)).await }
        })
        .await;
    Ok(())
}

struct Desk<A> {
    client: Client,
    store: EventStore,
    histories: Histories<A>,
}

impl<A: Aggregate> Desk<A> {
    async fn answer(&self, message: &Message) -> anyhow::Result<Handled> {
        let command = match decode::<A>(message) {
            Ok(command) => command,
            Err(reason) => return Ok(Handled::Dead(format!("{reason:#}"))),
        };
        let mut trace = HeaderMap::new();
        copy_trace(message.headers.as_ref(), &mut trace);
        let outcome = self.decide(&command, &trace).await?;
        tracing::info!(subject = %message.subject, command = %command.id, aggregate = %command.aggregate, outcome = ?outcome, "decided");
        if let Some(reply) = command
            .reply
            .filter(|reply| reply.starts_with(subject::OUTCOME_INBOXES))
        {
            self.client
                .publish(reply, serde_json::to_vec(&outcome)?.into())
                .await
                .context("sending the outcome")?;
        }
        Ok(Handled::Done)
    }

    async fn decide(
        &self,
        command: &Command<A::Command>,
        trace: &HeaderMap,
    ) -> anyhow::Result<Outcome> {
        let kept = self.histories.get(command.tenant, command.aggregate);
        let mut history = kept.lock().await;
        let result = self.decide_in(&mut history, command, trace).await;
        if result.is_err() {
            // What is stored is not known for certain, so the next command loads anew.
            *history = History::default();
        }
        result
    }

    async fn decide_in(
        &self,
        history: &mut History<A>,
        command: &Command<A::Command>,
        trace: &HeaderMap,
    ) -> anyhow::Result<Outcome> {
        let subject = subject_of::<A>(command.tenant, command.aggregate);
        if history.revision == 0 {
            history.refresh(&self.store, &subject).await?;
        }
        for _ in 0..TRIES {
            if let Some((revision, sequence)) = history.commands.get(&command.id) {
                return Ok(Outcome::DoneBefore {
                    revision: *revision,
                    sequence: *sequence,
                });
            }
            let mut facts = Facts {
                tenant: command.tenant,
                id: command.aggregate,
                command: command.id,
                actor: command.actor,
                now: command.time,
                holders: HashMap::new(),
            };
            let holders = self
                .holders(history.state.claims(&command.payload, &facts))
                .await?;
            facts.holders = holders
                .iter()
                .filter_map(|(claim, (holder, _))| Some((*claim, (*holder)?)))
                .collect();
            let seen = command
                .expected
                .is_none_or(|expected| expected == history.revision);
            let decided = if seen {
                history
                    .state
                    .decide(&command.payload, &facts)
                    .map_err(Into::into)
            } else {
                Err(revision_conflict())
            };
            let answer = match decided {
                Err(rejected) => Outcome::Rejected(rejected),
                Ok(decision) if decision.events.is_empty() => Outcome::Unchanged {
                    revision: history.revision,
                },
                Ok(decision) => {
                    let mut messages = self.claims(command.aggregate, &decision, holders).await?;
                    let commit = commit_of(history.revision + 1, command, decision.events);
                    messages.push(Append {
                        subject: subject.clone(),
                        last: history.last_sequence,
                        payload: serde_json::to_vec(&commit)?.into(),
                    });
                    match self.store.append(&messages, trace).await? {
                        Appended::At(sequence) => {
                            history.take(&commit, sequence)?;
                            return Ok(Outcome::Committed {
                                revision: commit.revision,
                                sequence,
                            });
                        }
                        Appended::Conflict => {
                            history.refresh(&self.store, &subject).await?;
                            continue;
                        }
                    }
                }
            };
            // No guard protects an answer that stores nothing, so the leader is asked whether the
            // state was the latest.
            let last = self
                .store
                .last(&subject)
                .await?
                .map_or(0, |message| message.sequence);
            if last == history.last_sequence {
                return Ok(answer);
            }
            history.refresh(&self.store, &subject).await?;
        }
        bail!("somebody was first {TRIES} times in a row")
    }

    /// Who holds each claim, and the guard to take it under.
    async fn holders(
        &self,
        claims: Vec<Claim>,
    ) -> anyhow::Result<HashMap<Claim, (Option<Id>, u64)>> {
        let mut holders = HashMap::new();
        for claim in claims {
            let found = match self.store.last(&claim.to_string()).await? {
                Some(message) => (
                    serde_json::from_slice::<ClaimHolder>(&message.payload)?.holder,
                    message.sequence,
                ),
                None => (None, 0),
            };
            holders.insert(claim, found);
        }
        Ok(holders)
    }

    /// The messages that take, release and touch claims, each under the guard of what was last said
    /// of it.
    async fn claims(
        &self,
        own: Id,
        decision: &Decision<A::Event>,
        mut known: HashMap<Claim, (Option<Id>, u64)>,
    ) -> anyhow::Result<Vec<Append>> {
        let all = || {
            decision
                .take
                .iter()
                .chain(&decision.release)
                .chain(&decision.touch)
        };
        known.extend(
            self.holders(
                all()
                    .filter(|claim| !known.contains_key(claim))
                    .copied()
                    .collect(),
            )
            .await?,
        );
        all()
            .map(|claim| {
                let (current, last) = known.get(claim).copied().unwrap_or_default();
                let holder = if decision.touch.contains(claim) {
                    current
                } else {
                    Some(own)
                };
                if current.is_some() && current != holder {
                    bail!("{claim} is held by {current:?}, which the decision overlooked");
                }
                let holder = holder.filter(|_| !decision.release.contains(claim));
                Ok(Append {
                    subject: claim.to_string(),
                    last,
                    payload: Bytes::from(serde_json::to_vec(&ClaimHolder { holder })?),
                })
            })
            .collect()
    }
}

fn revision_conflict() -> Rejected {
    Rejected {
        code: "revision_conflict".to_owned(),
        message: "It was changed meanwhile; read it again.".to_owned(),
    }
}

fn commit_of<C, E>(revision: u64, command: &Command<C>, events: Vec<E>) -> Commit<E> {
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

/// A command whose body says the same as its subject.
fn decode<A: Aggregate>(message: &Message) -> anyhow::Result<Command<A::Command>> {
    let said = Subject::parse(&message.subject).context("the subject")?;
    let command: Command<A::Command> =
        serde_json::from_slice(&message.payload).context("the body")?;
    if command.subject()? != said {
        bail!("the subject and the body do not say the same");
    }
    Ok(command)
}
