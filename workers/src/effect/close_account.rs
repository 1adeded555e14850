//! Deletes an account when its time has come.
//!
//! Until then, the request waits in the outbox, as mails of the future do. An account that has
//! become the only owner of a tenant meanwhile is kept, and its owner is told.
//!
//! Owners leave their tenants before the account is deleted. So of several owners whose accounts are
//! due at once, one finds that nobody else is left, and stays.

use std::time::SystemTime;

use anyhow::Context as _;
use event_store::{CommandSender, EventLog, Trace};
use events_schema::{
    self as schema, AccountId, CommandId, MemberId, TenantId, Time, View as _,
    account::{Command, Event, View},
    member,
    secret::derived_id,
};

use crate::{
    domain::account::Account,
    effect::{Effect, Failure, Lane, Setup, Undone},
    memberships::{Membership, is_owner, of_account, other_owner},
    record::{Recorded, record},
};

/// Deletes accounts.
pub struct CloseAccount {
    log: EventLog,
    sender: CommandSender,
}

/// An account to be deleted at this time.
pub struct Task {
    at: Time,
}

impl Effect for CloseAccount {
    type Record = Account;
    type Task = Task;
    const NAME: &'static str = "close_account";
    const UNDONE: Option<Undone> = Some(Undone {
        view: View::NAME,
        state: None,
        since: "closes_at",
    });
    const IS_REPEATED: bool = true;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self {
            log: setup.log.clone(),
            sender: setup.sender.clone(),
        }))
    }

    /// Only an outage keeps it from succeeding.
    fn attempts(&self) -> i64 {
        i64::MAX
    }

    fn is_requested_by(event: &Event) -> bool {
        matches!(event, Event::DeletionRequested { .. })
    }

    fn pending(record: &Account) -> Option<Task> {
        record.closes_at().map(|at| Task { at })
    }

    fn lane(task: &Task) -> Lane {
        Lane {
            destination: Self::NAME.to_owned(),
            is_urgent: false,
            not_before: Some(task.at),
        }
    }

    async fn perform(&self, account: AccountId, task: &Task) -> Result<Command, Failure> {
        let mut owned = Vec::new();
        for membership in of_account(&self.log, account).await? {
            if is_owner(&self.log, membership).await? {
                owned.push(membership);
            }
        }
        // Nobody leaves one tenant for nothing if another one keeps them.
        for membership in &owned {
            if other_owner(&self.log, *membership).await?.is_none() {
                return Ok(Command::StopDeletion);
            }
        }
        for membership in owned {
            if !self.leave(account, task, membership).await? {
                return Ok(Command::StopDeletion);
            }
        }
        Ok(Command::Close)
    }

    fn failed(_: &Task, _: String) -> Command {
        Command::StopDeletion
    }
}

impl CloseAccount {
    /// Makes an owner leave a tenant. Returns `false` if no other owner is left by now.
    async fn leave(
        &self,
        account: AccountId,
        task: &Task,
        membership: Membership,
    ) -> anyhow::Result<bool> {
        let Membership { tenant, member } = membership;
        // The other owner may leave at the same moment. Then a third one may be left.
        while let Some(other) = other_owner(&self.log, membership).await? {
            let command = leave(account, task, membership, other);
            let recorded = record(&self.sender, command, Trace::begin()).await;
            let recorded =
                recorded.with_context(|| format!("member {member} of tenant {tenant}"))?;
            if recorded != Recorded::Conflict {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn leave(
    account: AccountId,
    task: &Task,
    Membership { tenant, member }: Membership,
    other: MemberId,
) -> schema::Command<member::Area> {
    let at = task.at.0.to_be_bytes();
    let cause: [&[u8]; 5] = [
        b"close_account",
        account.0.bytes(),
        &at,
        member.0.bytes(),
        other.0.bytes(),
    ];
    let leave = member::Command::Leave {
        account,
        other_owner: Some(other),
    };
    schema::Command::by_system(
        CommandId(derived_id(&cause)),
        TenantId::Tenant(tenant),
        member,
        SystemTime::now().into(),
        leave,
    )
}
