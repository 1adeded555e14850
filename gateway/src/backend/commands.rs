//! Says commands on NATS and waits until they are decided and shown.
//!
//! A command may be published twice, since its id makes it one; what a rejection means to the user
//! is the resolver's business.

use std::time::Duration;

use anyhow::{Context, anyhow};
use async_nats::{
    Client, ConnectOptions, HeaderMap, ServerAddr, Subject,
    connection::State as Connection,
    jetstream::{self, ContextBuilder, context::PublishErrorKind},
};
use axum::body::Bytes;
use events_schema::{
    Actor, Area, Command, CommandId, Id, Outcome, TRACEPARENT, TenantId, View,
    subject::OUTCOME_INBOXES,
};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{backend::views::Scoped, error::Error, identity::caller::Caller, now};

/// A server that vanished without a word is noticed after two of these.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long the broker may take to answer, such as that a command is stored, before it is said
/// again: long against a synced write (1 ms), short against the whole wait (5 s).
const BROKER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a command waits for a lost connection: a restart of the server takes less, and costs
/// nobody an error.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the connection is looked at meanwhile.
const RECONNECT_POLL: Duration = Duration::from_millis(20);

/// Connects to NATS, now or not at all; a connection that is lost later is made again for as long
/// as it takes.
pub(crate) async fn connect(urls: &str) -> anyhow::Result<Client> {
    let servers: Result<Vec<ServerAddr>, _> =
        urls.split(',').map(|url| url.trim().parse()).collect();
    // The client's error would print the URL with its password.
    let servers =
        servers.map_err(|_| anyhow!("UB_NATS_URL is no list of nats://user:password@host:port"))?;
    let mut options = ConnectOptions::new()
        .name("gateway")
        .ping_interval(PING_EVERY)
        .custom_inbox_prefix(OUTCOME_INBOXES.trim_end_matches('.'))
        .max_reconnects(None);
    // The client takes these from its options alone, not from the URL.
    if let Some((user, password)) = servers
        .iter()
        .find_map(|server| server.username().zip(server.password()))
    {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    options
        .connect(servers)
        .await
        .context("connecting to NATS; see UB_NATS_URL")
}

/// JetStream over a connection, with answers bounded in time.
pub(crate) fn jetstream(nats: Client) -> jetstream::Context {
    ContextBuilder::new().timeout(BROKER_TIMEOUT).build(nats)
}

/// Publishes commands and awaits their outcomes.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    nats: Client,
    jetstream: jetstream::Context,
    timeout: Duration,
}

/// What is wanted of an aggregate.
pub(crate) struct Wish<C> {
    /// Of which.
    pub(crate) aggregate: Id,
    /// Names the command.
    pub(crate) id: CommandId,
    /// The revision that the client has seen, if it said so.
    pub(crate) expected: Option<u64>,
    /// What.
    pub(crate) payload: C,
}

impl<C> Wish<C> {
    /// A wish whatever the revision.
    pub(crate) fn new(aggregate: Id, id: CommandId, payload: C) -> Self {
        Self {
            aggregate,
            id,
            expected: None,
            payload,
        }
    }
}

/// A command as it goes over the wire, so that it can be said twice.
struct Message {
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
}

impl Commands {
    /// Each command may take `timeout`, until its view shows it.
    pub(crate) fn new(nats: Client, timeout: Duration) -> Self {
        Self {
            jetstream: jetstream(nats.clone()),
            nats,
            timeout,
        }
    }

    /// Says a command and waits until the view `V` shows what came of it; returns the revision to
    /// read at.
    ///
    /// Errors: `Rejected` by the domain; `Pending` where it may have been stored but is not known
    /// to be shown in time; `Internal` where it was certainly not stored.
    pub(crate) async fn send<V: View, C: Serialize>(
        &self,
        caller: &Caller,
        scope: &Scoped,
        wish: Wish<C>,
    ) -> Result<u64, Error> {
        let deadline = Instant::now() + self.timeout;
        let Wish { aggregate, id, .. } = wish;
        // A tenant's own commits are in its own log, though its view is the platform's.
        let tenant = if V::AREA == Area::Tenant {
            TenantId::Tenant(aggregate)
        } else {
            scope.tenant()
        };
        let outcome = self.decide(caller, V::AREA, tenant, wish, deadline).await?;
        let revision = outcome
            .revision()
            .map_err(|rejected| Error::Rejected(rejected.clone()))?;
        let shown = scope.wait_for::<V>(aggregate, revision, deadline).await?;
        if shown {
            Ok(revision)
        } else {
            Err(Error::Pending(id))
        }
    }

    /// Says a command and waits for its outcome, but not for its view.
    pub(crate) async fn decide<C: Serialize>(
        &self,
        caller: &Caller,
        area: Area,
        tenant: TenantId,
        wish: Wish<C>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        // A client that has lost its connection would keep the command and say it later: better a
        // clear answer soon.
        timeout_at(
            deadline.min(Instant::now() + RECONNECT_TIMEOUT),
            self.connected(),
        )
        .await
        .map_err(|_| anyhow!("not connected to NATS"))?;
        let inbox = self.nats.new_inbox();
        let id = wish.id;
        let message = message(
            caller,
            caller.actor(),
            area,
            tenant,
            wish,
            Some(inbox.clone()),
        )?;
        let asked = async {
            let mut outcomes = self
                .nats
                .subscribe(inbox)
                .await
                .context("subscribing to an inbox")?;
            self.publish(&message).await?;
            let outcome = outcomes.next().await.ok_or(Error::Pending(id))?;
            Ok(serde_json::from_slice(&outcome.payload).context("reading an outcome")?)
        };
        timeout_at(deadline, asked)
            .await
            .unwrap_or(Err(Error::Pending(id)))
    }

    /// Says a command about what belongs to no tenant and that nobody waits for; failure is logged.
    pub(crate) fn send_in_background<C: Serialize>(
        &self,
        caller: &Caller,
        actor: Actor,
        area: Area,
        wish: Wish<C>,
    ) {
        let id = wish.id;
        let message = message(caller, actor, area, TenantId::Platform, wish, None);
        let commands = self.clone();
        let request_id = caller.trace.to_string();
        tokio::spawn(async move {
            let published = match &message {
                Ok(message) => commands.publish(message).await,
                Err(error) => Err(anyhow!("{error:#}")),
            };
            if let Err(error) = published {
                tracing::warn!(request_id, %area, command = %id, error = format!("{error:#}"), "a background command was not sent");
            }
        });
    }

    /// Hands a message to the broker, twice if need be. An error means that it is certainly not
    /// stored.
    async fn publish(&self, message: &Message) -> anyhow::Result<()> {
        match self.publish_once(message).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::debug!(subject = %message.subject, %error, "saying a command again")
            }
        }
        match self.publish_once(message).await {
            // It may be stored all the same: the outcome will tell.
            Err(error)
                if matches!(
                    error.kind(),
                    PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe
                ) =>
            {
                Ok(())
            }
            result => result.context("publishing a command"),
        }
    }

    async fn publish_once(
        &self,
        message: &Message,
    ) -> Result<(), jetstream::context::PublishError> {
        let (subject, headers, payload) = (
            message.subject.clone(),
            message.headers.clone(),
            message.payload.clone(),
        );
        self.jetstream
            .publish_with_headers(subject, headers, payload)
            .await?
            .await
            .map(|_ack| ())
    }

    async fn connected(&self) {
        while !self.is_connected() {
            sleep(RECONNECT_POLL).await;
        }
    }

    /// Whether the connection to NATS stands.
    pub(crate) fn is_connected(&self) -> bool {
        self.nats.connection_state() == Connection::Connected
    }
}

fn message<C: Serialize>(
    caller: &Caller,
    actor: Actor,
    area: Area,
    tenant: TenantId,
    wish: Wish<C>,
    reply: Option<String>,
) -> anyhow::Result<Message> {
    let Wish {
        aggregate,
        id,
        expected,
        payload,
    } = wish;
    // Kept for ever with what comes of it, so only where somebody may ask: in what an audit log
    // shows.
    let origin = (tenant != TenantId::Platform).then(|| caller.origin.clone());
    let command = Command {
        id,
        tenant,
        area,
        aggregate,
        actor,
        time: now(),
        expected,
        origin,
        reply,
        payload,
    };
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, caller.trace.traceparent());
    Ok(Message {
        subject: command
            .subject()
            .context("naming a command")?
            .to_string()
            .into(),
        headers,
        payload: serde_json::to_vec(&command)
            .context("writing a command")?
            .into(),
    })
}
