//! A tenant whose objects are limited.

use std::time::SystemTime;

use event_store::{CommandSender, Trace};
use events_schema::{
    AccountId, Actor, Area, AreaName, BuiltInRole, Claim, ClaimHolder, Command, CommandId, Commit,
    Description, EmailAddress, Id, MemberId, Name, Outcome, Permissions, ProjectId, TenantId,
    TenantKey, Time, member, project,
};
use futures_util::future::join_all;

use crate::support::{DEADLINE, World, id};

/// Sends the commands of a tenant.
#[derive(Clone)]
pub struct Tenant {
    sender: CommandSender,
    pub id: TenantId,
}

impl Tenant {
    pub async fn new<S>(world: &World<S>) -> Self {
        Self {
            sender: CommandSender::start(world.gateway.clone()).await.unwrap(),
            id: TenantId::Tenant(TenantKey(id())),
        }
    }

    /// Sends a command until its outcome is known.
    pub async fn send<A: Area>(
        &self,
        command: CommandId,
        aggregate: A::Id,
        payload: A::Command,
        limit: Option<u64>,
    ) -> Outcome {
        let deadline = tokio::time::Instant::now() + 3 * DEADLINE;
        loop {
            let now = Time::from(SystemTime::now());
            let command = Command::<A> {
                actor: Actor::Account(AccountId(command.0)),
                held: held(),
                limit,
                ..Command::by_system(command, self.id, aggregate, now, payload.clone())
            };
            if let Ok(outcome) = self.sender.send(command, Trace::begin(), deadline).await {
                return outcome;
            }
            assert!(tokio::time::Instant::now() < deadline, "no answer");
        }
    }

    /// Creates a project, whose id is that of the command.
    pub async fn create(&self, project: Id, limit: Option<u64>) -> Outcome {
        let create = project::Command::Create {
            name: Name::parse("Loom").unwrap(),
            description: Description::default(),
            status: project::Status::Active,
            creator: AccountId(project),
        };
        let aggregate = ProjectId(project);
        self.send::<project::Area>(CommandId(project), aggregate, create, limit)
            .await
    }

    pub async fn delete(&self, project: Id) {
        let (delete, aggregate) = (project::Command::Delete, ProjectId(project));
        let outcome = self.send::<project::Area>(CommandId(id()), aggregate, delete, None);
        assert_eq!(outcome.await.revision(), Ok(2));
    }

    /// Creates projects at once, each under its own limit. Returns the outcomes in the same order.
    pub async fn race(&self, racers: &[(Id, u64)]) -> Vec<Outcome> {
        let each = racers.iter();
        join_all(each.map(|(project, limit)| self.create(*project, Some(*limit)))).await
    }

    /// Invites an address, or invites it again.
    pub async fn invite(&self, member: Id, command: Id, role: BuiltInRole, limit: u64) -> Outcome {
        let invite = member::Command::Invite {
            email: email_of(member),
            role,
            tenant_name: Name::parse("Acme").unwrap(),
            inviter: None,
        };
        let (command, member) = (CommandId(command), MemberId(member));
        self.send::<member::Area>(command, member, invite, Some(limit))
            .await
    }

    pub async fn change_member(&self, member: Id, payload: member::Command) {
        let command = CommandId(id());
        let outcome = self.send::<member::Area>(command, MemberId(member), payload, None);
        outcome.await.revision().unwrap();
    }

    /// Returns the commits that have created projects, in order, with their sequences.
    pub async fn created<S>(&self, world: &World<S>) -> Vec<(u64, Commit<project::Area>)> {
        let commits = world.commits::<Commit<project::Area>>(AreaName::Project);
        let mut commits = commits.await;
        commits.retain(|(_, commit)| commit.tenant == self.id && commit.revision == 1);
        commits
    }

    /// Returns the holder of the claim that stands directly before this sequence.
    pub async fn claimed_before<S>(&self, world: &World<S>, sequence: u64) -> Option<Id> {
        let events = world.operator.get_stream("EVENTS").await.unwrap();
        let before = sequence.checked_sub(1).filter(|before| *before > 0)?;
        let before = events.get_raw_message(before).await.unwrap();
        let claim = Claim::limit(self.id, AreaName::Project).to_string();
        let is_claim = before.subject.as_str() == claim;
        is_claim.then(|| {
            serde_json::from_slice::<ClaimHolder>(&before.payload)
                .unwrap()
                .holder
        })?
    }
}

/// The permissions of those who send commands.
fn held() -> Permissions {
    BuiltInRole::Admin.permissions()
}

pub fn email_of(member: Id) -> EmailAddress {
    EmailAddress::parse(&format!("{member}@example.com")).unwrap()
}

/// Returns so many new objects with this limit.
pub fn racers(count: usize, limit: u64) -> Vec<(Id, u64)> {
    (0..count).map(|_| (id(), limit)).collect()
}

/// Asserts that so many commands won, and that all others met a limit that so many objects use.
pub fn assert_won(outcomes: &[Outcome], wanted: usize, used: u64) {
    let won = outcomes.iter().filter(|outcome| outcome.revision().is_ok());
    assert_eq!(won.count(), wanted, "{outcomes:?}");
    for outcome in outcomes {
        if let Outcome::Rejected(rejection) = outcome {
            let met = (rejection.code.as_str(), rejection.used);
            assert_eq!(met, ("limit_reached", Some(used)));
        }
    }
}
