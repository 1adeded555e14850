//! Publishes commands, and waits for their outcomes and for the views that show them.
//!
//! A command may be published twice: workers decide each command id once.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{self, ContextBuilder},
};
use event_store::{CommandSender, NoOutcome, Trace, telemetry};
use events_schema::{
    Actor, Area, Command, CommandId, Origin, Outcome, Permissions, TenantId, TenantKey, View,
};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::{
    backend::views::{TenantViews, ViewDocument},
    clock::now,
    error::Error,
};

/// How long the broker may take to answer: long compared with a synced write (1 ms).
const BROKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Publishes commands and awaits their outcomes.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    sender: CommandSender,
    timeout: Duration,
}

/// Who sends a command.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) actor: Actor,
    /// The sender's permissions, and the tenant in which they count.
    pub(crate) held: Option<(TenantKey, Permissions)>,
    /// Where the request came from.
    pub(crate) origin: Option<Origin>,
    pub(crate) trace: Trace,
}

/// A command to send, before it is wrapped in its envelope.
#[derive(Clone, Debug)]
pub(crate) struct CommandRequest<A: Area> {
    /// The tenant whose data the command changes.
    pub(crate) tenant: TenantId,
    pub(crate) aggregate: A::Id,
    pub(crate) id: CommandId,
    /// The revision that the client has seen, if it named one.
    pub(crate) expected: Option<u64>,
    pub(crate) payload: A::Command,
}

impl Commands {
    /// Sends commands this way. Each may take `timeout` until its view shows the outcome.
    pub(crate) fn new(sender: CommandSender, timeout: Duration) -> Self {
        Self { sender, timeout }
    }

    /// Returns the deadline of a command that is sent now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends a command and waits until the view `V` shows the outcome. Returns the revision that
    /// the view has reached.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if it may be stored but is not shown
    /// in time; `Internal` if it is certainly not stored.
    pub(crate) async fn send<V: View>(
        &self,
        sender: &Sender,
        views: &TenantViews,
        request: CommandRequest<V::Area>,
    ) -> Result<u64, Error> {
        let (deadline, id) = (self.deadline(), request.id);
        let aggregate = request.aggregate;
        let outcome = self.decide(sender, request, deadline).await?;
        let revision = outcome.revision();
        let revision = revision.map_err(|rejection| Error::Rejected(rejection.clone()))?;
        let is_new = matches!(outcome, Outcome::Committed { .. });
        let span = debug_span!("await view", view = V::NAME, revision);
        let shown = views.wait_for::<V>(aggregate, revision, is_new, deadline);
        if shown.instrument(span).await? {
            Ok(revision)
        } else {
            Err(Error::Pending(id))
        }
    }

    /// Sends a command, waits until the view `V` shows the outcome, and reads the view.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); `NotFound` if the view shows nothing.
    pub(crate) async fn send_and_get<V: View>(
        &self,
        sender: &Sender,
        views: &TenantViews,
        request: CommandRequest<V::Area>,
    ) -> Result<ViewDocument<V>, Error> {
        let aggregate = request.aggregate;
        self.send::<V>(sender, views, request).await?;
        views.get::<V>(aggregate).await?.ok_or(Error::NotFound)
    }

    /// Sends a command and waits for its outcome, but not for its view.
    ///
    /// # Errors
    /// `Pending` if the command may be stored; `Unavailable` if it is certainly not stored.
    pub(crate) async fn decide<A: Area>(
        &self,
        sender: &Sender,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let id = request.id;
        let trace = sender.trace;
        let outcome = self.sender.send(command(sender, request), trace, deadline);
        outcome.await.map_err(|error| match error {
            NoOutcome::NotKnown => Error::Pending(id),
            NoOutcome::NotSent(cause) => Error::Unavailable(cause.context("sending a command")),
        })
    }

    /// Sends a command without waiting for its outcome. A failure is logged.
    pub(crate) fn send_in_background<A: Area>(&self, sender: Sender, request: CommandRequest<A>) {
        let (commands, deadline) = (self.clone(), self.deadline());
        let (trace, id) = (sender.trace, request.id);
        tokio::spawn(telemetry::in_trace(trace, async move {
            if let Err(error) = commands.decide(&sender, request, deadline).await {
                let (area, error) = (A::NAME, format!("{error:?}"));
                tracing::warn!(%area, command = %id, error, "a command was not decided");
            }
        }));
    }

    /// Whether there is a connection to NATS.
    pub(crate) fn is_connected(&self) -> bool {
        self.sender.is_connected()
    }
}

impl<A: Area> CommandRequest<A> {
    /// Makes a request that holds at any revision of the aggregate.
    pub(crate) fn new(
        tenant: TenantId,
        aggregate: A::Id,
        id: CommandId,
        payload: A::Command,
    ) -> Self {
        Self {
            tenant,
            aggregate,
            id,
            expected: None,
            payload,
        }
    }

    /// Restricts the request to this revision of the aggregate, if one is given.
    pub(crate) fn expecting(mut self, expected: Option<u64>) -> Self {
        self.expected = expected;
        self
    }
}

/// Returns JetStream over a connection, with bounded waits for its answers.
pub(crate) fn jetstream(nats: Client) -> jetstream::Context {
    ContextBuilder::new().timeout(BROKER_TIMEOUT).build(nats)
}

fn command<A: Area>(sender: &Sender, request: CommandRequest<A>) -> Command<A> {
    let tenant = request.tenant;
    // Permissions of one tenant must not count in another.
    let held = sender.held.as_ref();
    let held = held.filter(|(key, _)| TenantId::Tenant(*key) == tenant);
    // The origin is stored for ever with the commit, so it is sent only where an audit log shows
    // it.
    let origin = match tenant {
        TenantId::Platform => None,
        TenantId::Tenant(_) => sender.origin.clone(),
    };
    Command {
        id: request.id,
        tenant,
        area: A::NAME,
        aggregate: request.aggregate,
        actor: sender.actor,
        held: held.map(|(_, held)| held.clone()).unwrap_or_default(),
        time: now(),
        expected: request.expected,
        limit: None,
        origin,
        reply: None,
        payload: request.payload,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, project};

    use super::*;

    const ACME: TenantKey = TenantKey(Id::from_bytes([1; 16]));
    const OTHER: TenantKey = TenantKey(Id::from_bytes([2; 16]));

    fn sent(tenant: TenantId) -> Command<project::Area> {
        let sender = Sender {
            actor: Actor::Anonymous,
            held: Some((ACME, Permissions::from([project::READ]))),
            origin: None,
            trace: Trace::begin(),
        };
        let id = Id::from_bytes([3; 16]);
        let delete = project::Command::Delete;
        let request =
            CommandRequest::<project::Area>::new(tenant, id.into(), CommandId(id), delete);
        command(&sender, request)
    }

    #[test]
    fn permissions_are_sent_to_their_own_tenant_only() {
        let own = sent(TenantId::Tenant(ACME));
        assert_eq!(own.held, Permissions::from([project::READ]));
        assert!(sent(TenantId::Tenant(OTHER)).held.is_empty());
        assert!(sent(TenantId::Platform).held.is_empty());
    }
}
