//! Log-ins that wait for a provider, in a bucket that all gateways share. Its records are kept for a
//! quarter of an hour. None has a secret: those derive from what the browser keeps.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{AccountId, Id, ProviderName, SessionId, Time, subject::FLOWS_BUCKET};
use serde::{Deserialize, Serialize};

use crate::{backend::bucket::Bucket, clock::now, error::Error, identity::Caller};

/// How long a log-in may take.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a ticket is valid.
const TICKET_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Longest path to return to, in bytes.
const MAX_PATH: usize = 1_024;

/// A log-in that waits for a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Flow {
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

/// The log-ins that wait, and the tickets. One that was taken leaves an empty record.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    flows: Bucket<Option<Flow>>,
    tickets: Bucket<Option<Ticket>>,
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
    /// Keeps log-ins in their bucket.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self {
            flows: Bucket::new(jetstream.clone(), FLOWS_BUCKET),
            tickets: Bucket::new(jetstream, FLOWS_BUCKET),
        }
    }

    pub(super) async fn add(&self, id: Id, flow: Flow) -> Result<(), Error> {
        add(&self.flows, id, flow).await
    }

    /// Takes a log-in out. Of several who try, one succeeds.
    pub(super) async fn take(&self, id: Id) -> Result<Option<Flow>, Error> {
        take(&self.flows, id).await
    }

    pub(super) async fn add_ticket(&self, id: Id, ticket: Ticket) -> Result<(), Error> {
        add(&self.tickets, id, ticket).await
    }

    /// Takes a ticket out. Of several who try, one succeeds.
    pub(super) async fn take_ticket(&self, id: Id) -> Result<Option<Ticket>, Error> {
        take(&self.tickets, id).await
    }
}

async fn add<T>(bucket: &Bucket<Option<T>>, id: Id, record: T) -> Result<(), Error>
where
    T: Clone + Serialize + serde::de::DeserializeOwned,
{
    let add = |_: Option<Option<T>>| Ok((Some(record.clone()), ()));
    bucket.change(&id.to_string(), add).await
}

async fn take<T>(bucket: &Bucket<Option<T>>, id: Id) -> Result<Option<T>, Error>
where
    T: Serialize + serde::de::DeserializeOwned,
{
    let empty = |present: Option<Option<T>>| {
        let record = present.flatten().ok_or(Error::NotFound)?;
        Ok((None, record))
    };
    match bucket.change(&id.to_string(), empty).await {
        Ok(record) => Ok(Some(record)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the path if it is one of this deployment; `/` otherwise. Browsers take `//host` and
/// `/\host` for other hosts, and drop line breaks and tabs before they look.
pub(super) fn local_path(text: &str) -> &str {
    let is_plain = |c: u8| c.is_ascii_graphic() && c != b'\\';
    let is_path = text.starts_with('/') && !text.starts_with("//");
    if is_path && text.len() <= MAX_PATH && text.bytes().all(is_plain) {
        text
    } else {
        "/"
    }
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
            &long,
        ] {
            assert_eq!(local_path(other), "/", "{other}");
        }
    }
}
