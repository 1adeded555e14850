//! Looks for the records that prove who owns the domains of connections: when somebody asks for it,
//! and each day while a domain counts.
//!
//! All domains of a tenant that are due are looked for at once. The news are recorded one by one.
//! Without news, nothing is recorded until the next day.

mod looks;

use std::time::{Duration, SystemTime};

use event_store::outbound::Resolver;
use events_schema::{
    ConnectionId, EmailAddress, TenantKey, Time, View as _,
    connection::{CHECKED_EVERY, Command, Domain, Event, Finding, View},
};

use self::looks::Looks;
use crate::{
    domain::connection::Connections,
    effect::{Effect, Failure, Lane, Setup, Undone},
    owners::Owners,
};

/// Records that are looked for at once: a tenant has at most 200, and DNS that does not answer
/// takes some seconds for each.
const AT_ONCE: usize = 50;

/// Looks for the records of domains.
pub struct CheckDomain {
    looks: Looks,
    owners: Owners,
}

/// The domains whose records are to be looked for, those that are due first at first.
pub struct Task {
    first: Check,
    others: Vec<Check>,
}

/// A domain whose record is to be looked for.
struct Check {
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
            looks: Looks::new(Resolver::forgetful(setup.config.outbound.webhook_dns)?),
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
        let mut checks = record
            .checks()
            .into_iter()
            .map(|(connection, domain)| Check {
                connection,
                domain: domain.clone(),
            });
        Some(Task {
            first: checks.next()?,
            others: checks.collect(),
        })
    }

    fn lane(task: &Task) -> Lane {
        Lane {
            destination: "dns".to_owned(),
            is_urgent: !task.first.domain.is_verified(),
            not_before: task.first.domain.next_check_at,
        }
    }

    async fn perform(&self, tenant: TenantKey, task: &Task) -> Result<Command, Failure> {
        let now = Time::from(SystemTime::now());
        let Some((check, finding)) = news(&self.looks, task, now).await else {
            return Err(Failure::NotYet(task.next_look(now)));
        };
        let is_told =
            check.domain.warning(finding, now).is_some() || check.domain.is_lost_by(finding, now);
        let owners = if is_told {
            self.owners.of(tenant).await?
        } else {
            Vec::new()
        };
        Ok(check.record(finding, owners))
    }

    fn failed(task: &Task, _: String) -> Command {
        task.first.record(Finding::Unavailable, Vec::new())
    }
}

impl Task {
    fn all(&self) -> impl Iterator<Item = &Check> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Returns how long to wait if there is nothing new: until the next domain is due, or a day.
    fn next_look(&self, now: Time) -> Duration {
        let later = self.all().filter(|check| !check.is_due(now));
        let mut times = later.filter_map(|check| check.domain.next_check_at);
        let next = times.next().map(|at| at.since(now));
        next.map_or(CHECKED_EVERY, |wait| wait.min(CHECKED_EVERY))
    }
}

impl Check {
    fn is_due(&self, now: Time) -> bool {
        self.domain.next_check_at.is_some_and(|at| at <= now)
    }

    fn record(&self, finding: Finding, owners: Vec<EmailAddress>) -> Command {
        Command::RecordCheck {
            connection: self.connection,
            domain: self.domain.name.clone(),
            challenge: self.domain.challenge.clone(),
            finding,
            owners,
        }
    }
}

/// Looks for the records that are due. Returns the first finding that is worth a record.
async fn news<'a>(looks: &Looks, task: &'a Task, now: Time) -> Option<(&'a Check, Finding)> {
    let is_news = |check: &Check, finding: Finding| check.domain.is_news(finding, now);
    let mut unknown = Vec::new();
    for check in task.all().filter(|check| check.is_due(now)) {
        match looks.known(&check.domain, now) {
            Some(finding) if is_news(check, finding) => return Some((check, finding)),
            Some(_) => {}
            None => unknown.push(check),
        }
    }
    for several in unknown.chunks(AT_ONCE) {
        let domains: Vec<_> = several.iter().map(|check| &check.domain).collect();
        let found = looks.look(&domains, now).await;
        let mut found = several.iter().copied().zip(found);
        if let Some(news) = found.find(|(check, finding)| is_news(check, *finding)) {
            return Some(news);
        }
    }
    None
}

#[cfg(test)]
mod tests;
