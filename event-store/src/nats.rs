//! The connection to NATS.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use async_nats::{Client, ConnectOptions, ServerAddr};
use events_schema::subject::{GATEWAY_INBOX, WORKERS_INBOX};
use tokio::{sync::watch, time::sleep};

use crate::NatsOptions;

/// A silent server counts as lost after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How often the connection is looked at.
const CONNECTION_POLL: Duration = Duration::from_millis(20);

/// Which program connects. Each has its own NATS user and reads only its own inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The GraphQL gateway.
    Gateway,
    /// The workers and their operator commands.
    Workers,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Workers => "workers",
        }
    }

    const fn inbox(self) -> &'static str {
        match self {
            Self::Gateway => GATEWAY_INBOX,
            Self::Workers => WORKERS_INBOX,
        }
    }
}

/// Connects to NATS. A connection that is lost later is restored, however long that takes.
///
/// # Errors
/// If a URL is malformed, the URLs have no user or different ones, or no server can be reached. No
/// error shows a password.
pub async fn connect(options: &NatsOptions, role: Role) -> anyhow::Result<Client> {
    let servers = parse(&options.nats_url)?;
    let (user, password) = credentials(&servers)?;
    ConnectOptions::with_user_and_password(user, password)
        .name(role.name())
        .custom_inbox_prefix(role.inbox())
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .connect(servers)
        .await
        .context("NATS cannot be reached; check UB_NATS_URL")
}

/// Returns what changes each time that a lost connection is restored. A server that was restarted
/// has forgotten the streams that it kept in memory, and their consumers.
pub fn reconnects(client: &Client) -> watch::Receiver<u64> {
    let statistics = client.statistics();
    let (sender, receiver) = watch::channel(statistics.connects.load(Ordering::Relaxed));
    tokio::spawn(async move {
        while !sender.is_closed() {
            sleep(CONNECTION_POLL).await;
            let connects = statistics.connects.load(Ordering::Relaxed);
            sender.send_if_modified(|known| std::mem::replace(known, connects) != connects);
        }
    });
    receiver
}

fn parse(urls: &str) -> anyhow::Result<Vec<ServerAddr>> {
    let servers = urls.split(',').map(|url| url.trim().parse());
    // The client's own error would show the URL with its password.
    let servers: Result<Vec<ServerAddr>, _> = servers.collect();
    servers.map_err(|_| anyhow!("UB_NATS_URL must be a list of nats://USER:PASSWORD@HOST:PORT"))
}

/// Returns the user and password of all servers. The client accepts one pair for all of them, and
/// only in its options.
fn credentials(servers: &[ServerAddr]) -> anyhow::Result<(String, String)> {
    let mut pairs = servers
        .iter()
        .filter_map(|server| server.username().zip(server.password()));
    let (user, password) = pairs.next().context(
        "UB_NATS_URL must have a user and a password, as in nats://workers:PASSWORD@host:4222",
    )?;
    ensure!(
        pairs.all(|pair| pair == (user, password)),
        "UB_NATS_URL must have the same user and password for all servers"
    );
    Ok((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials_of(urls: &str) -> Result<(String, String), String> {
        let parsed = parse(urls).and_then(|servers| credentials(&servers));
        parsed.map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn any_server_of_a_cluster_may_carry_the_credentials() {
        let expected = Ok(("workers".to_owned(), "secret".to_owned()));
        for urls in [
            "nats://workers:secret@a:4222",
            "nats://a:4222, nats://workers:secret@b:4222",
            "nats://workers:secret@a,nats://workers:secret@b",
        ] {
            assert_eq!(credentials_of(urls), expected, "{urls}");
        }
    }

    #[test]
    fn missing_or_different_credentials_are_refused_without_showing_a_password() {
        for urls in [
            "",
            "nats://a:4222",
            "nats://workers:hunter2@a:port",
            "nats://workers:hunter2@a,nats://workers:hunter3@b",
        ] {
            let error = credentials_of(urls).unwrap_err();
            assert!(
                error.contains("UB_NATS_URL") && !error.contains("hunter"),
                "{error}"
            );
        }
    }
}
