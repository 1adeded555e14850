//! Asks the workers that have the key of Stripe. Questions and answers are never stored.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::{Client, Request, connection::State as Connection};
use event_store::Trace;
use events_schema::{
    TenantKey,
    billing::ask::{Question, Reply},
    subject,
};

use crate::{error::Error, shares::Shares};

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);
/// When another attempt is worth it if no worker answers.
const AFTER_SILENCE: Duration = Duration::from_secs(5);
/// Questions that the members of a tenant may have open at one gateway, and how long they wait if
/// there are more. Each is one request to Stripe or several, and a worker answers 32 at once, so
/// that no tenant takes all of them.
const OPEN_PER_TENANT: usize = 4;
const AFTER_TOO_MANY: Duration = Duration::from_secs(1);

/// Asks workers about the payments of tenants.
#[derive(Clone, Debug)]
pub(crate) struct Asks {
    client: Client,
    open: Shares<TenantKey>,
}

impl Asks {
    /// Asks over this connection.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            open: Shares::new(OPEN_PER_TENANT),
        }
    }

    /// Asks about the payments of a tenant.
    ///
    /// # Errors
    /// `PaymentsAway` if no worker answers, or Stripe is away; `Rejected` if Stripe or the worker
    /// refuses it; `RateLimited` if the tenant has too many questions open.
    pub(crate) async fn ask<Q: Question>(
        &self,
        tenant: TenantKey,
        question: &Q,
        trace: Trace,
    ) -> Result<Q::Answer, Error> {
        let too_many = Error::RateLimited {
            retry_after: AFTER_TOO_MANY,
        };
        let _open = self.open.take(tenant).ok_or(too_many)?;
        // While the connection is lost, the client would keep the question.
        if self.client.connection_state() != Connection::Connected {
            return Err(away(AFTER_SILENCE));
        }
        let payload = serde_json::to_vec(question).context("writing a question")?;
        let request = Request::new()
            .payload(payload.into())
            .headers(trace.headers())
            .timeout(Some(ANSWERED_WITHIN));
        let answer = self.client.send_request(subject::ask::<Q>(tenant), request);
        let answer = answer.await.map_err(|error| {
            tracing::warn!(verb = Q::VERB, "no worker answers about payments: {error}");
            away(AFTER_SILENCE)
        })?;
        let reply = serde_json::from_slice(&answer.payload);
        match reply.context("reading an answer about payments")? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Rejected(rejection) => Err(Error::Rejected(rejection)),
            Reply::Unavailable { retry_after_ms } => {
                Err(away(Duration::from_millis(retry_after_ms)))
            }
        }
    }
}

const fn away(retry_after: Duration) -> Error {
    Error::PaymentsAway { retry_after }
}
