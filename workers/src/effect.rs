//! Effects: the actions on the outside world. `loops/effect.rs` runs them.

use std::{future::Future, time::Duration};

use event_store::{CommandSender, EventLog};
use events_schema::Time;

use crate::{
    aggregate::{Aggregate, CommandOf, EventOf, IdOf},
    config::Config,
    stripe::Stripe,
};

pub mod change_email;
pub mod change_subscription;
pub mod check_domain;
pub mod close_account;
pub mod end_impersonation;
pub mod follow_seats;
mod mail_text;
pub mod outbound;
pub mod record_prices;
pub mod report_usage;
pub mod send_mail;
mod stripe_failure;
pub(crate) mod wanted_mail;

/// The area that records an effect.
pub type AreaOf<E> = <<E as Effect>::Record as Aggregate>::Area;

/// What effects are made from.
pub struct Setup<'a> {
    pub config: &'a Config,
    /// The client that this process has; `None` without a key.
    pub stripe: Option<&'a Stripe>,
    pub log: &'a EventLog,
    pub sender: &'a CommandSender,
}

/// Acts on the outside world when an event requests it. A command records the result.
pub trait Effect: Sized + Send + Sync + 'static {
    /// The aggregate whose events request the effect and whose state records the result.
    type Record: Aggregate;
    /// The input of [`perform`](Self::perform).
    type Task: Send + Sync;
    /// The name of the effect, of its consumer and in its outbox.
    const NAME: &'static str;
    /// How a view of the platform shows that an effect was requested and has no result. `None` if
    /// none does: then what the outbox loses waits for the next commit that requests the effect.
    const UNDONE: Option<Undone>;
    /// Whether a record may request the effect again after an earlier request is not wanted any
    /// more. An attempt for the earlier one then waits until the later one is due.
    const IS_REPEATED: bool = false;

    /// Prepares the effect. Returns `None` if it is not set up here; its requests wait in the log.
    ///
    /// # Errors
    /// If the configuration is wrong.
    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>>;

    /// Returns the number of attempts after which the effect is recorded as failed.
    fn attempts(&self) -> i64;

    /// Whether the event requests the effect.
    fn is_requested_by(event: &EventOf<Self::Record>) -> bool;

    /// Returns the task that the record shows as not done yet; `None` if there is none.
    fn pending(record: &Self::Record) -> Option<Self::Task>;

    /// Returns the lane in which a task waits.
    fn lane(task: &Self::Task) -> Lane;

    /// Returns the command that records that the task is not wanted any more, as the log shows it
    /// now; `None` if it is wanted.
    ///
    /// # Errors
    /// If the log does not answer.
    fn withdrawn(
        &self,
        _log: &EventLog,
        _task: &Self::Task,
    ) -> impl Future<Output = anyhow::Result<Option<CommandOf<Self::Record>>>> + Send {
        async { Ok(None) }
    }

    /// Performs the task, and returns the command that records what has become of it. `id` is the
    /// record. The destination must recognize a repetition by the id or the task.
    ///
    /// # Errors
    /// If it is not certain that the destination has accepted the effect.
    fn perform(
        &self,
        id: IdOf<Self::Record>,
        task: &Self::Task,
    ) -> impl Future<Output = Result<CommandOf<Self::Record>, Failure>> + Send;

    /// Returns the command that records an effect which was performed, if that could not be
    /// recorded at once. `None` if the effect is performed again to learn what has become of it.
    fn performed() -> Option<CommandOf<Self::Record>> {
        None
    }

    /// Returns the command that records that the effect has failed for good.
    fn failed(task: &Self::Task, reason: String) -> CommandOf<Self::Record>;
}

/// Where a task waits, so that it holds up as few others as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The part of the outside world that may be slow, such as the recipient's domain. At most half
    /// of a worker's attempts go to it at once.
    pub destination: String,
    /// Whether somebody waits for the effect. It is attempted before those that are not urgent.
    pub is_urgent: bool,
    /// The time before which it is not attempted. `None` for now.
    pub not_before: Option<Time>,
}

/// Why an attempt has failed.
#[derive(Debug)]
pub enum Failure {
    /// No further attempt can succeed.
    Permanent(anyhow::Error),
    /// A later attempt may succeed.
    Temporary(anyhow::Error),
    /// The destination is away, or wants nothing for this time. That is no attempt.
    Outage(anyhow::Error, Duration),
    /// Nothing is worth a record yet. The next attempt, which is the first one again, comes after
    /// this time.
    NotYet(Duration),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Temporary(error)
    }
}

/// How a view of the platform shows effects without a result.
#[derive(Clone, Copy, Debug)]
pub struct Undone {
    /// The view.
    pub view: &'static str,
    /// The field that shows the state, and its value while there is no result. `None` if the other
    /// field is there only as long.
    pub state: Option<(&'static str, &'static str)>,
    /// The field with the time from which the effect is to be done. An index has both fields.
    pub since: &'static str,
}
