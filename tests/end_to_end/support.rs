//! A person's browser and mailbox: HTTP in, HTTP out, mail by SMTP. Nothing of the product is
//! reached from inside.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use local::{Local, Options};
use reqwest::{Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

/// Far more than anything here takes; reached only by what is broken.
pub const DEADLINE: Duration = Duration::from_secs(30);
pub const PASSWORD: &str = "correct horse battery staple";

/// A backend on free ports, in a temporary folder.
pub async fn start() -> Local {
    start_with_mail_attempts(12).await
}

pub async fn start_with_mail_attempts(mail_attempts: i64) -> Local {
    Local::start(Options {
        mail_attempts,
        ..options()
    })
    .await
    .unwrap()
}

/// With further options of the gateway.
pub async fn start_with(gateway: &[&str]) -> Local {
    Local::start(Options {
        gateway: gateway.iter().map(|word| (*word).to_owned()).collect(),
        ..options()
    })
    .await
    .unwrap()
}

fn options() -> Options {
    let any = "127.0.0.1:0".parse().unwrap();
    Options {
        listen: any,
        mail_listen: any,
        data_dir: None,
        mail_attempts: 12,
        gateway: Vec::new(),
    }
}

/// A browser: keeps its cookies.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    url: String,
    mail_url: String,
    /// Sent with every request.
    headers: HeaderMap,
}

impl Browser {
    pub fn new(local: &Local) -> Self {
        Self::at(&local.url(), &local.mail_url())
    }

    pub fn at(url: &str, mail_url: &str) -> Self {
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .user_agent("Browser/1.0")
            .build()
            .unwrap();
        Self {
            http,
            url: url.to_owned(),
            mail_url: mail_url.to_owned(),
            headers: HeaderMap::new(),
        }
    }

    /// The same browser, its requests naming this tenant by slug or id.
    pub fn inside(&self, tenant: &str) -> Self {
        self.with_header("x-tenant", tenant)
    }

    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut browser = self.clone();
        browser.headers.insert(name, value.parse().unwrap());
        browser
    }

    /// A machine with this access token, and no cookies.
    pub fn machine(local: &Local, token: &str) -> Self {
        Self::new(local).with_header("authorization", &format!("Bearer {token}"))
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Runs a document; answers the whole body.
    pub async fn run(&self, query: &str, variables: Value) -> Value {
        self.run_with(query, variables, HeaderMap::new())
            .await
            .json()
            .await
            .unwrap()
    }

    pub async fn run_with(&self, query: &str, variables: Value, headers: HeaderMap) -> Response {
        let body = json!({ "query": query, "variables": variables });
        self.http
            .post(self.url("/graphql"))
            .headers(self.headers.clone())
            .headers(headers)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// Runs a document that must succeed; answers its data.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut body = self.run(query, variables).await;
        assert!(body.get("errors").is_none(), "{query}: {body}");
        body["data"].take()
    }

    /// Runs a document that must fail; answers the extensions of its first error.
    pub async fn error(&self, query: &str, variables: Value) -> Value {
        let body = self.run(query, variables).await;
        let error = &body["errors"][0];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{query}: {body}"
        );
        error["extensions"].clone()
    }

    pub async fn register(&self, email: &str) -> Value {
        let input = json!({ "firstname": "Ada", "lastname": "Lovelace", "email": email, "password": PASSWORD });
        self.run(REGISTER, json!({ "input": input })).await
    }

    pub async fn login(&self, email: &str, password: &str) -> Value {
        self.run(LOGIN, json!({ "input": { "service": "Password", "params": { "email": email, "password": password } } })).await
    }

    /// Registers, answers the mail and logs in.
    pub async fn join(&self, email: &str) {
        let answer = self.register(email).await;
        assert_eq!(
            answer["data"]["account"]["register"]["success"], true,
            "{answer}"
        );
        let code = code(&self.mail(email, "code", 1).await);
        self.data(VERIFY, json!({ "input": { "email": email, "code": code } }))
            .await;
        let answer = self.login(email, PASSWORD).await;
        assert_eq!(
            answer["data"]["account"]["login"]["user"]["email"], email,
            "{answer}"
        );
    }

    /// Founds a tenant and answers it; its slug is its name.
    pub async fn found(&self, slug: &str) -> Value {
        self.data(
            FOUND,
            json!({ "input": { "name": slug, "normalizedName": slug } }),
        )
        .await["tenant"]["create"]
            .clone()
    }

    /// Has `guest` join this browser's tenant in a role; answers their id as a member.
    pub async fn take_in(&self, guest: &Self, email: &str, role: &str) -> String {
        let invited = self
            .data(INVITE, json!({ "input": { "email": email, "role": role } }))
            .await;
        // The latest: an address may be invited to several tenants.
        let nth = guest
            .mails()
            .await
            .iter()
            .filter(|mail| {
                mail["to"][0] == email && mail["text"].as_str().unwrap().contains("invited")
            })
            .count();
        let id = invited["member"]["invite"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let mut nth = nth.max(1);
        loop {
            let token = token(&guest.mail(email, "invited", nth).await);
            let answer = guest
                .run(ACCEPT, json!({ "input": { "token": token } }))
                .await;
            if answer["errors"].is_null() {
                return id;
            }
            // That was an earlier one; the latest is on its way.
            nth += 1;
        }
    }

    /// All mail there is.
    pub async fn mails(&self) -> Vec<Value> {
        self.http
            .get(format!("{}/messages", self.mail_url))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// The n-th mail to this address whose text has this word, waited for.
    pub async fn mail(&self, to: &str, word: &str, nth: usize) -> Value {
        let start = Instant::now();
        loop {
            let found = self
                .mails()
                .await
                .into_iter()
                .filter(|mail| mail["to"][0] == to && mail["text"].as_str().unwrap().contains(word))
                .nth(nth - 1);
            if let Some(mail) = found {
                return mail;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "no mail {nth} to {to} with {word:?} in it: {:#?}",
                self.mails().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the profile is shown.
    pub async fn is_logged_in(&self) -> bool {
        let body = self.run("{ profile { id } }", json!({})).await;
        assert!(
            body["data"]["profile"]["id"].is_string()
                || body["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED",
            "{body}"
        );
        body["data"]["profile"]["id"].is_string()
    }
}

pub const REGISTER: &str =
    "mutation($input: RegisterInput!) { account { register(input: $input) { success } } }";
pub const LOGIN: &str = "mutation($input: LoginInput!) { account { login(input: $input) { user { id email verified } session { id device current } } } }";
pub const FOUND: &str = "mutation($input: CreateTenantInput!) { tenant { create(input: $input) { id name normalizedName revision database { kind host } } } }";
pub const INVITE: &str = "mutation($input: InviteMemberInput!) { member { invite(input: $input) { id email role status revision } } }";
pub const ACCEPT: &str = "mutation($input: InvitationInput!) { member { acceptInvitation(input: $input) { id normalizedName } } }";
pub const VERIFY: &str = "mutation($input: VerifyAccountInput!) { account { verifyAccount(input: $input) { success } } }";

/// The six-digit code in a mail.
pub fn code(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    text.split_whitespace()
        .find(|word| word.len() == 6 && word.bytes().all(|c| c.is_ascii_digit()))
        .unwrap_or_else(|| panic!("{text}"))
        .to_owned()
}

/// The token of the link in a mail.
pub fn token(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    let (_, rest) = text
        .split_once("token=")
        .unwrap_or_else(|| panic!("{text}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Polls until it holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(
            start.elapsed() < DEADLINE,
            "{what} did not come within {DEADLINE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// That an answer is an error of this status and code.
pub async fn assert_refused(what: &str, response: Response, status: StatusCode, code: &str) {
    assert_eq!(response.status(), status, "{what}");
    let body: Value = response
        .json()
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(
        body["errors"][0]["extensions"]["code"], code,
        "{what}: {body}"
    );
}

/// A further gateway of a backend, configured a little differently.
pub struct Gateway {
    address: std::net::SocketAddr,
    shutdown: tokio_util::sync::CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Gateway {
    pub async fn start(local: &Local, change: impl FnOnce(&mut gateway::Config)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (
            listener.local_addr().unwrap(),
            tokio_util::sync::CancellationToken::new(),
        );
        let mut config = local.gateway().clone();
        change(&mut config);
        // What is asked before it serves waits in the listener's queue.
        let running = tokio::spawn(gateway::run(config, listener, shutdown.clone()));
        Self {
            address,
            shutdown,
            running,
        }
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

impl Browser {
    /// The same browser, with its cookies, at another gateway: cookies do not know of ports.
    pub fn at_gateway(&self, gateway: &Gateway) -> Self {
        Self {
            url: format!("http://{}", gateway.address()),
            ..self.clone()
        }
    }

    /// Runs a document that must fail; answers the code of its first error.
    pub async fn code(&self, query: &str, variables: Value) -> String {
        self.error(query, variables).await["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// The text at a path such as `/member/invite/id`.
pub fn text(value: &Value, path: &str) -> String {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {path} in {value}"))
        .to_owned()
}
