//! How fast requests go to Stripe.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use tokio::time::{Instant, sleep};

use super::StripeError;

/// The part of a second's requests that may go out at once. Stripe counts by the second, so a larger
/// one could exceed its limit.
const BURST: u32 = 4;
/// How long a request lets those go first that somebody waits for. Without an end, many questions
/// would keep out all changes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Spaces the requests of this process. Requests that somebody waits for go first, unless others
/// have waited for a second.
pub(super) struct Pace {
    bucket: DefaultDirectRateLimiter,
    /// The time between two requests.
    interval: Duration,
    /// How many requests wait that somebody waits for.
    urgent: AtomicUsize,
    paused_until: Mutex<Instant>,
}

impl Pace {
    /// Allows so many requests within a second.
    pub(super) fn new(rate: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(rate.get() / BURST).unwrap_or(NonZeroU32::MIN);
        Self {
            bucket: RateLimiter::direct(Quota::per_second(rate).allow_burst(burst)),
            interval: Duration::from_secs(1) / rate.get(),
            urgent: AtomicUsize::new(0),
            paused_until: Mutex::new(Instant::now()),
        }
    }

    /// Waits until a request may go out.
    ///
    /// # Errors
    /// If Stripe wants no request now. Whoever waits for one learns that at once.
    pub(super) async fn turn(&self, is_urgent: bool) -> Result<(), StripeError> {
        let _waiting = is_urgent.then(|| Waiting::new(&self.urgent));
        let began = Instant::now();
        loop {
            let pause = self.pause_left();
            if !pause.is_zero() {
                return Err(StripeError::RateLimited(pause));
            }
            let yields = !is_urgent && began.elapsed() < PATIENCE;
            match self.wait(yields) {
                None => return Ok(()),
                Some(wait) => sleep(wait).await,
            }
        }
    }

    /// Sends no request for so long.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut paused_until = self.lock();
        *paused_until = until.max(*paused_until);
    }

    /// Takes a request from the bucket, or returns the time until the next look.
    fn wait(&self, yields: bool) -> Option<Duration> {
        if yields && self.urgent.load(Ordering::SeqCst) > 0 {
            return Some(self.interval);
        }
        let refused = self.bucket.check().err()?;
        Some(refused.wait_time_from(DefaultClock::default().now()))
    }

    fn pause_left(&self) -> Duration {
        self.lock().saturating_duration_since(Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request while it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{sync::mpsc, task::yield_now, time::timeout};

    use super::*;

    fn pace(rate: u32) -> Arc<Pace> {
        Arc::new(Pace::new(NonZeroU32::new(rate).unwrap()))
    }

    #[tokio::test]
    async fn requests_are_spaced() {
        let pace = pace(20);
        let began = Instant::now();
        for _ in 0..15 {
            pace.turn(false).await.unwrap();
        }
        // Five at once, and ten after 50 ms each.
        assert!(began.elapsed() >= Duration::from_millis(499));
    }

    #[tokio::test]
    async fn requests_that_somebody_waits_for_go_first() {
        let pace = pace(20);
        let (done, mut order) = mpsc::unbounded_channel();
        for is_urgent in [false; 20].into_iter().chain([true; 3]) {
            let (pace, done) = (Arc::clone(&pace), done.clone());
            tokio::spawn(async move {
                pace.turn(is_urgent).await.unwrap();
                done.send(is_urgent).unwrap();
            });
            yield_now().await;
        }
        let mut finished = Vec::new();
        while finished.len() < 23 {
            finished.push(order.recv().await.unwrap());
        }
        // The bucket was full, so five others went out before.
        let last = finished.iter().rposition(|is_urgent| *is_urgent).unwrap();
        assert!(last <= 8, "{finished:?}");
    }

    #[tokio::test]
    async fn requests_that_somebody_waits_for_keep_out_no_other_for_ever() {
        let pace = pace(20);
        for _ in 0..3 {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move {
                loop {
                    pace.turn(true).await.unwrap();
                }
            });
        }
        yield_now().await;
        let turn = timeout(Duration::from_secs(20), pace.turn(false));
        turn.await.expect("it never has its turn").unwrap();
    }

    #[tokio::test]
    async fn a_pause_refuses_requests_at_once_and_is_never_shortened() {
        let pace = pace(20);
        pace.pause(Duration::from_secs(60));
        pace.pause(Duration::from_secs(1));
        for is_urgent in [false, true] {
            match pace.turn(is_urgent).await {
                Err(StripeError::RateLimited(left)) => assert!(left > Duration::from_secs(50)),
                other => panic!("{other:?}"),
            }
        }
    }
}
