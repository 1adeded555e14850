//! Keeps members in step with their accounts: they get its new address, and leave when it is
//! deleted. Only the log knows the tenants of an account, so loops of the effects, which may read
//! it, send the commands, and not a reaction.
//!
//! A change of an account and an answer to an invitation may pass each other, and a command may be
//! decided late. So a member is compared with the account after each commit that gives it an
//! account or an address, too. Whichever is last in the log finds the other.

use anyhow::{Context as _, ensure};
use event_store::{CommandSender, EventLog, Trace};
use events_schema::{
    AccountId, Area, Command, CommandId, Commit, EmailAddress, TenantId, Time,
    account::{self, Event},
    member,
    secret::derived_id,
};

use crate::{
    decode,
    domain::account::Account,
    effect::wanted_mail::current,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_all},
        history::subject_of,
    },
    memberships::{Membership, exists, of_account, other_owner},
    record::{Recorded, record},
};

/// Changes the members of accounts.
#[derive(Clone)]
struct AccountMembers {
    log: EventLog,
    sender: CommandSender,
}

/// Changes all members of an account after its commits.
struct AfterAccounts(AccountMembers);

/// Changes a member after its commits.
struct AfterMembers(AccountMembers);

/// Why a member is compared with its account.
struct Cause {
    /// The subject and the revision of a commit.
    commit: (String, u64),
    time: Time,
    trace: Trace,
}

/// What the log knows of an account.
enum Known {
    Open(EmailAddress),
    Deleted,
    /// It has never begun.
    Nothing,
}

/// Changes members after each commit that concerns them, until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let log = EventLog::new(shared.client.clone());
    let members = AccountMembers { log, sender };
    let (of_accounts, of_members) = (Consumer::account_members(), Consumer::member_accounts());
    let (after_accounts, after_members) = (AfterAccounts(members.clone()), AfterMembers(members));
    tokio::join!(
        handle_all(of_accounts, shared.clone(), &after_accounts),
        handle_all(of_members, shared, &after_members),
    );
    Ok(())
}

impl Handler for AfterAccounts {
    /// One member that cannot be changed keeps no other one waiting.
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<account::Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if !commit.events.iter().any(concerns_members) {
            return Ok(Handled::Done);
        }
        let cause = Cause::of(&commit, received);
        let mut changed = Ok(());
        for membership in of_account(&self.0.log, commit.id).await? {
            changed = changed.and(self.0.compare(membership, &cause).await);
        }
        changed.map(|()| Handled::Done)
    }
}

impl Handler for AfterMembers {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<member::Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if let TenantId::Tenant(tenant) = commit.tenant
            && commit.events.iter().any(concerns_accounts)
        {
            let (member, cause) = (commit.id, Cause::of(&commit, received));
            self.0
                .compare(Membership { tenant, member }, &cause)
                .await?;
        }
        Ok(Handled::Done)
    }
}

impl AccountMembers {
    /// Makes a member what the account is now: a later change may have been handled already.
    async fn compare(&self, membership: Membership, cause: &Cause) -> anyhow::Result<()> {
        let Membership { tenant, member } = membership;
        let tenant = TenantId::Tenant(tenant);
        let Some(present) = current::<member::View>(&self.log, tenant, member).await? else {
            return Ok(());
        };
        let Some(account) = present.account else {
            return Ok(());
        };
        match self.known(account).await? {
            Known::Open(email) if email != present.email => {
                let what = email.as_str().to_owned();
                let follow = member::Command::FollowAccount { account, email };
                self.send(membership, cause, &what, follow).await
            }
            Known::Deleted if exists(&self.log, membership.tenant).await? => {
                let other_owner = other_owner(&self.log, membership).await?;
                let leave = member::Command::Leave {
                    account,
                    other_owner,
                };
                self.send(membership, cause, "leave", leave).await
            }
            Known::Open(_) | Known::Deleted | Known::Nothing => Ok(()),
        }
    }

    async fn known(&self, account: AccountId) -> anyhow::Result<Known> {
        let found = current::<account::View>(&self.log, TenantId::Platform, account).await?;
        if let Some(found) = found {
            return Ok(Known::Open(found.email));
        }
        let subject = subject_of::<Account>(TenantId::Platform, account);
        Ok(match self.log.last(&subject).await? {
            Some(_) => Known::Deleted,
            None => Known::Nothing,
        })
    }

    /// Sends a command. The same cause leads to the same one, so a redelivery is answered from the
    /// history.
    async fn send(
        &self,
        Membership { tenant, member }: Membership,
        cause: &Cause,
        what: &str,
        payload: member::Command,
    ) -> anyhow::Result<()> {
        let (subject, revision) = (&cause.commit.0, cause.commit.1.to_be_bytes());
        let id: [&[u8]; 5] = [
            b"account_members",
            subject.as_bytes(),
            &revision,
            member.0.bytes(),
            what.as_bytes(),
        ];
        let command = Command::<member::Area>::by_system(
            CommandId(derived_id(&id)),
            TenantId::Tenant(tenant),
            member,
            cause.time,
            payload,
        );
        let recorded = record(&self.sender, command, cause.trace).await;
        let recorded = recorded.with_context(|| format!("member {member} of tenant {tenant}"))?;
        ensure!(
            recorded != Recorded::Conflict,
            "member {member} of tenant {tenant} is its only owner"
        );
        Ok(())
    }
}

impl Cause {
    fn of<A: Area>(commit: &Commit<A>, received: &Received) -> Self {
        Self {
            commit: (commit.subject().to_string(), commit.revision),
            time: commit.time,
            trace: received.trace,
        }
    }
}

/// Whether members must change after this event of their account.
const fn concerns_members(event: &Event) -> bool {
    matches!(
        event,
        Event::EmailChanged { .. } | Event::EmailRestored { .. } | Event::Closed { .. }
    )
}

/// Whether this event gives a member an account or an address.
const fn concerns_accounts(event: &member::Event) -> bool {
    match event {
        member::Event::FounderAdded { .. }
        | member::Event::Accepted { .. }
        | member::Event::Joined { .. }
        | member::Event::EmailChanged { .. } => true,
        member::Event::Invited { .. }
        | member::Event::Rejected
        | member::Event::RoleChanged { .. }
        | member::Event::RoleAssigned { .. }
        | member::Event::RoleUnassigned { .. }
        | member::Event::Suspended
        | member::Event::Restored { .. }
        | member::Event::Identified { .. }
        | member::Event::Removed => false,
    }
}
