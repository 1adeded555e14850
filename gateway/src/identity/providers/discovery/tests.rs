use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// The set of a provider that has this one key, under the id that all its keys have.
fn published(pair: &Ed25519KeyPair) -> Result<Keys, Refusal> {
    let x = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x });
    Ok(Keys::of(
        serde_json::from_value(json!({ "keys": [key] })).unwrap(),
    ))
}

fn away<T>() -> Result<T, Refusal> {
    Err(Refusal::Away(Failure::Broken("500".to_owned())))
}

fn signed(pair: &Ed25519KeyPair, header: &Value) -> String {
    let encoded = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let text = format!(
        "{}.{}",
        encoded(header.to_string().as_bytes()),
        encoded(b"{}")
    );
    let signature = encoded(pair.sign(text.as_bytes()).as_ref());
    format!("{text}.{signature}")
}

/// What becomes of a token at this time, at a provider that answers in this way.
async fn verified(
    cached: &Cached<Keys>,
    at: Instant,
    token: &str,
    answers: impl Fn() -> Result<Keys, Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let token = Token::parse(token).unwrap();
    let read = || std::future::ready(answers());
    cached.verified(at, &token, read).await
}

#[tokio::test]
async fn a_new_key_under_the_id_of_a_former_one_is_found() {
    let (former, new, start) = (pair(1), pair(2), Instant::now());
    for header in [
        json!({ "alg": "EdDSA", "kid": "a" }),
        json!({ "alg": "EdDSA" }),
    ] {
        let cached = Cached::default();
        let before = signed(&former, &header);
        let known = verified(&cached, start, &before, || published(&former)).await;
        assert_eq!(known.unwrap(), b"{}");
        let after = signed(&new, &header);
        let rotated = || published(&new);
        let soon = verified(&cached, start + PAUSE / 2, &after, rotated).await;
        assert!(matches!(soon, Err(Refusal::Untrusted(_))), "{soon:?}");
        let later = verified(&cached, start + PAUSE, &after, rotated).await;
        assert_eq!(later.unwrap(), b"{}", "{header}");
        let withdrawn = verified(&cached, start + PAUSE * 2, &before, rotated).await;
        assert!(matches!(withdrawn, Err(Refusal::Untrusted(_))));
    }
}

#[tokio::test]
async fn forged_tokens_do_not_make_us_flood_a_provider() {
    let (own, foreign, start) = (pair(1), pair(2), Instant::now());
    let forged = signed(&foreign, &json!({ "alg": "EdDSA", "kid": "a" }));
    let (cached, reads) = (Cached::default(), AtomicUsize::new(0));
    let count = || {
        reads.fetch_add(1, Ordering::Relaxed);
        published(&own)
    };
    for seconds in 0..30 {
        let at = start + Duration::from_secs(seconds);
        assert!(verified(&cached, at, &forged, count).await.is_err());
    }
    assert_eq!(reads.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_known_keys_serve_for_a_day_while_the_provider_does_not_answer() {
    let (own, foreign, start) = (pair(1), pair(2), Instant::now());
    let header = json!({ "alg": "EdDSA", "kid": "a" });
    let (token, forged) = (signed(&own, &header), signed(&foreign, &header));
    let cached = Cached::default();
    let at = |minutes: u64| start + Duration::from_secs(minutes * 60);
    let first = verified(&cached, at(0), &token, || published(&own)).await;
    assert!(first.is_ok());
    for minutes in [1, 61, 62, 24 * 60 - 1] {
        let unknown = verified(&cached, at(minutes), &forged, away).await;
        assert!(matches!(unknown, Err(Refusal::Away(_))), "{unknown:?}");
        let known = verified(&cached, at(minutes), &token, away).await;
        assert!(known.is_ok(), "{minutes}: {known:?}");
    }
    let late = verified(&cached, at(24 * 60), &token, away).await;
    assert!(matches!(late, Err(Refusal::Away(_))), "{late:?}");
}

#[tokio::test]
async fn a_document_that_could_not_be_read_is_read_again_after_a_pause() {
    let start = Instant::now();
    let cached = Cached::default();
    let read = |at, answer: Result<u8, Refusal>| cached.get(at, || std::future::ready(answer));
    assert!(read(start, away()).await.is_err());
    assert!(read(start + PAUSE / 2, Ok(1)).await.is_err());
    assert_eq!(*read(start + PAUSE, Ok(2)).await.unwrap(), 2);
    assert_eq!(*read(start + PAUSE * 2, Ok(3)).await.unwrap(), 2);
    assert_eq!(*read(start + PAUSE + KEPT_FOR, Ok(4)).await.unwrap(), 4);
}
