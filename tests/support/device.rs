//! A device that keeps a passkey, with the browser on it: the authenticator and the client of
//! passkey-rs, which share no code with the product.

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use passkey_authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::{
    SecretKeyT as _,
    rust_crypto::{RustCryptoBackend, RustCryptoSecretKey},
};
use passkey_types::{
    Passkey,
    ctap2::{Aaguid, Ctap2Error},
    webauthn::{CredentialCreationOptions, CredentialRequestOptions},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Browser, Gateway};

/// Where browsers see the gateways of [`site`].
const ORIGIN: &str = "http://localhost:9900";

pub const START_LOGIN: &str = "mutation { account { startPasskey } }";
pub const START_ADDING: &str = "mutation { credential { startPasskey } }";
pub const ADD_PASSKEY: &str = "
    mutation($name: String!, $response: JSON!) {
        credential { addPasskey(name: $name, response: $response) { id name } }
    }";

/// A gateway that browsers reach at [`ORIGIN`]: they make no passkeys for addresses of numbers.
pub async fn site(backend: &local::Local) -> Gateway {
    site_with(backend, |_| {}).await
}

/// A gateway that browsers reach at [`ORIGIN`], with its own configuration.
pub async fn site_with(
    backend: &local::Local,
    change: impl FnOnce(&mut gateway::Config),
) -> Gateway {
    Gateway::start(backend, |config| {
        config.posture.public_url = ORIGIN.to_owned();
        change(config);
    })
    .await
}

/// A device with room for one passkey.
#[derive(Clone)]
pub struct Device {
    pub key: Option<Passkey>,
    /// Whether it counts the uses of a passkey that it makes.
    pub counts: bool,
    origin: Url,
}

/// The person in front of a device.
struct Person;

#[async_trait]
impl UserValidationMethod for Person {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck {
            presence,
            verification,
        })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

impl Device {
    pub fn new() -> Self {
        Self {
            key: None,
            counts: false,
            origin: Url::parse(ORIGIN).unwrap(),
        }
    }

    /// A device whose passkeys count their uses.
    pub fn counting() -> Self {
        Self {
            counts: true,
            ..Self::new()
        }
    }

    /// The same device on a page of another origin.
    pub fn at(&self, origin: &str) -> Self {
        Self {
            origin: Url::parse(origin).unwrap(),
            ..self.clone()
        }
    }

    /// Makes a passkey, as `navigator.credentials.create` does.
    pub async fn create(&mut self, options: &Value) -> Value {
        let public_key = serde_json::from_value(options.clone()).unwrap();
        let request = CredentialCreationOptions { public_key };
        let mut client = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let created = client.register(&self.origin, request, DefaultClientData);
        let created = created.await.unwrap();
        self.key = client.authenticator().store().clone();
        json!(created)
    }

    /// Uses the passkey, as `navigator.credentials.get` does.
    pub async fn get(&mut self, options: &Value) -> Value {
        let public_key = serde_json::from_value(options.clone()).unwrap();
        let request = CredentialRequestOptions { public_key };
        let mut client = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let used = client.authenticate(&self.origin, request, DefaultClientData);
        let used = used.await.unwrap();
        self.key = client.authenticator().store().clone();
        json!(used)
    }

    /// The same answer, after the authenticator has said something else and signed it.
    pub fn signed_again(&self, mut answer: Value, change: impl FnOnce(&mut [u8])) -> Value {
        let decoded = |value: &Value| {
            let text = value.as_str().unwrap();
            BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
        };
        let response = &mut answer["response"];
        let mut data = decoded(&response["authenticatorData"]);
        change(&mut data);
        let hash = Sha256::digest(decoded(&response["clientDataJSON"]));
        let key = &self.key.as_ref().unwrap().key;
        let mut key = RustCryptoSecretKey::from_cose_key(key).unwrap();
        let signature = key.sign(&[data.as_slice(), &hash].concat());
        response["authenticatorData"] = json!(BASE64URL_NOPAD.encode(&data));
        response["signature"] = json!(BASE64URL_NOPAD.encode(&signature));
        answer
    }

    fn authenticator(&self) -> Authenticator<Option<Passkey>, Person, RustCryptoBackend> {
        let (model, key) = (Aaguid::new_empty(), self.key.clone());
        let mut authenticator = Authenticator::new(model, key, Person, RustCryptoBackend);
        authenticator.set_make_credentials_with_signature_counter(self.counts);
        authenticator
    }
}

/// Adds a passkey of this device to the account of the browser; returns its id.
pub async fn add_passkey(browser: &Browser, device: &mut Device, name: &str) -> String {
    let started = browser.data(START_ADDING, ()).await;
    let response = device.create(&started["credential"]["startPasskey"]).await;
    let added = json!({ "name": name, "response": response });
    let added = browser.data(ADD_PASSKEY, added).await;
    super::text(&added, "/credential/addPasskey/id")
}

/// Asks for a passkey in this browser, and returns the answer of the device as the variables of a
/// log-in or step-up.
pub async fn by_passkey(browser: &Browser, device: &mut Device) -> Value {
    let started = browser.data(START_LOGIN, ()).await;
    let response = device.get(&started["account"]["startPasskey"]).await;
    answer(response)
}

/// The variables of a log-in or step-up by this answer of a device.
pub fn answer(response: Value) -> Value {
    super::input(json!({ "service": "Passkey", "params": { "response": response } }))
}
