use super::*;
use crate::{
    BuiltInRole, Id, Name,
    connection::{ClientId, Finding, Issuer, Warning},
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
        warning: None,
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
    assert_eq!(known.counts_until(), Some(Time(20 + 7 * DAY)));
    let requested = Event::DomainCheckRequested {
        connection: ACME,
        domain: domain(),
    };
    let shown: View = fold([created(), added(), (15, requested.clone())]).unwrap();
    assert_eq!(shown.next_check_at, Some(Time(15)));
    let shown: View = fold([created(), added(), (15, requested), missing]).unwrap();
    assert_eq!(shown.next_check_at, None);
}

/// The domain after it was verified at the time 10, and then looked for.
fn looked_for(checks: &[(i64, CheckOutcome)]) -> Domain {
    let checks = checks
        .iter()
        .map(|(day, outcome)| checked(day * DAY, *outcome));
    let events = [created(), added(), verified()].into_iter().chain(checks);
    let shown: View = fold(events).unwrap();
    shown.connections[0].domains[0].clone()
}

#[test]
fn a_domain_is_lost_a_week_after_its_record_was_missing_first_and_never_by_silence() {
    use CheckOutcome::{Found, Missing, Unavailable};
    for (checks, lost_from) in [
        (vec![], None),
        (vec![(30, Missing)], Some(37)),
        (vec![(30, Missing), (33, Missing)], Some(37)),
        (vec![(30, Missing), (31, Unavailable)], Some(37)),
        (vec![(30, Missing), (31, Found)], None),
        (vec![(30, Unavailable)], None),
    ] {
        let known = looked_for(&checks);
        for day in [30, 36, 37, 99] {
            let is_lost = |finding| known.is_lost_by(finding, Time(day * DAY));
            let is_over = lost_from.is_some_and(|from| day >= from);
            assert_eq!(is_lost(Finding::Missing), is_over, "{checks:?} {day}");
            assert!(!is_lost(Finding::Unavailable) && !is_lost(Finding::Found));
        }
    }
}

#[test]
fn owners_are_warned_once_of_a_missing_record_and_once_of_three_days_of_silence() {
    use CheckOutcome::{Found, Missing, Unavailable};
    let missing = |day: i64| {
        let until = Time((day + 7) * DAY);
        Some(Warning::Missing { until })
    };
    let silent = |day: i64| {
        let since = Time(day * DAY);
        Some(Warning::Silent { since })
    };
    for (checks, finding, day, expected) in [
        (vec![], Finding::Found, 5, None),
        (vec![], Finding::Missing, 5, missing(5)),
        (vec![(5, Missing)], Finding::Missing, 6, None),
        (
            vec![(5, Missing), (6, Unavailable)],
            Finding::Missing,
            7,
            None,
        ),
        (
            vec![(5, Missing), (6, Found)],
            Finding::Missing,
            7,
            missing(7),
        ),
        (vec![], Finding::Unavailable, 5, None),
        (vec![(5, Unavailable)], Finding::Unavailable, 7, None),
        (vec![(5, Unavailable)], Finding::Unavailable, 8, silent(5)),
        (
            vec![(5, Unavailable), (8, Unavailable)],
            Finding::Unavailable,
            9,
            None,
        ),
        (
            vec![(5, Unavailable), (6, Found), (7, Unavailable)],
            Finding::Unavailable,
            9,
            None,
        ),
    ] {
        let warning = looked_for(&checks).warning(finding, Time(day * DAY));
        assert_eq!(warning, expected, "{checks:?} {finding:?} {day}");
    }
}

#[test]
fn a_finding_that_changes_nothing_is_recorded_once_a_week() {
    use CheckOutcome::{Found, Missing};
    let is_news = |checks: &[(i64, CheckOutcome)], finding, day: i64| {
        looked_for(checks).is_news(finding, Time(day * DAY))
    };
    for (day, expected) in [(2, false), (7, false), (8, true)] {
        assert_eq!(
            is_news(&[(1, Found)], Finding::Found, day),
            expected,
            "{day}"
        );
    }
    assert!(is_news(&[(1, Found)], Finding::Missing, 2));
    assert!(is_news(&[(1, Found)], Finding::Unavailable, 2));
    assert!(!is_news(&[(1, Missing)], Finding::Missing, 2));
    assert!(is_news(&[(1, Missing)], Finding::Missing, 8), "it is lost");
}

#[test]
fn a_finding_that_somebody_waits_for_is_recorded() {
    let requested = Event::DomainCheckRequested {
        connection: ACME,
        domain: domain(),
    };
    let requested = (20, requested);
    for events in [
        vec![created(), added(), requested.clone()],
        vec![created(), added(), verified(), requested],
    ] {
        let shown: View = fold(events).unwrap();
        let known = &shown.connections[0].domains[0];
        assert!(known.is_news(Finding::Found, Time(21)));
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

#[test]
fn the_word_of_an_issuer_counts_until_the_connection_trusts_another() {
    let other = Event::Updated {
        connection: ACME,
        settings: Settings {
            trusts_two_factors: true,
            ..settings()
        },
    };
    let shown: View = fold([created(), (2, other)]).unwrap();
    let known = shown.find(ACME).unwrap();
    assert!(!known.stands_by(0));
    assert!(known.stands_by(1));
    assert!(known.stands_by(2), "of an epoch that is not known here yet");
}
