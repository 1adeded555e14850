//! `attack`: floods a backend of its own as strangers would, while honest people use it. It compares
//! what these people notice with a quiet time before, and fails if it is too much.

mod person;
mod stranger;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::{Args, value_parser};
use servers::{Layout, Role};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::{
    person::{Person, Seen},
    stranger::Stranger,
};
use super::{limits::jetstream_of, percentiles::Latencies};
use crate::{Local, Options as LocalOptions};

/// Addresses that the flood comes from.
const STRANGERS: usize = 4;
/// How many times slower people may be served during the flood, at the 99th percentile.
const MAX_SLOWDOWN: f64 = 2.0;
/// Messages in the log that strangers may cause, for each person and each of their own addresses:
/// registrations, resets and the mails of both.
const MAX_MESSAGES_EACH: u64 = 100;
/// Memory of this process that the flood may cost, in MiB.
const MAX_GROWTH_MIB: u64 = 200;

/// Floods a backend of its own from four addresses, while honest people sign in, write and listen.
///
/// Strangers guess passwords and codes, register, ask for mails, open sockets and send queries that
/// are refused. Exits with an error if people are served less than half as fast as before the flood
/// (99th percentile), get any error but RATE_LIMITED, miss an event, or if the log or the memory
/// grows too much. Needs a release build for figures that mean something.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Minutes of the flood, 1 to 60.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=60))]
    minutes: u64,
    /// Seconds before the flood in which people are measured, 5 to 600.
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(5..=600))]
    quiet_seconds: u64,
    /// Honest people, 1 to 500.
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u64).range(1..=500))]
    people: u64,
    /// Requests of each address in a second, 1 to 10000.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// Do not fail if people are served more slowly, as on a machine that does other work, too.
    #[arg(long)]
    ignore_latency: bool,
}

/// Attacks a backend until the end or `stop`, and prints what people have noticed.
///
/// # Errors
/// If a limit of this module is exceeded, or a part cannot be started.
pub(crate) async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let local = Local::start(backend()).await?;
    let result = tokio::select! {
        () = stop => Ok(()),
        result = attack(&options, &local) => result,
    };
    let stopped = local.stop().await;
    result.and(stopped)
}

fn backend() -> LocalOptions {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    // Each person and each stranger has an address of their own.
    let gateway = ["--client-address-header", "x-client"];
    LocalOptions {
        listen: any,
        mail_listen: any,
        monitor_listen: None,
        data_dir: None,
        layout: Layout::Single,
        mail_attempts: 12,
        gateway: gateway.map(str::to_owned).to_vec(),
    }
}

async fn attack(options: &Options, local: &Local) -> anyhow::Result<()> {
    let (gateway, mailbox) = (local.address, local.mail_address);
    progress(&format!("signing up {} people", options.people));
    let mut people = Vec::new();
    for number in 0..options.people {
        people.push(Person::sign_up(gateway, mailbox, number).await?);
    }
    progress(&format!(
        "measuring {} s without a flood",
        options.quiet_seconds
    ));
    let quiet = Duration::from_secs(options.quiet_seconds);
    let (people, before) = live(people, quiet).await?;

    let (log, memory) = (log_size(local).await?, memory_mib()?);
    progress(&format!("flooding for {} min", options.minutes));
    let emails: Arc<[String]> = people.iter().map(|person| person.email.clone()).collect();
    let flood = CancellationToken::new();
    let mut strangers = JoinSet::new();
    for number in 0..STRANGERS {
        let stranger = Stranger::new(gateway, number, options.rate, emails.clone());
        strangers.spawn(stranger.flood(flood.clone()));
    }
    let (_people, during) = live(people, Duration::from_secs(options.minutes * 60)).await?;
    flood.cancel();
    let mut sent = 0;
    while let Some(stranger) = strangers.join_next().await {
        sent += stranger?;
    }
    let log = log_size(local).await?.saturating_sub(log);
    let growth = memory_mib()?.saturating_sub(memory);
    Report {
        before,
        during,
        sent,
        messages: log,
        growth,
        people: options.people,
        ignore_latency: options.ignore_latency,
    }
    .check()
}

/// Lets people use the backend for this time.
async fn live(people: Vec<Person>, time: Duration) -> anyhow::Result<(Vec<Person>, Seen)> {
    let until = Instant::now() + time;
    let mut living = JoinSet::new();
    for person in people {
        living.spawn(person.live(until));
    }
    let (mut people, mut seen) = (Vec::new(), Seen::default());
    while let Some(lived) = living.join_next().await {
        let (person, of_person) = lived??;
        people.push(person);
        seen.add(of_person);
    }
    Ok((people, seen))
}

/// What a flood has done.
struct Report {
    before: Seen,
    during: Seen,
    /// Requests of strangers.
    sent: u64,
    /// Messages that the log has got meanwhile.
    messages: u64,
    /// MiB.
    growth: u64,
    people: u64,
    ignore_latency: bool,
}

impl Report {
    /// Prints the report.
    ///
    /// # Errors
    /// If people have noticed too much.
    fn check(self) -> anyhow::Result<()> {
        let by_strangers = self.messages.saturating_sub(self.during.commits);
        let (before, during) = (self.before.percentiles()?, self.during.percentiles()?);
        let lines = [
            format!("requests of strangers                  {}", self.sent),
            format!(
                "requests of people                     {}",
                self.during.requests()
            ),
            format!(
                "p50 and p99 in ms before               {:.1} {:.1}",
                before.0, before.1
            ),
            format!(
                "p50 and p99 in ms during               {:.1} {:.1}",
                during.0, during.1
            ),
            format!(
                "people were told RATE_LIMITED          {}",
                self.during.limited
            ),
            format!(
                "events that people heard of            {}",
                self.during.heard
            ),
            format!("messages in the log by strangers       {by_strangers}"),
            format!("memory that the flood cost, in MiB     {}", self.growth),
        ];
        print(&(lines.join("\n") + "\n"))?;
        let errors = &self.during.errors;
        ensure!(errors.is_empty(), "people got errors: {errors:?}");
        ensure!(
            self.ignore_latency || during.1 <= MAX_SLOWDOWN * before.1,
            "people waited {:.1} ms instead of {:.1} ms, more than twice as long",
            during.1,
            before.1
        );
        let allowed = MAX_MESSAGES_EACH * (self.people + STRANGERS as u64);
        ensure!(
            by_strangers <= allowed,
            "strangers caused more than {allowed} messages in the log"
        );
        ensure!(
            self.growth <= MAX_GROWTH_MIB,
            "the flood cost more than {MAX_GROWTH_MIB} MiB"
        );
        Ok(())
    }
}

impl Seen {
    /// Returns the 50th and the 99th percentile, in milliseconds.
    fn percentiles(&self) -> anyhow::Result<(f64, f64)> {
        let latencies = Latencies::of(self.micros.clone());
        let at = |per_cent| latencies.at(per_cent).context("nobody got an answer");
        Ok((at(50.0)?, at(99.0)?))
    }
}

async fn log_size(local: &Local) -> anyhow::Result<u64> {
    // Mails and their results follow within a moment.
    sleep(Duration::from_secs(2)).await;
    let jetstream = jetstream_of(&local.servers.nats_url(Role::Operator)).await?;
    let mut log = jetstream.get_stream("EVENTS").await?;
    Ok(log.info().await?.state.messages)
}

/// Returns the memory of this process, which runs gateway and workers.
fn memory_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.context("no VmRSS in /proc/self/status")?;
    let kib: u64 = resident.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024)
}

fn progress(text: &str) {
    tracing::warn!("{text}");
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
