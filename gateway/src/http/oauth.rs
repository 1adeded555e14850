//! Log-ins by other parties: the browser leaves by `GET /oauth/<provider>/start`, and comes back by
//! `GET /oauth/<provider>/callback`.
//!
//! Both answer with a redirect, also if they refuse the request: a person looks at the answer. The
//! page that it leads to reads from `login` what has happened, and asks for `loginChallenge` if
//! something is still to be proved.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{self, Path, Query, RawQuery, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{LOCATION, SET_COOKIE},
    },
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use event_store::Trace;
use serde::Deserialize;

use super::{Shared, fail_as, pages, refuse, serve::Peer};
use crate::{
    error::Error,
    identity::{Caller, RequestHead, cookie::Kind},
    use_cases::{
        provider_login::{Answer, Outcome, local_path},
        session::{LoggedIn, Started},
    },
};

/// Longest parameter of an answer that is looked at.
const MAX_PARAMETER: usize = 4 * 1024;
/// Where a browser says which site has sent it. Other clients and older browsers have no such
/// header.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the routes of log-ins by other parties.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/oauth/{provider}/start", get(start))
        .route("/oauth/{provider}/callback", get(finish))
        .route("/account/google", get(|query| to_start("google", query)))
        .route("/account/github", get(|query| to_start("github", query)))
        .route(
            "/account/facebook",
            get(|query| to_start("facebook", query)),
        )
}

/// Where earlier clients begin.
async fn to_start(provider: &'static str, RawQuery(query): RawQuery) -> Redirect {
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    Redirect::temporary(&format!("/oauth/{provider}/start{query}"))
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    return_to: String,
    ticket: Option<String>,
}

/// What a provider sends the browser back with. An error has no code.
#[derive(Deserialize)]
struct Parameters {
    code: Option<String>,
    #[serde(default)]
    state: String,
    iss: Option<String>,
}

async fn start(
    extract::State(shared): extract::State<Arc<Shared>>,
    Path(provider): Path<String>,
    query: Result<Query<Start>, QueryRejection>,
    Extension(trace): Extension<Trace>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(Start { return_to, ticket })) = query else {
        return refusal(malformed(), "", trace);
    };
    if ticket.is_none() && is_sent_by_other_site(&headers) {
        return pages::sent_by_other_site();
    }
    let begun = async {
        let caller = identify(&shared, headers, uri, peer, trace).await?;
        count(&shared, &caller)?;
        let logins = &shared.provider_logins;
        let begun = logins.start(&caller, &provider, &return_to, ticket.as_deref());
        begun.await
    };
    match begun.await {
        Ok(begun) => match begun.to {
            Ok(url) => {
                let cookie = shared.cookies.hand_over(Kind::Flow, &begun.kept);
                redirect(&url, [cookie])
            }
            Err((return_to, failed)) => {
                redirect(&after(&return_to, "failed", Some(failed.name())), [])
            }
        },
        Err(error) => refusal(error, &return_to, trace),
    }
}

async fn finish(
    extract::State(shared): extract::State<Arc<Shared>>,
    Path(provider): Path<String>,
    query: Result<Query<Parameters>, QueryRejection>,
    Extension(trace): Extension<Trace>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let caller = match identify(&shared, headers, uri, peer, trace).await {
        Ok(caller) => caller,
        Err(error) => return refusal(error, "", trace),
    };
    let logins = &shared.provider_logins;
    let finished = async {
        count(&shared, &caller)?;
        let answer = query.ok();
        let answer = answer.and_then(|Query(parameters)| parameters.into_answer());
        let answer = answer.ok_or_else(malformed)?;
        logins.finish(&caller, &provider, answer).await
    };
    match finished.await {
        Ok(finished) => {
            let mut cookies = vec![shared.cookies.clear(Kind::Flow)];
            let (what, reason) = match finished.outcome {
                Ok(outcome) => told(&shared, &caller, outcome, &mut cookies),
                Err(failed) => ("failed", Some(failed.name().to_owned())),
            };
            let to = after(&finished.return_to, what, reason.as_deref());
            redirect(&to, cookies)
        }
        Err(error) => refusal(error, &logins.return_path(&caller), trace),
    }
}

impl Parameters {
    fn into_answer(self) -> Option<Answer> {
        let code = self.code.filter(|code| !code.is_empty());
        let texts = [code.as_deref(), self.iss.as_deref(), Some(&self.state)];
        let mut texts = texts.iter().flatten();
        let is_bounded = texts.all(|text| text.len() <= MAX_PARAMETER);
        is_bounded.then_some(Answer {
            code,
            state: self.state,
            issuer: self.iss,
        })
    }
}

/// Whether a page of another site has sent the browser. It must not end the session of a person who
/// has asked for nothing.
fn is_sent_by_other_site(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE);
    site.is_some_and(|site| site == "cross-site")
}

/// Finds out who sends a request.
async fn identify(
    shared: &Shared,
    headers: HeaderMap,
    uri: Uri,
    peer: Option<Extension<Peer>>,
    trace: Trace,
) -> Result<Caller, Error> {
    let head = RequestHead {
        headers,
        uri,
        peer: peer.map(|Extension(Peer(address))| address),
        trace,
    };
    shared.callers.identify(&head, Bytes::new()).await
}

/// Counts a request.
fn count(shared: &Shared, caller: &Caller) -> Result<(), Error> {
    let counted = shared.limits.count_stranger(caller);
    counted.map(drop).map_err(|(error, _budget)| error)
}

fn malformed() -> Error {
    Error::request("The query is malformed.")
}

/// Tells the page what has happened, and the browser what to keep.
fn told(
    shared: &Shared,
    caller: &Caller,
    outcome: Outcome,
    cookies: &mut Vec<String>,
) -> (&'static str, Option<String>) {
    let mut keep = |kind, value: &str| cookies.push(shared.cookies.hand_over(kind, value));
    let what = match outcome {
        Outcome::LoggedIn(LoggedIn::Session(account, started)) => {
            let Started { token, device, .. } = started;
            if let Some(device) = device {
                keep(Kind::Device, &device);
            }
            cookies.push(shared.cookies.set(&token));
            let openings = &shared.provider_logins.openings;
            // The owner may have come to confirm the identity that waits.
            if openings.are_over(caller, &account.view) {
                cookies.push(shared.cookies.clear(Kind::Waiting));
            }
            forget(shared, caller, cookies);
            "done"
        }
        Outcome::LoggedIn(LoggedIn::Challenge(challenge)) => {
            keep(Kind::Challenge, &challenge.token);
            "second_factor"
        }
        Outcome::Linked => "linked",
        Outcome::NoAddress => return ("failed", Some("no_address".to_owned())),
        Outcome::MustLink { waiting } => {
            keep(Kind::Waiting, &waiting);
            forget(shared, caller, cookies);
            "linking"
        }
        Outcome::CodeSent { waiting, code } => {
            keep(Kind::Waiting, &waiting);
            keep(Kind::LoginCode, &code);
            forget(shared, caller, cookies);
            "code"
        }
    };
    (what, None)
}

/// Deletes what a log-in that was begun before has left in the browser: it may be one to another
/// account.
fn forget(shared: &Shared, caller: &Caller, cookies: &mut Vec<String>) {
    let kept = [
        (Kind::Challenge, &caller.kept.challenge),
        (Kind::Passkey, &caller.kept.passkey),
    ];
    let kept = kept.into_iter().filter(|(_, value)| value.is_some());
    cookies.extend(kept.map(|(kind, _)| shared.cookies.clear(kind)));
}

/// Adds what has happened to a path.
fn after(path: &str, what: &str, reason: Option<&str>) -> String {
    let (path, fragment) = match path.split_once('#') {
        Some((path, fragment)) => (path, format!("#{fragment}")),
        None => (path, String::new()),
    };
    let separator = if path.contains('?') { '&' } else { '?' };
    let reason = reason.map_or_else(String::new, |reason| format!("&reason={reason}"));
    format!("{path}{separator}login={what}{reason}{fragment}")
}

fn redirect(to: &str, cookies: impl IntoIterator<Item = String>) -> Response {
    let Ok(to) = HeaderValue::try_from(to) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            Error::request("There is no such page."),
        );
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, to);
    let cookies = cookies.into_iter().map(HeaderValue::try_from);
    for cookie in cookies.filter_map(Result::ok) {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// Leads the browser of a refused request to a page that says why.
fn refusal(error: Error, return_to: &str, trace: Trace) -> Response {
    let reason = match error {
        Error::NotFound => return refuse(StatusCode::NOT_FOUND, error),
        Error::RateLimited { .. } => "rate_limited",
        Error::Unauthenticated(_)
        | Error::Forbidden
        | Error::StepUpRequired { .. }
        | Error::SecondFactorRequired
        | Error::SsoRequired { .. }
        | Error::BadUserInput { .. }
        | Error::Pending(_)
        | Error::PaymentsAway { .. }
        | Error::FeatureNotInPlan { .. }
        | Error::LimitReached { .. }
        | Error::SoleOwner { .. }
        | Error::PaymentRequired
        | Error::Rejected(_) => "ended",
        error @ (Error::Unavailable(_) | Error::ClientSecretLost(_) | Error::Internal(_)) => {
            return fail_as(StatusCode::SERVICE_UNAVAILABLE, error, trace);
        }
    };
    redirect(&after(local_path(return_to), "failed", Some(reason)), [])
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn a_page_learns_what_has_happened() {
        assert_eq!(after("/", "done", None), "/?login=done");
        assert_eq!(after("/a?b=c", "done", None), "/a?b=c&login=done");
        let failed = after("/a#b", "failed", Some("declined"));
        assert_eq!(failed, "/a?login=failed&reason=declined#b");
    }
}
