//! Logging in by other parties, such as Google.

mod figures;
mod forged;
mod freshness;
pub mod hosts;
mod linking;
mod passwords;
mod questions;
mod reclaimed;
mod reference;
mod rotation;
mod strangers;

use local::Local;
use serde_json::{Value, json};

use crate::{
    login_codes::SEND,
    second_factor::{LOG_IN, second},
    support::{
        Browser, Gateway, PASSWORD, Provider, add_second_factor, bad_input, code, code_of,
        credentials, documents_of, input,
        provider::{CLIENT, CLIENT_SECRET},
        start, succeeded, text,
    },
};

const ADA: &str = "ada@example.com";
/// A word that only mails with a code to log in have.
const MAIL: &str = "in which you asked for it";
pub const METHODS: &str = r#"{ loginMethods(email: "ada@example.com") {
    password emailCode providers { name title startUrl }
} }"#;
const CHALLENGE: &str = "{ loginChallenge { methods linking { name title } } }";
const CREDENTIALS: &str = "{ credentials { hasPassword identities { id provider } } }";
const PROOFS: &str = "{ sessions { current authentication { aal proofs { kind provider } } } }";

/// A backend with a gateway where people log in by one party, under several names.
struct World {
    backend: Local,
    gateway: Gateway,
    provider: Provider,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let provider = Provider::start().await;
        let url = provider.url.clone();
        let kinds = [
            ("google", "google"),
            ("github", "github"),
            ("facebook", "facebook"),
        ];
        let kinds = kinds.map(|(name, kind)| entry(name, kind, &url));
        let mut corp = entry("corp", "oidc", &url);
        corp["email"] = json!("authoritative");
        let plain = entry("plain", "oidc", &url);
        let entries = kinds.into_iter().chain([corp, plain]).collect();
        Self::with(provider, entries, &["127.0.0.0/8"]).await
    }

    async fn with(provider: Provider, entries: Vec<Value>, allowed: &[&str]) -> Self {
        let backend = start().await;
        let folder = tempfile::tempdir().unwrap();
        let gateway = gateway(&backend, &folder, entries, allowed).await;
        Self {
            backend,
            gateway,
            provider,
            _folder: folder,
        }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.backend).at_gateway(&self.gateway)
    }

    /// Ada, who has registered with a password.
    async fn ada(&self) -> Browser {
        let ada = self.browser();
        ada.sign_up(ADA).await;
        ada
    }

    /// Begins to log in; returns the path that the provider sends the browser back to.
    async fn begins(&self, browser: &Browser, name: &str) -> String {
        let start = format!("/oauth/{name}/start?return_to=/projects?a=b");
        self.provider
            .sends_back(&browser.visit(&start).await.unwrap())
    }

    /// Logs in; returns what the page learns.
    async fn logs_in(&self, browser: &Browser, name: &str) -> String {
        let back = self.begins(browser, name).await;
        let to = browser.visit(&back).await.unwrap();
        let learned = to.strip_prefix("/projects?a=b&login=");
        learned.unwrap_or_else(|| panic!("{to}")).to_owned()
    }
}

/// A gateway that knows these parties, and reaches them in these networks.
async fn gateway(
    backend: &Local,
    folder: &tempfile::TempDir,
    entries: Vec<Value>,
    allowed: &[&str],
) -> Gateway {
    gateway_with(backend, folder, entries, allowed, |_| ()).await
}

/// Such a gateway with further changes of its configuration.
async fn gateway_with(
    backend: &Local,
    folder: &tempfile::TempDir,
    entries: Vec<Value>,
    allowed: &[&str],
    change: impl FnOnce(&mut gateway::Config),
) -> Gateway {
    let file = folder.path().join("providers.json");
    std::fs::write(&file, json!({ "providers": entries }).to_string()).unwrap();
    let allowed = allowed
        .iter()
        .map(|text| events_schema::IpNetwork::parse(text).unwrap());
    let allowed = allowed.collect();
    Gateway::start_at_own_url(backend, |config| {
        config.providers.providers_file = Some(file);
        config.providers.outbound_allow = allowed;
        change(config);
    })
    .await
}

fn entry(name: &str, kind: &str, url: &str) -> Value {
    json!({
        "name": name, "kind": kind, "issuer": url,
        "client_id": CLIENT, "client_secret": CLIENT_SECRET,
    })
}

fn by_code(email: &str, code: &str) -> Value {
    let params = json!({ "email": email, "code": code });
    input(json!({ "service": "EmailCode", "params": params }))
}

/// The code of the latest mail to an address.
async fn mailed(browser: &Browser, email: &str, nth: usize) -> String {
    code(&browser.mail(email, MAIL, nth).await)
}

/// The providers of a person's identities.
async fn identities(browser: &Browser) -> Vec<String> {
    let credentials = browser.data(CREDENTIALS, ()).await;
    let identities = credentials["credentials"]["identities"].as_array().unwrap();
    identities.iter().map(|it| text(it, "/provider")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proved_address_that_nobody_has_opens_an_account_without_a_password() {
    let world = World::start().await;
    for (sub, name, email, extra) in [
        ("1", "google", "one@gmail.com", json!({})),
        (
            "2",
            "google",
            "two@corp.example",
            json!({ "hd": "corp.example" }),
        ),
        ("3", "github", "three@example.com", json!({})),
        (
            "4",
            "corp",
            "four@example.com",
            json!({ "email_verified": null }),
        ),
    ] {
        let mut person = json!({
            "sub": sub, "email": email, "email_verified": true, "name": "Ada Lovelace",
        });
        for (claim, value) in extra.as_object().unwrap() {
            person[claim] = value.clone();
        }
        world.provider.identifies(person);
        let browser = world.browser();
        assert_eq!(world.logs_in(&browser, name).await, "done", "{name}");
        let profile = browser
            .data("{ profile { id email verified firstname lastname } }", ())
            .await;
        let id = profile["profile"]["id"].clone();
        assert_eq!(profile["profile"]["email"], email);
        assert_eq!(profile["profile"]["verified"], true);
        assert_eq!(profile["profile"]["lastname"], "Lovelace");
        let credentials = browser.data(CREDENTIALS, ()).await;
        let credentials = &credentials["credentials"];
        assert_eq!(credentials["hasPassword"], false);
        assert_eq!(credentials["identities"][0]["provider"], name);
        let sessions = browser.data(PROOFS, ()).await;
        let proofs = json!([{ "kind": "IDENTITY", "provider": name }]);
        let expected = json!({ "aal": 1, "proofs": proofs });
        assert_eq!(sessions["sessions"][0]["authentication"], expected);

        let elsewhere = world.browser();
        assert_eq!(world.logs_in(&elsewhere, name).await, "done");
        let again = elsewhere.data("{ profile { id } }", ()).await;
        assert_eq!(again["profile"]["id"], id);
    }
    assert_eq!(documents_of(&world.backend, "account").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_proved_opens_an_account_by_a_mailed_code_only() {
    let world = World::start().await;
    for (sub, name, email, verified) in [
        ("1", "google", "one@example.com", true),
        ("2", "google", "two@gmail.com", false),
        ("3", "github", "three@example.com", false),
        ("4", "facebook", "four@example.com", true),
        ("5", "plain", "five@example.com", true),
        ("6", "corp", "six@example.com", false),
    ] {
        let person = json!({ "sub": sub, "email": email, "email_verified": verified });
        world.provider.identifies(person);
        let browser = world.browser();
        assert_eq!(
            world.logs_in(&browser, name).await,
            "code",
            "{name} {email}"
        );
        let shown = browser.data(CHALLENGE, ()).await;
        let shown = &shown["loginChallenge"];
        assert_eq!(shown["methods"], json!(["EmailCode"]));
        assert!(shown["linking"].is_null(), "{shown}");
        assert!(!browser.is_logged_in().await);
        let code = mailed(&browser, email, 1).await;
        let elsewhere = world.browser().error(LOG_IN, by_code(email, &code)).await;
        assert_eq!(elsewhere, bad_input("code"));
        let answer = browser.data(LOG_IN, by_code(email, &code)).await;
        assert_eq!(answer["account"]["login"]["user"]["email"], email);
        assert_eq!(identities(&browser).await, [name]);
        let shown = browser.data(CHALLENGE, ()).await;
        assert!(shown["loginChallenge"].is_null(), "{shown}");
        let again = world.browser();
        assert_eq!(world.logs_in(&again, name).await, "done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_needs_no_address_if_an_identity_waits_in_the_browser() {
    let world = World::start().await;
    let person = json!({ "sub": "1", "email": ADA });
    world.provider.identifies(person);
    let browser = world.browser();
    assert_eq!(world.logs_in(&browser, "facebook").await, "code");
    let code = mailed(&browser, ADA, 1).await;
    let params = json!({ "code": code });
    let by_code = input(json!({ "service": "EmailCode", "params": params }));
    let elsewhere = world.browser().error(LOG_IN, by_code.clone()).await;
    assert_eq!(elsewhere, bad_input("email"));
    let answer = browser.data(LOG_IN, by_code).await;
    assert_eq!(answer["account"]["login"]["user"]["email"], ADA);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_registrations_leaves_a_mailed_code_valid() {
    let world = World::start().await;
    let url = &world.provider.url;
    let entries = vec![
        entry("google", "google", url),
        entry("facebook", "facebook", url),
    ];
    let folder = tempfile::tempdir().unwrap();
    let limited = gateway_with(
        &world.backend,
        &folder,
        entries,
        &["127.0.0.0/8"],
        |config| {
            config.limits.registration_limit = "1/hour".parse().unwrap();
        },
    );
    let limited = limited.await;
    let browser = Browser::new(&world.backend).at_gateway(&limited);
    let person = json!({ "sub": "1", "email": "one@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    assert_eq!(world.logs_in(&browser, "google").await, "done");
    let ada = Browser::new(&world.backend).at_gateway(&limited);
    world
        .provider
        .identifies(json!({ "sub": "2", "email": ADA }));
    assert_eq!(world.logs_in(&ada, "facebook").await, "code");
    let code = mailed(&ada, ADA, 1).await;
    let refused = ada.error(LOG_IN, by_code(ADA, &code)).await;
    assert_eq!(refused["code"], "RATE_LIMITED");
    let elsewhere = ada.at_gateway(&world.gateway);
    let answer = elsewhere.data(LOG_IN, by_code(ADA, &code)).await;
    assert_eq!(answer["account"]["login"]["user"]["email"], ADA);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_provider_opens_needs_no_mail_and_counts_as_none() {
    let world = World::start().await;
    let entries = vec![entry("google", "google", &world.provider.url)];
    let folder = tempfile::tempdir().unwrap();
    let limited = gateway_with(
        &world.backend,
        &folder,
        entries,
        &["127.0.0.0/8"],
        |config| {
            config.limits.registration_domain_limit = "1/hour".parse().unwrap();
            config.limits.registration_total_limit = "1/hour".parse().unwrap();
        },
    );
    let limited = limited.await;
    for sub in ["1", "2", "3"] {
        let email = format!("{sub}@gmail.com");
        let person = json!({ "sub": sub, "email": email, "email_verified": true });
        world.provider.identifies(person);
        let browser = Browser::new(&world.backend).at_gateway(&limited);
        assert_eq!(world.logs_in(&browser, "google").await, "done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_names_no_address_opens_no_account() {
    let world = World::start().await;
    world.provider.identifies(json!({ "sub": "7" }));
    for name in ["google", "github", "facebook", "corp"] {
        let browser = world.browser();
        let learned = world.logs_in(&browser, name).await;
        assert_eq!(learned, "failed&reason=no_address", "{name}");
    }
    assert!(documents_of(&world.backend, "account").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_to_log_in_are_those_of_the_deployment() {
    let world = World::start().await;
    let browser = world.browser();
    let methods = browser.data(METHODS, ()).await;
    let methods = &methods["loginMethods"];
    assert_eq!(
        (&methods["password"], &methods["emailCode"]),
        (&json!(true), &json!(true))
    );
    let names = methods["providers"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|provider| text(provider, "/name")).collect();
    assert_eq!(names, ["google", "github", "facebook", "corp", "plain"]);
    assert_eq!(methods["providers"][0]["title"], "Google");
    let start = text(methods, "/providers/0/startUrl");
    assert_eq!(start, format!("{}/oauth/google/start", world.gateway.url()));
    for name in ["google", "github", "facebook"] {
        let page = format!("/account/{name}");
        let to = browser.visit(&page).await.unwrap();
        assert_eq!(to, format!("/oauth/{name}/start"));
        let to = browser.visit(&format!("{page}?return_to=/a%3Fb")).await;
        assert_eq!(to.unwrap(), format!("/oauth/{name}/start?return_to=/a%3Fb"));
    }
    let none = Browser::new(&world.backend).data(METHODS, ()).await;
    assert_eq!(none["loginMethods"]["providers"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_does_not_replace_the_second_factor() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    world.logs_in(&ada, "google").await;
    let (mut app, _) = add_second_factor(&ada).await;
    let phone = world.browser();
    assert_eq!(world.logs_in(&phone, "google").await, "second_factor");
    let shown = phone.data(CHALLENGE, ()).await;
    let methods = json!(["Totp", "RecoveryCode"]);
    assert_eq!(shown["loginChallenge"]["methods"], methods);
    assert!(!phone.is_logged_in().await);
    let answer = phone.data(LOG_IN, second("Totp", &app.next().await)).await;
    let authentication = &answer["account"]["login"]["session"]["authentication"];
    assert_eq!(authentication["aal"], 2);
    let shown = phone.data(CHALLENGE, ()).await;
    assert!(shown["loginChallenge"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_that_was_begun_before_ends_with_one_by_a_provider() {
    let world = World::start().await;
    let ada = world.ada().await;
    add_second_factor(&ada).await;
    for (sub, email, provider, outcome) in [
        ("1", ADA, "github", "linking"),
        ("2", "bob@example.com", "github", "done"),
        ("3", "eve@example.com", "facebook", "code"),
    ] {
        let browser = world.browser();
        browser.data(LOG_IN, credentials(ADA, PASSWORD)).await;
        let shown = browser.data(CHALLENGE, ()).await;
        let factors = json!(["Totp", "RecoveryCode"]);
        assert_eq!(shown["loginChallenge"]["methods"], factors);
        let person = json!({ "sub": sub, "email": email, "email_verified": true });
        world.provider.identifies(person);
        assert_eq!(world.logs_in(&browser, provider).await, outcome);
        let shown = browser.data(CHALLENGE, ()).await;
        assert_ne!(shown["loginChallenge"]["methods"], factors, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_password_answers_as_one_with_another_password() {
    let world = World::start().await;
    world.ada().await;
    let person = json!({ "sub": "7", "email": "bob@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let bob = world.browser();
    world.logs_in(&bob, "google").await;
    let stranger = world.browser();
    let wrong = stranger.login(ADA, "a wrong password of some length").await;
    let none = stranger.login("bob@gmail.com", PASSWORD).await;
    assert_eq!(wrong, none);
    let set = r#"mutation { credential { setPassword(password: "correct horse battery staple") { success } } }"#;
    bob.data(set, ()).await;
    assert!(succeeded(&stranger.login("bob@gmail.com", PASSWORD).await));
    assert_eq!(code_of(&bob.gql(set, ()).await), "CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_disabled_takes_no_identity() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "bob@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let bob = world.browser();
    world.logs_in(&bob, "google").await;
    let profile = bob.data("{ profile { id } }", ()).await;
    let root = crate::support::administrator(&world.backend, "root@example.com").await;
    let disable = "mutation($id: ID!) { platform { disableAccount(id: $id) { id } } }";
    root.data(disable, json!({ "id": profile["profile"]["id"] }))
        .await;
    let again = world.logs_in(&world.browser(), "google").await;
    assert_eq!(again, "failed&reason=refused");
    let asked = world.browser();
    asked
        .data(SEND, input(json!({ "email": "bob@gmail.com" })))
        .await;
    assert!(asked.mails_to("bob@gmail.com", MAIL).await.is_empty());
}
