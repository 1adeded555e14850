//! HTTP: routes, what a request must look like, and what every answer carries.
//!
//! A page on another site can make a browser post forms and plain text with our cookie, but neither
//! JSON nor our own headers: so `/graphql` takes JSON alone. What GraphQL makes of it is in
//! `graphql.rs`.

mod graphiql;
pub(crate) mod pages;
pub(crate) mod readiness;
pub(crate) mod serve;
pub(crate) mod sockets;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use async_graphql::{PathSegment, Request, Response as Answer, ServerError, Value, Variables};
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{self, DefaultBodyLimit, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use events_schema::{AccountId, TRACEPARENT};
use futures_util::FutureExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::{
    State,
    access::operations::Refusals,
    error::{self, Error},
    graphql::{self, Schema, limits},
    http::serve::Peer,
    identity::caller::{Asked, Caller},
    trace::Trace,
};

/// Bytes in a request's body: a query of 2,000 tokens with its variables, several times over.
const MAX_BODY: usize = 64 * 1024;
/// A whole request, with sending its body; above the time limit of a command.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Characters of an operation's name that are logged.
const MAX_LOGGED_NAME: usize = 100;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: &str = "application/json";
const GRAPHQL_JSON: &str = "application/graphql-response+json";

/// The gateway over HTTP. `development` holds further pages, which production does not serve.
///
/// # Errors
/// If an operation does not declare who may use it.
pub fn app(state: Arc<State>, development: Router) -> anyhow::Result<Router> {
    let graphql = || get(try_queries).post(execute);
    let development = if state.config.production {
        Router::new()
    } else {
        graphiql::files().merge(development)
    };
    let shared = Shared {
        schema: graphql::schema(state.clone())?,
        state: state.clone(),
    };
    let router = Router::new()
        .route("/graphql", graphql())
        .route("/graph", graphql())
        .route("/t/{tenant}/graphql", graphql())
        .route("/graphql/ws", any(sockets::open))
        .route("/t/{tenant}/graphql/ws", any(sockets::open))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .merge(pages::routes())
        .merge(development.with_state(()))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, Error::NotFound) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(state, around))
        .with_state(shared);
    Ok(router)
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) schema: Schema,
    pub(crate) state: Arc<State>,
}

/// What a handler wants logged of a request.
#[derive(Clone, Default)]
struct Logged {
    operation: Option<String>,
    account: Option<AccountId>,
}

/// The body of a request. `extensions` may be there and are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    query: String,
    operation_name: Option<String>,
    variables: Option<Variables>,
}

/// Names, bounds and logs each request once, and gives every answer its headers.
async fn around(
    extract::State(state): extract::State<Arc<State>>,
    mut request: extract::Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let trace = Trace::of(
        request
            .headers()
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok()),
    );
    request.extensions_mut().insert(trace);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = timeout(
        TIME_LIMIT,
        AssertUnwindSafe(next.run(request)).catch_unwind(),
    )
    .await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => fail(
            StatusCode::INTERNAL_SERVER_ERROR,
            anyhow!("a handler panicked"),
            trace,
        ),
        Err(_elapsed) => fail(
            StatusCode::SERVICE_UNAVAILABLE,
            anyhow!("the request took longer than {TIME_LIMIT:?}"),
            trace,
        ),
    };
    add_headers(response.headers_mut(), trace, state.config.is_https());
    let Logged { operation, account } = response.extensions_mut().remove().unwrap_or_default();
    let (status, ms, account) = (
        response.status().as_u16(),
        begun.elapsed().as_millis() as u64,
        account.map(|id| id.to_string()),
    );
    // Probes come every second and are of interest only when something else is wrong.
    if matches!(path.as_str(), "/healthz" | "/readyz") {
        tracing::debug!(%method, path, status, ms, request_id = %trace, "request");
    } else {
        tracing::info!(%method, path, status, ms, request_id = %trace, operation, account, "request");
    }
    response
}

fn add_headers(headers: &mut HeaderMap, trace: Trace, https: bool) {
    // A trace id is always legal in a header.
    headers.extend(
        HeaderValue::try_from(trace.to_string())
            .ok()
            .map(|id| (REQUEST_ID, id)),
    );
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ));
    if https {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
}

/// An answer to a request that did not get as far as GraphQL, in GraphQL's form all the same.
pub(crate) fn refuse(status: StatusCode, error: Error) -> Response {
    let mut errors = [ServerError::from(error)];
    error::finish(&mut errors, "");
    refusal(status, JSON, &errors)
}

/// The same, for what is our own fault.
fn fail(status: StatusCode, cause: anyhow::Error, trace: Trace) -> Response {
    let mut errors = [ServerError::from(Error::Internal(cause))];
    error::finish(&mut errors, &trace.to_string());
    refusal(status, JSON, &errors)
}

/// Errors alone: where nothing was executed, there is no `data`, not even null.
fn refusal(status: StatusCode, content_type: &'static str, errors: &[ServerError]) -> Response {
    (
        status,
        [(CONTENT_TYPE, content_type)],
        serde_json::json!({ "errors": errors }).to_string(),
    )
        .into_response()
}

async fn ready(extract::State(Shared { state, .. }): extract::State<Shared>) -> impl IntoResponse {
    let ready = state.readiness.of(&state).await;
    (ready.status(), Json(ready))
}

/// A page to try queries on, in development. Queries themselves go by POST alone, also those that
/// only read.
async fn try_queries(
    extract::State(Shared { state, .. }): extract::State<Shared>,
    uri: Uri,
) -> Response {
    let asks = uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair == "query" || pair.starts_with("query="))
    });
    if state.config.production || asks {
        return (
            [(ALLOW, "POST")],
            refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                Error::request("Send queries by POST."),
            ),
        )
            .into_response();
    }
    graphiql::page()
}

async fn execute(
    extract::State(Shared { schema, state }): extract::State<Shared>,
    Extension(trace): Extension<Trace>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (post, body) = match read(&headers, body) {
        Ok(read) => read,
        Err((status, message)) => return refuse(status, Error::request(message)),
    };
    let operation = post
        .operation_name
        .as_deref()
        .map(|name| name.chars().take(MAX_LOGGED_NAME).collect());
    let asked = Asked {
        headers: &headers,
        uri: &uri,
        peer: peer.map(|Extension(Peer(address))| address),
        trace,
    };
    let (answer, account) = answer(&schema, &state, &asked, post, body).await;
    let mut response = write(&headers, answer, trace);
    response
        .extensions_mut()
        .insert(Logged { operation, account });
    response
}

/// What a request must look like, or how it is refused.
fn read(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Post, Bytes), (StatusCode, &'static str)> {
    let header = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if header(HeaderName::from_static("sec-fetch-site")) == "cross-site" {
        return Err((StatusCode::FORBIDDEN, "Pages of other sites may not ask."));
    }
    if !header(CONTENT_TYPE)
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Send JSON, with Content-Type: application/json.",
        ));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request has more than 65536 bytes.",
        ),
        _ => (
            StatusCode::BAD_REQUEST,
            "The request's body could not be read.",
        ),
    })?;
    // serde would take an array for the fields in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err((
            StatusCode::BAD_REQUEST,
            "Send one JSON object; batches are not supported.",
        ));
    }
    let post = serde_json::from_slice(&body);
    Ok((
        post.map_err(|_| {
            (
                StatusCode::BAD_REQUEST,
                "Send a JSON object with query, operationName and variables.",
            )
        })?,
        body,
    ))
}

async fn answer(
    schema: &Schema,
    state: &Arc<State>,
    asked: &Asked<'_>,
    post: Post,
    body: Bytes,
) -> (Answer, Option<AccountId>) {
    let document = match limits::parse(&post.query) {
        Ok(document) => document,
        Err(error) => return (Answer::from_errors(vec![error]), None),
    };
    let caller = match Caller::of(state, asked, body).await {
        Ok(caller) => caller,
        Err(error) => return (Answer::from_errors(vec![error.into()]), None),
    };
    let account = caller
        .identity
        .as_ref()
        .map(|identity| identity.account_id());
    let refusals = Arc::new(Refusals::default());
    let loaders = graphql::Loaders::of(state, &caller);
    let request = Request::new(post.query).variables(post.variables.unwrap_or_default());
    let mut request = request.data(caller).data(refusals.clone()).data(loaders);
    request.operation_name = post.operation_name;
    request.set_parsed_query(document);
    let mut answer = schema.execute(request).await;
    answer.errors.extend(refusals.take());
    (answer, account)
}

/// Writes an answer: 400 where nothing was executed, 200 where anything was.
fn write(headers: &HeaderMap, mut answer: Answer, trace: Trace) -> Response {
    let not_executed = answer.data == Value::Null
        && !answer.errors.is_empty()
        && answer.errors.iter().all(|error| error.path.is_empty());
    let internal = answer
        .errors
        .iter()
        .any(|error| error.source::<anyhow::Error>().is_some());
    let status = match (not_executed, internal) {
        (false, _) => StatusCode::OK,
        (true, false) => StatusCode::BAD_REQUEST,
        (true, true) => StatusCode::SERVICE_UNAVAILABLE,
    };
    error::finish(&mut answer.errors, &trace.to_string());
    if not_executed {
        return refusal(status, content_type(headers), &answer.errors);
    }
    for error in &answer.errors {
        put_null(&mut answer.data, &error.path);
    }
    let body = match serde_json::to_vec(&answer) {
        Ok(body) => body,
        Err(error) => return fail(StatusCode::INTERNAL_SERVER_ERROR, error.into(), trace),
    };
    let mut response = (status, [(CONTENT_TYPE, content_type(headers))], body).into_response();
    response.headers_mut().extend(answer.http_headers);
    response
}

/// Puts null where a field failed, as the specification has it; the library leaves the field out.
fn put_null(data: &mut Value, path: &[PathSegment]) {
    let [PathSegment::Field(name), rest @ ..] = path else {
        return;
    };
    if *data == Value::Null {
        *data = Value::Object(Default::default());
    }
    if let Value::Object(fields) = data {
        let field = fields
            .entry(async_graphql::Name::new(name))
            .or_insert(Value::Null);
        put_null(field, rest);
    }
}

/// The newer type, unless the client wants the older one alone.
fn content_type(headers: &HeaderMap) -> &'static str {
    let accepted: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .collect();
    let accepts = |kind: &str| {
        accepted.iter().any(|range| {
            range
                .split(';')
                .next()
                .is_some_and(|range| range.trim().eq_ignore_ascii_case(kind))
        })
    };
    let older_alone = accepts(JSON)
        && ![GRAPHQL_JSON, "*/*", "application/*"]
            .into_iter()
            .any(accepts);
    if older_alone { JSON } else { GRAPHQL_JSON }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn refused(pairs: &[(&'static str, &'static str)], body: &'static str) -> Option<u16> {
        read(&request(pairs), Ok(Bytes::from(body)))
            .err()
            .map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_request_is_one_json_object() {
        const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
        assert_eq!(
            refused(
                &[JSON],
                r#" {"query":"{a}","variables":null,"operationName":null,"extensions":{}}"#
            ),
            None
        );
        for wrong in [
            "",
            "null",
            "[]",
            r#"[{"query":"{a}"}]"#,
            r#"["{a}",null,null]"#,
            "{}",
            r#"{"query":1}"#,
            r#"{"query":"{a}""#,
        ] {
            assert_eq!(refused(&[JSON], wrong), Some(400), "{wrong}");
        }
    }

    #[test]
    fn what_another_sites_page_can_send_is_refused() {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "text/plain; application/json",
            "",
        ] {
            assert_eq!(
                refused(&[("content-type", kind)], r#"{"query":"{a}"}"#),
                Some(415),
                "{kind}"
            );
        }
        assert_eq!(refused(&[], r#"{"query":"{a}"}"#), Some(415));
        let cross_site = [
            ("content-type", "application/json"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert_eq!(refused(&cross_site, r#"{"query":"{a}"}"#), Some(403));
    }

    #[test]
    fn the_older_type_is_for_clients_that_know_no_other() {
        for (accept, expected) in [
            ("*/*", GRAPHQL_JSON),
            ("application/json", "application/json"),
            (
                "application/graphql-response+json, application/json;q=0.9",
                GRAPHQL_JSON,
            ),
            ("text/html", GRAPHQL_JSON),
        ] {
            assert_eq!(
                content_type(&request(&[("accept", accept)])),
                expected,
                "{accept}"
            );
        }
        assert_eq!(content_type(&request(&[])), GRAPHQL_JSON);
    }

    #[test]
    fn a_field_that_failed_is_null() {
        let path = [
            PathSegment::Field("account".to_owned()),
            PathSegment::Field("login".to_owned()),
        ];
        for (before, after) in [
            ("null", r#"{"account":{"login":null}}"#),
            (r#"{"account":null}"#, r#"{"account":{"login":null}}"#),
            (
                r#"{"account":{"logout":{"success":true}}}"#,
                r#"{"account":{"logout":{"success":true},"login":null}}"#,
            ),
        ] {
            let mut data: Value = serde_json::from_str(before).unwrap();
            put_null(&mut data, &path);
            assert_eq!(serde_json::to_string(&data).unwrap(), after);
        }
    }
}
