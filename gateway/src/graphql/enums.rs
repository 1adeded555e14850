//! Checks the enum values in a request. The GraphQL library also accepts strings for them in a
//! document, and does not say which values are allowed.

use std::{collections::HashMap, convert::Infallible};

use async_graphql::{
    Name, Pos, ServerError, Value, Variables,
    parser::{
        parse_schema,
        types::{
            BaseType, ExecutableDocument, Field, FieldDefinition, InputValueDefinition,
            OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeKind,
            TypeSystemDefinition, VariableDefinition,
        },
    },
};

use super::errors::wrong_input;

/// The types of a schema.
#[derive(Debug)]
pub(super) struct Enums {
    types: HashMap<Name, TypeKind>,
    roots: [Option<Name>; 3],
}

/// Where a value is written. Only JSON variables write enum values as strings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Document,
    Variables,
}

impl Enums {
    /// Reads the types of a schema.
    ///
    /// # Errors
    /// If the text is no schema.
    pub(super) fn of(sdl: &str) -> anyhow::Result<Self> {
        let (mut types, mut roots) = (HashMap::new(), [None, None, None]);
        for definition in parse_schema(sdl)?.definitions {
            if let TypeSystemDefinition::Type(definition) = definition {
                let definition = definition.node;
                types.insert(definition.name.node, definition.kind);
            } else if let TypeSystemDefinition::Schema(schema) = definition {
                let schema = schema.node;
                roots = [schema.query, schema.mutation, schema.subscription]
                    .map(|root| root.map(|name| name.node));
            }
        }
        Ok(Self { types, roots })
    }

    /// Checks all enum values in a document and its variables. Fragments are checked once each,
    /// however often they are spread.
    ///
    /// # Errors
    /// If a value is a string in the document, or not one of its enum. The error lists the values.
    pub(super) fn check(
        &self,
        document: &ExecutableDocument,
        variables: &Variables,
    ) -> Result<(), ServerError> {
        for (_, operation) in document.operations.iter() {
            self.operation(&operation.node, variables)?;
        }
        for fragment in document.fragments.values() {
            let fragment = &fragment.node;
            let name = &fragment.type_condition.node.on.node;
            self.selection_set(Some(name), &fragment.selection_set.node)?;
        }
        Ok(())
    }

    fn operation(
        &self,
        operation: &OperationDefinition,
        variables: &Variables,
    ) -> Result<(), ServerError> {
        for definition in &operation.variable_definitions {
            self.variable(&definition.node, variables)?;
        }
        let [query, mutation, subscription] = &self.roots;
        let root = match operation.ty {
            OperationType::Query => query,
            OperationType::Mutation => mutation,
            OperationType::Subscription => subscription,
        };
        self.selection_set(root.as_ref(), &operation.selection_set.node)
    }

    fn variable(
        &self,
        definition: &VariableDefinition,
        variables: &Variables,
    ) -> Result<(), ServerError> {
        let (name, ty) = (&definition.name, &definition.var_type.node);
        let found = |source, value| {
            let wrong = self.wrong(&name.node, ty, value, source);
            wrong.map_or(Ok(()), |wrong| Err(wrong.at(name.pos)))
        };
        if let Some(default) = &definition.default_value {
            found(Source::Document, &default.node)?;
        }
        match variables.get(&name.node) {
            Some(value) => found(Source::Variables, value),
            None => Ok(()),
        }
    }

    /// `parent` is `None` within a type that does not exist, which validation refuses.
    fn selection_set(&self, parent: Option<&Name>, set: &SelectionSet) -> Result<(), ServerError> {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => self.field(parent, &field.node)?,
                Selection::InlineFragment(fragment) => {
                    let fragment = &fragment.node;
                    let condition = fragment.type_condition.as_ref();
                    let parent = condition.map(|on| &on.node.on.node).or(parent);
                    self.selection_set(parent, &fragment.selection_set.node)?;
                }
                Selection::FragmentSpread(_) => {}
            }
        }
        Ok(())
    }

    fn field(&self, parent: Option<&Name>, field: &Field) -> Result<(), ServerError> {
        let definition = parent.and_then(|parent| self.field_of(parent, &field.name.node));
        for (name, value) in &field.arguments {
            let arguments = definition.map(|definition| definition.arguments.as_slice());
            let mut arguments = arguments.unwrap_or_default().iter();
            let Some(argument) = arguments.find(|known| known.node.name.node == name.node) else {
                continue;
            };
            // Variables are checked where they are defined.
            let value = value.node.clone();
            let value = value.into_const_with(|_| Ok::<_, Infallible>(Value::Null));
            let Ok(value) = value;
            let ty = &argument.node.ty.node;
            if let Some(wrong) = self.wrong(&name.node, ty, &value, Source::Document) {
                return Err(wrong.at(name.pos));
            }
        }
        let inner = definition.map(|definition| named(&definition.ty.node));
        self.selection_set(inner, &field.selection_set.node)
    }

    fn field_of(&self, parent: &Name, field: &Name) -> Option<&FieldDefinition> {
        let TypeKind::Object(object) = self.types.get(parent)? else {
            return None;
        };
        let mut fields = object.fields.iter().map(|field| &field.node);
        fields.find(|known| known.name.node == *field)
    }

    /// Finds the first wrong enum value within the value of a field.
    fn wrong(&self, field: &Name, ty: &Type, value: &Value, source: Source) -> Option<Wrong> {
        if let Value::List(items) = value {
            let inner = match &ty.base {
                BaseType::List(inner) => inner,
                BaseType::Named(_) => ty,
            };
            let mut items = items.iter();
            return items.find_map(|item| self.wrong(field, inner, item, source));
        }
        let kind = self.types.get(named(ty))?;
        if let TypeKind::Enum(kind) = kind {
            let values = kind.values.iter().map(|value| &value.node.value.node);
            wrong_value(field, value, values.collect(), source)
        } else if let (TypeKind::InputObject(kind), Value::Object(given)) = (kind, value) {
            let mut given = given.iter();
            given.find_map(|(name, value)| {
                let input = input_of(&kind.fields, name)?;
                self.wrong(name, &input.ty.node, value, source)
            })
        } else {
            None
        }
    }
}

/// A wrong value.
struct Wrong {
    field: String,
    message: String,
}

impl Wrong {
    fn at(self, position: Pos) -> ServerError {
        wrong_input(&self.field, self.message, Some(position))
    }
}

fn wrong_value(field: &Name, value: &Value, values: Vec<&Name>, source: Source) -> Option<Wrong> {
    let is_known = |text: &str| values.iter().any(|known| known.as_str() == text);
    let is_right = match value {
        Value::Null => true,
        Value::Enum(name) => is_known(name),
        Value::String(text) => source == Source::Variables && is_known(text),
        Value::Number(_)
        | Value::Boolean(_)
        | Value::Binary(_)
        | Value::List(_)
        | Value::Object(_) => false,
    };
    if is_right {
        return None;
    }
    let names: Vec<&str> = values.iter().map(|name| name.as_str()).collect();
    let hint = match source {
        Source::Document => ", without quotes",
        Source::Variables => "",
    };
    Some(Wrong {
        field: field.to_string(),
        message: format!("{field} must be one of {}{hint}.", names.join(", ")),
    })
}

fn input_of<'a>(
    inputs: &'a [async_graphql::Positioned<InputValueDefinition>],
    name: &Name,
) -> Option<&'a InputValueDefinition> {
    let mut inputs = inputs.iter().map(|input| &input.node);
    inputs.find(|input| input.name.node == *name)
}

fn named(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => named(inner),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    const STATUS: &str = "ACTIVE, ON_HOLD, COMPLETED, ARCHIVED";

    fn refusal(query: &str, variables: serde_json::Value) -> Option<(String, String)> {
        let enums = Enums::of(&super::super::sdl()).unwrap();
        let document = parse_query(query).unwrap();
        let checked = enums.check(&document, &Variables::from_json(variables));
        let error = serde_json::to_value(checked.err()?).unwrap();
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Some((text(&error["extensions"]["field"]), text(&error["message"])))
    }

    #[test]
    fn right_enum_values_are_accepted() {
        let query = "query Q($s: ProjectStatus = ACTIVE, $o: ProjectOrder, $w: ProjectFilter) {
            projects(where: { status: [$s, ON_HOLD], name: \"ACTIVE\" }, orderBy: $o) { nodes { id } }
            b: projects(where: $w) { nodes { id } }
        }";
        let variables = json!({ "o": "NAME_ASC", "w": { "status": ["ARCHIVED"], "name": null } });
        assert_eq!(refusal(query, variables), None);
        assert_eq!(
            refusal("{ projects(orderBy: null) { unknown(x: A) } }", json!({})),
            None
        );
    }

    #[test]
    fn a_wrong_enum_value_is_answered_with_the_right_ones() {
        let create = "mutation M($i: CreateProjectInput!) { project { create(input: $i) { id } } }";
        let in_document = format!("status must be one of {STATUS}, without quotes.");
        let in_variables = format!("status must be one of {STATUS}.");
        let fragment =
            "{ ...F } fragment F on Query { projects(where: {status: X}) { nodes { id } } }";
        for (query, variables, message) in [
            (
                "{ projects(where: {status: [ACTIVE, X]}) { nodes { id } } }",
                json!({}),
                &in_document,
            ),
            (
                "{ projects(where: {status: ACTIV}) { nodes { id } } }",
                json!({}),
                &in_document,
            ),
            (fragment, json!({}), &in_document),
            (
                create,
                json!({ "i": { "name": "x", "status": "Active" } }),
                &in_variables,
            ),
            (
                create,
                json!({ "i": { "name": "x", "status": 1 } }),
                &in_variables,
            ),
        ] {
            let expected = Some(("status".to_owned(), message.clone()));
            assert_eq!(refusal(query, variables), expected, "{query}");
        }
        let variable =
            "query Q($order: ProjectOrder) { projects(orderBy: $order) { nodes { id } } }";
        let (field, message) = refusal(variable, json!({ "order": "NAME" })).unwrap();
        assert_eq!(field, "order");
        assert!(message.contains("CREATED_AT_ASC"), "{message}");
    }

    #[test]
    fn a_string_in_a_document_is_no_enum_value() {
        for query in [
            "{ projects(where: { status: \"ACTIVE\" }) { nodes { id } } }",
            "query Q($s: [ProjectStatus!] = \"ACTIVE\") { projects { nodes { id } } }",
            "{ ... on Query { projects(where: { status: [\"ACTIVE\"] }) { nodes { id } } } }",
            "mutation { project { create(input: { name: \"x\", status: \"ACTIVE\" }) { id } } }",
        ] {
            assert!(refusal(query, json!({})).is_some(), "{query}");
        }
        let subscription = "subscription { events(areas: [\"PROJECT\"]) { id } }";
        assert_eq!(refusal(subscription, json!({})).unwrap().0, "areas");
    }
}
