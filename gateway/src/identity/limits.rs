//! Limits that an operator sets. Clients without an account have token buckets in the memory of each
//! gateway: a bucket is full at first, and refills evenly.

use std::{
    fmt,
    hash::Hash,
    num::NonZeroU32,
    str::FromStr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::Args;
use event_store::telemetry::{self, KeyValue};
use events_schema::{AccountId, EmailAddress, InboundSourceId, Origin, TenantKey};
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::HashMapStateStore,
};

use crate::{
    error::Error,
    identity::{Caller, network::Network},
};

/// How many times more all clients may ask for an address than one of them.
const ALL_CLIENTS: u32 = 10;
/// Full buckets are forgotten each time after so many checks.
const TIDY_EVERY: u32 = 1_000;

static REFUSED: LazyLock<telemetry::Counter<u64>> = LazyLock::new(|| {
    telemetry::counter(
        "ub.limit.refused",
        "Requests that exceeded a limit, by the limit.",
    )
});

/// How often something may happen: `60/minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

/// What clients, accounts and tenants may do at one gateway. Behind a proxy, set
/// `UB_CLIENT_ADDRESS_HEADER`: otherwise all clients are one.
#[derive(Args, Clone, Debug)]
pub struct LimitOptions {
    /// Operations that need no session, such as `login`, of one client: an IPv4 address or an IPv6
    /// network of 64 bits. NUMBER/second, /minute, /hour or /day.
    #[arg(long, env = "UB_STRANGER_LIMIT", default_value = "60/minute")]
    pub stranger_limit: Rate,

    /// Such operations of one client for one e-mail address, and ten times as many of all clients. A
    /// device that has logged in to the account before is not counted, and neither are requests for
    /// reset mails, which the account itself spaces.
    #[arg(long, env = "UB_ADDRESS_LIMIT", default_value = "20/minute")]
    pub address_limit: Rate,

    /// Registrations of one client.
    #[arg(long, env = "UB_REGISTRATION_LIMIT", default_value = "20/hour")]
    pub registration_limit: Rate,

    /// Registrations of all clients with e-mail addresses of one domain.
    #[arg(long, env = "UB_REGISTRATION_DOMAIN_LIMIT", default_value = "500/hour")]
    pub registration_domain_limit: Rate,

    /// Registrations of all clients. The bucket that keeps them has room for some 100,000 a day.
    #[arg(long, env = "UB_REGISTRATION_TOTAL_LIMIT", default_value = "2000/hour")]
    pub registration_total_limit: Rate,

    /// Codes to log in with that all clients ask for, also for addresses without an account. The
    /// bucket that keeps them also counts failed log-ins, and has room for some 700,000 a day.
    #[arg(long, env = "UB_LOGIN_CODE_LIMIT", default_value = "20000/hour")]
    pub login_code_limit: Rate,

    /// Hooks that one client may send to the tenants' inbound sources.
    #[arg(long, env = "UB_INBOUND_CLIENT_LIMIT", default_value = "6000/minute")]
    pub inbound_client_limit: Rate,

    /// Hooks of one inbound source that are accepted.
    #[arg(long, env = "UB_INBOUND_SOURCE_LIMIT", default_value = "600/minute")]
    pub inbound_source_limit: Rate,

    /// Hooks of all inbound sources of one tenant that are accepted.
    #[arg(long, env = "UB_INBOUND_TENANT_LIMIT", default_value = "3000/minute")]
    pub inbound_tenant_limit: Rate,

    /// What one account may ask Stripe, such as its cards or the price of a change, and what all
    /// members of one tenant may ask.
    #[arg(long, env = "UB_PAYMENT_LIMIT", default_value = "30/minute")]
    pub payment_limit: Rate,

    /// Attempts to save a card that one tenant may begin.
    #[arg(long, env = "UB_CARD_LIMIT", default_value = "10/hour")]
    pub card_limit: Rate,

    /// Tenants that one account may have founded at once, 0 to 1000. With 0, any number.
    #[arg(
        long,
        env = "UB_TENANTS_PER_ACCOUNT",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(0..=1_000)
    )]
    pub tenants_per_account: u16,

    /// Invitations that one tenant may send within a day, in UTC, and that one account may; at least
    /// 1.
    #[arg(
        long,
        env = "UB_INVITATIONS_PER_DAY",
        default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub invitations_per_day: u32,

    /// Invitations that one account may send to one address within a day, 1 to 500. If they are more
    /// than two, the last two have to wait for a minute and for two. All accounts may send four
    /// times as many.
    #[arg(
        long,
        env = "UB_INVITATIONS_PER_ADDRESS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=500)
    )]
    pub invitations_per_address: u16,

    /// Sockets that one client may have open at one gateway.
    #[arg(long, env = "UB_SOCKETS_PER_CLIENT", default_value_t = 1_000)]
    pub sockets_per_client: usize,

    /// Subscriptions that one account, with its access tokens, may have open at one gateway.
    #[arg(long, env = "UB_FEEDS_PER_ACCOUNT", default_value_t = 500)]
    pub feeds_per_account: usize,

    /// Subscriptions that the members of one tenant may have open at one gateway.
    #[arg(long, env = "UB_FEEDS_PER_TENANT", default_value_t = 2_000)]
    pub feeds_per_tenant: usize,
}

/// The limits of clients without an account.
#[derive(Clone, Debug)]
pub(crate) struct Limits(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    strangers: Bucket<Network>,
    /// Of one client, so that it cannot use up what all clients have.
    own_addresses: Bucket<(Network, EmailAddress)>,
    addresses: Bucket<EmailAddress>,
    registrations: Bucket<Network>,
    domains: Bucket<String>,
    all_registrations: Bucket<()>,
    all_login_codes: Bucket<()>,
    inbound_clients: Bucket<Network>,
    inbound_sources: Bucket<InboundSourceId>,
    inbound_tenants: Bucket<TenantKey>,
    paying_accounts: Bucket<AccountId>,
    paying_tenants: Bucket<TenantKey>,
    cards: Bucket<TenantKey>,
}

/// What is left of a bucket, as the headers `RateLimit-…` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The size of the bucket.
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Seconds until the bucket is full.
    pub(crate) reset_secs: u64,
}

impl Limits {
    /// Makes buckets of these sizes.
    pub(crate) fn new(options: &LimitOptions) -> Self {
        Self(Arc::new(Buckets {
            strangers: Bucket::new("stranger", options.stranger_limit),
            own_addresses: Bucket::new("own_address", options.address_limit),
            addresses: Bucket::new("address", options.address_limit.times(ALL_CLIENTS)),
            registrations: Bucket::new("registration", options.registration_limit),
            domains: Bucket::new("registration_domain", options.registration_domain_limit),
            all_registrations: Bucket::new("registration_total", options.registration_total_limit),
            all_login_codes: Bucket::new("login_code", options.login_code_limit),
            inbound_clients: Bucket::new("inbound_client", options.inbound_client_limit),
            inbound_sources: Bucket::new("inbound_source", options.inbound_source_limit),
            inbound_tenants: Bucket::new("inbound_tenant", options.inbound_tenant_limit),
            paying_accounts: Bucket::new("payment_account", options.payment_limit),
            paying_tenants: Bucket::new("payment_tenant", options.payment_limit),
            cards: Bucket::new("card", options.card_limit),
        }))
    }

    /// Counts an operation that needs no session. Returns what its client has left.
    ///
    /// # Errors
    /// `RateLimited` if the client has too many.
    pub(crate) fn count_stranger(&self, caller: &Caller) -> Result<Budget, (Error, Budget)> {
        self.0.strangers.take(&Network::of(&caller.origin))
    }

    /// Counts an operation of a stranger that asks for this address.
    ///
    /// # Errors
    /// `RateLimited` if the client has too many, or all clients with this address.
    pub(crate) fn count_address(&self, caller: &Caller, email: &EmailAddress) -> Result<(), Error> {
        let own = (Network::of(&caller.origin), email.clone());
        without_budget(self.0.own_addresses.take(&own))?;
        without_budget(self.0.addresses.take(email))
    }

    /// Counts a registration of this client.
    ///
    /// # Errors
    /// `RateLimited` if the client has too many.
    pub(crate) fn count_registration(&self, caller: &Caller) -> Result<(), Error> {
        without_budget(self.0.registrations.take(&Network::of(&caller.origin)))
    }

    /// Counts a registration that leads to a mail.
    ///
    /// # Errors
    /// `RateLimited` if all clients have too many, or too many with this domain.
    pub(crate) fn count_registration_mail(&self, email: &EmailAddress) -> Result<(), Error> {
        without_budget(self.0.domains.take(&email.domain().to_owned()))?;
        without_budget(self.0.all_registrations.take(&()))
    }

    /// Counts a code to log in with that somebody asks for.
    ///
    /// # Errors
    /// `RateLimited` if all clients have asked for too many.
    pub(crate) fn count_login_code(&self) -> Result<(), Error> {
        without_budget(self.0.all_login_codes.take(&()))
    }

    /// Counts a hook that a client sends, whatever becomes of it.
    ///
    /// # Errors
    /// `RateLimited` if the client has sent too many.
    pub(crate) fn count_hook(&self, origin: &Origin) -> Result<(), Error> {
        without_budget(self.0.inbound_clients.take(&Network::of(origin)))
    }

    /// Counts a hook that is verified. Others are not counted, so that nobody uses up what a source
    /// or a tenant may send.
    ///
    /// # Errors
    /// `RateLimited` if the source has sent too many, or all sources of the tenant.
    pub(crate) fn count_verified_hook(
        &self,
        tenant: TenantKey,
        source: InboundSourceId,
    ) -> Result<(), Error> {
        without_budget(self.0.inbound_sources.take(&source))?;
        without_budget(self.0.inbound_tenants.take(&tenant))
    }

    /// Counts what somebody asks Stripe about a tenant.
    ///
    /// # Errors
    /// `RateLimited` if the account has asked too much, or all members of the tenant.
    pub(crate) fn count_question(
        &self,
        account: AccountId,
        tenant: TenantKey,
    ) -> Result<(), Error> {
        without_budget(self.0.paying_accounts.take(&account))?;
        without_budget(self.0.paying_tenants.take(&tenant))
    }

    /// Counts an attempt to save a card.
    ///
    /// # Errors
    /// `RateLimited` if the tenant has begun too many.
    pub(crate) fn count_card(&self, tenant: TenantKey) -> Result<(), Error> {
        without_budget(self.0.cards.take(&tenant))
    }
}

fn without_budget(taken: Result<Budget, (Error, Budget)>) -> Result<(), Error> {
    taken.map(|_budget| ()).map_err(|(error, _budget)| error)
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A token bucket for each key.
#[derive(Debug)]
pub(crate) struct Bucket<K: Hash + Eq + Clone> {
    name: &'static str,
    rate: Rate,
    limiter: Limiter<K>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Bucket<K> {
    /// Makes full buckets. The name is that of the limit in metrics.
    pub(crate) fn new(name: &'static str, rate: Rate) -> Self {
        let limiter = RateLimiter::hashmap(rate.quota());
        Self {
            name,
            rate,
            limiter: limiter.with_middleware(),
            clock: DefaultClock::default(),
            checks: AtomicU32::new(0),
        }
    }

    /// Takes a token out of the bucket of this key.
    ///
    /// # Errors
    /// `RateLimited` if the bucket is empty.
    pub(crate) fn take(&self, key: &K) -> Result<Budget, (Error, Budget)> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let taken = self.limiter.check_key(key);
        let remaining = taken
            .as_ref()
            .map_or(0, |state| state.remaining_burst_capacity());
        let budget = self.rate.budget(remaining);
        taken
            .map(|_state| budget)
            .map_err(|refusal| (self.refused(&refusal), budget))
    }

    fn refused(&self, refusal: &NotUntil<<DefaultClock as Clock>::Instant>) -> Error {
        REFUSED.add(1, &[KeyValue::new("limit", self.name)]);
        let retry_after = refusal.wait_time_from(self.clock.now());
        Error::RateLimited { retry_after }
    }
}

impl Rate {
    /// Returns the rate of so many within an hour.
    pub(crate) const fn per_hour(count: NonZeroU32) -> Self {
        let period = Period::Hour;
        Self { count, period }
    }

    fn quota(self) -> Quota {
        let quota = Quota::with_period(self.interval()).unwrap_or(Quota::per_second(self.count));
        quota.allow_burst(self.count)
    }

    fn times(self, factor: u32) -> Self {
        let factor = NonZeroU32::new(factor).unwrap_or(NonZeroU32::MIN);
        let count = self.count.saturating_mul(factor);
        Self { count, ..self }
    }

    /// Returns the time after which one more is allowed.
    fn interval(self) -> Duration {
        self.period.length() / self.count.get()
    }

    fn budget(self, remaining: u32) -> Budget {
        let limit = self.count.get();
        let missing = limit.saturating_sub(remaining);
        let reset = self.interval().saturating_mul(missing);
        Budget {
            limit,
            remaining,
            reset_secs: reset.as_secs_f64().ceil() as u64,
        }
    }
}

impl Period {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        })
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rate = text.split_once('/').and_then(|(count, period)| {
            let mut periods = Period::ALL.into_iter();
            Some(Self {
                count: count
                    .parse()
                    .ok()
                    .filter(|count: &NonZeroU32| count.get() <= 1_000_000)?,
                period: periods.find(|known| known.name() == period)?,
            })
        });
        rate.ok_or("must be NUMBER/second, /minute, /hour or /day, with a number of 1 to 1000000")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period.name())
    }
}

#[cfg(test)]
mod tests;
