//! Receives hooks: verifies their senders, and stores them.

use anyhow::Context as _;
use event_store::Trace;
use events_schema::{
    AccountId, Entitlements, Id, InboundSourceId, Name, Origin, TenantKey, Time,
    inbound_source::{self, FEATURE, Hook, Provider, Receipt, SEALED_FOR, Source, verify},
    secret::ServerKey,
    tenant,
};

use crate::{
    backend::{
        inbox::{Inbox, SourceKey},
        plans::Plans,
        views::Views,
    },
    clock::now,
    error::Error,
    identity::limits::Limits,
};

const REFUSED: &str = "The hook is not signed by the provider of this source, or too old.";
/// The key of the source that stands for all that do not exist.
const NOBODY: SourceKey = {
    let id = Id::from_bytes([0; 16]);
    (TenantKey(id), InboundSourceId(id))
};

/// Receives the hooks of all sources.
#[derive(Debug)]
pub(crate) struct Receiver {
    inbox: Inbox,
    plans: Plans,
    views: Views,
    limits: Limits,
    secret: ServerKey,
    /// Takes the place of a source that does not exist, so that its hooks are refused after the
    /// same work.
    nobody: Source,
}

/// A hook as it arrives.
pub(crate) struct Delivery<'h, F: Fn(&str) -> Option<&'h str>> {
    /// The last part of the path: the tenant, a dot and the source.
    pub(crate) address: &'h str,
    /// Returns the value of a header.
    pub(crate) header: F,
    pub(crate) body: &'h [u8],
    pub(crate) origin: Origin,
    pub(crate) trace: Trace,
}

impl Receiver {
    /// Stores hooks in this inbox.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn new(
        inbox: Inbox,
        views: Views,
        limits: Limits,
        secret: ServerKey,
    ) -> anyhow::Result<Self> {
        let random: [u8; 32] = event_store::random_bytes()?;
        let sealed = secret.seal(
            SEALED_FOR,
            &bound_to(&NOBODY),
            event_store::random_bytes()?,
            &random,
        );
        let nobody = Source {
            name: Name::parse("nobody").context("naming a source")?,
            provider: Provider::Stripe,
            secret: sealed,
            former: None,
            creator: AccountId(NOBODY.0.0),
            created_at: Time(0),
            updated_at: Time(0),
        };
        Ok(Self {
            inbox,
            plans: Plans::new(&views),
            views,
            limits,
            secret,
            nobody,
        })
    }

    /// Stores a hook, unless it was stored before. An unknown source, one whose tenant may not have
    /// hooks now, a wrong signature and a hook that is too old are refused alike.
    ///
    /// # Errors
    /// `Unauthenticated` if the hook is refused; `RateLimited` if the client, the source or its
    /// tenant has sent too many; `Unavailable` if it cannot be stored now. Then the provider sends
    /// it again.
    pub(crate) async fn receive<'h, F: Fn(&str) -> Option<&'h str>>(
        &self,
        delivery: Delivery<'h, F>,
    ) -> Result<(), Error> {
        self.limits.count_hook(&delivery.origin)?;
        let found = match parse(delivery.address) {
            Some(key) => self.find(key).await?.map(|source| (key, source)),
            None => None,
        };
        let is_known = found.is_some();
        let (key, source) = found.unwrap_or_else(|| (NOBODY, self.nobody.clone()));
        let (secrets, now) = (self.secrets(&key, &source), now());
        let accepted = verify(
            &source.provider,
            &secrets,
            delivery.header,
            delivery.body,
            now,
        );
        let Some(accepted) = accepted.ok().filter(|_| is_known) else {
            return Err(Error::Unauthenticated(REFUSED));
        };
        self.limits.count_verified_hook(key.0, key.1)?;
        let receipt = Receipt {
            key: accepted.key,
            event: accepted.event,
            received_at: now,
        };
        let hook = Hook::new(key, receipt, delivery.body);
        let stored = self.inbox.store(&hook, delivery.trace).await;
        stored.map_err(Error::Unavailable)
    }

    async fn find(&self, (tenant, source): SourceKey) -> Result<Option<Source>, Error> {
        let read = async {
            let tenants = self.views.platform();
            let Some(tenant) = tenants.get::<tenant::View>(tenant).await? else {
                return Ok(None);
            };
            let views = self.views.of(&tenant)?;
            let plan = self.plans.of(&views, tenant.id).await?;
            if !may_have_hooks(&plan.entitlements) {
                return Ok(None);
            }
            let found = views.get::<inbound_source::View>(tenant.id).await?;
            Ok(found.and_then(|mut found| found.view.sources.remove(&source)))
        };
        // The provider must send the hook again, whatever the fault is.
        read.await.map_err(|error: Error| match error {
            Error::Internal(cause) | Error::ClientSecretLost(cause) | Error::Unavailable(cause) => {
                Error::Unavailable(cause)
            }
            other @ (Error::Unauthenticated(_)
            | Error::Forbidden
            | Error::StepUpRequired { .. }
            | Error::SecondFactorRequired
            | Error::SsoRequired { .. }
            | Error::NotFound
            | Error::BadUserInput { .. }
            | Error::RateLimited { .. }
            | Error::Pending(_)
            | Error::PaymentsAway { .. }
            | Error::FeatureNotInPlan { .. }
            | Error::LimitReached { .. }
            | Error::SoleOwner { .. }
            | Error::PaymentRequired
            | Error::Rejected(_)) => other,
        })
    }

    /// Opens the secrets that are valid.
    fn secrets(&self, key: &SourceKey, source: &Source) -> Vec<String> {
        let open = |sealed| {
            let opened = self.secret.open_sealed(SEALED_FOR, &bound_to(key), sealed);
            if opened.is_none() {
                tracing::error!(
                    source = %key.1,
                    "a secret of the inbound source does not open; keep former secrets in \
                     UB_ACCEPTED_SECRETS, or rotate the secret of the source"
                );
            }
            opened.map(|secret| String::from_utf8_lossy(&secret).into_owned())
        };
        source.valid_secrets(now()).filter_map(open).collect()
    }
}

/// Whether hooks may act for a tenant: they create, and need the feature.
fn may_have_hooks(entitlements: &Entitlements) -> bool {
    entitlements.has(FEATURE) && entitlements.may_create()
}

/// What the secrets of a source are sealed for.
fn bound_to(key: &SourceKey) -> [&[u8]; 2] {
    [key.0.0.bytes().as_slice(), key.1.0.bytes()]
}

fn parse(address: &str) -> Option<SourceKey> {
    let (tenant, source) = address.split_once('.')?;
    Some((
        TenantKey::parse(tenant).ok()?,
        InboundSourceId::parse(source).ok()?,
    ))
}
