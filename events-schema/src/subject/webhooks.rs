//! The subjects of `WEBHOOKS`, of `ATTEMPTS` and of the bucket of cursors.

use crate::{Id, TenantKey, WebhookId, webhook::Verdict};

/// The stream that wakes deliveries to webhooks: a work queue.
pub const WEBHOOKS: &str = "WEBHOOKS";
/// The stream of attempts to send events to webhooks, kept for 30 days.
pub const ATTEMPTS: &str = "ATTEMPTS";

/// The key-value bucket that has where the delivery to each webhook stands.
pub const CURSORS_BUCKET: &str = "CURSORS";
/// What the subjects of that bucket begin with.
const CURSORS: &str = "$KV.CURSORS.";

/// Returns the subjects of WEBHOOKS.
pub fn of_webhooks_stream() -> Vec<String> {
    vec![wake_ups(), "whs.*.*".to_owned()]
}

/// Returns the filter for all that wakes deliveries.
pub fn wake_ups() -> String {
    "whk.*.*".to_owned()
}

/// Returns the subject that wakes the delivery to a webhook.
pub fn wake_up(tenant: TenantKey, webhook: WebhookId) -> String {
    format!("whk.{tenant}.{webhook}")
}

/// Returns the subject that wakes the delivery to a webhook at a later time.
pub fn scheduled_wake_up(tenant: TenantKey, webhook: WebhookId) -> String {
    format!("whs.{tenant}.{webhook}")
}

/// Reads the subject of a wake-up; `None` if it is not one.
pub fn parse_wake_up(subject: &str) -> Option<(TenantKey, WebhookId)> {
    parse(subject.strip_prefix("whk.")?)
}

/// Returns the subjects of ATTEMPTS.
pub fn of_attempts_stream() -> Vec<String> {
    vec!["att.*.*.*".to_owned()]
}

/// Returns the subject of attempts to send events to a webhook. Failures are kept apart, so that
/// successes do not push them out.
pub fn attempts(tenant: TenantKey, webhook: WebhookId, verdict: Verdict) -> String {
    let result = match verdict {
        Verdict::Succeeded => "ok",
        Verdict::Failed => "failed",
    };
    format!("att.{tenant}.{webhook}.{result}")
}

/// Returns the key of a webhook in the bucket of cursors.
pub fn cursor_key(tenant: TenantKey, webhook: WebhookId) -> String {
    format!("{tenant}.{webhook}")
}

/// Returns the filter for all cursors of webhooks in their bucket.
pub fn cursors() -> String {
    format!("{CURSORS}*.*")
}

/// Reads the subject of a cursor; `None` if it is not one.
pub fn parse_cursor(subject: &str) -> Option<(TenantKey, WebhookId)> {
    parse(subject.strip_prefix(CURSORS)?)
}

/// Reads what follows the first part of a subject.
fn parse(tokens: &str) -> Option<(TenantKey, WebhookId)> {
    let (tenant, webhook) = tokens.split_once('.')?;
    let (tenant, webhook) = (Id::parse(tenant).ok()?, Id::parse(webhook).ok()?);
    Some((TenantKey(tenant), WebhookId(webhook)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_names_its_webhook() {
        let (tenant, webhook) = (
            TenantKey(Id::from_bytes([1; 16])),
            WebhookId(Id::from_bytes([2; 16])),
        );
        let subject = wake_up(tenant, webhook);
        assert_eq!(parse_wake_up(&subject), Some((tenant, webhook)));
        for wrong in ["", "whk", "whk.x.y", "whk.*.*", &format!("{subject}.x")] {
            assert_eq!(parse_wake_up(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cursor_names_its_webhook() {
        let (tenant, webhook) = (
            TenantKey(Id::from_bytes([1; 16])),
            WebhookId(Id::from_bytes([2; 16])),
        );
        let subject = format!("$KV.CURSORS.{}", cursor_key(tenant, webhook));
        assert_eq!(parse_cursor(&subject), Some((tenant, webhook)));
        for wrong in ["", "$KV.CURSORS.sweep", &format!("{subject}.x")] {
            assert_eq!(parse_cursor(wrong), None, "{wrong}");
        }
    }
}
