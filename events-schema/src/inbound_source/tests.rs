use super::*;
use crate::{
    Id, ProjectId,
    sealed::NONCE_BYTES,
    secret::{Secret, ServerKey},
    view::testing::fold,
};

const SOURCE: InboundSourceId = InboundSourceId(Id::from_bytes([1; 16]));

fn sealed(text: &str) -> Sealed {
    let key = ServerKey::new(Secret::parse(&"k".repeat(32)).unwrap(), Vec::new());
    key.seal(SEALED_FOR, &[], [0; NONCE_BYTES], text.as_bytes())
}
fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
fn created() -> Event {
    Event::Created {
        source: SOURCE,
        name: name("Code"),
        provider: Provider::Stripe,
        secret: sealed("first"),
        creator: AccountId(Id::from_bytes([2; 16])),
    }
}
fn rotated(text: &str, former_expires_at: i64) -> Event {
    Event::SecretRotated {
        source: SOURCE,
        secret: sealed(text),
        former_expires_at: Time(former_expires_at),
    }
}
fn source(events: impl IntoIterator<Item = (i64, Event)>) -> Source {
    fold::<View>(events)
        .unwrap()
        .sources
        .remove(&SOURCE)
        .unwrap()
}

#[test]
fn a_source_shows_its_latest_state() {
    let provider = Provider::Github {
        project: ProjectId(Id::from_bytes([3; 16])),
    };
    let updated = Event::Updated {
        source: SOURCE,
        name: name("Issues"),
        provider: provider.clone(),
    };
    let shown = source([(10, created()), (20, updated)]);
    assert_eq!((shown.name, shown.provider), (name("Issues"), provider));
    assert_eq!((shown.created_at, shown.updated_at), (Time(10), Time(20)));
}

#[test]
fn a_former_secret_verifies_until_its_end() {
    let shown = source([(10, created()), (20, rotated("second", 30))]);
    let at = |ms| Vec::from_iter(shown.valid_secrets(Time(ms)).cloned());
    assert_eq!(at(29), [sealed("second"), sealed("first")]);
    assert_eq!(at(30), [sealed("second")]);
}

#[test]
fn a_second_rotation_ends_the_first_secret() {
    let events = [
        (10, created()),
        (20, rotated("second", 90)),
        (30, rotated("third", 90)),
    ];
    let shown = source(events);
    let valid = Vec::from_iter(shown.valid_secrets(Time(30)).cloned());
    assert_eq!(valid, [sealed("third"), sealed("second")]);
}

#[test]
fn the_document_stays_without_sources() {
    let events = [(10, created()), (20, Event::Deleted { source: SOURCE })];
    assert_eq!(fold(events), Some(View::default()));
}

#[test]
fn a_hook_has_its_body_byte_for_byte_and_its_id_from_source_and_key() {
    let receipt = Receipt {
        key: "evt_1".to_owned(),
        event: None,
        received_at: Time(1),
    };
    let tenant = TenantKey(Id::from_bytes([4; 16]));
    let hook = Hook::new((tenant, SOURCE), receipt, b"\xff\x00{}");
    assert_eq!(hook.body().unwrap(), b"\xff\x00{}");
    assert_eq!(hook.id(), HookId::of(SOURCE, "evt_1"));
    let other = InboundSourceId(Id::from_bytes([9; 16]));
    assert_ne!(hook.id(), HookId::of(other, "evt_1"));
    assert_ne!(hook.id(), HookId::of(SOURCE, "evt_2"));
}

#[test]
fn a_secret_is_one_that_the_provider_can_have() {
    let standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert!(Provider::StandardWebhooks.check_secret(standard).is_ok());
    for (provider, wrong) in [
        (Provider::StandardWebhooks, "sixteen-characters"),
        (Provider::Stripe, "too-short"),
        (Provider::Stripe, "sixteen characters and spaces"),
        (Provider::Stripe, &"x".repeat(257)),
    ] {
        assert!(provider.check_secret(wrong).is_err(), "{wrong}");
    }
    assert!(Provider::Stripe.check_secret(standard).is_ok());
}

#[test]
fn a_header_has_one_spelling() {
    assert_eq!(
        HeaderName::parse("X-Signature").unwrap().as_str(),
        "x-signature"
    );
    for wrong in ["", "a b", "a:", "ä", &"x".repeat(101)] {
        assert!(HeaderName::parse(wrong).is_err(), "{wrong}");
    }
}
