//! Two tenants and callers of every kind: no answer may show the rival's data, and nobody may
//! change it.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt as _, future::join_all, stream};
use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::schema::{Operation, Schema, create_everything};
use crate::support::{
    Browser, CREATE_PROJECT, PLATFORM, collections, input, mongo, operator, permissions,
    start_with, text,
};

/// A text in every object of the rival.
pub const MARKER: &str = "secret-rival";

/// Operations that the matrix leaves out: they end the session of a caller that it needs, lock the
/// address, hash a password, or answer otherwise each time. None takes an id. `sessions.rs`,
/// `passwords.rs`, `second_factor.rs`, `passkeys.rs`, `login_codes.rs`, `providers.rs`, `email_change.rs`
/// and `hostile.rs` test them.
const APART: [&str; 12] = [
    "login",
    "logout",
    "register",
    "resetPassword",
    "changePassword",
    "setPassword",
    "sendLoginCode",
    "startTotp",
    "confirmTotp",
    "startPasskey",
    "revokeAllSessions",
    "requestEmailChange",
];

pub struct World {
    pub backend: Local,
    pub schema: Schema,
    pub operations: Vec<Operation>,
    /// By role; also a person without a tenant, nobody, and a machine with every scope.
    pub callers: Vec<(&'static str, Browser)>,
    /// The id of the callers' tenant.
    pub acme: String,
    /// The id of the other tenant.
    pub rival: String,
    /// The rival's ids.
    pub foreign: Vec<String>,
    /// The callers' tenant's own ids, by the name of their group.
    own: BTreeMap<String, String>,
}

impl World {
    pub async fn start() -> Self {
        let backend = start_with(&["--command-timeout-ms", "14000"]).await;
        let mut callers = sign_up_callers(&backend).await;
        let eve = Browser::signed_up(&backend, &format!("{MARKER}-eve@example.com")).await;
        let owner = callers[0].1.clone();
        let acme = text(&owner.create_tenant("acme").await, "/id");
        let rival = text(&eve.create_tenant(MARKER).await, "/id");
        let owner = owner.in_tenant(&acme);
        for (role, browser) in &callers[1..5] {
            owner.add_member(browser, &email(role), role).await;
        }
        for (_, browser) in &mut callers {
            *browser = browser.in_tenant(&acme);
        }
        let schema = Schema::of(&owner).await;
        let own = create_everything(&owner, &schema, "acme").await;
        let foreign = foreign_ids(&eve.in_tenant(&rival), &schema, &rival).await;
        let scopes = permissions();
        let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
        callers.push(("NOBODY", Browser::new(&backend).in_tenant(&acme)));
        callers.push(("MACHINE", owner.create_machine(&backend, &scopes).await.0));
        let operations = schema.operations();
        Self {
            backend,
            schema,
            operations,
            callers,
            acme,
            rival,
            foreign,
            own,
        }
    }

    /// The operations that leave a caller as they are.
    pub fn repeatable(&self) -> Vec<&Operation> {
        let operations = self.operations.iter();
        operations
            .filter(|operation| !APART.contains(&operation.field.as_str()))
            .collect()
    }

    /// Every repeatable operation with every caller.
    pub fn cases(&self) -> Vec<(&Operation, &'static str, &Browser)> {
        let mut cases = Vec::new();
        for operation in self.repeatable() {
            cases.extend(
                self.callers
                    .iter()
                    .map(|(role, browser)| (operation, *role, browser)),
            );
        }
        cases
    }

    /// One of acme's own ids, of the kind that an operation means by a name.
    pub fn own(&self, operation: &Operation, name: &str) -> Value {
        let kinds = [
            Some(name),
            operation.group.as_deref(),
            Some(&operation.field),
        ];
        let id = kinds
            .into_iter()
            .flatten()
            .find_map(|kind| self.own.get(kind));
        json!(id.unwrap_or(&self.own["project"]))
    }

    /// Sends a document and checks what no answer may ever hold. `sent` are the ids that the
    /// request itself holds.
    pub async fn ask(
        &self,
        browser: &Browser,
        (document, variables): &(String, Value),
        sent: &[String],
    ) -> Value {
        let response = browser.post(document, variables).await;
        let (status, body) = (response.status(), response.text().await.unwrap());
        let what = format!("{document} {variables}: {body}");
        assert!(!status.is_server_error(), "{status} {what}");
        for secret in self.foreign.iter().map(String::as_str).chain([MARKER]) {
            let was_sent = sent.iter().any(|sent| sent.contains(secret));
            assert!(was_sent || !body.contains(secret), "{secret} leaks: {what}");
        }
        for code in [r#""code":"INTERNAL""#, r#""code":"PENDING""#] {
            assert!(!body.contains(code), "{what}");
        }
        serde_json::from_str(&body).unwrap()
    }

    /// Everything that is stored for the rival: its commits and claims in the log, and its
    /// documents.
    pub async fn stored_of_the_rival(&self) -> (Vec<u64>, Vec<Document>) {
        let mut events = operator(&self.backend)
            .await
            .get_stream("EVENTS")
            .await
            .unwrap();
        let last = events.info().await.unwrap().state.last_sequence;
        let events = &events;
        let subject = async |sequence| {
            let message = events.get_raw_message(sequence).await.unwrap();
            message.subject.contains(&self.rival).then_some(sequence)
        };
        let commits = stream::iter(1..=last).map(subject).buffered(32);
        let commits = commits.filter_map(std::future::ready).collect().await;
        let mongo = mongo(&self.backend).await;
        let mut documents: Vec<Document> = Vec::new();
        for name in collections(&mongo, PLATFORM).await {
            let collection = mongo.database(PLATFORM).collection::<Document>(&name);
            let theirs = collection
                .find(doc! { "tenant": &self.rival })
                .sort(doc! { "_id": 1 });
            documents.extend(theirs.await.unwrap().try_collect::<Vec<_>>().await.unwrap());
        }
        (commits, documents)
    }
}

fn email(role: &str) -> String {
    format!("{}@example.com", role.to_lowercase())
}

async fn sign_up_callers(backend: &Local) -> Vec<(&'static str, Browser)> {
    let roles = ["OWNER", "ADMIN", "DEVELOPER", "MEMBER", "GUEST", "STRANGER"];
    let sign_up =
        async |role: &'static str| (role, Browser::signed_up(backend, &email(role)).await);
    join_all(roles.map(sign_up)).await
}

/// One id of every kind in the rival's tenant, whose texts hold the marker.
async fn foreign_ids(eve: &Browser, schema: &Schema, rival: &str) -> Vec<String> {
    let project = json!({ "name": MARKER, "description": MARKER });
    eve.data(CREATE_PROJECT, input(project)).await;
    let mut ids = create_everything(eve, schema, MARKER).await;
    ids.insert("tenant".to_owned(), rival.to_owned());
    let sessions = eve.data("{ sessions { id } }", ()).await;
    ids.insert("session".to_owned(), text(&sessions, "/sessions/0/id"));
    ids.into_values().collect()
}
