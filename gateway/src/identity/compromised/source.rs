//! The public hashes of compromised passwords, as "Pwned Passwords" offers them: one file of lines
//! of a hash, a colon and a count, or a folder of ranges. A range is a file whose name is the first
//! five digits of the hashes in it, such as `5BAA6` or `5BAA6.txt`; its lines have the rest.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use data_encoding::HEXUPPER_PERMISSIVE;

use super::{Head, head};

/// The digits of a whole hash.
const DIGITS: usize = 40;
/// Longer lines are no hashes.
const MAX_LINE: u64 = 64;
/// The digits that the name of a public range has.
const PREFIX_DIGITS: usize = 5;

/// Passes on the heads of all hashes, in the order of the source. `progress` gets what part of the
/// source was read, 0 to 1.
///
/// # Errors
/// If the source cannot be read, a range is missing, or a line is malformed; and those of `take`.
pub(super) fn read(
    source: &Path,
    take: &mut dyn FnMut(Head) -> anyhow::Result<()>,
    progress: &mut dyn FnMut(f64),
) -> anyhow::Result<()> {
    if source.is_dir() {
        read_ranges(source, PREFIX_DIGITS, take, progress)
    } else {
        read_lines(source, "", take, progress)
    }
}

/// Reads a folder of ranges, whose names have this many digits.
pub(super) fn read_ranges(
    folder: &Path,
    digits: usize,
    take: &mut dyn FnMut(Head) -> anyhow::Result<()>,
    progress: &mut dyn FnMut(f64),
) -> anyhow::Result<()> {
    let ranges = 1_u32 << (4 * digits);
    for range in 0..ranges {
        let prefix = format!("{range:0digits$X}");
        read_lines(&range_file(folder, &prefix)?, &prefix, take, &mut |_| {})?;
        progress(f64::from(range + 1) / f64::from(ranges));
    }
    Ok(())
}

fn range_file(folder: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let mut names = [prefix.to_owned(), format!("{prefix}.txt")].into_iter();
    let found = names.find_map(|name| Some(folder.join(name)).filter(|path| path.is_file()));
    found.with_context(|| format!("the range {prefix} is missing; download it"))
}

/// Reads one file whose lines lack this prefix.
fn read_lines(
    path: &Path,
    prefix: &str,
    take: &mut dyn FnMut(Head) -> anyhow::Result<()>,
    progress: &mut dyn FnMut(f64),
) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let length = file.metadata()?.len().max(1);
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut line, mut number, mut read) = (Vec::new(), 0_u64, 0_u64);
    loop {
        line.clear();
        let bytes = next_line(&mut reader, &mut line)?;
        if bytes == 0 {
            return Ok(());
        }
        number += 1;
        let place = || format!("line {number} of {}", path.display());
        let hash = parse(prefix, line.trim_ascii_end())
            .with_context(|| format!("{} is not a SHA-1 hash, a colon and a count", place()))?;
        take(head(&hash)).with_context(place)?;
        read += bytes as u64;
        progress(read as f64 / length as f64);
    }
}

/// Reads a line with its line break. Returns how many bytes it has.
fn next_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> anyhow::Result<usize> {
    // One byte more, so that a line that is too long differs from the longest one.
    let read = reader.take(MAX_LINE + 1).read_until(b'\n', line)?;
    ensure!(line.len() as u64 <= MAX_LINE, "a line is too long");
    Ok(read)
}

fn parse(prefix: &str, line: &[u8]) -> Option<[u8; 20]> {
    let (rest, count) = line.split_at_checked(DIGITS - prefix.len())?;
    let digits = [prefix.as_bytes(), rest].concat();
    let (colon, count) = count.split_first()?;
    let is_count = *colon == b':' && !count.is_empty() && count.iter().all(u8::is_ascii_digit);
    let hash = HEXUPPER_PERMISSIVE.decode(&digits).ok()?;
    is_count.then(|| hash.try_into().ok())?
}
