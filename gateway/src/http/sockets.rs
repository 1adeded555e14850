//! Subscriptions over WebSocket, in the protocol `graphql-transport-ws`. Queries and mutations go
//! by POST.
//!
//! A page on another site could open a socket with our cookie, and no browser asks us first: so a
//! socket's `Origin` must be its host. A client that takes nothing for a while is cut off, since
//! nothing is kept for it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_graphql::{
    Data, Executor, Request, Response as Answer, ServerError,
    http::{WebSocket as Protocol, WebSocketProtocols, WsMessage},
    parser::types::{DocumentOperations, OperationType},
};
use axum::{
    Extension,
    body::Bytes,
    extract::{
        self, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{
        HeaderMap, StatusCode, Uri,
        header::{HOST, ORIGIN},
    },
    response::Response,
};
use futures_util::{SinkExt, StreamExt, future, stream, stream::BoxStream};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    State,
    access::operations::Refusals,
    error::{self, Error},
    graphql::{self, Schema, limits},
    http::serve::Peer,
    http::{Shared, refuse},
    identity::caller::{Asked, Caller},
    trace::Trace,
};

/// The sub-protocol that is spoken.
const PROTOCOL: &str = "graphql-transport-ws";
/// Sockets of one gateway: each may cost a few kilobytes and a read of the log now and then.
const MAX_SOCKETS: usize = 5_000;
/// Subscriptions at once on one socket.
const MAX_SUBSCRIPTIONS: usize = 20;
/// Bytes in one message of a client: a query and its variables.
const MAX_MESSAGE: usize = 64 * 1024;
/// How long a client may take for what it is sent.
const SLOWEST: Duration = Duration::from_secs(10);
/// A client is asked whether it is still there, and must have said something since within twice
/// that.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Close codes: of the protocol "too many requests", of WebSocket "going away" and "try again
/// later".
const TOO_MANY: u16 = 4429;
const GOING_AWAY: u16 = 1001;
const TOO_SLOW: u16 = 1013;

static SOCKETS: Semaphore = Semaphore::const_new(MAX_SOCKETS);

/// What a client said when it opened its socket: that is who it is for as long as the socket lives.
pub(crate) struct Handshake {
    headers: HeaderMap,
    uri: Uri,
    peer: Option<IpAddr>,
    trace: Trace,
}

impl Handshake {
    /// As if it had just asked.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            headers: &self.headers,
            uri: &self.uri,
            peer: self.peer,
            trace: self.trace,
        }
    }
}

/// Opens a socket.
pub(crate) async fn open(
    extract::State(Shared { schema, state }): extract::State<Shared>,
    Extension(trace): Extension<Trace>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_same_origin(&headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            Error::request("Pages of other sites may not ask."),
        );
    }
    let Ok(permit) = SOCKETS.try_acquire() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Error::RateLimited {
                retry_after: Duration::from_secs(10),
            },
        );
    };
    let handshake = Arc::new(Handshake {
        headers,
        uri,
        peer: peer.map(|Extension(Peer(address))| address),
        trace,
    });
    let executor = Subscriptions {
        schema,
        state,
        handshake,
        open: Arc::default(),
    };
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(async move |socket| {
        converse(socket, executor).await;
        drop(permit);
    })
}

/// Programs send no `Origin`; browsers always do.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    match (text(ORIGIN), text(HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    }
}

async fn converse(socket: WebSocket, executor: Subscriptions) {
    let closing = executor.state.closing.clone();
    if socket
        .protocol()
        .is_none_or(|protocol| protocol != PROTOCOL)
    {
        close(socket, 4406, &format!("speak {PROTOCOL}")).await;
        return;
    }
    let (mut sink, stream) = socket.split();
    // What the client says, and that it is still there: a pong is an empty message to the protocol,
    // so it is left out here.
    let heard = Arc::new(AtomicUsize::new(0));
    let noted = heard.clone();
    let said = stream
        .take_while(|message| future::ready(message.is_ok()))
        .filter_map(move |message| {
            noted.fetch_add(1, Ordering::Relaxed);
            future::ready(match message {
                Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
                Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) | Err(_) => None,
            })
        });
    let mut answers = Protocol::new(executor, said, WebSocketProtocols::GraphQLWS);
    let mut ping = tokio::time::interval(PING_EVERY);
    let (mut last_heard, mut silent) = (0, 0);
    loop {
        let message = tokio::select! {
            answer = answers.next() => match answer {
                Some(WsMessage::Text(text)) => Message::Text(text.into()),
                Some(WsMessage::Close(code, reason)) => closed(code, &reason),
                None => return,
            },
            _ = ping.tick() => {
                let now = heard.load(Ordering::Relaxed);
                silent = if now == last_heard { silent + 1 } else { 0 };
                last_heard = now;
                if silent > 2 { closed(GOING_AWAY, "nothing was heard of you") } else { Message::Ping(axum::body::Bytes::new()) }
            }
            () = closing.cancelled() => closed(GOING_AWAY, "the gateway is stopping; connect again"),
        };
        let last = matches!(message, Message::Close(_));
        match timeout(SLOWEST, sink.send(message)).await {
            Ok(Ok(())) if !last => {}
            Ok(_) => return,
            Err(_) => {
                // Behind what waits already; a client that reads on will find the reason.
                _ = timeout(
                    SLOWEST,
                    sink.send(closed(
                        TOO_SLOW,
                        "you take too long; go on from your last cursor",
                    )),
                )
                .await;
                return;
            }
        }
    }
}

async fn close(mut socket: WebSocket, code: u16, reason: &str) {
    _ = timeout(SLOWEST, socket.send(closed(code, reason))).await;
}

fn closed(code: u16, reason: &str) -> Message {
    // A close frame has room for 123 bytes.
    let reason: String = reason.chars().filter(char::is_ascii).take(120).collect();
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

/// Executes what comes over one socket.
#[derive(Clone)]
struct Subscriptions {
    schema: Schema,
    state: Arc<State>,
    handshake: Arc<Handshake>,
    /// How many are under way.
    open: Arc<AtomicUsize>,
}

/// One that is under way.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Executor for Subscriptions {
    async fn execute(&self, _request: Request) -> Answer {
        Answer::from_errors(vec![
            Error::request("Send queries and mutations by POST.").into(),
        ])
    }

    fn execute_stream(
        &self,
        request: Request,
        _session: Option<Arc<Data>>,
    ) -> BoxStream<'static, Answer> {
        let this = self.clone();
        let request_id = self.handshake.trace.to_string();
        let answers = stream::once(async move { this.subscribe(request).await }).flatten();
        let finished = answers.map(move |mut answer| {
            error::finish(&mut answer.errors, &request_id);
            answer
        });
        finished.boxed()
    }
}

impl Subscriptions {
    async fn subscribe(self, request: Request) -> BoxStream<'static, Answer> {
        let refused = |error: ServerError| stream::iter([Answer::from_errors(vec![error])]).boxed();
        let open = Open(self.open.clone());
        if self.open.fetch_add(1, Ordering::Relaxed) >= MAX_SUBSCRIPTIONS {
            let message = format!(
                "A socket carries at most {MAX_SUBSCRIPTIONS} subscriptions; close one first ({TOO_MANY})."
            );
            return refused(Error::request(message).into());
        }
        let document = match limits::parse(&request.query) {
            Ok(document) => document,
            Err(error) => return refused(error),
        };
        let subscribes = |ty: &OperationType| *ty == OperationType::Subscription;
        let all = match &document.operations {
            DocumentOperations::Single(operation) => subscribes(&operation.node.ty),
            DocumentOperations::Multiple(operations) => operations
                .values()
                .all(|operation| subscribes(&operation.node.ty)),
        };
        if !all {
            return refused(Error::request("Send queries and mutations by POST.").into());
        }
        let caller = match Caller::of(&self.state, &self.handshake.asked(), Bytes::new()).await {
            Ok(caller) => caller,
            Err(error) => return refused(error.into()),
        };
        let loaders = graphql::Loaders::of(&self.state, &caller);
        let mut request = request
            .data(caller)
            .data(Arc::new(Refusals::default()))
            .data(loaders)
            .data(self.handshake.clone());
        request.set_parsed_query(document);
        let answers = self.schema.execute_stream(request);
        answers.map(move |answer| (answer, &open).0).boxed()
    }
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
