//! One run from start to end: backend, limits, works, report.

use std::{collections::HashMap, io::Write as _, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context as _, bail};

use super::{
    Options, charts,
    limits::{Bare, Limit},
    load::{self, Answers, Client},
    point::{Closed, Open, Point, Subject},
    processes::Processes,
    program::{Program, ServerUrls, address_of},
    report::{self, per_second, print, say},
    scenarios,
    works::{Work, Worker, read_back},
    world::World,
};

/// The rate of the open loop, as a share of the highest. Near the highest rate, every hiccup leaves
/// a queue that does not get shorter.
const SHARE_OF_HIGHEST: f64 = 0.7;
/// How the backend is started: empty, and on free ports.
const BACKEND: [&str; 8] = [
    "--until-input-ends",
    "--ephemeral",
    "--listen",
    "127.0.0.1:0",
    "--mail-listen",
    "127.0.0.1:0",
    "--monitor-listen",
    "127.0.0.1:0",
];
const STOPPED: &str = "stopped before everything was measured";
/// The hidden command of the server that answers from memory.
pub(crate) const FROM_MEMORY: &str = "answer-from-memory";

/// Measures, and prints what was measured, until `stop`.
///
/// # Errors
/// If the backend fails, an answer was wrong, or `stop` came first.
pub(crate) async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    options.check()?;
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures say nothing; use --release");
    }
    tokio::pin!(stop);
    if !options.works().is_empty() {
        requests(options.clone(), &mut stop).await?;
    }
    if options.scenarios().is_empty() {
        return Ok(());
    }
    tokio::select! {
        measured = scenarios::measure(&options) => measured,
        () = &mut stop => bail!(STOPPED),
    }
}

/// Measures the works that are requests.
async fn requests(
    options: Options,
    mut stop: impl Future<Output = ()> + Unpin,
) -> anyhow::Result<()> {
    say("starting the backend …");
    let mut backend = tokio::select! {
        started = Program::start(&BACKEND, &[]) => started?,
        () = &mut stop => bail!(STOPPED),
    };
    let bench = Bench::new(options, &backend);
    let measured = async { bench?.measure().await };
    let result = tokio::select! {
        measured = measured => measured,
        error = backend.ended() => Err(error),
        () = &mut stop => Err(anyhow::anyhow!(STOPPED)),
    };
    if result.is_err() {
        // Ends the line that names what was measured.
        say("");
    }
    say("stopping the backend …");
    let stopped = backend.stop().await;
    result.and(stopped)
}

/// A running measurement.
struct Bench {
    options: Options,
    servers: ServerUrls,
    address: SocketAddr,
    mailbox: SocketAddr,
    processes: Processes,
    points: Vec<Point>,
    /// The rate of each limit at each concurrency.
    limits: HashMap<(&'static str, usize), f64>,
    /// What was wrong first.
    first_error: Option<String>,
}

impl Bench {
    fn new(options: Options, backend: &Program) -> anyhow::Result<Self> {
        Ok(Self {
            options,
            servers: backend.server_urls()?,
            address: backend.address()?,
            mailbox: address_of(backend.line("mailbox")?)?,
            processes: Processes::of(backend.id()?),
            points: Vec::new(),
            limits: HashMap::new(),
            first_error: None,
        })
    }

    async fn measure(mut self) -> anyhow::Result<()> {
        let world = self.make_world().await?;
        if !self.options.no_limits {
            self.measure_limits(&world).await?;
        }
        for work in self.options.works() {
            for concurrency in self.options.concurrencies_of(work) {
                self.measure_work(work, concurrency, &world).await?;
            }
        }
        if !self.options.json {
            print(&report::tables(&self.points))?;
        }
        if let Some(folder) = &self.options.charts {
            charts::draw(&self.points, folder)?;
        }
        let wrong: usize = self.points.iter().map(|point| point.wrong).sum();
        match self.first_error {
            Some(error) => bail!("{wrong} answers were wrong; the first: {error}"),
            None => Ok(()),
        }
    }

    async fn make_world(&self) -> anyhow::Result<Arc<World>> {
        let (size, started) = (self.options.size(), Instant::now());
        let projects = size.projects + size.listed;
        say(&format!(
            "making {} tenants and {projects} projects …",
            size.tenants + 1
        ));
        let world = World::make(self.address, self.mailbox, size).await;
        let world = world.context("could not make tenants and projects")?;
        say(&format!(
            "made them in {:.1} s",
            started.elapsed().as_secs_f64()
        ));
        Ok(Arc::new(world))
    }

    async fn measure_limits(&mut self, world: &Arc<World>) -> anyhow::Result<()> {
        let processes = self.processes.clone();
        let bare = Bare::prepare(&self.servers).await?;
        for limit in Limit::OF_SERVERS {
            for concurrency in self.options.concurrencies() {
                let clients = bare.clients(limit, concurrency);
                self.measure_limit(limit, concurrency, clients, &processes)
                    .await?;
            }
        }
        bare.delete().await?;
        let server = Program::start(&[FROM_MEMORY], &[]).await?;
        let processes = Processes::of(server.id()?);
        for concurrency in self.options.concurrencies() {
            let clients = Worker::all(Work::Read, concurrency, world, server.address()?);
            self.measure_limit(Limit::AnswerFromMemory, concurrency, clients, &processes)
                .await?;
        }
        server.stop().await
    }

    async fn measure_limit<C: Client>(
        &mut self,
        limit: Limit,
        concurrency: usize,
        clients: Vec<C>,
        processes: &Processes,
    ) -> anyhow::Result<()> {
        begin(Subject::Limit(limit), concurrency);
        let counted = self.options.counted();
        let measured = load::closed(clients, counted, processes).await?;
        let (_, mut answers, used) = measured;
        let closed = Closed::of(&mut answers, counted, &used);
        self.limits.insert((limit.name(), concurrency), closed.rate);
        self.add(Subject::Limit(limit), concurrency, closed, None, answers)
    }

    async fn measure_work(
        &mut self,
        work: Work,
        concurrency: usize,
        world: &Arc<World>,
    ) -> anyhow::Result<()> {
        begin(Subject::Work(work), concurrency);
        let counted = self.options.counted();
        let clients = Worker::all(work, concurrency, world, self.address);
        let (clients, mut answers, used) = load::closed(clients, counted, &self.processes).await?;
        let closed = Closed::of(&mut answers, counted, &used);
        let rate = closed.rate * SHARE_OF_HIGHEST;
        let mut open = None;
        if rate > 0.0 {
            let (clients, later) = load::open(clients, counted, rate).await?;
            answers.merge(later);
            open = Some(Open::of(&mut answers, rate));
            for lost in read_back(world, &clients).await? {
                answers.fail(&lost);
            }
        }
        self.add(Subject::Work(work), concurrency, closed, open, answers)
    }

    fn add(
        &mut self,
        subject: Subject,
        concurrency: usize,
        closed: Closed,
        open: Option<Open>,
        answers: Answers,
    ) -> anyhow::Result<()> {
        let limit = match subject {
            Subject::Work(work) => work.limit(),
            Subject::Limit(_) => None,
        };
        let limit = limit.and_then(|limit| self.limits.get(&(limit.name(), concurrency)));
        let point = Point {
            subject,
            concurrency,
            closed,
            open,
            wrong: answers.wrong,
            of_limit: limit
                .filter(|rate| **rate > 0.0)
                .map(|rate| closed.rate / rate),
        };
        say(&progress(&point, answers.first_error.as_deref()));
        if self.options.json {
            print(&report::json(&point)?)?;
        }
        self.first_error = self.first_error.take().or(answers.first_error);
        self.points.push(point);
        Ok(())
    }
}

/// Returns the second half of the line that [`begin`] has begun.
fn progress(point: &Point, error: Option<&str>) -> String {
    let rate = per_second(Some(point.closed.rate));
    match error {
        Some(error) => format!("{rate}/s; {} wrong: {error}", point.wrong),
        None => format!("{rate}/s"),
    }
}

/// Shows what is measured now.
fn begin(subject: Subject, concurrency: usize) {
    let name = subject.name();
    _ = write!(std::io::stderr(), "{name}, {concurrency} at once … ");
}
