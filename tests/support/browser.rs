//! A person's browser and mailbox, or a machine. It uses HTTP only, and reaches nothing inside the
//! product.

use std::time::{Duration, Instant};

use local::Local;
use reqwest::{
    Response,
    header::{HeaderMap, LOCATION},
    redirect::Policy,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    ACCEPT_INVITATION, CREATE_TENANT, CREATE_TOKEN, DEADLINE, Gateway, INVITE, LOGIN, PASSWORD,
    REGISTER, VERIFY, code, code_of, credentials, input, succeeded, text, token,
};

/// A browser: it keeps its cookies.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    url: String,
    mail_url: String,
    /// Sent with every request.
    headers: HeaderMap,
}

impl Browser {
    pub fn new(backend: &Local) -> Self {
        Self::at(&backend.url(), &backend.mail_url())
    }

    pub fn at(url: &str, mail_url: &str) -> Self {
        // Tests follow redirects themselves, by `visit`.
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(Policy::none())
            .user_agent("Browser/1.0");
        Self {
            http: http.build().unwrap(),
            url: url.to_owned(),
            mail_url: mail_url.to_owned(),
            headers: HeaderMap::new(),
        }
    }

    /// The browser of a new person with this address, who is logged in.
    pub async fn signed_up(backend: &Local, email: &str) -> Self {
        let browser = Self::new(backend);
        browser.sign_up(email).await;
        browser
    }

    /// A machine with this access token, and no cookies.
    pub fn machine(backend: &Local, token: &str) -> Self {
        Self::new(backend).with_header("authorization", &format!("Bearer {token}"))
    }

    /// The same browser; its requests name this tenant by slug or id.
    pub fn in_tenant(&self, tenant: &str) -> Self {
        self.with_header("x-tenant", tenant)
    }

    /// The same browser at another gateway, under the name of this machine: its cookies are those
    /// of that name.
    pub fn at_localhost(&self, gateway: &Gateway) -> Self {
        self.at_url(&format!("http://localhost:{}", gateway.address().port()))
    }

    /// The same browser with its cookies, at another gateway: cookies are independent of the port.
    pub fn at_gateway(&self, gateway: &Gateway) -> Self {
        self.at_url(&format!("http://{}", gateway.address()))
    }

    /// The same browser with its cookies, at the gateway with this URL.
    pub fn at_url(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut browser = self.clone();
        browser.headers.insert(name, value.parse().unwrap());
        browser
    }

    /// The value of the header with this machine's token.
    pub fn authorization(&self) -> &str {
        self.headers["authorization"].to_str().unwrap()
    }

    pub fn with_idempotency_key(&self, key: &str) -> Self {
        self.with_header("idempotency-key", key)
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Opens a page of the backend, or any other one if this is a whole URL. Returns where it sends
    /// the browser.
    pub async fn visit(&self, page: &str) -> Result<String, Response> {
        let url = if page.starts_with('/') {
            self.url(page)
        } else {
            page.to_owned()
        };
        let response = self.http.get(url).headers(self.headers.clone());
        let response = response.send().await.unwrap();
        match response.headers().get(LOCATION) {
            Some(to) => Ok(to.to_str().unwrap().to_owned()),
            None => Err(response),
        }
    }

    /// Sends a document; returns the whole body. Variables are `json!({ … })`, or `()` for none.
    pub async fn gql(&self, document: &str, variables: impl Serialize) -> Value {
        self.post(document, variables).await.json().await.unwrap()
    }

    /// Sends a document; returns the response with its status and headers.
    pub async fn post(&self, document: &str, variables: impl Serialize) -> Response {
        let body = json!({ "query": document, "variables": variables });
        let request = self
            .http
            .post(self.url("/graphql"))
            .headers(self.headers.clone());
        request.json(&body).send().await.unwrap()
    }

    /// Sends a document that must succeed; returns its data.
    pub async fn data(&self, document: &str, variables: impl Serialize) -> Value {
        let mut body = self.gql(document, variables).await;
        assert!(body.get("errors").is_none(), "{document}: {body}");
        body["data"].take()
    }

    /// Sends a document that must fail; returns the extensions of its first error. The reason,
    /// which only rejections have, is left out: `errors.rs` is about it.
    pub async fn error(&self, document: &str, variables: impl Serialize) -> Value {
        let body = self.gql(document, variables).await;
        let error = &body["errors"][0];
        let message = error["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{document}: {body}");
        let mut extensions = error["extensions"].clone();
        extensions.as_object_mut().unwrap().remove("reason");
        extensions
    }

    /// Sends a document that must fail; returns the code of its first error.
    pub async fn code(&self, document: &str, variables: impl Serialize) -> String {
        text(&self.error(document, variables).await, "/code")
    }

    pub async fn register(&self, email: &str) -> Value {
        let person = json!({
            "firstname": "Ada", "lastname": "Lovelace", "email": email, "password": PASSWORD,
        });
        self.gql(REGISTER, input(person)).await
    }

    pub async fn login(&self, email: &str, password: &str) -> Value {
        self.gql(LOGIN, credentials(email, password)).await
    }

    /// Logs in, which must succeed.
    pub async fn log_in(&self, email: &str) {
        let answer = self.login(email, PASSWORD).await;
        assert!(succeeded(&answer), "{answer}");
    }

    /// Registers, verifies the address by its mail and logs in.
    pub async fn sign_up(&self, email: &str) {
        let answer = self.register(email).await;
        assert_eq!(
            answer["data"]["account"]["register"]["success"], true,
            "{answer}"
        );
        let code = code(&self.mail(email, "code", 1).await);
        self.data(VERIFY, input(json!({ "email": email, "code": code })))
            .await;
        let answer = self.login(email, PASSWORD).await;
        assert_eq!(
            answer["data"]["account"]["login"]["user"]["email"], email,
            "{answer}"
        );
    }

    /// Creates a tenant whose name is its slug, and returns it.
    pub async fn create_tenant(&self, slug: &str) -> Value {
        let tenant = json!({ "name": slug, "normalizedName": slug });
        self.data(CREATE_TENANT, input(tenant)).await["tenant"]["create"].clone()
    }

    /// Invites `guest` to this browser's tenant and accepts for them; returns their id as a member.
    pub async fn add_member(&self, guest: &Self, email: &str, role: &str) -> String {
        let invited = self
            .data(INVITE, input(json!({ "email": email, "role": role })))
            .await;
        let id = text(&invited, "/member/invite/id");
        // An address may have been invited before; the latest mail counts.
        let mut nth = guest.mails_to(email, "invites").await.len().max(1);
        loop {
            let token = token(&guest.mail(email, "invites", nth).await);
            let answer = guest
                .gql(ACCEPT_INVITATION, input(json!({ "token": token })))
                .await;
            if succeeded(&answer) {
                return id;
            }
            assert_eq!(code_of(&answer), "BAD_USER_INPUT", "{answer}");
            // This was an earlier mail. The latest has not arrived yet.
            nth += 1;
        }
    }

    /// Creates a machine with a new access token of this person; returns it and the token's id.
    pub async fn create_machine(&self, backend: &Local, scopes: &[&str]) -> (Self, String) {
        let token = json!({ "name": "Robot", "scopes": scopes });
        let created = self.data(CREATE_TOKEN, input(token)).await;
        let machine = Self::machine(backend, &text(&created, "/accessToken/create/token"));
        (
            machine,
            text(&created, "/accessToken/create/accessToken/id"),
        )
    }

    /// This person's id as a member.
    pub async fn member_id(&self) -> String {
        text(
            &self.data("{ me { member { id } } }", ()).await,
            "/me/member/id",
        )
    }

    /// Whether the profile is shown.
    pub async fn is_logged_in(&self) -> bool {
        let body = self.gql("{ profile { id } }", ()).await;
        let logged_in = body["data"]["profile"]["id"].is_string();
        assert!(logged_in || code_of(&body) == "UNAUTHENTICATED", "{body}");
        logged_in
    }

    /// All mail there is.
    pub async fn mails(&self) -> Vec<Value> {
        let messages = self.http.get(format!("{}/messages", self.mail_url));
        messages.send().await.unwrap().json().await.unwrap()
    }

    /// All mails to this address whose text has this word.
    pub async fn mails_to(&self, email: &str, word: &str) -> Vec<Value> {
        let mut mails = self.mails().await;
        mails.retain(|mail| mail["to"][0] == email && text(mail, "/text").contains(word));
        mails
    }

    /// The n-th mail to this address whose text has this word; waits for it.
    pub async fn mail(&self, email: &str, word: &str, nth: usize) -> Value {
        let start = Instant::now();
        loop {
            if let Some(mail) = self.mails_to(email, word).await.into_iter().nth(nth - 1) {
                return mail;
            }
            let waited = start.elapsed();
            assert!(
                waited < DEADLINE,
                "no mail {nth} to {email} with {word:?} in it"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
