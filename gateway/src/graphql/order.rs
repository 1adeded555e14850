//! The order of fields in an answer. The GraphQL library answers fields in the order in which they
//! are resolved; the specification asks for the order of the request.

use async_graphql::{
    Name, Value,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

/// The fields of an answer, in the order of the request.
#[derive(Debug, Default)]
pub(super) struct Shape(Vec<(Name, Shape)>);

impl Shape {
    /// Returns the shape of the answer to an operation of a document that keeps to the limits.
    pub(super) fn of(document: &ExecutableDocument, operation: Option<&str>) -> Self {
        let mut shape = Self::default();
        let mut operations = document.operations.iter();
        let chosen = operations.find(|(name, _)| {
            operation.is_none_or(|wanted| name.is_some_and(|name| name.as_str() == wanted))
        });
        if let Some((_, operation)) = chosen {
            shape.add(document, &operation.node.selection_set.node);
        }
        shape
    }

    fn add(&mut self, document: &ExecutableDocument, set: &SelectionSet) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.clone();
                    let inner = self.entry(key);
                    inner.add(document, &field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => {
                    self.add(document, &fragment.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = document.fragments.get(&spread.node.fragment_name.node);
                    if let Some(fragment) = fragment {
                        self.add(document, &fragment.node.selection_set.node);
                    }
                }
            }
        }
    }

    fn entry(&mut self, key: Name) -> &mut Self {
        let known = self.0.iter().position(|(name, _)| *name == key);
        let at = known.unwrap_or_else(|| {
            self.0.push((key, Self::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// Sorts the fields of an answer.
    pub(super) fn sort(&self, value: &mut Value) {
        if let Value::List(items) = value {
            for item in items {
                self.sort(item);
            }
        } else if let Value::Object(fields) = value {
            let mut sorted = async_graphql::indexmap::IndexMap::new();
            for (name, shape) in &self.0 {
                if let Some(mut value) = fields.swap_remove(name) {
                    shape.sort(&mut value);
                    sorted.insert(name.clone(), value);
                }
            }
            // Keeps what the shape does not know, so that no field is ever lost.
            sorted.append(fields);
            *fields = sorted;
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn sorted(query: &str, answer: &str) -> String {
        let document = parse_query(query).unwrap();
        let mut value: Value = serde_json::from_str(answer).unwrap();
        Shape::of(&document, None).sort(&mut value);
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn fields_are_answered_in_the_order_of_the_request() {
        for (query, answer, expected) in [
            ("{ a b }", r#"{"b":1,"a":null}"#, r#"{"a":null,"b":1}"#),
            (
                "{ x: a ...F c } fragment F on Q { b }",
                r#"{"c":1,"b":2,"x":3}"#,
                r#"{"x":3,"b":2,"c":1}"#,
            ),
            (
                "{ a { b c } d a { e } }",
                r#"{"d":1,"a":{"e":2,"c":3,"b":4}}"#,
                r#"{"a":{"b":4,"c":3,"e":2},"d":1}"#,
            ),
            (
                "{ a { b c } }",
                r#"{"a":[{"c":1,"b":2},null]}"#,
                r#"{"a":[{"b":2,"c":1},null]}"#,
            ),
            ("{ a @skip(if: true) b }", r#"{"b":1}"#, r#"{"b":1}"#),
            (
                "{ ... { b } a }",
                r#"{"a":1,"b":2,"z":3}"#,
                r#"{"b":2,"a":1,"z":3}"#,
            ),
            ("{ a }", "null", "null"),
        ] {
            assert_eq!(sorted(query, answer), expected, "{query}");
        }
    }

    #[test]
    fn the_chosen_operation_decides() {
        let document = parse_query("query A { a b } query B { b a }").unwrap();
        let mut value: Value = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        Shape::of(&document, Some("B")).sort(&mut value);
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"b":2,"a":1}"#);
    }
}
