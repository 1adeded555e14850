use events_schema::{
    Id, Name,
    connection::{ClientId, Issuer},
    sealed::Sealed,
};

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

const ACME: ConnectionId = ConnectionId(COMMAND);
const OTHER: ConnectionId = ConnectionId(Id::from_bytes([4; 16]));
const DAY: i64 = 24 * 60 * 60 * 1000;

fn sealed(secret: &str) -> Sealed {
    Sealed::parse(&format!("{secret}:{}", "A".repeat(40))).unwrap()
}
fn settings(role: BuiltInRole) -> Settings {
    Settings {
        name: Name::parse("Acme").unwrap(),
        issuer: Issuer::parse("https://login.example.com").unwrap(),
        client_id: ClientId::parse("0oa1").unwrap(),
        client_secret: sealed("k1"),
        role,
        trusts_two_factors: false,
    }
}
fn holds(role: BuiltInRole) -> Permissions {
    role.permissions().into_iter().collect()
}
fn create(role: BuiltInRole, by: BuiltInRole) -> Command {
    Command::Create {
        settings: settings(role),
        actor_holds: holds(by),
    }
}
fn created(connection: ConnectionId) -> Event {
    Event::Created {
        connection,
        settings: settings(BuiltInRole::Guest),
    }
}
fn update(changes: Changes) -> Command {
    Command::Update {
        connection: ACME,
        changes,
        actor_holds: holds(BuiltInRole::Admin),
    }
}
fn enforce(is_enforced: bool) -> Command {
    Command::Enforce {
        connection: ACME,
        is_enforced,
    }
}
fn domain(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}
fn own() -> DomainName {
    domain("example.com")
}
fn add(connection: ConnectionId, text: &str) -> Command {
    Command::AddDomain {
        connection,
        domain: domain(text),
    }
}
fn added(connection: ConnectionId) -> Event {
    Event::DomainAdded {
        connection,
        domain: own(),
        challenge: "x".to_owned(),
    }
}
fn verified() -> Event {
    Event::DomainVerified {
        connection: ACME,
        domain: own(),
    }
}
fn remove() -> Command {
    Command::RemoveDomain {
        connection: ACME,
        domain: own(),
    }
}
fn removed() -> Event {
    Event::DomainRemoved {
        connection: ACME,
        domain: own(),
    }
}
fn verify() -> Command {
    Command::VerifyDomain {
        connection: ACME,
        domain: own(),
    }
}
fn requested() -> Event {
    Event::DomainCheckRequested {
        connection: ACME,
        domain: own(),
    }
}
fn owners() -> Vec<EmailAddress> {
    vec![EmailAddress::parse("ada@example.com").unwrap()]
}
fn record(finding: Finding) -> Command {
    Command::RecordCheck {
        connection: ACME,
        domain: own(),
        challenge: "x".to_owned(),
        finding,
        owners: owners(),
    }
}
fn checked(outcome: CheckOutcome, owners: Vec<EmailAddress>) -> Event {
    Event::DomainChecked {
        connection: ACME,
        domain: own(),
        outcome,
        owners,
    }
}
fn lost() -> Event {
    Event::DomainLost {
        connection: ACME,
        domain: own(),
        owners: owners(),
    }
}
fn none() -> Given<Connections> {
    given([])
}
fn acme() -> Given<Connections> {
    given([created(ACME)])
}
/// A connection with a domain that does not count yet.
fn pending() -> Given<Connections> {
    acme().and([added(ACME)])
}
/// A connection with a domain that counts.
fn counting() -> Given<Connections> {
    pending().and([verified()])
}
fn claim() -> Claim {
    Claim::domain(&own())
}

#[test]
fn a_connection_gives_a_role_that_its_creator_may_give() {
    let when = none().when(create(BuiltInRole::Guest, BuiltInRole::Admin));
    when.then([created(ACME)]);
    let when = none().when(create(BuiltInRole::Admin, BuiltInRole::Member));
    when.rejects(Rejection::BeyondOwnPermissions);
    let when = none().when(create(BuiltInRole::Owner, BuiltInRole::Owner));
    when.rejects(Rejection::OwnerRole);
}

#[test]
fn a_tenant_has_at_most_ten_connections() {
    let ids = (0..10).map(|number| ConnectionId(Id::from_bytes([number; 16])));
    let full: Given<Connections> = given(ids.map(created));
    let when = full.when(create(BuiltInRole::Guest, BuiltInRole::Admin));
    when.rejects(Rejection::TooManyConnections);
}

#[test]
fn the_secret_of_one_issuer_is_not_sent_to_another() {
    let issuer = Some(Issuer::parse("https://evil.example").unwrap());
    let without = Changes {
        issuer: issuer.clone(),
        ..Changes::default()
    };
    acme()
        .when(update(without))
        .rejects(Rejection::SecretMissing);
    let with = Changes {
        issuer,
        client_secret: Some(sealed("k2")),
        ..Changes::default()
    };
    let updated = Event::Updated {
        connection: ACME,
        settings: settings(BuiltInRole::Guest).changed(&with),
    };
    acme().when(update(with)).then([updated]);
}

#[test]
fn a_change_to_the_same_changes_nothing_and_to_a_stronger_role_needs_it() {
    acme().when(update(Changes::default())).changes_nothing();
    let role = |role| Changes {
        role: Some(role),
        ..Changes::default()
    };
    acme()
        .when(update(role(BuiltInRole::Guest)))
        .changes_nothing();
    acme()
        .when(update(role(BuiltInRole::Owner)))
        .rejects(Rejection::OwnerRole);
    none()
        .when(update(Changes::default()))
        .rejects(Rejection::NotFound);
}

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
        when.then([checked(outcome, Vec::new())]);
    }
    acme().when(verify()).rejects(Rejection::DomainNotFound);
}

#[test]
fn a_domain_counts_for_one_tenant_only() {
    let taken = Id::from_bytes([7; 16]);
    let asked = pending().and([requested()]);
    let when = asked.when(record(Finding::Found));
    let when = when.while_held(claim(), taken);
    when.then([checked(CheckOutcome::Taken, Vec::new())]);
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
    let missing = |at: i64| counting().when(record(Finding::Missing)).at(at);
    missing(DAY).then([checked(CheckOutcome::Missing, owners())]);
    let told = counting().and_at(DAY, checked(CheckOutcome::Missing, owners()));
    let next = |days: i64| told.when(record(Finding::Missing)).at(days * DAY);
    next(6).then([checked(CheckOutcome::Missing, Vec::new())]);
    next(7).decides(Decision {
        release: vec![claim()],
        ..Decision::events(vec![lost()])
    });
    let back = told.and_at(2 * DAY, checked(CheckOutcome::Found, Vec::new()));
    let when = back.when(record(Finding::Missing)).at(8 * DAY);
    when.then([checked(CheckOutcome::Missing, owners())]);
}

#[test]
fn dns_that_does_not_answer_loses_no_domain_for_two_weeks() {
    let silent = |days: i64| counting().when(record(Finding::Unavailable)).at(days * DAY);
    silent(13).then([checked(CheckOutcome::Unavailable, Vec::new())]);
    silent(14).then([lost()]);
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
fn everybody_needs_a_connection_only_if_a_domain_counts() {
    let begun = Event::EnforcementBegun { connection: ACME };
    pending()
        .when(enforce(true))
        .rejects(Rejection::NoVerifiedDomain);
    counting().when(enforce(true)).then([begun.clone()]);
    let enforced = counting().and([begun]);
    enforced.when(enforce(true)).changes_nothing();
    enforced.when(remove()).rejects(Rejection::Enforced);
    let ended = Event::EnforcementEnded { connection: ACME };
    enforced.when(enforce(false)).then([ended]);
}

#[test]
fn a_connection_that_is_deleted_frees_its_domains() {
    let delete = Command::Delete { connection: ACME };
    counting().when(delete.clone()).decides(Decision {
        release: vec![claim()],
        ..Decision::events(vec![Event::Deleted { connection: ACME }])
    });
    none().when(delete).changes_nothing();
}

#[test]
fn the_connections_of_a_deleted_tenant_end_for_ever() {
    counting().when(Command::End).decides(Decision {
        release: vec![claim()],
        ..Decision::events(vec![Event::Ended])
    });
    let ended = counting().and([Event::Ended]);
    ended.when(Command::End).changes_nothing();
    let when = ended.when(create(BuiltInRole::Guest, BuiltInRole::Admin));
    when.rejects(Rejection::NotFound);
    let when = ended.when(record(Finding::Found));
    when.rejects(Rejection::NotFound);
}

#[test]
fn a_secret_is_sealed_again_unless_it_was_replaced() {
    let reseal = |former| Command::Reseal {
        connection: ACME,
        former: sealed(former),
        current: sealed("k9"),
    };
    let resealed = Event::Resealed {
        connection: ACME,
        former: sealed("k1"),
        current: sealed("k9"),
    };
    acme().when(reseal("k1")).then([resealed]);
    acme().when(reseal("k2")).changes_nothing();
}

#[test]
fn the_domain_that_is_due_first_is_looked_for_first() {
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
    let (connection, due) = given.state().next_check().unwrap();
    assert_eq!((connection, due.name.as_str()), (ACME, "example.org"));
}
