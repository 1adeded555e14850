//! Carries out what follows from a hook.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use event_store::{CommandSender, Trace};
use events_schema::{
    Area, Command, CommandId, InboundSourceId, Outcome, TenantId, TenantKey, Time,
    inbound_source::{Handling, Hook, HookId, Provider, Source, Verdict},
    secret::derived_id,
};
use tokio::time::Instant;

use super::{github, inbox::Inbox, sources::Sources};

/// How long the outcome of a command may take. Then the hook is handled again.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// What a provider's function has read in a hook.
#[derive(Debug, PartialEq)]
pub enum Reading<A: Area> {
    /// Commands to these aggregates follow, in this order.
    Commands(Vec<(A::Id, A::Command)>),
    /// Nothing follows, for this reason.
    Ignored(String),
    /// The hook is not what the provider's documentation says.
    Unreadable(String),
}

/// Handles hooks.
pub struct Handler {
    inbox: Inbox,
    sources: Sources,
    sender: CommandSender,
}

impl Handler {
    /// Handles hooks of these sources by sending commands.
    pub const fn new(inbox: Inbox, sources: Sources, sender: CommandSender) -> Self {
        Self {
            inbox,
            sources,
            sender,
        }
    }

    /// Handles a hook once more, if it is still kept. Commands that were decided are answered from
    /// the history; those that were rejected are decided again.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn replay(
        &self,
        source: (TenantKey, InboundSourceId),
        hook: HookId,
        trace: Trace,
    ) -> anyhow::Result<()> {
        match self.inbox.get(source, hook).await? {
            Some(hook) => self.handle(&hook, trace).await,
            None => {
                tracing::warn!(source = %source.1, %hook, "the hook to replay is not kept any more");
                Ok(())
            }
        }
    }

    /// Sends the commands that follow from a hook, and records what became of it once all their
    /// outcomes are known.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn handle(&self, hook: &Hook, trace: Trace) -> anyhow::Result<()> {
        let source = self.sources.get(hook.tenant, hook.source).await?;
        let (verdict, reason) = match source {
            Some(source) => self.carry_out(&source, hook, trace).await?,
            None => failed("The inbound source is deleted."),
        };
        self.record(hook, verdict, reason).await
    }

    /// Records that a hook could not be handled.
    ///
    /// # Errors
    /// If the record is not stored.
    pub async fn fail(&self, hook: &Hook, reason: &str) -> anyhow::Result<()> {
        let (verdict, reason) = failed(reason);
        self.record(hook, verdict, reason).await
    }

    async fn record(
        &self,
        hook: &Hook,
        verdict: Verdict,
        reason: Option<String>,
    ) -> anyhow::Result<()> {
        let at = Time::from(SystemTime::now());
        let handling = Handling {
            at,
            verdict,
            reason,
        };
        self.inbox.record(hook, &handling).await
    }

    /// Asks the function of the source's provider what follows, and does it.
    async fn carry_out(&self, source: &Source, hook: &Hook, trace: Trace) -> anyhow::Result<Ended> {
        match &source.provider {
            Provider::Github { project } => {
                let reading = github::read(*project, source.creator, hook);
                self.send(hook, reading, trace).await
            }
            Provider::StandardWebhooks | Provider::Stripe | Provider::Hmac(_) => {
                let reason = "Nothing follows from hooks of this kind of source.";
                Ok((Verdict::Ignored, Some(reason.to_owned())))
            }
        }
    }

    /// Sends commands one after another, until one is rejected.
    async fn send<A: Area>(
        &self,
        hook: &Hook,
        reading: Reading<A>,
        trace: Trace,
    ) -> anyhow::Result<Ended> {
        let commands = match reading {
            Reading::Commands(commands) => commands,
            Reading::Ignored(reason) => return Ok((Verdict::Ignored, Some(reason))),
            Reading::Unreadable(reason) => return Ok((Verdict::Failed, Some(reason))),
        };
        for (position, (aggregate, payload)) in commands.into_iter().enumerate() {
            let command = command_of::<A>(hook, position, aggregate, payload);
            let deadline = Instant::now() + OUTCOME_WITHIN;
            let outcome = self.sender.send(command, trace, deadline).await;
            if let Outcome::Rejected(rejection) = outcome.context("sending a command")? {
                return Ok(failed(&rejection.message));
            }
        }
        Ok((Verdict::Handled, None))
    }
}

/// How the handling of a hook ended, and why.
type Ended = (Verdict, Option<String>);

fn failed(reason: &str) -> Ended {
    (Verdict::Failed, Some(reason.to_owned()))
}

/// The same hook leads to the same commands with the same ids, so a repetition is answered from the
/// history.
fn command_of<A: Area>(
    hook: &Hook,
    position: usize,
    aggregate: A::Id,
    payload: A::Command,
) -> Command<A> {
    let (id, position) = (hook.id(), position.to_be_bytes());
    let cause = [b"inbound".as_slice(), id.0.bytes(), &position];
    let tenant = TenantId::Tenant(hook.tenant);
    let id = CommandId(derived_id(&cause));
    Command::by_system(id, tenant, aggregate, hook.received_at, payload)
}
