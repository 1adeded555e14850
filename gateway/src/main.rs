//! The program `gateway`: a shell around the library.

use std::{env, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use event_store::{Monitor, Telemetry, program};
use gateway::Config;
use tokio::net::TcpListener;

const PACK_PASSWORDS: &str = "pack-passwords";
/// Named a file that was not packed.
const FORMER_SETTING: &str = "UB_BREACHED_PASSWORDS";

/// Pack the public hashes of compromised passwords into a file for UB_PWNED_PASSWORDS. It needs
/// nothing but the hashes, and takes some minutes for a billion.
#[derive(Parser)]
struct PackPasswords {
    /// The hashes, as "Pwned Passwords" offers them: a file of lines of a SHA-1 hash, a colon and a
    /// count, ordered by hash; or a folder of ranges, which are files such as 5BAA6 or 5BAA6.txt.
    source: PathBuf,
    /// The file to write. If there is one, it is replaced as a whole at the end, also while
    /// gateways use it.
    target: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pack = PackPasswords::command().name(PACK_PASSWORDS);
    let matches = Config::command()
        .subcommand(pack)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .get_matches();
    if let Some((PACK_PASSWORDS, matches)) = matches.subcommand() {
        let PackPasswords { source, target } = PackPasswords::from_arg_matches(matches)?;
        let telemetry = Telemetry::start("gateway", false, "info")?;
        let packed = pack_passwords(source, target).await;
        telemetry.stop().await;
        return packed;
    }
    serve(Config::from_arg_matches(&matches)?).await
}

async fn pack_passwords(source: PathBuf, target: PathBuf) -> anyhow::Result<()> {
    let pack = move || {
        let mut logged = 0.0;
        gateway::pack_passwords(&source, &target, &mut |part| {
            let percent = (part * 100.0).floor();
            if percent > logged {
                logged = percent;
                tracing::info!("{percent} % of the hashes are read");
            }
        })
    };
    let count = tokio::task::spawn_blocking(pack).await??;
    tracing::info!(count, "compromised passwords are packed");
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // An operator who has set it counts on it.
    ensure!(
        env::var_os(FORMER_SETTING).is_none(),
        "{FORMER_SETTING} is gone: pack the file with `gateway {PACK_PASSWORDS}`, and name the \
         result in UB_PWNED_PASSWORDS"
    );
    let telemetry = Telemetry::start("gateway", config.posture.is_production(), "info")?;
    let shutdown = program::stop_on_signal()?;
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| format!("listening on {}", config.listen))?;
    let monitor = Monitor::bind(config.monitor.monitor_listen).await?;
    let result = gateway::run(config, listener, monitor, shutdown).await;
    telemetry.stop().await;
    result
}
