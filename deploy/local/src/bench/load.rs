//! Closed and open loops: clients that ask one request after the other, and the times that the
//! answers take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    processes::{Processes, Used},
    schedule::Schedule,
};

/// Time at the start of a loop that is not counted: connections are made and caches filled.
const WARM_UP: Duration = Duration::from_secs(1);
/// Pause of a client after a wrong answer, so that a backend that is down is not asked in a spin.
const PAUSE: Duration = Duration::from_millis(10);
/// How long an open loop may lag behind its schedule at the end before it gives up.
const MAX_LAG: Duration = Duration::from_secs(20);

/// A client with one request in flight.
pub(super) trait Client: Send + 'static {
    /// Sends the next request and checks its answer.
    ///
    /// # Errors
    /// If there is no answer, or it is wrong.
    fn request(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The time in which answers are counted.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

impl Window {
    fn starting_now(counted: Duration) -> Self {
        let from = Instant::now() + WARM_UP;
        let to = from + counted;
        Self { from, to }
    }

    fn contains(&self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// The answers of one loop.
#[derive(Default)]
pub(super) struct Answers {
    /// Latencies of the right answers that are counted, in microseconds.
    pub(super) latencies_us: Vec<u32>,
    /// Wrong answers, also those before the counted time.
    pub(super) wrong: usize,
    /// What was wrong with the first wrong answer.
    pub(super) first_error: Option<String>,
}

impl Answers {
    async fn add(&mut self, result: anyhow::Result<()>, latency: Duration, is_counted: bool) {
        match result {
            Ok(()) if is_counted => {
                let latency = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
                self.latencies_us.push(latency);
            }
            Ok(()) => {}
            Err(error) => {
                self.fail(&error);
                sleep(PAUSE).await;
            }
        }
    }

    /// Counts a wrong answer.
    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        self.wrong += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Adds the answers of another client.
    pub(super) fn merge(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.wrong += other.wrong;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Lets every client ask as fast as it gets answers. Returns the clients for the next loop, their
/// answers, and what the processes used meanwhile.
///
/// # Errors
/// If a client panics.
pub(super) async fn closed<C: Client>(
    clients: Vec<C>,
    counted: Duration,
    processes: &Processes,
) -> anyhow::Result<(Vec<C>, Answers, Used)> {
    let window = Window::starting_now(counted);
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(ask_until_the_end(client, window));
    }
    let ((clients, mut answers), used) = tokio::join!(gather(tasks), measure(processes, window));
    if answers.latencies_us.is_empty() {
        answers.fail(&anyhow!("no right answer within {counted:?}"));
    }
    Ok((clients?, answers, used))
}

/// Asks at a steady rate, whatever the answers take. A latency counts from the time at which the
/// request was due, so a stall shows in every request that it delayed.
///
/// # Errors
/// If a client panics, or the thread with the clock cannot be started.
pub(super) async fn open<C: Client>(
    clients: Vec<C>,
    counted: Duration,
    rate: f64,
) -> anyhow::Result<(Vec<C>, Answers)> {
    let window = Window::starting_now(counted);
    let total = ((WARM_UP + counted).as_secs_f64() * rate).ceil() as usize;
    let start = Instant::now();
    let schedule = Schedule { start, rate, total };
    let due = Arc::new(Due {
        schedule,
        permits: Semaphore::new(0),
        next: AtomicUsize::new(0),
    });
    let (clock, count) = (due.clone(), clients.len());
    thread::Builder::new()
        .name("clock".to_owned())
        .spawn(move || clock.schedule.release(&clock.permits, count))
        .context("could not start a thread")?;
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(ask_when_due(client, window, due.clone()));
    }
    let (clients, mut answers) = gather(tasks).await;
    let unsent = total.saturating_sub(due.next.load(Ordering::Relaxed));
    if unsent > 0 {
        answers.wrong += unsent;
        let lag = format!("{unsent} requests were not sent within {MAX_LAG:?} after the end");
        answers.first_error.get_or_insert(lag);
    }
    Ok((clients?, answers))
}

/// Requests that wait for a client, in their order.
struct Due {
    schedule: Schedule,
    permits: Semaphore,
    next: AtomicUsize,
}

impl Due {
    /// Returns when the next request was due; `None` after the last.
    async fn next(&self) -> Option<Instant> {
        self.permits.acquire().await.ok()?.forget();
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.schedule.total).then(|| self.schedule.due(index))
    }
}

async fn ask_until_the_end<C: Client>(mut client: C, window: Window) -> (C, Answers) {
    let mut answers = Answers::default();
    loop {
        let asked = Instant::now();
        if asked >= window.to {
            return (client, answers);
        }
        let result = client.request().await;
        let answered = Instant::now();
        let is_counted = window.contains(answered);
        answers.add(result, answered - asked, is_counted).await;
    }
}

async fn ask_when_due<C: Client>(mut client: C, window: Window, due: Arc<Due>) -> (C, Answers) {
    let mut answers = Answers::default();
    while Instant::now() < window.to + MAX_LAG
        && let Some(at) = due.next().await
    {
        let result = client.request().await;
        let is_counted = window.contains(at);
        answers.add(result, at.elapsed(), is_counted).await;
    }
    (client, answers)
}

async fn gather<C: 'static>(mut tasks: JoinSet<(C, Answers)>) -> (anyhow::Result<Vec<C>>, Answers) {
    let (mut clients, mut answers) = (Vec::new(), Answers::default());
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((client, of_one)) => {
                clients.push(client);
                answers.merge(of_one);
            }
            Err(error) => return (Err(anyhow!(error).context("a client panicked")), answers),
        }
    }
    (Ok(clients), answers)
}

async fn measure(processes: &Processes, window: Window) -> Used {
    sleep_until(window.from.into()).await;
    let before = processes.read();
    sleep_until(window.to.into()).await;
    processes.read().since(&before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in no time, but stalls once.
    struct Stalling {
        asked: usize,
    }

    impl Client for Stalling {
        async fn request(&mut self) -> anyhow::Result<()> {
            self.asked += 1;
            if self.asked == 300 {
                sleep(Duration::from_millis(500)).await;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stall_shows_in_every_request_that_it_delayed() {
        let clients = vec![Stalling { asked: 0 }];
        let loop_of_a_second = open(clients, Duration::from_secs(1), 200.0).await;
        let (_, answers) = loop_of_a_second.unwrap();
        let mut delayed = answers.latencies_us;
        delayed.retain(|latency| *latency > 100_000);
        // 100 requests were due during the stall; the last 20 of them waited less than that. A busy
        // machine delays more of them.
        assert!(delayed.len() >= 60, "{}", delayed.len());
        assert_eq!(answers.wrong, 0);
    }

    /// Gets a wrong answer each time.
    struct Wrong;

    impl Client for Wrong {
        async fn request(&mut self) -> anyhow::Result<()> {
            Err(anyhow!("status 500"))
        }
    }

    #[tokio::test]
    async fn wrong_answers_are_counted_and_not_timed() {
        let counted = Duration::from_millis(50);
        let (_, answers) = open(vec![Wrong], counted, 20.0).await.unwrap();
        assert!(answers.wrong > 0 && answers.latencies_us.is_empty());
        assert_eq!(answers.first_error.as_deref(), Some("status 500"));
    }
}
