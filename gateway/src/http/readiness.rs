//! Whether this gateway can serve: NATS and MongoDB answer, and the workers decide commands.
//!
//! Being alive at all is another question, which `/healthz` answers without asking anybody.

use std::time::Duration;

use axum::http::StatusCode;
use events_schema::{AccountId, Area, Id, Outcome, TenantId, session};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    State,
    backend::commands::Wish,
    identity::caller::{Caller, new_command_id},
    trace::Trace,
};

/// How long an answer stands, so that a flood of questions costs one.
const VALID_FOR: Duration = Duration::from_secs(1);
/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last answer.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Ready)>>);

/// Which parts answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ready {
    nats: bool,
    mongo: bool,
    commands: bool,
}

impl Ready {
    /// What probes look at.
    pub(crate) const fn status(self) -> StatusCode {
        if self.nats && self.mongo && self.commands {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

impl Readiness {
    /// Asks every part, or repeats the last answer; those who come meanwhile wait for the same
    /// answer.
    pub(crate) async fn of(&self, state: &State) -> Ready {
        let mut last = self.0.lock().await;
        match *last {
            Some((at, ready)) if at.elapsed() < VALID_FOR => ready,
            _ => {
                let ready = ask(state).await;
                *last = Some((Instant::now(), ready));
                ready
            }
        }
    }
}

async fn ask(state: &State) -> Ready {
    let mongo = async { matches!(timeout(PATIENCE, state.views.ping()).await, Ok(Ok(()))) };
    let (mongo, commands) = tokio::join!(mongo, commands_are_decided(state));
    Ready {
        nats: state.commands.is_connected(),
        mongo,
        commands,
    }
}

/// Asks to end a session that cannot be: the rejection proves the way there and back, and leaves no
/// trace.
async fn commands_are_decided(state: &State) -> bool {
    let nobody = Id::from_bytes([0; 16]);
    let Ok(id) = new_command_id() else {
        return false;
    };
    let (caller, end) = (
        Caller::nobody(Trace::of(None)),
        session::Command::End {
            account: AccountId(nobody),
        },
    );
    let wish = Wish::new(nobody, id, end);
    let outcome = state
        .commands
        .decide(
            &caller,
            Area::Session,
            TenantId::Platform,
            wish,
            Instant::now() + PATIENCE,
        )
        .await;
    matches!(outcome, Ok(Outcome::Rejected(_)))
}
