//! Answers what gateways ask about the payments of tenants, by asking Stripe.
//!
//! Somebody waits for each answer, so no question is kept: without an answer in time, the gateway
//! says so. A question names no customer. That of its tenant is in the log.

mod answer;
mod cards;
mod customer;
mod invoices;
mod refusal;
mod shown;

use std::{future::Future, sync::Arc, time::Duration};

use async_nats::{Client, Message};
use event_store::{CommandSender, EventLog, Trace, telemetry};
use events_schema::{TenantKey, billing::ask::Question, subject};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use self::refusal::Refusal;
use crate::{catalogue::LatestCatalogue, loops::Shared, stripe::Stripe};

/// Questions that a process answers at once. The pace of requests to Stripe bounds them, too.
const AT_ONCE: usize = 32;
/// How long an answer may take: less than gateways wait.
const ANSWERED_WITHIN: Duration = Duration::from_secs(7);

/// Answers questions.
struct Payments {
    stripe: Stripe,
    catalogue: LatestCatalogue,
    log: EventLog,
    sender: CommandSender,
}

/// Answers one kind of question.
trait Answers<Q: Question> {
    /// Answers a question about the payments of this tenant.
    ///
    /// # Errors
    /// If Stripe refuses it or does not answer, or the log does not answer.
    fn answer(
        &self,
        tenant: TenantKey,
        question: Q,
    ) -> impl Future<Output = Result<Q::Answer, Refusal>> + Send;
}

/// Answers questions until `shutdown`, then finishes those in progress.
///
/// # Errors
/// If the connection is closed.
pub async fn run(stripe: &Stripe, shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let client = shared.client;
    let payments = Arc::new(Payments {
        stripe: stripe.urgent(),
        catalogue: LatestCatalogue::new(EventLog::new(client.clone())),
        log: EventLog::new(client.clone()),
        sender,
    });
    let group = subject::ANSWERERS.to_owned();
    let questions = client.queue_subscribe(subject::asks(), group).await?;
    questions
        .take_until(shared.shutdown.cancelled_owned())
        .for_each_concurrent(AT_ONCE, |message| {
            let (payments, client) = (payments.clone(), client.clone());
            async move { payments.handle(&client, &message).await }
        })
        .await;
    Ok(())
}

impl Payments {
    async fn handle(&self, client: &Client, message: &Message) {
        let Some(reply) = message.reply.clone() else {
            return;
        };
        let trace = Trace::of_message(message.headers.as_ref());
        let answer = timeout(ANSWERED_WITHIN, self.answer_to(message));
        // Without an answer, the gateway learns that there is none in time.
        let Ok(Some(answer)) = telemetry::in_trace(trace, answer).await else {
            tracing::warn!(subject = %message.subject, "a question about payments has no answer");
            return;
        };
        if let Err(error) = client.publish(reply, answer.into()).await {
            tracing::warn!("an answer about payments was not sent: {error}");
        }
    }
}
