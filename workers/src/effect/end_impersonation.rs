//! Records that an administrator of the platform no longer acts as a person, once the time has
//! passed. The gateway refuses the session by the clock; this tells the tenant.

use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use events_schema::{
    TenantKey, Time,
    support::{Command, Event},
};

use crate::{
    domain::support::{Session, Support},
    effect::{Effect, Failure, Lane, Setup, Undone},
};

/// Records the end of impersonations.
pub struct EndImpersonation;

impl Effect for EndImpersonation {
    type Record = Support;
    type Task = Session;
    const NAME: &'static str = "end_impersonation";
    const UNDONE: Option<Undone> = None;

    fn new(_: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self))
    }

    /// Nothing outside can refuse it.
    fn attempts(&self) -> i64 {
        i64::MAX
    }

    /// After the end of one, that of another may be due later.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::Begun { .. } | Event::Ended { .. } => true,
            Event::Granted { .. } | Event::Revoked => false,
        }
    }

    fn pending(record: &Support) -> Option<Session> {
        record.next_to_end()
    }

    fn lane(task: &Session) -> Lane {
        Lane {
            destination: "impersonations".to_owned(),
            is_urgent: false,
            not_before: Some(task.ends_at),
        }
    }

    /// The session that was to end first may have ended before its time.
    async fn perform(&self, _: TenantKey, task: &Session) -> Result<Command, Failure> {
        let left = task.ends_at.since(Time::from(SystemTime::now()));
        if left > Duration::ZERO {
            return Err(Failure::Outage(anyhow!("the next session lasts"), left));
        }
        let session = task.id;
        Ok(Command::Expire { session })
    }

    fn failed(task: &Session, _: String) -> Command {
        let session = task.id;
        Command::Expire { session }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, SessionId};

    use super::*;

    const SESSION: SessionId = SessionId(Id::from_bytes([7; 16]));
    const TENANT: TenantKey = TenantKey(Id::from_bytes([1; 16]));

    async fn performed(ends_at: Time) -> Result<Command, Failure> {
        let task = Session {
            id: SESSION,
            ends_at,
        };
        EndImpersonation.perform(TENANT, &task).await
    }

    #[tokio::test]
    async fn a_session_whose_time_has_passed_is_recorded_as_ended() {
        let recorded = performed(Time::from(SystemTime::now())).await;
        let session = SESSION;
        assert_eq!(recorded.unwrap(), Command::Expire { session });
    }

    #[tokio::test]
    async fn a_session_that_lasts_is_looked_at_again_when_it_ends() {
        let minute = Duration::from_secs(60);
        match performed(Time::from(SystemTime::now()) + minute).await {
            Err(Failure::Outage(_, left)) => assert!(left <= minute, "{left:?}"),
            other => panic!("{other:?}"),
        }
    }
}
