//! Converts names between the cases of Rust and GraphQL.

/// Converts `accessToken` to `access_token`.
pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Converts `access_token` to `accessToken`.
pub(super) fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| camel + capitalized(word).as_str())
}

/// Converts `accessToken` to `AccessToken`.
pub(super) fn capitalized(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_converts_both_ways() {
        for (snake, camel) in [("access_token", "accessToken"), ("me", "me"), ("", "")] {
            assert_eq!(camel_case(snake), camel);
            assert_eq!(snake_case(camel), snake);
        }
        assert_eq!(capitalized("accessToken"), "AccessToken");
    }
}
