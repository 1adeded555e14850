use events_schema::{AccountId, EmailAddress, HostName, Id, SettingKey, SettingValue};

use super::*;
use crate::domain::testing::{Given, OWN, given};

const OTHER: Id = Id::from_bytes([5; 16]);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}
fn claim(text: &str) -> Claim {
    Claim::slug(&slug(text))
}
fn ada() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn host(name: &str) -> Placement {
    Placement::Database {
        host: Some(HostName::parse(name).unwrap()),
    }
}
fn settings(count: usize) -> Settings {
    let key = |at: usize| SettingKey::parse(&at.to_string()).unwrap();
    let value = SettingValue::parse("x").unwrap();
    (0..count).map(|at| (key(at), value.clone())).collect()
}
fn create() -> Command {
    Command::Create {
        name: name("Acme"),
        slug: slug("acme"),
        owner: AccountId(OTHER),
        email: ada(),
        plan: Some(OTHER),
        placement: Placement::Shared,
        places: None,
    }
}
fn created() -> Event {
    Event::Created {
        name: name("Acme"),
        slug: slug("acme"),
        owner: AccountId(OTHER),
        email: ada(),
        plan: Some(OTHER),
        placement: Placement::Shared,
        number: None,
    }
}
fn update(name: Option<&str>, slug: Option<&str>, settings: Option<Settings>) -> Command {
    Command::Update {
        name: name.map(self::name),
        slug: slug.map(self::slug),
        settings,
    }
}
fn rename(to: &str) -> Command {
    update(Some(to), None, None)
}
fn set(settings: Settings) -> Command {
    update(None, None, Some(settings))
}
fn updated(to: &str, to_slug: &str, settings: Settings) -> Event {
    Event::Updated {
        name: name(to),
        slug: slug(to_slug),
        settings,
    }
}
fn require_second_factor(required: bool) -> Command {
    Command::RequireSecondFactor { required }
}
fn requirement_changed(required: bool) -> Event {
    Event::SecondFactorRequirementChanged { required }
}
fn delete(text: &str) -> Command {
    Command::Delete { slug: slug(text) }
}
/// The run that leads the moves here, and another one.
const RUN: Id = Id::from_bytes([8; 16]);
const OTHER_RUN: Id = Id::from_bytes([9; 16]);

fn begin_move(to: Placement) -> Command {
    Command::BeginMove { to, run: RUN }
}
fn move_begun(to: Placement) -> Event {
    Event::MoveBegun { to, run: Some(RUN) }
}
/// The commands of a run that do one step of a move.
fn steps(run: Id) -> [Command; 4] {
    [
        Command::SwitchMove { run },
        Command::FinishMove { run },
        Command::AbandonMove { run },
        Command::RecordPlaceDropped { run },
    ]
}
fn absent() -> Given<Tenant> {
    given([])
}
fn tenant() -> Given<Tenant> {
    given([created()])
}
fn deleted() -> Given<Tenant> {
    given([created(), Event::Deleted])
}
fn moving() -> Given<Tenant> {
    given([created(), move_begun(host("eu"))])
}
fn switched() -> Given<Tenant> {
    moving().and([Event::MoveSwitched])
}
fn finished() -> Given<Tenant> {
    switched().and([Event::MoveFinished])
}
fn abandoned() -> Given<Tenant> {
    moving().and([Event::MoveAbandoned])
}

#[test]
fn a_tenant_is_created_and_takes_its_slug() {
    absent().when(create()).decides(Decision {
        take: vec![claim("acme")],
        ..Decision::events(vec![created()])
    });
}

#[test]
fn a_tenant_requires_a_second_factor_until_it_does_not() {
    let (require, waive) = (require_second_factor(true), require_second_factor(false));
    let requiring = || tenant().and([requirement_changed(true)]);
    tenant()
        .when(require.clone())
        .then([requirement_changed(true)]);
    tenant().when(waive.clone()).then([]);
    requiring().when(require.clone()).then([]);
    requiring().when(waive).then([requirement_changed(false)]);
    deleted().when(require).rejects(Rejection::NotFound);
}

#[test]
fn a_tenant_is_created_only_once() {
    tenant().when(create()).rejects(Rejection::AlreadyExists);
}

#[test]
fn a_slug_belongs_to_one_tenant() {
    let when = absent().when(create()).while_held(claim("acme"), OTHER);
    when.rejects(Rejection::SlugTaken);
    let change = update(None, Some("apex"), None);
    let when = tenant().when(change).while_held(claim("apex"), OTHER);
    when.rejects(Rejection::SlugTaken);
}

#[test]
fn a_new_slug_is_taken_and_the_old_one_released() {
    let change = update(Some("Apex"), Some("apex"), None);
    tenant().when(change).decides(Decision {
        take: vec![claim("apex")],
        release: vec![claim("acme")],
        ..Decision::events(vec![updated("Apex", "apex", settings(0))])
    });
}

#[test]
fn the_present_slug_is_not_taken_again() {
    let change = update(None, Some("acme"), Some(settings(2)));
    let when = tenant().when(change).while_held(claim("acme"), OWN);
    let expected = updated("Acme", "acme", settings(2));
    when.decides(Decision::events(vec![expected]));
}

#[test]
fn an_absent_field_stays_as_it_is() {
    let before = updated("Acme", "acme", settings(2));
    let after = updated("Apex", "acme", settings(2));
    tenant().and([before]).when(rename("Apex")).then([after]);
}

#[test]
fn an_update_to_the_present_values_changes_nothing() {
    let same = update(Some("Acme"), Some("acme"), Some(settings(0)));
    for command in [update(None, None, None), same] {
        let when = tenant().when(command).while_held(claim("acme"), OWN);
        when.changes_nothing();
    }
}

#[test]
fn the_number_of_settings_is_limited() {
    let full = settings(MAX_SETTINGS);
    let expected = updated("Acme", "acme", full.clone());
    tenant().when(set(full)).then([expected]);
    let when = tenant().when(set(settings(MAX_SETTINGS + 1)));
    when.rejects(Rejection::TooManySettings);
}

#[test]
fn a_lowered_limit_of_settings_does_not_prevent_a_new_name() {
    let many = settings(MAX_SETTINGS + 1);
    let before = updated("Acme", "acme", many.clone());
    let after = updated("Apex", "acme", many);
    tenant().and([before]).when(rename("Apex")).then([after]);
}

#[test]
fn a_deleted_tenant_releases_its_present_slug() {
    let renamed = tenant().and([updated("Acme", "apex", settings(0))]);
    renamed.when(delete("apex")).decides(Decision {
        release: vec![claim("apex")],
        ..Decision::events(vec![Event::Deleted])
    });
}

#[test]
fn only_its_present_slug_deletes_a_tenant() {
    let renamed = tenant().and([updated("Acme", "apex", settings(0))]);
    renamed.when(delete("acme")).rejects(Rejection::SlugDiffers);
}

fn commands_to_an_open_tenant() -> Vec<Command> {
    let others = [
        rename("Apex"),
        delete("acme"),
        begin_move(host("eu")),
        Command::LeadMove { run: RUN },
    ];
    others.into_iter().chain(steps(RUN)).collect()
}

#[test]
fn a_tenant_that_does_not_exist_is_not_changed() {
    for command in commands_to_an_open_tenant() {
        absent().when(command).rejects(Rejection::NotFound);
    }
}

#[test]
fn a_deleted_tenant_accepts_no_command() {
    for command in commands_to_an_open_tenant().into_iter().chain([create()]) {
        deleted().when(command).rejects(Rejection::NotFound);
    }
}

#[test]
fn a_move_begins() {
    let when = tenant().when(begin_move(host("eu")));
    when.then([move_begun(host("eu"))]);
}

#[test]
fn beginning_a_move_again_changes_nothing() {
    moving().when(begin_move(host("eu"))).changes_nothing();
}

#[test]
fn a_move_is_switched_and_finished_or_abandoned_and_then_a_place_is_dropped() {
    let [switch, finish, abandon, drop] = steps(RUN);
    moving().when(switch).then([Event::MoveSwitched]);
    switched().when(finish).then([Event::MoveFinished]);
    moving().when(abandon).then([Event::MoveAbandoned]);
    for ended in [finished(), abandoned()] {
        ended.when(drop.clone()).then([Event::PlaceDropped]);
    }
}

#[test]
fn a_moving_tenant_begins_no_other_move() {
    for moving in [moving(), switched(), finished(), abandoned()] {
        for to in [host("us"), Placement::Shared] {
            moving.when(begin_move(to)).rejects(Rejection::Moving);
        }
        let (to, run) = (host("eu"), OTHER_RUN);
        let begin = Command::BeginMove { to, run };
        moving.when(begin).rejects(Rejection::Moving);
    }
}

#[test]
fn a_tenant_whose_place_is_dropped_moves_again() {
    for ended in [finished(), abandoned()] {
        let begin = begin_move(host("us"));
        let dropped = ended.and([Event::PlaceDropped]);
        dropped.when(begin).then([move_begun(host("us"))]);
    }
}

#[test]
fn a_tenant_does_not_move_to_where_it_is() {
    let moved = finished().and([Event::PlaceDropped]);
    let stayed = abandoned().and([Event::PlaceDropped]);
    for (tenant, to) in [(moved, host("eu")), (stayed, Placement::Shared)] {
        tenant.when(begin_move(to)).changes_nothing();
    }
}

#[test]
fn a_step_that_was_done_changes_nothing() {
    let [switch, finish, abandon, drop] = steps(RUN);
    let dropped = finished().and([Event::PlaceDropped]);
    for (tenant, done) in [
        (switched(), switch.clone()),
        (finished(), switch),
        (finished(), finish.clone()),
        (abandoned(), abandon.clone()),
        (dropped, drop),
        // A move is abandoned before its switch only, and finished after it only.
        (switched(), abandon),
        (moving(), finish),
    ] {
        tenant.when(done).changes_nothing();
    }
}

#[test]
fn only_the_run_that_leads_a_move_does_its_steps() {
    let lead = Command::LeadMove { run: OTHER_RUN };
    for moving in [moving(), switched(), finished(), abandoned()] {
        for step in steps(OTHER_RUN) {
            moving.when(step).rejects(Rejection::OtherRun);
        }
        let led = Event::MoveLed { run: OTHER_RUN };
        moving.when(lead.clone()).then([led.clone()]);
        let moving = moving.and([led]);
        moving.when(lead.clone()).changes_nothing();
        for step in steps(RUN) {
            moving.when(step).rejects(Rejection::OtherRun);
        }
    }
}

#[test]
fn a_move_of_an_earlier_release_is_led_by_a_new_run() {
    let begun = Event::MoveBegun {
        to: host("eu"),
        run: None,
    };
    let moving = tenant().and([begun]);
    let [switch, ..] = steps(RUN);
    moving.when(switch).rejects(Rejection::OtherRun);
    let lead = Command::LeadMove { run: RUN };
    moving.when(lead).then([Event::MoveLed { run: RUN }]);
}

#[test]
fn a_move_of_an_earlier_release_has_no_switch() {
    let moved = moving().and([Event::MoveFinished]);
    moved.is(finished().state());
}

#[test]
fn a_move_that_an_earlier_release_has_finished_leaves_nothing_to_drop() {
    let begun = Event::MoveBegun {
        to: host("eu"),
        run: None,
    };
    for end in [Event::MoveFinished, Event::MoveAbandoned] {
        let moved = tenant().and([begun.clone(), end]);
        let when = moved.when(begin_move(host("us")));
        when.then([move_begun(host("us"))]);
    }
}

#[test]
fn a_tenant_that_is_not_moving_ends_no_move() {
    let dropped = finished().and([Event::PlaceDropped]);
    for given in [tenant(), dropped] {
        let lead = [Command::LeadMove { run: OTHER_RUN }];
        for command in steps(OTHER_RUN).into_iter().chain(lead) {
            given.when(command).changes_nothing();
        }
    }
}

#[test]
fn a_later_event_restores_no_tenant() {
    let events = || {
        [
            updated("Apex", "apex", settings(1)),
            move_begun(host("eu")),
            Event::MoveLed { run: OTHER_RUN },
            Event::MoveSwitched,
            Event::MoveFinished,
            Event::MoveAbandoned,
            Event::PlaceDropped,
        ]
    };
    absent().and(events()).is(&Tenant::Absent);
    deleted().and(events()).is(&Tenant::Deleted);
}

#[test]
fn a_finished_move_that_never_began_changes_no_placement() {
    let ended = tenant().and([Event::MoveFinished]);
    ended.is(tenant().state());
}

#[test]
fn a_tenant_takes_the_first_free_place_of_its_founder_and_gives_it_back() {
    let place = |number| Claim::tenant_place(AccountId(OTHER), number);
    let with = |limit: Option<u16>| {
        let Command::Create {
            name,
            slug,
            owner,
            email,
            plan,
            placement,
            ..
        } = create()
        else {
            unreachable!()
        };
        Command::Create {
            name,
            slug,
            owner,
            email,
            plan,
            placement,
            places: limit,
        }
    };
    let when = absent().when(with(Some(2)));
    let decision = when.while_held(place(0), OTHER).decide().unwrap();
    assert_eq!(decision.take, [claim("acme"), place(1)]);
    let tenant = given::<Tenant>(decision.events);
    let deleted = tenant.when(delete("acme")).decide().unwrap();
    assert_eq!(deleted.release, [claim("acme"), place(1)]);

    let when = absent().when(with(Some(2))).while_held(place(0), OTHER);
    let when = when.while_held(place(1), OTHER);
    when.rejects(Rejection::TooManyTenants);
}

#[test]
fn a_name_that_mails_would_show_as_a_link_is_refused_and_an_old_one_stays() {
    let link = "Win at evil.example";
    tenant().when(rename(link)).rejects(Rejection::NameHasLink);
    let named = tenant().and([updated(link, "acme", Settings::new())]);
    let when = named.when(update(Some(link), Some("apex"), None));
    assert!(when.decide().is_ok());
}
