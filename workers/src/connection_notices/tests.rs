use events_schema::{
    Actor, Area as _, BuiltInRole, CommandId, DomainName, Id, TenantId, TenantKey, Time,
    connection::{ClientId, Issuer, apply},
    sealed::Sealed,
};

use super::*;

const ACME: ConnectionId = ConnectionId(Id::from_bytes([3; 16]));

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
fn settings() -> Settings {
    Settings {
        name: name("Acme"),
        issuer: Issuer::parse("https://login.example.com").unwrap(),
        client_id: ClientId::parse("0oa1").unwrap(),
        client_secret: Sealed::parse(&format!("k1:{}", "A".repeat(40))).unwrap(),
        role: BuiltInRole::Guest,
        trusts_two_factors: false,
    }
}
/// A tenant with one connection.
fn acme() -> View {
    let mut view = View::default();
    let created = Event::Created {
        connection: ACME,
        settings: settings(),
    };
    apply(&mut view, &created, Time(1));
    view
}
/// What the owners of a tenant hear of an event.
fn heard(event: Event, before: Option<View>) -> Vec<(Name, ConnectionNotice)> {
    let tenant = TenantKey(Id::from_bytes([1; 16]));
    let commit = Commit {
        tenant: TenantId::Tenant(tenant),
        area: Area::NAME,
        id: tenant,
        revision: 2,
        command: CommandId(tenant.0),
        actor: Actor::System,
        time: Time(2),
        origin: None,
        events: vec![event],
    };
    notices(&commit, before)
}
fn updated(settings: Settings) -> Event {
    Event::Updated {
        connection: ACME,
        settings,
    }
}

#[test]
fn the_owners_hear_of_all_that_decides_who_gets_in() {
    let domain = DomainName::parse("example.com").unwrap();
    let verified = Event::DomainVerified {
        connection: ACME,
        domain: domain.clone(),
    };
    let role = BuiltInRole::Admin;
    let issuer = Issuer::parse("https://other.example.com").unwrap();
    let client_id = ClientId::parse("0oa2").unwrap();
    let changed = [
        Settings { role, ..settings() },
        Settings {
            issuer,
            ..settings()
        },
        Settings {
            client_id,
            ..settings()
        },
        Settings {
            trusts_two_factors: true,
            ..settings()
        },
    ];
    let others = [
        (
            Event::Deleted { connection: ACME },
            ConnectionNotice::Deleted,
        ),
        (
            Event::EnforcementBegun { connection: ACME },
            ConnectionNotice::EnforcementBegun,
        ),
        (
            Event::EnforcementEnded { connection: ACME },
            ConnectionNotice::EnforcementEnded,
        ),
        (verified, ConnectionNotice::DomainVerified { domain }),
    ];
    let changed = changed.map(|settings| (updated(settings), ConnectionNotice::Changed));
    for (event, expected) in changed.into_iter().chain(others) {
        let heard = heard(event.clone(), Some(acme()));
        assert_eq!(heard, [(name("Acme"), expected)], "{event:?}");
    }
}

#[test]
fn the_owners_hear_of_a_new_connection_by_its_name() {
    let created = Event::Created {
        connection: ACME,
        settings: settings(),
    };
    let heard = heard(created, None);
    assert_eq!(heard, [(name("Acme"), ConnectionNotice::Created)]);
}

#[test]
fn a_new_name_is_no_news() {
    let renamed = Settings {
        name: name("Corp"),
        ..settings()
    };
    assert_eq!(heard(updated(renamed), Some(acme())), []);
}
