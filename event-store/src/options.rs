//! Options that both programs have.

use std::net::SocketAddr;

use clap::Args;
use events_schema::{HostName, Invalid, Placement};

/// How to reach NATS.
#[derive(Args, Clone)]
pub struct NatsOptions {
    /// URL of NATS with user and password: `nats://USER:PASSWORD@HOST:4222`. For a cluster, several
    /// URLs separated by commas, all with the same user.
    #[arg(long, env = "UB_NATS_URL", hide_env_values = true)]
    pub nats_url: String,
}

/// How to reach MongoDB.
#[derive(Args, Clone)]
pub struct MongoOptions {
    /// URL of MongoDB, which must be a replica set: `mongodb://USER:PASSWORD@HOST/?replicaSet=rs0`.
    #[arg(long, env = "UB_MONGO_URL", hide_env_values = true)]
    pub mongo_url: String,

    /// Database that holds the views. The names of tenants' own databases begin with it.
    #[arg(
        long,
        env = "UB_MONGO_DATABASE",
        default_value = "ultimate_backend",
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

/// Where the supervisors of a process ask how it is.
#[derive(Args, Clone, Default)]
pub struct MonitorOptions {
    /// Address and port that answer `/livez`, `/readyz` and `/metrics` over plain HTTP, such as
    /// `0.0.0.0:9902`. Do not make it public. Without it, the program has no monitor.
    #[arg(long, env = "UB_MONITOR_LISTEN")]
    pub monitor_listen: Option<SocketAddr>,
}

fn mongo_host(text: &str) -> Result<(HostName, String), Invalid> {
    let (name, url) = text.split_once('=').ok_or(Invalid(
        "must be a name and a URL, as in eu=mongodb://host:27017",
    ))?;
    Ok((HostName::parse(name.trim())?, url.trim().to_owned()))
}
