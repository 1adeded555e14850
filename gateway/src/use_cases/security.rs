//! The security events that people read: the owner of an account what happened to it, the
//! administrators of a tenant what its members were refused. The latest come first.

use events_schema::{
    AccountId, TenantKey,
    subject::{security_of_account, security_of_tenant},
};

use crate::{
    backend::security_log::{Kept, SecurityLog},
    error::Error,
};

/// Reads security events.
#[derive(Clone, Debug)]
pub(crate) struct SecurityHistory {
    pub(crate) log: SecurityLog,
}

/// Security events, the latest first.
#[derive(Debug)]
pub(crate) struct HistoryPage {
    pub(crate) events: Vec<Kept>,
    pub(crate) has_more: bool,
}

impl SecurityHistory {
    /// Returns up to `size` of the latest events of an account before this sequence.
    ///
    /// # Errors
    /// `Unavailable` if the events cannot be read.
    pub(crate) async fn of_account(
        &self,
        account: AccountId,
        before: Option<u64>,
        size: usize,
    ) -> Result<HistoryPage, Error> {
        let all = self.log.read(&security_of_account(account)).await?;
        Ok(latest(all, before, size))
    }

    /// Returns up to `size` of the latest refusals in a tenant before this sequence.
    ///
    /// # Errors
    /// `Unavailable` if the events cannot be read.
    pub(crate) async fn of_tenant(
        &self,
        tenant: TenantKey,
        before: Option<u64>,
        size: usize,
    ) -> Result<HistoryPage, Error> {
        let all = self.log.read(&security_of_tenant(tenant)).await?;
        Ok(latest(all, before, size))
    }
}

/// Selects a page. The stream can be read forward only and keeps few events of a subject, so all of
/// them were read.
fn latest(mut events: Vec<Kept>, before: Option<u64>, size: usize) -> HistoryPage {
    events.retain(|event| before.is_none_or(|before| event.sequence < before));
    events.reverse();
    let has_more = events.len() > size;
    events.truncate(size);
    HistoryPage { events, has_more }
}

#[cfg(test)]
mod tests {
    use events_schema::{Actor, Device, Origin, SecurityEntry, Time};

    use super::*;

    fn page(before: Option<u64>, size: usize) -> (Vec<u64>, bool) {
        let event = |sequence| Kept {
            sequence,
            entry: SecurityEntry {
                time: Time(0),
                event: "login_failed".to_owned(),
                actor: Actor::Anonymous,
                origin: Origin {
                    address: None,
                    device: Device::from_user_agent(""),
                },
                operation: None,
                permission: None,
            },
        };
        let page = latest([3, 5, 9].map(event).into(), before, size);
        let sequences = page.events.iter().map(|event| event.sequence);
        (sequences.collect(), page.has_more)
    }

    #[test]
    fn a_page_has_the_latest_events_before_its_cursor() {
        assert_eq!(page(None, 2), (vec![9, 5], true));
        assert_eq!(page(Some(5), 2), (vec![3], false));
        assert_eq!(page(None, 3), (vec![9, 5, 3], false));
        assert_eq!(page(Some(3), 3), (vec![], false));
        assert_eq!(page(None, 0), (vec![], true));
    }
}
