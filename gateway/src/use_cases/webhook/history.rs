//! What was sent to a webhook, the latest attempts first.

use events_schema::{TenantKey, Time, WebhookId, webhook::Verdict};

use super::Webhooks;
use crate::{backend::deliveries::KeptAttempt, error::Error, identity::Caller};

/// The conditions that an attempt must meet. `None` is met by every attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryFilter {
    pub(crate) verdict: Option<Verdict>,
    /// The type of the event, such as `project.created`.
    pub(crate) event_type: Option<String>,
    pub(crate) since: Option<Time>,
}

/// Attempts to send events, the latest first.
#[derive(Debug)]
pub(crate) struct DeliveryPage {
    pub(crate) attempts: Vec<KeptAttempt>,
    pub(crate) has_more: bool,
}

impl Webhooks {
    /// Returns up to `size` of the latest attempts before this sequence.
    ///
    /// # Errors
    /// `NotFound` if the caller's tenant has no such webhook; `Unavailable` if the attempts cannot be
    /// read.
    pub(crate) async fn history(
        &self,
        caller: &Caller,
        id: WebhookId,
        filter: &DeliveryFilter,
        before: Option<u64>,
        size: usize,
    ) -> Result<DeliveryPage, Error> {
        self.get(caller, id).await?;
        let tenant = caller.membership()?.tenant.id;
        let all = self.attempts(tenant, id, filter.verdict).await?;
        Ok(latest(all, filter, before, size))
    }

    /// Returns the kept attempts that ended so, in no order.
    pub(super) async fn attempts(
        &self,
        tenant: TenantKey,
        id: WebhookId,
        verdict: Option<Verdict>,
    ) -> Result<Vec<KeptAttempt>, Error> {
        let of = |verdict| self.deliveries.attempts(tenant, id, verdict);
        if let Some(verdict) = verdict {
            return of(verdict).await;
        }
        let (mut all, failed) = tokio::try_join!(of(Verdict::Succeeded), of(Verdict::Failed))?;
        all.extend(failed);
        Ok(all)
    }
}

impl DeliveryFilter {
    fn matches(&self, kept: &KeptAttempt) -> bool {
        let attempt = &kept.attempt;
        let wanted = self.event_type.as_ref();
        self.verdict
            .is_none_or(|verdict| attempt.verdict == verdict)
            && wanted.is_none_or(|wanted| attempt.event_type == *wanted)
            && self.since.is_none_or(|since| attempt.at >= since)
    }
}

/// Selects a page. The stream can be read forward only and keeps few attempts of a webhook, so all
/// of them were read.
fn latest(
    mut attempts: Vec<KeptAttempt>,
    filter: &DeliveryFilter,
    before: Option<u64>,
    size: usize,
) -> DeliveryPage {
    attempts
        .retain(|kept| before.is_none_or(|before| kept.sequence < before) && filter.matches(kept));
    attempts.sort_by_key(|kept| std::cmp::Reverse(kept.sequence));
    let has_more = attempts.len() > size;
    attempts.truncate(size);
    DeliveryPage { attempts, has_more }
}

#[cfg(test)]
mod tests {
    use events_schema::webhook::Attempt;

    use super::*;

    fn kept(sequence: u64, event_type: &str, verdict: Verdict) -> KeptAttempt {
        let attempt = Attempt {
            event_id: format!("msg_{sequence}"),
            event_type: event_type.to_owned(),
            event: None,
            attempt: 1,
            at: Time(i64::try_from(sequence).unwrap()),
            latency_ms: 1,
            verdict,
            status: None,
            response: String::new(),
            error: None,
            address: None,
            next_attempt_at: None,
        };
        KeptAttempt { sequence, attempt }
    }

    fn page(filter: &DeliveryFilter, before: Option<u64>, size: usize) -> (Vec<u64>, bool) {
        let attempts = vec![
            kept(2, "project.created", Verdict::Succeeded),
            kept(5, "task.created", Verdict::Succeeded),
            kept(3, "project.created", Verdict::Failed),
            kept(4, "task.created", Verdict::Failed),
        ];
        let page = latest(attempts, filter, before, size);
        let sequences = page.attempts.iter().map(|kept| kept.sequence);
        (sequences.collect(), page.has_more)
    }

    #[test]
    fn successes_and_failures_are_one_list_with_the_latest_first() {
        let all = DeliveryFilter::default();
        assert_eq!(page(&all, None, 10), (vec![5, 4, 3, 2], false));
        assert_eq!(page(&all, None, 2), (vec![5, 4], true));
        assert_eq!(page(&all, Some(4), 2), (vec![3, 2], false));
        assert_eq!(page(&all, None, 0), (vec![], true));
    }

    #[test]
    fn an_attempt_must_meet_all_conditions() {
        let failed = DeliveryFilter {
            verdict: Some(Verdict::Failed),
            ..DeliveryFilter::default()
        };
        assert_eq!(page(&failed, None, 1), (vec![4], true));
        let tasks = DeliveryFilter {
            event_type: Some("task.created".to_owned()),
            ..DeliveryFilter::default()
        };
        assert_eq!(page(&tasks, None, 10), (vec![5, 4], false));
        let since = DeliveryFilter {
            since: Some(Time(3)),
            ..failed
        };
        assert_eq!(page(&since, None, 10), (vec![4, 3], false));
        let later = DeliveryFilter {
            since: Some(Time(5)),
            ..since
        };
        assert_eq!(page(&later, None, 10), (vec![], false));
    }
}
