//! Commits in, commands out. The reactions are in `reaction/`.

use anyhow::Context as _;
use async_nats::{
    Client,
    jetstream::{self, Context, Message},
};
use events_schema::{Area as _, Command, CommandId, Commit, secret::derived_id};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::{
    decode,
    loops::{
        consumers::Consumer,
        delivery::{self, Handled},
    },
    reaction::{Consequence, Reaction},
};

/// Runs one reaction until `shutdown`.
///
/// # Errors
/// Never: failures are retried or end in DEAD. The result fits the other loops.
pub async fn run<R: Reaction>(client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let context = &jetstream::new(client);
    let consumer = &Consumer::reactions(R::NAME, R::Source::NAME);
    delivery::messages(context.clone(), consumer.clone(), shutdown)
        .for_each_concurrent(consumer.concurrency, |message| async move {
            let handled = react::<R>(context, &message);
            delivery::handle(context, consumer, &message, handled).await;
        })
        .await;
    Ok(())
}

async fn react<R: Reaction>(context: &Context, message: &Message) -> anyhow::Result<Handled> {
    let commit = match decode::commit::<R::Source>(&message.subject, &message.payload) {
        Ok(commit) => commit,
        Err(reason) => return Ok(Handled::Dead(format!("{reason:#}"))),
    };
    for (position, consequence) in R::react(&commit).into_iter().enumerate() {
        let command = command_of::<R>(&commit, position, consequence);
        let sent = delivery::send(context, message.headers.as_ref(), &command).await;
        sent.context("sending a command")?;
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
