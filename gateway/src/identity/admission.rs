//! Admits password checks to the pool: a bounded number of each client, so that a flood from one
//! client keeps nobody else out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use events_schema::Origin;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{error::Error, identity::network::Network};

/// Checks of one client that are in the pool. An office behind one address has no more logins at
/// once.
const SHARE: usize = 8;
/// Further checks of one client that may wait.
const MAX_WAITING: usize = 64;
/// How long a check may wait. Later its client has given up.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Clients that may be kept although they have gone.
const TIDY_FROM: usize = 1_000;
/// The answer to a client that has too many checks.
const BUSY: Error = Error::RateLimited {
    retry_after: Duration::from_secs(1),
};

/// Admits checks.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pool: Arc<Semaphore>,
    clients: Arc<Mutex<HashMap<Network, Weak<Client>>>>,
}

/// The checks of one client.
#[derive(Debug)]
struct Client {
    admitted: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Permits work in the pool until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    _permits: Arc<Permits>,
}

#[derive(Debug)]
struct Permits {
    _client: Arc<Client>,
    _of_client: OwnedSemaphorePermit,
    _of_pool: OwnedSemaphorePermit,
}

impl Gate {
    /// Makes a gate that admits so many checks at once.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            pool: Arc::new(Semaphore::new(size)),
            clients: Arc::default(),
        }
    }

    /// Waits until the client that sends this request may have one more check.
    ///
    /// # Errors
    /// `RateLimited` if it has too many, or waits for more than ten seconds.
    pub(crate) async fn admit(&self, origin: &Origin) -> Result<Admission, Error> {
        let client = self.client(Network::of(origin));
        let waiting = client.waiting.clone().try_acquire_owned();
        let _waiting = waiting.map_err(|_| BUSY)?;
        let permits = async {
            // The client's share first, so that a flood waits outside the pool.
            let of_client = client.admitted.clone().acquire_owned().await.ok()?;
            let of_pool = self.pool.clone().acquire_owned().await.ok()?;
            Some((of_client, of_pool))
        };
        let permits = timeout(MAX_WAIT, permits).await.ok().flatten();
        let (of_client, of_pool) = permits.ok_or(BUSY)?;
        Ok(Admission {
            _permits: Arc::new(Permits {
                _client: client,
                _of_client: of_client,
                _of_pool: of_pool,
            }),
        })
    }

    fn client(&self, network: Network) -> Arc<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&network).and_then(Weak::upgrade) {
            return client;
        }
        if clients.len() >= TIDY_FROM {
            clients.retain(|_, client| client.strong_count() > 0);
        }
        let client = Arc::new(Client {
            admitted: Arc::new(Semaphore::new(SHARE)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        });
        clients.insert(network, Arc::downgrade(&client));
        client
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Address, Device};
    use tokio::time::Instant;

    use super::*;

    fn from(address: &str) -> Origin {
        Origin {
            address: Address::parse(address).ok(),
            device: Device::from_user_agent(""),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_its_share_waits_and_keeps_nobody_out() {
        let gate = Gate::new(20);
        let mut admitted = Vec::new();
        for _ in 0..SHARE {
            admitted.push(gate.admit(&from("6.6.6.6")).await.unwrap());
        }
        assert!(gate.admit(&from("6.6.6.6")).await.is_err());
        assert!(gate.admit(&from("7.7.7.7")).await.is_ok());
        admitted.pop();
        assert!(gate.admit(&from("6.6.6.6")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn further_checks_of_a_client_are_refused_at_once() {
        let (gate, start) = (Gate::new(0), Instant::now());
        let attempts = (0..=MAX_WAITING).map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { gate.admit(&from("6.6.6.6")).await.is_err() })
        });
        let attempts = Vec::from_iter(attempts);
        let (first, _) = futures_util::future::select_ok(attempts).await.unwrap();
        assert!(first && start.elapsed() < MAX_WAIT, "{:?}", start.elapsed());
    }
}
