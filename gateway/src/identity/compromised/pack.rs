//! Packs the public hashes of compromised passwords into the file that gateways search.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use super::{HEADS_AT, Head, INDEX_BITS, MARK, WORD, range_of, source};

/// A file that is being written.
struct Packing {
    file: BufWriter<File>,
    /// How many heads are in each range.
    ranges: Vec<u64>,
    /// The head before.
    latest: Option<Head>,
    count: u64,
}

/// Packs hashes into the file `target`, which is replaced once the new one is whole and durable.
/// Returns how many there are. `progress` gets what part of the source was read, 0 to 1.
///
/// # Errors
/// If the source cannot be read, lacks a range, has malformed lines or is in another order; or if
/// the file cannot be written.
pub fn pack(source: &Path, target: &Path, progress: &mut dyn FnMut(f64)) -> anyhow::Result<u64> {
    let partial = beside(target)?;
    let packed = write(source, &partial, progress);
    let replaced = packed.and_then(|count| {
        fs::rename(&partial, target).with_context(|| format!("writing {}", target.display()))?;
        sync_folder(target).map(|()| count)
    });
    if replaced.is_err() {
        // The first error counts.
        _ = fs::remove_file(&partial);
    }
    replaced
}

fn write(source: &Path, to: &Path, progress: &mut dyn FnMut(f64)) -> anyhow::Result<u64> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(to);
    let file = file.with_context(|| format!("writing {}", to.display()))?;
    let mut packing = Packing::begin(file)?;
    source::read(source, &mut |head| packing.add(head), progress)?;
    packing.finish()
}

impl Packing {
    fn begin(file: File) -> anyhow::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.seek(SeekFrom::Start(HEADS_AT))?;
        Ok(Self {
            file,
            ranges: vec![0; 1 << INDEX_BITS],
            latest: None,
            count: 0,
        })
    }

    fn add(&mut self, head: Head) -> anyhow::Result<()> {
        if self.latest == Some(head) {
            return Ok(());
        }
        ensure!(
            self.latest.is_none_or(|latest| latest < head),
            "the hash belongs before the one above it; download the hashes in their order"
        );
        self.file.write_all(&head.to_be_bytes())?;
        self.ranges[usize::try_from(range_of(head))?] += 1;
        self.latest = Some(head);
        self.count += 1;
        Ok(())
    }

    /// Writes the index and the mark, which makes the file a whole one.
    fn finish(mut self) -> anyhow::Result<u64> {
        self.file.seek(SeekFrom::Start(WORD))?;
        let mut below = 0_u64;
        for count in self.ranges {
            self.file.write_all(&below.to_be_bytes())?;
            below += count;
        }
        self.file.write_all(&below.to_be_bytes())?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&MARK)?;
        let file = self.file.into_inner()?;
        // Without a head, nothing was written behind the index.
        file.set_len(HEADS_AT + self.count * WORD)?;
        file.sync_all()?;
        Ok(self.count)
    }
}

/// Returns where the new file is written: in the same folder, since only there it can replace the
/// other.
fn beside(target: &Path) -> anyhow::Result<PathBuf> {
    let name = target.file_name().context("the target is no file")?;
    let mut partial = name.to_owned();
    partial.push(".partial");
    Ok(target.with_file_name(partial))
}

fn sync_folder(of: &Path) -> anyhow::Result<()> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    Ok(File::open(folder)?.sync_all()?)
}
