//! A nats-server as in production, and its users.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr, ServerError, jetstream};
use servers::{NatsServer, Passwords, Role};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// A loaded machine needs a few seconds for what takes milliseconds.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Only the operator may publish or subscribe here. When this is refused, everything sent before
/// has been checked.
const SENTINEL: &str = "sentinel";

pub struct Broker {
    pub server: NatsServer,
    _dir: TempDir,
}

/// A connection of a role, and the server's refusals.
pub struct User {
    pub client: Client,
    refusals: mpsc::UnboundedReceiver<String>,
}

impl Broker {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(dir.path(), &Passwords::random().unwrap())
            .await
            .unwrap();
        Self { server, _dir: dir }
    }

    fn options(&self, role: Role) -> (ConnectOptions, ServerAddr) {
        let address: ServerAddr = self.server.url(role).parse().unwrap();
        let (user, password) = (
            address.username().unwrap().to_owned(),
            address.password().unwrap().to_owned(),
        );
        let options = ConnectOptions::with_user_and_password(user, password);
        (
            options
                .custom_inbox_prefix(format!("_INBOX_{}", role.as_str()))
                .request_timeout(Some(LIMIT)),
            address,
        )
    }

    pub async fn connect(&self, role: Role) -> User {
        let (sender, refusals) = mpsc::unbounded_channel();
        let (options, address) = self.options(role);
        let options = options.event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                // At the end of the test nobody receives any more.
                let _ = sender.send(text.to_lowercase());
            }
            std::future::ready(())
        });
        User {
            client: options.connect(address).await.unwrap(),
            refusals,
        }
    }

    pub async fn jetstream(&self, role: Role) -> jetstream::Context {
        jetstream::new(self.connect(role).await.client)
    }
}

impl User {
    /// The subjects among these on which the user may not publish.
    pub async fn unpublishable(&mut self, subjects: &[&'static str]) -> Vec<&'static str> {
        for subject in subjects.iter().copied().chain([SENTINEL]) {
            self.client.publish(subject, "".into()).await.unwrap();
        }
        self.refused(subjects, "publish").await
    }

    /// The subjects among these to which the user may not subscribe.
    pub async fn unreadable(&mut self, subjects: &[&'static str]) -> Vec<&'static str> {
        let mut subscriptions = Vec::new();
        for subject in subjects.iter().copied().chain([SENTINEL]) {
            subscriptions.push(self.client.subscribe(subject).await.unwrap());
        }
        self.refused(subjects, "subscription").await
    }

    async fn refused(&mut self, subjects: &[&'static str], action: &str) -> Vec<&'static str> {
        self.client.flush().await.unwrap();
        let mut refusals = Vec::new();
        loop {
            let refusal = timeout(LIMIT, self.refusals.recv()).await.unwrap().unwrap();
            if refusal.contains(&format!("{action} to \"{SENTINEL}\"")) {
                break;
            }
            refusals.push(refusal);
        }
        let is_refused = |subject: &&str| {
            // A refusal of the gateway names the subject that `nats.conf` has mapped it to.
            let mapped = subject.replace("$JS.API.", "ub.");
            [*subject, &mapped].iter().any(|subject| {
                let text = format!("{action} to \"{}\"", subject.to_lowercase());
                refusals.iter().any(|refusal| {
                    refusal.contains("permissions violation") && refusal.contains(&text)
                })
            })
        };
        subjects.iter().copied().filter(is_refused).collect()
    }
}
