//! A server as a child process, and a guardian that kills it when this process has died.
//!
//! Nothing here knows which server it is; `nats.rs` and `mongod.rs` do.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Time limit of a start. It takes milliseconds on an idle machine and seconds on a loaded one;
/// recovering a large log takes longest.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two checks of a starting server. The faster server starts in 10 ms.
const POLL: Duration = Duration::from_millis(5);
/// Time limit of a stop. A server flushes and closes within a second, unless it hangs.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Range of ports: above the well-known ones, and below 32768, where Linux begins to give ports to
/// outgoing connections, so that nobody gets a server's port while it restarts.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Maximum random ports to try. Only a machine where nearly all of them are taken needs so many.
const PORT_DRAWS: usize = 1_000;
/// Maximum starts on a new port after another process took the port first. Three times in a row is
/// no accident.
const PORT_ATTEMPTS: usize = 3;
/// Bytes of a log that are read to show its end.
const TAIL_BYTES: u64 = 16 * 1024;
/// Lines of a log that are shown.
const TAIL_LINES: usize = 20;

/// Waits for a word or for the end of its input, which comes when its owner dies, however that
/// happens. Then it kills the server ($1), waits until that has ended (at most five seconds, since
/// nobody may be there to reap it) and removes a folder ($2).
const GUARDIAN: &str = r#"
trap '' INT TERM HUP
read -r word && exit 0
kill -9 "$1" 2>/dev/null
n=0
while kill -0 "$1" 2>/dev/null && [ $n -lt 100 ]; do
  case $(cut -d ' ' -f 3 "/proc/$1/stat" 2>/dev/null) in Z) break ;; esac
  sleep 0.05
  n=$((n + 1))
done
if [ -n "$2" ]; then
  rm -rf -- "$2" || { sleep 1; rm -rf -- "$2"; }
fi
"#;

/// What the guardian does besides killing the server.
#[derive(Clone, Default)]
pub(crate) struct Cleanup {
    /// A folder to remove.
    pub(crate) folder: Option<PathBuf>,
    /// A locked file, which stays locked until the guardian has ended.
    pub(crate) lock: Option<Arc<File>>,
}

/// How to start a server, and how to start it again.
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) log: PathBuf,
    pub(crate) cleanup: Cleanup,
}

/// The process of a server. Dropping it kills the server.
pub struct Process {
    launch: Launch,
    child: Child,
    /// Closed when this process dies. A word written to it ends the guardian.
    guardian: Option<io::PipeWriter>,
}

impl Process {
    /// Starts the server with an empty log. It does not answer yet.
    pub(crate) fn start(launch: Launch) -> Result<Self> {
        File::create(&launch.log)
            .with_context(|| format!("could not write {}", launch.log.display()))?;
        let (child, guardian) = spawn(&launch)?;
        Ok(Self {
            launch,
            child,
            guardian: Some(guardian),
        })
    }

    /// Kills the server if it runs, and starts it as before. The log is continued.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let (child, guardian) = spawn(&self.launch)?;
        (self.child, self.guardian) = (child, Some(guardian));
        Ok(())
    }

    /// Pauses shortly for a server that was started at `started`.
    ///
    /// # Errors
    /// If it has ended, or has used up [`START_LIMIT`].
    pub(crate) async fn pause_while_it_starts(&mut self, started: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            self.dismiss_guardian();
            bail!(
                "{} ended while it started ({status}):\n{}",
                self.launch.name,
                self.log_tail()
            );
        }
        if started.elapsed() > START_LIMIT {
            bail!(
                "{} did not answer within {START_LIMIT:?}:\n{}",
                self.launch.name,
                self.log_tail()
            );
        }
        sleep(POLL).await;
        Ok(())
    }

    /// Waits until the server has ended by itself. Can be cancelled and called again.
    pub(crate) async fn exited(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.dismiss_guardian();
        Ok(status)
    }

    /// Kills the server, as a power loss would, and reaps it.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.start_kill()?;
        }
        self.exited().await?;
        Ok(())
    }

    /// Stops the server, and kills it if that takes longer than [`STOP_LIMIT`].
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(pid) = self.pid() {
            kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?;
            if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
                tracing::warn!(server = self.launch.name, limit = ?STOP_LIMIT, "a server did not stop in time and is killed");
            }
        }
        self.kill().await
    }

    /// Returns the process id; `None` after the process was reaped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the last 20 lines of the log; an empty text if the log cannot be read.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.launch.log).unwrap_or_default()
    }

    /// Ends the guardian. It must not outlive the reaped process, whose id may soon belong to
    /// another.
    fn dismiss_guardian(&mut self) {
        if let Some(mut pipe) = self.guardian.take() {
            // This fails only if the guardian has already ended.
            let _ = pipe.write_all(b"done\n");
        }
    }
}

/// Starts the server and its guardian, in process groups of their own: Ctrl-C in a terminal reaches
/// only this process, which then stops everything in order.
fn spawn(launch: &Launch) -> Result<(Child, io::PipeWriter)> {
    let log = File::options().append(true).open(&launch.log)?;
    let child = Command::new(&launch.program)
        .args(&launch.args)
        .envs(launch.envs.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("could not start {}", launch.program.display()))?;
    let pid = child
        .id()
        .context("a process that was just started has an id")?;
    // The write end is close-on-exec, so no other child keeps it open.
    let (reader, writer) = io::pipe()?;
    let held = match &launch.cleanup.lock {
        Some(lock) => Stdio::from(lock.try_clone()?),
        None => Stdio::null(),
    };
    Command::new("/bin/sh")
        .args(["-c", GUARDIAN, "guardian", &pid.to_string()])
        .arg(launch.cleanup.folder.as_deref().unwrap_or(Path::new("")))
        .stdin(reader)
        .stdout(held)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("could not start /bin/sh")?;
    Ok((child, writer))
}

/// Starts servers on this many free ports, and on other ones if one was taken in the meantime.
pub(crate) async fn on_free_ports<T, F: Future<Output = Result<T>>>(
    count: usize,
    start: impl Fn(Vec<u16>) -> F,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        match start(free_ports(count)?).await {
            Err(error) if attempt < PORT_ATTEMPTS && was_taken(&error) => attempt += 1,
            result => return result,
        }
    }
}

/// Whether nobody listens on this port.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut found = Vec::new();
    for _ in 0..PORT_DRAWS {
        if found.len() == count {
            return Ok(found);
        }
        let draw = u16::try_from(getrandom::u32()? % u32::from(PORTS.end - PORTS.start))?;
        let port = PORTS.start + draw;
        if !found.contains(&port) && is_free(port) {
            found.push(port);
        }
    }
    bail!("found too few free ports in {PORTS:?}")
}

/// Whether an error says that the port was taken. Both servers log these words, and the error holds
/// the end of their log.
fn was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}")
        .to_lowercase()
        .contains("address already in use")
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            (1..=30).map(|n| format!("line {n}\n")).collect::<String>(),
        )
        .unwrap();
        let tail = tail(file.path()).unwrap();
        assert!(tail.starts_with("line 11\n") && tail.ends_with("line 30"));
    }

    #[tokio::test]
    async fn a_port_that_was_taken_meanwhile_is_replaced() {
        let attempts = Cell::new(0);
        let ports = on_free_ports(3, |ports| {
            attempts.set(attempts.get() + 1);
            ready(if attempts.get() < PORT_ATTEMPTS {
                Err(anyhow!("listen: Address already in use"))
            } else {
                Ok(ports)
            })
        });
        let ports = ports.await.unwrap();
        assert!(ports.len() == 3 && ports.iter().all(|port| PORTS.contains(port)));
        assert_eq!(attempts.get(), PORT_ATTEMPTS);
    }

    #[tokio::test]
    async fn another_reason_to_fail_is_reported_at_once() {
        let attempts = Cell::new(0);
        let result: Result<()> = on_free_ports(1, |_| {
            attempts.set(attempts.get() + 1);
            ready(Err(anyhow!("disk full")))
        })
        .await;
        assert!(result.is_err());
        assert_eq!(attempts.get(), 1);
    }
}
