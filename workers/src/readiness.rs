//! Whether this process can work: NATS and MongoDB answer, and the messages of every loop arrive.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{Client, connection::State};
use event_store::Ready;
use serde::Serialize;
use tokio::time::timeout;

use crate::{loops::Pulls, placements::Placements};

/// How long MongoDB may take to answer.
const MONGO_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the parts that this process needs.
#[derive(Clone)]
pub(crate) struct Readiness {
    client: Client,
    placements: Placements,
    pulls: Pulls,
}

/// Which parts are ready.
#[derive(Debug, Serialize)]
pub(crate) struct Parts {
    nats: bool,
    mongo: bool,
    /// The consumer of each loop, with whether its pull is open.
    loops: BTreeMap<String, bool>,
}

impl Ready for Parts {
    fn is_ready(&self) -> bool {
        self.nats && self.mongo && self.loops.values().all(|is_open| *is_open)
    }
}

impl Readiness {
    pub(crate) fn new(client: Client, placements: Placements, pulls: Pulls) -> Self {
        Self {
            client,
            placements,
            pulls,
        }
    }

    pub(crate) async fn check(&self) -> Parts {
        let pinged = timeout(MONGO_TIMEOUT, self.placements.ping());
        Parts {
            nats: self.client.connection_state() == State::Connected,
            mongo: matches!(pinged.await, Ok(Ok(()))),
            loops: self.pulls.all(),
        }
    }
}
