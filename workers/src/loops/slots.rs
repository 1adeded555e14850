//! The slots of a loop: how much it does at once, and how much of that is for one tenant.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use events_schema::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what a loop does at once, and shares it among tenants.
#[derive(Debug)]
pub struct Slots {
    all: Arc<Semaphore>,
    per_tenant: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// A place among those that are served. It becomes free when this is dropped.
#[derive(Debug)]
pub struct Slot {
    _all: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
}

impl Slots {
    /// Makes this many slots, of which one tenant gets at most a quarter.
    pub fn new(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count)),
            per_tenant: count.div_ceil(4),
            tenants: Mutex::default(),
        }
    }

    /// Waits for a slot. Those of one tenant wait for each other first, so a busy tenant does not
    /// fill the queue of the others.
    ///
    /// # Errors
    /// Never: the slots are never closed.
    pub async fn take(&self, tenant: TenantId) -> anyhow::Result<Slot> {
        let share = self.share(tenant);
        let of_tenant = share.acquire_owned().await?;
        let all = self.all.clone().acquire_owned().await?;
        Ok(Slot {
            _all: all,
            _tenant: of_tenant,
        })
    }

    /// Takes a slot; `None` if the tenant has its share already, or all are taken.
    pub fn try_take(&self, tenant: TenantId) -> Option<Slot> {
        let of_tenant = self.share(tenant).try_acquire_owned().ok()?;
        let all = self.all.clone().try_acquire_owned().ok()?;
        Some(Slot {
            _all: all,
            _tenant: of_tenant,
        })
    }

    fn share(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses are forgotten.
        if tenants.len() > 1_000 {
            tenants.retain(|_, share| Arc::strong_count(share) > 1);
        }
        // What belongs to no tenant has nobody to share with.
        let count = match tenant {
            TenantId::Platform => Semaphore::MAX_PERMITS,
            TenantId::Tenant(_) => self.per_tenant,
        };
        let share = tenants.entry(tenant);
        share
            .or_insert_with(|| Arc::new(Semaphore::new(count)))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, TenantKey};
    use futures_util::FutureExt;

    use super::*;

    fn tenant(number: u32) -> TenantId {
        let bytes = [[0; 12].as_slice(), &number.to_be_bytes()].concat();
        TenantId::Tenant(TenantKey(Id::from_bytes(bytes.try_into().unwrap())))
    }

    fn now(slots: &Slots, number: u32) -> Option<Slot> {
        Some(slots.take(tenant(number)).now_or_never()?.unwrap())
    }

    #[tokio::test]
    async fn a_tenant_gets_a_quarter_and_leaves_the_rest_to_others() {
        let slots = Slots::new(8);
        let first = (now(&slots, 1), now(&slots, 1));
        assert!(first.0.is_some() && first.1.is_some());
        assert!(now(&slots, 1).is_none());
        assert!(now(&slots, 2).is_some());
        drop(first);
        assert!(now(&slots, 1).is_some());
    }

    #[tokio::test]
    async fn a_slot_that_is_not_free_is_not_waited_for() {
        let slots = Slots::new(8);
        let taken = [(); 2].map(|()| slots.try_take(tenant(1)));
        assert!(taken.iter().all(Option::is_some));
        assert!(slots.try_take(tenant(1)).is_none());
        let others: Vec<_> = (2..8)
            .map(|number| slots.try_take(tenant(number)))
            .collect();
        assert!(others.iter().all(Option::is_some));
        assert!(slots.try_take(tenant(8)).is_none());
        drop(taken);
        assert!(slots.try_take(tenant(1)).is_some());
    }

    #[tokio::test]
    async fn no_more_slots_are_taken_than_there_are() {
        let slots = Slots::new(4);
        let taken: Vec<_> = (1..=4).map(|number| now(&slots, number)).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(now(&slots, 5).is_none());
    }

    #[tokio::test]
    async fn tenants_that_are_served_no_more_are_forgotten() {
        let slots = Slots::new(4);
        for number in 0..5_000 {
            slots.take(tenant(number)).await.unwrap();
        }
        assert!(slots.tenants.lock().unwrap().len() <= 1_001);
    }
}
