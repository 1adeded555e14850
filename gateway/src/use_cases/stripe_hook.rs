//! Receives the events of Stripe: verifies them, and stores which object has changed.

use std::{convert::Infallible, fmt, str::FromStr};

use anyhow::ensure;
use event_store::Trace;
use events_schema::{
    StripeHook,
    inbound_source::{Provider, verify},
};

use crate::{backend::inbox::Inbox, clock::now};

/// Fewest characters of a secret behind its prefix. Stripe's have 32.
const MIN_SECRET: usize = 16;
/// With what the secrets of Stripe begin.
const PREFIX: &str = "whsec_";

/// A secret with which Stripe signs events.
#[derive(Clone)]
pub struct StripeSecret(String);

/// Never fails, since the error of an option shows its value. [`StripeHooks::new`] checks it.
impl FromStr for StripeSecret {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

/// Hides the secret.
impl fmt::Debug for StripeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StripeSecret")
    }
}

/// Receives events of Stripe.
pub(crate) struct StripeHooks {
    inbox: Inbox,
    secrets: Vec<String>,
}

/// Why an event was not stored.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no secret.
    NotSetUp,
    /// It is not signed by Stripe, too old, or no event.
    Unverified,
    /// It cannot be stored now.
    Unavailable(anyhow::Error),
}

impl StripeHooks {
    /// Stores events that are signed with one of these secrets.
    ///
    /// # Errors
    /// If a secret is malformed. The error does not show it.
    pub(crate) fn new(inbox: Inbox, secrets: Vec<StripeSecret>) -> anyhow::Result<Self> {
        let secrets = secrets.into_iter().map(|StripeSecret(secret)| secret);
        let secrets: Vec<String> = secrets.filter(|secret| !secret.is_empty()).collect();
        let is_secret = |secret: &String| {
            let random = secret.strip_prefix(PREFIX).unwrap_or_default();
            random.len() >= MIN_SECRET && random.bytes().all(|c| c.is_ascii_graphic())
        };
        ensure!(
            secrets.iter().all(is_secret),
            "each of UB_STRIPE_WEBHOOK_SECRETS must begin with whsec_ and have {MIN_SECRET} \
             characters more"
        );
        Ok(Self { inbox, secrets })
    }

    /// Stores an event, unless it was stored before. `signature` is the header `Stripe-Signature`.
    ///
    /// # Errors
    /// If the event is refused or cannot be stored.
    pub(crate) async fn receive(
        &self,
        signature: Option<&str>,
        body: &[u8],
        trace: Trace,
    ) -> Result<(), Refusal> {
        if self.secrets.is_empty() {
            return Err(Refusal::NotSetUp);
        }
        let now = now();
        let header = |name: &str| signature.filter(|_| name == "stripe-signature");
        verify(&Provider::Stripe, &self.secrets, header, body, now)
            .map_err(|_| Refusal::Unverified)?;
        let hook = StripeHook::read(body, now).map_err(|_| Refusal::Unverified)?;
        let stored = self.inbox.store_of_stripe(&hook, trace).await;
        stored.map_err(Refusal::Unavailable)
    }
}
