//! The cross-tenant matrix, made from the schema itself: every operation × every argument that is
//! an id × foreign, missing and malformed ids × every role. A new operation is covered as soon as
//! the gateway answers it.
//!
//! `MATRIX_REQUESTS` says how many requests the random part makes (10,000 by default),
//! `MATRIX_SEED` repeats one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::support::{Browser, start, text};
use async_nats::{ConnectOptions, jetstream};
use futures_util::{StreamExt, future::join_all, stream};
use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use servers::Role;

/// In every text of the rival's.
const MARKER: &str = "secret-rival";
const TABLE: &str = include_str!("../../gateway/src/access/operations.txt");

/// These end or lock out the very caller that the rest of the matrix needs, or hash a password each
/// time. None takes an id, and `accounts.rs` and `hostile.rs` are about them.
const APART: [&str; 6] = [
    "login",
    "logout",
    "register",
    "resetPassword",
    "changePassword",
    "revokeAllSessions",
];

/// One thing that may be asked.
#[derive(Clone, Debug)]
struct Operation {
    /// As in the table: `ProjectMutation.create`.
    name: String,
    kind: &'static str,
    /// The field that it stands within, if any.
    group: Option<String>,
    field: String,
    /// Name and type.
    arguments: Vec<(String, Value)>,
    selection: String,
}

/// The schema, as the gateway tells it.
struct Schema(BTreeMap<String, Value>);

impl Schema {
    async fn of(browser: &Browser) -> Self {
        let reference = "kind name ofType { kind name ofType { kind name ofType { kind name } } }";
        let query = format!(
            "{{ __schema {{ types {{ kind name fields {{ name type {{ {reference} }} args {{ name type {{ {reference} }} }} }}
                inputFields {{ name type {{ {reference} }} }} enumValues {{ name }} }} }} }}"
        );
        let types = browser.data(&query, json!({})).await["__schema"]["types"]
            .as_array()
            .unwrap()
            .clone();
        Self(
            types
                .into_iter()
                .map(|kind| (kind["name"].as_str().unwrap().to_owned(), kind))
                .collect(),
        )
    }

    fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (root, kind) in [("Query", "query"), ("Mutation", "mutation")] {
            for field in self.0[root]["fields"].as_array().unwrap() {
                let returned = named(&field["type"]);
                if returned.ends_with(root) {
                    for inner in self.0[&returned]["fields"].as_array().unwrap() {
                        operations.push(self.operation(
                            &returned,
                            kind,
                            field["name"].as_str(),
                            inner,
                        ));
                    }
                } else {
                    operations.push(self.operation(root, kind, None, field));
                }
            }
        }
        operations
    }

    fn operation(
        &self,
        of: &str,
        kind: &'static str,
        group: Option<&str>,
        field: &Value,
    ) -> Operation {
        let name = field["name"].as_str().unwrap().to_owned();
        let arguments = field["args"].as_array().unwrap().iter();
        Operation {
            name: format!("{of}.{name}"),
            kind,
            group: group.map(str::to_owned),
            field: name,
            arguments: arguments
                .map(|argument| {
                    (
                        argument["name"].as_str().unwrap().to_owned(),
                        argument["type"].clone(),
                    )
                })
                .collect(),
            selection: self.selection(&named(&field["type"]), 4),
        }
    }

    fn selection(&self, name: &str, depth: usize) -> String {
        let Some(fields) = self.0[name]["fields"].as_array() else {
            return String::new();
        };
        let mut chosen = String::new();
        for field in fields {
            let inner = named(&field["type"]);
            let leaf = matches!(self.0[&inner]["kind"].as_str(), Some("SCALAR" | "ENUM"));
            if leaf {
                chosen += &format!("{} ", field["name"].as_str().unwrap());
            } else if depth > 1 && inner != name {
                chosen += &format!(
                    "{} {} ",
                    field["name"].as_str().unwrap(),
                    self.selection(&inner, depth - 1)
                );
            }
        }
        if chosen.is_empty() {
            "{ __typename }".to_owned()
        } else {
            format!("{{ {chosen}}}")
        }
    }

    /// A value for an argument: ids come from `id`, which hears the name; what may be absent is,
    /// unless an id is within.
    fn value(
        &self,
        name: &str,
        kind: &Value,
        required: bool,
        id: &mut dyn FnMut(&str) -> Value,
    ) -> Option<Value> {
        match kind["kind"].as_str().unwrap() {
            "NON_NULL" => self.value(name, &kind["ofType"], true, id),
            "LIST" => self
                .value(name, &kind["ofType"], required, id)
                .map(|value| json!([value])),
            "INPUT_OBJECT" => {
                let fields = self.0[kind["name"].as_str().unwrap()]["inputFields"]
                    .as_array()
                    .unwrap();
                let values = fields.iter().filter_map(|field| {
                    let name = field["name"].as_str().unwrap();
                    Some((
                        name.to_owned(),
                        self.value(name, &field["type"], false, id)?,
                    ))
                });
                let values: serde_json::Map<String, Value> = values.collect();
                (required || !values.is_empty()).then_some(Value::Object(values))
            }
            "SCALAR" if kind["name"] == "ID" => Some(id(name)),
            _ if !required => None,
            // The least of roles, so that nobody is refused for giving too much.
            "ENUM" => Some(
                self.0[kind["name"].as_str().unwrap()]["enumValues"]
                    .as_array()
                    .unwrap()
                    .last()
                    .unwrap()["name"]
                    .clone(),
            ),
            _ => Some(match name {
                "email" => json!("somebody@example.com"),
                "permissions" | "scopes" => json!("read_project"),
                "code" => json!("000000"),
                "normalizedName" | "identifier" | "name" => {
                    json!(format!("thing-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
                }
                "first" | "last" | "revision" => json!(1),
                _ => json!("x"),
            }),
        }
    }
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

fn named(kind: &Value) -> String {
    let mut kind = kind;
    while !kind["ofType"].is_null() {
        kind = &kind["ofType"];
    }
    kind["name"].as_str().unwrap().to_owned()
}

fn written(kind: &Value) -> String {
    match kind["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", written(&kind["ofType"])),
        "LIST" => format!("[{}]", written(&kind["ofType"])),
        _ => kind["name"].as_str().unwrap().to_owned(),
    }
}

impl Operation {
    /// The document and its variables. `id` gives each id, by its position and name.
    fn request(
        &self,
        schema: &Schema,
        id: &mut dyn FnMut(usize, &str) -> Value,
    ) -> (String, Value) {
        let mut at = 0;
        let mut next = |name: &str| {
            at += 1;
            id(at - 1, name)
        };
        let (mut declared, mut given, mut variables) =
            (Vec::new(), Vec::new(), serde_json::Map::new());
        for (name, kind) in &self.arguments {
            if let Some(value) = schema.value(name, kind, false, &mut next) {
                declared.push(format!("${name}: {}", written(kind)));
                given.push(format!("{name}: ${name}"));
                variables.insert(name.clone(), value);
            }
        }
        let in_brackets = |items: Vec<String>| {
            if items.is_empty() {
                String::new()
            } else {
                format!("({})", items.join(", "))
            }
        };
        let field = format!("{}{} {}", self.field, in_brackets(given), self.selection);
        let body = self
            .group
            .as_ref()
            .map_or(field.clone(), |group| format!("{group} {{ {field} }}"));
        (
            format!("{}{} {{ {body} }}", self.kind, in_brackets(declared)),
            Value::Object(variables),
        )
    }

    /// How many ids it takes.
    fn ids(&self, schema: &Schema) -> usize {
        let mut count = 0;
        self.request(schema, &mut |_, _| {
            count += 1;
            json!("")
        });
        count
    }
}

struct World {
    local: Local,
    schema: Schema,
    operations: Vec<Operation>,
    /// By role; a person without a tenant, nobody, and a machine with every scope too.
    callers: Vec<(&'static str, Browser)>,
    acme: String,
    rival: String,
    /// Of every kind, with names for messages.
    foreign: Vec<(&'static str, String)>,
    own: BTreeMap<&'static str, String>,
    eve: Browser,
}

impl World {
    async fn start() -> Self {
        let local = start().await;
        let people = ["OWNER", "ADMIN", "DEVELOPER", "MEMBER", "GUEST", "STRANGER"];
        let mut callers: Vec<(&str, Browser)> =
            people.map(|role| (role, Browser::new(&local))).into();
        let eve = Browser::new(&local);
        let email = |role: &str| format!("{}@example.com", role.to_lowercase());
        join_all(
            callers
                .iter()
                .map(|(role, browser)| async move { browser.join(&email(role)).await }),
        )
        .await;
        eve.join(&format!("{MARKER}-eve@example.com")).await;
        let (owner, foreign_owner) = (callers[0].1.clone(), eve.clone());
        let acme = text(&owner.found("acme").await, "/id");
        let rival = text(&foreign_owner.found(MARKER).await, "/id");
        for (role, browser) in &callers[1..5] {
            owner
                .inside("acme")
                .take_in(browser, &email(role), role)
                .await;
        }
        let (own, _) = fill(&owner.inside(&acme), "acme").await;
        let (theirs, session) = fill(&eve.inside(&rival), MARKER).await;
        let foreign = theirs
            .into_iter()
            .chain([("tenant", rival.clone()), ("session", session)])
            .collect();
        let scopes: Vec<String> = events_schema::Permission::ALL
            .iter()
            .map(ToString::to_string)
            .collect();
        let token = text(
            &owner
                .inside(&acme)
                .data(TOKEN, json!({ "name": "All", "scopes": scopes }))
                .await,
            "/accessToken/create/token",
        );
        for (_, browser) in &mut callers {
            *browser = browser.inside(&acme);
        }
        callers.push(("NOBODY", Browser::new(&local).inside(&acme)));
        callers.push(("MACHINE", Browser::machine(&local, &token)));
        let schema = Schema::of(&owner).await;
        let operations = schema.operations();
        Self {
            local,
            operations,
            schema,
            callers,
            acme,
            rival,
            foreign,
            own: own.into_iter().collect(),
            eve,
        }
    }

    /// One of acme's own ids, of the kind that an operation means by a name.
    fn own(&self, operation: &Operation, name: &str) -> Value {
        let of_group = match operation.name.split('.').next().unwrap() {
            "MemberMutation" => "member",
            "RoleMutation" => "role",
            "AccessTokenMutation" => "token",
            _ => "project",
        };
        let kind = match (name, operation.field.as_str()) {
            ("member", _) | (_, "member") => "member",
            ("role", _) | (_, "role") => "role",
            (_, "accessToken") => "token",
            ("inherits", _) => "role",
            _ => of_group,
        };
        json!(self.own[kind])
    }

    /// Asks, and looks at what no answer may ever have in it. `said` are the ids that the request
    /// itself has in it.
    async fn ask(
        &self,
        browser: &Browser,
        document: &str,
        variables: &Value,
        said: &[String],
    ) -> Value {
        let response = browser
            .run_with(document, variables.clone(), Default::default())
            .await;
        let (status, body) = (response.status(), response.text().await.unwrap());
        assert!(
            !status.is_server_error(),
            "{status} {document} {variables}: {body}"
        );
        for secret in [MARKER]
            .into_iter()
            .chain(self.foreign.iter().map(|(_, id)| id.as_str()))
        {
            let own_words = said.iter().any(|said| said.contains(secret));
            assert!(
                own_words || !body.contains(secret),
                "{secret} is told: {document} {variables}: {body}"
            );
        }
        for code in [r#""code":"INTERNAL""#, r#""code":"PENDING""#] {
            assert!(!body.contains(code), "{document} {variables}: {body}");
        }
        serde_json::from_str(&body).unwrap()
    }

    /// All that is stored of the rival's: its commits and claims in the log, and its documents.
    async fn of_the_rival(&self) -> (Vec<u64>, Vec<Document>) {
        let password = self.local.servers.passwords.of(Role::Operator).to_owned();
        let options = ConnectOptions::with_user_and_password("operator".to_owned(), password)
            .custom_inbox_prefix("_INBOX_operator");
        let log = jetstream::new(
            options
                .connect(self.local.servers.nats.url(Role::Operator))
                .await
                .unwrap(),
        );
        let mut events = log.get_stream("EVENTS").await.unwrap();
        let last = events.info().await.unwrap().state.last_sequence;
        let events = &events;
        let subjects = stream::iter(1..=last).map(|sequence| async move {
            (
                sequence,
                events.get_raw_message(sequence).await.unwrap().subject,
            )
        });
        let theirs = subjects
            .buffered(32)
            .filter(|(_, subject)| std::future::ready(subject.contains(&self.rival)));
        let commits = theirs.map(|(sequence, _)| sequence).collect().await;
        let mongo = mongodb::Client::with_uri_str(self.local.servers.mongod.uri())
            .await
            .unwrap()
            .database("ultimate_backend");
        let mut documents = Vec::new();
        for view in ["member", "project", "role", "access_token"] {
            let found = mongo
                .collection::<Document>(view)
                .find(doc! { "tenant": &self.rival })
                .sort(doc! { "_id": 1 })
                .await
                .unwrap();
            documents.extend(found.map(Result::unwrap).collect::<Vec<_>>().await);
        }
        (commits, documents)
    }
}

const TOKEN: &str = "mutation($name: String!, $scopes: [String!]!) { accessToken { create(input: { name: $name, scopes: $scopes }) { token accessToken { id } } } }";

/// Something of every kind in a tenant; and the session that made it.
async fn fill(owner: &Browser, word: &str) -> (Vec<(&'static str, String)>, String) {
    let run = async |query: &str, path: &str| {
        text(
            &owner
                .data(
                    query,
                    json!({ "word": word, "mail": format!("{word}-guest@example.com") }),
                )
                .await,
            path,
        )
    };
    let project =
        run("mutation($word: String!) { project { create(input: { name: $word, description: $word }) { id } } }", "/project/create/id")
            .await;
    let role = run(
        "mutation($word: String!) { role { create(input: { name: $word, permissions: [\"read_project\"] }) { id } } }",
        "/role/create/id",
    )
    .await;
    let member =
        run("mutation($mail: String!) { member { invite(input: { email: $mail, role: GUEST }) { id } } }", "/member/invite/id").await;
    let token = run(
        "mutation($word: String!) { accessToken { create(input: { name: $word, scopes: [\"read_project\"] }) { accessToken { id } } } }",
        "/accessToken/create/accessToken/id",
    )
    .await;
    let session = run("{ sessions { id } }", "/sessions/0/id").await;
    (
        vec![
            ("project", project),
            ("role", role),
            ("member", member),
            ("token", token),
        ],
        session,
    )
}

/// An answer without what differs from one time to the next.
fn timeless(mut answer: Value, said: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Object(fields) => {
                for (key, value) in fields {
                    let volatile = key.ends_with("At")
                        || key.ends_with("ursor")
                        || matches!(key.as_str(), "at" | "token" | "revision");
                    if volatile && !value.is_object() {
                        *value = Value::Null
                    } else {
                        strip(value)
                    }
                }
            }
            Value::String(text) => {
                let counted = text.starts_with("thing-");
                if counted || events_schema::Id::parse(text).is_ok() {
                    *value = json!("…");
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    strip(&mut answer);
    answer.to_string().replace(said, "…")
}

const MISSING: &str = "0123456789abcdef0123456789abcdef";
const MALFORMED: [&str; 10] = [
    "",
    "x",
    "../",
    "*",
    "evt.>",
    "0123456789ABCDEF0123456789ABCDEF",
    "0123456789abcdef0123456789abcdef0",
    "{\"$ne\": null}",
    "ümläut",
    "\u{0}",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_tells_or_changes_anything_of_another_tenant() {
    let world = World::start().await;
    let before = world.of_the_rival().await;
    let positions: usize = world
        .operations
        .iter()
        .map(|operation| operation.ids(&world.schema))
        .sum();
    assert!(
        world.operations.len() > 40 && positions > 15,
        "{} operations with {positions} ids",
        world.operations.len()
    );

    let mut cases = Vec::new();
    for (role, browser) in &world.callers {
        for operation in &world.operations {
            for position in 0..operation.ids(&world.schema) {
                cases.push((*role, browser, operation, position));
            }
        }
    }
    let asked = AtomicUsize::new(0);
    let try_case =
        async |(role, browser, operation, position): (&str, &Browser, &Operation, usize)| {
            let with = |id: &str| {
                operation.request(&world.schema, &mut |at, name| {
                    if at == position {
                        json!(id)
                    } else {
                        world.own(operation, name)
                    }
                })
            };
            let answer = async |id: &str| {
                let (document, variables) = with(id);
                asked.fetch_add(1, Ordering::Relaxed);
                timeless(
                    world
                        .ask(browser, &document, &variables, &[id.to_owned()])
                        .await,
                    id,
                )
            };
            let missing = answer(MISSING).await;
            for (kind, id) in &world.foreign {
                assert_eq!(
                    answer(id).await,
                    missing,
                    "{role} {} argument {position}: a foreign {kind} is told apart",
                    operation.name
                );
            }
            for id in MALFORMED {
                answer(id).await;
            }
        };
    stream::iter(cases).for_each_concurrent(16, try_case).await;

    // The tenant that the request names.
    let strangers = world
        .operations
        .iter()
        .filter(|operation| !APART.contains(&operation.field.as_str()));
    let named = strangers.flat_map(|operation| {
        world
            .callers
            .iter()
            .filter(|(role, _)| *role != "MACHINE")
            .map(move |caller| (operation, caller))
    });
    let named: Vec<_> = named.collect();
    let try_named = async |(operation, (role, browser)): (&Operation, &(&str, Browser))| {
        let (document, variables) = operation.request(&world.schema, &mut |_, _| json!(MISSING));
        let answer = async |tenant: &str| {
            timeless(
                world
                    .ask(
                        &browser.inside(tenant),
                        &document,
                        &variables,
                        &[tenant.to_owned()],
                    )
                    .await,
                tenant,
            )
        };
        let missing = answer(MISSING).await;
        for tenant in [world.rival.as_str(), MARKER] {
            assert_eq!(
                answer(tenant).await,
                missing,
                "{role} {} inside {tenant}",
                operation.name
            );
        }
    };
    stream::iter(named).for_each_concurrent(16, try_named).await;

    assert!(asked.load(Ordering::Relaxed) > 1_000, "{asked:?}");
    assert_eq!(world.of_the_rival().await, before);
    let mails = world.eve.mails().await;
    let theirs = mails
        .iter()
        .filter(|mail| !mail["to"][0].as_str().unwrap().starts_with(MARKER));
    assert!(
        theirs.clone().count() > 0
            && theirs
                .into_iter()
                .all(|mail| !mail.to_string().contains(MARKER))
    );
    assert!(!world.acme.is_empty());
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_the_reviewed_table_says_and_no_more() {
    let world = World::start().await;
    let table: BTreeMap<&str, &str> = TABLE
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.contains('.'))
        .collect();
    let said: BTreeSet<&str> = table
        .keys()
        .copied()
        .filter(|name| !name.starts_with("Subscription."))
        .collect();
    assert_eq!(
        said,
        world
            .operations
            .iter()
            .map(|operation| operation.name.as_str())
            .collect(),
        "the table is complete"
    );
    let cases: Vec<_> = world
        .operations
        .iter()
        .filter(|operation| !APART.contains(&operation.field.as_str()))
        .flat_map(|operation| world.callers.iter().map(move |caller| (operation, caller)))
        .collect();
    let try_case = async |(operation, (role, browser)): (&Operation, &(&str, Browser))| {
        let (document, variables) = operation.request(&world.schema, &mut |_, _| json!(MISSING));
        let answer = world.ask(browser, &document, &variables, &[]).await;
        let code = answer["errors"][0]["extensions"]["code"]
            .as_str()
            .unwrap_or("none");
        let who = table[operation.name.as_str()];
        let (roles, _) = who.split_once(" (").unwrap_or((who, ""));
        let expected = match (who, *role) {
            ("anyone", _) => None,
            (_, "NOBODY") => Some("UNAUTHENTICATED"),
            ("logged in", "MACHINE") | ("platform administrators", _) => Some("FORBIDDEN"),
            ("logged in", _) => None,
            (_, "STRANGER") => Some("NOT_FOUND"),
            (_, "MACHINE") => None,
            // A guest may leave, and remove nobody else.
            ("every member", "DEVELOPER" | "MEMBER" | "GUEST")
                if operation.name == "MemberMutation.delete" =>
            {
                Some("FORBIDDEN")
            }
            ("every member", _) => None,
            (_, role)
                if roles
                    .split(", ")
                    .any(|allowed| allowed.eq_ignore_ascii_case(role)) =>
            {
                None
            }
            _ => Some("FORBIDDEN"),
        };
        match expected {
            Some(expected) => assert_eq!(code, expected, "{role} {}: {answer}", operation.name),
            None => assert!(
                !matches!(code, "FORBIDDEN" | "UNAUTHENTICATED"),
                "{role} {}: {answer}",
                operation.name
            ),
        }
    };
    stream::iter(cases).for_each_concurrent(8, try_case).await;
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_random_requests_tell_and_change_nothing_of_another_tenant() {
    let world = World::start().await;
    let before = world.of_the_rival().await;
    let setting = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let requests = setting("MATRIX_REQUESTS").unwrap_or(10_000);
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let seed = setting("MATRIX_SEED").unwrap_or(clock);
    println!("MATRIX_SEED={seed}");
    let operations: Vec<&Operation> = world
        .operations
        .iter()
        .filter(|operation| !APART.contains(&operation.field.as_str()))
        .collect();
    let foreign: Vec<&str> = world.foreign.iter().map(|(_, id)| id.as_str()).collect();
    let garbage = [MALFORMED.as_slice(), &[MISSING], &foreign].concat();
    let ask = async |at: u64| {
        // SplitMix64: every request has numbers of its own, in whatever order they are made.
        let mut state = seed.wrapping_add(at.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut pick = |among: usize| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            usize::try_from((mixed ^ (mixed >> 31)) % among as u64).unwrap()
        };
        let operation = operations[pick(operations.len())];
        let (_, browser) = &world.callers[pick(world.callers.len())];
        let mut said = Vec::new();
        let inside = [world.acme.as_str(), world.rival.as_str(), MARKER, MISSING][pick(4)];
        let browser = if pick(3) == 0 {
            browser.inside(inside)
        } else {
            browser.clone()
        };
        said.push(inside.to_owned());
        let (document, variables) = operation.request(&world.schema, &mut |_, _| {
            let id = garbage[pick(garbage.len())];
            said.push(id.to_owned());
            json!(id)
        });
        world.ask(&browser, &document, &variables, &said).await;
    };
    stream::iter(0..requests).for_each_concurrent(32, ask).await;
    assert_eq!(world.of_the_rival().await, before);
    world.local.stop().await.unwrap();
}
