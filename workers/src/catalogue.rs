//! The catalogue of plans as the log has it now.

use event_store::EventLog;
use events_schema::{TenantId, plan::CATALOGUE};
use tokio::sync::Mutex;

use crate::{
    domain::plan::Catalogue,
    loops::history::{History, subject_of},
};

/// Reads the catalogue. It remembers what it has read before.
pub(crate) struct LatestCatalogue {
    log: EventLog,
    history: Mutex<History<Catalogue>>,
}

impl LatestCatalogue {
    pub(crate) fn new(log: EventLog) -> Self {
        Self {
            log,
            history: Mutex::default(),
        }
    }

    /// Returns the catalogue as the log has it now.
    ///
    /// # Errors
    /// If the log does not answer.
    pub(crate) async fn read(&self) -> anyhow::Result<Catalogue> {
        let mut history = self.history.lock().await;
        let subject = subject_of::<Catalogue>(TenantId::Platform, CATALOGUE);
        history.refresh_from_leader(&self.log, &subject).await?;
        Ok(history.state.clone())
    }
}
