//! Deletes an account when its time has come.
//!
//! Until then, the request waits in the outbox, as mails of the future do. An account that has
//! become the only owner of a tenant meanwhile is kept, and its owner is told.

use event_store::EventLog;
use events_schema::{
    AccountId, Time, View as _,
    account::{Command, Event, View},
};

use crate::{
    domain::account::Account,
    effect::{Effect, Failure, Lane, Setup, Undone},
    memberships::{is_sole_owner, of_account},
};

/// Deletes accounts.
pub struct CloseAccount {
    log: EventLog,
}

/// An account to be deleted at this time.
pub struct Task {
    at: Time,
}

impl Effect for CloseAccount {
    type Record = Account;
    type Task = Task;
    const NAME: &'static str = "close_account";
    const UNDONE: Option<Undone> = Some(Undone {
        view: View::NAME,
        state: None,
        since: "closes_at",
    });
    const IS_REPEATED: bool = true;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        let log = setup.log.clone();
        Ok(Some(Self { log }))
    }

    /// Only an outage keeps it from succeeding.
    fn attempts(&self) -> i64 {
        i64::MAX
    }

    fn is_requested_by(event: &Event) -> bool {
        matches!(event, Event::DeletionRequested { .. })
    }

    fn pending(record: &Account) -> Option<Task> {
        record.closes_at().map(|at| Task { at })
    }

    fn lane(task: &Task) -> Lane {
        Lane {
            destination: Self::NAME.to_owned(),
            is_urgent: false,
            not_before: Some(task.at),
        }
    }

    async fn perform(&self, account: AccountId, _: &Task) -> Result<Command, Failure> {
        for membership in of_account(&self.log, account).await? {
            if is_sole_owner(&self.log, membership).await? {
                return Ok(Command::StopDeletion);
            }
        }
        Ok(Command::Close)
    }

    fn failed(_: &Task, _: String) -> Command {
        Command::StopDeletion
    }
}
