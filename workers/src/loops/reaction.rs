//! Commits in, commands out. The reactions are in `reaction/`.

use std::{
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use event_store::CommandSender;
use events_schema::{Area, Command, CommandId, Commit, Time, secret::derived_id};
use tokio::time::Instant;

use crate::{
    decode,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_all},
    },
    reaction::{Consequence, Reaction},
};

/// How long the outcome of a command may take. Then its cause is redelivered.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// More than the clocks of two servers differ.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// Runs one reaction until `shutdown`.
///
/// # Errors
/// Never: failures are retried or end in DEAD. The result fits the other loops.
pub async fn run<R: Reaction>(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let consumer = Consumer::reactions(R::NAME, R::Source::NAME);
    let reactions = Reactions::<R> {
        sender,
        reaction: PhantomData,
    };
    handle_all(consumer, shared, &reactions).await;
    Ok(())
}

struct Reactions<R> {
    sender: CommandSender,
    reaction: PhantomData<R>,
}

impl<R: Reaction> Handler for Reactions<R> {
    /// Sends the commands that follow from a commit, and waits for their outcomes: the stream of
    /// commands may lose one, and the commit would not send it again.
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<R::Source>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if is_too_old::<R>(&commit) {
            return Ok(Handled::Done);
        }
        for (position, consequence) in R::react(&commit).into_iter().enumerate() {
            let command = command_of::<R>(&commit, position, consequence);
            let deadline = Instant::now() + OUTCOME_WITHIN;
            let outcome = self.sender.send(command, received.trace, deadline);
            outcome.await.context("sending a command")?;
        }
        Ok(Handled::Done)
    }
}

/// Whether what followed from a commit may have expired. A replay would do it again.
fn is_too_old<R: Reaction>(commit: &Commit<R::Source>) -> bool {
    may_have_expired::<R::Target>(commit.time)
}

/// Whether a commit of this area and time may have left the log.
pub(crate) fn may_have_expired<A: Area>(time: Time) -> bool {
    let age = Time::from(SystemTime::now()).since(time);
    A::RETENTION.is_some_and(|retention| age + MARGIN >= retention)
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

#[cfg(test)]
mod tests {
    use events_schema::{Actor, Id, TenantId, account};

    use super::*;
    use crate::reaction::{account_mail::AccountMail, founder::Founder};

    fn commit<A: events_schema::Area>(age: Duration) -> Commit<A> {
        let id = Id::from_bytes([7; 16]);
        Commit {
            tenant: TenantId::Platform,
            area: A::NAME,
            id: id.into(),
            revision: 1,
            command: CommandId(id),
            actor: Actor::System,
            time: (SystemTime::now() - age).into(),
            origin: None,
            events: Vec::new(),
        }
    }

    #[test]
    fn a_replay_requests_no_mail_whose_commits_have_left_the_log() {
        let day = Duration::from_secs(24 * 60 * 60);
        let is_too_old = |age| is_too_old::<AccountMail>(&commit::<account::Area>(age));
        assert!(!is_too_old(399 * day));
        assert!(is_too_old(401 * day));
    }

    #[test]
    fn a_replay_does_everything_again_that_is_kept_for_ever() {
        let commit = commit(Duration::from_secs(10_000 * 24 * 60 * 60));
        assert!(!is_too_old::<Founder>(&commit));
    }
}
