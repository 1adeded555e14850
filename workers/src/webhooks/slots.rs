//! The slots of sessions: to how many webhooks a process sends at once, and to how many of one tenant.
//!
//! Nobody waits for a slot. A wake-up that finds none comes again later, so that it holds up no other,
//! and a session that has had its turn makes room for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use events_schema::TenantKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All slots.
pub struct Slots {
    of_process: Arc<Pool>,
    of_tenant: usize,
    of_tenants: Mutex<HashMap<TenantKey, Arc<Pool>>>,
}

/// Slots that some webhooks share.
struct Pool {
    free: Arc<Semaphore>,
    /// Whether a webhook was turned away since a session has looked.
    is_short: AtomicBool,
}

/// The right of a session to run.
pub struct Slot {
    pools: [Arc<Pool>; 2],
    makes_room: AtomicBool,
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

    /// Takes a slot; `None` if there is none for this tenant now.
    pub fn try_take(&self, tenant: TenantKey) -> Option<Slot> {
        let pools = [self.of_tenant(tenant), self.of_process.clone()];
        let [first, second] = &pools;
        let permits = [first.try_take()?, second.try_take()?];
        Some(Slot {
            pools,
            makes_room: AtomicBool::new(false),
            _permits: permits,
        })
    }

    fn of_tenant(&self, tenant: TenantKey) -> Arc<Pool> {
        let all = self.of_tenants.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses are forgotten.
        if all.len() > 1_000 {
            all.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        let pool = all.entry(tenant);
        let new = || Arc::new(Pool::new(self.of_tenant));
        pool.or_insert_with(new).clone()
    }
}

impl Pool {
    fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            is_short: AtomicBool::new(false),
        }
    }

    fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        let taken = self.free.clone().try_acquire_owned().ok();
        if taken.is_none() {
            self.is_short.store(true, Ordering::Relaxed);
        }
        taken
    }
}

impl Slot {
    /// Whether a webhook was turned away since a session has asked this. The one that asks makes
    /// room for it.
    pub fn is_wanted(&self) -> bool {
        let mut short = self.pools.iter();
        let is_wanted = short.any(|pool| pool.is_short.swap(false, Ordering::Relaxed));
        self.makes_room.fetch_or(is_wanted, Ordering::Relaxed);
        is_wanted
    }

    /// Whether the session ends to make room for another webhook.
    pub fn makes_room(&self) -> bool {
        self.makes_room.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::Id;

    use super::*;

    fn tenant(number: u32) -> TenantKey {
        let bytes = [[0; 12].as_slice(), &number.to_be_bytes()].concat();
        TenantKey(Id::from_bytes(bytes.try_into().unwrap()))
    }

    #[test]
    fn a_tenant_gets_its_share_and_leaves_the_rest_to_others() {
        let slots = Slots::new(8, 2);
        let taken = [(); 2].map(|()| slots.try_take(tenant(1)).unwrap());
        assert!(slots.try_take(tenant(1)).is_none());
        assert!(slots.try_take(tenant(2)).is_some());
        drop(taken);
        assert!(slots.try_take(tenant(1)).is_some());
    }

    #[test]
    fn a_process_has_no_more_slots_than_it_should() {
        let slots = Slots::new(3, 2);
        let taken: Vec<_> = (1..=3)
            .map(|number| slots.try_take(tenant(number)))
            .collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(slots.try_take(tenant(4)).is_none());
        drop(taken);
        assert!(slots.try_take(tenant(4)).is_some());
    }

    #[test]
    fn one_session_makes_room_for_a_webhook_that_was_turned_away() {
        let slots = Slots::new(2, 1);
        let (first, second) = (slots.try_take(tenant(1)), slots.try_take(tenant(2)));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(!first.is_wanted() && !second.is_wanted());
        // The process has no slot for it.
        assert!(slots.try_take(tenant(3)).is_none());
        assert!(first.is_wanted() && first.makes_room());
        assert!(!second.is_wanted() && !second.makes_room());
        // The tenant has no slot for it, which is nothing that others can give.
        assert!(slots.try_take(tenant(2)).is_none());
        assert!(!first.is_wanted() && second.is_wanted());
        assert!(first.makes_room() && second.makes_room());
    }

    #[test]
    fn tenants_that_are_served_no_more_are_forgotten() {
        let slots = Slots::new(4, 2);
        let kept = slots.try_take(tenant(0)).unwrap();
        for number in 1..5_000 {
            slots.try_take(tenant(number)).unwrap();
        }
        assert!(slots.of_tenants.lock().unwrap().len() <= 1_001);
        slots.try_take(tenant(0)).unwrap();
        let second = slots.try_take(tenant(0));
        assert!(second.is_some() && slots.try_take(tenant(0)).is_none());
        drop(kept);
    }
}
