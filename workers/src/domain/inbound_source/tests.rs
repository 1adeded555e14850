use events_schema::{
    AccountId, BuiltInRole, Id, ProjectId,
    inbound_source::{self as schema, HookId},
    sealed::{Resealed, Sealed},
};

use super::*;
use crate::domain::testing::{COMMAND, Given, When, given};

const SOURCE: InboundSourceId = InboundSourceId(COMMAND);
const ADA: AccountId = AccountId(Id::from_bytes([2; 16]));

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
fn secret() -> Sealed {
    Sealed::parse(":QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==").unwrap()
}
fn github(project: u8) -> Provider {
    let project = ProjectId(Id::from_bytes([project; 16]));
    Provider::Github { project }
}
fn create(provider: Provider) -> Command {
    Command::Create {
        name: name("Code"),
        provider,
        secret: secret(),
        creator: ADA,
    }
}
fn created(source: InboundSourceId, provider: Provider) -> Event {
    Event::Created {
        source,
        name: name("Code"),
        provider,
        secret: secret(),
        creator: ADA,
    }
}
fn update(name: Option<Name>, provider: Option<Provider>) -> Command {
    Command::Update {
        source: SOURCE,
        name,
        provider,
    }
}
fn updated(text: &str, provider: Provider) -> Event {
    Event::Updated {
        source: SOURCE,
        name: name(text),
        provider,
    }
}
fn rotate(overlap_hours: u32) -> Command {
    Command::RotateSecret {
        source: SOURCE,
        secret: secret(),
        overlap_hours,
    }
}
fn one(provider: Provider) -> Given<InboundSources> {
    given([created(SOURCE, provider)])
}
fn by_admin(given: &Given<InboundSources>, command: Command) -> When<InboundSources> {
    given.when(command).holding(BuiltInRole::Admin)
}

#[test]
fn a_source_takes_the_id_of_its_command() {
    let when = by_admin(&given([]), create(github(1)));
    when.then([created(SOURCE, github(1))]);
}

#[test]
fn a_tenant_has_at_most_fifty_sources() {
    let source = |number: u8| created(InboundSourceId(Id::from_bytes([number; 16])), github(1));
    let almost = given((100..149).map(source));
    by_admin(&almost, create(github(1))).then([created(SOURCE, github(1))]);
    let full = almost.and([source(149)]);
    by_admin(&full, create(github(1))).rejects(Rejection::TooManySources);
    let deleted = Event::Deleted {
        source: InboundSourceId(Id::from_bytes([100; 16])),
    };
    by_admin(&full.and([deleted]), create(github(1))).then([created(SOURCE, github(1))]);
}

#[test]
fn who_creates_or_changes_a_source_may_do_what_its_hooks_do() {
    for missing in [task::CREATE, task::UPDATE] {
        let held = BuiltInRole::Admin.permissions();
        let held = held.iter().filter(|held| *held != missing);
        let held = Vec::from_iter(held);
        for (given, command) in [
            (given([]), create(github(1))),
            (one(github(1)), update(None, Some(github(2)))),
            (one(github(1)), update(Some(name("Issues")), None)),
        ] {
            let when = given.when(command).holding_only(held.clone());
            when.rejects(Rejection::BeyondOwnPermissions);
        }
    }
    let when = given::<InboundSources>([]).when(create(Provider::Stripe));
    when.then([created(SOURCE, Provider::Stripe)]);
}

#[test]
fn a_source_keeps_what_is_not_changed() {
    let source = one(github(1));
    let issues = || Some(name("Issues"));
    by_admin(&source, update(issues(), None)).then([updated("Issues", github(1))]);
    by_admin(&source, update(None, Some(github(2)))).then([updated("Code", github(2))]);
    by_admin(&source, update(Some(name("Code")), Some(github(1)))).changes_nothing();
    by_admin(&source, update(None, None)).changes_nothing();
}

#[test]
fn a_source_keeps_its_kind() {
    let when = by_admin(&one(github(1)), update(None, Some(Provider::Stripe)));
    when.rejects(Rejection::KindIsFixed);
}

#[test]
fn a_former_secret_stays_valid_for_up_to_a_week() {
    let rotated = |hours: i64| Event::SecretRotated {
        source: SOURCE,
        secret: secret(),
        former_expires_at: Time(7 + hours * 3_600_000),
    };
    for hours in [0, 168] {
        let when = by_admin(&one(github(1)), rotate(hours)).at(7);
        when.then([rotated(hours.into())]);
    }
    by_admin(&one(github(1)), rotate(169)).rejects(Rejection::Overlap);
}

#[test]
fn a_replay_is_requested_each_time() {
    let hook = HookId::of(SOURCE, "evt_1");
    let requested = || Event::ReplayRequested {
        source: SOURCE,
        hook,
    };
    let replay = Command::Replay {
        source: SOURCE,
        hook,
    };
    let once = one(github(1)).and([requested()]);
    by_admin(&once, replay).then([requested()]);
}

#[test]
fn a_source_that_does_not_exist_is_neither_changed_nor_replayed() {
    let hook = HookId::of(SOURCE, "evt_1");
    let deleted = || Event::Deleted { source: SOURCE };
    by_admin(&one(github(1)), Command::Delete { source: SOURCE }).then([deleted()]);
    for command in [
        update(Some(name("Issues")), None),
        Command::Delete { source: SOURCE },
        rotate(1),
        schema::Command::Replay {
            source: SOURCE,
            hook,
        },
    ] {
        by_admin(&given([]), command.clone()).rejects(Rejection::NotFound);
        by_admin(&one(github(1)).and([deleted()]), command).rejects(Rejection::NotFound);
    }
}

#[test]
fn a_resealed_secret_replaces_the_former_one_also_while_both_are_valid() {
    let current = Sealed::parse(&format!("k2:{}", "QkJC".repeat(13))).unwrap();
    let values = vec![Resealed {
        former: secret(),
        current: current.clone(),
    }];
    let reseal = Command::Reseal {
        source: SOURCE,
        values: values.clone(),
    };
    let resealed = Event::Resealed {
        source: SOURCE,
        values,
    };
    let rotated = Event::SecretRotated {
        source: SOURCE,
        secret: secret(),
        former_expires_at: Time(9),
    };
    let both = one(Provider::Stripe).and([rotated]);
    both.when(reseal).then([resealed.clone()]);
    let state = both.and([resealed]);
    let secrets = state.state().0[&SOURCE].valid_secrets(Time(8));
    assert!(secrets.eq([&current, &current]));
}
