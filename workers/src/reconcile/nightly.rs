//! Compares all billings with Stripe once a night.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{self, context::PublishErrorKind},
};
use events_schema::{Time, subject};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Comparison, Difference};

/// The time of day in UTC, when few people work.
const AT_MS: i64 = 3 * 60 * 60 * 1000;

/// Compares all billings each night until `shutdown`, if no other process does. A test has shorter
/// days.
///
/// # Errors
/// Never: the next night is another attempt. The result fits the other loops.
pub(crate) async fn run(
    comparison: Comparison,
    context: jetstream::Context,
    day: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let (night, wait) = next(SystemTime::now().into(), day);
        tokio::select! {
            () = sleep(wait) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tokio::select! {
            // Boxed, so that the start of this loop moves little.
            done = Box::pin(compare(&comparison, &context, night)) => {
                if let Err(error) = done {
                    let error = format!("{error:#}");
                    tracing::error!(error, "billings were not compared with Stripe");
                }
            }
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Returns the number of the next night, and the time until then.
fn next(now: Time, day: Duration) -> (i64, Duration) {
    let day_ms = i64::try_from(day.as_millis()).unwrap_or(i64::MAX);
    let night = (now.0 - AT_MS).div_euclid(day_ms) + 1;
    let wait = night * day_ms + AT_MS - now.0;
    (night, Duration::from_millis(wait.unsigned_abs()))
}

async fn compare(
    comparison: &Comparison,
    context: &jetstream::Context,
    night: i64,
) -> anyhow::Result<()> {
    if !begins(context, night).await? {
        return Ok(());
    }
    let remaining = comparison.all(&warn, &|_, _| {}).await?;
    if remaining > 0 {
        bail!("{remaining} differences are not mended");
    }
    tracing::info!("billings are compared with Stripe");
    Ok(())
}

/// Whether this process is the first one that wants to compare this night. If the server stores no
/// claim, since the stream is full of Stripe's events, each process compares: what is mended twice is
/// mended.
async fn begins(context: &jetstream::Context, night: i64) -> anyhow::Result<bool> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    let subject = subject::comparison_of(night);
    let sent = context.publish_with_headers(subject, headers, "begun".into());
    match sent.await.context("claiming a night")?.await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
        Err(error) if error.kind() == PublishErrorKind::Other => {
            let error = error.to_string();
            tracing::warn!(error, "no process claims this night, so each one compares");
            Ok(true)
        }
        Err(error) => Err(error).context("claiming a night"),
    }
}

fn warn(difference: &Difference) {
    let tenant = difference.tenant.map(|tenant| tenant.to_string());
    let (kind, mended) = (&difference.kind, difference.mended);
    tracing::warn!(tenant, ?kind, mended, "Stripe and the log differ");
}

#[cfg(test)]
mod tests {
    use async_nats::ConnectOptions;
    use events_schema::subject::STRIPE;
    use servers::{Layout, Role, Servers};

    use super::*;
    use crate::streams;

    #[tokio::test]
    async fn one_of_two_processes_compares_a_night_and_both_if_none_can_claim_it() {
        let servers = Servers::ephemeral(Layout::Single).await.unwrap();
        let password = servers.passwords.of(Role::Operator).to_owned();
        let options = ConnectOptions::with_user_and_password("operator".to_owned(), password);
        let options = options.custom_inbox_prefix("_INBOX_operator");
        let client = options.connect(servers.nats_url(Role::Operator)).await;
        let context = jetstream::new(client.unwrap());
        streams::migrate(context.clone(), 1).await.unwrap();
        let both = tokio::join!(begins(&context, 7), begins(&context, 7));
        assert!(both.0.unwrap() != both.1.unwrap());
        assert!(!begins(&context, 7).await.unwrap());
        assert!(begins(&context, 8).await.unwrap());

        let stream = context.get_stream(STRIPE).await.unwrap();
        let mut full = stream.cached_info().config.clone();
        full.max_messages = 2;
        context.update_stream(full).await.unwrap();
        for _ in 0..2 {
            assert!(begins(&context, 9).await.unwrap());
        }
    }

    #[test]
    fn a_night_begins_at_three_and_has_a_number_of_its_own() {
        let hour = 60 * 60 * 1000;
        let day = Duration::from_secs(24 * 60 * 60);
        for (now, night, hours) in [(0, 0, 3), (2, 0, 1), (3, 1, 24), (4, 1, 23), (27, 2, 24)] {
            let wait = Duration::from_secs(hours * 60 * 60);
            assert_eq!(next(Time(now * hour), day), (night, wait), "{now}");
        }
    }
}
