//! Passwords from data leaks: a file of their SHA-1 hashes, in ascending order, as "Pwned Passwords"
//! offers it. The file has 40 gigabytes or more, so it is searched where it is.

use std::{cmp::Ordering, fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use data_encoding::HEXUPPER_PERMISSIVE;
use sha1::{Digest, Sha1};

/// Maximum bytes of a line: 40 hexadecimal digits, a colon, a count and a line break.
const MAX_LINE: usize = 64;
/// Lines that are checked at the start, evenly spread: a file in another order has some out of order
/// among them.
const SAMPLE: u64 = 1_000;

const WRONG_LINE: &str = "is not a SHA-1 hash of 40 hexadecimal digits, a colon and a count";

type Hash = [u8; 20];

/// A file of breached passwords.
#[derive(Clone, Debug)]
pub(crate) struct Breached {
    file: Arc<File>,
    /// The bytes of the file.
    length: u64,
}

/// One line of the file.
struct Line {
    hash: Hash,
    /// Where it begins, and where the next one does.
    start: u64,
    end: u64,
}

impl Breached {
    /// Opens a file and checks a sample of its lines.
    ///
    /// # Errors
    /// If it cannot be read, is empty, has other lines, or is in another order.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let file = Arc::new(file);
        let breached = Self { file, length };
        breached.check_sample()?;
        Ok(breached)
    }

    /// Checks lines that are evenly spread, and each of the last ones.
    fn check_sample(&self) -> anyhow::Result<()> {
        let step = self.length / SAMPLE;
        let near_end = self.length.saturating_sub(2 * MAX_LINE as u64);
        let mut last = self.line_from(0)?.context("the file is empty")?;
        loop {
            let next = (last.end + step).min(near_end).max(last.end);
            let Some(line) = self.line_from(next)? else {
                return Ok(());
            };
            let (start, before) = (line.start, last.start);
            ensure!(
                line.hash > last.hash,
                "the line at byte {start} belongs before the one at byte {before}; \
                 download the file that is ordered by hash"
            );
            last = line;
        }
    }

    /// Whether the file has this password. It takes some 40 reads of the disk at most.
    ///
    /// # Errors
    /// If the file cannot be read, or has a malformed line.
    pub(crate) fn contains(&self, password: &str) -> anyhow::Result<bool> {
        let wanted = Hash::from(Sha1::digest(password));
        // The line begins within these bytes, if the file has it. They shrink by half each time.
        let (mut from, mut to) = (0, self.length);
        while from < to {
            let middle = from + (to - from) / 2;
            let line = self.line_from(middle)?.filter(|line| line.start < to);
            match line.map(|line| (line.hash.cmp(&wanted), line.end)) {
                Some((Ordering::Equal, _)) => return Ok(true),
                Some((Ordering::Less, end)) => from = end,
                Some((Ordering::Greater, _)) | None => to = middle,
            }
        }
        Ok(false)
    }

    /// Reads the first line that begins at this byte or behind it; `None` if there is none.
    fn line_from(&self, at: u64) -> anyhow::Result<Option<Line>> {
        // One byte before: if it ends a line, the next one begins here.
        let read_from = at.saturating_sub(1);
        let mut buffer = [0; 2 * MAX_LINE];
        let read = self.read(read_from, &mut buffer)?;
        let bytes = &buffer[..read];
        let start = if at == 0 { 0 } else { next_line(bytes) };
        let line = bytes.get(start..).unwrap_or_default();
        let is_last = read_from + read as u64 == self.length;
        if line.is_empty() && is_last {
            return Ok(None);
        }
        let length = next_line(line);
        let is_whole = line[..length].ends_with(b"\n") || is_last;
        let start = read_from + start as u64;
        let hash = parse(&line[..length]).filter(|_| is_whole);
        Ok(Some(Line {
            hash: hash.with_context(|| format!("the line at byte {start} {WRONG_LINE}"))?,
            start,
            end: start + length as u64,
        }))
    }

    /// Fills the buffer, as far as the file goes on.
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Returns where the line after the first line break begins, or else the end.
fn next_line(bytes: &[u8]) -> usize {
    let line_break = bytes.iter().position(|byte| *byte == b'\n');
    line_break.map_or(bytes.len(), |at| at + 1)
}

fn parse(line: &[u8]) -> Option<Hash> {
    let (hash, count) = line.trim_ascii_end().split_at_checked(40)?;
    let is_count = count.len() > 1 && count[1..].iter().all(u8::is_ascii_digit);
    let hash = HEXUPPER_PERMISSIVE.decode(hash).ok()?;
    (count.starts_with(b":") && is_count).then(|| hash.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// The lines of these passwords, in the order of their hashes. Their counts differ in length.
    fn lines(passwords: impl Iterator<Item = String>) -> Vec<String> {
        let hashes = passwords.map(|password| HEXUPPER_PERMISSIVE.encode(&Sha1::digest(password)));
        let mut hashes: Vec<String> = hashes.collect();
        hashes.sort();
        let lines = hashes.iter().zip(0_u64..);
        lines
            .map(|(hash, at)| format!("{hash}:{}", 10_u64.pow((at % 9) as u32)))
            .collect()
    }

    fn refusal(text: &str) -> String {
        let file = file(text);
        format!("{:#}", Breached::open(file.path()).unwrap_err())
    }

    #[test]
    fn every_password_in_the_file_is_found_and_no_other() {
        for line_break in ["\n", "\r\n"] {
            for count in [1, 2, 3, 1_000] {
                let even = |number: usize| format!("password {}", 2 * number);
                let text = lines((0..count).map(even)).join(line_break);
                for end in ["", line_break] {
                    let file = file(&format!("{text}{end}"));
                    let breached = Breached::open(file.path()).unwrap();
                    for number in 0..2 * count {
                        let found = breached.contains(&format!("password {number}")).unwrap();
                        assert_eq!(found, number % 2 == 0, "{number} of {count}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_in_another_order_is_refused() {
        let mut lines = lines((0..2_000).map(|number| number.to_string()));
        lines.reverse();
        let refusal = refusal(&lines.join("\n"));
        assert!(refusal.contains("ordered by hash"), "{refusal}");
    }

    #[test]
    fn a_file_with_other_lines_is_refused() {
        let hash = "0".repeat(40);
        for wrong in [
            "password".to_owned(),
            hash.clone(),
            format!("{hash}:"),
            format!("{hash}:many"),
            format!("{}:1", "0".repeat(32)),
            format!("{}:1", "X".repeat(40)),
            format!("{hash}:{}", "1".repeat(200)),
            "\n".to_owned(),
        ] {
            let refusal = refusal(&format!("{wrong}\n"));
            assert!(refusal.contains("at byte 0 is not"), "{wrong}: {refusal}");
        }
        assert_eq!(refusal(""), "the file is empty");
    }

    #[test]
    fn the_end_of_the_file_is_checked() {
        let good = lines((0..2_000).map(|number| number.to_string())).join("\n");
        let refusal = refusal(&format!("{good}\nFFFF"));
        assert!(refusal.contains("is not a SHA-1"), "{refusal}");
    }
}
