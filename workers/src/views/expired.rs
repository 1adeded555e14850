//! Removes documents of areas whose commits the log keeps for a time only.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use events_schema::{TenantId, Time};
use futures_util::TryStreamExt;
use mongodb::{
    IndexModel,
    bson::{self, Bson, doc},
    options::IndexOptions,
};
use tokio::time::sleep;

use crate::views::Collection;

/// How often expired documents are removed.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Documents that one command removes.
const REMOVAL: i64 = 1_000;
/// The pause between two commands, so that the others get their turn.
const PAUSE: Duration = Duration::from_millis(50);
/// All messages of the log.
const ALL: &str = ">";

impl Collection {
    /// Removes expired documents now and once an hour, for ever. Any number of workers may do so.
    pub async fn keep_removing_expired(&self) {
        if self.kind.retention.is_none() {
            return;
        }
        let view = self.kind.name;
        loop {
            match self.remove_expired(SystemTime::now().into()).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(view, removed, "removed expired documents"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(view, error, "expired documents are not removed");
                }
            }
            sleep(EVERY).await;
        }
    }

    /// Removes the documents whose last commit has expired by `now`; returns how many. Documents of
    /// areas that are kept for ever stay.
    ///
    /// # Errors
    /// If a server does not answer.
    async fn remove_expired(&self, now: Time) -> anyhow::Result<u64> {
        let Some(retention) = self.kind.retention else {
            return Ok(0);
        };
        let since = Time(now.0 - i64::try_from(retention.as_millis())?);
        // Every commit before it is older.
        let Some(first) = self.log.first_since(ALL, since).await? else {
            return Ok(0);
        };
        // An earlier release has written documents without a sequence.
        let expired = doc! {
            "tenant": TenantId::Platform.to_string(),
            "sequence": { "$gt": 0, "$lt": i64::try_from(first)? },
        };
        let view = self.kind.name;
        let database = self.prepared(&self.placements.platform()).await?;
        let indexed = database.run("create_indexes", |database| async move {
            let documents = database.collection::<bson::Document>(view);
            documents.create_index(by_sequence()).await
        });
        indexed.await.context("creating the index of sequences")?;
        let mut removed = 0;
        loop {
            let which = expired.clone();
            let found = database.run("find", |database| async move {
                let documents = database.collection::<bson::Document>(view);
                let found = documents.find(which).projection(doc! { "_id": 1 });
                let found = found.limit(REMOVAL).await?;
                found.try_collect::<Vec<_>>().await
            });
            let found = found.await.context("looking for expired documents")?;
            if found.is_empty() {
                return Ok(removed);
            }
            let ids = found.iter().filter_map(|document| document.get("_id"));
            let ids: Vec<Bson> = ids.cloned().collect();
            // The sequence again: somebody may have written one of them meanwhile.
            let mut which = expired.clone();
            which.insert("_id", doc! { "$in": ids });
            let deleted = database.run("delete", |database| async move {
                let documents = database.collection::<bson::Document>(view);
                documents.delete_many(which).await
            });
            let deleted = deleted.await.context("removing expired documents")?;
            removed += deleted.deleted_count;
            sleep(PAUSE).await;
        }
    }
}

/// Returns the index that finds expired documents. It is created with the first removal, so that a
/// start with millions of documents does not wait for it.
pub(super) fn by_sequence() -> IndexModel {
    let keys = doc! { "tenant": 1, "sequence": 1 };
    let options = IndexOptions::builder().name("tenant_sequence".to_owned());
    IndexModel::builder()
        .keys(keys)
        .options(options.build())
        .build()
}

#[cfg(test)]
mod tests {
    use async_nats::{ConnectOptions, jetstream};
    use event_store::{Mongo, MongoOptions};
    use events_schema::{project, session};
    use servers::{Layout, Role, Servers};

    use super::*;
    use crate::{
        placements::Placements,
        streams,
        views::{Confirmations, collection::ViewKind},
    };

    #[tokio::test]
    async fn documents_are_removed_whose_last_commit_is_older_than_the_retention() {
        let servers = Servers::ephemeral(Layout::Single).await.unwrap();
        let password = servers.passwords.of(Role::Operator).to_owned();
        let options = ConnectOptions::with_user_and_password("operator".to_owned(), password);
        let options = options.custom_inbox_prefix("_INBOX_operator");
        let client = options
            .connect(servers.nats_url(Role::Operator))
            .await
            .unwrap();
        let context = jetstream::new(client.clone());
        streams::migrate(context.clone(), 1).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..2 {
            sleep(Duration::from_millis(100)).await;
            times.push(Time::from(SystemTime::now()));
            let stored = context.publish("evt.platform.project.x", "{}".into());
            stored.await.unwrap().await.unwrap();
        }
        let options = MongoOptions {
            mongo_url: servers.mongo_url(Role::Workers),
            mongo_database: "ultimate_backend".to_owned(),
            mongo_hosts: Vec::new(),
        };
        let mongo = Mongo::connect(&options, "test").await.unwrap();
        let placements = Placements::connect(&options).await.unwrap();
        let platform = mongo.platform();
        for view in ["session", "project"] {
            let documents = [1_i64, 2, 3].map(|at| {
                let id = at.to_string();
                doc! { "_id": id, "tenant": "platform", "revision": 1_i64, "sequence": at }
            });
            let inserted = platform.run("insert", |database| async move {
                let collection = database.collection::<bson::Document>(view);
                collection.insert_many(documents).await
            });
            inserted.await.unwrap();
        }
        let confirmations = Confirmations::new(placements.clone());
        let [sessions, projects] = [
            ViewKind::of::<session::View>(),
            ViewKind::of::<project::View>(),
        ]
        .map(|kind| {
            let (placements, confirmations) = (placements.clone(), confirmations.clone());
            Collection::new(kind, client.clone(), placements, confirmations)
        });
        let day_ms = 24 * 60 * 60 * 1000;
        let after = |time: Time, days: i64| Time(time.0 + days * day_ms);
        assert_eq!(sessions.remove_expired(times[1]).await.unwrap(), 0);
        // Nothing tells how old they are.
        let far = after(times[1], 500);
        assert_eq!(sessions.remove_expired(far).await.unwrap(), 0);
        let between = after(times[1], 400);
        assert_eq!(projects.remove_expired(between).await.unwrap(), 0);
        assert_eq!(sessions.remove_expired(between).await.unwrap(), 1);
        assert_eq!(sessions.remove_expired(between).await.unwrap(), 0);
    }
}
