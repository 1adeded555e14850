//! What browsers are asked for, in the form that `PublicKeyCredential.parseCreationOptionsFromJSON`
//! and `parseRequestOptionsFromJSON` read.

use data_encoding::BASE64URL_NOPAD;
use events_schema::{account, passkey::Passkey};
use serde_json::{Value, json};

use super::{Challenge, LIFETIME, RelyingParty, public_key::ALGORITHMS};

impl RelyingParty {
    /// Asks for a new passkey of this account, on an authenticator that has none of it. The passkey
    /// must be discoverable, so that its owner types no address to log in.
    pub(crate) fn creation_options(
        &self,
        challenge: &Challenge,
        user_handle: &[u8],
        account: &account::View,
    ) -> Value {
        let algorithm = |number| json!({ "type": "public-key", "alg": number });
        let known = account.passkeys.iter().map(descriptor);
        let name = format!(
            "{} {}",
            account.firstname.as_str(),
            account.lastname.as_str()
        );
        json!({
            "rp": { "id": self.id, "name": self.id },
            "user": {
                "id": BASE64URL_NOPAD.encode(user_handle),
                "name": account.email,
                "displayName": name,
            },
            "challenge": BASE64URL_NOPAD.encode(challenge),
            "pubKeyCredParams": ALGORITHMS.map(algorithm),
            "timeout": timeout_ms(),
            "excludeCredentials": known.collect::<Vec<_>>(),
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": "required",
            },
            "attestation": "none",
        })
    }

    /// Asks for any passkey of this site.
    pub(crate) fn request_options(&self, challenge: &Challenge) -> Value {
        json!({
            "challenge": BASE64URL_NOPAD.encode(challenge),
            "timeout": timeout_ms(),
            "rpId": self.id,
            "userVerification": "required",
        })
    }

    /// Tells a browser that a passkey is not known here, for `signalUnknownCredential`.
    pub(crate) fn unknown_credential(&self, passkey: &Passkey) -> Value {
        json!({ "rpId": self.id, "credentialId": passkey.credential_id })
    }

    /// Tells a browser all passkeys of a person, for `signalAllAcceptedCredentials`.
    pub(crate) fn all_accepted_credentials(
        &self,
        user_handle: &[u8],
        account: &account::View,
    ) -> Value {
        let accepted = account.passkeys.iter();
        let accepted = accepted.filter(|passkey| !passkey.is_suspended());
        let ids: Vec<_> = accepted.map(|passkey| &passkey.credential_id).collect();
        json!({
            "rpId": self.id,
            "userId": BASE64URL_NOPAD.encode(user_handle),
            "allAcceptedCredentialIds": ids,
        })
    }
}

fn timeout_ms() -> u64 {
    LIFETIME.as_secs() * 1000
}

fn descriptor(passkey: &Passkey) -> Value {
    json!({
        "type": "public-key",
        "id": passkey.credential_id,
        "transports": passkey.transports,
    })
}
