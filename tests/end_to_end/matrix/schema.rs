//! A walk through the schema: every operation, and for each a request with values of the right
//! types.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value, json};

use crate::support::{Browser, list, text};

/// Levels of objects within the answer of an operation.
const DEPTH: usize = 4;

const INTROSPECTION: &str = "
    query {
        __schema {
            types {
                kind name isOneOf
                fields { name type { ...T } args { name type { ...T } } }
                inputFields { name type { ...T } }
                enumValues { name }
            }
        }
    }
    fragment T on __Type {
        kind name ofType { kind name ofType { kind name ofType { kind name } } }
    }";

/// One query or mutation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Type and field: `ProjectMutation.create`.
    pub name: String,
    kind: &'static str,
    /// The field that holds it, if any: `project`.
    pub group: Option<String>,
    pub field: String,
    /// Names and types.
    arguments: Vec<(String, Value)>,
    selection: String,
}

/// The types of the schema by name, as the gateway describes them.
pub struct Schema(BTreeMap<String, Value>);

impl Schema {
    pub async fn of(browser: &Browser) -> Self {
        let answer = browser.data(INTROSPECTION, ()).await;
        let types = list(&answer["__schema"]["types"]).iter();
        Self(
            types
                .map(|kind| (text(kind, "/name"), kind.clone()))
                .collect(),
        )
    }

    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (root, kind) in [("Query", "query"), ("Mutation", "mutation")] {
            for field in list(&self.0[root]["fields"]) {
                let returned = type_name(&field["type"]);
                if returned.ends_with(root) {
                    let group = field["name"].as_str();
                    let fields = list(&self.0[&returned]["fields"]).iter();
                    operations.extend(fields.map(|f| self.operation(&returned, kind, group, f)));
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
        let name = text(field, "/name");
        let arguments = list(&field["args"]).iter();
        Operation {
            name: format!("{of}.{name}"),
            kind,
            group: group.map(str::to_owned),
            field: name,
            arguments: arguments
                .map(|one| (text(one, "/name"), one["type"].clone()))
                .collect(),
            selection: self.selection(&type_name(&field["type"]), DEPTH),
        }
    }

    /// All fields of a type, in braces.
    fn selection(&self, name: &str, depth: usize) -> String {
        let Some(fields) = self.0[name]["fields"].as_array() else {
            return String::new();
        };
        let mut chosen = String::new();
        // A field that needs an argument has a test of its own.
        let needs_none = |field: &&Value| {
            let mut arguments = list(&field["args"]).iter();
            arguments.all(|one| one["type"]["kind"] != "NON_NULL")
        };
        for field in fields.iter().filter(needs_none) {
            let (field, inner) = (text(field, "/name"), type_name(&field["type"]));
            let kind = self.0[&inner]["kind"].as_str();
            if matches!(kind, Some("SCALAR" | "ENUM")) {
                chosen += &format!("{field} ");
            } else if depth > 1 && inner != name {
                chosen += &format!("{field} {} ", self.selection(&inner, depth - 1));
            }
        }
        let chosen = if chosen.is_empty() {
            "__typename "
        } else {
            &chosen
        };
        format!("{{ {chosen}}}")
    }

    /// A value for an argument. `id` gives each id by its name, or null for none. An optional value
    /// is left out, unless it holds an id.
    fn value(
        &self,
        name: &str,
        kind: &Value,
        required: bool,
        id: &mut dyn FnMut(&str) -> Value,
    ) -> Option<Value> {
        let type_of = || &self.0[kind["name"].as_str().unwrap()];
        match kind["kind"].as_str().unwrap() {
            "NON_NULL" => self.value(name, &kind["ofType"], true, id),
            "LIST" => Some(json!([self.value(name, &kind["ofType"], required, id)?])),
            "INPUT_OBJECT" => {
                let mut values = Map::new();
                for field in list(&type_of()["inputFields"]) {
                    if type_of()["isOneOf"] == true && !values.is_empty() {
                        break;
                    }
                    let name = text(field, "/name");
                    if let Some(value) = self.value(&name, &field["type"], false, id) {
                        values.insert(name, value);
                    }
                }
                (required || !values.is_empty()).then_some(Value::Object(values))
            }
            "SCALAR" if kind["name"] == "ID" => Some(id(name)).filter(|id| !id.is_null()),
            _ if !required => None,
            // The last role is the weakest, so that nobody is refused for granting too much.
            "ENUM" => Some(list(&type_of()["enumValues"]).last().unwrap()["name"].clone()),
            "SCALAR" if kind["name"] == "Int" || kind["name"] == "Long" => Some(json!(1)),
            // So that no tenant requires a second factor of the callers.
            "SCALAR" if kind["name"] == "Boolean" => Some(json!(false)),
            _ => Some(scalar(name)),
        }
    }
}

/// A scalar that an input of this name accepts.
fn scalar(name: &str) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    match name {
        "email" => json!("somebody@example.com"),
        "permissions" | "scopes" => json!("read_project"),
        "code" => json!("000000"),
        "since" | "until" => json!("2099-01-01T00:00:00Z"),
        "normalizedName" | "identifier" | "name" => {
            json!(format!("thing-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
        }
        "networks" => json!("127.0.0.0/8"),
        // Nobody listens there, and no tenant is deleted.
        "issuer" => json!("https://login.example.com"),
        "domain" => json!("example.com"),
        "url" => json!("http://127.0.0.1:9/hooks"),
        "eventTypes" | "eventType" => json!("tenant.deleted"),
        _ => json!("x"),
    }
}

/// The name of a type without its list and non-null wrappers.
fn type_name(kind: &Value) -> String {
    if kind["ofType"].is_null() {
        text(kind, "/name")
    } else {
        type_name(&kind["ofType"])
    }
}

/// A type as a document writes it.
fn written(kind: &Value) -> String {
    match kind["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", written(&kind["ofType"])),
        "LIST" => format!("[{}]", written(&kind["ofType"])),
        _ => text(kind, "/name"),
    }
}

fn in_parentheses(items: &[String]) -> String {
    if items.is_empty() {
        String::new()
    } else {
        format!("({})", items.join(", "))
    }
}

impl Operation {
    /// The document and its variables. `id` gives each id by its position and name.
    pub fn request(
        &self,
        schema: &Schema,
        id: &mut dyn FnMut(usize, &str) -> Value,
    ) -> (String, Value) {
        let mut position = 0;
        let mut next = |name: &str| {
            position += 1;
            id(position - 1, name)
        };
        let (mut declared, mut given, mut variables) = (Vec::new(), Vec::new(), Map::new());
        for (name, kind) in &self.arguments {
            if let Some(value) = schema.value(name, kind, false, &mut next) {
                declared.push(format!("${name}: {}", written(kind)));
                given.push(format!("{name}: ${name}"));
                variables.insert(name.clone(), value);
            }
        }
        let mut body = format!(
            "{}{} {}",
            self.field,
            in_parentheses(&given),
            self.selection
        );
        if let Some(group) = &self.group {
            body = format!("{group} {{ {body} }}");
        }
        let document = format!("{}{} {{ {body} }}", self.kind, in_parentheses(&declared));
        (document, Value::Object(variables))
    }

    /// The code of the operation's own error, not of a field within its answer.
    pub fn code<'a>(&self, answer: &'a Value) -> &'a str {
        let extensions = self.extensions(answer);
        let code = extensions.map(|extensions| &extensions["code"]);
        code.and_then(Value::as_str).unwrap_or("none")
    }

    /// What an answer says of the error of this operation, besides its text.
    pub fn extensions<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        let mut path: Vec<&str> = self.group.iter().map(String::as_str).collect();
        path.push(&self.field);
        let errors = answer["errors"].as_array().into_iter().flatten();
        let mut own = errors.filter(|error| {
            // A request that is refused as a whole has no path.
            error["path"].is_null() || error["path"] == json!(path)
        });
        own.next().map(|error| &error["extensions"])
    }

    /// How many ids it takes.
    pub fn ids(&self, schema: &Schema) -> usize {
        let mut count = 0;
        self.request(schema, &mut |_, _| {
            count += 1;
            json!("")
        });
        count
    }

    /// The path of the id in the answer of an operation that creates something, if it is one.
    pub fn created_id(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        match self.field.as_str() {
            // The answer has the object beside its secret.
            "create" if self.selection.contains(&format!("{group} {{")) => {
                Some(format!("/{group}/create/{group}/id"))
            }
            "create" | "invite" => Some(format!("/{group}/{}/id", self.field)),
            _ => None,
        }
    }
}

/// Creates one of everything that can be created in a tenant; returns the ids by the name of the
/// group: `project`, `role`, … Each name and address begins with `word`.
pub async fn create_everything(
    owner: &Browser,
    schema: &Schema,
    word: &str,
) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    let mut to_create = schema.operations();
    // Plans belong to the platform.
    let apart = ["tenant", "plan"];
    to_create.retain(|one| {
        one.created_id().is_some() && !apart.contains(&one.group.as_deref().unwrap())
    });
    // An area whose input names another, such as a comment on a project, comes in a later round.
    for _ in 0..to_create.len() {
        for operation in &to_create {
            let id = &mut |_: usize, name: &str| json!(ids.get(name));
            let (document, variables) = operation.request(schema, id);
            let variables = variables.to_string();
            let variables = variables.replace("thing-", &format!("{word}-"));
            let variables = variables.replace("somebody@", &format!("{word}@"));
            let variables: Value = serde_json::from_str(&variables).unwrap();
            let answer = owner.gql(&document, variables).await;
            let path = format!("/data{}", operation.created_id().unwrap());
            if let Some(id) = answer.pointer(&path).and_then(Value::as_str) {
                ids.insert(operation.group.clone().unwrap(), id.to_owned());
            }
        }
        to_create.retain(|operation| !ids.contains_key(operation.group.as_ref().unwrap()));
    }
    assert!(to_create.is_empty(), "could not be created: {to_create:#?}");
    ids
}
