//! What an operator can set: options, each with its environment variable. There is no configuration
//! file.

use clap::{Args, ValueEnum};
use events_schema::{Area, HostName, Invalid, Place, secret::ServerKey};
use lettre::message::Mailbox;

/// Where NATS is.
#[derive(Args, Clone)]
pub struct Nats {
    /// NATS, with user and password: `nats://workers:secret@host:4222`. Several, separated by
    /// commas, for a cluster.
    #[arg(long, env = "UB_NATS_URL", hide_env_values = true)]
    pub nats_url: String,
}

/// Where MongoDB is.
#[derive(Args, Clone)]
pub struct Mongo {
    /// MongoDB, a replica set.
    #[arg(long, env = "UB_MONGO_URL", hide_env_values = true)]
    pub mongo_url: String,
    /// The database that holds the views.
    #[arg(long, env = "UB_MONGO_DATABASE", default_value = "ultimate_backend", value_parser = Place::parse_platform)]
    pub mongo_database: String,
    /// Further MongoDB hosts for tenants with a database of their own, each by a name:
    /// `eu=mongodb://…;us=mongodb://…`.
    #[arg(long, env = "UB_MONGO_HOSTS", hide_env_values = true, value_delimiter = ';', value_parser = mongo_host)]
    pub mongo_hosts: Vec<(HostName, String)>,
}

/// How mail goes out.
#[derive(Args, Clone)]
pub struct Mail {
    /// The mail server: `smtps://user:password@host:465`, or `smtp://host:port?tls=required`.
    #[arg(long, env = "UB_SMTP_URL", hide_env_values = true)]
    pub smtp_url: String,
    /// The sender of every mail.
    #[arg(
        long,
        env = "UB_MAIL_FROM",
        default_value = "Ultimate Backend <no-reply@localhost.localdomain>"
    )]
    pub mail_from: Mailbox,
    /// How often a mail is tried, with a wait that doubles from one second, before it is given up.
    #[arg(long, env = "UB_MAIL_ATTEMPTS", default_value_t = 12, value_parser = clap::value_parser!(i64).range(1..=50))]
    pub mail_attempts: i64,
    /// Where people reach the gateway; links in mails begin with it.
    #[arg(long, env = "UB_PUBLIC_URL", default_value = "http://127.0.0.1:9900")]
    pub public_url: String,
    /// The key that codes and links derive from: 32 characters or more, the same for workers and
    /// gateway.
    #[arg(long, env = "UB_SECRET", hide_env_values = true, value_parser = ServerKey::parse)]
    pub secret: ServerKey,
}

/// Everything that `workers run` needs.
#[derive(Args, Clone)]
pub struct Config {
    /// Where NATS is.
    #[command(flatten)]
    pub nats: Nats,
    /// Where MongoDB is.
    #[command(flatten)]
    pub mongo: Mongo,
    /// How mail goes out.
    #[command(flatten)]
    pub mail: Mail,
    /// Copies of each stream: 1 on one machine, 3 in production.
    #[arg(long, env = "UB_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// Work for these areas only.
    #[arg(long, env = "UB_AREAS", value_delimiter = ',', default_values_t = Area::ALL, value_parser = parse_area)]
    pub areas: Vec<Area>,
    /// Run these loops only.
    #[arg(long, env = "UB_LOOPS", value_delimiter = ',', default_values_t = Loop::ALL)]
    pub loops: Vec<Loop>,
}

/// The kinds of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Loop {
    /// Decide commands.
    Commands,
    /// Keep views up to date.
    Views,
    /// Turn events into commands.
    Reactions,
    /// Act on the outside world.
    Effects,
}

impl Loop {
    /// Every loop there is.
    pub const ALL: [Self; 4] = [Self::Commands, Self::Views, Self::Reactions, Self::Effects];
}

impl std::fmt::Display for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Commands => "commands",
            Self::Views => "views",
            Self::Reactions => "reactions",
            Self::Effects => "effects",
        })
    }
}

fn mongo_host(text: &str) -> Result<(HostName, String), Invalid> {
    let (name, url) = text.split_once('=').ok_or(Invalid(
        "must be a name and a URL, as in eu=mongodb://host:27017",
    ))?;
    Ok((HostName::parse(name.trim())?, url.trim().to_owned()))
}

fn parse_area(text: &str) -> Result<Area, Invalid> {
    Area::parse(text)
}
