//! The operator's settings, as command-line options or environment variables. The defaults suit one
//! machine.
//!
//! Limits that protect the gateway itself are constants beside the code that they bound.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{identity::limits::LimitOptions, use_cases::stripe_hook::StripeSecret};
use axum::http::HeaderName;
use clap::{Args, Parser, ValueEnum};
use event_store::{
    MongoOptions, MonitorOptions, NatsOptions, PostureOptions, SecretOptions, WebhookOptions,
};
use events_schema::{Invalid, IpNetwork};

/// The GraphQL gateway.
#[derive(Clone, Parser)]
#[command(version, about)]
pub struct Config {
    /// Address and port to serve plain HTTP on. TLS ends at the proxy in front.
    #[arg(long, env = "UB_LISTEN", default_value = "127.0.0.1:9900")]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub nats: NatsOptions,

    #[command(flatten)]
    pub mongo: MongoOptions,

    #[command(flatten)]
    pub posture: PostureOptions,

    #[command(flatten)]
    pub secrets: SecretOptions,

    #[command(flatten)]
    pub monitor: MonitorOptions,

    #[command(flatten)]
    pub webhook: WebhookOptions,

    #[command(flatten)]
    pub limits: LimitOptions,

    #[command(flatten)]
    pub providers: ProviderOptions,

    #[command(flatten)]
    pub accounts: AccountOptions,

    /// Publishable key of Stripe, `pk_…`. With it, tenants can pay for plans; the workers need
    /// `UB_STRIPE_KEY` then.
    #[arg(long, env = "UB_STRIPE_PUBLISHABLE_KEY", value_parser = publishable_key)]
    pub stripe_publishable_key: Option<String>,
    /// Secrets of the webhook endpoint at Stripe, `whsec_…`, separated by commas: the current one,
    /// and during a rotation the next or former one. Without any, events of Stripe are refused.
    #[arg(
        long,
        env = "UB_STRIPE_WEBHOOK_SECRETS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub stripe_webhook_secrets: Vec<StripeSecret>,

    /// Where the views of new tenants are stored. `workers move-tenant` moves those of any tenant.
    #[arg(long, env = "UB_TENANT_DATABASES", default_value_t = Strategy::Shared)]
    pub tenant_databases: Strategy,

    /// Maximum tenants with a database of their own on one MongoDB host, 1 to 10000; checked when a
    /// tenant is created. Each database has a dozen collections, and a server slows down with tens
    /// of thousands of files.
    #[arg(
        long,
        env = "UB_DATABASES_PER_HOST",
        default_value_t = 500,
        value_parser = clap::value_parser!(u64).range(1..=10_000)
    )]
    pub databases_per_host: u64,

    /// Where a request may name its tenant, tried in this order.
    #[arg(
        long,
        env = "UB_TENANT_RESOLVERS",
        value_delimiter = ',',
        default_values_t = [Resolver::Header, Resolver::Path]
    )]
    pub tenant_resolvers: Vec<Resolver>,

    /// Header in which the proxy in front passes the client's address, such as `x-forwarded-for`.
    /// By default, the address of the connection is used.
    #[arg(
        long,
        env = "UB_CLIENT_ADDRESS_HEADER",
        value_parser = |text: &str| text.parse::<HeaderName>()
    )]
    pub client_address_header: Option<HeaderName>,

    /// Minimum length of a new password in characters, 8 to 64.
    #[arg(
        long,
        env = "UB_PASSWORD_MIN_LENGTH",
        default_value_t = 15,
        value_parser = clap::value_parser!(u8).range(8..=64)
    )]
    pub password_min_length: u8,

    /// File of compromised passwords, which nobody may choose, written by `gateway pack-passwords`.
    /// It may be replaced while the gateway runs.
    #[arg(long, env = "UB_PWNED_PASSWORDS")]
    pub pwned_passwords: Option<PathBuf>,

    /// Domain that passkeys are made for: the host of the public URL, which is the default, or a
    /// domain above it. If it changes, no passkey works any more.
    #[arg(long, env = "UB_PASSKEY_RP_ID")]
    pub passkey_rp_id: Option<String>,

    /// How long a command may take, in milliseconds, before it is answered as `PENDING`: 100 to
    /// 14000.
    #[arg(
        long,
        env = "UB_COMMAND_TIMEOUT_MS",
        default_value_t = 5000,
        value_parser = clap::value_parser!(u64).range(100..=14_000)
    )]
    pub command_timeout_ms: u64,
}

/// Other parties that identify people.
#[derive(Args, Clone, Debug, Default)]
pub struct ProviderOptions {
    /// File of the parties that people can log in by, such as Google, as JSON. Without it, there
    /// are none.
    #[arg(long, env = "UB_PROVIDERS_FILE")]
    pub providers_file: Option<PathBuf>,

    /// Networks where these parties may be although they are not public, also over plain HTTP, such
    /// as `127.0.0.0/8` for development, separated by commas.
    #[arg(
        long,
        env = "UB_OUTBOUND_ALLOW",
        value_delimiter = ',',
        value_parser = IpNetwork::parse
    )]
    pub outbound_allow: Vec<IpNetwork>,

    /// Networks where the issuers of tenants may be although they are not public, also over plain
    /// HTTP, such as `127.0.0.0/8` for development, separated by commas. Every tenant can send
    /// requests there.
    #[arg(
        long,
        env = "UB_SSO_ALLOW",
        value_delimiter = ',',
        value_parser = IpNetwork::parse
    )]
    pub sso_allow: Vec<IpNetwork>,

    /// Address and port of the DNS server that finds these parties. By default those of the system
    /// are used.
    #[arg(long, env = "UB_OUTBOUND_DNS")]
    pub outbound_dns: Option<SocketAddr>,
}

/// How long owners of accounts have to object.
#[derive(Args, Clone, Debug)]
pub struct AccountOptions {
    /// Seconds between the request to delete an account and its deletion, 1 to 7776000 (90 days).
    #[arg(
        long,
        env = "UB_DELETION_GRACE_S",
        default_value_t = 14 * 24 * 60 * 60,
        value_parser = clap::value_parser!(u64).range(1..=90 * 24 * 60 * 60)
    )]
    pub deletion_grace_s: u64,

    /// Seconds of silence of the present address after which an account gets another one, if its
    /// owner has proved two factors, 1 to 2592000 (30 days).
    #[arg(
        long,
        env = "UB_EMAIL_CHANGE_SILENCE_S",
        default_value_t = 72 * 60 * 60,
        value_parser = clap::value_parser!(u64).range(1..=30 * 24 * 60 * 60)
    )]
    pub email_change_silence_s: u64,
}

/// Where the views of a new tenant are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// In the platform's database, beside other tenants.
    Shared,
    /// In a database of the tenant's own.
    Database,
    /// In the platform's database, unless the founder of the tenant asks for a database of its own,
    /// on a host of their choice.
    Hybrid,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Database => "database",
            Self::Hybrid => "hybrid",
        })
    }
}

/// Where a request may name its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resolver {
    /// `acme.example.com`, if the public URL is `example.com`.
    Subdomain,
    /// `x-tenant: acme`.
    Header,
    /// `/graphql?tenant=acme`.
    Query,
    /// A cookie `tenant=acme`.
    Cookie,
    /// `/t/acme/graphql`.
    Path,
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subdomain => "subdomain",
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
            Self::Path => "path",
        })
    }
}

/// Checks that a key of Stripe is one that browsers may have. The error does not show it.
fn publishable_key(text: &str) -> Result<String, Invalid> {
    let is_word = text.bytes().all(|c| c.is_ascii_graphic());
    if text.starts_with("pk_") && is_word {
        Ok(text.to_owned())
    } else {
        Err(Invalid("must begin with pk_"))
    }
}

impl Config {
    /// Whether a proxy hides the clients. The gateway serves plain HTTP only, so with an `https`
    /// URL something in front of it ends TLS, and the address of a connection is not that of a
    /// client.
    pub(crate) fn hides_clients(&self) -> bool {
        self.posture.is_https() && self.client_address_header.is_none()
    }

    /// Tells the operator what a proxy that hides the clients costs.
    pub(crate) fn warn_of_hidden_clients(&self) {
        if self.hides_clients() {
            tracing::warn!(
                "UB_PUBLIC_URL is https, but this gateway serves plain HTTP: whatever ends TLS in \
                 front of it, such as a proxy, a load balancer or a sidecar, hides the addresses \
                 of clients. So failed log-ins are not counted by network. Let it pass the client's \
                 address in a header, and name that in UB_CLIENT_ADDRESS_HEADER."
            );
        }
    }

    /// Returns how long a command may take until its views show the outcome.
    pub(crate) fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.mongo.mongo_hosts.iter();
        let hosts: Vec<_> = hosts.map(|(name, _)| name).collect();
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("nats_url", &redacted(&self.nats.nats_url))
            .field("mongo_url", &redacted(&self.mongo.mongo_url))
            .field("mongo_database", &self.mongo.mongo_database)
            .field("mongo_hosts", &hosts)
            .field("webhook", &self.webhook)
            .field("limits", &self.limits)
            .field("providers", &self.providers)
            .field("accounts", &self.accounts)
            .field("stripe_publishable_key", &self.stripe_publishable_key)
            .field("stripe_webhook_secrets", &self.stripe_webhook_secrets)
            .field("tenant_databases", &self.tenant_databases)
            .field("databases_per_host", &self.databases_per_host)
            .field("tenant_resolvers", &self.tenant_resolvers)
            .field("client_address_header", &self.client_address_header)
            .field("secrets", &self.secrets)
            .field("posture", &self.posture)
            .field("password_min_length", &self.password_min_length)
            .field("pwned_passwords", &self.pwned_passwords)
            .field("passkey_rp_id", &self.passkey_rp_id)
            .field("command_timeout_ms", &self.command_timeout_ms)
            .finish()
    }
}

/// Hides user and password in each of these comma-separated URLs.
fn redacted(urls: &str) -> String {
    urls.split(',')
        .map(redacted_url)
        .collect::<Vec<_>>()
        .join(",")
}

fn redacted_url(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        (None, Some((_, host))) => format!("***@{host}"),
        (_, None) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: [&str; 7] = [
        "gateway",
        "--nats-url",
        "nats://gateway:hunter2@localhost:4222,nats://gateway:hunter2@b:4222",
        "--mongo-url",
        "mongodb://u:hunter2@localhost",
        "--secret",
        "0123456789abcdef0123456789abcdef",
    ];

    #[test]
    fn whatever_ends_tls_hides_the_clients_unless_it_passes_their_address() {
        let hides = |options: &[&'static str]| {
            let words = REQUIRED.iter().chain(options);
            Config::try_parse_from(words).unwrap().hides_clients()
        };
        let https = ["--public-url", "https://app.example.com"];
        let named = ["--client-address-header", "x-forwarded-for"];
        assert!(hides(&https));
        assert!(!hides(&[https, named].concat()));
        assert!(!hides(&["--public-url", "http://localhost:9900"]));
    }

    #[test]
    fn an_unset_option_has_its_documented_default() {
        let config = Config::try_parse_from(REQUIRED).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:9900");
        assert_eq!(
            (
                config.password_min_length,
                config.command_timeout_ms,
                config.posture.is_production()
            ),
            (15, 5000, false)
        );
        assert!(!config.posture.is_https());
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", Config::try_parse_from(REQUIRED).unwrap());
        assert!(
            !printed.contains("hunter2") && !printed.contains("0123456789abcdef"),
            "{printed}"
        );
        assert!(
            printed.contains("nats://***@localhost:4222,nats://***@b:4222"),
            "{printed}"
        );
    }

    #[test]
    fn a_value_out_of_bounds_is_refused() {
        for (option, wrong) in [
            ("--password-min-length", "7"),
            ("--password-min-length", "65"),
            ("--public-url", "ftp://x"),
            ("--public-url", "https://"),
            ("--secret", "short"),
            ("--stripe-publishable-key", "sk_live_1"),
        ] {
            assert!(
                Config::try_parse_from(REQUIRED.into_iter().chain([option, wrong])).is_err(),
                "{option} {wrong}"
            );
        }
    }
}
