//! Changes the address of an account after its present address was silent for long enough.
//!
//! Until then, the change waits in the outbox, as mails of the future do. If it is refused, nothing
//! is pending any more.

use events_schema::{
    AccountId, ChallengeId, Time, View as _,
    account::{Command, Event, View},
};

use crate::{
    domain::account::Account,
    effect::{Effect, Failure, Lane, Setup, Undone},
};

/// Changes addresses.
pub struct ChangeEmail;

/// A change that happens at this time.
pub struct Task {
    challenge: ChallengeId,
    at: Time,
}

impl Effect for ChangeEmail {
    type Record = Account;
    type Task = Task;
    const NAME: &'static str = "change_email";
    const UNDONE: Option<Undone> = Some(Undone {
        view: View::NAME,
        state: Some(("email_change.status", "proved")),
        since: "email_change.silent_until",
    });
    const IS_REPEATED: bool = true;

    fn new(_: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self))
    }

    /// Only an outage keeps it from succeeding.
    fn attempts(&self) -> i64 {
        i64::MAX
    }

    fn is_requested_by(event: &Event) -> bool {
        matches!(event, Event::NewEmailProved { .. })
    }

    fn pending(record: &Account) -> Option<Task> {
        let (challenge, at) = record.silent_change()?;
        Some(Task { challenge, at })
    }

    fn lane(task: &Task) -> Lane {
        Lane {
            destination: Self::NAME.to_owned(),
            is_urgent: false,
            not_before: Some(task.at),
        }
    }

    async fn perform(&self, _: AccountId, task: &Task) -> Result<Command, Failure> {
        let challenge = task.challenge;
        Ok(Command::CompleteEmailChange { challenge })
    }

    fn failed(task: &Task, _: String) -> Command {
        let challenge = task.challenge;
        Command::CompleteEmailChange { challenge }
    }
}
