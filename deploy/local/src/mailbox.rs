//! A mailbox for development: receives every mail by SMTP, delivers none, and shows them on a page
//! and as JSON.
//!
//! It keeps a bounded number of mails in memory and nothing on disk. It has neither TLS nor a
//! login: anyone who reaches its ports can read and delete the mails, so it belongs on loopback.

mod pages;
mod smtp;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use mail_parser::{MessageParser, MessagePart, PartType};
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

/// Maximum mails that are kept: more than a person looks through. The oldest is deleted first.
const KEPT_MESSAGES: usize = 1_000;
/// Maximum bytes of all kept mails: a thousand of the largest would take up the machine's memory.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// All mail that was received; clones share it.
#[derive(Clone, Default)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// Wakes the requests that wait for a mail.
    arrived: Notify,
    /// The SMTP code to refuse with; 0 for none.
    refusal: AtomicU16,
    /// Recipients whose address ends like this get no answer.
    stalled: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Kept {
    messages: VecDeque<Message>,
    bytes: usize,
    received: u64,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    /// The sender on the envelope.
    from: String,
    /// The recipients on the envelope, also those of hidden copies.
    to: Vec<String>,
    subject: String,
    /// The plain text. Made from the HTML if the mail has none.
    text: String,
    html: Option<String>,
    /// Names and values, as they were sent.
    headers: Vec<(String, String)>,
    received_at: String,
    #[serde(skip)]
    bytes: usize,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses recipients and mails with this SMTP code, 400 to 599, from now on. `None`, or any
    /// other code, accepts them again.
    pub fn refuse(&self, code: Option<u16>) {
        self.shared
            .refusal
            .store(code.filter(is_refusal).unwrap_or(0), Ordering::Relaxed);
    }

    /// Leaves recipients whose address has this ending without an answer until the next call.
    /// `None` answers all.
    pub fn stall(&self, ending: Option<&str>) {
        self.shared.stalled.send_replace(ending.map(str::to_owned));
    }

    /// Waits while the recipient that this line names is stalled.
    async fn wait_while_stalled(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let is_answered = |stalled: &Option<String>| {
            let recipient = line
                .strip_prefix("rcpt to:<")
                .and_then(|rest| rest.split_once('>'));
            let stalled = stalled.as_deref().zip(recipient);
            stalled.is_none_or(|(ending, (recipient, _))| !recipient.ends_with(ending))
        };
        // It fails only if the mailbox is gone.
        _ = self.shared.stalled.subscribe().wait_for(is_answered).await;
    }

    fn refusal(&self) -> Option<u16> {
        Some(self.shared.refusal.load(Ordering::Relaxed)).filter(is_refusal)
    }

    fn keep(&self, from: String, to: Vec<String>, data: &[u8]) {
        let message = read(from, to, data);
        let mut kept = self.kept();
        kept.received += 1;
        let message = Message {
            id: kept.received.to_string(),
            ..message
        };
        kept.bytes += message.bytes;
        kept.messages.push_back(message);
        while kept.messages.len() > KEPT_MESSAGES || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.messages.pop_front() else {
                break;
            };
            kept.bytes -= oldest.bytes;
        }
        drop(kept);
        self.shared.arrived.notify_waiters();
    }

    /// The mails that match, oldest first. Waits until there is one, or until `deadline`.
    async fn matching(
        &self,
        matches: impl Fn(&Message) -> bool,
        deadline: Instant,
    ) -> Vec<Message> {
        loop {
            // Created before the search, so that a mail between the search and the wait counts.
            let arrived = self.shared.arrived.notified();
            // Copies, so that no mail waits for a slow reader.
            let found: Vec<Message> = self
                .kept()
                .messages
                .iter()
                .filter(|message| matches(message))
                .cloned()
                .collect();
            if !found.is_empty() || timeout_at(deadline, arrived).await.is_err() {
                return found;
            }
        }
    }

    /// No code panics while it holds the lock; if some did, the mails would still be whole.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_refusal(code: &u16) -> bool {
    (400..600).contains(code)
}

/// Reads any data. What is not a mail has no subject and no headers.
fn read(from: String, to: Vec<String>, data: &[u8]) -> Message {
    let parsed = MessageParser::default().parse(data);
    let parsed = parsed.as_ref();
    let html = |part: &MessagePart| {
        if let PartType::Html(html) = &part.body {
            Some(html.to_string())
        } else {
            None
        }
    };
    Message {
        id: String::new(),
        from,
        to,
        subject: parsed
            .and_then(|mail| mail.subject())
            .unwrap_or_default()
            .to_owned(),
        text: parsed
            .and_then(|mail| mail.body_text(0))
            .unwrap_or_default()
            .into_owned(),
        html: parsed.and_then(|mail| mail.html_bodies().find_map(html)),
        headers: parsed
            .iter()
            .flat_map(|mail| mail.headers_raw())
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        received_at: jiff::Timestamp::now().to_string(),
        // What is kept is the parsed mail, which is about as large as the sent one.
        bytes: data.len(),
    }
}
