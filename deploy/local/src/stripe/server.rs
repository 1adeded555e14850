//! The HTTP side. It uses hyper without axum, which answers every request: only so can a
//! connection be closed in place of an answer.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName,
        ORIGIN, RETRY_AFTER,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{
    API_VERSION, REQUESTS, Seen, Stripe,
    account::random,
    api::{self, Call},
    faults::{Fault, Kind},
    pages,
    refusal::Refusal,
};

/// Maximum bytes of a request: above those of any request that Stripe accepts.
const BODY_BYTES: usize = 1024 * 1024;
/// Pause after a failed accept: it mostly means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;

impl Stripe {
    /// Serves the API, the controls for tests and the pages until `shutdown`.
    ///
    /// # Errors
    /// Never: an error of a connection ends that connection.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (service, shutdown) = (self.clone(), shutdown.clone());
                    tokio::spawn(service.converse(stream, shutdown));
                }
                Err(error) => {
                    tracing::warn!(%error, "the development Stripe accepts no connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(self, stream: TcpStream, shutdown: CancellationToken) {
        stream.set_nodelay(true).unwrap_or_default();
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let ended = tokio::select! {
            ended = connection => ended,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    /// Answers a request. An error closes the connection.
    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Answer> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES).collect().await;
        let body = body.map_err(|error| anyhow!(error))?.to_bytes();
        let (method, path) = (head.method.as_str(), head.uri.path());
        let is_control = path.starts_with("/_test/");
        let host = text(&head.headers, HOST.as_str()).unwrap_or_default();
        if !is_this_machine(&host) || is_control && is_foreign(&head.headers, &host) {
            return json(403, &Refusal::of_another_site().body());
        }
        if path.starts_with("/v1/") {
            let call = Call {
                method: method.to_owned(),
                path: path.to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                body: String::from_utf8_lossy(&body).into_owned(),
                key: key(&head.headers),
                idempotency_key: text(&head.headers, "idempotency-key"),
                version: text(&head.headers, "stripe-version"),
            };
            return self.answer_call(&call).await;
        }
        if is_control {
            return match self.control(method, path, &body).await {
                Ok(answer) => json(200, &answer),
                Err(refusal) => json(refusal.status, &refusal.body()),
            };
        }
        let page = pages::page(&self.state().account, path);
        html(page.filter(|_| method == "GET"))
    }

    async fn answer_call(&self, call: &Call) -> anyhow::Result<Answer> {
        let fault = self.state().faults.take(&call.method, &call.path);
        match fault.as_ref().map(|fault| (fault.kind, fault)) {
            Some((Kind::Answer, fault)) => return self.answer_as_ordered(call, fault),
            Some((Kind::Hang, _)) => {
                let released = self.shared.released.notified();
                self.remember(call, None);
                released.await;
                return Err(anyhow!("a test wanted no answer"));
            }
            Some((Kind::CutBefore, _)) => {
                self.remember(call, None);
                return Err(anyhow!("a test wanted no answer"));
            }
            Some((Kind::CutAfter | Kind::HangAfter | Kind::Hold, _)) | None => {}
        }
        let answered = {
            let mut state = self.state();
            let answered = state.answer(&self.shared.keys, call);
            self.send_events(&mut state);
            answered
        };
        let (status, body) = &answered.answer;
        let fault = fault.map(|fault| fault.kind);
        let released = self.shared.released.notified();
        let is_answered = matches!(fault, None | Some(Kind::Hold));
        self.remember(call, is_answered.then_some(*status));
        if matches!(fault, Some(Kind::HangAfter | Kind::Hold)) {
            released.await;
        }
        if !is_answered {
            return Err(anyhow!("a test wanted no answer"));
        }
        let mut answer = json(*status, body)?;
        let headers = answer.headers_mut();
        if answered.is_replayed {
            headers.insert("idempotent-replayed", "true".parse()?);
        }
        if let Some(key) = &call.idempotency_key {
            headers.insert("idempotency-key", key.parse()?);
        }
        Ok(answer)
    }

    fn answer_as_ordered(&self, call: &Call, fault: &Fault) -> anyhow::Result<Answer> {
        self.remember(call, Some(fault.status));
        let body = Refusal::ordered(fault.status).body();
        api::keep_failure(
            &mut self.state().account,
            call,
            (fault.status, body.clone()),
        );
        let mut answer = json(fault.status, &body)?;
        if let Some(seconds) = fault.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        Ok(answer)
    }

    fn remember(&self, call: &Call, status: Option<u16>) {
        tracing::debug!(call.method, call.path, status, "a request");
        let requests = &mut self.state().requests;
        if requests.len() == REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Seen {
            method: call.method.clone(),
            path: call.path.clone(),
            idempotency_key: call.idempotency_key.clone(),
            status,
        });
    }
}

/// Whether the client has asked for this machine. A page of another site may ask for a name of its
/// own that leads here.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether a page of another site has sent the request.
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let origin = text(headers, ORIGIN.as_str());
    origin.is_some_and(|origin| origin != format!("http://{host}"))
}

/// Returns the key of the caller: a bearer token, or the name of a basic login.
fn key(headers: &HeaderMap) -> Option<String> {
    let header = text(headers, AUTHORIZATION.as_str())?;
    if let Some(key) = header.strip_prefix("Bearer ") {
        return Some(key.trim().to_owned());
    }
    let login = header.strip_prefix("Basic ")?;
    let login = data_encoding::BASE64.decode(login.trim().as_bytes()).ok()?;
    let login = String::from_utf8(login).ok()?;
    Some(login.split(':').next().unwrap_or_default().to_owned())
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn json(status: u16, body: &Value) -> anyhow::Result<Answer> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store")
        .header(
            HeaderName::from_static("request-id"),
            format!("req_{}", random()),
        )
        .header(HeaderName::from_static("stripe-version"), API_VERSION)
        .body(Full::from(body.to_string()))
        .context("an answer that is none")
}

fn html(page: Option<String>) -> anyhow::Result<Answer> {
    let status = if page.is_some() { 200 } else { 404 };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/html; charset=utf-8")
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_SECURITY_POLICY, pages::POLICY)
        .body(Full::from(page.unwrap_or_default()))
        .context("a page that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in [
            "127.0.0.1:9903",
            "localhost:9903",
            "[::1]:9903",
            "127.0.0.1",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example:9903",
            "127.0.0.1.evil.example",
            "10.0.0.1:80",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_foreign() {
        let host = "127.0.0.1:9903";
        let sent_by = |origin: Option<&str>| {
            let origin = origin.map(|origin| (ORIGIN, origin.parse().unwrap()));
            is_foreign(&origin.into_iter().collect(), host)
        };
        assert!(!sent_by(None) && !sent_by(Some("http://127.0.0.1:9903")));
        assert!(sent_by(Some("https://evil.example")) && sent_by(Some("null")));
    }
}
