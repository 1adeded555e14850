//! Passwords from data leaks: a file of the heads of their SHA-1 hashes, in ascending order, behind
//! an index. It has a billion of them, so it is searched where it is.
//!
//! `gateway pack-passwords` writes the file: the mark, the index, the heads. The index has for each
//! value of the first 20 bits how many heads are below it, so a search reads the disk twice. That
//! two passwords have the same head happens once in twenty billion searches.

mod pack;
mod source;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use sha1::{Digest, Sha1};

pub use pack::pack;

/// The first bytes of the file: its kind and version.
const MARK: [u8; 8] = *b"UBPWD 01";
/// The bits of a hash that the index tells apart, as many as in the public ranges. Of a billion
/// hashes, a thousand have the same ones.
const INDEX_BITS: u32 = 20;
/// The numbers in the index: one for each value of these bits, and the number of all heads.
const INDEXED: u64 = (1 << INDEX_BITS) + 1;
/// The bytes of a number in the index, and of a head.
const WORD: u64 = 8;
const HEADS_AT: u64 = WORD + INDEXED * WORD;
/// Hashes are spread evenly, so no range ever has so many. A damaged index may say so.
const MAX_IN_RANGE: u64 = 1 << 20;

/// The first eight bytes of a SHA-1 hash, as a number.
type Head = u64;

/// A file of compromised passwords. It may be replaced by another one at any time.
#[derive(Clone, Debug)]
pub(crate) struct Compromised(PathBuf);

impl Compromised {
    /// Checks a file.
    ///
    /// # Errors
    /// If it cannot be read, was not written by `gateway pack-passwords`, or is not whole.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let mut mark = MARK;
        let is_long_enough = file.metadata()?.len() >= HEADS_AT;
        if is_long_enough {
            file.read_exact_at(&mut mark, 0)?;
        }
        ensure!(
            is_long_enough && mark == MARK,
            "this is no file that `gateway pack-passwords` has written"
        );
        let count = number(&file, INDEXED - 1)?;
        let expected = count
            .checked_mul(WORD)
            .and_then(|n| n.checked_add(HEADS_AT));
        ensure!(
            expected == Some(file.metadata()?.len()),
            "the file is not whole; pack it again"
        );
        Ok(Self(path.to_owned()))
    }

    /// Whether the file has this password.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn contains(&self, password: &str) -> anyhow::Result<bool> {
        // Not kept open: a new file replaces this one while the gateway runs.
        let file = File::open(&self.0);
        let file = file.with_context(|| format!("opening {}", self.0.display()))?;
        let found = find(&file, head(&Sha1::digest(password).into()));
        found.with_context(|| format!("searching {}", self.0.display()))
    }
}

/// Whether the file has this head.
fn find(file: &File, wanted: Head) -> io::Result<bool> {
    let range = range_of(wanted);
    let (start, end) = (number(file, range)?, number(file, range + 1)?);
    let count = end
        .checked_sub(start)
        .filter(|count| *count <= MAX_IN_RANGE);
    let at = start
        .checked_mul(WORD)
        .and_then(|at| at.checked_add(HEADS_AT));
    let (Some(count), Some(at)) = (count, at) else {
        return Err(io::Error::other("the index is damaged"));
    };
    let mut heads = vec![0; usize::try_from(count * WORD).map_err(io::Error::other)?];
    file.read_exact_at(&mut heads, at)?;
    let (heads, _) = heads.as_chunks();
    let found = heads.binary_search_by_key(&wanted, |head| u64::from_be_bytes(*head));
    Ok(found.is_ok())
}

/// Reads a number of the index.
fn number(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; WORD as usize];
    file.read_exact_at(&mut bytes, WORD + at * WORD)?;
    Ok(u64::from_be_bytes(bytes))
}

fn head(hash: &[u8; 20]) -> Head {
    let mut bytes = [0; WORD as usize];
    bytes.copy_from_slice(&hash[..WORD as usize]);
    Head::from_be_bytes(bytes)
}

/// Returns the first bits of a head, which the index tells apart.
const fn range_of(head: Head) -> u64 {
    head >> (Head::BITS - INDEX_BITS)
}

#[cfg(test)]
mod tests;
