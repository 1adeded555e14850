use std::collections::BTreeSet;

use events_schema::{
    BuiltInRole::Admin,
    Description, Id,
    outbound::WebhookUrl,
    project,
    published::EventFilter,
    sealed::{Resealed, Sealed},
    webhook::{
        Algorithm, Changes, ContentType, Only, Ordering, Payload, READ, ReplayCounts, ReplayId,
        Start,
    },
};

use super::*;
use crate::domain::testing::{COMMAND, Given, given};

const NEW: WebhookId = WebhookId(COMMAND);
pub(super) const FIRST: WebhookId = WebhookId(Id::from_bytes([1; 16]));
const OTHER: WebhookId = WebhookId(Id::from_bytes([2; 16]));

pub(super) fn settings() -> Settings {
    Settings {
        url: WebhookUrl::parse("https://example.com/hooks").unwrap(),
        description: None,
        event_types: filters(["project.*"]),
        ordering: Ordering::Aggregate,
        payload: Payload::Thin,
        content_type: ContentType::Json,
        credentials: None,
        rate_limit: 0,
        concurrency: 8,
    }
}

fn filters<const N: usize>(texts: [&str; N]) -> BTreeSet<EventFilter> {
    let filters = texts.iter().map(|text| EventFilter::parse(text).unwrap());
    filters.collect()
}

pub(super) fn key() -> NewKey {
    let sealed = format!("k1:{}", "QUFB".repeat(13));
    NewKey {
        algorithm: Algorithm::Hmac,
        secret: Sealed::parse(&sealed).unwrap(),
        public: None,
    }
}

fn created(webhook: WebhookId) -> Event {
    Event::Created {
        webhook,
        settings: settings(),
        key: key(),
    }
}

fn webhooks(ids: impl IntoIterator<Item = WebhookId>) -> Given<Webhooks> {
    given(ids.into_iter().map(created))
}

fn create(settings: Settings) -> Command {
    Command::Create {
        settings,
        key: key(),
    }
}

pub(super) fn update(changes: Changes) -> Command {
    Command::Update {
        webhook: FIRST,
        changes,
    }
}

fn describe(text: &str) -> Changes {
    Changes {
        description: Some(Description::parse(text).unwrap()),
        ..Changes::default()
    }
}

fn rotate(overlap_hours: u32) -> Command {
    Command::RotateSecret {
        webhook: FIRST,
        key: key(),
        overlap_hours,
    }
}

fn rotated(hours: i64) -> Event {
    Event::SecretRotated {
        webhook: FIRST,
        key: key(),
        former_expire_at: Time(hours * HOUR_MS),
    }
}

fn disabled(reason: DisabledReason) -> Event {
    Event::Disabled {
        webhook: FIRST,
        reason,
        url: settings().url,
        owners: Vec::new(),
    }
}

#[test]
fn a_new_webhook_takes_the_id_of_its_command() {
    let create = create(settings());
    webhooks([])
        .when(create)
        .holding(Admin)
        .then([created(NEW)]);
}

#[test]
fn a_tenant_has_a_bounded_number_of_webhooks() {
    let ids = (0..50).map(|byte| WebhookId(Id::from_bytes([byte; 16])));
    let create = create(settings());
    let full = webhooks(ids).when(create).holding(Admin);
    full.rejects(Rejection::TooManyWebhooks);
}

#[test]
fn nobody_subscribes_to_what_they_may_not_read() {
    let permitted = webhooks([]).when(create(settings()));
    permitted.holding_only([project::READ]).then([created(NEW)]);
    let refused = webhooks([]).when(create(settings())).holding_only([READ]);
    refused.rejects(Rejection::BeyondOwnPermissions);
    // A new address would get what the webhook gets now.
    let refused = webhooks([FIRST]).when(update(describe("Billing")));
    let refused = refused.holding_only([READ]);
    refused.rejects(Rejection::BeyondOwnPermissions);
}

#[test]
fn settings_beyond_their_limits_are_refused() {
    let none = Settings {
        event_types: BTreeSet::new(),
        ..settings()
    };
    let fast = Settings {
        rate_limit: 1_001,
        ..settings()
    };
    let (idle, wide) = (
        Settings {
            concurrency: 0,
            ..settings()
        },
        Settings {
            concurrency: 33,
            ..settings()
        },
    );
    for (settings, rejection) in [
        (none, Rejection::EventTypes),
        (fast, Rejection::RateLimit),
        (idle, Rejection::Concurrency),
        (wide, Rejection::Concurrency),
    ] {
        let created = webhooks([]).when(create(settings)).holding(Admin);
        created.rejects(rejection);
    }
}

#[test]
fn an_update_changes_what_is_given_and_nothing_else() {
    let described = Settings {
        description: Some(Description::parse("Billing").unwrap()),
        ..settings()
    };
    let updated = Event::Updated {
        webhook: FIRST,
        settings: described,
    };
    let update_to = |text| update(describe(text));
    let first = webhooks([FIRST]).when(update_to("Billing")).holding(Admin);
    first.then([updated.clone()]);
    let again = webhooks([FIRST]).and([updated]).when(update_to("Billing"));
    again.holding(Admin).changes_nothing();
}

#[test]
fn an_unknown_webhook_is_not_found() {
    let start = Start::Resume;
    let webhook = FIRST;
    for command in [
        update(describe("Billing")),
        Command::Delete { webhook },
        Command::Enable {
            webhook,
            from: start,
        },
        Command::Disable { webhook },
        rotate(0),
        Command::Test {
            webhook,
            event_type: "project.created".to_owned(),
        },
    ] {
        let refused = webhooks([OTHER]).when(command).holding(Admin);
        refused.rejects(Rejection::NotFound);
    }
}

#[test]
fn a_webhook_is_disabled_and_enabled_once() {
    let webhook = FIRST;
    let from = Start::Now;
    let (disable, enable) = (
        Command::Disable { webhook },
        Command::Enable { webhook, from },
    );
    let requested = disabled(DisabledReason::Requested);
    let enabled = webhooks([FIRST]);
    enabled.when(disable.clone()).then([requested.clone()]);
    enabled.when(enable.clone()).changes_nothing();
    let disabled = enabled.and([requested]);
    disabled.when(disable).changes_nothing();
    disabled
        .when(enable)
        .then([Event::Enabled { webhook, from }]);
}

#[test]
fn a_webhook_that_does_not_work_is_disabled_with_a_mail_to_the_owners() {
    let owners = vec![EmailAddress::parse("ada@example.com").unwrap()];
    let give_up = Command::GiveUp {
        webhook: FIRST,
        reason: DisabledReason::Gone,
        owners: owners.clone(),
    };
    let event = Event::Disabled {
        webhook: FIRST,
        reason: DisabledReason::Gone,
        url: settings().url,
        owners,
    };
    webhooks([FIRST])
        .when(give_up.clone())
        .then([event.clone()]);
    let again = webhooks([FIRST]).and([event]).when(give_up);
    again.changes_nothing();
}

#[test]
fn former_secrets_stay_valid_for_the_overlap() {
    webhooks([FIRST]).when(rotate(24)).at(0).then([rotated(24)]);
    webhooks([FIRST]).when(rotate(0)).at(0).then([rotated(0)]);
    let refused = webhooks([FIRST]).when(rotate(169));
    refused.rejects(Rejection::Overlap);
}

#[test]
fn a_webhook_has_a_bounded_number_of_secrets() {
    let full = webhooks([FIRST]).and([rotated(168), rotated(168), rotated(168), rotated(168)]);
    let refused = full.when(rotate(24)).at(0);
    refused.rejects(Rejection::TooManySecrets);
    full.when(rotate(0)).at(0).then([rotated(0)]);
}

fn replay(since: i64, until: i64) -> Command {
    Command::Replay {
        webhook: FIRST,
        since: Time(since),
        until: Time(until),
        only: Only::All,
    }
}

fn requested(replay: Id) -> Event {
    Event::ReplayRequested {
        webhook: FIRST,
        replay: ReplayId(replay),
        since: Time(0),
        until: Time(5),
        only: Only::All,
    }
}

#[test]
fn a_replay_takes_the_id_of_its_command() {
    let asked = webhooks([FIRST]).when(replay(0, 5)).at(10);
    asked.then([requested(COMMAND)]);
}

#[test]
fn a_replay_is_of_a_time_in_the_past() {
    for (since, until) in [(5, 5), (6, 5), (0, 11)] {
        let asked = webhooks([FIRST]).when(replay(since, until)).at(10);
        asked.rejects(Rejection::ReplayTime);
    }
}

#[test]
fn few_replays_run_at_once() {
    let running = (0..3).map(|byte| requested(Id::from_bytes([byte; 16])));
    let asked = webhooks([FIRST]).and(running).when(replay(0, 5)).at(10);
    asked.rejects(Rejection::TooManyReplays);
}

#[test]
fn a_replay_ends_once() {
    let id = ReplayId(COMMAND);
    let counts = Some(ReplayCounts { sent: 2, failed: 1 });
    let cancel = Command::CancelReplay {
        webhook: FIRST,
        replay: id,
        counts,
    };
    let finish = Command::FinishReplay {
        webhook: FIRST,
        replay: id,
        sent: 3,
        failed: 1,
    };
    let cancelled = Event::ReplayCancelled {
        webhook: FIRST,
        replay: id,
        counts,
    };
    let finished = Event::ReplayFinished {
        webhook: FIRST,
        replay: id,
        sent: 3,
        failed: 1,
    };
    let running = webhooks([FIRST]).and([requested(COMMAND)]);
    running.when(finish.clone()).then([finished]);
    running.when(cancel.clone()).then([cancelled.clone()]);
    let ended = running.and([cancelled]);
    ended.when(finish).changes_nothing();
    ended.when(cancel).rejects(Rejection::NoReplay);
}

#[test]
fn a_resealed_value_replaces_the_former_one() {
    let values = vec![Resealed {
        former: key().secret,
        current: Sealed::parse(&format!("k2:{}", "QkJC".repeat(13))).unwrap(),
    }];
    let reseal = Command::Reseal {
        webhook: FIRST,
        values: values.clone(),
    };
    let resealed = Event::Resealed {
        webhook: FIRST,
        values: values.clone(),
    };
    webhooks([FIRST]).when(reseal).then([resealed.clone()]);
    let state = webhooks([FIRST]).and([resealed]);
    let secret = &state.state().webhooks[&FIRST].keys[0].secret;
    assert_eq!(*secret, values[0].current);
}

#[test]
fn a_tenant_asks_for_a_bounded_number_of_events_an_hour() {
    let test = Command::Test {
        webhook: FIRST,
        event_type: "project.created".to_owned(),
    };
    let requested = Event::TestRequested {
        webhook: FIRST,
        event_type: "project.created".to_owned(),
    };
    let busy = (0..120).fold(webhooks([FIRST]), |given, minute| {
        given.and_at(minute, requested.clone())
    });
    busy.when(test.clone())
        .at(HOUR_MS - 1)
        .rejects(Rejection::TooManyRequests);
    busy.when(replay(0, 5))
        .at(HOUR_MS - 1)
        .rejects(Rejection::TooManyRequests);
    busy.when(test).at(HOUR_MS).then([requested]);
}

#[test]
fn the_owners_get_one_mail_a_day_about_a_webhook() {
    let owners = vec![EmailAddress::parse("ada@example.com").unwrap()];
    let give_up = Command::GiveUp {
        webhook: FIRST,
        reason: DisabledReason::Gone,
        owners: owners.clone(),
    };
    let gone = |owners| Event::Disabled {
        webhook: FIRST,
        reason: DisabledReason::Gone,
        url: settings().url,
        owners,
    };
    let enabled = Event::Enabled {
        webhook: FIRST,
        from: Start::Resume,
    };
    let mailed = webhooks([FIRST]).and_at(0, gone(owners.clone()));
    let mailed = mailed.and_at(1, enabled);
    let soon = mailed.when(give_up.clone()).at(23 * HOUR_MS);
    soon.then([gone(Vec::new())]);
    mailed.when(give_up).at(24 * HOUR_MS).then([gone(owners)]);
}

#[test]
fn all_webhooks_of_a_tenant_have_a_bounded_size() {
    let long = Settings {
        description: Some(Description::parse(&"\u{1f984}".repeat(10_000)).unwrap()),
        ..settings()
    };
    let created = |byte| Event::Created {
        webhook: WebhookId(Id::from_bytes([byte; 16])),
        settings: long.clone(),
        key: key(),
    };
    let few = given::<Webhooks>((0..12).map(created)).when(create(long.clone()));
    few.holding(Admin).then([Event::Created {
        webhook: NEW,
        settings: long.clone(),
        key: key(),
    }]);
    let many = given::<Webhooks>((0..13).map(created)).when(create(long.clone()));
    many.holding(Admin).rejects(Rejection::TooLarge);
}
