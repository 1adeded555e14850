//! Connections to servers that are not ours, such as those of customers. Their names and addresses
//! are chosen by others, so a connection goes to allowed addresses only.

mod body;
mod connector;
mod resolver;
mod stream;

use std::{error::Error, time::Duration};

use events_schema::Invalid;

pub use self::{
    body::TimedBody,
    connector::{Connector, Peer},
    resolver::Resolver,
};

/// Why there is no answer. The text is for the customer, and names no address that a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A request must not go there.
    #[error("the URL {0}")]
    Blocked(Invalid),
    /// The name of the server has no address.
    #[error("the host name was not found: {0}")]
    Dns(String),
    /// The server is not reachable.
    #[error("the connection failed: {0}")]
    Connect(String),
    /// TLS with the server fails, such as for its certificate.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The server was not reached in time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The server has not answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There is no access token for the server.
    #[error("no access token: {0}")]
    Token(String),
    /// The answer is broken off, is too large or is no HTTP.
    #[error("no valid answer: {0}")]
    Broken(String),
}

/// Finds the connector's own failure below an error of the client.
pub fn failure(error: &hyper_util::client::legacy::Error) -> Failure {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let failure = causes
        .clone()
        .find_map(|cause| cause.downcast_ref::<Failure>());
    failure.cloned().unwrap_or_else(|| {
        let cause = causes.map(ToString::to_string).next();
        Failure::Broken(cause.unwrap_or_else(|| error.to_string()))
    })
}
