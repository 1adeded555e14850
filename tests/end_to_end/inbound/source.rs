//! A source of hooks, and GitHub, which sends them.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Browser, create_project, eventually, input, list, text};

pub const CREATE: &str = "
    mutation($input: CreateInboundSourceInput!) {
        inboundSource { create(input: $input) { inboundSource { id address } secret } }
    }";
pub const HOOKS: &str = "
    query($source: ID!, $first: Int, $after: String) {
        inboundHooks(source: $source, first: $first, after: $after) {
            nodes { id key event status reason handledAt }
            pageInfo { hasNextPage endCursor }
        }
    }";
const TASKS: &str = "
    query($project: ID!) { tasks(project: $project) { nodes { id title done revision } } }";

/// A source of hooks, and what its provider knows.
pub struct Source {
    owner: Browser,
    pub id: String,
    pub address: String,
    pub secret: String,
}

impl Source {
    pub async fn create(owner: &Browser, settings: Value) -> Self {
        let created = owner.data(CREATE, input(settings)).await;
        let created = &created["inboundSource"]["create"];
        let address = text(created, "/inboundSource/address");
        let path = address.split_once("/in/").unwrap().1;
        Self {
            owner: owner.clone(),
            id: text(created, "/inboundSource/id"),
            address: owner.url(&format!("/in/{path}")),
            secret: text(created, "/secret"),
        }
    }

    pub async fn github(owner: &Browser) -> (Self, String) {
        let project = create_project(owner, "Loom").await;
        let settings = json!({ "name": "Code", "kind": "GITHUB", "project": project });
        (Self::create(owner, settings).await, project)
    }

    pub fn at(&self, address: String) -> Self {
        Self {
            owner: self.owner.clone(),
            id: self.id.clone(),
            address,
            secret: self.secret.clone(),
        }
    }

    /// Sends a hook as GitHub does.
    pub async fn send(&self, delivery: &str, event: &str, body: &str) -> Response {
        self.send_signed_with(&self.secret, delivery, event, body)
            .await
    }

    pub async fn send_signed_with(
        &self,
        secret: &str,
        delivery: &str,
        event: &str,
        body: &str,
    ) -> Response {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        let request = self.owner.http().post(&self.address);
        request
            .header("x-github-delivery", delivery)
            .header("x-github-event", event)
            .header("x-hub-signature-256", format!("sha256={signature}"))
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
    }

    pub async fn accepts(&self, delivery: &str, event: &str, body: &str) {
        let answer = self.send(delivery, event, body).await;
        assert_eq!(answer.status(), StatusCode::OK, "{delivery}");
    }

    pub async fn hooks(&self) -> Vec<Value> {
        let hooks = self.owner.data(HOOKS, json!({ "source": self.id })).await;
        list(&hooks["inboundHooks"]["nodes"]).clone()
    }

    /// The hook with this key, once it is handled.
    pub async fn handled(&self, key: &str) -> Value {
        let find = async || {
            let hooks = self.hooks().await.into_iter();
            let mut handled = hooks.filter(|hook| hook["status"] != "PENDING");
            handled.find(|hook| hook["key"] == key)
        };
        eventually("the hook", || async { find().await.is_some() }).await;
        find().await.unwrap()
    }
}

/// A hook of the event `issues`, updated at this second.
pub fn issue(action: &str, title: &str, state: &str, second: u32) -> String {
    let updated_at = format!("2026-11-26T12:00:{second:02}Z");
    let issue = json!({
        "id": 444_500_041, "number": 1, "title": title, "state": state, "updated_at": updated_at,
    });
    json!({ "action": action, "issue": issue }).to_string()
}

pub async fn tasks(owner: &Browser, project: &str) -> Vec<Value> {
    let tasks = owner.data(TASKS, json!({ "project": project })).await;
    list(&tasks["tasks"]["nodes"]).clone()
}

/// Waits until the project has one task like this.
pub async fn is_shown(owner: &Browser, project: &str, title: &str, done: bool) {
    eventually(title, || async {
        let tasks = tasks(owner, project).await;
        tasks.len() == 1 && tasks[0]["title"] == title && tasks[0]["done"] == done
    })
    .await;
}
