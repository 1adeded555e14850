//! Support for tests.

/// Asserts that a generated file in the repository matches the code.
/// `UPDATE_GENERATED=1 cargo test --lib` rewrites the file.
pub(crate) fn assert_generated(path: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = (1..).zip(text.lines().map(Some).chain([None]));
    let differs = differs
        .zip(stored.lines().map(Some).chain([None]))
        .find(|((_, new), old)| new != old);
    if let Some(((line, new), old)) = differs {
        panic!(
            "gateway/{path} is out of date at line {line}: it has {old:?}, the code {new:?}. If the \
             change is intended, run `UPDATE_GENERATED=1 cargo test --lib` and review the file."
        );
    }
}
