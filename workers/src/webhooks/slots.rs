//! The slots of sessions: to how many webhooks a process sends at once, and to how many of one tenant.
//!
//! Who waits for a slot gets it in turn, and not for long: then a worker with room may serve the
//! webhook. A session that has had its turn makes room.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use events_schema::TenantKey;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a webhook waits for a slot of this process.
const WAIT: Duration = Duration::from_secs(1);
/// With so many tenants, those that nobody serves are forgotten.
const TIDY_FROM: usize = 1_000;

/// All slots.
pub struct Slots {
    of_process: Arc<Pool>,
    of_tenant: usize,
    of_tenants: Mutex<HashMap<TenantKey, Arc<Pool>>>,
}

/// Slots that some webhooks share.
struct Pool {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right of a session to run.
pub struct Slot {
    pools: [Arc<Pool>; 2],
    _permits: [OwnedSemaphorePermit; 2],
}

impl Slots {
    /// Makes slots: so many in all, and so many of them for each tenant at most.
    pub fn new(of_process: usize, of_tenant: usize) -> Self {
        Self {
            of_process: Arc::new(Pool::new(of_process)),
            of_tenant,
            of_tenants: Mutex::default(),
        }
    }

    /// Waits for a slot; `None` if there is none for this tenant in time.
    pub async fn take(&self, tenant: TenantKey) -> Option<Slot> {
        let pools = [self.of_tenant(tenant), self.of_process.clone()];
        let [first, second] = &pools;
        let permits = [first.take().await?, second.take().await?];
        Some(Slot {
            pools,
            _permits: permits,
        })
    }

    fn of_tenant(&self, tenant: TenantKey) -> Arc<Pool> {
        let all = self.of_tenants.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        if all.len() > TIDY_FROM {
            all.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        let new = || Arc::new(Pool::new(self.of_tenant));
        all.entry(tenant).or_insert_with(new).clone()
    }
}

impl Pool {
    fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
        }
    }

    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::begin(self);
        let acquired = timeout(WAIT, self.free.clone().acquire_owned()).await;
        acquired.ok()?.ok()
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn begin(pool: &'a Pool) -> Self {
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Whether another webhook waits for this slot.
    pub fn is_wanted(&self) -> bool {
        let mut pools = self.pools.iter();
        pools.any(|pool| pool.waiting.load(Ordering::Relaxed) > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use events_schema::Id;
    use futures_util::poll;

    use super::*;

    fn tenant(number: u32) -> TenantKey {
        let bytes = [[0; 12].as_slice(), &number.to_be_bytes()].concat();
        TenantKey(Id::from_bytes(bytes.try_into().unwrap()))
    }

    async fn taken(slots: &Slots, number: u32) -> Slot {
        slots.take(tenant(number)).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_gets_its_share_and_leaves_the_rest_to_others() {
        let slots = Slots::new(8, 2);
        let first = [taken(&slots, 1).await, taken(&slots, 1).await];
        assert!(slots.take(tenant(1)).await.is_none());
        taken(&slots, 2).await;
        drop(first);
        taken(&slots, 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_has_no_more_slots_than_it_should() {
        let slots = Slots::new(3, 2);
        let mut all = Vec::new();
        for number in 1..=3 {
            all.push(taken(&slots, number).await);
        }
        assert!(slots.take(tenant(4)).await.is_none());
        drop(all);
        taken(&slots, 4).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_wanted_while_somebody_waits_for_it_who_gets_it_next() {
        let slots = Slots::new(2, 1);
        let (first, second) = (taken(&slots, 1).await, taken(&slots, 2).await);
        assert!(!first.is_wanted() && !second.is_wanted());
        {
            // Only the tenant has no slot for it.
            let mut waits = Box::pin(slots.take(tenant(2)));
            assert!(poll!(&mut waits).is_pending());
            assert!(!first.is_wanted() && second.is_wanted());
        }
        assert!(!second.is_wanted(), "it has given up");
        let mut waits = Box::pin(slots.take(tenant(3)));
        assert!(poll!(&mut waits).is_pending());
        assert!(first.is_wanted() && second.is_wanted());
        drop(first);
        assert!(matches!(poll!(&mut waits), Poll::Ready(Some(_))));
        assert!(!second.is_wanted());
    }

    #[tokio::test]
    async fn tenants_that_are_served_no_more_are_forgotten() {
        let slots = Slots::new(4, 2);
        let kept = taken(&slots, 0).await;
        for number in 1..5_000 {
            taken(&slots, number).await;
        }
        assert!(slots.of_tenants.lock().unwrap().len() <= TIDY_FROM + 1);
        let second = taken(&slots, 0).await;
        assert_eq!(slots.of_tenant(tenant(0)).free.available_permits(), 0);
        drop((kept, second));
    }
}
