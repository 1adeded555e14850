//! Webhooks show objects as the API does: with the same fields and values.

use std::{collections::BTreeMap, fs, path::Path};

use async_graphql::parser::{
    parse_schema,
    types::{BaseType, Type, TypeKind, TypeSystemDefinition},
};
use serde_json::Value;

use super::sdl;

/// The types of the API, by their names.
struct Types(BTreeMap<String, TypeKind>);

impl Types {
    fn of_api() -> Self {
        let definitions = parse_schema(sdl()).unwrap().definitions.into_iter();
        let types = definitions.filter_map(|definition| {
            let TypeSystemDefinition::Type(definition) = definition else {
                return None;
            };
            let definition = definition.node;
            Some((definition.name.node.to_string(), definition.kind))
        });
        Self(types.collect())
    }

    /// Asserts that a value is one that the API could answer. An object may have fewer fields.
    fn assert_answer(&self, value: &Value, answer: &Type, place: &str) {
        let name = match (&answer.base, value) {
            (_, Value::Null) => return assert!(answer.nullable, "{place} is null"),
            (BaseType::List(item), Value::Array(values)) => {
                for value in values {
                    self.assert_answer(value, item, place);
                }
                return;
            }
            (BaseType::List(_), value) => panic!("{place}: {value} is no list"),
            (BaseType::Named(name), _) => name.as_str(),
        };
        match (self.0.get(name), value) {
            (Some(TypeKind::Object(_)), Value::Object(_)) => self.assert_object(value, name, place),
            (Some(TypeKind::Enum(names)), Value::String(text)) => {
                let mut names = names.values.iter().map(|name| &name.node.value.node);
                assert!(names.any(|name| name == text), "{place}: no value {text}");
            }
            (_, Value::String(_)) => {
                assert!(["ID", "String", "DateTime"].contains(&name), "{place}")
            }
            (_, Value::Number(_)) => assert_eq!(name, "Int", "{place}"),
            (_, Value::Bool(_)) => assert_eq!(name, "Boolean", "{place}"),
            (_, Value::Object(_) | Value::Array(_) | Value::Null) => panic!("{place}: no {name}"),
        }
    }

    fn assert_object(&self, object: &Value, name: &str, place: &str) {
        let Some(TypeKind::Object(definition)) = self.0.get(name) else {
            panic!("{place}: the API has no object {name}");
        };
        for (field, value) in object.as_object().unwrap() {
            let place = format!("{place}.{field}");
            let mut fields = definition.fields.iter().map(|field| &field.node);
            let known = fields.find(|known| known.name.node == field.as_str());
            let known = known.unwrap_or_else(|| panic!("{place}: {name} has no such field"));
            self.assert_answer(value, &known.ty.node, &place);
        }
    }
}

#[test]
fn webhooks_show_objects_as_the_api_does() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events-schema/webhooks.json");
    let catalogue = fs::read_to_string(file).unwrap();
    let catalogue: BTreeMap<String, Value> = serde_json::from_str(&catalogue).unwrap();
    let types = Types::of_api();
    let mut shown = 0;
    for (event, entry) in &catalogue {
        let data = &entry["example"]["data"];
        types.assert_object(&data["actor"], "Actor", event);
        let area = Type::new("AreaName!").unwrap();
        types.assert_answer(&data["area"], &area, event);
        if !data["object"].is_null() {
            shown += 1;
            types.assert_object(&data["object"], &type_name(event), event);
        }
    }
    assert!(shown >= 18, "{shown} objects");
}

/// Returns the type of the objects that an event such as `access_token.created` is about.
fn type_name(event: &str) -> String {
    let (area, _) = event.split_once('.').unwrap();
    let words = area.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}
