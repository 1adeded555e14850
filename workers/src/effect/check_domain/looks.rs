//! Looking for the records of domains. What was found stays known for a minute: each attempt
//! records one finding, and servers that do not answer take seconds.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use event_store::outbound::Resolver;
use events_schema::{
    Time,
    connection::{Domain, Finding},
};
use futures_util::future::join_all;

/// How long a finding is known: longer than it takes to record those of one look.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Looks for records.
pub(super) struct Looks {
    dns: Resolver,
    /// What was looked for, when, and what was found.
    found: Mutex<HashMap<String, (Time, Finding)>>,
}

impl Looks {
    /// Asks this resolver.
    pub(super) fn new(dns: Resolver) -> Self {
        Self {
            dns,
            found: Mutex::default(),
        }
    }

    /// Returns what was found of a domain just now, if it was looked for since it is due.
    pub(super) fn known(&self, domain: &Domain, now: Time) -> Option<Finding> {
        let (at, finding) = *self.found().get(&domain.challenge)?;
        let is_since = domain.next_check_at.is_some_and(|due| due <= at);
        (is_since && now.since(at) < KNOWN_FOR).then_some(finding)
    }

    /// Looks for the records of these domains at once.
    pub(super) async fn look(&self, domains: &[&Domain], now: Time) -> Vec<Finding> {
        let looks: Vec<_> = domains.iter().map(|domain| self.finding(domain)).collect();
        let findings = join_all(looks).await;
        let mut found = self.found();
        found.retain(|_, (at, _)| now.since(*at) < KNOWN_FOR);
        for (domain, finding) in domains.iter().zip(&findings) {
            found.insert(domain.challenge.clone(), (now, *finding));
        }
        findings
    }

    /// A name may have several records, of other services, too.
    async fn finding(&self, domain: &Domain) -> Finding {
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

    fn found(&self) -> MutexGuard<'_, HashMap<String, (Time, Finding)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::effect::{
        check_domain::{Check, Task, news},
        outbound::tests::dns::Dns,
    };

    const MINUTE: i64 = 60_000;

    fn check(name: &str, due_at: i64) -> Check {
        let domain = json!({
            "name": name, "challenge": name, "added_at": 0, "next_check_at": due_at,
        });
        Check {
            connection: events_schema::ConnectionId(events_schema::Id::from_bytes([1; 16])),
            domain: serde_json::from_value(domain).unwrap(),
        }
    }

    /// Looks for the records of these domains; returns the one whose finding is recorded.
    async fn recorded(looks: &Looks, checks: &[(&str, i64)], now: i64) -> Option<String> {
        let mut checks = checks.iter().map(|(name, due_at)| check(name, *due_at));
        let task = Task {
            first: checks.next().unwrap(),
            others: checks.collect(),
        };
        let found = news(looks, &task, Time(now)).await;
        found.map(|(check, _)| check.domain.name.to_string())
    }

    #[tokio::test]
    async fn the_findings_of_one_look_are_recorded_one_by_one_without_another_look() {
        let dns = Dns::answers(&[&[]]).await;
        let looks = Looks::new(Resolver::forgetful(Some(dns.address)).unwrap());
        let all = ["a.example", "b.example", "c.example"];
        let asked = || {
            let asked = all.map(|name| dns.asked_for(&format!("_ub-challenge.{name}")));
            asked.iter().sum::<usize>()
        };
        for left in (1..=3).rev() {
            let due: Vec<_> = all[3 - left..].iter().map(|name| (*name, 5)).collect();
            let found = recorded(&looks, &due, 10).await;
            assert_eq!(found.as_deref(), Some(all[3 - left]));
            assert_eq!(asked(), 3);
        }
        // Somebody has asked for another look.
        assert!(recorded(&looks, &[("a.example", 11)], 12).await.is_some());
        assert_eq!(asked(), 4);
        // A minute later, what was found is not known any more.
        let late = recorded(&looks, &[("b.example", 5)], 10 + MINUTE);
        assert!(late.await.is_some());
        assert_eq!(asked(), 5);
    }
}
