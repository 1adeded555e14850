//! Log-ins that wait for a provider. The browser keeps each one, sealed, so those that nobody ends
//! are stored nowhere. A bucket that all gateways share has the ids of those that have ended, and the
//! tickets, for a quarter of an hour.

use std::time::Duration;

use async_nats::jetstream;
use event_store::random_bytes;
use events_schema::{
    AccountId, Id, ProviderName, SessionId, Time,
    sealed::{NONCE_BYTES, Sealed},
    secret::ServerKey,
    subject::FLOWS_BUCKET,
};
use serde::{Deserialize, Serialize};

use crate::{
    backend::bucket::Bucket,
    clock::now,
    error::Error,
    identity::{Caller, providers::FlowToken},
};

/// How long a log-in may take.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a ticket is valid.
const TICKET_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Longest path to return to, in bytes. It fits into a cookie with all else.
const MAX_PATH: usize = 1_024;
const PURPOSE: &str = "provider-log-in";
/// Where a browser goes that was not told where to return to. It shows how the log-in has ended.
const LOGIN_PAGE: &str = "/account/login";

/// A log-in that waits for a provider.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    /// What the secrets of the log-in derive from. It is random, so it names the log-in, too.
    pub(super) token: FlowToken,
    pub(super) provider: ProviderName,
    pub(super) purpose: Purpose,
    /// Where the browser goes in the end: a path of this deployment.
    pub(super) return_to: String,
    pub(super) begun_at: Time,
}

/// What an identity is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Purpose {
    LogIn,
    /// To link it to an account, whose owner has begun in this session.
    Link {
        account: AccountId,
        session: SessionId,
    },
}

/// The right to link an identity, within a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) provider: ProviderName,
    pub(super) account: AccountId,
    pub(super) session: SessionId,
    pub(super) begun_at: Time,
}

/// The log-ins that have ended, and the tickets. A ticket that was taken leaves an empty record.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    ended: Bucket<Time>,
    tickets: Bucket<Option<Ticket>>,
    secret: ServerKey,
}

impl Flow {
    /// Whether the log-in is at this provider, is not over, and is in the session that it was begun
    /// in if it is to link an identity.
    pub(super) fn is_of(&self, provider: &ProviderName, caller: &Caller) -> bool {
        let is_own = match self.purpose {
            Purpose::LogIn => true,
            Purpose::Link { session, .. } => session_of(caller) == Some(session),
        };
        is_own && self.provider == *provider && now().since(self.begun_at) < LIFETIME
    }
}

impl Ticket {
    /// Whether the ticket is for this provider and for the session of the request.
    pub(super) fn is_of(&self, provider: &ProviderName, caller: &Caller) -> bool {
        session_of(caller) == Some(self.session)
            && self.provider == *provider
            && now().since(self.begun_at) < TICKET_LIFETIME
    }
}

fn session_of(caller: &Caller) -> Option<SessionId> {
    caller.identity.as_ref()?.session()
}

impl Flows {
    /// Keeps ids and tickets in their bucket, and seals log-ins with this secret.
    pub(crate) fn new(jetstream: jetstream::Context, secret: ServerKey) -> Self {
        Self {
            ended: Bucket::new(jetstream.clone(), FLOWS_BUCKET),
            tickets: Bucket::new(jetstream, FLOWS_BUCKET),
            secret,
        }
    }

    /// Seals a log-in, for the browser to keep.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(super) fn seal(&self, flow: &Flow) -> Result<String, Error> {
        let plain = serde_json::to_vec(flow).map_err(anyhow::Error::from)?;
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        Ok(self.secret.seal(PURPOSE, &[], nonce, &plain).into())
    }

    /// Returns where the browser goes after the log-in that it has begun.
    pub(super) fn return_path(&self, caller: &Caller) -> String {
        let flow = self.open(caller);
        flow.map_or_else(|| LOGIN_PAGE.to_owned(), |flow| flow.return_to)
    }

    /// Opens the log-in that this browser has begun.
    pub(super) fn open(&self, caller: &Caller) -> Option<Flow> {
        let sealed = Sealed::parse(caller.kept.flow.as_ref()?).ok()?;
        let plain = self.secret.open_sealed(PURPOSE, &[], &sealed)?;
        serde_json::from_slice(&plain).ok()
    }

    /// Ends a log-in. Of several who try, one succeeds.
    ///
    /// # Errors
    /// `BadUserInput` if it has ended; `Unavailable` if the bucket does not answer.
    pub(super) async fn end(&self, flow: &Flow) -> Result<(), Error> {
        let end = |present: Option<Time>| match present {
            Some(_before) => Err(ended()),
            None => Ok((now(), ())),
        };
        self.ended.change(&flow.token.id().to_string(), end).await
    }

    /// Stores a ticket.
    ///
    /// # Errors
    /// `Unavailable` if the bucket does not answer.
    pub(super) async fn add_ticket(&self, id: Id, ticket: Ticket) -> Result<(), Error> {
        let add = |_: Option<Option<Ticket>>| Ok((Some(ticket.clone()), ()));
        self.tickets.change(&id.to_string(), add).await
    }

    /// Takes a ticket out. Of several who try, one succeeds.
    ///
    /// # Errors
    /// `BadUserInput` if there is none; `Unavailable` if the bucket does not answer.
    pub(super) async fn take_ticket(&self, id: Id) -> Result<Ticket, Error> {
        let empty = |present: Option<Option<Ticket>>| {
            let ticket = present.flatten().ok_or_else(ended)?;
            Ok((None, ticket))
        };
        self.tickets.change(&id.to_string(), empty).await
    }
}

/// The error of a log-in that another browser has begun, or that is over.
pub(super) fn ended() -> Error {
    Error::request("This log-in has ended, or another browser has begun it. Begin again.")
}

/// Returns the path if it is one of this deployment; that of the log-in page otherwise. Browsers
/// take `//host` and `/\host` for other hosts, and drop line breaks and tabs before they look. They
/// also resolve dots, so that `/.//host` becomes `//host`.
pub(crate) fn local_path(text: &str) -> &str {
    let is_plain = |c: u8| c.is_ascii_graphic() && c != b'\\';
    let is_path = text.starts_with('/') && !text.starts_with("//") && !has_dots(text);
    if is_path && text.len() <= MAX_PATH && text.bytes().all(is_plain) {
        text
    } else {
        LOGIN_PAGE
    }
}

/// Whether a part of the path is `.` or `..`, however it is written.
fn has_dots(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    path.split('/').any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn a_person_returns_to_a_page_of_this_deployment() {
        for path in [
            "/",
            "/projects",
            "/a?b=c&d=%2F%2Fe#f",
            "/a//b",
            "/@evil.example",
            "/.well-known/a...b?c=/../d",
        ] {
            assert_eq!(local_path(path), path);
        }
        let long = format!("/{}", "a".repeat(1_024));
        for other in [
            "",
            "projects",
            "https://evil.example/",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "/a b",
            "/é",
            "javascript:alert(1)",
            "@evil.example",
            ".evil.example",
            "/.//evil.example",
            "/..//evil.example",
            "/a/..//evil.example",
            "/%2e//evil.example",
            "/a/.%2E//evil.example?b",
            "/a/..",
            &long,
        ] {
            assert_eq!(local_path(other), "/account/login", "{other}");
        }
    }
}
