//! Whether the key of Stripe belongs to the account that has the customers of the tenants.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use event_store::{Trace, random_id};
use events_schema::{
    Command, CommandId, TenantId,
    plan::{self, CATALOGUE, StripeAccount},
};
use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Reconciler;
use crate::record::{Recorded, record};

/// How often the account is checked.
const AGAIN: Duration = Duration::from_secs(60);

/// The key belongs to another account, or to the other mode of the same.
#[derive(Debug, thiserror::Error)]
#[error(
    "UB_STRIPE_KEY belongs to {} ({}), and the customers of the tenants are in {} ({}); set the key \
     of that account, or run `workers adopt-stripe-account` once",
    .found.id, mode(.found), .known.id, mode(.known)
)]
pub(crate) struct OtherAccount {
    found: StripeAccount,
    known: StripeAccount,
}

const fn mode(account: &StripeAccount) -> &'static str {
    if account.live { "live" } else { "test" }
}

impl Reconciler {
    /// Checks that the key belongs to the account that the log knows.
    ///
    /// # Errors
    /// [`OtherAccount`]. What cannot be checked now is no error.
    pub(crate) async fn refuse_other_account(&self) -> anyhow::Result<()> {
        let checked = self.check_account(false).await;
        checked.or_else(|error| {
            if error.is::<OtherAccount>() {
                return Err(error);
            }
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "it is not known to which account UB_STRIPE_KEY belongs"
            );
            Ok(())
        })
    }

    /// Checks the account of the key, and records it if the log knows none. The future is boxed: the
    /// future of each start would contain it.
    ///
    /// # Errors
    /// [`OtherAccount`], or another error if Stripe, the log or a worker does not answer.
    fn check_account(&self, records: bool) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let known = self.catalogue().await?.plans().stripe_account.clone();
            if known.is_none() && !records {
                return Ok(());
            }
            let found = self.stripe.account().await?;
            match known {
                Some(known) if known == found => Ok(()),
                Some(known) => Err(OtherAccount { found, known }.into()),
                None => self.record_account(found, false).await,
            }
        })
    }

    /// Records the account of the key in place of any other one.
    ///
    /// # Errors
    /// If Stripe or a worker does not answer.
    pub(crate) async fn adopt_account(&self) -> anyhow::Result<StripeAccount> {
        let found = self.stripe.account().await?;
        self.record_account(found.clone(), true).await?;
        Ok(found)
    }

    async fn record_account(&self, account: StripeAccount, adopt: bool) -> anyhow::Result<()> {
        let command = Command::<plan::Area>::by_system(
            CommandId(random_id()?),
            TenantId::Platform,
            CATALOGUE,
            SystemTime::now().into(),
            plan::Command::RecordAccount { account, adopt },
        );
        let recorded = record(&self.sender, command, Trace::begin()).await;
        match recorded.context("recording the account at Stripe")? {
            Recorded::Done | Recorded::Unchanged => Ok(()),
            Recorded::Conflict => bail!("another account was recorded first"),
        }
    }
}

/// Checks the account each minute until `shutdown`: an operator may adopt another one meanwhile.
/// Stripe is asked until it has answered once.
///
/// # Errors
/// If the key belongs to another account.
pub(crate) async fn watch(
    reconciler: Reconciler,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        if let Err(error) = reconciler.check_account(true).await {
            if error.is::<OtherAccount>() {
                return Err(error);
            }
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "it is not known to which account UB_STRIPE_KEY belongs"
            );
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
