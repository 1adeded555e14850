//! Finds tenants by what the log has of them.

use std::collections::BTreeSet;

use event_store::EventLog;
use events_schema::{AreaName, Subject, TenantId, TenantKey, subject::events_of};

/// Returns the tenants that have or had something of this area before a sequence of the log.
///
/// # Errors
/// If the log does not answer.
pub async fn tenants_with(
    log: &EventLog,
    area: AreaName,
    before: u64,
) -> anyhow::Result<BTreeSet<TenantKey>> {
    let (mut found, mut next) = (BTreeSet::new(), 1);
    while next < before {
        let page = log.page(&events_of(area), next).await?;
        let messages = page.messages.iter();
        for stored in messages.take_while(|stored| stored.sequence < before) {
            if let Ok(Subject::Event {
                tenant: TenantId::Tenant(tenant),
                ..
            }) = Subject::parse(&stored.subject)
            {
                found.insert(tenant);
            }
        }
        match page.messages.last() {
            Some(last) if page.pending > 0 => next = last.sequence + 1,
            Some(_) | None => break,
        }
    }
    Ok(found)
}
