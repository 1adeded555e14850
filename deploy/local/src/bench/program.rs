//! This program in another process, so that what it uses can be told from what the load uses.

use std::{fs, net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Time limit of a start. The first one may fetch the servers.
const START_LIMIT: Duration = Duration::from_secs(300);
/// Time limit of a stop. The backend needs less than five seconds.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running copy of this program. It stops when its standard input closes, so also when this
/// process dies.
pub(super) struct Program {
    child: Child,
    /// Not in `child`, since waiting for the child would close it.
    input: ChildStdin,
    /// Kept open, so that the program can still write.
    _output: Lines<BufReader<ChildStdout>>,
    /// What it has written until it was ready.
    lines: Vec<String>,
}

/// Where the servers of the backend are.
pub(super) struct ServerUrls {
    /// With the user and the password of the operator.
    pub(super) nats: String,
    pub(super) mongo: String,
}

/// Limits for a load that comes from one address and one account.
const LIMITS: [(&str, &str); 9] = [
    ("UB_REGISTRATION_TOTAL_LIMIT", "1000000/second"),
    ("UB_TENANTS_PER_ACCOUNT", "0"),
    ("UB_STRANGER_LIMIT", "1000000/second"),
    ("UB_ADDRESS_LIMIT", "1000000/second"),
    ("UB_REGISTRATION_LIMIT", "1000000/second"),
    ("UB_REGISTRATION_DOMAIN_LIMIT", "1000000/second"),
    ("UB_SOCKETS_PER_CLIENT", "100000"),
    ("UB_FEEDS_PER_ACCOUNT", "100000"),
    ("UB_FEEDS_PER_TENANT", "100000"),
];

impl Program {
    /// Starts this program with these arguments and environment variables, and waits for its line
    /// `ready <url>`.
    ///
    /// # Errors
    /// If it cannot be started or ends before it is ready.
    pub(super) async fn start(
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("could not find this program's own file")?;
        let mut command = Command::new(this);
        command
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C reaches only this process, which then stops the other.
            .process_group(0)
            .kill_on_drop(true);
        command.envs(LIMITS);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        let mut child = command.spawn().context("could not start the backend")?;
        let input = child.stdin.take().context("its input is a pipe")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut output = BufReader::new(output).lines();
        let lines = timeout(START_LIMIT, until_ready(&mut output)).await;
        let lines = lines.with_context(|| format!("not ready within {START_LIMIT:?}"))??;
        Ok(Self {
            child,
            input,
            _output: output,
            lines,
        })
    }

    /// Returns the process id.
    ///
    /// # Errors
    /// If the program has ended.
    pub(super) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the backend has ended")
    }

    /// Returns the rest of the line that begins with `name`.
    ///
    /// # Errors
    /// If the line is missing.
    pub(super) fn line(&self, name: &str) -> anyhow::Result<&str> {
        let rest = self.lines.iter().find_map(|line| line.strip_prefix(name));
        let rest = rest.with_context(|| format!("the backend has printed no line {name}"))?;
        Ok(rest.trim())
    }

    /// Returns the address that answers GraphQL.
    ///
    /// # Errors
    /// If the program has printed none.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        address_of(self.line("ready")?)
    }

    /// Returns the URLs of its servers, from the file that it names in the line `. FILE && …`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn server_urls(&self) -> anyhow::Result<ServerUrls> {
        let line = self.line("operate")?.strip_prefix(". ");
        let file = line.and_then(|rest| rest.split(" && ").next());
        let file = file.context("the backend names no file with its settings")?;
        let file = file.trim_matches('\'');
        let text = fs::read_to_string(file).with_context(|| format!("could not read {file}"))?;
        Ok(ServerUrls {
            nats: variable(&text, "NATS_URL")?,
            mongo: variable(&text, "UB_MONGO_URL")?,
        })
    }

    /// Waits until the program ends by itself. Can be cancelled and called again.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!("the backend ended by itself: {status}"),
            Err(error) => error.into(),
        }
    }

    /// Stops the program, and kills it if that takes longer than 15 seconds.
    ///
    /// # Errors
    /// If it reports one.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.input);
        match timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                anyhow::ensure!(status.success(), "the backend ended with {status}");
                Ok(())
            }
            Err(_) => {
                self.child.kill().await?;
                bail!("the backend did not stop within {STOP_LIMIT:?} and was killed")
            }
        }
    }
}

async fn until_ready(output: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = output.next_line().await? {
        let is_ready = line.starts_with("ready");
        lines.push(line);
        if is_ready {
            return Ok(lines);
        }
    }
    bail!("the backend did not start; its errors are above")
}

/// Returns the address in a URL of plain HTTP.
///
/// # Errors
/// If the URL is none.
pub(super) fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let address = host.and_then(|host| host.parse().ok());
    address.with_context(|| format!("{url} is no URL with an address"))
}

/// Returns the value of a line `export NAME='value'`.
fn variable(text: &str, name: &str) -> anyhow::Result<String> {
    let start = format!("export {name}='");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&start)?.strip_suffix('\''));
    Ok(value
        .with_context(|| format!("no {name} in the settings"))?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_by_its_whole_name() {
        let text = "# …\nexport UB_NATS_URL='a'\nexport NATS_URL='nats://o:p@127.0.0.1:1'\n";
        assert_eq!(
            variable(text, "NATS_URL").unwrap(),
            "nats://o:p@127.0.0.1:1"
        );
        assert!(variable(text, "UB_MONGO_URL").is_err());
    }
}
