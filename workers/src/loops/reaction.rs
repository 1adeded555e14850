//! Commits in, commands out. The reactions are in `reaction/`.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::{
    Client,
    jetstream::{self, Message},
};
use event_store::CommandSender;
use events_schema::{Area as _, Command, CommandId, Commit, secret::derived_id};
use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    decode,
    loops::{
        consumers::Consumer,
        delivery::{self, Handled, trace_of},
    },
    reaction::{Consequence, Reaction},
};

/// How long the outcome of a command may take. Then its cause is redelivered.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// Runs one reaction until `shutdown`.
///
/// # Errors
/// Never: failures are retried or end in DEAD. The result fits the other loops.
pub async fn run<R: Reaction>(
    client: Client,
    sender: CommandSender,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let sender = &sender;
    let context = &jetstream::new(client);
    let consumer = &Consumer::reactions(R::NAME, R::Source::NAME);
    delivery::messages(context.clone(), consumer.clone(), shutdown)
        .for_each_concurrent(consumer.concurrency, |message| async move {
            let handled = react::<R>(sender, &message);
            delivery::handle(context, consumer, &message, handled).await;
        })
        .await;
    Ok(())
}

/// Sends the commands that follow from a commit, and waits for their outcomes: the stream of
/// commands may lose one, and the commit would not send it again.
async fn react<R: Reaction>(sender: &CommandSender, message: &Message) -> anyhow::Result<Handled> {
    let commit = match decode::commit::<R::Source>(&message.subject, &message.payload) {
        Ok(commit) => commit,
        Err(reason) => return Ok(Handled::Dead(format!("{reason:#}"))),
    };
    for (position, consequence) in R::react(&commit).into_iter().enumerate() {
        let command = command_of::<R>(&commit, position, consequence);
        let trace = trace_of(message.headers.as_ref());
        let outcome = sender.send(command, trace, Instant::now() + OUTCOME_WITHIN);
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
