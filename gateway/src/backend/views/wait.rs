//! Waits until a view shows a change.

use std::time::Duration;

use anyhow::Context as _;
use events_schema::{Area, Id, View};
use mongodb::bson::doc;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::{MAX_READ_TIME, TenantViews};
use crate::{
    backend::memory::{Key, Memory},
    error::Error,
};

/// How long an announcement may take before an awaited view is read all the same.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(1);
/// How often an awaited view is read while VIEWS is not followed.
const POLL: Duration = Duration::from_millis(20);

/// The part of a document that is read while the document is awaited.
#[derive(Deserialize)]
struct Revision {
    revision: i64,
}

impl TenantViews {
    /// Waits until a view or its tombstone has reached a revision; false if that is not known by
    /// the deadline. A revision that is not new was announced long ago, so it is read at once.
    ///
    /// # Errors
    /// If the view is not stored here.
    pub(crate) async fn wait_for<V: View>(
        &self,
        id: <V::Area as Area>::Id,
        revision: u64,
        is_new: bool,
        deadline: Instant,
    ) -> Result<bool, Error> {
        self.ensure_home::<V>()?;
        let revision = i64::try_from(revision).context("reading a revision")?;
        let key: Key = (V::NAME, self.tenant, id.into());
        if revision == 0 {
            return Ok(true);
        }
        let stored = async { self.revision::<V>(key.2).await.unwrap_or(0) };
        if !is_new && stored.await >= revision {
            self.memory.overtaken(key, revision);
            return Ok(true);
        }
        // Also when the caller has gone.
        let _tidy = Tidy(&self.memory, key);
        loop {
            match self.memory.wait_for(key, revision) {
                Some(Ok(())) => return Ok(true),
                Some(Err(announced)) => {
                    let until = deadline.min(Instant::now() + ANNOUNCED_WITHIN);
                    let announced = timeout_at(until, announced).await;
                    if matches!(announced, Ok(Ok(()))) {
                        return Ok(true);
                    }
                }
                None => sleep(POLL).await,
            }
            // While MongoDB is away, the change is not lost: it is only not shown yet.
            let stored = timeout_at(deadline, self.revision::<V>(key.2)).await;
            if matches!(stored, Ok(Ok(stored)) if stored >= revision) {
                self.memory.overtaken(key, revision);
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    async fn revision<V: View>(&self, id: Id) -> Result<i64, Error> {
        let filter = doc! { "_id": id.to_string(), "tenant": self.tenant.to_string() };
        let found = self.database.run("find_one", |database| async move {
            let views = database.collection::<Revision>(V::NAME);
            let only_revision = doc! { "revision": 1 };
            let found = views.find_one(filter).projection(only_revision);
            found.max_time(MAX_READ_TIME).await
        });
        let found = found.await.context("awaiting a view")?;
        Ok(found.map_or(0, |document| document.revision))
    }
}

/// Forgets, when it is dropped, those who have given up waiting for a document.
struct Tidy<'a>(&'a Memory, Key);

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        self.0.tidy(self.1);
    }
}
