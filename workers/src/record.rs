//! How workers record what they have found out: by commands, each of which is decided before they go
//! on.

use std::time::Duration;

use anyhow::bail;
use event_store::{CommandSender, Trace};
use events_schema::{Area, Command, Outcome, RejectionKind};
use tokio::time::Instant;

/// How long a command may take to be decided.
const DECIDED_WITHIN: Duration = Duration::from_secs(8);

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The log has it.
    Done,
    /// The log shows the same already.
    Unchanged,
    /// Something else was recorded first.
    Conflict,
}

/// Sends a command, and waits until it is decided.
///
/// # Errors
/// If it is rejected for another reason than a conflict, or no worker decides it in time.
pub(crate) async fn record<A: Area>(
    sender: &CommandSender,
    command: Command<A>,
    trace: Trace,
) -> anyhow::Result<Recorded> {
    let deadline = Instant::now() + DECIDED_WITHIN;
    match sender.send(command, trace, deadline).await? {
        Outcome::Committed { .. } | Outcome::DoneBefore { .. } => Ok(Recorded::Done),
        Outcome::Unchanged { .. } => Ok(Recorded::Unchanged),
        Outcome::Rejected(rejection) if rejection.kind == RejectionKind::Conflict => {
            Ok(Recorded::Conflict)
        }
        Outcome::Rejected(rejection) => bail!("it was not recorded: {}", rejection.message),
    }
}
