//! The tenants that have, or had, a plan of their own.

use std::collections::BTreeSet;

use event_store::EventLog;
use events_schema::{AreaName, Subject, TenantId, TenantKey, subject::events_of};

/// All tenants with commits of billing, as far as the log was read.
#[derive(Default)]
pub(super) struct Tenants {
    found: BTreeSet<TenantKey>,
    /// The last sequence that was read.
    reached: u64,
}

impl Tenants {
    /// Adds those that the log has got since.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(super) async fn refresh(&mut self, log: &EventLog) -> anyhow::Result<()> {
        let filter = events_of(AreaName::Billing);
        loop {
            let page = log.page(&filter, self.reached + 1).await?;
            for stored in &page.messages {
                self.reached = stored.sequence;
                if let Ok(Subject::Event {
                    tenant: TenantId::Tenant(tenant),
                    ..
                }) = Subject::parse(&stored.subject)
                {
                    self.found.insert(tenant);
                }
            }
            if page.is_last() {
                return Ok(());
            }
        }
    }

    /// Returns all tenants, beginning with the first that is not before `first`.
    pub(super) fn from(&self, first: TenantKey) -> Vec<TenantKey> {
        let later = self.found.range(first..);
        let earlier = self.found.range(..first);
        later.chain(earlier).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use events_schema::Id;

    use super::*;

    #[test]
    fn each_tenant_comes_once_wherever_it_begins() {
        let tenant = |number| TenantKey(Id::from_bytes([number; 16]));
        let tenants = Tenants {
            found: [1, 3, 5].map(tenant).into(),
            reached: 9,
        };
        for (first, order) in [
            (0, [1, 3, 5]),
            (3, [3, 5, 1]),
            (4, [5, 1, 3]),
            (6, [1, 3, 5]),
        ] {
            assert_eq!(tenants.from(tenant(first)), order.map(tenant), "{first}");
        }
    }
}
