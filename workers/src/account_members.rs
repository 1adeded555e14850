//! What follows in tenants from a change of an account: its members get the new address, and leave
//! when the account is deleted. Only the log knows the tenants, so a loop of the effects, which may
//! read it, sends the commands, and not a reaction.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use event_store::{CommandSender, EventLog, Trace};
use events_schema::{
    Command, CommandId, Commit, EmailAddress, TenantId,
    account::{self, Area, Event},
    member,
    secret::derived_id,
};
use futures_util::StreamExt as _;

use crate::{
    decode,
    effect::wanted_mail::current,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Received},
    },
    memberships::{Membership, of_account, other_owner},
    record::{Recorded, record},
};

/// Changes the members of accounts.
struct AccountMembers {
    log: EventLog,
    sender: CommandSender,
}

/// What a commit means for the members of its account.
enum Meaning {
    Nothing,
    /// The account has got another address.
    Moved,
    /// The account was deleted.
    Closed,
}

/// Changes the members of accounts after each commit of these, until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let context = jetstream::new(shared.client.clone());
    let log = EventLog::new(shared.client.clone());
    let members = Arc::new(AccountMembers { log, sender });
    let consumer = Consumer::account_members();
    delivery::messages(consumer.clone(), shared)
        .for_each_concurrent(consumer.concurrency, |received| {
            let (members, context, consumer) = (members.clone(), context.clone(), consumer.clone());
            async move {
                let handled = members.handle(&received);
                delivery::handle(&context, &consumer, &received, handled).await;
            }
        })
        .await;
    Ok(())
}

impl AccountMembers {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        match meaning(&commit) {
            Meaning::Nothing => {}
            Meaning::Moved => self.follow(&commit, received.trace).await?,
            Meaning::Closed => self.leave(&commit, received.trace).await?,
        }
        Ok(Handled::Done)
    }

    /// Gives the members the address that the account has now: a later change may have been handled
    /// already.
    async fn follow(&self, commit: &Commit<Area>, trace: Trace) -> anyhow::Result<()> {
        let found = current::<account::View>(&self.log, TenantId::Platform, commit.id).await?;
        let Some(email) = found.map(|found| found.email) else {
            return Ok(());
        };
        for membership in of_account(&self.log, commit.id).await? {
            let follow = follow_account(commit, email.clone());
            self.send(commit, membership, follow, trace).await?;
        }
        Ok(())
    }

    /// An owner leaves only if another one stays. The deletion has been refused otherwise, so a
    /// failure here is a race, and a further attempt succeeds when the tenant has an owner.
    async fn leave(&self, commit: &Commit<Area>, trace: Trace) -> anyhow::Result<()> {
        for membership in of_account(&self.log, commit.id).await? {
            let leave = member::Command::Leave {
                account: commit.id,
                other_owner: other_owner(&self.log, membership).await?,
            };
            self.send(commit, membership, leave, trace).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        commit: &Commit<Area>,
        membership: Membership,
        payload: member::Command,
        trace: Trace,
    ) -> anyhow::Result<()> {
        let Membership { tenant, member } = membership;
        let recorded = record(&self.sender, command(commit, membership, payload), trace).await;
        let recorded = recorded.with_context(|| format!("member {member} of tenant {tenant}"))?;
        ensure!(
            recorded != Recorded::Conflict,
            "member {member} of tenant {tenant} is its only owner"
        );
        Ok(())
    }
}

fn meaning(commit: &Commit<Area>) -> Meaning {
    for event in &commit.events {
        if let Event::Closed { .. } = event {
            return Meaning::Closed;
        }
        if let Event::EmailChanged { .. } | Event::EmailRestored { .. } = event {
            return Meaning::Moved;
        }
    }
    Meaning::Nothing
}

fn follow_account(commit: &Commit<Area>, email: EmailAddress) -> member::Command {
    let account = commit.id;
    member::Command::FollowAccount { account, email }
}

/// The same commit leads to the same commands, so a redelivery is answered from the history.
fn command(
    commit: &Commit<Area>,
    Membership { tenant, member }: Membership,
    payload: member::Command,
) -> Command<member::Area> {
    let (subject, revision) = (commit.subject().to_string(), commit.revision.to_be_bytes());
    let cause: [&[u8]; 4] = [
        b"account_members",
        subject.as_bytes(),
        &revision,
        member.0.bytes(),
    ];
    Command::by_system(
        CommandId(derived_id(&cause)),
        TenantId::Tenant(tenant),
        member,
        commit.time,
        payload,
    )
}
