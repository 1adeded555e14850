//! What operators see of a request: a line in the log, a span and a metric.

use std::{fmt, sync::LazyLock};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    response::Response,
};
use event_store::{
    Handling,
    telemetry::{self, KeyValue},
};
use events_schema::AccountId;
use tokio::time::Instant;

/// Characters of a path that are logged and exported.
const MAX_PATH: usize = 200;

static DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time to answer a request.";
    telemetry::seconds("http.server.request.duration", description)
});

/// What a handler adds to the log entry of its request.
#[derive(Clone, Default)]
pub(crate) struct Logged {
    /// The operations that were executed, separated by commas. The client's own name for its request
    /// would be a text that it chooses.
    pub(crate) operations: String,
    pub(crate) account: Option<AccountId>,
}

/// What is seen of a request before it is answered.
pub(crate) struct Seen {
    at: Instant,
    method: Method,
    path: String,
    /// The route with its placeholders; empty if there is none.
    route: String,
}

/// Shows the name of the request's span: its method and route.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method_name())?;
        if self.route.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.route)
    }
}

impl Seen {
    pub(crate) fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        Self {
            at: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path().chars().take(MAX_PATH).collect(),
            route: route.map_or_else(String::new, |route| route.as_str().to_owned()),
        }
    }

    /// Records the answer.
    pub(crate) fn answered(&self, response: &mut Response, work: &Handling) {
        let logged = response.extensions_mut().remove().unwrap_or_default();
        let status = response.status().as_u16();
        self.log(status, &logged);
        self.measure(status);
        if work.is_exported() {
            self.describe(status, logged, work);
        }
    }

    fn log(&self, status: u16, logged: &Logged) {
        let (method, path) = (&self.method, &self.path);
        let operations = Some(logged.operations.as_str()).filter(|names| !names.is_empty());
        let ms = self.at.elapsed().as_millis() as u64;
        let account = logged.account.map(|id| id.to_string());
        // Probes come every second. They matter only if something else is wrong.
        if matches!(path.as_str(), "/healthz" | "/readyz") {
            tracing::debug!(%method, path, status, ms, "request");
        } else {
            tracing::info!(%method, path, status, ms, operations, account, "request");
        }
    }

    fn measure(&self, status: u16) {
        let labels = [
            KeyValue::new("http.request.method", self.method_name()),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("http.route", self.route.clone()),
        ];
        DURATION.record(self.at.elapsed().as_secs_f64(), &labels);
    }

    fn describe(&self, status: u16, logged: Logged, work: &Handling) {
        work.set("http.request.method", self.method_name());
        work.set("http.response.status_code", i64::from(status));
        work.set("http.route", self.route.clone());
        work.set("url.path", self.path.clone());
        work.set("ub.operations", logged.operations);
        if status >= 500 {
            work.fail("the gateway could not answer");
        }
    }

    /// Returns the method. All unknown ones have one name, so that nobody can make up metrics.
    fn method_name(&self) -> &'static str {
        match self.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::OPTIONS => "OPTIONS",
            Method::POST => "POST",
            _ => "_OTHER",
        }
    }
}
