//! Listeners: subscriptions to the feed of a tenant over WebSockets.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{HeaderName, HeaderValue},
    },
};

/// What a listener subscribes to.
const EVENTS: &str = "subscription($after: String) { \
     events(after: $after, fromBeginning: true) { cursor area id events } }";
/// The most subscriptions that the gateway allows on one socket.
const PER_SOCKET: usize = 20;
/// Sockets that are opened before listeners share one. A client of many listeners shares them, too.
const SOCKETS: usize = 250;
/// The most listeners: a gateway allows an account 300 sockets.
pub(super) const MOST: u64 = 300 * PER_SOCKET as u64;

/// What a listener has heard.
pub(super) struct Heard {
    pub(super) listener: usize,
    pub(super) at: Instant,
    /// Id of the changed object.
    pub(super) id: String,
}

/// Open listeners. Dropping them closes their sockets.
pub(super) struct Listeners {
    pub(super) count: usize,
    pub(super) sockets: usize,
    heard: mpsc::UnboundedReceiver<Heard>,
    reading: JoinSet<anyhow::Result<()>>,
}

impl Listeners {
    /// Opens listeners, which begin after this cursor, or with the first event.
    ///
    /// # Errors
    /// If the gateway refuses a socket.
    pub(super) async fn open(
        address: SocketAddr,
        headers: &str,
        count: usize,
        after: Option<&str>,
    ) -> anyhow::Result<Self> {
        let per_socket = count.div_ceil(SOCKETS).clamp(1, PER_SOCKET);
        let (hear, heard) = mpsc::unbounded_channel();
        let (mut reading, mut sockets) = (JoinSet::new(), 0);
        for first in (0..count).step_by(per_socket) {
            let mut socket = Socket::open(address, headers).await?;
            for index in 0..per_socket.min(count - first) {
                socket.subscribe(index, after).await?;
            }
            reading.spawn(socket.read(first, hear.clone()));
            sockets += 1;
        }
        Ok(Self {
            count,
            sockets,
            heard,
            reading,
        })
    }

    /// Waits for what the next listener hears.
    ///
    /// # Errors
    /// If a socket ends.
    pub(super) async fn next(&mut self) -> anyhow::Result<Heard> {
        tokio::select! {
            Some(heard) = self.heard.recv() => Ok(heard),
            Some(ended) = self.reading.join_next() => {
                ended??;
                bail!("the gateway has closed a socket")
            }
            else => bail!("no socket is open"),
        }
    }
}

/// A socket that speaks `graphql-transport-ws`.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(address: SocketAddr, headers: &str) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}/graphql/ws").into_client_request()?;
        let protocol = "sec-websocket-protocol: graphql-transport-ws";
        for line in headers.lines().chain([protocol]) {
            let (name, value) = line.split_once(": ").context("a header has a value")?;
            let (name, value) = (name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
            request.headers_mut().insert(name, value);
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (stream, _) = client_async(request, stream).await?;
        let mut socket = Self(stream);
        socket.send(json!({ "type": "connection_init" })).await?;
        let answer = socket.next().await?;
        ensure!(answer.contains("connection_ack"), "{answer}");
        Ok(socket)
    }

    async fn subscribe(&mut self, index: usize, after: Option<&str>) -> anyhow::Result<()> {
        let payload = json!({ "query": EVENTS, "variables": { "after": after } });
        let id = index.to_string();
        let subscribe = json!({ "type": "subscribe", "id": id, "payload": payload });
        self.send(subscribe).await
    }

    async fn send(&mut self, message: Value) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    /// Returns the next message that is text. Pings are answered meanwhile.
    async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            let message = self.0.next().await.context("the socket was closed")??;
            match message {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(frame) => bail!("the gateway has closed a socket: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Passes on what the listeners of this socket hear, the first of which has this number.
    async fn read(
        mut self,
        first: usize,
        hear: mpsc::UnboundedSender<Heard>,
    ) -> anyhow::Result<()> {
        loop {
            let text = self.next().await?;
            let (at, (index, id)) = (Instant::now(), event(&text)?);
            let listener = first + index;
            if hear.send(Heard { listener, at, id }).is_err() {
                return Ok(());
            }
        }
    }
}

#[derive(Deserialize)]
struct Next {
    id: String,
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    events: Event,
}

#[derive(Deserialize)]
struct Event {
    id: String,
}

/// Returns the number of the subscription and the changed object.
///
/// # Errors
/// If the message is no event.
fn event(text: &str) -> anyhow::Result<(usize, String)> {
    let next = serde_json::from_str::<Next>(text);
    let next = next.with_context(|| format!("no event: {text}"))?;
    Ok((next.id.parse()?, next.payload.data.events.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_its_subscription_and_its_object() {
        let text = r#"{"type":"next","id":"3","payload":{"data":{"events":{"cursor":"A","area":"PROJECT","id":"ab","events":["created"]}}}}"#;
        assert_eq!(event(text).unwrap(), (3, "ab".to_owned()));
    }

    #[test]
    fn an_error_is_no_event() {
        let text =
            r#"{"type":"next","id":"3","payload":{"data":null,"errors":[{"message":"no"}]}}"#;
        assert!(event(text).unwrap_err().to_string().contains("no event"));
        assert!(event(r#"{"type":"complete","id":"3"}"#).is_err());
    }
}
