//! Commits and events for tests, built from the examples in `golden/`.

use serde_json::{Value, json};

use crate::{AreaName, Id, TenantKey, golden, secret::derived_id};

/// The tenant of all commits.
pub(super) const TENANT: TenantKey = TenantKey(Id::from_bytes([0x7e; 16]));
/// The aggregate of all commits.
pub(super) const AGGREGATE: Id = Id::from_bytes([0xa6; 16]);
/// The source of all events.
pub(super) const SOURCE: &str = "https://app.example.com/tenants/7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e";
/// The time before the first commit.
const BEGINNING: u64 = 1_700_000_000_123;

/// Returns the subject of the commits of an area.
pub(super) fn subject(area: AreaName) -> String {
    format!("evt.{TENANT}.{area}.{AGGREGATE}")
}

/// Returns a commit as it is stored. Revisions are a second apart.
pub(super) fn payload(area: AreaName, revision: u64, events: &[Value]) -> Vec<u8> {
    let commit = json!({
        "tenant": TENANT, "area": area, "id": AGGREGATE, "revision": revision,
        "command": Id::from_bytes([0xc0; 16]),
        "actor": { "kind": "account", "id": Id::from_bytes([0xac; 16]) },
        "time": BEGINNING + revision * 1_000,
        "origin": { "address": "203.0.113.9", "device": "curl/8" },
        "events": events,
    });
    commit.to_string().into_bytes()
}

/// Returns commits that lead to an example of an event, the last one with this event.
pub(super) fn history(area: AreaName, example: &Value) -> Vec<Vec<u8>> {
    let name = example["type"].as_str().unwrap();
    let before = names_before(area, name).iter().map(|name| {
        let mut events = golden::events(area).into_iter();
        events.find(|event| event["type"] == **name).unwrap()
    });
    let events = before.chain([example.clone()]);
    let commits = (1..).zip(events).map(|(revision, event)| {
        let event = realistic("", event);
        payload(area, revision, &[event])
    });
    commits.collect()
}

/// Returns the names of events that come before an event.
fn names_before(area: AreaName, name: &str) -> &'static [&'static str] {
    match (area, name) {
        (_, "created" | "created_for_service")
        | (AreaName::Member, "founder_added" | "invited") => &[],
        (AreaName::Member, "accepted" | "rejected") => &["invited"],
        (AreaName::Member, "restored") => &["invited", "accepted", "suspended"],
        (AreaName::Member, "role_unassigned") => &["invited", "accepted", "role_assigned"],
        (AreaName::Member, _) => &["invited", "accepted"],
        _ => &["created"],
    }
}

/// Gives the fields of an example values of their own, since all ids in `golden/` are the same.
fn realistic(field: &str, value: Value) -> Value {
    match value {
        Value::String(text) if Id::parse(&text).is_ok() => {
            json!(derived_id(&[b"example", field.as_bytes()]))
        }
        Value::Number(_) if field == "expires_at" => json!(BEGINNING + 90 * 24 * 60 * 60 * 1_000),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| realistic(field, item));
            items.collect()
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value = realistic(&name, value);
                (name, value)
            });
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
