//! Publishes commands, and waits for their outcomes and for the views that show them.
//!
//! A command may be published twice: workers decide each command id once.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_nats::{
    Client, HeaderMap,
    connection::State as Connection,
    jetstream::{
        self, ContextBuilder,
        context::{PublishError, PublishErrorKind},
    },
};
use bytes::Bytes;
use events_schema::{
    Actor, Area, Command, CommandId, Origin, Outcome, Permissions, TRACEPARENT, TenantId,
    TenantKey, View,
};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    backend::views::{TenantViews, ViewDocument},
    clock::now,
    error::Error,
    trace::Trace,
};

/// How long the broker may take to acknowledge a command before it is published again: long
/// compared with a synced write (1 ms), short compared with the whole wait (5 s).
const BROKER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a command waits until a lost connection is back. A restart of nats-server takes less,
/// so clients see no error.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a lost connection is checked while a command waits for it.
const RECONNECT_POLL: Duration = Duration::from_millis(20);

/// Publishes commands and awaits their outcomes.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    nats: Client,
    jetstream: jetstream::Context,
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

/// A command as it is published, in its envelope.
struct Message {
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

impl Commands {
    /// Publishes over this connection. Each command may take `timeout` until its view shows the
    /// outcome.
    pub(crate) fn new(nats: Client, timeout: Duration) -> Self {
        Self {
            jetstream: jetstream(nats.clone()),
            nats,
            timeout,
        }
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
        if views.wait_for::<V>(aggregate, revision, deadline).await? {
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
    /// `Pending` if the command may be stored; `Internal` if it is certainly not stored.
    pub(crate) async fn decide<A: Area>(
        &self,
        sender: &Sender,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        // While disconnected, the NATS client would buffer the command and publish it later. A
        // clear error now is better.
        let reconnected = deadline.min(Instant::now() + RECONNECT_TIMEOUT);
        let connected = timeout_at(reconnected, self.connected()).await;
        connected.map_err(|_| anyhow!("not connected to NATS"))?;
        let id = request.id;
        let outcome = timeout_at(deadline, self.outcome(sender, request)).await;
        outcome.unwrap_or(Err(Error::Pending(id)))
    }

    async fn outcome<A: Area>(
        &self,
        sender: &Sender,
        request: CommandRequest<A>,
    ) -> Result<Outcome, Error> {
        let (inbox, id) = (self.nats.new_inbox(), request.id);
        let message = message(sender, request, Some(inbox.clone()))?;
        let outcomes = self.nats.subscribe(inbox).await;
        let mut outcomes = outcomes.context("subscribing to an inbox")?;
        self.publish(&message).await?;
        let outcome = outcomes.next().await.ok_or(Error::Pending(id))?;
        Ok(serde_json::from_slice(&outcome.payload).context("reading an outcome")?)
    }

    /// Publishes a command without waiting for its outcome. A failure is logged.
    pub(crate) fn send_in_background<A: Area>(&self, sender: Sender, request: CommandRequest<A>) {
        let commands = self.clone();
        tokio::spawn(async move {
            let (request_id, id) = (sender.trace, request.id);
            let published = match message(&sender, request, None) {
                Ok(message) => commands.publish(&message).await,
                Err(error) => Err(error),
            };
            if let Err(error) = published {
                let (area, error) = (A::NAME, format!("{error:#}"));
                tracing::warn!(%request_id, %area, command = %id, error, "a command was not sent");
            }
        });
    }

    /// Publishes a message, and once more if that fails. An error means that it is certainly not
    /// stored.
    async fn publish(&self, message: &Message) -> anyhow::Result<()> {
        let Err(error) = self.publish_once(message).await else {
            return Ok(());
        };
        tracing::debug!(subject = message.subject, %error, "publishing a command again");
        match self.publish_once(message).await {
            Err(error) if may_be_stored(&error) => Ok(()),
            result => result.context("publishing a command"),
        }
    }

    async fn publish_once(&self, message: &Message) -> Result<(), PublishError> {
        let (subject, headers) = (message.subject.clone(), message.headers.clone());
        let payload = message.payload.clone();
        let published = self
            .jetstream
            .publish_with_headers(subject, headers, payload);
        published.await?.await.map(|_ack| ())
    }

    async fn connected(&self) {
        while !self.is_connected() {
            sleep(RECONNECT_POLL).await;
        }
    }

    /// Whether there is a connection to NATS.
    pub(crate) fn is_connected(&self) -> bool {
        self.nats.connection_state() == Connection::Connected
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

/// Whether a message may be stored although publishing it failed. The outcome will show.
fn may_be_stored(error: &PublishError) -> bool {
    matches!(
        error.kind(),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe
    )
}

fn message<A: Area>(
    sender: &Sender,
    request: CommandRequest<A>,
    reply: Option<String>,
) -> anyhow::Result<Message> {
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
    let command = Command::<A> {
        id: request.id,
        tenant,
        area: A::NAME,
        aggregate: request.aggregate,
        actor: sender.actor,
        held: held.map(|(_, held)| held.clone()).unwrap_or_default(),
        time: now(),
        expected: request.expected,
        origin,
        reply,
        payload: request.payload,
    };
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, sender.trace.traceparent());
    let subject = command.subject().context("naming a command")?.to_string();
    let payload = serde_json::to_vec(&command).context("writing a command")?;
    Ok(Message {
        subject,
        headers,
        payload: payload.into(),
    })
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
            trace: Trace::of(None),
        };
        let id = Id::from_bytes([3; 16]);
        let delete = project::Command::Delete;
        let request =
            CommandRequest::<project::Area>::new(tenant, id.into(), CommandId(id), delete);
        serde_json::from_slice(&message(&sender, request, None).unwrap().payload).unwrap()
    }

    #[test]
    fn permissions_are_sent_to_their_own_tenant_only() {
        let own = sent(TenantId::Tenant(ACME));
        assert_eq!(own.held, Permissions::from([project::READ]));
        assert!(sent(TenantId::Tenant(OTHER)).held.is_empty());
        assert!(sent(TenantId::Platform).held.is_empty());
    }
}
