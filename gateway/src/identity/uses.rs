//! Records and reads when sessions and access tokens were last used.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{
    AccessTokenId, SessionId, Time,
    session::{self, IDLE, USE_RECORDED_EVERY},
    subject::{SESSION_USES_BUCKET, TOKEN_USES_BUCKET},
};

use crate::{
    backend::views::ViewDocument,
    clock::now,
    error::Error,
    identity::{Caller, Identity, last_uses::LastUses},
};

/// How often the use of an access token is recorded.
const TOKEN_USE_RECORDED_EVERY: Duration = Duration::from_secs(60);

/// Records and reads when sessions and access tokens were last used.
#[derive(Clone, Debug)]
pub(crate) struct Uses {
    tokens: LastUses<AccessTokenId>,
    sessions: LastUses<SessionId>,
}

impl Uses {
    /// Keeps the uses in their buckets.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        let tokens = LastUses::new(
            jetstream.clone(),
            TOKEN_USES_BUCKET,
            TOKEN_USE_RECORDED_EVERY,
        );
        let sessions = LastUses::new(jetstream, SESSION_USES_BUCKET, USE_RECORDED_EVERY);
        Self { tokens, sessions }
    }

    /// Records that the caller's session or access token is in use now.
    pub(crate) fn record(&self, caller: &Caller) {
        let Some(identity) = &caller.identity else {
            return;
        };
        match identity {
            Identity::Machine(machine) => self.tokens.record(machine.token),
            // The start of a session is its first use.
            Identity::Person(person) if now().since(person.started_at) > USE_RECORDED_EVERY => {
                self.sessions.record(person.session);
            }
            Identity::Person(_) => {}
        }
    }

    /// Returns when an access token was last used; `None` if never.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub(crate) async fn of_token(&self, id: AccessTokenId) -> Result<Option<Time>, Error> {
        Ok(self.tokens.last(id).await?)
    }

    /// Returns when a session was last used. Its start is its first use.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub(crate) async fn of_session(
        &self,
        session: &ViewDocument<session::View>,
    ) -> Result<Time, Error> {
        let recorded = self.sessions.last(session.id).await?;
        let in_view = session.view.last_used_at;
        Ok(recorded.map_or(in_view, |recorded| recorded.max(in_view)))
    }

    /// Whether a session was used within [`IDLE`].
    ///
    /// # Errors
    /// `Unavailable` if the bucket cannot be read.
    pub(crate) async fn is_in_use(
        &self,
        session: &ViewDocument<session::View>,
    ) -> Result<bool, Error> {
        if now().since(session.view.last_used_at) < IDLE {
            return Ok(true);
        }
        let idle_ms = i64::try_from(IDLE.as_millis()).unwrap_or(i64::MAX);
        let oldest = Time(now().0.saturating_sub(idle_ms));
        let is_recent = self.sessions.was_used_after(session.id, oldest).await;
        is_recent.map_err(Error::Unavailable)
    }
}
