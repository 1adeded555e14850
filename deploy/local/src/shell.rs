//! Settings and paths, as a shell reads them.

use std::path::Path;

/// Returns lines for a shell to read: `export NAME='value'`.
pub(crate) fn exports(variables: &[(&str, &str)]) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
        .collect()
}

/// Quotes a value as one word of a shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Writes a path as one word of a shell, without quotes if none are needed.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        quoted(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        for value in ["", "a b", "it's", "$HOME `id` \"x\" \\", "nats://a:b@c:1"] {
            let script = format!("{}printf %s \"$NAME\"", exports(&[("NAME", value)]));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), value);
        }
        assert_eq!(shell_word(Path::new(".local/env")), ".local/env");
        assert_eq!(shell_word(Path::new("/a b/env")), "'/a b/env'");
    }
}
