//! Bounds the cost of a query before any of it is executed. Pure.
//!
//! Each fragment is costed once, so that a small document whose fragments spread each other many
//! times is refused cheaply.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, ServerError, Value,
    parser::{
        parse_query,
        types::{
            Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
            SelectionSet,
        },
    },
};

use super::tokens::{self, within};

/// Maximum levels of fields. The deepest query in the documentation has five.
const MAX_DEPTH: u64 = 12;
/// Maximum levels of fields inside `__schema` and `__type`. GraphiQL asks for fifteen.
const MAX_INTROSPECTION_DEPTH: u64 = 20;
/// Maximum fields, spreads and inline fragments, counted as often as they are reached. GraphiQL
/// asks for about 200.
const MAX_SELECTIONS: u64 = 500;
/// Maximum aliases, since they let a query ask for one field many times.
const MAX_ALIASES: u64 = 30;
/// Maximum bytes of an alias, which an answer repeats for each object.
const MAX_ALIAS_LENGTH: u64 = 64;
/// Maximum directives. Each costs work, and no client needs many.
const MAX_DIRECTIVES: u64 = 20;
/// Maximum fields of an operation's root. Each costs work, even if the same one occurs twice.
const MAX_ROOT_FIELDS: u64 = 10;
/// Maximum mutations in one request, however they are grouped. They are executed one after the
/// other, within one time limit.
const MAX_MUTATIONS: u64 = 10;
/// Maximum values in an answer, if all pages are full: a page of 100 objects may show 200 values
/// of each, those of related objects included.
const MAX_VALUES: u64 = 20_000;
/// The size of a page whose size the document does not say: that of the largest one.
const UNKNOWN_PAGE: u64 = 100;
/// The size of a page if the document asks for none.
const DEFAULT_PAGE: u64 = 50;
/// The directives of the specification for requests.
const DIRECTIVES: [&str; 2] = ["include", "skip"];

/// Parses a query, and checks that it is within the limits.
///
/// # Errors
/// If it is not valid GraphQL, exceeds a limit, or has an unknown directive.
pub(super) fn parse(query: &str) -> Result<ExecutableDocument, ServerError> {
    tokens::check(query)?;
    // The parser's own message quotes the query, and with it any secret in the query.
    let document = parse_query(query).map_err(|error| {
        ServerError::new("The query is not valid GraphQL.", error.positions().next())
    })?;
    check_document(&document)?;
    Ok(document)
}

/// The cost of a selection set, with everything that it reaches.
#[derive(Clone, Copy, Default)]
struct Cost {
    depth: u64,
    introspection_depth: u64,
    selections: u64,
    aliases: u64,
    directives: u64,
    /// Values in the answer, if all pages are full.
    values: u64,
    /// Whether these are the fields of a page.
    is_page: bool,
    /// Fields on the first level.
    fields: u64,
    /// Fields on the second level.
    subfields: u64,
}

impl Cost {
    fn and(self, other: Self) -> Self {
        Self {
            depth: self.depth.max(other.depth),
            introspection_depth: self.introspection_depth.max(other.introspection_depth),
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            values: self.values.saturating_add(other.values),
            is_page: self.is_page || other.is_page,
            fields: self.fields.saturating_add(other.fields),
            subfields: self.subfields.saturating_add(other.subfields),
        }
    }

    /// Returns the cost of a spread or inline fragment with this content.
    fn in_fragment(self, directives: &[Positioned<Directive>]) -> Result<Self, ServerError> {
        let selection = Self {
            selections: 1,
            ..Self::of_directives(directives)?
        };
        Ok(self.and(selection))
    }

    fn of_directives(directives: &[Positioned<Directive>]) -> Result<Self, ServerError> {
        let mut names = directives.iter().map(|directive| &directive.node.name);
        if let Some(name) = names.find(|name| !DIRECTIVES.contains(&name.node.as_str())) {
            let message = format!("Unknown directive \"{}\".", name.node);
            return Err(ServerError::new(message, Some(name.pos)));
        }
        Ok(Self {
            directives: directives.len() as u64,
            ..Self::default()
        })
    }

    /// Returns the cost of a field with this selection set.
    fn of_field(self, field: &Field) -> Result<Self, ServerError> {
        let directives = Self::of_directives(&field.directives)?.directives;
        if let Some(alias) = &field.alias {
            let length = alias.node.len() as u64;
            within("bytes of an alias", length, MAX_ALIAS_LENGTH)?;
        }
        let is_introspection = matches!(field.name.node.as_str(), "__schema" | "__type");
        let below = self.depth.max(self.introspection_depth);
        let (depth, introspection_depth) = if is_introspection {
            (1, below + 1)
        } else {
            (self.depth + 1, self.introspection_depth)
        };
        let pages = if self.is_page { page_size(field) } else { 1 };
        Ok(Self {
            depth,
            introspection_depth,
            values: self.values.saturating_mul(pages).saturating_add(1),
            is_page: matches!(field.name.node.as_str(), "nodes" | "edges"),
            selections: self.selections.saturating_add(1),
            aliases: self.aliases.saturating_add(field.alias.is_some().into()),
            directives: self.directives.saturating_add(directives),
            fields: 1,
            subfields: self.fields,
        })
    }

    fn check(self) -> Result<(), ServerError> {
        for (name, value, limit) in [
            ("levels of fields", self.depth, MAX_DEPTH),
            (
                "levels of introspection",
                self.introspection_depth,
                MAX_INTROSPECTION_DEPTH,
            ),
            ("fields", self.selections, MAX_SELECTIONS),
            ("aliases", self.aliases, MAX_ALIASES),
            ("directives", self.directives, MAX_DIRECTIVES),
            ("values in its answer", self.values, MAX_VALUES),
        ] {
            within(name, value, limit)?;
        }
        Ok(())
    }
}

/// Returns how many objects a field may show that shows a page of them.
fn page_size(field: &Field) -> u64 {
    let given = ["first", "last"].map(|name| field.get_argument(name));
    let sizes = given.into_iter().flatten().filter_map(|size| {
        match size.node.clone().into_const() {
            Some(Value::Number(size)) => Some(size.as_u64().unwrap_or(UNKNOWN_PAGE)),
            Some(Value::Null) => None,
            // A variable, whose value is not known here.
            Some(_) | None => Some(UNKNOWN_PAGE),
        }
    });
    sizes.max().unwrap_or(DEFAULT_PAGE)
}

/// Costs selection sets, and each fragment once; `None` marks one that is being costed.
struct Walk<'a> {
    document: &'a ExecutableDocument,
    fragments: HashMap<&'a Name, Option<Cost>>,
}

fn check_document(document: &ExecutableDocument) -> Result<(), ServerError> {
    let mut walk = Walk {
        document,
        fragments: HashMap::new(),
    };
    // The GraphQL library also validates fragments that no operation reaches, so they count. The
    // depth of a fragment counts where it is spread.
    for name in document.fragments.keys() {
        let cost = walk.fragment(name)?;
        let flat = Cost {
            depth: 0,
            introspection_depth: 0,
            ..cost
        };
        flat.check()?;
    }
    let mut total = Cost::default();
    for (_, operation) in document.operations.iter() {
        total = total.and(walk.operation(&operation.node)?);
    }
    total.check()
}

impl<'a> Walk<'a> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> Result<Cost, ServerError> {
        let mut cost = self.selection_set(&operation.selection_set.node)?;
        if operation.ty == OperationType::Mutation {
            within("mutations", cost.fields.max(cost.subfields), MAX_MUTATIONS)?;
        } else if operation.ty == OperationType::Subscription {
            within("root fields of a subscription", cost.fields, 1)?;
        } else {
            within("root fields", cost.fields, MAX_ROOT_FIELDS)?;
        }
        for variable in &operation.variable_definitions {
            cost = cost.and(Cost::of_directives(&variable.node.directives)?);
        }
        Ok(cost.and(Cost::of_directives(&operation.directives)?))
    }

    fn selection_set(&mut self, set: &'a SelectionSet) -> Result<Cost, ServerError> {
        let mut selections = set.items.iter();
        selections.try_fold(Cost::default(), |total, selection| {
            Ok(total.and(self.selection(&selection.node)?))
        })
    }

    fn selection(&mut self, selection: &'a Selection) -> Result<Cost, ServerError> {
        match selection {
            Selection::Field(field) => {
                let set = self.selection_set(&field.node.selection_set.node)?;
                set.of_field(&field.node)
            }
            Selection::InlineFragment(inline) => {
                let set = self.selection_set(&inline.node.selection_set.node)?;
                set.in_fragment(&inline.node.directives)
            }
            Selection::FragmentSpread(spread) => {
                let fragment = self.fragment(&spread.node.fragment_name.node)?;
                fragment.in_fragment(&spread.node.directives)
            }
        }
    }

    fn fragment(&mut self, name: &'a Name) -> Result<Cost, ServerError> {
        match self.fragments.get(name) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                let message = format!("The fragment \"{name}\" spreads itself. Remove the cycle.");
                return Err(ServerError::new(message, None));
            }
            None => {}
        }
        // An unknown fragment costs nothing; validation refuses it.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Ok(Cost::default());
        };
        self.fragments.insert(name, None);
        let set = self.selection_set(&fragment.node.selection_set.node)?;
        let cost = set.and(Cost::of_directives(&fragment.node.directives)?);
        self.fragments.insert(name, Some(cost));
        Ok(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> String {
        parse(query).map_or_else(|error| error.message, |_| panic!("not refused: {query}"))
    }

    fn nested(depth: usize) -> String {
        format!("{}a{}", "{a".repeat(depth - 1) + "{", "}".repeat(depth))
    }

    #[test]
    fn an_ordinary_query_is_parsed() {
        for query in [
            "{ profile { id email } sessions { id } }",
            "mutation Login($input: LoginInput!) { account { login(input: $input) { user { ...U } } } } fragment U on User { id }",
            "# a comment with \" and {{{\n{ a(text: \"}}}{{{ \\\" # , \", block: \"\"\" \" \\\"\"\" {{ \"\"\", n: -1.5e3) }",
        ] {
            assert!(parse(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn pages_within_pages_are_refused_if_they_may_have_too_many_values() {
        let page = |size: &str, inner: &str| format!("p{size} {{ nodes {{ id {inner} }} }}");
        let document =
            |outer: &str, inner: &str| format!("{{ {} }}", page(outer, &page(inner, "name")));
        assert!(parse(&document("(first: 100)", "(first: 60)")).is_ok());
        for (outer, inner) in [
            ("(first: 100)", "(last: 100)"),
            ("(first: $size)", "(first: 100)"),
            ("(first: 1000000)", "(first: 1)"),
            ("(first: null, last: 100)", "(first: 100)"),
        ] {
            let refusal = refusal(&document(outer, inner));
            assert!(refusal.contains("values in its answer"), "{refusal}");
        }
        let alias = format!("{{ {}: a }}", "x".repeat(65));
        assert!(refusal(&alias).contains("bytes of an alias"));
        let with_fragment = "{ p(first: 100) { ...P } } \
             fragment P on C { edges { node { q(first: 100) { edges { node { id name } } } } } }";
        assert!(refusal(with_fragment).contains("values in its answer"));
    }

    #[test]
    fn the_introspection_of_tools_is_within_the_limits() {
        let of_type = format!("{}{}", "ofType { kind name ".repeat(9), "}".repeat(9));
        let query = format!(
            "query I {{ __schema {{ types {{ ...F }} directives {{ args {{ ...V }} }} }} }}
             fragment F on __Type {{ fields {{ args {{ ...V }} type {{ ...T }} }} inputFields {{ ...V }} interfaces {{ ...T }} possibleTypes {{ ...T }} }}
             fragment V on __InputValue {{ name type {{ ...T }} }} fragment T on __Type {{ kind name {of_type} }}"
        );
        assert!(parse(&query).is_ok(), "{}", refusal(&query));
        assert!(
            refusal(&format!("{{ __schema {} }}", nested(21))).contains("levels of introspection")
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&nested(12)).is_ok());
        assert!(
            refusal(&nested(13)).contains("levels of fields: at most 12"),
            "{}",
            refusal(&nested(13))
        );
        for open in ["{a", "[", "(", "{a(b:[", "{...{"] {
            assert!(
                refusal(&open.repeat(400)).contains("nested brackets"),
                "{open}"
            );
        }
        let through_fragments = |depth| {
            format!(
                "{{ a {{ ...F }} }} fragment F on T {{ b {{ ...G }} }} fragment G on T {}",
                nested(depth)
            )
        };
        assert!(parse(&through_fragments(10)).is_ok());
        assert!(refusal(&through_fragments(11)).contains("levels of fields"));
    }

    #[test]
    fn fragments_that_multiply_are_refused_at_once() {
        let doubling: String = (0..60)
            .map(|n| format!("fragment F{n} on Q {{ ...F{m} ...F{m} }} ", m = n + 1))
            .collect();
        for query in [
            format!("{{ ...F0 }} {doubling} fragment F60 on Q {{ a }}"),
            format!("{{ a }} {doubling} fragment F60 on Q {{ a }}"),
        ] {
            assert!(
                refusal(&query).contains("too many fields"),
                "{}",
                refusal(&query)
            );
        }
    }

    #[test]
    fn cyclic_fragments_are_refused() {
        for query in [
            "{ ...A } fragment A on Q { ...A }",
            "{ ...A } fragment A on Q { a { ...B } } fragment B on Q { ...A }",
            "{ a } fragment A on Q { ... { ...B } } fragment B on Q { ...A }",
        ] {
            assert!(refusal(query).contains("spreads itself"), "{query}");
        }
    }

    #[test]
    fn floods_are_refused() {
        let many = |n: usize, one: &dyn Fn(usize) -> String| {
            format!(
                "{{ p {{ {} }} }}",
                (0..n).map(one).collect::<Vec<_>>().join(" ")
            )
        };
        assert!(refusal("{ a a a a a a a a a a a }").contains("too many root fields"));
        assert!(parse(&many(30, &|n| format!("a{n}: a"))).is_ok());
        assert!(refusal(&many(31, &|n| format!("a{n}: a"))).contains("aliases"));
        assert!(refusal(&many(21, &|_| "a @skip(if: false)".to_owned())).contains("directives"));
        assert!(refusal(&many(500, &|_| "a".to_owned())).contains("too many fields"));
        assert!(refusal(&many(2_000, &|_| "a".to_owned())).contains("tokens"));
        assert!(
            refusal(&format!(
                "query Q({}) {{ a }}",
                "$a: Int @skip(if: true) ".repeat(21)
            ))
            .contains("directives")
        );
        let operations: String = (0..60)
            .map(|n| format!("query Q{n} {{ a b c d e f g h i }} "))
            .collect();
        assert!(refusal(&operations).contains("too many fields"));
    }

    #[test]
    fn mutations_are_counted_however_they_are_grouped() {
        let mutations = |n: usize| (0..n).map(|n| format!("m{n}: login ")).collect::<String>();
        assert!(parse(&format!("mutation {{ account {{ {} }} }}", mutations(10))).is_ok());
        for query in [
            format!("mutation {{ account {{ {} }} }}", mutations(11)),
            format!("mutation {{ {} }}", mutations(11)),
            format!(
                "mutation {{ a: account {{ {} }} ...F }} fragment F on M {{ account {{ {} }} }}",
                mutations(6),
                mutations(6)
            ),
        ] {
            assert!(
                refusal(&query).contains("too many mutations"),
                "{}",
                refusal(&query)
            );
        }
    }

    #[test]
    fn a_huge_string_is_one_token_and_an_endless_one_an_error() {
        assert!(parse(&format!("{{ a(b: \"{}\") }}", "x {".repeat(20_000))).is_ok());
        for query in [
            "{ a(b: \"",
            "{ a(b: \"\\",
            "{ a(b: \"\"\"",
            "\"\"",
            "\"\"\"\"",
            "",
        ] {
            refusal(query);
        }
    }

    #[test]
    fn an_unknown_directive_is_refused_wherever_it_is() {
        for query in [
            "{ __typename @aa }",
            "{ a { b @aa } }",
            "query Q @aa { a }",
            "query Q($a: Int @aa) { a }",
            "{ ... @aa { a } }",
            "{ ...F @aa } fragment F on Q { a }",
            "{ ...F } fragment F on Q @aa { a }",
        ] {
            assert_eq!(refusal(query), "Unknown directive \"aa\".", "{query}");
        }
        assert!(parse("{ a @skip(if: true) ... @include(if: true) { b } }").is_ok());
    }
}
