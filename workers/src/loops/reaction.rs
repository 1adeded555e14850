//! Commits in, commands out. What follows from what is in `reaction/`; here it is read and said.

use anyhow::Context as _;
use async_nats::{
    Client,
    jetstream::{self, Context, Message},
};
use events_schema::{Actor, Command, CommandId, Commit, secret::derived_id};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::{
    loops::consumers::Consumer,
    loops::delivery::{self, Handled},
    reaction::{Consequence, Reaction},
};

/// Runs one reaction until `shutdown`.
pub async fn run<R: Reaction>(client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let context = jetstream::new(client);
    let consumer = Consumer::reactions(R::NAME, R::SOURCE);
    let (context, consumer) = (&context, &consumer);
    delivery::messages(context.clone(), consumer.clone(), shutdown)
        .for_each_concurrent(consumer.concurrency, |message| async move {
            delivery::handle(context, consumer, &message, react::<R>(context, &message)).await;
        })
        .await;
    Ok(())
}

async fn react<R: Reaction>(context: &Context, message: &Message) -> anyhow::Result<Handled> {
    let commit: Commit<R::Event> = match serde_json::from_slice(&message.payload) {
        Ok(commit) => commit,
        Err(reason) => return Ok(Handled::Dead(format!("the body: {reason}"))),
    };
    for (
        at,
        Consequence {
            tenant,
            aggregate,
            command: payload,
        },
    ) in R::react(&commit).into_iter().enumerate()
    {
        // The same commit leads to the same commands with the same ids: a replay is answered from
        // the history.
        let cause = [
            R::NAME.as_bytes(),
            message.subject.as_bytes(),
            &commit.revision.to_be_bytes(),
            &at.to_be_bytes(),
        ];
        let command = Command {
            id: CommandId(derived_id(&cause)),
            tenant,
            area: R::TARGET,
            aggregate,
            actor: Actor::System,
            time: commit.time,
            expected: None,
            origin: None,
            reply: None,
            payload,
        };
        let body = serde_json::to_vec(&command)?;
        let subject = command.subject()?.to_string();
        delivery::publish(context, message.headers.as_ref(), subject, body.into())
            .await
            .context("saying a command")?;
    }
    Ok(Handled::Done)
}
