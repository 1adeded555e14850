//! A client of the feed: subscriptions over a WebSocket, by `graphql-transport-ws`.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use local::Local;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::{DEADLINE, text};

pub const EVENTS: &str = "
    subscription($after: String, $areas: [AreaName!]) {
        events(after: $after, areas: $areas) { cursor area id revision events }
    }";

const ALL_EVENTS: &str = "
    subscription($after: String, $areas: [AreaName!]) {
        events(after: $after, fromBeginning: true, areas: $areas) { cursor area id revision events }
    }";

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// The client's end and the gateway's end.
    ends: [SocketAddr; 2],
}

impl Socket {
    /// Opens a socket and waits until the gateway is ready for subscriptions.
    pub async fn open(backend: &Local, headers: &[(&str, &str)]) -> Result<Self, Error> {
        Self::open_with_buffer(backend, headers, None).await
    }

    /// Opens a socket whose client has a receive buffer of this many bytes.
    pub async fn open_with_buffer(
        backend: &Local,
        headers: &[(&str, &str)],
        receive_buffer: Option<u32>,
    ) -> Result<Self, Error> {
        let mut socket = Self::connect(backend, headers, receive_buffer).await?;
        socket.send(json!({ "type": "connection_init" })).await;
        let answer = socket.receive().await.unwrap();
        assert_eq!(answer["type"], "connection_ack", "{answer}");
        Ok(socket)
    }

    /// Opens a socket and sends nothing over it.
    pub async fn connect(
        backend: &Local,
        headers: &[(&str, &str)],
        receive_buffer: Option<u32>,
    ) -> Result<Self, Error> {
        let host = backend.url().trim_start_matches("http://").to_owned();
        let mut request = format!("ws://{host}/graphql/ws").into_client_request()?;
        let protocol = [("sec-websocket-protocol", "graphql-transport-ws")];
        for (name, value) in protocol.iter().chain(headers) {
            let name = name.parse::<axum::http::HeaderName>().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(host.parse().unwrap()).await.unwrap();
        let ends = [stream.local_addr().unwrap(), stream.peer_addr().unwrap()];
        let stream = client_async(request, stream).await?.0;
        Ok(Self { stream, ends })
    }

    /// Opens a socket with an access token and subscribes to the events behind a cursor, or to new
    /// ones.
    pub async fn subscribed(
        backend: &Local,
        token: &str,
        after: Option<&str>,
        areas: Value,
    ) -> Self {
        Self::subscribed_by(EVENTS, backend, token, after, areas).await
    }

    /// Opens a socket with an access token and subscribes to the events behind a cursor, or to all.
    pub async fn subscribed_to_all(
        backend: &Local,
        token: &str,
        after: Option<&str>,
        areas: Value,
    ) -> Self {
        Self::subscribed_by(ALL_EVENTS, backend, token, after, areas).await
    }

    async fn subscribed_by(
        query: &str,
        backend: &Local,
        token: &str,
        after: Option<&str>,
        areas: Value,
    ) -> Self {
        let bearer = format!("Bearer {token}");
        let mut socket = Self::open(backend, &[("authorization", &bearer)])
            .await
            .unwrap();
        socket
            .subscribe("1", query, json!({ "after": after, "areas": areas }))
            .await;
        socket
    }

    async fn send(&mut self, message: Value) {
        self.stream
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: impl Serialize) {
        let payload = json!({ "query": query, "variables": variables });
        self.send(json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
    }

    /// The next message, not counting pings; none once the socket is closed.
    pub async fn receive(&mut self) -> Option<Value> {
        let message = async {
            loop {
                match self.stream.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(DEADLINE, message)
            .await
            .expect("no message came")
    }

    /// The code with which the gateway closes the socket.
    pub async fn close_code(&mut self) -> u16 {
        let closed = async {
            loop {
                if let Message::Close(frame) = self.stream.next().await.unwrap().unwrap() {
                    return frame.unwrap().code.into();
                }
            }
        };
        let closed = tokio::time::timeout(DEADLINE, closed).await;
        closed.expect("the socket stays open")
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        let message = self.receive().await.expect("the socket was closed");
        assert_eq!(message["type"], "next", "{message}");
        assert!(message["payload"]["errors"].is_null(), "{message}");
        message["payload"]["data"]["events"].clone()
    }

    /// The code of the error that ends a subscription.
    pub async fn refusal(&mut self) -> String {
        loop {
            let message = self.receive().await.expect("the socket was closed");
            let payload = &message["payload"];
            let errors = if message["type"] == "error" {
                payload
            } else {
                &payload["errors"]
            };
            if errors.is_array() {
                return text(errors, "/0/extensions/code");
            }
        }
    }

    /// Whether the gateway has closed its end. The kernel's table of connections shows it: a client
    /// that reads nothing does not learn it.
    pub fn is_cut_off(&self) -> bool {
        let [client, gateway] = self.ends.map(|end| format!("0100007F:{:04X}", end.port()));
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let established = "01";
        !table.lines().any(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            columns.get(1..4) == Some(&[gateway.as_str(), client.as_str(), established])
        })
    }
}
