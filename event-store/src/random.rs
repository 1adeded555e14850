use anyhow::Context as _;
use events_schema::Id;

/// Returns random bytes from the operating system.
///
/// # Errors
/// If the operating system cannot supply them.
pub fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("reading random bytes")?;
    Ok(bytes)
}

/// Returns a random id.
///
/// # Errors
/// If the operating system cannot supply random bytes.
pub fn random_id() -> anyhow::Result<Id> {
    random_bytes().map(Id::from_bytes)
}
