//! Whether this gateway can serve: NATS and MongoDB answer, and the workers decide commands.
//!
//! `/healthz` shows only that the process runs.

use std::time::Duration;

use axum::http::StatusCode;
use event_store::{Ready, Trace};
use events_schema::{AccountId, Actor, Id, Outcome, RejectionKind, SessionId, TenantId, session};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands, Sender},
        views::Views,
    },
    identity::caller::new_command_id,
};

/// How long an answer is valid, so that a flood of probes costs one check a second.
const VALID_FOR: Duration = Duration::from_secs(1);
/// How long a part may take to answer.
const PART_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the parts that this gateway needs.
#[derive(Debug)]
pub(crate) struct Readiness {
    commands: Commands,
    views: Views,
    last: Mutex<Option<(Instant, Parts)>>,
}

/// Which parts answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Parts {
    nats: bool,
    mongo: bool,
    commands: bool,
}

impl Parts {
    /// Returns the status that probes look at.
    pub(crate) fn status(self) -> StatusCode {
        if self.is_ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

impl Ready for Parts {
    fn is_ready(&self) -> bool {
        self.nats && self.mongo && self.commands
    }
}

impl Readiness {
    /// Makes a check of these parts. The first probe runs it.
    pub(crate) fn new(commands: Commands, views: Views) -> Self {
        Self {
            commands,
            views,
            last: Mutex::default(),
        }
    }

    /// Checks every part, or repeats the last answer. Simultaneous probes wait for one answer.
    pub(crate) async fn check(&self) -> Parts {
        let mut last = self.last.lock().await;
        match *last {
            Some((at, ready)) if at.elapsed() < VALID_FOR => ready,
            _ => {
                let ready = self.ask().await;
                *last = Some((Instant::now(), ready));
                ready
            }
        }
    }

    async fn ask(&self) -> Parts {
        let mongo = timeout(PART_TIMEOUT, self.views.ping());
        let (mongo, commands) = tokio::join!(mongo, self.commands_are_decided());
        Parts {
            nats: self.commands.is_connected(),
            mongo: matches!(mongo, Ok(Ok(()))),
            commands,
        }
    }

    /// Asks to revoke a session that cannot exist. The rejection proves that a command and its
    /// outcome arrive, and nothing is stored.
    async fn commands_are_decided(&self) -> bool {
        let Ok(id) = new_command_id() else {
            return false;
        };
        let nobody = Id::from_bytes([0; 16]);
        let end = session::Command::End {
            account: AccountId(nobody),
        };
        let tenant = TenantId::Platform;
        let request = CommandRequest::<session::Area>::new(tenant, SessionId(nobody), id, end);
        let sender = Sender {
            actor: Actor::Anonymous,
            held: None,
            plan: None,
            origin: None,
            trace: Trace::begin(),
        };
        let deadline = Instant::now() + PART_TIMEOUT;
        let outcome = self.commands.decide(&sender, request, deadline).await;
        // Another rejection, such as that of expired commands, would meet all others, too.
        let Ok(Outcome::Rejected(rejection)) = outcome else {
            return false;
        };
        rejection.kind == RejectionKind::NotFound
    }
}
