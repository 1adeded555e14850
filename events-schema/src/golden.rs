//! The examples in `golden/` and the JSON Schemas in `schemas/`, checked for every area.
//!
//! Each `golden/<area>.json` has at least one example of each variant and of each enum value of the
//! area's commands, events and views, as they are stored. Examples are added and never changed: a
//! stored message must decode for ever and encode to the same. `read_only` has pairs of an old
//! spelling that still decodes and the present one. `UPDATE_GENERATED=1 cargo test --lib` rewrites the
//! schemas; it never touches the examples.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, schema_for};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Actor, Area, AreaName, ClaimHolder, ClaimKind, Command, Commit, Document, Outcome, Permission,
    RejectionKind, SecurityEntry, Subject, View, account, areas, project,
};

const ID: &str = "00112233445566778899aabbccddeeff";

/// The schema of an envelope's area: one constant, so that a new area changes the schema of no
/// other.
pub(crate) fn area_schema<A: Area>(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "const": A::NAME.as_str() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    commands: Vec<Value>,
    events: Vec<Value>,
    views: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    read_only: ReadOnly,
}

/// Pairs of an old spelling and the present one.
#[derive(Default, Deserialize)]
struct ReadOnly {
    events: Vec<(Value, Value)>,
}

fn path(folder: &str, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(folder).join(format!("{name}.json"))
}

fn examples(area: AreaName) -> Examples {
    let path = path("golden", area.as_str());
    let text = fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("add {}: examples of {area}'s messages", path.display());
    });
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that an example decodes and encodes to the same, and that an unknown field is ignored.
fn assert_round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(example: &Value) -> T {
    let decode = |value: &Value| {
        serde_json::from_value::<T>(value.clone())
            .unwrap_or_else(|error| panic!("{value}: {error}"))
    };
    let decoded = decode(example);
    let encoded = serde_json::to_value(&decoded).unwrap();
    assert_eq!(&encoded, example, "it encodes to something else");
    if example.is_object() {
        let newer = with(example, "new_field", json!({ "anything": 1 }));
        assert_eq!(decode(&newer), decoded);
    }
    decoded
}

fn with(example: &Value, field: &str, value: Value) -> Value {
    let mut example = example.clone();
    example[field] = value;
    example
}

/// Checks the examples of one enum of payloads.
fn assert_payloads<T>(area: AreaName, payloads: &str, examples: &[Value])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + JsonSchema,
{
    for example in examples {
        assert_round_trip::<T>(example);
        let unknown = with(example, "type", json!("flown_to_the_moon"));
        serde_json::from_value::<T>(unknown).unwrap_err();
    }
    assert_complete::<T>(&format!("{payloads} of golden/{area}.json"), examples);
}

/// Asserts that each variant and enum value of a type has an example.
fn assert_complete<T: JsonSchema>(place: &str, examples: &[Value]) {
    assert!(!examples.is_empty(), "{place}: add examples");
    let mut wanted = BTreeSet::new();
    constants(schema_for!(T).as_value(), &mut wanted);
    let mut present = BTreeSet::new();
    examples
        .iter()
        .for_each(|example| texts(example, &mut present));
    let missing: Vec<_> = wanted.difference(&present).collect();
    assert!(missing.is_empty(), "{place}: add examples of {missing:?}");
}

/// Collects the names that a schema allows, such as variants.
fn constants(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            let named = fields.get("const").into_iter();
            let listed = fields
                .get("enum")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            found.extend(
                named
                    .chain(listed)
                    .filter_map(|name| Some(name.as_str()?.to_owned())),
            );
            // A variant with content and no tag is named by its only field.
            let tagged = fields
                .get("oneOf")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            for variant in tagged.filter(|variant| variant["properties"]["type"].is_null()) {
                let names = variant["required"].as_array().into_iter().flatten();
                found.extend(names.filter_map(|name| Some(name.as_str()?.to_owned())));
            }
            fields.values().for_each(|schema| constants(schema, found));
        }
        Value::Array(schemas) => schemas.iter().for_each(|schema| constants(schema, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Collects all texts and field names of an example.
fn texts(example: &Value, found: &mut BTreeSet<String>) {
    match example {
        Value::String(text) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => {
            found.extend(fields.keys().cloned());
            fields.values().for_each(|value| texts(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn assert_area<A: Area>() -> Examples
where
    A::Command: JsonSchema,
    A::Event: JsonSchema,
{
    let examples = examples(A::NAME);
    assert_payloads::<A::Command>(A::NAME, "commands", &examples.commands);
    assert_payloads::<A::Event>(A::NAME, "events", &examples.events);
    for (old, present) in &examples.read_only.events {
        let decode = |value: &Value| serde_json::from_value::<A::Event>(value.clone()).unwrap();
        assert_eq!(decode(old), decode(present));
    }
    for verb in A::INTERNAL {
        let mut commands = examples.commands.iter();
        let is_known = commands.any(|command| command["type"] == *verb);
        assert!(is_known, "{} has no command {verb}", A::NAME);
    }
    let views: Vec<&str> = examples.views.keys().map(String::as_str).collect();
    let known = A::NAME.views().iter().map(|(name, _)| *name);
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    assert_eq!(views, known, "views of golden/{}.json", A::NAME);
    examples
}

fn assert_view<V: View + PartialEq + Debug + JsonSchema>(examples: &Examples) {
    let of_view = &examples.views[V::NAME];
    let document = json!({ "_id": ID, "tenant": "platform", "revision": 3, "sequence": 7 });
    for example in of_view.iter().chain([&Value::Null]) {
        let document = with(&document, "view", example.clone());
        assert_round_trip::<Document<V>>(&document);
    }
    assert_complete::<V>(V::NAME, of_view);
}

macro_rules! check_examples {
    ($($name:ident: $module:ident [$($view:ident)+],)+) => {$(
        let examples = assert_area::<crate::$module::Area>();
        $(assert_view::<crate::$module::$view>(&examples);)+
    )+};
}

#[test]
fn each_area_has_examples_that_decode_and_encode_to_the_same() {
    areas!(check_examples);
}

/// Returns a text of several lines with the keys of each object in order. serde_json keeps another
/// order where a dependency has asked for it.
pub(crate) fn pretty(mut value: Value) -> String {
    value.sort_all_objects();
    serde_json::to_string_pretty(&value).unwrap()
}

/// Asserts that generated files have these texts. Rewrites them first if `UPDATE_GENERATED` is set.
pub(crate) fn assert_generated(files: impl IntoIterator<Item = (PathBuf, String)>) {
    let is_update = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut drifted = Vec::new();
    for (path, text) in files {
        if is_update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).ok() != Some(text) {
            drifted.push(path);
        }
    }
    assert!(
        drifted.is_empty(),
        "{drifted:?} differ from the code; if you meant that, run `UPDATE_GENERATED=1 cargo test --lib`"
    );
}

/// Returns the examples of an area's events.
pub(crate) fn events(area: AreaName) -> Vec<Value> {
    examples(area).events
}

/// Returns the examples of an area's views, by the name of the view.
pub(crate) fn views(area: AreaName) -> BTreeMap<String, Vec<Value>> {
    examples(area).views
}

macro_rules! area_schemas {
    ($($name:ident: $module:ident [$($view:ident)+],)+) => {
        [$((AreaName::$name.as_str(), json!({
            "command": schema_for!(Command<crate::$module::Area>),
            "commit": schema_for!(Commit<crate::$module::Area>),
            "views": {
                $(crate::$module::$view::NAME: schema_for!(Document<crate::$module::$view>)),+
            },
        }))),+]
    };
}

#[test]
fn the_schema_files_match_the_code() {
    let shared = [
        ("outcome", json!(schema_for!(Outcome))),
        ("claim", json!(schema_for!(ClaimHolder))),
        ("security_entry", json!(schema_for!(SecurityEntry))),
    ];
    let all = areas!(area_schemas).into_iter().chain(shared);
    assert_generated(all.map(|(name, schema)| (path("schemas", name), pretty(schema) + "\n")));
}

#[test]
fn a_security_entry_decodes_and_encodes_to_the_same() {
    let origin = json!({ "address": "192.0.2.1", "device": "curl" });
    let login = json!({
        "time": 5, "event": "login_failed", "actor": { "kind": "anonymous" }, "origin": origin,
    });
    let refusal = json!({
        "time": 5, "event": "access_refused", "actor": { "kind": "account", "id": ID },
        "origin": origin, "operation": "project.create", "permission": "create_project",
    });
    for example in [login, refusal] {
        assert_round_trip::<SecurityEntry>(&example);
    }
}

#[test]
fn an_outcome_and_an_actor_decode_and_encode_to_the_same() {
    let rejected =
        |kind: Value| json!({ "type": "rejected", "kind": kind, "code": "x", "message": "No." });
    let kinds = [
        json!({ "type": "not_found" }),
        json!({ "type": "conflict" }),
        json!({ "type": "invalid", "field": "expires_at" }),
        json!({ "type": "limit" }),
        json!({ "type": "forbidden" }),
    ];
    assert_complete::<RejectionKind>("RejectionKind", &kinds);
    let decided = [
        json!({ "type": "committed", "revision": 2, "sequence": 7 }),
        json!({ "type": "done_before", "revision": 2, "sequence": 7 }),
        json!({ "type": "unchanged", "revision": 0 }),
    ];
    let counted = with(&rejected(json!({ "type": "limit" })), "used", json!(3));
    let rejected = kinds.map(rejected).into_iter().chain([counted]);
    let outcomes: Vec<Value> = decided.into_iter().chain(rejected).collect();
    assert_complete::<Outcome>("Outcome", &outcomes);
    for outcome in &outcomes {
        assert_round_trip::<Outcome>(outcome);
    }
    let actors = [
        json!({ "kind": "anonymous" }),
        json!({ "kind": "account", "id": ID }),
        json!({ "kind": "access_token", "id": ID }),
        json!({ "kind": "system" }),
        json!({ "kind": "service", "id": { "service": ID, "token": ID } }),
        json!({ "kind": "impersonated", "id": { "account": ID, "by": ID } }),
    ];
    assert_complete::<Actor>("Actor", &actors);
    for actor in &actors {
        assert_round_trip::<Actor>(actor);
    }
    for holder in [json!(ID), Value::Null] {
        assert_round_trip::<ClaimHolder>(&json!({ "holder": holder }));
    }
    let answer = json!({ "stream": "EVENTS", "seq": 1 });
    serde_json::from_value::<ClaimHolder>(answer).unwrap_err();
}

#[test]
fn a_command_with_and_without_optional_fields_decodes_and_encodes_to_the_same() {
    let least = json!({
        "id": ID, "tenant": "platform", "area": "account", "aggregate": ID,
        "actor": { "kind": "system" }, "time": 1_700_000_000_000_i64,
        "payload": { "type": "revoke_sessions" },
    });
    let mut most = with(&least, "tenant", json!(ID));
    for (field, value) in [
        ("held", json!(["read_project", "read_tenant"])),
        ("expected", json!(3)),
        ("limit", json!(10)),
        ("reply", json!("_INBOX_gateway.x")),
        (
            "origin",
            json!({ "address": "2001:db8::1", "device": "curl/8" }),
        ),
    ] {
        most = with(&most, field, value);
    }
    for (example, subject) in [
        (&least, "cmd.platform.account.revoke_sessions".to_owned()),
        (&most, format!("cmd.{ID}.account.revoke_sessions")),
    ] {
        let decoded: Command<account::Area> = assert_round_trip(example);
        assert_eq!(decoded.subject().unwrap().to_string(), subject);
    }
    let internal = with(&least, "payload", json!({ "type": "grant_platform_admin" }));
    let decoded: Command<account::Area> = assert_round_trip(&internal);
    let subject = decoded.subject().unwrap().to_string();
    assert_eq!(subject, "int.platform.account.grant_platform_admin");
}

#[test]
fn a_commit_survives_new_fields_but_no_unknown_event_or_area() {
    let commit = json!({
        "tenant": ID, "area": "project", "id": ID, "revision": 2, "command": ID,
        "actor": { "kind": "access_token", "id": ID }, "time": 0,
        "origin": { "device": "curl/8" }, "events": [{ "type": "deleted" }],
    });
    let decoded: Commit<project::Area> = assert_round_trip(&commit);
    let decode = |pointer: &str, value: Value| {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let mut commit = commit.clone();
        commit.pointer_mut(parent).unwrap()[field] = value;
        serde_json::from_value::<Commit<project::Area>>(commit)
    };
    for pointer in [
        "/events/0/new_field",
        "/actor/new_field",
        "/origin/new_field",
    ] {
        let newer = decode(pointer, json!({ "anything": 1 }));
        assert_eq!(newer.unwrap(), decoded, "{pointer}");
    }
    decode("/events/0/type", json!("flown_to_the_moon")).unwrap_err();
    decode("/area", json!("moon")).unwrap_err();
}

#[test]
fn a_permission_is_written_as_its_name() {
    for permission in Permission::all() {
        assert_round_trip::<Permission>(&json!(permission.as_str()));
    }
    assert_round_trip::<Permission>(&json!("permission_of_a_newer_release"));
}

#[test]
fn a_subject_is_spelled_as_it_was_stored() {
    let areas = AreaName::ALL
        .iter()
        .map(|area| format!("evt.{ID}.{area}.{ID}"));
    let kinds = ClaimKind::ALL.map(|kind| format!("clm.{ID}.{}.{ID}", kind.as_str()));
    let stored = [
        "evt.platform.account.00112233445566778899aabbccddeeff",
        "clm.platform.member_email.00112233445566778899aabbccddeeff",
    ];
    for subject in areas.chain(kinds).chain(stored.map(str::to_owned)) {
        assert_eq!(Subject::parse(&subject).unwrap().to_string(), subject);
    }
}
