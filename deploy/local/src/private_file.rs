//! Files that only their owner may read: the secret, and the settings for operators' commands.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;

/// Writes a file with mode 0600. Replaces an existing one.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    replace(path, text).with_context(|| format!("could not write {}", path.display()))
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // An existing file would keep its mode, so it is removed first.
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_owner_can_read_a_written_file_even_if_others_could_before() {
        let folder = std::env::temp_dir().join(format!("private-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("env");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, "new").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(
            (mode & 0o777, fs::read_to_string(&path).unwrap()),
            (0o600, "new".to_owned())
        );
        fs::remove_dir_all(&folder).unwrap();
    }

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
