//! Finds the operation that a field stands for, by convention:
//!
//! 1. A root field named like an area, in singular or plural, is the area's `read`: `project`,
//!    `projects`.
//! 2. A field within a group named like an area is the area's operation of this name:
//!    `project { create }` is `create` of projects.
//! 3. Any other field is the operation that is named like its path, in the one area that has it:
//!    `auditLog` is `audit_log`, `profile { update }` is `profile_update`.
//!
//! Rows of [`Area::FIELDS`](events_schema::Area::FIELDS) name fields of the type that is named like
//! the area: `settings` of `Tenant`.
//!
//! A group is a root field without arguments whose type is named after it, such as
//! `ProjectMutation`.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::{Context as _, bail, ensure};
use async_graphql::parser::{
    parse_schema,
    types::{
        BaseType, FieldDefinition, ObjectType, ServiceDocument, TypeKind, TypeSystemDefinition,
    },
};
use events_schema::{Access, AreaName};

use super::names::{camel_case, capitalized, snake_case};

/// The operations of a schema, by type and field.
#[derive(Debug, Default)]
pub(super) struct Operations {
    types: HashSet<String>,
    fields: HashMap<(String, String), Operation>,
}

/// The operation that a field of a root or group stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// The field groups operations and is none itself.
    Group,
    /// The field is an operation, with this row in the area's access table.
    Access(AreaName, &'static Access),
}

impl Operations {
    /// Finds the operations of a schema.
    ///
    /// # Errors
    /// If an operation has no row in an access table, or a row has no operation. The error says
    /// what to do.
    pub(super) fn of(sdl: &str) -> anyhow::Result<Self> {
        let document = parse_schema(sdl)?;
        let types = object_types(&document);
        let mut operations = Self::default();
        for root in roots(&document) {
            let object = types.get(root).with_context(|| format!("no type {root}"))?;
            for field in &object.fields {
                operations.add_root_field(root, &field.node, &types)?;
            }
        }
        operations.ensure_all_rows_are_used()?;
        ensure_restricted_fields_exist(&types)?;
        Ok(operations)
    }

    fn add_root_field(
        &mut self,
        root: &str,
        field: &FieldDefinition,
        types: &HashMap<&str, &ObjectType>,
    ) -> anyhow::Result<()> {
        let name = field.name.node.as_str();
        let group = group_type(field).and_then(|group| Some((group, types.get(group)?)));
        let Some((group, object)) = group else {
            let (area, access) = root_operation(name)?;
            self.add(root, name, Operation::Access(area, access));
            return Ok(());
        };
        self.add(root, name, Operation::Group);
        for inner in &object.fields {
            let inner = inner.node.name.node.as_str();
            let (area, access) = inner_operation(name, inner)?;
            self.add(group, inner, Operation::Access(area, access));
        }
        Ok(())
    }

    fn add(&mut self, parent: &str, field: &str, operation: Operation) {
        self.types.insert(parent.to_owned());
        let key = (parent.to_owned(), field.to_owned());
        self.fields.insert(key, operation);
    }

    /// Whether the fields of this type are operations or groups of them.
    pub(super) fn are_fields_of(&self, parent: &str) -> bool {
        self.types.contains(parent)
    }

    /// Returns the operation that a field of a root or group stands for.
    pub(super) fn find(&self, parent: &str, field: &str) -> Option<Operation> {
        let key = (parent.to_owned(), field.to_owned());
        self.fields.get(&key).copied()
    }

    fn ensure_all_rows_are_used(&self) -> anyhow::Result<()> {
        let used: BTreeSet<_> = self.fields.values().filter_map(row).collect();
        for area in AreaName::ALL.iter().copied() {
            for access in area.access() {
                let verb = access.verb;
                ensure!(
                    used.contains(&(area, verb)),
                    "the operation {verb} of {area} has a row in ACCESS of \
                     events-schema/src/{area}.rs, but the API has no field for it: add the field \
                     in gateway/src/graphql/, or delete the row"
                );
            }
        }
        Ok(())
    }
}

/// Ensures that each row of a field has a field, which can be null for those who may not read it.
fn ensure_restricted_fields_exist(types: &HashMap<&str, &ObjectType>) -> anyhow::Result<()> {
    for area in AreaName::ALL.iter().copied() {
        let object = capitalized(&camel_case(area.as_str()));
        for access in area.fields() {
            let name = camel_case(access.verb);
            let mut fields = types
                .get(object.as_str())
                .into_iter()
                .flat_map(|of| &of.fields);
            let field = fields.find(|field| field.node.name.node.as_str() == name);
            ensure!(
                field.is_some_and(|field| field.node.ty.node.nullable),
                "FIELDS of events-schema/src/{area}.rs has a row for {name}, but the API has no \
                 field of this name in {object} that can be null: add it, or delete the row"
            );
        }
    }
    Ok(())
}

fn row(operation: &Operation) -> Option<(AreaName, &'static str)> {
    match operation {
        Operation::Group => None,
        Operation::Access(area, access) => Some((*area, access.verb)),
    }
}

fn object_types(document: &ServiceDocument) -> HashMap<&str, &ObjectType> {
    let types = document.definitions.iter().filter_map(|definition| {
        let TypeSystemDefinition::Type(definition) = definition else {
            return None;
        };
        let TypeKind::Object(object) = &definition.node.kind else {
            return None;
        };
        Some((definition.node.name.node.as_str(), object))
    });
    types.collect()
}

fn roots(document: &ServiceDocument) -> Vec<&str> {
    let schemas = document.definitions.iter().filter_map(|definition| {
        if let TypeSystemDefinition::Schema(schema) = definition {
            Some(&schema.node)
        } else {
            None
        }
    });
    let roots = schemas.flat_map(|schema| [&schema.query, &schema.mutation, &schema.subscription]);
    roots.flatten().map(|name| name.node.as_str()).collect()
}

/// Returns the type of a group; `None` if the field is no group.
fn group_type(field: &FieldDefinition) -> Option<&str> {
    let BaseType::Named(name) = &field.ty.node.base else {
        return None;
    };
    let kind = name.strip_prefix(capitalized(&field.name.node).as_str())?;
    let is_group = field.arguments.is_empty() && matches!(kind, "Query" | "Mutation");
    is_group.then_some(name.as_str())
}

type Row = (AreaName, &'static Access);

fn root_operation(field: &str) -> anyhow::Result<Row> {
    let name = snake_case(field);
    let mut areas = AreaName::ALL.iter().copied();
    let named = areas.find(|area| name == area.as_str() || name == format!("{area}s"));
    match named {
        Some(area) => row_of(area, "read", field),
        None => only_row(&name, field),
    }
}

fn inner_operation(group: &str, field: &str) -> anyhow::Result<Row> {
    let path = format!("{group} {{ {field} }}");
    let (group, verb) = (snake_case(group), snake_case(field));
    match AreaName::parse(&group) {
        Ok(area) => row_of(area, &verb, &path),
        Err(_) => only_row(&format!("{group}_{verb}"), &path),
    }
}

fn row_of(area: AreaName, verb: &str, path: &str) -> anyhow::Result<Row> {
    let row = area.operation(verb).with_context(|| {
        format!(
            "`{path}` has no row in an access table: add one for `{verb}` to ACCESS of \
             events-schema/src/{area}.rs"
        )
    })?;
    Ok((area, row))
}

fn only_row(verb: &str, path: &str) -> anyhow::Result<Row> {
    let areas = AreaName::ALL.iter().copied();
    let rows: Vec<Row> = areas
        .filter_map(|area| Some((area, area.operation(verb)?)))
        .collect();
    match rows[..] {
        [row] => Ok(row),
        [] => bail!(
            "`{path}` has no row in an access table: add one for `{verb}` to ACCESS of the area in \
             events-schema/src/ that it belongs to"
        ),
        _ => bail!(
            "`{path}` has rows in several access tables: keep the row for `{verb}` in one area only"
        ),
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Who, member, project};

    use super::*;

    use std::sync::LazyLock;

    static SDL: LazyLock<String> = LazyLock::new(super::super::sdl);

    fn verb(parent: &str, field: &str) -> String {
        let operations = Operations::of(&SDL).unwrap();
        match operations.find(parent, field) {
            Some(Operation::Access(area, access)) => format!("{area}.{}", access.verb),
            other => format!("{other:?}"),
        }
    }

    fn refusal(sdl: &str) -> String {
        Operations::of(sdl).unwrap_err().to_string()
    }

    #[test]
    fn a_field_stands_for_the_operation_that_its_path_names() {
        for (parent, field, expected) in [
            ("Query", "project", "project.read"),
            ("Query", "projects", "project.read"),
            ("Query", "accessTokens", "access_token.read"),
            ("Query", "sessions", "session.read"),
            ("Query", "auditLog", "tenant.audit_log"),
            ("Query", "me", "member.me"),
            ("Query", "profile", "account.profile"),
            ("PlatformQuery", "tenants", "tenant.platform_tenants"),
            ("ProjectMutation", "create", "project.create"),
            (
                "MemberMutation",
                "acceptInvitation",
                "member.accept_invitation",
            ),
            ("ProfileMutation", "update", "account.profile_update"),
            ("SubscriptionRoot", "events", "tenant.events"),
            ("Mutation", "project", "Some(Group)"),
            ("Query", "platform", "Some(Group)"),
            ("Query", "unknown", "None"),
        ] {
            assert_eq!(verb(parent, field), expected, "{parent}.{field}");
        }
    }

    #[test]
    fn the_access_of_an_operation_is_that_of_its_row() {
        let operations = Operations::of(&SDL).unwrap();
        let who = |parent, field| match operations.find(parent, field) {
            Some(Operation::Access(_, access)) => access.who,
            other => panic!("{other:?}"),
        };
        let create = who("ProjectMutation", "create");
        assert_eq!(create, Who::Permission(project::CREATE));
        assert_eq!(who("MemberMutation", "delete"), Who::OwnOr(member::DELETE));
        assert_eq!(who("AccountMutation", "login"), Who::Anyone);
    }

    #[test]
    fn an_operation_without_a_row_is_refused() {
        let group = "type ProjectMutation {";
        let more = SDL.replace(group, &format!("{group}\n\texplode: Boolean"));
        let refusal_of_inner = refusal(&more);
        assert!(
            refusal_of_inner.contains("`project { explode }`"),
            "{refusal_of_inner}"
        );
        assert!(refusal_of_inner.contains("events-schema/src/project.rs"));
        let more = SDL.replace("type Query {", "type Query {\n\tmoonPhase: Boolean");
        assert!(refusal(&more).contains("`moon_phase`"));
    }

    #[test]
    fn a_row_without_an_operation_is_refused() {
        let less = SDL.replace(
            "\ttenantAvailable(identifier: String!): Boolean\n",
            "\tme: Me\n",
        );
        assert_ne!(less, *SDL);
        let refusal = refusal(&less);
        assert!(refusal.contains("tenant_available of tenant"), "{refusal}");
    }

    #[test]
    fn a_row_of_a_field_that_does_not_exist_or_cannot_be_null_is_refused() {
        for wrong in ["\tchoices: [Setting!]\n", "\tsettings: [Setting!]!\n"] {
            let less = SDL.replace("\tsettings: [Setting!]\n", wrong);
            assert_ne!(less, *SDL);
            let refusal = refusal(&less);
            assert!(refusal.contains("a row for settings"), "{refusal}");
        }
    }

    #[test]
    fn a_type_that_is_named_like_a_root_is_no_root() {
        let billing = "type Subscription {\n\tid: ID!\n\tstatus: String!\n}\n\
                       type UsageQuery {\n\ttotal: Int!\n}\n";
        let more = SDL.replace(
            "type Project {",
            &format!("{billing}type Project {{\n\tsubscription: Subscription\n\tusage: UsageQuery"),
        );
        assert_ne!(more, *SDL);
        let operations = Operations::of(&more).unwrap();
        for name in ["Subscription", "UsageQuery", "Project"] {
            assert!(!operations.are_fields_of(name), "{name}");
        }
        assert!(operations.are_fields_of("SubscriptionRoot"));
    }

    #[test]
    fn a_root_field_with_arguments_is_no_group() {
        let group = "\tplatform: PlatformQuery\n";
        let more = SDL.replace(group, "\tplatform(x: Int): PlatformQuery\n");
        assert_ne!(more, *SDL);
        assert!(refusal(&more).contains("`platform`"));
    }
}
