//! Bounds the text of a query before it is parsed.

use async_graphql::ServerError;

/// Maximum lexical tokens: four for each selection.
const MAX_TOKENS: usize = 2_000;
/// Maximum brackets within brackets, since the parser recurses.
const MAX_NESTING: usize = 64;

/// Checks the number of tokens and nested brackets, roughly as a GraphQL lexer counts them: a float
/// counts as three. The parser refuses text that is not GraphQL.
///
/// # Errors
/// If there are too many tokens or nested brackets.
pub(super) fn check(query: &str) -> Result<(), ServerError> {
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

/// Checks that a value is within a limit. `name` says in the plural what is counted.
///
/// # Errors
/// If the value is above the limit.
pub(super) fn within(name: &str, value: u64, limit: u64) -> Result<(), ServerError> {
    if value <= limit {
        Ok(())
    } else {
        Err(ServerError::new(
            format!("The query has too many {name}: at most {limit} are allowed. Split the query."),
            None,
        ))
    }
}

const fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

fn skip_while(text: &[u8], belongs: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|c| !belongs(*c)).unwrap_or(text.len());
    &text[end..]
}

/// Returns what follows a string or block string; nothing if it does not end.
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
