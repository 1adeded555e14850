use std::collections::BTreeSet;

use data_encoding::BASE64;

use super::*;
use crate::sealed::Sealed;
use crate::{Id, view::testing::fold};

const FIRST: WebhookId = WebhookId(Id::from_bytes([1; 16]));
const SECOND: WebhookId = WebhookId(Id::from_bytes([2; 16]));
const DAY: i64 = 24 * 60 * 60 * 1000;

fn settings() -> Settings {
    Settings {
        url: WebhookUrl::parse("https://example.com/hooks").unwrap(),
        description: None,
        event_types: BTreeSet::new(),
        ordering: Ordering::Aggregate,
        payload: Payload::Thin,
        content_type: ContentType::Json,
        credentials: None,
        rate_limit: 0,
        concurrency: 8,
    }
}

fn key(secret: &str) -> NewKey {
    let sealed = format!("k1:{}", BASE64.encode(secret.repeat(40).as_bytes()));
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
        key: key("a"),
    }
}

fn rotated(secret: &str, former_expire_at: i64) -> Event {
    Event::SecretRotated {
        webhook: FIRST,
        key: key(secret),
        former_expire_at: Time(former_expire_at),
    }
}

fn shown(events: impl IntoIterator<Item = (i64, Event)>) -> View {
    fold(events).unwrap()
}

#[test]
fn a_changed_webhook_shows_its_latest_settings() {
    let slower = Settings {
        rate_limit: 5,
        ..settings()
    };
    let updated = Event::Updated {
        webhook: FIRST,
        settings: slower.clone(),
    };
    let view = shown([(10, created(FIRST)), (20, updated)]);
    let webhook = &view.webhooks[&FIRST];
    assert_eq!(webhook.settings, slower);
    assert_eq!(
        (webhook.created_at, webhook.updated_at),
        (Time(10), Time(20))
    );
}

#[test]
fn a_deleted_webhook_is_gone_and_the_document_stays() {
    let deleted = Event::Deleted { webhook: FIRST };
    let view = shown([(10, created(FIRST)), (20, created(SECOND)), (30, deleted)]);
    assert_eq!(view.webhooks.keys().collect::<Vec<_>>(), [&SECOND]);
    let deleted = Event::Deleted { webhook: SECOND };
    assert_eq!(
        shown([(10, created(SECOND)), (20, deleted)]),
        View::default()
    );
}

#[test]
fn a_disabled_webhook_is_enabled_again() {
    let disabled = Event::Disabled {
        webhook: FIRST,
        reason: DisabledReason::Gone,
        url: settings().url,
        owners: Vec::new(),
    };
    let enabled = Event::Enabled {
        webhook: FIRST,
        from: Start::Resume,
    };
    let is_disabled = |view: View| view.webhooks[&FIRST].disabled;
    let events = [(10, created(FIRST)), (20, disabled), (30, enabled)];
    assert_eq!(
        is_disabled(shown(events[..2].to_vec())),
        Some(DisabledReason::Gone)
    );
    assert_eq!(is_disabled(shown(events)), None);
}

#[test]
fn former_keys_sign_until_the_end_of_the_overlap() {
    let view = shown([(0, created(FIRST)), (10, rotated("b", DAY))]);
    let keys = &view.webhooks[&FIRST].keys;
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| key.is_valid(Time(DAY - 1))));
    let valid: Vec<_> = keys.iter().filter(|key| key.is_valid(Time(DAY))).collect();
    assert_eq!(valid, [&keys[1]]);
}

#[test]
fn a_later_rotation_never_lengthens_the_life_of_a_former_key() {
    let view = shown([
        (0, created(FIRST)),
        (10, rotated("b", DAY)),
        (20, rotated("c", 7 * DAY)),
    ]);
    let ends = view.webhooks[&FIRST].keys.iter().map(|key| key.expires_at);
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [Some(Time(DAY)), Some(Time(7 * DAY)), None]
    );
}

#[test]
fn a_rotation_forgets_keys_that_have_ended() {
    let view = shown([
        (0, created(FIRST)),
        (10, rotated("b", DAY)),
        (2 * DAY, rotated("c", 3 * DAY)),
    ]);
    assert_eq!(view.webhooks[&FIRST].keys.len(), 2);
}

#[test]
fn headers_of_ours_and_of_http_are_not_for_customers() {
    for name in ["authorization", "x-api-key", "x_tenant"] {
        assert!(is_allowed_header(name, "abc"), "{name}");
    }
    let refused = [
        "",
        "host",
        "te",
        "webhook-id",
        "content-type",
        "connection",
        "proxy-anything",
        "X-Api",
        "a b",
        "a:b",
        "sec-fetch-mode",
        "x-forwarded-for",
    ];
    for name in refused {
        assert!(!is_allowed_header(name, "abc"), "{name}");
    }
    for value in ["a\r\nb", "a\nb", "é", " a", "a\0"] {
        assert!(!is_allowed_header("x-api-key", value), "{value:?}");
    }
}

#[test]
fn the_next_attempt_of_a_broken_webhook_is_its_probe() {
    let parked = Parked {
        next: EventRef::default(),
        attempts: 1,
        since: Time(0),
        due: Time(50),
        happened_at: Some(Time(0)),
    };
    let mut cursor = Cursor::after(7);
    assert_eq!((cursor.next, cursor.due()), (8, None));
    cursor.parked.insert("project.1".to_owned(), parked);
    assert_eq!(cursor.due(), Some(Time(50)));
    cursor.probe_at = Some(Time(90));
    assert_eq!(cursor.due(), Some(Time(90)));
}
