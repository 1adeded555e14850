//! Files that only their owner may read, such as a key.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};

/// Writes a file with mode 0600. Replaces an existing one.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
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
        write_private(&path, "new").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(
            (mode & 0o777, fs::read_to_string(&path).unwrap()),
            (0o600, "new".to_owned())
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
