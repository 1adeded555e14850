//! Commits in, commands out. The reactions are in `reaction/`.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use event_store::CommandSender;
use events_schema::{Area as _, Command, CommandId, Commit, secret::derived_id};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::{
    decode,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Received},
    },
    reaction::{Consequence, Reaction},
};

/// How long the outcome of a command may take. Then its cause is redelivered.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// Runs one reaction until `shutdown`.
///
/// # Errors
/// Never: failures are retried or end in DEAD. The result fits the other loops.
pub async fn run<R: Reaction>(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let sender = &sender;
    let context = &jetstream::new(shared.client.clone());
    let consumer = &Consumer::reactions(R::NAME, R::Source::NAME);
    delivery::messages(consumer.clone(), shared)
        .for_each_concurrent(consumer.concurrency, |received| async move {
            let handled = react::<R>(sender, &received);
            delivery::handle(context, consumer, &received, handled).await;
        })
        .await;
    Ok(())
}

/// Sends the commands that follow from a commit, and waits for their outcomes: the stream of
/// commands may lose one, and the commit would not send it again.
async fn react<R: Reaction>(
    sender: &CommandSender,
    received: &Received,
) -> anyhow::Result<Handled> {
    let message = &received.message;
    let commit = match decode::commit::<R::Source>(&message.subject, &message.payload) {
        Ok(commit) => commit,
        Err(reason) => return delivery::undecoded(reason),
    };
    for (position, consequence) in R::react(&commit).into_iter().enumerate() {
        let command = command_of::<R>(&commit, position, consequence);
        let outcome = sender.send(command, received.trace, Instant::now() + OUTCOME_WITHIN);
        outcome.await.context("sending a command")?;
    }
    Ok(Handled::Done)
}

/// The same commit leads to the same commands with the same ids. So a replay is answered from the
/// history.
fn command_of<R: Reaction>(
    commit: &Commit<R::Source>,
    position: usize,
    consequence: Consequence<R::Target>,
) -> Command<R::Target> {
    let subject = commit.subject().to_string();
    let (revision, position) = (commit.revision.to_be_bytes(), position.to_be_bytes());
    let cause = [R::NAME.as_bytes(), subject.as_bytes(), &revision, &position];
    Command::by_system(
        CommandId(derived_id(&cause)),
        consequence.tenant,
        consequence.aggregate,
        commit.time,
        consequence.command,
    )
}
