//! Reports webhooks that do not work: warns the owners after a day, and gives up after five.

use std::time::Duration;

use anyhow::{Context as _, bail};
use event_store::{CommandSender, Trace};
use events_schema::{
    Command, CommandId, Outcome, RejectionKind, TenantId, TenantKey, Time, WebhookId,
    secret::derived_id,
    webhook::{self, DisabledReason, Failing, ReplayId, ReplayProgress},
};
use tokio::time::Instant;

use crate::owners::Owners;

/// The owners are warned when every attempt has failed for so long.
const WARN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The webhook is disabled when every attempt has failed for so long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120 * 60 * 60);
/// How long the outcome of a command may take. Then it is sent again with the next attempt.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// Reports webhooks that do not work.
#[derive(Clone)]
pub struct Reports {
    sender: CommandSender,
    owners: Owners,
}

/// What a webhook that does not work needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A mail to the owners of the tenant.
    Warn,
    /// It is disabled.
    GiveUp(DisabledReason),
}

/// Returns what is to be reported; `is_gone` if the server has answered that the webhook is gone.
pub fn due(failing: Option<Failing>, is_gone: bool, now: Time) -> Option<Report> {
    if is_gone {
        return Some(Report::GiveUp(DisabledReason::Gone));
    }
    let failing = failing?;
    let lasts = now.since(failing.since);
    if lasts >= GIVE_UP_AFTER {
        Some(Report::GiveUp(DisabledReason::Failing))
    } else {
        (lasts >= WARN_AFTER && !failing.warned).then_some(Report::Warn)
    }
}

impl Reports {
    /// Sends reports in this way.
    pub const fn new(sender: CommandSender, owners: Owners) -> Self {
        Self { sender, owners }
    }

    /// Sends a report about a webhook that has been failing `since` then.
    ///
    /// # Errors
    /// If the outcome is not known in time, or the report is rejected.
    pub async fn send(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        report: Report,
        since: Time,
    ) -> anyhow::Result<()> {
        let owners = self.owners.of(tenant).await?;
        let (name, payload) = match report {
            Report::Warn => {
                let payload = webhook::Command::Warn {
                    webhook,
                    failing_since: since,
                    owners,
                };
                ("warn", payload)
            }
            Report::GiveUp(reason) => {
                let payload = webhook::Command::GiveUp {
                    webhook,
                    reason,
                    owners,
                };
                ("give_up", payload)
            }
        };
        let cause = [name.as_bytes(), &since.0.to_be_bytes()];
        self.command(tenant, webhook, &cause, payload).await
    }

    /// Records that everything of a replay was sent.
    ///
    /// # Errors
    /// If the outcome is not known in time.
    pub async fn finish(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        replay: ReplayId,
        progress: ReplayProgress,
    ) -> anyhow::Result<()> {
        let payload = webhook::Command::FinishReplay {
            webhook,
            replay,
            sent: progress.sent,
            failed: progress.failed,
        };
        let cause: [&[u8]; 2] = [b"finish_replay", replay.0.bytes()];
        self.command(tenant, webhook, &cause, payload).await
    }

    /// Sends a command. The same cause leads to the same command, also from another worker.
    async fn command(
        &self,
        tenant: TenantKey,
        webhook: WebhookId,
        cause: &[&[u8]; 2],
        payload: webhook::Command,
    ) -> anyhow::Result<()> {
        let [kind, of] = cause;
        let id = derived_id(&[b"webhook report", kind, webhook.0.bytes(), of]);
        let now = Time::from(std::time::SystemTime::now());
        let tenant_id = TenantId::Tenant(tenant);
        let command: Command<webhook::Area> =
            Command::by_system(CommandId(id), tenant_id, tenant, now, payload);
        let deadline = Instant::now() + OUTCOME_WITHIN;
        let outcome = self.sender.send(command, Trace::begin(), deadline).await;
        match outcome.context("reporting a webhook")? {
            // It was deleted meanwhile.
            Outcome::Rejected(rejection) if rejection.kind == RejectionKind::NotFound => Ok(()),
            Outcome::Rejected(rejection) => bail!("the report was rejected: {rejection:?}"),
            Outcome::Committed { .. } | Outcome::DoneBefore { .. } | Outcome::Unchanged { .. } => {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;

    fn due_after(hours: i64, warned: bool) -> Option<Report> {
        let failing = Failing {
            since: Time(0),
            warned,
        };
        due(Some(failing), false, Time(hours * HOUR))
    }

    #[test]
    fn owners_are_warned_once_after_a_day() {
        assert_eq!(due_after(23, false), None);
        assert_eq!(due_after(24, false), Some(Report::Warn));
        assert_eq!(due_after(24, true), None);
    }

    #[test]
    fn a_webhook_is_given_up_after_five_days_or_when_it_is_gone() {
        let failing = Report::GiveUp(DisabledReason::Failing);
        assert_eq!(due_after(119, true), None);
        assert_eq!(due_after(120, true), Some(failing));
        let gone = Report::GiveUp(DisabledReason::Gone);
        assert_eq!(due(None, true, Time(0)), Some(gone));
    }

    #[test]
    fn a_webhook_that_works_needs_no_report() {
        assert_eq!(due(None, false, Time(500 * HOUR)), None);
    }
}
