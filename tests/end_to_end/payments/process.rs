//! A backend that runs as a process of its own, as its operator and the development Stripe see it.

use std::{fs, path::Path};

use event_store::{MongoOptions, NatsOptions};
use events_schema::EmailAddress;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::PLATFORM;

/// What `cargo dev` has written for its operator.
pub struct Variables(String);

impl Variables {
    pub fn of(data: &Path) -> Self {
        Self(fs::read_to_string(data.join("env")).unwrap())
    }

    fn get(&self, name: &str) -> String {
        let (_, rest) = self.0.split_once(&format!("{name}=")).unwrap();
        let line = rest.lines().next().unwrap();
        line.trim_matches('\'').to_owned()
    }

    pub fn mongo(&self) -> MongoOptions {
        MongoOptions {
            mongo_url: self.get("UB_MONGO_URL"),
            mongo_database: PLATFORM.to_owned(),
            mongo_hosts: Vec::new(),
        }
    }

    pub async fn make_platform_admin(&self, email: &str) {
        let nats = NatsOptions {
            nats_url: self.get("UB_NATS_URL"),
            ..NatsOptions::default()
        };
        let email = EmailAddress::parse(email).unwrap();
        let mongo = self.mongo();
        let set = workers::set_platform_admin(&nats, &mongo, &email, true);
        set.await.unwrap();
    }

    /// Sends a form to the development Stripe, as a browser or the owner of a card does.
    pub async fn stripe(&self, path: &str, form: &[(&str, &str)]) {
        let url = format!("{}/v1/{path}", self.get("UB_STRIPE_URL"));
        let request = Client::new().post(url).form(form);
        let request = request.basic_auth(local::stripe::SECRET_KEY, Some(""));
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }

    pub async fn confirm(&self, id: &str) {
        let body = json!({ "id": id, "succeeds": true });
        self.control(Method::POST, "authenticate", &body).await;
    }

    /// Asks something of the development Stripe that only tests can.
    pub async fn control(&self, method: Method, path: &str, body: &Value) {
        let url = format!("{}/_test/{path}", self.get("UB_STRIPE_URL"));
        let sent = Client::new().request(method, url).json(body).send().await;
        assert!(sent.unwrap().status().is_success());
    }
}
