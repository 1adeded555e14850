//! A server that answers as a test wants it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server does with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// It sends this and goes on.
    Answer(String),
    /// It sends this and nothing more.
    Begin(String),
    /// It sends nothing.
    Hang,
    /// It reads the request and closes the connection.
    Cut,
    /// It sends an answer without an end.
    Endless,
}

/// Returns an answer with this status, these headers and this body.
pub(crate) fn status(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))
}

/// Returns a success with this body.
pub(crate) fn json(body: &str) -> Act {
    status("200 OK", "", body)
}

/// A server on a port of its own.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that does one of these acts for each request, and the last one for all
    /// others.
    pub(crate) async fn acts(acts: impl IntoIterator<Item = Act>) -> Self {
        let acts: Vec<Act> = acts.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acts.clone(), Arc::clone(&seen)));
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) async fn stop(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }
}

async fn serve(mut stream: TcpStream, acts: Vec<Act>, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        let act = {
            let mut seen = seen.lock().unwrap();
            seen.push(request);
            acts[(seen.len() - 1).min(acts.len() - 1)].clone()
        };
        match act {
            Act::Answer(text) | Act::Begin(text) => {
                stream.write_all(text.as_bytes()).await.unwrap()
            }
            Act::Hang => {}
            Act::Cut => return,
            Act::Endless => {
                let head = b"HTTP/1.1 200 OK\r\n\r\n";
                let mut sent = stream.write_all(head).await;
                while sent.is_ok() {
                    sent = stream.write_all(&[b' '; 4096]).await;
                }
                return;
            }
        }
    }
}

/// Returns the next request; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lengths = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length: "));
            if body.len() >= lengths.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        request.push(stream.read_u8().await.ok()?);
    }
}
