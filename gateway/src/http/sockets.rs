//! Subscriptions over WebSocket, in the protocol `graphql-transport-ws`. Queries and mutations are
//! sent by POST.
//!
//! A page of another site could open a socket with our cookie, since browsers send no preflight
//! request for it. So the `Origin` of a socket must be its host. A client that does not read is
//! disconnected, since nothing is buffered for it.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_graphql::{
    Data, Executor, Request, Response as Answer, ServerError,
    http::{WebSocket as Protocol, WebSocketProtocols, WsMessage},
};
use axum::{
    Extension,
    body::Bytes,
    extract::{
        self, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{
        HeaderMap, HeaderName, StatusCode, Uri,
        header::{HOST, ORIGIN},
    },
    response::Response,
};
use event_store::{Trace, telemetry};
use events_schema::AccountId;
use futures_util::{
    SinkExt, Stream, StreamExt, future,
    stream::{self, BoxStream, SplitSink},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    http::{
        Shared, refuse,
        serve::{Peer, Place},
    },
    identity::{Callers, RequestHead, network::Network},
    shares::{Share, Shares},
};

/// The sub-protocol that clients must speak.
const PROTOCOL: &str = "graphql-transport-ws";
/// Maximum sockets of one gateway, if the limit of open files allows them. Each costs some ten
/// kilobytes, and each tenant that is followed a read of the log every two seconds.
const MAX_SOCKETS: usize = 5_000;
/// Maximum sockets of one account at one gateway, so that no account shuts out the others.
const MAX_SOCKETS_OF_ACCOUNT: usize = 300;
/// Maximum subscriptions at once on one socket.
const MAX_SUBSCRIPTIONS: usize = 20;
/// Maximum bytes in one message of a client: a query and its variables.
const MAX_MESSAGE: usize = 64 * 1024;
/// How long a client may take to receive a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send `connection_init`. A socket without it is of no use.
const INIT_WITHIN: Duration = Duration::from_secs(5);
/// How often a client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum pings in a row without any message from the client before it counts as gone.
const MAX_SILENT_PINGS: usize = 2;
/// How long a client must wait if there are too many sockets.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Close code of `graphql-transport-ws`: the sub-protocol is not acceptable.
const UNACCEPTABLE_PROTOCOL: u16 = 4406;
/// Close code of `graphql-transport-ws`: `connection_init` did not come in time.
const INIT_TIMEOUT: u16 = 4408;
/// Close code of WebSocket: the server stops, or the client is gone.
const GOING_AWAY: u16 = 1001;
/// Close code of WebSocket: the client should try again later.
const TRY_AGAIN_LATER: u16 = 1013;

/// The sockets that are open.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    places: Arc<Semaphore>,
    of_accounts: Shares<AccountId>,
    of_clients: Shares<Network>,
}

/// The places that a socket takes until it is closed.
struct Held {
    _place: OwnedSemaphorePermit,
    _of_account: Share<AccountId>,
    _of_client: Share<Network>,
}

impl Sockets {
    /// Allows sockets half of all connections, so that requests always have the other half.
    pub(crate) fn new(max_connections: usize, per_client: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_connections.div_ceil(2).min(MAX_SOCKETS))),
            of_accounts: Shares::new(MAX_SOCKETS_OF_ACCOUNT),
            of_clients: Shares::new(per_client),
        }
    }

    /// Counts one more socket; `None` if there are too many.
    fn take(&self, account: AccountId, client: Network) -> Option<Held> {
        Some(Held {
            _of_account: self.of_accounts.take(account)?,
            _of_client: self.of_clients.take(client)?,
            _place: self.places.clone().try_acquire_owned().ok()?,
        })
    }
}

/// Opens a socket.
pub(super) async fn open(
    extract::State(shared): extract::State<Arc<Shared>>,
    Extension(trace): Extension<Trace>,
    peer: Option<Extension<Peer>>,
    place: Option<Extension<Place>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_same_origin(&headers) {
        let error = Error::request("Pages of other sites may not send requests.");
        return refuse(StatusCode::FORBIDDEN, error);
    }
    let head = RequestHead {
        headers,
        uri,
        peer: peer.map(|Extension(Peer(address))| address),
        trace,
    };
    let held = match admit(&shared.sockets, &shared.callers, &head).await {
        Ok(held) => held,
        Err((status, error)) => return refuse(status, error),
    };
    let subscriptions = Subscriptions {
        shared: shared.clone(),
        head: Arc::new(head),
        open: Arc::default(),
    };
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(async move |socket| {
        let conversation = converse(socket, subscriptions, &shared.closing);
        telemetry::in_trace(trace, conversation).await;
        drop((place, held));
    })
}

/// Finds the account that opens a socket, and counts the socket. All subscriptions need an account,
/// so a stranger gets no socket.
async fn admit(
    sockets: &Sockets,
    callers: &Callers,
    head: &RequestHead,
) -> Result<Held, (StatusCode, Error)> {
    let caller = match callers.identify(head, Bytes::new()).await {
        Ok(caller) => caller,
        Err(error @ Error::BadUserInput { .. }) => return Err((StatusCode::BAD_REQUEST, error)),
        Err(error) => return Err((StatusCode::SERVICE_UNAVAILABLE, error)),
    };
    let Some(identity) = &caller.identity else {
        return Err((StatusCode::UNAUTHORIZED, Error::not_logged_in()));
    };
    let held = sockets.take(identity.account_id(), Network::of(&caller.origin));
    held.ok_or((
        StatusCode::TOO_MANY_REQUESTS,
        Error::RateLimited {
            retry_after: RETRY_AFTER,
        },
    ))
}

/// Programs send no `Origin`; browsers always do.
fn is_same_origin(headers: &HeaderMap) -> bool {
    match (text(headers, &ORIGIN), text(headers, &HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}

async fn converse(
    mut socket: WebSocket,
    subscriptions: Subscriptions,
    closing: &CancellationToken,
) {
    if socket
        .protocol()
        .is_none_or(|protocol| protocol != PROTOCOL)
    {
        let message = closed(UNACCEPTABLE_PROTOCOL, &format!("use {PROTOCOL}"));
        _ = timeout(SEND_TIMEOUT, socket.send(message)).await;
        return;
    }
    let (mut sink, stream) = socket.split();
    let received = Arc::new(AtomicUsize::new(0));
    let messages = received_messages(stream, received.clone());
    let mut answers = Protocol::new(subscriptions, messages, WebSocketProtocols::GraphQLWS);
    let mut ping = interval(PING_INTERVAL);
    let mut silence = Silence::default();
    let mut init = pin!(sleep(INIT_WITHIN));
    let mut is_acknowledged = false;
    loop {
        let message = tokio::select! {
            answer = answers.next() => match answer {
                Some(WsMessage::Text(text)) => {
                    // The first answer is `connection_ack`.
                    is_acknowledged = true;
                    Message::Text(text.into())
                }
                Some(WsMessage::Close(code, reason)) => closed(code, &reason),
                None => return,
            },
            () = &mut init, if !is_acknowledged => {
                closed(INIT_TIMEOUT, "connection_init must come within 5 seconds")
            }
            _ = ping.tick() => silence.next_message(received.load(Ordering::Relaxed)),
            () = closing.cancelled() => closed(GOING_AWAY, "the gateway is stopping; connect again"),
        };
        if !send(&mut sink, message).await {
            return;
        }
    }
}

/// Sends a message. Returns whether the socket is still open.
async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> bool {
    let is_last = matches!(message, Message::Close(_));
    let Ok(sent) = timeout(SEND_TIMEOUT, sink.send(message)).await else {
        // A client that resumes reading finds the reason behind the messages that are in transit.
        let reason = "you read too slowly; resume after your last cursor";
        let message = closed(TRY_AGAIN_LATER, reason);
        _ = timeout(SEND_TIMEOUT, sink.send(message)).await;
        return false;
    };
    sent.is_ok() && !is_last
}

/// Returns the client's messages for the protocol, and counts all that it sends. The protocol would
/// take a pong for an empty message, so pongs are only counted.
fn received_messages(
    stream: impl Stream<Item = Result<Message, axum::Error>>,
    received: Arc<AtomicUsize>,
) -> impl Stream<Item = Vec<u8>> {
    let messages = stream.take_while(|message| future::ready(message.is_ok()));
    messages.filter_map(move |message| {
        received.fetch_add(1, Ordering::Relaxed);
        future::ready(match message {
            Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) | Err(_) => None,
        })
    })
}

/// Counts pings that a client did not answer.
#[derive(Default)]
struct Silence {
    last_received: usize,
    pings: usize,
}

impl Silence {
    /// Returns a ping, or a close message if the client is gone. `received` counts all messages of
    /// the client.
    fn next_message(&mut self, received: usize) -> Message {
        self.pings = if received == self.last_received {
            self.pings + 1
        } else {
            0
        };
        self.last_received = received;
        if self.pings > MAX_SILENT_PINGS {
            closed(GOING_AWAY, "you did not answer pings; connect again")
        } else {
            Message::Ping(Bytes::new())
        }
    }
}

fn closed(code: u16, reason: &str) -> Message {
    // A close frame has room for 123 bytes.
    let reason: String = reason.chars().filter(char::is_ascii).take(120).collect();
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

/// Executes the subscriptions of one socket.
#[derive(Clone)]
struct Subscriptions {
    shared: Arc<Shared>,
    /// The request that opened the socket. Its caller is the caller of all subscriptions.
    head: Arc<RequestHead>,
    /// The number of open subscriptions.
    open: Arc<AtomicUsize>,
}

/// An open subscription.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Executor for Subscriptions {
    async fn execute(&self, _request: Request) -> Answer {
        Answer::from_errors(vec![send_by_post().into()])
    }

    fn execute_stream(
        &self,
        request: Request,
        _session: Option<Arc<Data>>,
    ) -> BoxStream<'static, Answer> {
        let (this, shared) = (self.clone(), self.shared.clone());
        let request_id = self.head.trace.to_string();
        let answers = stream::once(async move { this.answers(request).await }).flatten();
        let finished = answers.map(move |mut answer| {
            shared.api.finish(&mut answer.errors, &request_id);
            answer
        });
        finished.boxed()
    }
}

impl Subscriptions {
    async fn answers(self, request: Request) -> BoxStream<'static, Answer> {
        match self.subscribe(request).await {
            Ok(answers) => answers,
            Err(error) => stream::iter([Answer::from_errors(vec![error])]).boxed(),
        }
    }

    async fn subscribe(self, request: Request) -> Result<BoxStream<'static, Answer>, ServerError> {
        let open = Open(self.open.clone());
        if self.open.fetch_add(1, Ordering::Relaxed) >= MAX_SUBSCRIPTIONS {
            let message =
                format!("A socket has at most {MAX_SUBSCRIPTIONS} subscriptions; close one first.");
            return Err(Error::request(message).into());
        }
        let Request {
            query,
            operation_name,
            variables,
            ..
        } = request;
        let prepared = self.shared.api.prepare(query, operation_name, variables)?;
        if !prepared.is_subscription() {
            return Err(send_by_post().into());
        }
        let caller = self
            .shared
            .callers
            .identify(&self.head, Bytes::new())
            .await?;
        let answers = self
            .shared
            .api
            .subscribe(prepared, caller, self.head.clone());
        Ok(answers.map(move |answer| (answer, &open).0).boxed())
    }
}

fn send_by_post() -> Error {
    Error::request("Send queries and mutations by POST.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_opens_no_socket() {
        let ask = |pairs: &[(axum::http::HeaderName, &str)]| {
            is_same_origin(
                &pairs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.parse().unwrap()))
                    .collect(),
            )
        };
        assert!(ask(&[(HOST, "example.com")]));
        assert!(ask(&[
            (HOST, "acme.example.com:8443"),
            (ORIGIN, "https://acme.example.com:8443")
        ]));
        for origin in [
            "https://evil.example",
            "https://example.com.evil",
            "null",
            "",
            "https://evil.example/example.com",
        ] {
            assert!(!ask(&[(HOST, "example.com"), (ORIGIN, origin)]), "{origin}");
        }
    }
}
