//! Generates the catalogue of event types: `webhooks.json` for programs, and a part of
//! `docs/webhook-events.md` for people.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{
    Content, EventType, PublicEvent,
    body::Body,
    event::testing::object_of,
    events_of,
    samples::{SOURCE, history, subject},
};
use crate::{Area, AreaName, areas, golden};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the schema of the messages about an area.
fn schema_of<A: Area>() -> Value
where
    A::Public: JsonSchema + 'static,
{
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let generator = settings.into_generator();
    let schema = generator.into_root_schema_for::<Body<'static, A::Public>>();
    let mut schema = schema.to_value();
    schema["properties"]["specversion"]["const"] = json!("1.0");
    let name = A::NAME.as_str().to_ascii_uppercase();
    let area = &mut schema["properties"]["data"]["properties"]["area"];
    *area = json!({ "const": name, "description": area["description"] });
    schema
}

macro_rules! declare_schema_in {
    ($($name:ident: $module:ident [$($view:ident)+],)+) => {
        fn schema_in(area: AreaName) -> Value {
            match area {
                $(AreaName::$name => schema_of::<crate::$module::Area>()),+
            }
        }
    };
}
areas!(declare_schema_in);

fn schema(area: AreaName, event_type: EventType) -> Value {
    let mut schema = schema_in(area);
    schema["title"] = json!(event_type.as_str());
    schema["description"] = json!(event_type.description());
    schema["properties"]["type"]["const"] = json!(event_type.as_str());
    schema
}

/// Returns a message of this type that shows its object.
fn example(area: AreaName, event_type: EventType) -> Value {
    let mut examples = golden::events(area).into_iter();
    let example = examples.find(|event| event["type"] == event_type.event_name());
    let commits = history(area, &example.unwrap());
    let events = events_of(&subject(area), commits.last().unwrap()).unwrap();
    let [event] = <[PublicEvent; 1]>::try_from(events).unwrap();
    assert_eq!(event.event_type, event_type);
    let object = object_of(&event, &commits).unwrap();
    let body = event.body(SOURCE, Content::Full(object.as_ref()));
    serde_json::from_slice(&body.unwrap()).unwrap()
}

fn published_areas() -> impl Iterator<Item = AreaName> {
    let areas = AreaName::ALL.iter().copied();
    areas.filter(|area| !area.event_types().is_empty())
}

fn catalogue() -> String {
    let mut entries = BTreeMap::new();
    for area in published_areas() {
        for event_type in area.event_types() {
            let schema = schema(area, *event_type);
            let entry = json!({ "schema": schema, "example": example(area, *event_type) });
            entries.insert(event_type.as_str(), entry);
        }
    }
    golden::pretty(json!(entries)) + "\n"
}

/// Returns a page whose part between the lines with this name is replaced.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (beginning, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let (before, rest) = page.split_once(&beginning).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{beginning}{part}{end}{after}")
}

fn as_block(value: &Value) -> String {
    let text = golden::pretty(value.clone());
    format!("\n```json\n{text}\n```\n")
}

/// Describes the events of each area, with an object of it.
fn events() -> String {
    let mut part = String::new();
    for area in published_areas() {
        let permission = area.feed().unwrap();
        writeln!(part, "\n### {area}\n\nNeeds `{permission}`.\n").unwrap();
        writeln!(part, "| Event | Meaning |\n|---|---|").unwrap();
        for event_type in area.event_types() {
            writeln!(part, "| `{event_type}` | {} |", event_type.description()).unwrap();
        }
        let message = example(area, area.event_types()[0]);
        part += &as_block(&message["data"]["object"]);
    }
    part + "\n"
}

#[test]
fn the_catalogue_and_its_page_match_the_code() {
    let guide = path("../docs/webhook-events.md");
    let page = fs::read_to_string(&guide).unwrap();
    let task = example(AreaName::Task, AreaName::Task.event_types()[0]);
    let page = with_part(&page, "message", &(as_block(&task) + "\n"));
    let page = with_part(&page, "events", &events());
    golden::assert_generated([(path("webhooks.json"), catalogue()), (guide, page)]);
}

#[test]
fn the_example_of_each_type_has_what_its_schema_names() {
    for area in published_areas() {
        for event_type in area.event_types() {
            let schema = schema(area, *event_type);
            let example = example(area, *event_type);
            assert_described(&schema, &example);
        }
    }
}

/// Asserts that an object has all properties that its schema describes, and no other.
fn assert_described(schema: &Value, object: &Value) {
    let described = schema["properties"].as_object().unwrap();
    let fields = object.as_object().unwrap();
    // Only a message that is too large, sent to try an endpoint, or about a change by somebody who acts
    // as a person says so.
    let unusual = ["truncated", "test", "impersonatedBy"];
    let is_usual = |name: &&String| !unusual.contains(&name.as_str());
    let names = described.keys().filter(is_usual);
    assert!(names.eq(fields.keys()), "{object}");
    for (name, value) in fields.iter().filter(|(_, value)| value.is_object()) {
        assert_described(&schema["properties"][name], value);
    }
}
