//! The commits that wait to be written at one place: a bounded queue.
//!
//! Messages that waited longer than the ack wait would come again, and a loop far behind would
//! write ever more of them twice. So a full queue holds up its loop, and the server keeps the rest. But a
//! slow place must not hold up others: beside them, its messages are returned.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, Receiver, Sender, error::TrySendError},
    time::timeout,
};

use crate::views::BULK;

/// Commits that wait for one place: what is written within a fraction of the ack wait.
const CAPACITY: usize = 4 * BULK;
/// How long a full queue may hold up the loop: several times what a bulk takes.
const PATIENCE: Duration = Duration::from_millis(500);

/// The sending half of a queue. Clones share it.
pub(super) struct PlaceQueue<T> {
    sender: Sender<T>,
    /// Whether the queue was full for too long and nothing was written since.
    is_stuck: Arc<AtomicBool>,
}

/// Why something was not queued; it comes back.
pub(super) enum NotQueued<T> {
    /// There is no room.
    Full(T),
    /// Nobody reads the queue any more.
    Closed(T),
}

// A derived one would ask the items to be clonable.
impl<T> Clone for PlaceQueue<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            is_stuck: self.is_stuck.clone(),
        }
    }
}

impl<T> PlaceQueue<T> {
    pub(super) fn new() -> (Self, Receiver<T>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let is_stuck = Arc::default();
        (Self { sender, is_stuck }, receiver)
    }

    /// Puts something into the queue. If that is full, waits for room if `may_wait`, unless the
    /// place is stuck.
    ///
    /// # Errors
    /// If there is no room, or nobody reads the queue any more.
    pub(super) async fn send(&self, item: T, may_wait: bool) -> Result<(), NotQueued<T>> {
        let item = match self.sender.try_send(item) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(item)) => return Err(NotQueued::Closed(item)),
            Err(TrySendError::Full(item)) => item,
        };
        if !may_wait || self.is_stuck.load(Ordering::Relaxed) {
            return Err(NotQueued::Full(item));
        }
        match timeout(PATIENCE, self.sender.reserve()).await {
            Ok(Ok(place)) => {
                place.send(item);
                Ok(())
            }
            Ok(Err(_)) => Err(NotQueued::Closed(item)),
            Err(_) => {
                self.is_stuck.store(true, Ordering::Relaxed);
                Err(NotQueued::Full(item))
            }
        }
    }

    /// Whether nobody reads the queue any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Notes that the place has answered.
    pub(super) fn answered(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_waits_until_the_place_is_stuck() {
        let (queue, mut waiting) = PlaceQueue::new();
        for item in 0..CAPACITY {
            assert!(queue.send(item, true).await.is_ok());
        }
        let reader = async {
            tokio::time::sleep(PATIENCE / 2).await;
            waiting.recv().await
        };
        let (sent, _) = tokio::join!(queue.send(1_000, true), reader);
        assert!(sent.is_ok());

        let began = tokio::time::Instant::now();
        assert!(matches!(
            queue.send(1_001, false).await,
            Err(NotQueued::Full(1_001))
        ));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(matches!(
            queue.send(1_001, true).await,
            Err(NotQueued::Full(1_001))
        ));
        assert_eq!(began.elapsed(), PATIENCE);
        // From now on nothing waits.
        assert!(matches!(
            queue.send(1_002, true).await,
            Err(NotQueued::Full(1_002))
        ));
        assert_eq!(began.elapsed(), PATIENCE);
        queue.answered();
        assert!(matches!(
            queue.send(1_003, true).await,
            Err(NotQueued::Full(1_003))
        ));
        assert_eq!(began.elapsed(), 2 * PATIENCE);
        drop(waiting);
        assert!(matches!(
            queue.send(1_004, true).await,
            Err(NotQueued::Closed(1_004))
        ));
    }
}
