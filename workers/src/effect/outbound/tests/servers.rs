//! Servers as customers run them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A server that gives each request the same answer.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Server {
    pub(super) async fn answers(answer: &str) -> Self {
        Self::listens(([127, 0, 0, 1], 0), answer).await
    }

    pub(super) async fn listens(at: impl Into<SocketAddr>, answer: &str) -> Self {
        Self::start(at.into(), None, answer).await
    }

    pub(super) async fn answers_with_tls(tls: TlsAcceptor, answer: &str) -> Self {
        Self::start(([127, 0, 0, 1], 0).into(), Some(tls), answer).await
    }

    async fn start(at: SocketAddr, tls: Option<TlsAcceptor>, answer: &str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (seen_too, answer) = (Arc::clone(&seen), answer.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen_too.connections.fetch_add(1, Ordering::SeqCst);
                let served = serve(stream, tls.clone(), answer.clone(), Arc::clone(&seen_too));
                tokio::spawn(served);
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn named_url(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{name}:{}/", self.address.port())
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(super) async fn stop(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, answer: String, seen: Arc<Seen>) {
    match tls {
        None => answer_all(stream, &answer, &seen).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer_all(stream, &answer, &seen).await;
            }
        }
    }
}

async fn answer_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, seen: &Seen) {
    while let Some(request) = read_request(&mut stream).await {
        let closes = [&request, answer]
            .iter()
            .any(|text| text.contains("connection: close"));
        seen.requests.lock().unwrap().push(request);
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if closes {
            return;
        }
    }
}

/// Returns the next request; `None` at the end of the connection.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        request.push(stream.read_u8().await.ok()?);
    }
}
