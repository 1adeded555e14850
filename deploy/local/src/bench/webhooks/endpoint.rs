//! A customer's server, as lean as the client of the load: it notes when an event comes, and
//! accepts it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::UnboundedSender,
    task::JoinSet,
};

use crate::bench::http::{HEAD_END, header, position};

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Bytes to make room for before each read; a message has about 700.
const READ_SIZE: usize = 4 * 1024;

/// An event that has come.
pub(super) struct Arrival {
    /// The id of the changed object.
    pub(super) object: String,
    pub(super) at: Instant,
}

/// A running server. It ends when it is dropped.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    hangs: Arc<AtomicBool>,
    _connections: JoinSet<()>,
}

impl Endpoint {
    /// Starts a server that passes on what comes.
    ///
    /// # Errors
    /// If no port can be opened.
    pub(super) async fn start(arrivals: UnboundedSender<Arrival>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let hangs = Arc::new(AtomicBool::new(false));
        let (mut connections, is_hanging) = (JoinSet::new(), hangs.clone());
        connections.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                served.spawn(serve(stream, arrivals.clone(), is_hanging.clone()));
            }
        });
        Ok(Self {
            address,
            hangs,
            _connections: connections,
        })
    }

    /// Answers no request from now on.
    pub(super) fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }
}

/// Serves a connection until the client closes it.
async fn serve(
    mut stream: TcpStream,
    arrivals: UnboundedSender<Arrival>,
    hangs: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    loop {
        while let Some(length) = complete(&input)? {
            let at = Instant::now();
            let object = subject(&input[..length]).context("a message without an object")?;
            // After the end, nobody asks any more.
            _ = arrivals.send(Arrival { object, at });
            if hangs.load(Ordering::Relaxed) {
                while stream.read_buf(&mut input).await? > 0 {}
                return Ok(());
            }
            stream.write_all(ACCEPTED).await?;
            input.drain(..length);
        }
        input.reserve(READ_SIZE);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Returns the length of the first request; `None` while bytes are missing.
///
/// # Errors
/// If its body has no length.
fn complete(input: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = position(input, HEAD_END) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&input[..head])?;
    let body = header(text, "content-length").next();
    let body: usize = body.context("a request without a length")?.parse()?;
    let length = head + HEAD_END.len() + body;
    Ok((input.len() >= length).then_some(length))
}

/// Returns the id of the object that a message is about.
fn subject(message: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\"subject\":\"";
    let begin = position(message, NAME)? + NAME.len();
    let length = position(&message[begin..], b"\"")?;
    String::from_utf8(message[begin..begin + length].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_with_its_body() {
        let request = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        for length in 0..request.len() {
            assert_eq!(complete(&request[..length]).unwrap(), None);
        }
        assert_eq!(complete(request).unwrap(), Some(request.len()));
        assert!(complete(b"POST / HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn a_message_names_its_object() {
        let message = br#"{"id":"msg_1","subject":"abc","data":{}}"#;
        assert_eq!(subject(message).as_deref(), Some("abc"));
        assert_eq!(subject(b"{}"), None);
    }
}
