//! Cursors of the feed, the audit log, the security events and the deliveries: sequences of a
//! stream, encrypted for one timeline.
//!
//! A sequence counts what happens in all tenants, so no client may learn it. A client that could
//! choose one would find out those of its own changes by asking what comes after it. That is why
//! the plain cursors of earlier releases are refused.

use aes_siv::{KeyInit, siv::Aes128Siv};
use anyhow::Context as _;
use data_encoding::BASE64URL_NOPAD;
use events_schema::{AccountId, TenantKey, WebhookId, secret::ServerKey};

use crate::error::Error;

/// Sequences are below this bound: no log has so many messages. The feed can add one to a cursor
/// without an overflow.
const MAX_SEQUENCE: u64 = 1 << 62;
/// The bytes of a sequence, which were the whole cursor in earlier releases.
const SEQUENCE_BYTES: usize = size_of::<u64>();

/// What a cursor is a position in. In any other timeline, the cursor is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeline {
    /// The commits of a tenant: its feed and its audit log.
    Commits(TenantKey),
    /// What members of a tenant were refused.
    Refusals(TenantKey),
    /// What happened to an account.
    Activity(AccountId),
    /// The attempts to send events to a webhook.
    Deliveries(TenantKey, WebhookId),
}

impl Timeline {
    /// Returns what is authenticated with the sequence. Cursors of commits had no name in earlier
    /// releases, and stay valid.
    fn associated_data(&self) -> Vec<&[u8]> {
        match self {
            Self::Commits(tenant) => vec![tenant.0.bytes()],
            Self::Refusals(tenant) => vec![tenant.0.bytes(), b"refusals"],
            Self::Activity(account) => vec![account.0.bytes(), b"activity"],
            Self::Deliveries(tenant, webhook) => {
                vec![tenant.0.bytes(), webhook.0.bytes(), b"deliveries"]
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Commits(_) => "the tenant's feed or audit log",
            Self::Refusals(_) => "the tenant's refusals",
            Self::Activity(_) => "your account's activity",
            Self::Deliveries(..) => "the webhook's deliveries",
        }
    }
}

/// Writes cursors with the first of these keys, and reads those of all keys. All gateways have the
/// same keys, so each reads the cursors of the others.
#[derive(Clone)]
pub(crate) struct Cursors(Vec<[u8; 32]>);

impl Cursors {
    /// Derives the keys of cursors from the secrets of the deployment.
    pub(crate) fn new(secrets: &ServerKey) -> Self {
        Self(secrets.derived_keys("cursors"))
    }

    /// Writes a sequence as a cursor of this timeline. A sequence always has the same cursor there.
    ///
    /// # Errors
    /// If the cipher refuses its input, as it does for far more associated data.
    pub(super) fn write(&self, timeline: Timeline, sequence: u64) -> Result<String, Error> {
        let bytes = sequence.to_be_bytes();
        let cipher = self.0.first().map(cipher);
        let sealed =
            cipher.and_then(|mut cipher| cipher.encrypt(timeline.associated_data(), &bytes).ok());
        let sealed = sealed.context("encrypting a cursor")?;
        Ok(BASE64URL_NOPAD.encode(&sealed))
    }

    /// Reads the cursor of this timeline in this input.
    ///
    /// # Errors
    /// `BadUserInput` if the text is no cursor of this timeline.
    pub(super) fn read(
        &self,
        timeline: Timeline,
        input: &'static str,
        text: &str,
    ) -> Result<u64, Error> {
        let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap_or_default();
        if sealed.len() == SEQUENCE_BYTES {
            let message = format!(
                "{input} is a cursor of an earlier release, and no longer valid. Start without it."
            );
            return Err(Error::input(input, message));
        }
        let open = |key| {
            cipher(key)
                .decrypt(timeline.associated_data(), &sealed)
                .ok()
        };
        let bytes = self.0.iter().find_map(open);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let sequence = bytes.map(u64::from_be_bytes);
        let sequence = sequence.filter(|sequence| *sequence < MAX_SEQUENCE);
        sequence.ok_or_else(|| {
            let message = format!(
                "{input} must be a cursor of {}. It may have ended with the secret of the \
                 deployment: start without it.",
                timeline.name()
            );
            Error::input(input, message)
        })
    }
}

fn cipher(key: &[u8; 32]) -> Aes128Siv {
    Aes128Siv::new(key.into())
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, secret::Secret};

    use super::*;

    const ID: Id = Id::from_bytes([1; 16]);
    const OTHER: Id = Id::from_bytes([2; 16]);
    const ACME: Timeline = Timeline::Commits(TenantKey(ID));
    const RIVAL: Timeline = Timeline::Commits(TenantKey(OTHER));

    fn cursors(secrets: &str) -> Cursors {
        let secret = |text: char| Secret::parse(&text.to_string().repeat(32)).unwrap();
        let mut secrets = secrets.chars().map(secret);
        Cursors::new(&ServerKey::new(secrets.next().unwrap(), secrets.collect()))
    }

    #[test]
    fn a_cursor_reads_back_at_every_gateway_and_is_always_the_same() {
        let cursor = cursors("a").write(ACME, 7).unwrap();
        assert_eq!(cursors("a").read(ACME, "after", &cursor).unwrap(), 7);
        assert_eq!(cursors("a").write(ACME, 7).unwrap(), cursor);
    }

    #[test]
    fn a_cursor_of_a_former_secret_is_read_while_that_is_accepted() {
        let cursor = cursors("a").write(ACME, 7).unwrap();
        assert_eq!(cursors("ba").read(ACME, "after", &cursor).unwrap(), 7);
        assert_ne!(cursors("ba").write(ACME, 7).unwrap(), cursor);
    }

    #[test]
    fn a_cursor_of_another_tenant_or_key_is_refused() {
        let cursor = cursors("a").write(ACME, 7).unwrap();
        assert!(cursors("a").read(RIVAL, "after", &cursor).is_err());
        assert!(cursors("b").read(ACME, "after", &cursor).is_err());
    }

    #[test]
    fn a_cursor_of_another_timeline_of_the_same_id_is_refused() {
        let all = [
            ACME,
            Timeline::Refusals(TenantKey(ID)),
            Timeline::Activity(AccountId(ID)),
        ];
        for of in all {
            let cursor = cursors("a").write(of, 7).unwrap();
            for at in all {
                let read = cursors("a").read(at, "after", &cursor);
                assert_eq!(read.is_ok(), at == of, "{of:?} {at:?}");
            }
        }
    }

    #[test]
    fn a_cursor_of_another_timeline_is_refused() {
        let deliveries =
            |tenant, webhook| Timeline::Deliveries(TenantKey(tenant), WebhookId(webhook));
        let own = deliveries(ID, OTHER);
        let cursor = cursors("a").write(own, 7).unwrap();
        assert_eq!(cursors("a").read(own, "after", &cursor).unwrap(), 7);
        for other in [ACME, RIVAL, deliveries(ID, ID), deliveries(OTHER, ID)] {
            assert!(
                cursors("a").read(other, "after", &cursor).is_err(),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_changed_or_malformed_cursor_is_refused() {
        let cursor = cursors("a").write(ACME, 7).unwrap();
        for at in 0..cursor.len() {
            let mut forged = cursor.clone();
            let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
            forged.replace_range(at..=at, other);
            assert!(
                cursors("a").read(ACME, "after", &forged).is_err(),
                "{forged}"
            );
        }
        let beyond = cursors("a").write(ACME, u64::MAX).unwrap();
        for wrong in ["", "!", "AAAA", &cursor[1..], &beyond] {
            assert!(cursors("a").read(ACME, "after", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cursors_tell_neither_the_sequence_nor_which_one_is_higher() {
        let all = (0..100).map(|sequence| cursors("a").write(ACME, sequence).unwrap());
        let all = Vec::from_iter(all);
        assert!(!all.is_sorted());
        for (sequence, cursor) in (0_u64..).zip(&all) {
            let sealed = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap();
            let mut parts = sealed.windows(SEQUENCE_BYTES);
            assert!(
                parts.all(|part| part != sequence.to_be_bytes()),
                "{sequence}"
            );
        }
    }

    #[test]
    fn a_plain_cursor_of_an_earlier_release_is_refused_by_a_sentence_of_its_own() {
        let refused = cursors("a").read(ACME, "after", "AAAAAAAAAAc").unwrap_err();
        assert!(
            format!("{refused:?}").contains("an earlier release"),
            "{refused:?}"
        );
    }
}
