//! `attack`: floods a backend of its own as strangers would, while honest people use it. It compares
//! what these people notice with a quiet time before, and fails if it is too much.

pub(crate) mod pairs;
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
/// How many times slower people may be served during the flood, at the 50th and 99th percentile.
const MAX_SLOWDOWN: f64 = 2.0;
/// Milliseconds that are always allowed: nobody notices them.
const UNNOTICED_MS: f64 = 20.0;
/// Milliseconds that no answer may take.
const MAX_MS: f64 = 5_000.0;
/// The least share of the requests of a quiet time that people get through.
const MIN_SHARE: f64 = 0.9;
/// The largest share of requests of people that may be refused.
const MAX_LIMITED: f64 = 0.01;
/// The least share of their requests that strangers get an answer to. A flood that does not arrive
/// shows nothing.
const MIN_FLOOD: f64 = 0.5;
/// Messages in the log that strangers may cause, for each person and each of their own addresses:
/// registrations, resets and the mails of both.
const MAX_MESSAGES_EACH: u64 = 100;
/// Memory of this process that the flood may cost, in MiB.
const MAX_GROWTH_MIB: u64 = 200;

/// Floods a backend of its own from four addresses, while honest people sign in, write and listen.
///
/// Strangers guess passwords and codes, register, ask for mails, open sockets and send queries that
/// are refused. Exits with an error if logins, writes, reads or events take people more than twice as
/// long as before the flood (50th and 99th percentile), if people get an error, miss an event or get
/// fewer requests through, or if the log or the memory grows too much. Needs a release build for
/// figures that mean something.
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
        stripe_listen: None,
        monitor_listen: None,
        data_dir: None,
        layout: Layout::Single,
        mail_attempts: 12,
        gateway: gateway.map(str::to_owned).to_vec(),
        workers: Vec::new(),
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
    let mut answered = 0;
    while let Some(stranger) = strangers.join_next().await {
        answered += stranger?;
    }
    let log = log_size(local).await?.saturating_sub(log);
    let growth = memory_mib()?.saturating_sub(memory);
    Report {
        before,
        during,
        answered,
        messages: log,
        growth,
        options: options.clone(),
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
    /// Requests of strangers that were answered.
    answered: u64,
    /// Messages that the log has got meanwhile.
    messages: u64,
    /// MiB.
    growth: u64,
    options: Options,
}

impl Report {
    /// Prints the report.
    ///
    /// # Errors
    /// If people have noticed too much.
    fn check(self) -> anyhow::Result<()> {
        let Options {
            minutes,
            quiet_seconds,
            people,
            rate,
            ignore_latency,
        } = self.options;
        let by_strangers = self.messages.saturating_sub(self.during.commits);
        let requests = self.during.requests();
        print(&format!(
            "requests of strangers that were answered  {}\n\
             requests of people                        {requests}\n\
             people were told RATE_LIMITED             {}\n\
             messages in the log by strangers          {by_strangers}\n\
             memory that the flood cost, in MiB        {}\n\n\
             ms            before: p50 p99 | during: p50 p99 max\n",
            self.answered, self.during.limited, self.growth
        ))?;
        let mut slow = Vec::new();
        for (act, during) in &self.during.micros {
            let before = self
                .before
                .micros
                .get(act)
                .context("nobody did this before")?;
            let (before, during) = (percentiles(before)?, percentiles(during)?);
            let figures = [before[0], before[1], during[0], during[1], during[2]];
            let figures = figures.map(|figure| format!("{figure:>8.1}")).join(" ");
            print(&format!("{:<8} {figures}\n", format!("{act:?}")))?;
            let is_slow = |at: usize| during[at] > (MAX_SLOWDOWN * before[at]).max(UNNOTICED_MS);
            if is_slow(0) || is_slow(1) || during[2] > MAX_MS {
                slow.push(*act);
            }
        }
        let errors = &self.during.errors;
        ensure!(errors.is_empty(), "people got errors: {errors:?}");
        let limited = self.during.limited as f64 / requests as f64;
        ensure!(limited <= MAX_LIMITED, "people were refused too often");
        let allowed = MAX_MESSAGES_EACH * (people + STRANGERS as u64);
        ensure!(
            by_strangers <= allowed,
            "strangers caused more than {allowed} messages in the log"
        );
        ensure!(
            self.growth <= MAX_GROWTH_MIB,
            "the flood cost more than {MAX_GROWTH_MIB} MiB"
        );
        if ignore_latency {
            return Ok(());
        }
        let flood = (STRANGERS as u64 * rate * minutes * 60) as f64;
        ensure!(
            self.answered as f64 >= MIN_FLOOD * flood,
            "the flood did not arrive"
        );
        ensure!(slow.is_empty(), "these took people too long: {slow:?}");
        let longer = (minutes * 60) as f64 / quiet_seconds as f64;
        let expected = self.before.requests() as f64 * longer;
        ensure!(
            requests as f64 >= MIN_SHARE * expected,
            "people got too few requests through"
        );
        Ok(())
    }
}

/// Returns the 50th and the 99th percentile and the maximum, in milliseconds.
fn percentiles(micros: &[u32]) -> anyhow::Result<[f64; 3]> {
    let latencies = Latencies::of(micros.to_vec());
    let at = |per_cent| latencies.at(per_cent).context("nobody got an answer");
    Ok([at(50.0)?, at(99.0)?, at(100.0)?])
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
