//! A running service, and clients of it.

use std::path::Path;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stripe_client_core::{StripeMethod, StripeRequest};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::{SECRET_KEY, Stripe};

pub(super) const DAY: i64 = 24 * 60 * 60;

/// An answer: its status and body.
pub(super) type Answer = (u16, Value);

pub(super) struct Running {
    pub(super) url: String,
    client: Client,
    shutdown: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    pub(super) async fn start() -> Self {
        Self::serve(Stripe::new).await
    }

    /// Starts a service that keeps what it has in a file.
    pub(super) async fn kept(file: &Path) -> Self {
        Self::serve(|url| Stripe::kept(url, file).unwrap()).await
    }

    async fn serve(stripe: impl FnOnce(&str) -> Stripe) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        tokio::spawn(stripe(&url).serve(listener, shutdown.clone()));
        Self {
            url,
            client: Client::new(),
            shutdown,
        }
    }

    /// A request with the right key.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client.request(method, url).bearer_auth(SECRET_KEY)
    }

    /// Sends a request that async-stripe has built, and reads the answer as async-stripe does.
    pub(super) async fn send<R>(&self, request: &R) -> R::Output
    where
        R: StripeRequest,
        R::Output: DeserializeOwned,
    {
        let request = request.build();
        let method = match request.method {
            StripeMethod::Get => Method::GET,
            StripeMethod::Post => Method::POST,
            StripeMethod::Delete => Method::DELETE,
        };
        let query = request.query.map(|query| format!("?{query}"));
        let path = format!("/v1{}{}", request.path, query.unwrap_or_default());
        let sent = self.form(method, &path, request.body.unwrap_or_default());
        let (status, body) = answer(sent).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{error}: {body:#}"))
    }

    fn form(&self, method: Method, path: &str, form: String) -> RequestBuilder {
        self.request(method, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
    }

    /// Sends a form that is written as in a URL.
    pub(super) async fn post(&self, path: &str, form: &str) -> Answer {
        answer(self.form(Method::POST, path, form.to_owned())).await
    }

    pub(super) async fn post_with_key(&self, key: &str, path: &str, form: &str) -> Answer {
        let request = self.form(Method::POST, path, form.to_owned());
        answer(request.header("idempotency-key", key)).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    /// Creates or changes an object.
    pub(super) async fn ok(&self, path: &str, form: &str) -> Value {
        let (status, body) = self.post(path, form).await;
        assert_eq!(status, 200, "{path} {form}: {body}");
        body
    }

    /// Reads an object.
    pub(super) async fn read(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Sends what must be refused, and returns the error.
    pub(super) async fn refused(&self, path: &str, form: &str) -> Value {
        let (status, body) = self.post(path, form).await;
        assert_ne!(status, 200, "{path} {form}: {body}");
        body["error"].clone()
    }

    pub(super) async fn control(&self, path: &str, body: Value) -> Value {
        let request = self.request(Method::POST, &format!("/_test/{path}"));
        let (status, answer) = answer(request.json(&body)).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Lets days pass.
    pub(super) async fn pass_days(&self, days: i64) {
        self.control("clock", json!({ "advance": days * DAY }))
            .await;
    }

    pub(super) async fn now(&self) -> i64 {
        self.read("/_test/clock").await["now"].as_i64().unwrap()
    }

    /// Creates a customer whose default card is this test card.
    pub(super) async fn customer(&self, card: &str) -> String {
        let customer = id(&self.ok("/v1/customers", "name=Ada").await);
        let card = self.attach(&customer, card).await;
        let form = format!("invoice_settings[default_payment_method]={card}");
        self.ok(&format!("/v1/customers/{customer}"), &form).await;
        customer
    }

    pub(super) async fn attach(&self, customer: &str, card: &str) -> String {
        let path = format!("/v1/payment_methods/{card}/attach");
        id(&self.ok(&path, &format!("customer={customer}")).await)
    }

    /// Creates a monthly price.
    pub(super) async fn price(&self, currency: &str, amount: i64) -> String {
        self.price_per(currency, amount, "month").await
    }

    pub(super) async fn price_per(&self, currency: &str, amount: i64, interval: &str) -> String {
        let form = format!(
            "currency={currency}&unit_amount={amount}&recurring[interval]={interval}\
             &product_data[name]=Pro"
        );
        id(&self.ok("/v1/prices", &form).await)
    }

    /// Subscribes, with further parameters.
    pub(super) async fn subscribe(&self, customer: &str, price: &str, further: &str) -> Value {
        let form = format!("customer={customer}&items[0][price]={price}{further}");
        self.ok("/v1/subscriptions", &form).await
    }

    /// The types of all events, oldest first.
    pub(super) async fn events(&self) -> Vec<String> {
        let events = self.read("/v1/events?limit=100").await;
        let kinds = events["data"].as_array().unwrap().iter().rev();
        kinds.map(|event| text(&event["type"])).collect()
    }
}

async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status: StatusCode = response.status();
    (status.as_u16(), response.json().await.unwrap())
}

pub(super) fn id(object: &Value) -> String {
    text(&object["id"])
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
