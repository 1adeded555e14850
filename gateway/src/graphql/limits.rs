//! Bounds what a query may cost before anything of it is executed. Pure.
//!
//! Fragments are costed once each, so that a small document whose fragments spread each other many
//! times over is refused as cheaply as it was written.

use std::collections::HashMap;

use async_graphql::{
    Name, ServerError,
    parser::{
        parse_query,
        types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet},
    },
};

/// Levels of fields: the deepest query in the documentation has five.
const MAX_DEPTH: u64 = 12;
/// Levels of fields inside `__schema` and `__type`: what GraphiQL asks has fifteen.
const MAX_INTROSPECTION_DEPTH: u64 = 20;
/// Fields, spreads and inline fragments, counted as often as they are reached: GraphiQL asks for
/// about 200.
const MAX_SELECTIONS: u64 = 500;
/// Aliases, by which one field could be asked for many times.
const MAX_ALIASES: u64 = 30;
/// Directives, which cost much for how little they say.
const MAX_DIRECTIVES: u64 = 20;
/// Fields of an operation's root: each is work of its own, even where the same one stands twice.
const MAX_ROOT_FIELDS: u64 = 10;
/// Mutations in one request, however they are grouped: they are done one after the other, within
/// one time limit.
const MAX_MUTATIONS: u64 = 10;
/// Lexical tokens, counted before parsing: four for each selection.
const MAX_TOKENS: usize = 2_000;
/// Brackets within brackets, counted before parsing, since the parser recurses.
const MAX_NESTING: usize = 64;

/// Parses a query that keeps to the limits.
pub(crate) fn parse(query: &str) -> Result<ExecutableDocument, ServerError> {
    check_tokens(query)?;
    // The parser's own text quotes the query, and with it whatever secret stands in there.
    let document = parse_query(query).map_err(|error| {
        ServerError::new("The query is not valid GraphQL.", error.positions().next())
    })?;
    check_document(&document)?;
    Ok(document)
}

/// What a selection set costs, with everything that it reaches.
#[derive(Clone, Copy, Default)]
struct Cost {
    depth: u64,
    introspection_depth: u64,
    selections: u64,
    aliases: u64,
    directives: u64,
    /// Fields on the first level, and on the second.
    fields: u64,
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
            fields: self.fields.saturating_add(other.fields),
            subfields: self.subfields.saturating_add(other.subfields),
        }
    }

    /// A spread or an inline fragment: its content stands where it stands.
    fn in_fragment(self, directives: usize) -> Self {
        self.and(Self {
            selections: 1,
            directives: directives as u64,
            ..Self::default()
        })
    }

    /// A field over the selection set that costs `self`.
    fn under(self, field: &Field) -> Self {
        let inside = matches!(field.name.node.as_str(), "__schema" | "__type");
        let below = self.depth.max(self.introspection_depth);
        Self {
            depth: if inside { 1 } else { self.depth + 1 },
            introspection_depth: if inside {
                below + 1
            } else {
                self.introspection_depth
            },
            selections: self.selections.saturating_add(1),
            aliases: self.aliases.saturating_add(field.alias.is_some().into()),
            directives: self
                .directives
                .saturating_add(field.directives.len() as u64),
            fields: 1,
            subfields: self.fields,
        }
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
        ] {
            within(name, value, limit)?;
        }
        Ok(())
    }
}

fn within(name: &str, value: u64, limit: u64) -> Result<(), ServerError> {
    if value <= limit {
        Ok(())
    } else {
        Err(ServerError::new(
            format!("The query has too many {name}: at most {limit} are allowed."),
            None,
        ))
    }
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
    // Those that no operation reaches are validated, too. How deep they are shows where they are
    // spread.
    for name in document.fragments.keys() {
        Cost {
            depth: 0,
            introspection_depth: 0,
            ..walk.fragment(name)?
        }
        .check()?;
    }
    let mut total = Cost::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let cost = walk.selection_set(&operation.selection_set.node)?;
        if operation.ty == OperationType::Mutation {
            within("mutations", cost.fields.max(cost.subfields), MAX_MUTATIONS)?;
        } else {
            within("root fields", cost.fields, MAX_ROOT_FIELDS)?;
        }
        let on_variables: usize = operation
            .variable_definitions
            .iter()
            .map(|variable| variable.node.directives.len())
            .sum();
        let directives = (operation.directives.len() + on_variables) as u64;
        total = total.and(cost).and(Cost {
            directives,
            ..Cost::default()
        });
    }
    total.check()
}

impl<'a> Walk<'a> {
    fn selection_set(&mut self, set: &'a SelectionSet) -> Result<Cost, ServerError> {
        set.items
            .iter()
            .try_fold(Cost::default(), |total, selection| {
                Ok(total.and(self.selection(&selection.node)?))
            })
    }

    fn selection(&mut self, selection: &'a Selection) -> Result<Cost, ServerError> {
        Ok(match selection {
            Selection::Field(field) => self
                .selection_set(&field.node.selection_set.node)?
                .under(&field.node),
            Selection::InlineFragment(inline) => self
                .selection_set(&inline.node.selection_set.node)?
                .in_fragment(inline.node.directives.len()),
            Selection::FragmentSpread(spread) => self
                .fragment(&spread.node.fragment_name.node)?
                .in_fragment(spread.node.directives.len()),
        })
    }

    fn fragment(&mut self, name: &'a Name) -> Result<Cost, ServerError> {
        match self.fragments.get(name) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                return Err(ServerError::new(
                    format!("The fragment \"{name}\" spreads itself."),
                    None,
                ));
            }
            None => {}
        }
        // An unknown fragment costs nothing; validation refuses it.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Ok(Cost::default());
        };
        self.fragments.insert(name, None);
        let directives = fragment.node.directives.len() as u64;
        let cost = self
            .selection_set(&fragment.node.selection_set.node)?
            .and(Cost {
                directives,
                ..Cost::default()
            });
        self.fragments.insert(name, Some(cost));
        Ok(cost)
    }
}

/// Counts tokens and open brackets as a GraphQL lexer would, roughly: a float counts as three. What
/// is no GraphQL at all is left to the parser.
fn check_tokens(query: &str) -> Result<(), ServerError> {
    let mut rest = query.as_bytes();
    let (mut tokens, mut nesting) = (0, 0_usize);
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                rest = after;
                continue;
            }
            b'#' => {
                rest = skip_while(after, |c| c != b'\n' && c != b'\r');
                continue;
            }
            b'"' => skip_string(rest),
            b'.' => skip_while(after, |c| c == b'.'),
            b'(' | b'[' | b'{' => {
                nesting += 1;
                after
            }
            b')' | b']' | b'}' => {
                nesting = nesting.saturating_sub(1);
                after
            }
            c if is_word(*c) => skip_while(after, is_word),
            _ => after,
        };
        tokens += 1;
        if tokens > MAX_TOKENS || nesting > MAX_NESTING {
            within("tokens", tokens as u64, MAX_TOKENS as u64)?;
            within("nested brackets", nesting as u64, MAX_NESTING as u64)?;
        }
    }
    Ok(())
}

const fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

fn skip_while(text: &[u8], belongs: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|c| !belongs(*c)).unwrap_or(text.len());
    &text[end..]
}

/// What follows a string or a block string; nothing, if it does not end.
fn skip_string(text: &[u8]) -> &[u8] {
    let quote: &[u8] = if text.starts_with(br#"""""#) {
        br#"""""#
    } else {
        b"\""
    };
    let mut rest = &text[quote.len()..];
    while !rest.is_empty() && !rest.starts_with(quote) {
        rest = rest
            .get(if rest[0] == b'\\' { 2 } else { 1 }..)
            .unwrap_or_default();
    }
    rest.get(quote.len()..).unwrap_or_default()
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
            refusal(&format!("query Q({}) {{ a }}", "$a: Int @x ".repeat(21)))
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
}
