//! Secrets that the product shares with others: providers of log-ins, devices with a passkey, and
//! servers of customers.

use axum::http::StatusCode;
use reqwest::{Url, header::LOCATION};

use super::*;
use crate::{
    inbound::source::{CREATE as CREATE_SOURCE, Source, issue},
    sso::CREATE as CREATE_CONNECTION,
    support::{
        ADD_PASSKEY, Device, Provider, Receiver, START_ADDING, START_LOGIN, answer, create_project,
        provider::{ACCESS_TOKEN, CLIENT_SECRET},
    },
    webhooks::CREATE_WEBHOOK,
};

const LIN: &str = "lin@example.com";
const HMAC_KEY: &str = "key_of_the_engine_room_4821";
const BASIC: &str = "password_of_the_engine_room_2764";
const OAUTH2: &str = "client_secret_of_the_engine_room_5190";
const SSO: &str = "client_secret_of_the_bridge_8263";
const TOKENS: &str = r#"{"access_token": "token_of_the_engine_room_3342", "expires_in": 3600}"#;

impl Seen {
    /// Opens a page, and keeps the cookies of the answer. Returns where it sends the browser.
    async fn visit(&mut self, browser: &Browser, page: &str) -> String {
        let response = browser.http().get(browser.url(page)).send().await.unwrap();
        self.cookies(&response);
        let to = response.headers()[LOCATION].to_str().unwrap();
        to.to_owned()
    }

    /// Logs in at a provider, or links it, from this page on. Returns where the browser ends.
    async fn come_back(&mut self, browser: &Browser, provider: &Provider, page: &str) -> String {
        let at_provider = self.visit(browser, page).await;
        let back = provider.sends_back(&at_provider);
        let url = Url::parse(&browser.url(&back)).unwrap();
        for (name, value) in url.query_pairs().filter(|(name, _)| name != "iss") {
            self.secret(&format!("the {name} of a log-in by a provider"), &value);
        }
        self.visit(browser, &back).await
    }
}

/// The file of providers that names this one.
pub fn providers_file(folder: &Path, provider: &Provider) -> String {
    let google = json!({
        "name": "google", "kind": "google", "issuer": provider.url, "client_id": "us",
        "client_secret": CLIENT_SECRET,
    });
    let file = folder.join("providers.json");
    fs::write(&file, json!({ "providers": [google] }).to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Logs in by a provider, links it to an account, and logs in by a passkey.
pub async fn log_in_by_others(seen: &mut Seen, dev: &Dev, provider: &Provider) {
    let person = |sub: &str| {
        let email = format!("{sub}@gmail.com");
        json!({ "sub": sub, "email": email, "email_verified": true })
    };
    provider.identifies(person("hal"));
    let to = seen
        .come_back(&dev.browser(), provider, "/oauth/google/start")
        .await;
    assert!(to.ends_with("login=done"), "{to}");

    let lin = dev.browser();
    sign_up(seen, dev, &lin, LIN).await;
    provider.identifies(person("lin"));
    let start = r#"mutation { credential { startLink(provider: "google") } }"#;
    let started = seen.done(&lin, start, json!({})).await;
    let url = text(&started, "/credential/startLink");
    let (_, ticket) = url.split_once("ticket=").unwrap();
    seen.secret("a ticket", ticket);
    let page = format!("/oauth/google/start?ticket={ticket}");
    let to = seen.come_back(&lin, provider, &page).await;
    assert!(to.ends_with("login=linked"), "{to}");
    seen.secret("the client secret of a provider", CLIENT_SECRET);
    seen.secret("an access token of a provider", ACCESS_TOKEN);
    let received = provider.secrets();
    assert_eq!(received.len(), 4, "two verifiers and two ID tokens");
    for secret in received {
        seen.secret("a verifier or an ID token", &secret);
    }
    use_a_passkey(seen, dev, &lin).await;
}

async fn use_a_passkey(seen: &mut Seen, dev: &Dev, owner: &Browser) {
    let mut device = Device::new();
    let started = seen.done(owner, START_ADDING, json!({})).await;
    let options = &started["credential"]["startPasskey"];
    seen.secret("a challenge", &text(options, "/challenge"));
    let added = json!({ "name": "Phone", "response": device.create(options).await });
    seen.done(owner, ADD_PASSKEY, added).await;
    let browser = dev.browser();
    let started = seen.done(&browser, START_LOGIN, json!({})).await;
    let options = &started["account"]["startPasskey"];
    seen.secret("a challenge", &text(options, "/challenge"));
    let response = device.get(options).await;
    seen.secret(
        "a signature of a passkey",
        &text(&response, "/response/signature"),
    );
    seen.done(&browser, LOG_IN, answer(response)).await;
}

/// Sends events to servers of the tenant, which ask for credentials, and receives one.
pub async fn exchange_hooks(seen: &mut Seen, owner: &Browser) {
    let (basic, by_token, tokens) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    tokens.answer(StatusCode::OK, TOKENS);
    let oauth2 = json!({
        "tokenUrl": tokens.url(), "clientId": "ada", "clientSecret": OAUTH2, "scope": "hooks",
    });
    for (receiver, auth) in [
        (
            &basic,
            json!({ "basic": { "username": "ada", "password": BASIC } }),
        ),
        (&by_token, json!({ "oauth2": oauth2 })),
    ] {
        let header = json!({ "name": "X-Room", "value": HMAC_KEY });
        let webhook = json!({
            "url": receiver.url(), "eventTypes": ["project.*"], "algorithm": "HMAC",
            "headers": [header], "auth": auth,
        });
        let created = seen.done(owner, CREATE_WEBHOOK, input(webhook)).await;
        seen.secret(
            "the secret of a webhook",
            &text(&created, "/webhook/create/secret"),
        );
    }
    seen.secret("a header of a webhook", HMAC_KEY);
    seen.secret("a password of a webhook", BASIC);
    seen.secret(
        "the credentials of a webhook",
        &BASE64.encode(format!("ada:{BASIC}").as_bytes()),
    );
    seen.secret("a client secret of a webhook", OAUTH2);
    seen.secret("a token of a webhook", "token_of_the_engine_room_3342");
    let project = create_project(owner, "Engine").await;
    basic.nth(1).await;
    by_token.nth(1).await;

    let settings = json!({ "name": "Code", "kind": "GITHUB", "project": project });
    let source = Source::create(owner, settings).await;
    seen.secret("the secret of an inbound source", &source.secret);
    source
        .accepts("1", "issues", &issue("opened", "Oil it", "open", 1))
        .await;
    assert_eq!(source.handled("1").await["status"], "HANDLED");
    let forged = source.send_signed_with(WRONG, "2", "issues", "{}").await;
    assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);
    let again = json!({ "name": "Code", "kind": "GITHUB", "project": WRONG });
    seen.fails(owner, CREATE_SOURCE, input(again)).await;
}

/// Brings an issuer of the tenant's own. One that nobody may bring is refused, secret and all.
pub async fn bring_an_issuer(seen: &mut Seen, owner: &Browser) {
    seen.secret("the client secret of a connection", SSO);
    let connection = |role: &str| {
        input(json!({
            "name": "Acme", "issuer": "https://login.example.com", "clientId": "0oa1",
            "clientSecret": SSO, "role": role,
        }))
    };
    seen.done(owner, CREATE_CONNECTION, connection("GUEST"))
        .await;
    seen.fails(owner, CREATE_CONNECTION, connection("OWNER"))
        .await;
}
