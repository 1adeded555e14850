//! Requests mails to the owners of a tenant, which follow from a commit and from who owns the
//! tenant now.

use anyhow::Context as _;
use event_store::{CommandSender, Trace};
use events_schema::{Area, Command, CommandId, Commit, email, secret::derived_id};
use tokio::time::{Duration, Instant};

use crate::reaction::Consequence;

/// How long the outcome of a command may take. Then its cause is redelivered.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// Requests the mails that a loop of this name derives from a commit.
///
/// # Errors
/// If the outcome of a command is not known in time. The commit is delivered again.
pub(crate) async fn request<A: Area>(
    sender: &CommandSender,
    trace: Trace,
    by: &str,
    commit: &Commit<A>,
    mails: Vec<Consequence<email::Area>>,
) -> anyhow::Result<()> {
    for (position, mail) in mails.into_iter().enumerate() {
        let command = command(by, commit, position, mail);
        let deadline = Instant::now() + OUTCOME_WITHIN;
        let outcome = sender.send(command, trace, deadline).await;
        outcome.context("requesting a mail")?;
    }
    Ok(())
}

/// The same commit leads to the same commands, so a redelivery is answered from the history.
fn command<A: Area>(
    by: &str,
    commit: &Commit<A>,
    position: usize,
    mail: Consequence<email::Area>,
) -> Command<email::Area> {
    let subject = commit.subject().to_string();
    let (revision, position) = (commit.revision.to_be_bytes(), position.to_be_bytes());
    let cause: [&[u8]; 4] = [by.as_bytes(), subject.as_bytes(), &revision, &position];
    Command::by_system(
        CommandId(derived_id(&cause)),
        mail.tenant,
        mail.aggregate,
        commit.time,
        mail.command,
    )
}
