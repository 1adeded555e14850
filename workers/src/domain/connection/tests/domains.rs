//! The domains of connections: when they count, and for whom.

use super::*;

#[test]
fn a_domain_of_nobody_in_particular_is_refused() {
    for public in ["gmail.com", "eve.gmail.com", "co.uk"] {
        let when = acme().when(add(ACME, public));
        when.rejects(Rejection::PublicDomain);
    }
    none()
        .when(add(ACME, "example.com"))
        .rejects(Rejection::NotFound);
}

#[test]
fn each_addition_of_a_domain_has_a_challenge_of_its_own() {
    let challenge = |given: &Given<Connections>, connection, by: u8| {
        let when = given.when(add(connection, "example.com"));
        let when = when.to(Id::from_bytes([by; 16]).into());
        match when.decide().unwrap().events.as_slice() {
            [Event::DomainAdded { challenge, .. }] => challenge.clone(),
            events => panic!("{events:?}"),
        }
    };
    let both = acme().and([created(OTHER)]);
    let all = [
        challenge(&both, ACME, 1),
        challenge(&both, OTHER, 1),
        challenge(&both, ACME, 2),
    ];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    assert!(all.iter().all(|text| text.starts_with("ub-verify=")));
}

#[test]
fn a_domain_belongs_to_one_connection_of_a_tenant() {
    pending().when(add(ACME, "example.com")).changes_nothing();
    let both = pending().and([created(OTHER)]);
    let when = both.when(add(OTHER, "example.com"));
    when.rejects(Rejection::DomainTaken);
}

#[test]
fn a_connection_has_at_most_twenty_domains() {
    let domains = (0..20).map(|number| Event::DomainAdded {
        connection: ACME,
        domain: domain(&format!("d{number}.example")),
        challenge: "x".to_owned(),
    });
    let when = acme().and(domains).when(add(ACME, "example.com"));
    when.rejects(Rejection::TooManyDomains);
}

#[test]
fn a_domain_counts_once_its_record_is_found() {
    pending().when(verify()).then([requested()]);
    let asked = pending().and([requested()]);
    asked.when(verify()).changes_nothing();
    asked.when(record(Finding::Found)).decides(Decision {
        take: vec![claim()],
        ..Decision::events(vec![verified()])
    });
    for (finding, outcome) in [
        (Finding::Missing, CheckOutcome::Missing),
        (Finding::Unavailable, CheckOutcome::Unavailable),
    ] {
        let when = asked.when(record(finding));
        when.then([checked(outcome)]);
    }
    acme().when(verify()).rejects(Rejection::DomainNotFound);
}

#[test]
fn a_domain_counts_for_one_tenant_only() {
    let taken = Id::from_bytes([7; 16]);
    let asked = pending().and([requested()]);
    let when = asked.when(record(Finding::Found));
    let when = when.while_held(claim(), taken);
    when.then([checked(CheckOutcome::Taken)]);
}

#[test]
fn what_was_found_of_a_domain_that_was_removed_or_added_again_counts_for_nothing() {
    let later = Event::DomainAdded {
        connection: ACME,
        domain: own(),
        challenge: "y".to_owned(),
    };
    for given in [acme(), none(), pending().and([removed(), later])] {
        given.when(record(Finding::Found)).changes_nothing();
    }
}

#[test]
fn the_owners_learn_once_that_a_record_is_missing_and_the_domain_is_lost_after_a_week() {
    let missing = |day: i64| {
        let until = Time((day + 7) * DAY);
        warned(CheckOutcome::Missing, Warning::Missing { until })
    };
    let when = counting().when(record(Finding::Missing)).at(30 * DAY);
    when.then([missing(30)]);
    let told = counting().and_at(30 * DAY, missing(30));
    let next = |days: i64| told.when(record(Finding::Missing)).at(days * DAY);
    next(36).then([checked(CheckOutcome::Missing)]);
    next(37).decides(Decision {
        release: vec![claim()],
        ..Decision::events(vec![lost()])
    });
    let back = told.and_at(31 * DAY, checked(CheckOutcome::Found));
    let when = back.when(record(Finding::Missing)).at(37 * DAY);
    when.then([missing(37)]);
}

#[test]
fn dns_that_does_not_answer_loses_no_domain_and_the_owners_learn_of_it_after_three_days() {
    let silent = counting().and_at(5 * DAY, checked(CheckOutcome::Unavailable));
    let next = |days: i64| silent.when(record(Finding::Unavailable)).at(days * DAY);
    next(7).then([checked(CheckOutcome::Unavailable)]);
    let since = Time(5 * DAY);
    let told = warned(CheckOutcome::Unavailable, Warning::Silent { since });
    next(8).then([told.clone()]);
    let later = silent.and_at(8 * DAY, told);
    let when = later.when(record(Finding::Unavailable)).at(99 * DAY);
    when.then([checked(CheckOutcome::Unavailable)]);
}

#[test]
fn a_lost_domain_may_be_verified_again() {
    let lost = counting().and([lost()]);
    lost.when(verify()).then([requested()]);
    let when = lost.and([requested()]).when(record(Finding::Found));
    when.then([verified()]);
}

#[test]
fn a_domain_that_is_removed_becomes_free() {
    counting().when(remove()).decides(Decision {
        release: vec![claim()],
        ..Decision::events(vec![removed()])
    });
    pending()
        .when(remove())
        .decides(Decision::events(vec![removed()]));
    acme().when(remove()).changes_nothing();
}

#[test]
fn the_domains_that_are_due_first_are_looked_for_first() {
    let second = Event::DomainAdded {
        connection: ACME,
        domain: domain("example.org"),
        challenge: "y".to_owned(),
    };
    let asked = Event::DomainCheckRequested {
        connection: ACME,
        domain: domain("example.org"),
    };
    let given = counting().and([second]).and_at(5, asked);
    let checks = given.state().checks();
    let names: Vec<_> = checks.iter().map(|(_, due)| due.name.as_str()).collect();
    assert_eq!(names, ["example.org", "example.com"]);
}
