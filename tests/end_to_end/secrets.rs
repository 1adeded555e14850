//! No secret gets into the log, into an error, into a stream, into a view or into a span.

mod others;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use async_nats::jetstream;
use data_encoding::{BASE64, HEXLOWER};
use futures_util::TryStreamExt;
use mongodb::{Client, bson::Document};
use reqwest::{Response, header::SET_COOKIE};
use serde_json::{Value, json};

use self::others::{bring_an_issuer, exchange_hooks, log_in_by_others, providers_file};
use crate::{
    cargo_dev::{Dev, operator_of, server},
    email_change::{CONFIRM as CONFIRM_CHANGE, REQUEST as REQUEST_CHANGE, UNDO as UNDO_CHANGE},
    login_codes::SEND as SEND_CODE,
    second_factor::{LOG_IN, second},
    step_up::STEP_UP,
    support::{
        ACCEPT_INVITATION, Authenticator, Browser, CHANGE_PASSWORD, CONFIRM_TOTP, CREATE_PROJECT,
        CREATE_TENANT, CREATE_TOKEN, Collector, INVITE, LOGIN, Provider, REGISTER, START_TOTP,
        VERIFY, code, code as code_in, code_of, collections, credentials, eventually, input,
        invite, list, succeeded, text, token,
    },
};

const ADA: &str = "ada@example.com";
const GRACE: &str = "grace@example.com";
/// Each is a word, so that it can be the name of an operation, too.
const PASSWORD: &str = "first_Passphrase_of_Ada_7319";
const CHANGED: &str = "second_Passphrase_of_Ada_8427";
const RESET: &str = "third_Passphrase_of_Ada_9536";
const WRONG: &str = "mistaken_Passphrase_of_Ada_6148";
const SEND_RESET: &str = "
    mutation($input: EmailInput!) {
        account { sendResetPasswordEmail(input: $input) { success } }
    }";
const RESET_PASSWORD: &str = "
    mutation($input: ResetPasswordInput!) {
        account { resetPassword(input: $input) { success } }
    }";

/// All secrets that were used, and all errors that were answered.
#[derive(Default)]
pub struct Seen {
    secrets: BTreeMap<String, String>,
    pub errors: Vec<Value>,
}

impl Seen {
    pub fn secret(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 6, "{what} is empty");
        self.secrets.insert(secret.to_owned(), what.to_owned());
    }

    /// Sends a document; keeps the errors and the cookies of the answer.
    async fn send(&mut self, browser: &Browser, document: &str, variables: Value) -> Value {
        let response = browser.post(document, variables).await;
        self.cookies(&response);
        let answer: Value = response.json().await.unwrap();
        self.errors.extend(answer.get("errors").cloned());
        answer
    }

    /// Keeps the cookies of an answer.
    fn cookies(&mut self, response: &Response) {
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if !value.is_empty() {
                self.secret(&format!("the cookie {name}"), value);
            }
        }
    }

    /// Sends a document that must succeed.
    pub async fn done(&mut self, browser: &Browser, document: &str, variables: Value) -> Value {
        let mut answer = self.send(browser, document, variables).await;
        assert!(succeeded(&answer), "{document}: {answer}");
        answer["data"].take()
    }

    /// Sends a document that must fail.
    pub async fn fails(&mut self, browser: &Browser, document: &str, variables: Value) {
        let answer = self.send(browser, document, variables).await;
        assert!(code_of(&answer).is_string(), "{document}: {answer}");
    }

    /// Fails if a text has a secret as a word of its own.
    pub fn check(&self, place: &str, text: &str) {
        for (secret, what) in &self.secrets {
            for (at, _) in text.match_indices(secret) {
                let around = [
                    text[..at].chars().next_back(),
                    text[at + secret.len()..].chars().next(),
                ];
                let is_within = around.iter().flatten().any(char::is_ascii_alphanumeric);
                let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = text[start..].lines().next().unwrap_or_default();
                assert!(
                    is_within && secret.len() == 6,
                    "{what} is in {place}: {line}"
                );
            }
        }
    }
}

/// What the servers and programs know: their own secret, and the passwords of servers.
fn secrets_of_servers(seen: &mut Seen, data: &Path) {
    let variables = fs::read_to_string(data.join("env")).unwrap();
    let (_, secret) = variables.split_once("UB_SECRET='").unwrap();
    let secret = secret.split('\'').next().unwrap();
    seen.secret("UB_SECRET", secret.trim_start_matches("k1:"));
    for url in variables.split("://").skip(1) {
        let authority = url.split(['/', ',', '\'']).next().unwrap();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if let Some((_, password)) = user.split_once(':') {
            seen.secret("a password in a URL", password);
        }
    }
    let environment = format!("/proc/{}/environ", server(data, "nats-server"));
    let environment = fs::read_to_string(environment).unwrap();
    let passwords = environment
        .split('\0')
        .filter_map(|variable| variable.split_once('='));
    let mut count = 0;
    for (name, value) in passwords.filter(|(name, _)| name.ends_with("_PASSWORD")) {
        seen.secret(name, value);
        count += 1;
    }
    assert!(count >= 3, "the passwords of NATS");
}

/// Registers a person, while the mail server refuses mail at first, and signs in.
async fn sign_up(seen: &mut Seen, dev: &Dev, browser: &Browser, email: &str) {
    let refuse = format!("{}/refuse", dev.mail_url);
    let http = reqwest::Client::new();
    let refused = http.put(&refuse).json(&json!({ "code": 451 })).send();
    refused.await.unwrap();
    let person = json!({
        "firstname": "Ada", "lastname": "Lovelace", "email": email, "password": PASSWORD,
    });
    seen.done(browser, REGISTER, input(person)).await;
    http.delete(&refuse).send().await.unwrap();
    let mail = browser.mail(email, "code", 1).await;
    let (code, link) = (code(&mail), token(&mail));
    seen.secret("a code", &code);
    seen.secret("a link to verify", &link);
    let wrong = json!({ "email": email, "code": "000000" });
    seen.fails(browser, VERIFY, input(wrong)).await;
    let right = json!({ "email": email, "code": code });
    seen.done(browser, VERIFY, input(right)).await;
    seen.fails(browser, LOGIN, credentials(email, WRONG)).await;
    seen.done(browser, LOGIN, credentials(email, PASSWORD))
        .await;
}

/// Founds a tenant with Grace in it; returns an access token.
async fn work_in_a_tenant(seen: &mut Seen, ada: &Browser, grace: &Browser) -> String {
    let acme = json!({ "name": "Acme", "normalizedName": "acme" });
    seen.done(ada, CREATE_TENANT, input(acme)).await;
    let in_acme = ada.in_tenant("acme");
    seen.done(&in_acme, INVITE, invite(GRACE, "GUEST")).await;
    let invitation = token(&grace.mail(GRACE, "invites", 1).await);
    seen.secret("a link of an invitation", &invitation);
    let accept = input(json!({ "token": invitation }));
    seen.fails(ada, ACCEPT_INVITATION, accept.clone()).await;
    seen.done(grace, ACCEPT_INVITATION, accept).await;
    let project = input(json!({ "name": "Rocket" }));
    seen.fails(&grace.in_tenant("acme"), CREATE_PROJECT, project.clone())
        .await;
    seen.done(&in_acme, CREATE_PROJECT, project).await;
    let robot = json!({ "name": "Robot", "scopes": ["read_project"] });
    let created = seen.done(&in_acme, CREATE_TOKEN, input(robot)).await;
    let token = text(&created, "/accessToken/create/token");
    seen.secret("an access token", &token);
    token
}

/// A machine works with its token, and a client puts secrets where they do not belong.
async fn misplace(seen: &mut Seen, dev: &Dev, token: &str) {
    let bearer = |token: &str| {
        let browser = dev.browser();
        browser.with_header("authorization", &format!("Bearer {token}"))
    };
    let projects = "{ projects { nodes { name } } }";
    seen.done(&bearer(token), projects, json!({})).await;
    seen.fails(&bearer(&token[..66]), projects, json!({})).await;
    let stranger = dev.browser();
    for document in [
        format!("query {WRONG} {{ profile {{ id }} }}"),
        format!("query {{ profile {{ id }} \"{WRONG}\""),
        format!("query {{ project(id: \"{WRONG}\") {{ id }} }}"),
        format!("query {{ tenantAvailable(identifier: {WRONG}) }}"),
        format!(
            "mutation {{ account {{ login(input: {{ service: {WRONG} }}) {{ __typename }} }} }}"
        ),
        format!(
            "mutation {{ account {{ verifyAccount(input: {{ {WRONG}: 1 }}) {{ success }} }} }}"
        ),
    ] {
        seen.fails(&stranger, &document, json!({})).await;
    }
    for variables in [
        json!({ "input": WRONG }),
        json!({ "input": { "email": ADA, "code": [WRONG] } }),
        json!({ "input": { "email": WRONG, "code": WRONG } }),
    ] {
        seen.fails(&stranger, VERIFY, variables).await;
    }
    for header in ["x-tenant", "traceparent", "idempotency-key", "user-agent"] {
        let browser = stranger.with_header(header, WRONG);
        seen.fails(&browser, projects, json!({})).await;
    }
    reqwest::get(format!("{}?token={WRONG}", stranger.url("/graphql")))
        .await
        .unwrap();
}

/// Adds a second factor, uses it, and logs in by a code in a mail.
async fn prove_two_factors(seen: &mut Seen, ada: &Browser) {
    let setup = seen.done(ada, START_TOTP, json!({})).await;
    let secret = text(&setup, "/credential/startTotp/secret");
    let mut app = Authenticator::new(&secret);
    seen.secret("a seed", &secret);
    seen.secret("a seed in hexadecimal", &HEXLOWER.encode(app.seed()));
    seen.secret("a seed in Base64", &BASE64.encode(app.seed()));
    let wrong = json!({ "code": WRONG });
    seen.fails(ada, CONFIRM_TOTP, wrong).await;
    let code = app.next().await;
    seen.secret("a code of an app", &code);
    let confirmed = seen.done(ada, CONFIRM_TOTP, json!({ "code": code })).await;
    let codes = list(&confirmed["credential"]["confirmTotp"]).clone();
    for code in &codes {
        let code = code.as_str().unwrap();
        seen.secret("a recovery code", code);
        seen.secret("a recovery code without hyphens", &code.replace('-', ""));
    }
    seen.done(ada, SEND_CODE, input(json!({ "email": ADA })))
        .await;
    let mailed = code_in(&ada.mail(ADA, "in which you asked for it", 1).await);
    seen.secret("a code to log in", &mailed);
    let params = json!({ "email": ADA, "code": mailed });
    let by_mail = input(json!({ "service": "EmailCode", "params": params }));
    seen.done(ada, LOG_IN, by_mail).await;
    seen.fails(ada, LOG_IN, second("Totp", WRONG)).await;
    let code = app.next().await;
    seen.secret("a code of an app", &code);
    seen.done(ada, LOG_IN, second("Totp", &code)).await;
    let recovery = second("RecoveryCode", codes[0].as_str().unwrap());
    seen.done(ada, STEP_UP, recovery).await;
    let remove = "mutation { credential { removeTotp { success } } }";
    seen.done(ada, remove, json!({})).await;
}

/// Gives an account another address, and the former one back.
async fn change_address(seen: &mut Seen, grace: &Browser) {
    let new = "grace@example.org";
    seen.done(grace, REQUEST_CHANGE, json!({ "email": new }))
        .await;
    let code = code_in(&grace.mail(new, "use this e-mail address", 1).await);
    seen.secret("a code of a new address", &code);
    let link = token(&grace.mail(GRACE, "wants to change", 1).await);
    seen.secret("a link of a present address", &link);
    let with = |token: &str| json!({ "token": token });
    seen.fails(grace, CONFIRM_CHANGE, with(WRONG)).await;
    seen.done(grace, CONFIRM_CHANGE, with(&code)).await;
    seen.done(grace, CONFIRM_CHANGE, with(&link)).await;
    let undo = token(&grace.mail(GRACE, "no longer log in with this", 1).await);
    seen.secret("a link of a former address", &undo);
    seen.done(grace, UNDO_CHANGE, with(&undo)).await;
}

async fn change_passwords(seen: &mut Seen, ada: &Browser) {
    let change = |old: &str, new: &str| input(json!({ "oldPassword": old, "newPassword": new }));
    seen.fails(ada, CHANGE_PASSWORD, change(WRONG, CHANGED))
        .await;
    seen.done(ada, CHANGE_PASSWORD, change(PASSWORD, CHANGED))
        .await;
    seen.done(ada, SEND_RESET, input(json!({ "email": ADA })))
        .await;
    let link = token(&ada.mail(ADA, "new password", 1).await);
    seen.secret("a link to reset", &link);
    let reset = |link: &str| input(json!({ "token": link, "password": RESET }));
    seen.done(ada, RESET_PASSWORD, reset(&link)).await;
    seen.fails(ada, RESET_PASSWORD, reset(&link)).await;
    seen.done(ada, LOGIN, credentials(ADA, RESET)).await;
    seen.done(
        ada,
        "mutation { account { logout { success } } }",
        json!({}),
    )
    .await;
}

/// Sends a commit of an account where no commit belongs. It ends on DEAD.
async fn send_to_dead(nats: &jetstream::Context) {
    let events = nats.get_stream("EVENTS").await.unwrap();
    let commit = events.get_last_raw_message_by_subject("evt.platform.account.*");
    let commit = commit.await.unwrap().payload;
    let sent = nats.publish("cmd.platform.account.disable", commit).await;
    sent.unwrap().await.unwrap();
    eventually("a dead letter", || async {
        let dead = nats.get_stream("DEAD").await.unwrap();
        dead.get_info().await.unwrap().state.messages > 0
    })
    .await;
}

/// Checks all messages. There are some in these streams.
pub async fn check_streams(seen: &Seen, nats: &jetstream::Context, filled: &[&str]) {
    let streams: Vec<_> = nats.streams().try_collect().await.unwrap();
    let mut checked = Vec::new();
    for info in streams {
        let (name, state) = (info.config.name, info.state);
        let stream = nats.get_stream(&name).await.unwrap();
        for sequence in state.first_sequence..=state.last_sequence {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                let body = String::from_utf8_lossy(&message.payload).into_owned();
                let head = format!("{} {:?}", message.subject, message.headers);
                seen.check(&name, &head);
                seen.check(&name, &body);
                checked.push(name.clone());
            }
        }
    }
    for name in filled {
        assert!(checked.iter().any(|checked| checked == name), "{name}");
    }
}

/// Checks all documents of MongoDB. There are some in these collections.
async fn check_views(seen: &Seen, data: &Path, filled: &[&str]) {
    let variables = fs::read_to_string(data.join("env")).unwrap();
    let (_, url) = variables.split_once("UB_MONGO_URL='").unwrap();
    let mongo = Client::with_uri_str(url.split('\'').next().unwrap());
    let mongo = mongo.await.unwrap();
    let mut checked = BTreeSet::new();
    for database in mongo.list_database_names().await.unwrap() {
        if ["admin", "config", "local"].contains(&database.as_str()) {
            continue;
        }
        for name in collections(&mongo, &database).await {
            let collection = mongo.database(&database).collection::<Document>(&name);
            let mut documents = collection.find(Document::new()).await.unwrap();
            while let Some(document) = documents.try_next().await.unwrap() {
                seen.check(&name, &json!(document).to_string());
                checked.insert(name.clone());
            }
        }
    }
    for name in filled {
        assert!(checked.contains(*name), "{name}: {checked:?}");
    }
}

/// Checks all spans, once that of a last request has arrived.
pub async fn check_spans(seen: &Seen, dev: &Dev, collector: &Collector) {
    let last = dev.browser().post("{ profile { id } }", json!({})).await;
    let id = last.headers()["x-request-id"].to_str().unwrap();
    eventually("the last span", || async {
        !collector.trace(id).is_empty()
    })
    .await;
    for span in collector.spans() {
        seen.check("a span", &format!("{span:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_an_error_a_stream_a_view_or_a_span() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let (provider, collector) = (Provider::start().await, Collector::start().await);
    let file = providers_file(folder.path(), &provider);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("UB_OUTBOUND_ALLOW", "127.0.0.0/8"),
        ("UB_PROVIDERS_FILE", file.as_str()),
        // Devices make no passkeys for addresses of numbers.
        ("UB_PUBLIC_URL", "http://localhost:9900"),
    ];
    let dev = Dev::start_logging(&data, &log, &variables).await;
    let mut seen = Seen::default();
    for password in [PASSWORD, CHANGED, RESET, WRONG] {
        seen.secret("a password", password);
    }
    secrets_of_servers(&mut seen, &data);
    let (ada, grace) = (dev.browser(), dev.browser());
    sign_up(&mut seen, &dev, &ada, ADA).await;
    sign_up(&mut seen, &dev, &grace, GRACE).await;
    let token = work_in_a_tenant(&mut seen, &ada, &grace).await;
    misplace(&mut seen, &dev, &token).await;
    exchange_hooks(&mut seen, &ada.in_tenant("acme")).await;
    bring_an_issuer(&mut seen, &ada.in_tenant("acme")).await;
    log_in_by_others(&mut seen, &dev, &provider).await;
    prove_two_factors(&mut seen, &ada).await;
    change_passwords(&mut seen, &ada).await;
    change_address(&mut seen, &grace).await;

    let nats = operator_of(&data).await;
    send_to_dead(&nats).await;
    check_streams(&seen, &nats, &["EVENTS", "DEAD", "SECURITY"]).await;
    let views = [
        "account",
        "session",
        "webhook",
        "inbound_source",
        "connection",
    ];
    check_views(&seen, &data, &views).await;
    check_spans(&seen, &dev, &collector).await;
    assert!(seen.errors.len() > 15);
    seen.check("an error", &json!(seen.errors).to_string());
    let log = fs::read_to_string(log).unwrap();
    for line in [
        "gateway::http",
        "workers::",
        "login_failed",
        "operations=\"project.create\"",
        "DEBUG",
    ] {
        assert!(log.contains(line), "no {line} in the log");
    }
    assert!(seen.secrets.len() > 20, "{:?}", seen.secrets.values());
    seen.check("the log", &log);
}
