//! A lean HTTP/1.1 client: one connection that is kept alive, with one request in flight. It costs
//! less CPU time than a complete client, which on one machine the backend would lack.

use std::{net::SocketAddr, ops::Range, time::Duration};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Time limit of an answer: above the backend's own limit for a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Bytes to make room for before each read; most answers have less.
const READ_SIZE: usize = 8 * 1024;
/// Stands between the head and the body.
pub(super) const HEAD_END: &[u8] = b"\r\n\r\n";

/// An answer; it lives in the buffer of its connection.
#[derive(Debug, PartialEq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// The status line and the headers.
    pub(super) head: &'a str,
    pub(super) body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Returns the values of a header. Its name is lower-case.
    pub(super) fn header(&self, name: &str) -> impl Iterator<Item = &'a str> {
        header(self.head, name)
    }

    /// Returns an error unless the status is 200 and GraphQL reports no error.
    ///
    /// # Errors
    /// The status and the beginning of the body.
    pub(super) fn ensure_success(&self) -> anyhow::Result<()> {
        let is_success = self.status == 200 && count(self.body, "\"errors\"") == 0;
        ensure!(is_success, "status {}: {}", self.status, self.excerpt());
        Ok(())
    }

    /// Returns the beginning of the body, for an error.
    pub(super) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(self.body);
        text.chars().take(300).collect()
    }
}

/// A connection.
pub(super) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("could not connect to {address}"))?;
        stream.set_nodelay(true)?;
        let input = Vec::new();
        Ok(Self { stream, input })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// If the connection breaks, there is no answer within 20 seconds, or it is not HTTP. The
    /// connection is of no use then.
    pub(super) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        let exchange = timeout(ANSWER_LIMIT, self.exchange(request)).await;
        let parts = exchange.with_context(|| format!("no answer within {ANSWER_LIMIT:?}"))??;
        parts.of(&self.input)
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Parts> {
        self.input.clear();
        self.stream.write_all(request).await?;
        loop {
            if let Some(parts) = Parts::find(&self.input)? {
                return Ok(parts);
            }
            self.input.reserve(READ_SIZE);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the connection was closed before the answer was complete");
            }
        }
    }
}

/// Where the parts of a complete answer are.
#[derive(Debug, PartialEq)]
struct Parts {
    head: usize,
    body: Range<usize>,
}

impl Parts {
    /// Finds the parts; `None` while bytes are missing.
    ///
    /// # Errors
    /// If the body has no length, or is followed by more than was asked for.
    fn find(input: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(head) = position(input, HEAD_END) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&input[..head]).context("a head that is not text")?;
        let length = header(text, "content-length").next();
        let length: usize = length
            .context("an answer without content-length")?
            .parse()?;
        let start = head + HEAD_END.len();
        let body = start..start + length;
        ensure!(input.len() <= body.end, "more bytes than the answer has");
        Ok((input.len() == body.end).then_some(Self { head, body }))
    }

    fn of<'a>(&self, input: &'a [u8]) -> anyhow::Result<Answer<'a>> {
        let head = std::str::from_utf8(&input[..self.head])?;
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        Ok(Answer {
            status: status.context("no status line of HTTP/1.1")?.parse()?,
            head,
            body: &input[self.body.clone()],
        })
    }
}

/// Returns a request that sends a GraphQL document. `headers` are complete lines.
pub(super) fn post(host: SocketAddr, headers: &str, query: &str, variables: &Value) -> Vec<u8> {
    let body = serde_json::json!({ "query": query, "variables": variables }).to_string();
    let length = body.len();
    format!(
        "POST /graphql HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         accept: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns a request that reads a page.
pub(super) fn get(host: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
}

/// Returns how often a text is in an answer. It has at least one byte.
pub(super) fn count(body: &[u8], text: &str) -> usize {
    let (mut rest, mut found) = (body, 0);
    while let Some(at) = position(rest, text.as_bytes()) {
        found += 1;
        rest = &rest[at + text.len()..];
    }
    found
}

/// Returns where a part begins.
pub(super) fn position(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|part| part == wanted)
}

/// Returns the values of a header of this name.
pub(super) fn header<'a>(head: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let named = fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n{\"a\":1}";

    fn parse(input: &str) -> anyhow::Result<Option<Answer<'_>>> {
        let parts = Parts::find(input.as_bytes())?;
        parts.map(|parts| parts.of(input.as_bytes())).transpose()
    }

    #[test]
    fn an_answer_has_a_status_headers_and_a_body() {
        let answer = parse(ANSWER).unwrap().unwrap();
        assert_eq!((answer.status, answer.body), (200, b"{\"a\":1}".as_slice()));
        let cookies: Vec<&str> = answer.header("set-cookie").collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn an_answer_may_arrive_in_any_pieces() {
        for length in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..length]).unwrap(), None, "{length} bytes");
        }
    }

    #[test]
    fn an_answer_of_unknown_length_is_an_error() {
        assert!(parse("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n").is_err());
        assert!(parse(&format!("{ANSWER}HTTP/1.1 200 OK")).is_err());
    }

    #[test]
    fn an_error_of_graphql_is_no_success() {
        let with = |status, body| Answer {
            status,
            head: "",
            body,
        };
        assert!(
            with(200, b"{\"data\":{}}".as_slice())
                .ensure_success()
                .is_ok()
        );
        assert!(with(500, b"{\"data\":{}}").ensure_success().is_err());
        assert!(with(200, b"{\"errors\":[]}").ensure_success().is_err());
    }

    #[test]
    fn texts_are_counted() {
        assert_eq!(count(b"{\"id\":\"1\"},{\"id\":\"2\"}", "\"id\":"), 2);
        assert_eq!(count(b"", "\"id\":"), 0);
    }
}
