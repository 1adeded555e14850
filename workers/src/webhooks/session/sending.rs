//! Requests in progress, and what becomes of them.

use std::{future::pending, panic, sync::Arc};

use events_schema::{
    Time,
    published::PublicEvent,
    webhook::{Attempt, EventRef, ReplayId, Verdict},
};
use hyper::StatusCode;
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::now;
use crate::{
    effect::outbound::{self, Answer, Reply},
    webhooks::{
        line::{Item, Retry},
        message::{Envelope, Messages, Outgoing},
        retries::Failure,
    },
};

/// What a request sends.
#[derive(Debug)]
pub enum Sent {
    /// An event of the line.
    Item(Item<Outgoing>),
    /// An event of a replay.
    Replay {
        replay: ReplayId,
        item: Item<Outgoing>,
    },
    /// What a person has asked for.
    Request {
        /// The sequence of the commit.
        sequence: u64,
        /// Where the log has the event; `None` for a test.
        reference: Option<EventRef>,
        item: Item<Outgoing>,
    },
}

impl Sent {
    /// Returns the event with its lane.
    pub const fn item(&self) -> &Item<Outgoing> {
        match self {
            Self::Item(item) | Self::Replay { item, .. } | Self::Request { item, .. } => item,
        }
    }
}

/// A request that has ended.
pub struct Done {
    pub sent: Sent,
    /// When it began.
    pub at: Time,
    pub reply: anyhow::Result<Reply>,
}

/// The requests in progress, each a task of its own: one session may use all cores.
#[derive(Default)]
pub struct Sending(JoinSet<Done>);

impl Sending {
    /// Begins a request that ends by `until`.
    pub fn begin(
        &mut self,
        messages: Messages,
        envelope: Arc<Envelope>,
        sent: Sent,
        until: Instant,
    ) {
        self.0.spawn(async move {
            let at = now();
            let reply = messages.send(&envelope, &sent.item().content, until).await;
            Done { sent, at, reply }
        });
    }

    /// Returns the next request that has ended; waits for ever without any.
    pub async fn next(&mut self) -> Done {
        match self.0.join_next().await.and_then(done) {
            Some(done) => done,
            None => pending().await,
        }
    }

    /// Returns a request that has ended, if there is one.
    pub fn ended(&mut self) -> Option<Done> {
        self.0.try_join_next().and_then(done)
    }

    /// Whether no request is in progress.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Breaks all requests off, and returns when none is in progress.
    pub async fn clear(&mut self) {
        self.0.shutdown().await;
    }
}

fn done(joined: Result<Done, JoinError>) -> Option<Done> {
    match joined {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // Only `clear` breaks requests off, and nobody waits for them then.
        Err(_) => None,
    }
}

/// Whether the server has accepted the message.
pub fn is_accepted(reply: &Reply) -> bool {
    matches!(&reply.outcome, Ok(answer) if answer.status.is_success())
}

/// Whether the server says that it wants no more messages.
pub fn is_gone(reply: &Reply) -> bool {
    matches!(&reply.outcome, Ok(answer) if answer.status == StatusCode::GONE)
}

/// Returns what matters of a failure for the next attempt.
pub fn failure_of(reply: &Reply) -> Failure {
    match &reply.outcome {
        Ok(answer) => Failure {
            is_overloaded: answer.status == StatusCode::TOO_MANY_REQUESTS,
            retry_after: answer.retry_after,
        },
        Err(outbound::Failure::Timeout(_) | outbound::Failure::ConnectTimeout(_)) => Failure {
            is_overloaded: true,
            retry_after: None,
        },
        Err(
            outbound::Failure::Blocked(_)
            | outbound::Failure::Dns(_)
            | outbound::Failure::Connect(_)
            | outbound::Failure::Tls(_)
            | outbound::Failure::Token(_)
            | outbound::Failure::Broken(_),
        ) => Failure::default(),
    }
}

/// Returns the record of an attempt.
pub fn record(
    event: &PublicEvent,
    reference: Option<EventRef>,
    at: Time,
    reply: &Reply,
    retry: Retry,
) -> Attempt {
    let answer: Option<&Answer> = reply.outcome.as_ref().ok();
    let verdict = if is_accepted(reply) {
        Verdict::Succeeded
    } else {
        Verdict::Failed
    };
    Attempt {
        event_id: event.id.clone(),
        event_type: event.event_type.to_string(),
        event: reference,
        attempt: retry.attempt,
        at,
        latency_ms: reply.latency.as_millis().try_into().unwrap_or(u64::MAX),
        verdict,
        status: answer.map(|answer| answer.status.as_u16()),
        response: answer.map_or_else(String::new, |answer| answer.text.clone()),
        error: reply.outcome.as_ref().err().map(ToString::to_string),
        address: answer.map(|answer| answer.address.to_string()),
        next_attempt_at: retry.at,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reply(outcome: Result<Answer, outbound::Failure>) -> Reply {
        Reply {
            outcome,
            latency: Duration::from_secs(1),
        }
    }

    /// An answer with this status that asks for a wait of so many seconds.
    fn answered(status: StatusCode, retry_after: Option<u64>) -> Reply {
        reply(Ok(Answer {
            status,
            address: ([127, 0, 0, 1], 443).into(),
            text: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    #[test]
    fn a_server_that_does_not_answer_in_time_is_overloaded() {
        let second = Duration::from_secs(1);
        for (failure, is_overloaded) in [
            (outbound::Failure::Timeout(second), true),
            (outbound::Failure::ConnectTimeout(second), true),
            (outbound::Failure::Connect("refused".to_owned()), false),
            (outbound::Failure::Dns("none".to_owned()), false),
        ] {
            let reply = reply(Err(failure));
            assert_eq!(failure_of(&reply).is_overloaded, is_overloaded, "{reply:?}");
        }
    }

    #[test]
    fn a_server_is_overloaded_if_it_says_so_and_may_ask_for_a_wait() {
        for (status, retry_after, is_overloaded) in [
            (StatusCode::TOO_MANY_REQUESTS, None, true),
            (StatusCode::TOO_MANY_REQUESTS, Some(90), true),
            (StatusCode::SERVICE_UNAVAILABLE, Some(90), false),
            (StatusCode::INTERNAL_SERVER_ERROR, None, false),
        ] {
            let expected = Failure {
                is_overloaded,
                retry_after: retry_after.map(Duration::from_secs),
            };
            let answered = answered(status, retry_after);
            assert_eq!(failure_of(&answered), expected, "{answered:?}");
        }
    }
}
