//! When records are looked for, and what of them is worth a record in the log.

use events_schema::{
    BuiltInRole, DomainName, Id, Name,
    connection::{CheckOutcome, ClientId, Issuer, Settings},
    sealed::Sealed,
};

use super::*;
use crate::{aggregate::Aggregate as _, effect::outbound::tests::dns::Dns};

const OWN: ConnectionId = ConnectionId(Id::from_bytes([3; 16]));
const OTHER: ConnectionId = ConnectionId(Id::from_bytes([4; 16]));
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
const NOW: Time = Time(100 * DAY);

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 60 * 60)
}

/// A domain whose record is looked for this many hours from now; its owner has asked for it.
fn asked(domain: &str, hours: i64) -> Check {
    Check {
        connection: OWN,
        domain: Domain {
            name: name(domain),
            challenge: format!("ub-{domain}"),
            added_at: Time(0),
            verified_at: None,
            missing_since: None,
            silent_since: None,
            checked_at: None,
            outcome: None,
            next_check_at: Some(Time(NOW.0 + hours * HOUR)),
        },
    }
}

/// A domain that counts, and whose record was found a day before it is looked for again.
fn verified(domain: &str, hours: i64) -> Check {
    let mut check = asked(domain, hours);
    let checked_at = Time(NOW.0 + hours * HOUR - DAY);
    check.domain.verified_at = Some(checked_at);
    check.domain.checked_at = Some(checked_at);
    check.domain.outcome = Some(CheckOutcome::Found);
    check
}

fn task<const N: usize>(checks: [Check; N]) -> Task {
    let mut checks = checks.into_iter();
    Task {
        first: checks.next().unwrap(),
        others: checks.collect(),
    }
}

/// A DNS server where these domains have the record that they are asked for.
async fn published(domains: &[&str]) -> (Looks, Dns) {
    let dns = Dns::answers(&[&[]]).await;
    for domain in domains {
        let record = name(domain).record();
        // Others have texts there, too.
        dns.publishes(&record, "another service");
        dns.publishes(&record, &format!("ub-{domain}"));
    }
    (looks_at(&dns), dns)
}

/// Knows nothing yet of what was found before.
fn looks_at(dns: &Dns) -> Looks {
    Looks::new(Resolver::forgetful(Some(dns.address)).unwrap())
}

/// The domain and the finding that are news.
async fn news_of(looks: &Looks, task: &Task) -> Option<(String, Finding)> {
    let news = news(looks, task, NOW).await;
    news.map(|(check, finding)| (check.domain.name.to_string(), finding))
}

fn found(domain: &str, finding: Finding) -> Option<(String, Finding)> {
    Some((domain.to_owned(), finding))
}

#[tokio::test]
async fn a_record_that_somebody_waits_for_is_news_whether_it_is_there_or_not() {
    let (looks, dns) = published(&["a.example"]).await;
    let there = task([asked("a.example", 0)]);
    assert_eq!(
        news_of(&looks, &there).await,
        found("a.example", Finding::Found)
    );
    let absent = task([asked("b.example", 0)]);
    let missing = found("b.example", Finding::Missing);
    assert_eq!(news_of(&looks, &absent).await, missing);
    dns.publishes("_ub-challenge.b.example", "ub-a.example");
    let of_another = news_of(&looks_at(&dns), &absent).await;
    assert_eq!(of_another, missing, "the record of another domain");
}

#[tokio::test]
async fn a_record_that_is_not_due_is_not_looked_for() {
    let (looks, dns) = published(&[]).await;
    let later = task([verified("a.example", 1), asked("b.example", 2)]);
    assert_eq!(news_of(&looks, &later).await, None);
    let one = task([verified("a.example", 1), asked("b.example", 0)]);
    let missing = found("b.example", Finding::Missing);
    assert_eq!(news_of(&looks, &one).await, missing);
    assert_eq!(dns.asked_for("_ub-challenge.a.example"), 0);
}

#[tokio::test]
async fn a_record_that_is_still_there_is_no_news_and_one_that_has_gone_is() {
    let (looks, dns) = published(&["a.example", "b.example"]).await;
    let both = task([verified("a.example", -1), verified("b.example", 0)]);
    assert_eq!(news_of(&looks, &both).await, None);
    dns.withdraws("_ub-challenge.b.example");
    let missing = found("b.example", Finding::Missing);
    assert_eq!(news_of(&looks_at(&dns), &both).await, missing);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_no_missing_record() {
    let (looks, dns) = published(&["a.example"]).await;
    dns.falls_silent();
    let silent = news_of(&looks, &task([verified("a.example", 0)])).await;
    assert_eq!(silent, found("a.example", Finding::Unavailable));
}

#[test]
fn without_news_the_next_look_is_when_another_domain_is_due_but_within_a_day() {
    let due = || verified("a.example", 0);
    assert_eq!(task([due()]).next_look(NOW), hours(24));
    let soon = task([due(), verified("b.example", 5), verified("c.example", 7)]);
    assert_eq!(soon.next_look(NOW), hours(5));
    let late = task([due(), verified("b.example", 30)]);
    assert_eq!(late.next_look(NOW), hours(24));
    let none_due = task([verified("a.example", 2), verified("b.example", 5)]);
    assert_eq!(none_due.next_look(NOW), hours(2));
}

#[test]
fn the_domain_that_is_due_first_decides_when_and_how_urgently_records_are_looked_for() {
    let later = task([verified("a.example", 3), asked("b.example", 4)]);
    let lane = CheckDomain::lane(&later);
    let at = Some(Time(NOW.0 + 3 * HOUR));
    assert_eq!((lane.not_before, lane.is_urgent), (at, false));
    let awaited = task([asked("b.example", 0), verified("a.example", 3)]);
    let lane = CheckDomain::lane(&awaited);
    assert_eq!((lane.not_before, lane.is_urgent), (Some(NOW), true));
}

fn settings() -> Settings {
    Settings {
        name: Name::parse("Acme").unwrap(),
        issuer: Issuer::parse("https://login.example.com").unwrap(),
        client_id: ClientId::parse("0oa1").unwrap(),
        client_secret: sealed("k1"),
        role: BuiltInRole::Guest,
        trusts_two_factors: false,
    }
}

fn sealed(secret: &str) -> Sealed {
    Sealed::parse(&format!("{secret}:{}", "A".repeat(40))).unwrap()
}

/// Events of a connection and its domain, in an order in which each of them can happen.
fn life(connection: ConnectionId, text: &str) -> Vec<Event> {
    let (domain, settings) = (name(text), settings());
    let checked = |outcome| Event::DomainChecked {
        connection,
        domain: name(text),
        outcome,
        warning: None,
        owners: Vec::new(),
    };
    let requested = || Event::DomainCheckRequested {
        connection,
        domain: name(text),
    };
    vec![
        Event::Created {
            connection,
            settings: settings.clone(),
        },
        Event::DomainAdded {
            connection,
            domain: domain.clone(),
            challenge: "x".to_owned(),
        },
        requested(),
        checked(CheckOutcome::Missing),
        requested(),
        Event::DomainVerified {
            connection,
            domain: domain.clone(),
        },
        Event::EnforcementBegun { connection },
        Event::EnforcementEnded { connection },
        Event::Updated {
            connection,
            settings,
        },
        Event::Resealed {
            connection,
            former: sealed("k1"),
            current: sealed("k2"),
        },
        checked(CheckOutcome::Found),
        Event::DomainLost {
            connection,
            domain: domain.clone(),
            owners: Vec::new(),
        },
        requested(),
        Event::DomainRemoved { connection, domain },
    ]
}

#[test]
fn an_event_that_changes_when_a_record_is_looked_for_requests_the_look() {
    let mut record = Connections::default();
    // Another domain counts, so there is always something to look for.
    for event in life(OTHER, "other.example").iter().take(6) {
        record.evolve(event, Time(0));
    }
    let own = life(OWN, "a.example").into_iter();
    // It is deleted while its record is looked for.
    let again = life(OTHER, "other.example").into_iter().skip(4).take(1);
    let deleted = Event::Deleted { connection: OTHER };
    let asked = own.clone().skip(1).take(2);
    let events = own.chain(again).chain(asked);
    for (at, event) in (1..).zip(events.chain([deleted, Event::Ended])) {
        let before = format!("{:?}", record.checks());
        record.evolve(&event, Time(at * HOUR));
        let is_awaited = CheckDomain::pending(&record).is_some();
        let is_changed = is_awaited && before != format!("{:?}", record.checks());
        let is_requested = CheckDomain::is_requested_by(&event);
        assert_eq!(is_requested, is_changed, "{event:?}");
    }
}
