//! Searches of the event log, which can only be read forward.

use events_schema::Time;
use serde_json::json;

use crate::{EventLog, Stored};

impl EventLog {
    /// Reads the last `limit` messages on `filter` before this sequence, the oldest first.
    ///
    /// The log can only be read forward, but the server counts the messages after a sequence. So a
    /// bisection finds the start of the page.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn page_before(
        &self,
        filter: &str,
        end: u64,
        limit: usize,
    ) -> anyhow::Result<Vec<Stored>> {
        let start = self.start_before(filter, end, limit).await?;
        let mut messages = self.page_of(filter, start, limit).await?.messages;
        messages.retain(|message| message.sequence < end);
        Ok(messages)
    }

    /// Returns the lowest sequence from which at most `limit` messages on `filter` come before
    /// `end`; 1 if that includes all of them.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn start_before(&self, filter: &str, end: u64, limit: usize) -> anyhow::Result<u64> {
        let end = end.min(self.last_sequence().await? + 1);
        let after = self.count(filter, end).await?;
        let fits = |count: u64| count.saturating_sub(after) <= limit as u64;
        // From `low` on there are too many messages, from `high` on few enough.
        let (mut low, mut high) = (0, end);
        if fits(self.count(filter, 1).await?) {
            high = 1;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(self.count(filter, middle).await?) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }

    /// Counts the messages on `filter` from this sequence on.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn count(&self, filter: &str, from: u64) -> anyhow::Result<u64> {
        let first = self.page_of(filter, from, 1).await?;
        Ok(first.messages.len() as u64 + first.pending)
    }

    /// Returns the sequence of the first message on `filter` at this time or later, if there is
    /// one.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn first_since(&self, filter: &str, time: Time) -> anyhow::Result<Option<u64>> {
        let request = json!({
            "start_time": rfc_3339(time)?,
            "next_by_subj": filter,
            "batch": 1,
        });
        let page = self.request_page(request).await?;
        Ok(page.messages.first().map(|message| message.sequence))
    }
}

fn rfc_3339(time: Time) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_millisecond(time.0)?.to_string())
}
