//! Options that both programs have.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use events_schema::{
    HostName, Invalid, IpNetwork, Placement,
    secret::{Secret, ServerKey},
};

/// How to reach NATS.
#[derive(Args, Clone, Default)]
pub struct NatsOptions {
    /// URL of NATS with user and password: `nats://USER:PASSWORD@HOST:4222`, or `tls://…` for TLS.
    /// For a cluster, several URLs separated by commas, all with the same user.
    #[arg(long, env = "UB_NATS_URL", hide_env_values = true)]
    pub nats_url: String,

    /// File with the certificates of the the authorities to trust for NATS servers, as PEM. With
    /// it, TLS is required. By default those of the system are trusted.
    #[arg(long, env = "UB_NATS_CA_FILE")]
    pub nats_ca_file: Option<PathBuf>,

    /// File with the certificate that this program shows to NATS, as PEM.
    #[arg(long, env = "UB_NATS_CERTIFICATE_FILE", requires = "nats_key_file")]
    pub nats_certificate_file: Option<PathBuf>,

    /// File with the private key of this certificate, as PEM.
    #[arg(long, env = "UB_NATS_KEY_FILE", requires = "nats_certificate_file")]
    pub nats_key_file: Option<PathBuf>,
}

/// The platform's database, unless a setting names another one.
const DEFAULT_DATABASE: &str = "ultimate_backend";

/// How to reach MongoDB.
#[derive(Args, Clone)]
pub struct MongoOptions {
    /// URL of MongoDB, which must be a replica set: `mongodb://USER:PASSWORD@HOST/?replicaSet=rs0`,
    /// for TLS with `&tls=true`, `tlsCAFile` and `tlsCertificateKeyFile`.
    #[arg(long, env = "UB_MONGO_URL", hide_env_values = true)]
    pub mongo_url: String,

    /// Database that holds the views. The names of tenants' own databases begin with it.
    #[arg(
        long,
        env = "UB_MONGO_DATABASE",
        default_value = DEFAULT_DATABASE,
        value_parser = Placement::parse_platform_database
    )]
    pub mongo_database: String,

    /// Further MongoDB hosts for tenants with a database of their own, each with a name:
    /// `eu=mongodb://…;us=mongodb://…`.
    #[arg(
        long,
        env = "UB_MONGO_HOSTS",
        hide_env_values = true,
        value_delimiter = ';',
        value_parser = mongo_host
    )]
    pub mongo_hosts: Vec<(HostName, String)>,
}

/// The secrets that codes, links and cookies derive from.
#[derive(Args, Clone, Debug)]
pub struct SecretOptions {
    /// Secret that codes, links and cookies derive from, the same for all programs: an id, a colon,
    /// and 32 to 1024 characters. Make one with `echo k1:$(openssl rand -hex 32)`.
    #[arg(long, env = "UB_SECRET", hide_env_values = true, value_parser = Secret::parse)]
    pub secret: Secret,

    /// Up to two further secrets whose codes, links and cookies are accepted: the next one and the
    /// former one, separated by a comma.
    #[arg(
        long,
        env = "UB_ACCEPTED_SECRETS",
        hide_env_values = true,
        default_value = "",
        value_parser = accepted_secrets
    )]
    // By its path, since clap would take a plain `Vec` for an option that may be repeated.
    pub accepted_secrets: std::vec::Vec<Secret>,
}

/// A rotation needs one. Each is one more chance to guess a code.
const MAX_ACCEPTED: usize = 2;

impl SecretOptions {
    /// Returns the key of these secrets.
    pub fn key(&self) -> ServerKey {
        ServerKey::new(self.secret.clone(), self.accepted_secrets.clone())
    }
}

/// Where requests to customers' servers may go.
#[derive(Args, Clone, Debug, Default)]
pub struct WebhookOptions {
    /// Networks to which webhooks may go although they are not public, also over plain HTTP, such as
    /// `127.0.0.0/8` for development, separated by commas. Every tenant can send requests there.
    #[arg(
        long,
        env = "UB_WEBHOOK_ALLOW",
        value_delimiter = ',',
        value_parser = IpNetwork::parse
    )]
    pub webhook_allow: Vec<IpNetwork>,
}

/// Where the supervisors of a process ask how it is.
#[derive(Args, Clone, Default)]
pub struct MonitorOptions {
    /// Address and port that answer `/livez`, `/readyz` and `/metrics` over plain HTTP, such as
    /// `0.0.0.0:9902`. Do not make it public. Without it, the program has no monitor.
    #[arg(long, env = "UB_MONITOR_LISTEN")]
    pub monitor_listen: Option<SocketAddr>,
}

fn accepted_secrets(text: &str) -> Result<Vec<Secret>, Invalid> {
    let texts = text.split(',').filter(|text| !text.is_empty());
    let secrets = texts.map(Secret::parse).collect::<Result<Vec<_>, _>>()?;
    if secrets.len() > MAX_ACCEPTED {
        return Err(Invalid("must list at most two secrets"));
    }
    Ok(secrets)
}

impl Default for MongoOptions {
    fn default() -> Self {
        Self {
            mongo_url: String::new(),
            mongo_database: DEFAULT_DATABASE.to_owned(),
            mongo_hosts: Vec::new(),
        }
    }
}

fn mongo_host(text: &str) -> Result<(HostName, String), Invalid> {
    let (name, url) = text.split_once('=').ok_or(Invalid(
        "must be a name and a URL, as in eu=mongodb://host:27017",
    ))?;
    Ok((HostName::parse(name.trim())?, url.trim().to_owned()))
}
