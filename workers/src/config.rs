//! The options of the workers, each with its environment variable. There is no configuration file.

use std::{fmt, net::SocketAddr};

use clap::{Args, ValueEnum, value_parser};
use event_store::{
    MongoOptions, MonitorOptions, NatsOptions, PostureOptions, SecretOptions, WebhookOptions,
};
use events_schema::AreaName;
use lettre::message::Mailbox;

use crate::stripe::StripeOptions;

/// How mail is sent.
#[derive(Args, Clone)]
pub struct MailOptions {
    /// URL of the mail server: `smtps://USER:PASSWORD@HOST:465`, or
    /// `smtp://HOST:PORT?tls=required`.
    #[arg(long, env = "UB_SMTP_URL", hide_env_values = true)]
    pub smtp_url: String,

    /// Sender of all mails.
    #[arg(
        long,
        env = "UB_MAIL_FROM",
        default_value = "Ultimate Backend <no-reply@localhost.localdomain>"
    )]
    pub mail_from: Mailbox,

    /// Attempts to send a mail before it is recorded as failed, 1 to 50. The wait between them
    /// doubles from one second to an hour.
    #[arg(
        long,
        env = "UB_MAIL_ATTEMPTS",
        default_value_t = 12,
        value_parser = value_parser!(i64).range(1..=50)
    )]
    pub mail_attempts: i64,
}

/// How requests reach customers' servers.
#[derive(Args, Clone, Debug, Default)]
pub struct OutboundOptions {
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// Address and port of the DNS server that finds customers' servers. By default those of
    /// the system are used.
    #[arg(long, env = "UB_WEBHOOK_DNS")]
    pub webhook_dns: Option<SocketAddr>,
}

/// How the streams are kept.
#[derive(Args, Clone, Copy)]
pub struct StreamOptions {
    /// Replicas of each stream: 1 on one machine, 3 in production.
    #[arg(long, env = "UB_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
}

/// How the usage of tenants is counted.
#[derive(Args, Clone, Copy)]
pub struct UsageOptions {
    /// Seconds between two counts of what a tenant uses, 1 to 86400. Below a minute, a report that
    /// Stripe has not answered within a day may need a person.
    #[arg(
        long,
        env = "UB_USAGE_INTERVAL_S",
        default_value_t = 3600,
        value_parser = value_parser!(u64).range(1..=86_400)
    )]
    pub usage_interval_s: u64,
}

/// The options of `workers run`.
#[derive(Args, Clone)]
pub struct Config {
    #[command(flatten)]
    pub nats: NatsOptions,

    #[command(flatten)]
    pub mongo: MongoOptions,

    #[command(flatten)]
    pub posture: PostureOptions,

    #[command(flatten)]
    pub secrets: SecretOptions,

    #[command(flatten)]
    pub mail: MailOptions,

    #[command(flatten)]
    pub outbound: OutboundOptions,

    #[command(flatten)]
    pub stripe: StripeOptions,

    #[command(flatten)]
    pub usage: UsageOptions,

    /// Seconds between two comparisons of billings with Stripe, 1 to 86400. It is hidden, since a
    /// day suits everybody but a test.
    #[arg(
        long,
        hide = true,
        default_value_t = 86_400,
        value_parser = value_parser!(u32).range(1..=86_400)
    )]
    pub comparison_interval_s: u32,

    #[command(flatten)]
    pub monitor: MonitorOptions,

    #[command(flatten)]
    pub streams: StreamOptions,

    /// Areas to work for.
    #[arg(
        long,
        env = "UB_AREAS",
        value_delimiter = ',',
        default_values_t = AreaName::ALL.to_vec(),
        value_parser = AreaName::parse
    )]
    pub areas: Vec<AreaName>,

    /// Loops to run.
    #[arg(
        long,
        env = "UB_LOOPS",
        value_delimiter = ',',
        default_values_t = Loop::ALL
    )]
    pub loops: Vec<Loop>,
}

/// The kinds of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Loop {
    /// Decide commands.
    Commands,
    /// Keep views current.
    Views,
    /// Send the commands that follow from events.
    Reactions,
    /// Act on the outside world, and count usage.
    Effects,
    /// Send events to webhooks.
    Webhooks,
    /// Send the commands that follow from hooks of other services.
    Inbound,
}

impl Loop {
    /// All loops.
    pub const ALL: [Self; 6] = [
        Self::Commands,
        Self::Views,
        Self::Reactions,
        Self::Effects,
        Self::Webhooks,
        Self::Inbound,
    ];
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commands => "commands",
            Self::Views => "views",
            Self::Reactions => "reactions",
            Self::Effects => "effects",
            Self::Webhooks => "webhooks",
            Self::Inbound => "inbound",
        })
    }
}
