//! Reads a tenant's own commits from the log.
//!
//! Only what the tenant's members may see of a commit is decoded: who changed what, when and from
//! where. The content of the events is left out.

use anyhow::{Context as _, ensure};
use event_store::Stored;
use events_schema::{AreaName, CommitSummary, TenantId};

/// A commit as its tenant sees it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The commit's sequence in the log.
    pub(crate) sequence: u64,
    pub(crate) area: AreaName,
    pub(crate) commit: CommitSummary,
}

/// Decodes commits of this tenant. Commits of areas that this program does not know are skipped,
/// since a newer worker may have written them.
///
/// # Errors
/// If a message is no commit, or a commit of another tenant.
pub(crate) fn entries(tenant: TenantId, stored: &[Stored]) -> anyhow::Result<Vec<Entry>> {
    let decoded = stored.iter().map(|message| entry(tenant, message));
    decoded.filter_map(Result::transpose).collect()
}

fn entry(tenant: TenantId, stored: &Stored) -> anyhow::Result<Option<Entry>> {
    let sequence = stored.sequence;
    let commit: CommitSummary = serde_json::from_slice(&stored.payload)
        .with_context(|| format!("reading the commit at {sequence}"))?;
    ensure!(
        commit.tenant == tenant,
        "the commit at {sequence} belongs to another tenant"
    );
    let area = AreaName::parse(&commit.area).ok();
    Ok(area.map(|area| Entry {
        sequence,
        area,
        commit,
    }))
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, TenantKey};
    use serde_json::json;

    use super::*;

    const ACME: TenantId = TenantId::Tenant(TenantKey(Id::from_bytes([9; 16])));

    fn stored(sequence: u64, area: &str, event: &str) -> Stored {
        let id = Id::from_bytes([7; 16]);
        let commit = json!({
            "tenant": ACME, "area": area, "id": id, "revision": 1, "command": id,
            "actor": { "kind": "system" }, "time": 5, "events": [{ "type": event, "name": "x" }],
        });
        Stored {
            sequence,
            subject: String::new(),
            payload: commit.to_string().into(),
        }
    }

    #[test]
    fn an_event_of_an_unknown_area_is_skipped_and_an_unknown_event_is_shown() {
        let log = [
            stored(1, "moon", "landed"),
            stored(2, "project", "launched"),
        ];
        let read = entries(ACME, &log).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].sequence, read[0].area), (2, AreaName::Project));
        assert_eq!(read[0].commit.events[0].name, "launched");
    }

    #[test]
    fn a_commit_of_another_tenant_is_never_read() {
        let log = [stored(1, "project", "created")];
        assert!(entries(TenantId::Platform, &log).is_err());
    }
}
