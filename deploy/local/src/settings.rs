//! The addresses and keys of the parts, as options for the programs and as variables for operators'
//! commands.

use std::{env, fs, net::SocketAddr, path::Path};

use anyhow::Context as _;
use events_schema::secret::{Secret, ServerKey};
use servers::{Role, Servers};

use crate::{
    shell::exports,
    stripe::{PUBLISHABLE_KEY, SECRET_KEY, WEBHOOK_SECRET},
};

/// Webhooks may go to servers of this machine, so that a developer can receive them. The issuers of
/// tenants may be there, too.
const OWN_MACHINE: &str = "127.0.0.0/8,::1";

/// Addresses and keys that gateway and workers share.
pub(crate) struct Settings {
    public_url: String,
    secret: String,
    smtp_url: String,
    /// The URL of the development Stripe, if it runs.
    stripe_url: Option<String>,
}

impl Settings {
    /// Collects the addresses, and creates the secret at the first start.
    ///
    /// # Errors
    /// If the secret cannot be written.
    pub(crate) fn new(
        servers: &Servers,
        gateway: SocketAddr,
        smtp: SocketAddr,
    ) -> anyhow::Result<Self> {
        // Browsers make passkeys for `localhost`, and not for its address.
        let public_url = env::var("UB_PUBLIC_URL");
        Ok(Self {
            public_url: public_url.unwrap_or_else(|_| format!("http://{gateway}")),
            secret: kept_secret(servers.dir())?,
            smtp_url: format!("smtp://{smtp}"),
            stripe_url: None,
        })
    }

    /// Uses the development Stripe at this URL. Without one, the environment says which to use.
    pub(crate) fn with_stripe(self, stripe_url: Option<String>) -> Self {
        Self { stripe_url, ..self }
    }

    /// Returns the configuration of the gateway.
    ///
    /// # Errors
    /// If an option is invalid.
    pub(crate) fn gateway(
        &self,
        servers: &Servers,
        further: Vec<String>,
    ) -> anyhow::Result<gateway::Config> {
        let stripe = self.stripe_url.as_ref().map(|_| {
            words(&[
                ("--stripe-publishable-key", PUBLISHABLE_KEY),
                ("--stripe-webhook-secrets", WEBHOOK_SECRET),
            ])
        });
        let shared = self.shared(servers, Role::Gateway);
        let own = words(&[("--sso-allow", OWN_MACHINE)]);
        parse([shared, own, stripe.unwrap_or_default(), further].concat())
    }

    /// Returns the configuration of the workers.
    ///
    /// # Errors
    /// If an option is invalid.
    pub(crate) fn workers(
        &self,
        servers: &Servers,
        mail_attempts: i64,
        further: Vec<String>,
    ) -> anyhow::Result<workers::config::Config> {
        let own = [
            ("--smtp-url", self.smtp_url.as_str()),
            ("--mail-from", "Ultimate Backend <no-reply@backend.local>"),
            ("--mail-attempts", &mail_attempts.to_string()),
            ("--replicas", &servers.members().to_string()),
        ];
        let shared = self.shared(servers, Role::Workers);
        parse([shared, words(&own), self.stripe(), further].concat())
    }

    fn shared(&self, servers: &Servers, role: Role) -> Vec<String> {
        words(&[
            ("--nats-url", &servers.nats_url(role)),
            ("--mongo-url", &servers.mongo_url(role)),
            ("--mongo-hosts", &mongo_hosts(servers, role)),
            ("--public-url", &self.public_url),
            ("--secret", &self.secret),
            ("--webhook-allow", OWN_MACHINE),
        ])
    }

    /// Returns how the workers reach the development Stripe, if it runs.
    fn stripe(&self) -> Vec<String> {
        let options = self.stripe_url.as_ref().map(|url| {
            let key = ("--stripe-key", SECRET_KEY);
            words(&[("--stripe-url", url), key])
        });
        options.unwrap_or_default()
    }

    /// Returns lines for a shell: `workers` reads the variables that begin with `UB_`, `nats` reads
    /// `NATS_URL`, and `mongosh "$UB_MONGO_URL"` is for a person to type.
    pub(crate) fn for_a_shell(&self, servers: &Servers) -> String {
        let operator = servers.nats_url(Role::Operator);
        let mut variables = Vec::from(self.variables(servers, Role::Migrator));
        variables.push(("NATS_URL", operator));
        variables.extend(self.stripe_variables());
        let lines = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let lines = exports(&Vec::from_iter(lines));
        format!("# Written by each start of `cargo dev`.\n{lines}")
    }

    /// Returns the environment variables that lead to the development Stripe, if it runs.
    pub(crate) fn stripe_variables(&self) -> Vec<(&'static str, String)> {
        let Some(url) = &self.stripe_url else {
            return Vec::new();
        };
        vec![
            ("UB_STRIPE_URL", url.clone()),
            ("UB_STRIPE_KEY", SECRET_KEY.to_owned()),
            ("UB_STRIPE_PUBLISHABLE_KEY", PUBLISHABLE_KEY.to_owned()),
            ("UB_STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET.to_owned()),
        ]
    }

    /// Returns the key that gateway and workers use.
    ///
    /// # Errors
    /// If the secret is malformed.
    pub(crate) fn server_key(&self) -> anyhow::Result<ServerKey> {
        Ok(ServerKey::new(Secret::parse(&self.secret)?, Vec::new()))
    }

    /// Returns the environment variables that the program of a role reads.
    pub(crate) fn variables(&self, servers: &Servers, role: Role) -> [(&'static str, String); 7] {
        [
            ("UB_NATS_URL", servers.nats_url(role)),
            ("UB_MONGO_URL", servers.mongo_url(role)),
            ("UB_MONGO_HOSTS", mongo_hosts(servers, role)),
            ("UB_SMTP_URL", self.smtp_url.clone()),
            ("UB_PUBLIC_URL", self.public_url.clone()),
            ("UB_SECRET", self.secret.clone()),
            ("UB_WEBHOOK_ALLOW", OWN_MACHINE.to_owned()),
        ]
    }
}

/// Returns a second name for the same server, to try tenants with a host of their own.
fn mongo_hosts(servers: &Servers, role: Role) -> String {
    format!("other={}", servers.mongo_url(role))
}

fn words(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|&(name, value)| [name.to_owned(), value.to_owned()])
        .collect()
}

/// Parses options as the programs do, so that defaults and limits are the same.
fn parse<C: clap::Args + clap::FromArgMatches>(options: Vec<String>) -> anyhow::Result<C> {
    let matches = C::augment_args(clap::Command::new("local").no_binary_name(true))
        .try_get_matches_from(options)?;
    Ok(C::from_arg_matches(&matches)?)
}

/// Returns the secret that is kept beside the data, so that mailed codes and links stay valid after
/// a restart.
fn kept_secret(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("secret");
    if let Ok(secret) = fs::read_to_string(&path) {
        return Ok(secret);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("could not read random bytes")?;
    let secret = format!("k1:{}", data_encoding::HEXLOWER.encode(&bytes));
    servers::write_private(&path, &secret)?;
    Ok(secret)
}
