//! Looks for the records that prove who owns the domains of connections: when somebody asks for it, and
//! each day while a domain counts.
//!
//! A tenant's domains are looked for one after the other, the one that is due first at first.

use event_store::outbound::Resolver;
use events_schema::{
    ConnectionId, TenantKey, View as _,
    connection::{Command, Domain, Event, Finding, View},
};

use crate::{
    domain::connection::Connections,
    effect::{Effect, Failure, Lane, Setup, Undone},
    owners::Owners,
};

/// Looks for the records of domains.
pub struct CheckDomain {
    dns: Resolver,
    owners: Owners,
}

/// A domain whose record is to be looked for.
pub struct Task {
    connection: ConnectionId,
    domain: Domain,
}

impl Effect for CheckDomain {
    type Record = Connections;
    type Task = Task;
    const NAME: &'static str = "check_domain";
    const UNDONE: Option<Undone> = Some(Undone {
        view: View::NAME,
        state: None,
        since: "next_check_at",
    });
    const IS_REPEATED: bool = true;

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self {
            // A record that was just published must be seen.
            dns: Resolver::forgetful(setup.config.outbound.webhook_dns)?,
            owners: Owners::new(setup.log.clone()),
        }))
    }

    /// That DNS does not answer is a result. Only an outage of ours keeps it from one.
    fn attempts(&self) -> i64 {
        i64::MAX
    }

    /// After one domain, another one may be due.
    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::DomainCheckRequested { .. }
            | Event::DomainVerified { .. }
            | Event::DomainChecked { .. }
            | Event::DomainLost { .. }
            | Event::DomainRemoved { .. }
            | Event::Deleted { .. } => true,
            Event::Created { .. }
            | Event::Updated { .. }
            | Event::EnforcementBegun { .. }
            | Event::EnforcementEnded { .. }
            | Event::DomainAdded { .. }
            | Event::Resealed { .. }
            | Event::Ended => false,
        }
    }

    fn pending(record: &Connections) -> Option<Task> {
        let (connection, domain) = record.next_check()?;
        Some(Task {
            connection,
            domain: domain.clone(),
        })
    }

    fn lane(task: &Task) -> Lane {
        Lane {
            destination: "dns".to_owned(),
            is_urgent: !task.domain.is_verified(),
            not_before: task.domain.next_check_at,
        }
    }

    async fn perform(&self, tenant: TenantKey, task: &Task) -> Result<Command, Failure> {
        let Task { connection, domain } = task;
        let finding = self.look(domain).await;
        let is_bad = finding != Finding::Found && domain.is_verified();
        let owners = if is_bad {
            self.owners.of(tenant).await?
        } else {
            Vec::new()
        };
        Ok(Command::RecordCheck {
            connection: *connection,
            domain: domain.name.clone(),
            challenge: domain.challenge.clone(),
            finding,
            owners,
        })
    }

    fn failed(task: &Task, _: String) -> Command {
        Command::RecordCheck {
            connection: task.connection,
            domain: task.domain.name.clone(),
            challenge: task.domain.challenge.clone(),
            finding: Finding::Unavailable,
            owners: Vec::new(),
        }
    }
}

impl CheckDomain {
    /// A name may have several records, of other services, too.
    async fn look(&self, domain: &Domain) -> Finding {
        match self.dns.texts(&domain.name.record()).await {
            Ok(texts) if texts.contains(&domain.challenge) => Finding::Found,
            Ok(_) => Finding::Missing,
            Err(failure) => {
                let domain = &domain.name;
                tracing::warn!(%domain, %failure, "the record of a domain is not known");
                Finding::Unavailable
            }
        }
    }
}
