//! Passkeys in a real browser: headless Chromium with its virtual authenticator.
//!
//! It needs Chromium and is ignored by default. `tests/browser/run` installs it and runs the tests;
//! `CHROMIUM_BIN` names another one.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test binary panics when it fails; it uses a part of what end-to-end tests share"
)]

mod chromium;
mod hands;
mod pages;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};

use crate::{
    chromium::{Chromium, Page},
    support::{Browser, Dns, Gateway, PASSWORD, Provider, provider, start_with_workers, text},
};

const ADA: &str = "ada@example.com";

/// What a page of the product would do, by the functions of the browser only.
const FUNCTIONS: &str = r#"
    window.gql = async (query, variables) => {
        const response = await fetch("/graphql", {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ query, variables }),
        });
        return response.json();
    };
    window.logIn = async (params, service) => gql(
        `mutation($input: LoginInput!) {
            account { login(input: $input) { session { authentication { aal } } } }
        }`,
        { input: { service, params } },
    );
    window.addPasskey = async (name) => {
        const started = await gql("mutation { credential { startPasskey } }");
        const options = started.data.credential.startPasskey;
        const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
        const credential = await navigator.credentials.create({ publicKey });
        return gql(
            `mutation($name: String!, $response: JSON!) {
                credential { addPasskey(name: $name, response: $response) { id backedUp } }
            }`,
            { name, response: credential.toJSON() },
        );
    };
    window.usePasskey = async (mediation) => {
        const started = await gql("mutation { account { startPasskey } }");
        const options = started.data.account.startPasskey;
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
        const credential = await navigator.credentials.get({ publicKey, mediation });
        return logIn({ response: credential.toJSON() }, "Passkey");
    };
"#;

/// A page on which Ada has logged in and added a passkey, with its virtual authenticator.
struct World {
    backend: local::Local,
    gateway: Gateway,
    /// The party that people log in by as Facebook.
    provider: Provider,
    /// Where the workers look for the records of domains.
    dns: Dns,
    _chromium: Chromium,
    page: Page,
    authenticator: String,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts with further changes of the gateway's configuration.
    async fn start_with(change: impl FnOnce(&mut gateway::Config)) -> Self {
        let dns = Dns::answers(&[&[]]).await;
        let workers = ["--webhook-dns", &dns.address.to_string()];
        let backend = start_with_workers(&workers).await;
        Browser::signed_up(&backend, ADA).await;
        let provider = Provider::start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("providers.json");
        std::fs::write(&file, providers(&provider).to_string()).unwrap();
        let gateway = Gateway::start_at(&backend, |config, address| {
            config.posture.public_url = format!("http://localhost:{}", address.port());
            config.providers.providers_file = Some(file);
            let local = events_schema::IpNetwork::parse("127.0.0.0/8").unwrap();
            config.providers.outbound_allow = vec![local];
            change(config);
        })
        .await;
        let url = format!("http://localhost:{}", gateway.address().port());
        let chromium = Chromium::start().await;
        let mut page = chromium.open(&format!("{url}/account/verify")).await;
        page.call("WebAuthn.enable", json!({})).await;
        let options = json!({
            "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal",
            "hasResidentKey": true, "hasUserVerification": true, "isUserVerified": true,
            "automaticPresenceSimulation": true,
            "defaultBackupEligibility": true, "defaultBackupState": true,
        });
        let added = json!({ "options": options });
        let added = page.call("WebAuthn.addVirtualAuthenticator", added).await;
        page.evaluate(FUNCTIONS).await;
        let params = json!({ "email": ADA, "password": PASSWORD });
        let login = page.evaluate(&format!("logIn({params}, 'Password')")).await;
        assert_eq!(aal(&login), 1, "{login}");
        let added_passkey = page.evaluate("addPasskey('Laptop')").await;
        let passkey = &added_passkey["data"]["credential"]["addPasskey"];
        assert_eq!(passkey["backedUp"], true, "{added_passkey}");
        Self {
            backend,
            gateway,
            provider,
            dns,
            _chromium: chromium,
            page,
            authenticator: text(&added, "/authenticatorId"),
            _folder: folder,
        }
    }

    /// The URL of the gateway.
    fn url(&self) -> String {
        format!("http://localhost:{}", self.gateway.address().port())
    }

    /// Changes the authenticator.
    async fn change(&mut self, method: &str, mut parameters: Value) {
        parameters["authenticatorId"] = json!(self.authenticator);
        self.page.call(method, parameters).await;
    }

    /// The passkey in the authenticator.
    async fn credential(&mut self) -> Value {
        let of = json!({ "authenticatorId": self.authenticator });
        let mut found = self.page.call("WebAuthn.getCredentials", of).await;
        found["credentials"][0].take()
    }

    async fn log_in(&mut self) -> Value {
        self.page.evaluate("usePasskey()").await
    }

    async fn is_refused(&mut self) {
        let answer = self.log_in().await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["field"], "response", "{answer}");
    }
}

fn providers(provider: &Provider) -> Value {
    json!({ "providers": [{
        "name": "facebook", "issuer": provider.url,
        "client_id": provider::CLIENT, "client_secret": provider::CLIENT_SECRET,
    }] })
}

fn aal(answer: &Value) -> i64 {
    let aal = &answer["data"]["account"]["login"]["session"]["authentication"]["aal"];
    aal.as_i64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_discoverable_passkey_logs_in_without_an_address() {
    let mut world = World::start().await;
    let credential = world.credential().await;
    assert_eq!(credential["isResidentCredential"], true);
    assert_eq!(aal(&world.log_in().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_who_is_not_verified_is_not_logged_in() {
    let mut world = World::start().await;
    let off = json!({ "isUserVerified": false });
    world.change("WebAuthn.setUserVerified", off).await;
    // The browser itself refuses, since the verification is required.
    let refused = world
        .page
        .evaluate("usePasskey().catch((error) => error.name)");
    assert_eq!(refused.await, "NotAllowedError");
    // A browser that does not care.
    let on = json!({ "isUserVerified": true });
    world.change("WebAuthn.setUserVerified", on).await;
    let bad = json!({ "isBadUV": true });
    world.change("WebAuthn.setResponseOverrideBits", bad).await;
    world.is_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_bogus_signature_is_refused() {
    let mut world = World::start().await;
    let bogus = json!({ "isBogusSignature": true });
    world
        .change("WebAuthn.setResponseOverrideBits", bogus)
        .await;
    world.is_refused().await;
    let honest = json!({ "isBogusSignature": false });
    world
        .change("WebAuthn.setResponseOverrideBits", honest)
        .await;
    assert_eq!(aal(&world.log_in().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_lower_counter_suspends_the_passkey() {
    let mut world = World::start().await;
    let early = world.credential().await;
    assert_eq!(aal(&world.log_in().await), 2);
    let id = json!({ "credentialId": early["credentialId"] });
    world.change("WebAuthn.removeCredential", id).await;
    let copy = json!({ "credential": early });
    world.change("WebAuthn.addCredential", copy).await;
    world.is_refused().await;
    // The counter is the next one by now, but the passkey stays suspended.
    world.is_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_changed_flag_for_copies_is_refused() {
    let mut world = World::start().await;
    let credential = world.credential().await;
    let bound = json!({
        "credentialId": credential["credentialId"],
        "backupEligibility": false, "backupState": false,
    });
    world
        .change("WebAuthn.setCredentialProperties", bound)
        .await;
    world.is_refused().await;
}
