//! The attempts to send events to a webhook.

use async_graphql::{
    SimpleObject,
    connection::{Connection, EmptyFields},
};
use events_schema::webhook::{Attempt, Verdict};

use crate::graphql::scalars::DateTime;

/// A page of attempts.
pub(super) type Deliveries = Connection<String, Delivery, EmptyFields>;

/// An attempt to send an event to a webhook.
#[derive(SimpleObject)]
pub(super) struct Delivery {
    /// Id of the event: `webhook-id` of the request and `id` of its body. All attempts to send one
    /// event have the same.
    event_id: String,
    /// Type of the event, such as `project.created`.
    event_type: String,
    /// Counts the attempts to send the event: 1, 2, 3 … A test and an event that is redelivered
    /// have the number 1.
    attempt: u32,
    /// The HTTP status of the answer, such as 204. Null if there was none.
    status: Option<u16>,
    /// How long the exchange took, in milliseconds.
    latency_ms: u64,
    /// The beginning of the answer's body, up to 4 KiB.
    response: String,
    /// Why there was no answer. Null if there was one.
    error: Option<String>,
    /// The network address that was connected to. Null if there was no answer.
    address: Option<String>,
    /// When the attempt began.
    at: DateTime,
    /// When the next attempt to send the event is due. Null if there is none.
    next_attempt_at: Option<DateTime>,
    /// Whether the server has accepted the event, by a status from 200 to 299.
    succeeded: bool,
}

impl Delivery {
    pub(super) fn of(attempt: Attempt) -> Self {
        Self {
            event_id: attempt.event_id,
            event_type: attempt.event_type,
            attempt: attempt.attempt,
            status: attempt.status,
            latency_ms: attempt.latency_ms,
            response: attempt.response,
            error: attempt.error,
            address: attempt.address,
            at: DateTime(attempt.at),
            next_attempt_at: attempt.next_attempt_at.map(DateTime),
            succeeded: attempt.verdict == Verdict::Succeeded,
        }
    }
}
