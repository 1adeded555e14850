//! The secrets that requests are signed with.

use events_schema::{
    TenantKey, WebhookId,
    webhook::{Algorithm, NewKey},
    webhook_signature::SigningKey,
};

use super::Webhooks;
use crate::error::Error;

/// A new secret of a webhook.
pub(crate) struct NewSecret {
    algorithm: Algorithm,
    key: SigningKey,
}

impl NewSecret {
    /// Reads the secret that a client has chosen, or makes a random one.
    ///
    /// # Errors
    /// `BadUserInput` if the text is no secret of this algorithm.
    pub(crate) fn new(algorithm: Algorithm, chosen: Option<&str>) -> Result<Self, Error> {
        let key = match (chosen, algorithm) {
            (Some(text), _) => SigningKey::parse(text).map_err(Error::invalid("secret"))?,
            (None, Algorithm::Hmac) => SigningKey::hmac(event_store::random_bytes()?),
            (None, Algorithm::Ed25519) => SigningKey::ed25519(event_store::random_bytes()?),
        };
        let is_of_ed25519 = key.public().is_some();
        if is_of_ed25519 == (algorithm == Algorithm::Ed25519) {
            Ok(Self { algorithm, key })
        } else {
            let message = "secret must begin with `whsec_` for HMAC, and with `whsk_` for ED25519.";
            Err(Error::input("secret", message))
        }
    }

    /// Returns the text that the customer verifies requests with. An ed25519 key has none: its
    /// public key verifies, and its secret is for signing only.
    pub(super) fn shown(&self) -> Option<String> {
        match self.algorithm {
            Algorithm::Hmac => Some(self.key.secret()),
            Algorithm::Ed25519 => None,
        }
    }

    pub(super) fn seal(
        &self,
        webhooks: &Webhooks,
        tenant: TenantKey,
        id: WebhookId,
    ) -> Result<NewKey, Error> {
        Ok(NewKey {
            algorithm: self.algorithm,
            secret: webhooks.seal(tenant, id, self.key.secret().as_bytes())?,
            public: self.key.public(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(algorithm: Algorithm, chosen: &str) -> bool {
        match NewSecret::new(algorithm, Some(chosen)) {
            Ok(_) => false,
            Err(Error::BadUserInput { field, message }) => {
                assert!(!message.contains(chosen), "{message}");
                field == Some("secret")
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn a_chosen_secret_fits_its_algorithm() {
        let hmac = SigningKey::hmac([7; 32]).secret();
        let ed25519 = SigningKey::ed25519([7; 32]).secret();
        assert!(!is_refused(Algorithm::Hmac, &hmac));
        assert!(is_refused(Algorithm::Ed25519, &hmac));
        assert!(!is_refused(Algorithm::Ed25519, &ed25519));
        assert!(is_refused(Algorithm::Hmac, &ed25519));
        assert!(is_refused(Algorithm::Hmac, "hunter2"));
    }

    #[test]
    fn only_a_symmetric_secret_is_shown() {
        let shown = |algorithm| NewSecret::new(algorithm, None).unwrap().shown();
        let (first, second) = (shown(Algorithm::Hmac), shown(Algorithm::Hmac));
        assert!(
            first
                .as_ref()
                .is_some_and(|text| text.starts_with("whsec_"))
        );
        assert_ne!(first, second);
        assert_eq!(shown(Algorithm::Ed25519), None);
    }
}
