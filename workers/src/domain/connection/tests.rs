mod domains;

use events_schema::{
    Id, Name,
    connection::{self, ClientId, Issuer, Warning},
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
    update_holding(holds(BuiltInRole::Admin), changes)
}
fn update_holding(actor_holds: Permissions, changes: Changes) -> Command {
    Command::Update {
        connection: ACME,
        changes,
        actor_holds,
    }
}
fn enforce(is_enforced: bool) -> Command {
    enforce_in(None, is_enforced)
}
fn enforce_in(epoch: Option<i64>, is_enforced: bool) -> Command {
    Command::Enforce {
        connection: ACME,
        is_enforced,
        epoch,
    }
}
fn domain(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}
fn own() -> DomainName {
    domain("example.com")
}
fn add(connection: ConnectionId, text: &str) -> Command {
    add_holding(BuiltInRole::Admin, connection, text)
}
fn add_holding(by: BuiltInRole, connection: ConnectionId, text: &str) -> Command {
    Command::AddDomain {
        connection,
        domain: domain(text),
        actor_holds: holds(by),
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
    verify_holding(holds(BuiltInRole::Admin))
}
fn verify_holding(actor_holds: Permissions) -> Command {
    Command::VerifyDomain {
        connection: ACME,
        domain: own(),
        actor_holds,
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
fn checked(outcome: CheckOutcome) -> Event {
    Event::DomainChecked {
        connection: ACME,
        domain: own(),
        outcome,
        warning: None,
        owners: Vec::new(),
    }
}
fn warned(outcome: CheckOutcome, warning: Warning) -> Event {
    Event::DomainChecked {
        connection: ACME,
        domain: own(),
        outcome,
        warning: Some(warning),
        owners: owners(),
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
fn whoever_changes_who_gets_the_role_must_hold_what_it_holds() {
    let admin = Event::Created {
        connection: ACME,
        settings: settings(BuiltInRole::Admin),
    };
    let given: Given<Connections> = given([admin, added(ACME)]);
    let little = || Permissions::from([connection::UPDATE]);
    let name = Changes {
        name: Some(Name::parse("Corp").unwrap()),
        ..Changes::default()
    };
    let renamed = Event::Updated {
        connection: ACME,
        settings: settings(BuiltInRole::Admin).changed(&name),
    };
    given.when(update_holding(little(), name)).then([renamed]);
    for changes in [
        Changes {
            client_secret: Some(sealed("k2")),
            ..Changes::default()
        },
        Changes {
            client_id: Some(ClientId::parse("evil").unwrap()),
            ..Changes::default()
        },
        Changes {
            issuer: Some(Issuer::parse("https://evil.example").unwrap()),
            client_secret: Some(sealed("k2")),
            ..Changes::default()
        },
        Changes {
            role: Some(BuiltInRole::Guest),
            ..Changes::default()
        },
        Changes {
            trusts_two_factors: Some(true),
            ..Changes::default()
        },
    ] {
        let when = given.when(update_holding(little(), changes));
        when.rejects(Rejection::BeyondOwnPermissions);
    }
    let when = given.when(add_holding(BuiltInRole::Guest, ACME, "evil.example"));
    when.rejects(Rejection::BeyondOwnPermissions);
    let when = given.when(verify_holding(little()));
    when.rejects(Rejection::BeyondOwnPermissions);
}

#[test]
fn the_issuer_that_everybody_needs_stays_and_its_secret_may_be_renewed() {
    let begun = Event::EnforcementBegun { connection: ACME };
    let enforced = counting().and([begun]);
    let secret = Changes {
        client_secret: Some(sealed("k2")),
        ..Changes::default()
    };
    for changes in [
        Changes {
            issuer: Some(Issuer::parse("https://new.example").unwrap()),
            ..secret.clone()
        },
        Changes {
            client_id: Some(ClientId::parse("0oa2").unwrap()),
            ..secret.clone()
        },
    ] {
        let when = enforced.when(update(changes));
        when.rejects(Rejection::Enforced);
    }
    let updated = Event::Updated {
        connection: ACME,
        settings: settings(BuiltInRole::Guest).changed(&secret),
    };
    enforced.when(update(secret)).then([updated]);
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
fn nobody_demands_an_issuer_by_the_word_of_the_one_before() {
    let trusts = Changes {
        trusts_two_factors: Some(true),
        ..Changes::default()
    };
    let updated = Event::Updated {
        connection: ACME,
        settings: settings(BuiltInRole::Guest).changed(&trusts),
    };
    let begun = Event::EnforcementBegun { connection: ACME };
    let changed = counting().and([updated]);
    let when = changed.when(enforce_in(Some(0), true));
    when.rejects(Rejection::IssuerChanged);
    let when = changed.when(enforce_in(Some(1), true));
    when.then([begun.clone()]);
    changed.when(enforce(true)).then([begun.clone()]);
    let enforced = changed.and([begun]);
    let again = enforced.when(enforce_in(Some(0), true));
    again.changes_nothing();
    let ended = Event::EnforcementEnded { connection: ACME };
    let when = enforced.when(enforce_in(Some(0), false));
    when.then([ended]);
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
