//! Requests written byte by byte: an ordinary client would correct what is wrong with them.

use std::net::SocketAddr;

use gateway::Resolver::{self, Cookie, Header, Path, Query, Subdomain};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The target and the headers of a request, besides its session and its document.
#[derive(Clone, Debug)]
pub struct Request {
    pub target: String,
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl Request {
    /// A request that names no tenant.
    pub fn plain() -> Self {
        Self::to("/graphql")
    }

    pub fn to(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            headers: Vec::new(),
        }
    }

    pub fn with(mut self, header: &'static str, value: &[u8]) -> Self {
        self.headers.push((header, value.to_owned()));
        self
    }

    /// A request that names a tenant in this place, or several.
    pub fn naming(place: Resolver, tenants: &[&str]) -> Self {
        let headers = |name, written: fn(&&str) -> String| {
            tenants.iter().fold(Self::plain(), |request, tenant| {
                request.with(name, written(tenant).as_bytes())
            })
        };
        match place {
            Subdomain => headers("Host", |tenant| format!("{tenant}.backend.test:8443")),
            Header => headers("X-Tenant", |tenant| (*tenant).to_owned()),
            Cookie => headers("Cookie", |tenant| format!("tenant={tenant}")),
            Query => {
                let pairs: Vec<_> = tenants.iter().map(|one| format!("tenant={one}")).collect();
                Self::to(&format!("/graphql?{}", pairs.join("&")))
            }
            Path => Self::to(&format!("/t/{}/graphql", tenants.join("/t/"))),
        }
    }

    /// One request that names what both name: a path and a query go together.
    pub fn and(&self, other: &Self) -> Self {
        let targets = [self.target.as_str(), &other.target];
        let path = targets.iter().find(|target| target.starts_with("/t/"));
        let query = targets.iter().find_map(|target| target.split_once('?'));
        let query = query
            .map(|(_, query)| format!("?{query}"))
            .unwrap_or_default();
        Self {
            target: format!("{}{query}", path.unwrap_or(&"/graphql")),
            headers: [self.headers.clone(), other.headers.clone()].concat(),
        }
    }

    /// Sends it with a document; returns the status and the body.
    pub async fn send(
        &self,
        address: SocketAddr,
        session: Option<&str>,
        document: &str,
    ) -> (u16, Value) {
        let body = json!({ "query": document }).to_string();
        let mut request = format!(
            "POST {} HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n",
            self.target,
            body.len()
        )
        .into_bytes();
        let mut headers = self.headers.clone();
        if let Some(session) = session {
            headers.insert(0, ("Cookie", session.into()));
        }
        if !headers.iter().any(|(name, _)| *name == "Host") {
            headers.insert(0, ("Host", b"backend.test:8443".into()));
        }
        for (name, value) in headers {
            request.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        request.extend(body.bytes());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        parse(&answer)
    }
}

fn parse(answer: &str) -> (u16, Value) {
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) = parts.unwrap_or_else(|| panic!("not HTTP: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // A refusal by the HTTP library itself has no body.
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
    };
    (status, body)
}
