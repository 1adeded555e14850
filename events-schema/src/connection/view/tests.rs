use super::*;
use crate::{
    BuiltInRole, Id, Name,
    connection::{ClientId, Issuer},
    sealed::Sealed,
    view::testing::fold,
};

const ACME: ConnectionId = ConnectionId(Id::from_bytes([1; 16]));
const DAY: i64 = 24 * 60 * 60 * 1000;

fn sealed(secret: &str) -> Sealed {
    Sealed::parse(&format!("{secret}:{}", "A".repeat(40))).unwrap()
}
fn settings() -> Settings {
    Settings {
        name: Name::parse("Acme").unwrap(),
        issuer: Issuer::parse("https://login.example.com").unwrap(),
        client_id: ClientId::parse("0oa1").unwrap(),
        client_secret: sealed("k1"),
        role: BuiltInRole::Member,
        trusts_two_factors: false,
    }
}
fn created() -> (i64, Event) {
    let event = Event::Created {
        connection: ACME,
        settings: settings(),
    };
    (1, event)
}
fn domain() -> DomainName {
    DomainName::parse("example.com").unwrap()
}
fn added() -> (i64, Event) {
    let event = Event::DomainAdded {
        connection: ACME,
        domain: domain(),
        challenge: "x".to_owned(),
    };
    (2, event)
}
fn verified() -> (i64, Event) {
    let event = Event::DomainVerified {
        connection: ACME,
        domain: domain(),
    };
    (10, event)
}
fn checked(at: i64, outcome: CheckOutcome) -> (i64, Event) {
    let event = Event::DomainChecked {
        connection: ACME,
        domain: domain(),
        outcome,
        owners: Vec::new(),
    };
    (at, event)
}
fn lost(at: i64) -> (i64, Event) {
    let event = Event::DomainLost {
        connection: ACME,
        domain: domain(),
        owners: Vec::new(),
    };
    (at, event)
}

#[test]
fn a_domain_counts_from_its_verification_until_it_is_lost() {
    let shown: View = fold([created(), added()]).unwrap();
    assert_eq!(
        (shown.verified_domains.len(), shown.next_check_at),
        (0, None)
    );
    let shown: View = fold([created(), added(), verified()]).unwrap();
    assert_eq!(shown.verified_domains, [domain()]);
    assert_eq!(shown.of_domain(&domain()).unwrap().id, ACME);
    assert_eq!(shown.next_check_at, Some(Time(10 + DAY)));
    let shown: View = fold([created(), added(), verified(), lost(20)]).unwrap();
    assert_eq!(
        (shown.verified_domains.len(), shown.next_check_at),
        (0, None)
    );
    assert!(shown.of_domain(&domain()).is_none());
}

#[test]
fn a_domain_that_counts_is_looked_for_each_day_and_another_one_on_request() {
    let missing = checked(20, CheckOutcome::Missing);
    let shown: View = fold([created(), added(), verified(), missing.clone()]).unwrap();
    assert_eq!(shown.next_check_at, Some(Time(20 + DAY)));
    let known = &shown.connections[0].domains[0];
    assert_eq!(known.found_at, Some(Time(10)), "it was there then");
    assert_eq!(known.counts_until(), Some(Time(10 + 7 * DAY)));
    let requested = Event::DomainCheckRequested {
        connection: ACME,
        domain: domain(),
    };
    let shown: View = fold([created(), added(), (15, requested.clone())]).unwrap();
    assert_eq!(shown.next_check_at, Some(Time(15)));
    let shown: View = fold([created(), added(), (15, requested), missing]).unwrap();
    assert_eq!(shown.next_check_at, None);
}

#[test]
fn a_domain_is_lost_after_a_week_without_its_record_or_two_without_an_answer() {
    use super::super::Finding::{Found, Missing, Unavailable};
    let shown: View = fold([created(), added(), (0, verified().1)]).unwrap();
    let known = &shown.connections[0].domains[0];
    for (finding, days, expected) in [
        (Found, 99, false),
        (Missing, 6, false),
        (Missing, 7, true),
        (Unavailable, 7, false),
        (Unavailable, 13, false),
        (Unavailable, 14, true),
    ] {
        let is_lost = known.is_lost_by(finding, Time(days * DAY));
        assert_eq!(is_lost, expected, "{finding:?} {days}");
    }
}

#[test]
fn a_connection_is_shown_until_it_is_deleted_or_its_tenant_is() {
    let enforced = (5, Event::EnforcementBegun { connection: ACME });
    let shown: View = fold([created(), enforced]).unwrap();
    assert_eq!(shown.enforced().count(), 1);
    let deleted = (6, Event::Deleted { connection: ACME });
    let shown: View = fold([created(), added(), verified(), deleted]).unwrap();
    assert_eq!(shown, View::default());
    assert_eq!(fold::<View>([created(), (6, Event::Ended)]), None);
}

#[test]
fn the_earlier_word_of_an_issuer_ends_with_the_issuer_the_client_and_the_trust() {
    let epoch_after = |settings: Settings| {
        let updated = Event::Updated {
            connection: ACME,
            settings,
        };
        let shown: View = fold([created(), (5, updated)]).unwrap();
        shown.connections[0].epoch
    };
    let issuer = Issuer::parse("https://other.example.com").unwrap();
    let client_id = ClientId::parse("0oa2").unwrap();
    for (settings, expected) in [
        (settings(), 0),
        (
            Settings {
                name: Name::parse("Corp").unwrap(),
                ..settings()
            },
            0,
        ),
        (
            Settings {
                role: BuiltInRole::Guest,
                ..settings()
            },
            0,
        ),
        (
            Settings {
                client_secret: sealed("k2"),
                ..settings()
            },
            0,
        ),
        (
            Settings {
                issuer,
                ..settings()
            },
            1,
        ),
        (
            Settings {
                client_id,
                ..settings()
            },
            1,
        ),
        (
            Settings {
                trusts_two_factors: true,
                ..settings()
            },
            1,
        ),
    ] {
        assert_eq!(epoch_after(settings.clone()), expected, "{settings:?}");
    }
}

#[test]
fn a_secret_that_was_replaced_meanwhile_is_not_sealed_again() {
    let reseal = |former| Event::Resealed {
        connection: ACME,
        former,
        current: sealed("k2"),
    };
    for (former, expected) in [("k1", "k2"), ("k3", "k1")] {
        let shown: View = fold([created(), (5, reseal(sealed(former)))]).unwrap();
        assert_eq!(
            shown.connections[0].settings.client_secret,
            sealed(expected)
        );
    }
}
