//! GraphQL over HTTP POST: what a request must look like, and how its answer is written.
//!
//! A page of another site can make a browser post forms and plain text with our cookie, but neither
//! JSON nor custom headers. So only JSON is accepted.

use std::sync::Arc;

use async_graphql::{Response as Answer, Value, Variables};
use axum::{
    Extension,
    body::Bytes,
    extract::{self, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderName, StatusCode, Uri,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use event_store::Trace;
use serde::Deserialize;
use tracing::{Instrument as _, debug_span};

use crate::{
    error::Error,
    graphql::Api,
    http::{JSON, Shared, add_retry_after, fail, observe::Logged, refusal, refuse, serve::Peer},
    identity::{Callers, RequestHead},
};

const GRAPHQL_JSON: &str = "application/graphql-response+json";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The body of a request. `extensions` are accepted and ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    query: String,
    operation_name: Option<String>,
    variables: Option<Variables>,
}

/// The status and the message that refuse a request.
type Refusal = (StatusCode, &'static str);

/// Executes a query or mutation.
pub(super) async fn execute(
    extract::State(shared): extract::State<Arc<Shared>>,
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
    let head = RequestHead {
        headers,
        uri,
        peer: peer.map(|Extension(Peer(address))| address),
        trace,
    };
    let (answer, logged) = answer(&shared.api, &shared.callers, &head, post, body).await;
    let mut response = write(&shared.api, &head.headers, answer, trace);
    response.extensions_mut().insert(logged);
    response
}

/// Reads a request and its body.
fn read(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Post, Bytes), Refusal> {
    if header(headers, &SEC_FETCH_SITE) == "cross-site" {
        let message = "Pages of other sites may not send requests.";
        return Err((StatusCode::FORBIDDEN, message));
    }
    let content_type = header(headers, &CONTENT_TYPE).split(';').next();
    if !content_type.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(JSON)) {
        let message = "Send JSON, with Content-Type: application/json.";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let body = body.map_err(|rejection| body_refusal(&rejection))?;
    // serde would accept an array as the fields in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let message = "Send one JSON object with the query; batches are not supported.";
        return Err((StatusCode::BAD_REQUEST, message));
    }
    let post = serde_json::from_slice(&body).map_err(|error| {
        let message = if error.is_data() {
            "Send a JSON object with query, operationName and variables."
        } else {
            "The body is not valid JSON."
        };
        (StatusCode::BAD_REQUEST, message)
    })?;
    Ok((post, body))
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn body_refusal(rejection: &BytesRejection) -> Refusal {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let message = "The request is too large. Send at most 65536 bytes.";
        (status, message)
    } else {
        let message = "The request could not be read. Send it again.";
        (StatusCode::BAD_REQUEST, message)
    }
}

async fn answer(
    api: &Api,
    callers: &Callers,
    head: &RequestHead,
    post: Post,
    body: Bytes,
) -> (Answer, Logged) {
    let variables = post.variables.unwrap_or_default();
    let prepared = match api.prepare(post.query, post.operation_name, variables) {
        Ok(prepared) => prepared,
        Err(error) => return (Answer::from_errors(vec![error]), Logged::default()),
    };
    let identified = callers.identify(head, body);
    let caller = match identified.instrument(debug_span!("identify")).await {
        Ok(caller) => caller,
        Err(error) => return (Answer::from_errors(vec![error.into()]), Logged::default()),
    };
    let identity = caller.identity.as_ref();
    let account = identity.map(|identity| identity.account_id());
    let executed = api.execute(prepared, caller);
    let (answer, operations) = executed.instrument(debug_span!("execute")).await;
    let logged = Logged {
        operations,
        account,
    };
    (answer, logged)
}

/// Writes an answer: 200 if anything was executed, otherwise 400, or 503 for a fault of the server.
fn write(api: &Api, headers: &HeaderMap, mut answer: Answer, trace: Trace) -> Response {
    let status = status(&answer);
    let content_type = content_type(headers);
    api.finish(&mut answer.errors, &trace.to_string());
    if status != StatusCode::OK {
        return refusal(status, content_type, &answer.errors);
    }
    let body = match serde_json::to_vec(&answer) {
        Ok(body) => body,
        Err(error) => return fail(StatusCode::INTERNAL_SERVER_ERROR, error.into(), trace),
    };
    let mut response = (status, [(CONTENT_TYPE, content_type)], body).into_response();
    response.headers_mut().extend(answer.http_headers);
    add_retry_after(&mut response, &answer.errors);
    response
}

fn status(answer: &Answer) -> StatusCode {
    let mut errors = answer.errors.iter();
    let was_executed = answer.data != Value::Null
        || answer.errors.is_empty()
        || errors.any(|error| !error.path.is_empty());
    let mut errors = answer.errors.iter();
    if was_executed {
        StatusCode::OK
    } else if errors.any(|error| error.source::<anyhow::Error>().is_some()) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// Returns the newer content type, unless the client accepts only the older one.
fn content_type(headers: &HeaderMap) -> &'static str {
    let values = headers.get_all(ACCEPT).iter();
    let ranges: Vec<&str> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|range| range.split(';').next())
        .map(str::trim)
        .collect();
    let accepts = |kind: &str| ranges.iter().any(|range| range.eq_ignore_ascii_case(kind));
    let accepts_newer = [GRAPHQL_JSON, "*/*", "application/*"]
        .into_iter()
        .any(accepts);
    if accepts(JSON) && !accepts_newer {
        JSON
    } else {
        GRAPHQL_JSON
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
    fn a_refusal_tells_broken_json_from_a_wrong_object() {
        let message = |body: &'static str| {
            let headers = request(&[("content-type", "application/json")]);
            read(&headers, Ok(Bytes::from(body))).err().unwrap().1
        };
        assert_eq!(message(r#"{"query":"#), "The body is not valid JSON.");
        assert!(message(r#"{"query":1}"#).starts_with("Send a JSON object with query"));
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
    fn a_request_that_a_page_of_another_site_can_send_is_refused() {
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
    fn the_older_type_is_for_clients_that_accept_no_other() {
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
}
