//! The streams `INBOX` and `STRIPE`: store hooks of other services and events of Stripe, and tell
//! what became of hooks.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use async_nats::{
    Client, Request,
    connection::State as Connection,
    header::{
        NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    },
    jetstream::{publish::PublishAck, response::Response, stream::DirectGetErrorKind},
};
use event_store::{Trace, first_and_count, random_id, read_stream};
use events_schema::{
    InboundSourceId, StripeHook, TenantKey,
    inbound_source::{Handling, Hook, HookId, Receipt},
    subject::{self, INBOX, STRIPE},
};

use crate::{backend::commands::jetstream, error::Error};

/// How long the stream may take to store a hook. Providers wait for ten seconds and more.
const STORED_WITHIN: Duration = Duration::from_secs(5);
/// Hooks of a source that may wait to be handled: somewhat fewer than the stream keeps.
const MOST_WAITING: u64 = 9_900;
/// The codes of a refused append whose guard does not hold. The second one is that of a batch.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// Stores and reads hooks.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(Client);

/// A hook that is kept, and what became of it; `None` if it waits to be handled.
#[derive(Clone, Debug)]
pub(crate) struct KeptHook {
    pub(crate) id: HookId,
    pub(crate) receipt: Receipt,
    pub(crate) handling: Option<Handling>,
}

/// The stream's answer to a hook with its receipt.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Stored,
    /// Nothing is stored, since the receipt is stored or about to be.
    KnowsReceipt,
}

/// Identifies the source of a hook.
pub(crate) type SourceKey = (TenantKey, InboundSourceId);

impl Inbox {
    /// Uses the stream over this connection.
    pub(crate) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// Stores a hook together with its receipt, or nothing if its receipt is stored already: then
    /// it was received before. Returns after the stream has synced them.
    ///
    /// # Errors
    /// If NATS is away, or too many hooks of the source wait, or it is not known whether the hook is
    /// stored. The sender finds out when it sends the hook again.
    pub(crate) async fn store(&self, hook: &Hook, trace: Trace) -> anyhow::Result<()> {
        self.check_connection()?;
        self.check_room(hook).await?;
        let receipt = Receipt {
            key: hook.key.clone(),
            event: hook.event.clone(),
            received_at: hook.received_at,
        };
        let batch = random_id()?.to_string();
        let mut headers = trace.headers();
        headers.insert(NATS_BATCH_ID, batch.as_str());
        headers.insert(NATS_BATCH_SEQUENCE, "1");
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let subject = subject::receipt(hook.tenant, hook.source, hook.id());
        let receipt = serde_json::to_vec(&receipt)?;
        self.0
            .publish_with_headers(subject, headers, receipt.into())
            .await?;
        let mut headers = trace.headers();
        headers.insert(NATS_BATCH_ID, batch.as_str());
        headers.insert(NATS_BATCH_SEQUENCE, "2");
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        let request = Request::new()
            .headers(headers)
            .payload(serde_json::to_vec(hook)?.into())
            .timeout(Some(STORED_WITHIN));
        let subject = subject::hooks_of(hook.tenant, hook.source);
        let answer = self.0.send_request(subject, request).await;
        match read_answer(&answer.context("storing a hook")?.payload)? {
            Answer::Stored => Ok(()),
            // A cluster refuses it also while the first one is not stored yet.
            Answer::KnowsReceipt => self.check_received(hook).await,
        }
    }

    /// Stores an event of Stripe, unless it was stored before. Returns after the stream has synced
    /// it.
    ///
    /// # Errors
    /// If NATS is away, or it is not known whether the event is stored. Stripe sends it again.
    pub(crate) async fn store_of_stripe(
        &self,
        hook: &StripeHook,
        trace: Trace,
    ) -> anyhow::Result<()> {
        self.check_connection()?;
        let subject = subject::stripe_hook(&hook.id);
        let mut headers = trace.headers();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let request = Request::new()
            .headers(headers)
            .payload(serde_json::to_vec(hook)?.into())
            .timeout(Some(STORED_WITHIN));
        let answer = self.0.send_request(subject.clone(), request).await;
        let answer = answer.context("storing an event of Stripe")?;
        match serde_json::from_slice(&answer.payload).context("reading the answer to an event")? {
            Response::Ok::<PublishAck>(_) => Ok(()),
            Response::Err { error } if WRONG_LAST_SEQUENCE.contains(&error.error_code().0) => {
                self.check_stored(STRIPE, &subject).await
            }
            Response::Err { error } => Err(anyhow!("storing an event of Stripe: {error}")),
        }
    }

    /// Checks that there is a connection. Without one, the client would keep the hook and answer
    /// nobody.
    fn check_connection(&self) -> anyhow::Result<()> {
        let is_connected = self.0.connection_state() == Connection::Connected;
        ensure!(is_connected, "not connected to NATS");
        Ok(())
    }

    /// Checks that the receipt of a hook is stored.
    async fn check_received(&self, hook: &Hook) -> anyhow::Result<()> {
        let receipt = subject::receipt(hook.tenant, hook.source, hook.id());
        self.check_stored(INBOX, &receipt).await
    }

    /// Checks that there is a message on a subject.
    async fn check_stored(&self, stream: &str, subject: &str) -> anyhow::Result<()> {
        let (stored, _) = first_and_count(&self.0, stream, subject).await?;
        stored.context("the hook may be stored or not")?;
        tracing::debug!(subject, "a hook comes again");
        Ok(())
    }

    /// Checks that the source's next hook pushes out none that waits: the stream keeps a bounded
    /// number of each source.
    async fn check_room(&self, hook: &Hook) -> anyhow::Result<()> {
        let (tenant, source) = (hook.tenant, hook.source);
        let hooks = subject::hooks_of(tenant, source);
        let (first, count) = first_and_count(&self.0, INBOX, &hooks).await?;
        let Some(first) = first.filter(|_| count >= MOST_WAITING) else {
            return Ok(());
        };
        let first: Hook = serde_json::from_slice(&first.payload)?;
        let handling = subject::handling(tenant, source, first.id());
        let (handling, _) = first_and_count(&self.0, INBOX, &handling).await?;
        ensure!(handling.is_some(), "too many hooks of the source wait");
        Ok(())
    }

    /// Reads the hooks of a source that are kept, the oldest first, without their bodies.
    ///
    /// # Errors
    /// `Unavailable` if the stream cannot be read.
    pub(crate) async fn hooks(&self, (tenant, source): SourceKey) -> Result<Vec<KeptHook>, Error> {
        let read = self.read(tenant, source).await;
        read.map_err(Error::Unavailable)
    }

    async fn read(
        &self,
        tenant: TenantKey,
        source: InboundSourceId,
    ) -> anyhow::Result<Vec<KeptHook>> {
        let Some(first) = self.first(tenant, source).await? else {
            return Ok(Vec::new());
        };
        let receipts = subject::receipts_of(tenant, source);
        let receipts = read_stream(&self.0, INBOX, &receipts, first).await?;
        let handlings = subject::handlings_of(tenant, source);
        let handlings = read_stream(&self.0, INBOX, &handlings, first).await?;
        // The last one of a hook counts.
        let mut ends: HashMap<HookId, Handling> = handlings
            .iter()
            .filter_map(|stored| {
                let hook = subject::hook_in(&stored.subject)?;
                Some((hook, serde_json::from_slice(&stored.payload).ok()?))
            })
            .collect();
        // What a newer release has written does not hide the others.
        let kept = receipts.iter().filter_map(|stored| {
            let id = subject::hook_in(&stored.subject)?;
            Some(KeptHook {
                id,
                receipt: serde_json::from_slice(&stored.payload).ok()?,
                handling: ends.remove(&id),
            })
        });
        Ok(kept.collect())
    }

    /// Returns the sequence of the first receipt whose hook is kept. The stream keeps the latest
    /// hooks of a source and all receipts, so this bounds what is read.
    async fn first(
        &self,
        tenant: TenantKey,
        source: InboundSourceId,
    ) -> anyhow::Result<Option<u64>> {
        let stream = jetstream(self.0.clone()).get_stream_no_info(INBOX).await?;
        let hooks = subject::hooks_of(tenant, source);
        match stream.direct_get_next_for_subject(hooks, Some(1)).await {
            // Its receipt was stored just before it.
            Ok(hook) => Ok(Some(hook.sequence - 1)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("reading the first hook"),
        }
    }
}

fn read_answer(payload: &[u8]) -> anyhow::Result<Answer> {
    match serde_json::from_slice(payload).context("reading the answer to a hook")? {
        Response::Ok::<PublishAck>(_) => Ok(Answer::Stored),
        Response::Err { error } if WRONG_LAST_SEQUENCE.contains(&error.error_code().0) => {
            Ok(Answer::KnowsReceipt)
        }
        Response::Err { error } => Err(anyhow!("storing a hook: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nats-server 2.15.1 answers.
    fn refused(code: u16, description: &str) -> String {
        let error = format!(r#""code":400,"err_code":{code},"description":"{description}""#);
        format!(r#"{{"error":{{{error}}},"stream":"INBOX","seq":0}}"#)
    }

    #[test]
    fn a_hook_whose_receipt_is_known_is_no_failure_even_if_the_server_finds_out_late() {
        let stored = r#"{"stream":"INBOX","seq":2,"batch":"a","count":2}"#;
        for (answer, expected) in [
            (stored.to_owned(), Answer::Stored),
            (
                refused(10071, "wrong last sequence: 1"),
                Answer::KnowsReceipt,
            ),
            (refused(10164, "wrong last sequence"), Answer::KnowsReceipt),
        ] {
            let read = read_answer(answer.as_bytes());
            assert_eq!(read.unwrap(), expected, "{answer}");
        }
        for answer in [refused(10077, "maximum bytes exceeded"), String::new()] {
            assert!(read_answer(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
