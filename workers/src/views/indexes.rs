//! The indexes of a view's collection.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
};

use anyhow::Context as _;
use event_store::{Database, Location};
use events_schema::Index;
use futures_util::future::try_join_all;
use mongodb::{
    IndexModel,
    bson::{self, doc},
    options::IndexOptions,
};

use crate::views::{Collection, expired::by_sequence};

/// The names of our indexes begin with their first field.
const OURS: &str = "tenant";
/// Commands that create indexes at once. MongoDB uses one core for each, and runs three.
const INDEX_BUILDS: usize = 3;

impl Collection {
    /// Returns the database at a location. At the first call, checks that the view was written from
    /// this log, and creates the indexes.
    pub(super) async fn prepared(&self, location: &Location) -> anyhow::Result<Database> {
        let database = self.placements.database(location)?;
        if !self.prepared_at().contains(location) {
            let recorded = self
                .confirmations
                .recorded(location, self.kind.name)
                .await?;
            self.ensure_within_log(format!("database {}", location.database), recorded)
                .await?;
            self.create_indexes(&database).await?;
            self.prepared_at().insert(location.clone());
        }
        Ok(database)
    }

    /// Creates those indexes that do not exist yet.
    pub(super) async fn create_indexes(&self, database: &Database) -> anyhow::Result<()> {
        let (name, indexes) = (self.kind.name, indexes(self.kind.indexes));
        let groups = indexes.chunks(indexes.len().div_ceil(INDEX_BUILDS).max(1));
        let created = groups.map(async |indexes| {
            let indexes = indexes.to_vec();
            let created = database.run("create_indexes", |database| async move {
                let documents = database.collection::<bson::Document>(name);
                documents.create_indexes(indexes).await
            });
            created.await
        });
        let created = try_join_all(created).await;
        created.with_context(|| format!("creating the indexes of {name}"))?;
        Ok(())
    }

    /// Drops the indexes that an earlier release has used.
    pub(super) async fn drop_old_indexes(&self, database: &Database) -> anyhow::Result<()> {
        let collection = self.kind.name;
        let names = database.run("list_indexes", |database| async move {
            let documents = database.collection::<bson::Document>(collection);
            documents.list_index_names().await
        });
        let mut names = names.await.context("listing the indexes")?;
        let mut wanted = indexes(self.kind.indexes);
        wanted.extend(self.kind.retention.map(|_| by_sequence()));
        let wanted = wanted.iter().filter_map(|index| index.options.as_ref());
        let wanted = wanted.filter_map(|options| options.name.as_deref());
        let wanted: HashSet<&str> = wanted.chain(["_id_"]).collect();
        // An operator may have added others.
        names.retain(|name| name.starts_with(OURS) && !wanted.contains(name.as_str()));
        for name in names {
            let dropped = database.run("drop_index", |database| async move {
                let documents = database.collection::<bson::Document>(collection);
                documents.drop_index(name).await
            });
            dropped.await.context("dropping an old index")?;
        }
        Ok(())
    }

    fn prepared_at(&self) -> MutexGuard<'_, HashSet<Location>> {
        self.prepared_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the indexes that a view's collection needs.
fn indexes(of_view: &[Index]) -> Vec<IndexModel> {
    // A move reads all documents of a tenant; everybody else reads only those that show something.
    let all = index(&Index::on(&[]), None);
    let shown = doc! { "view": { "$type": "object" } };
    let shown = of_view.iter().map(|on| index(on, Some(shown.clone())));
    std::iter::once(all).chain(shown).collect()
}

/// Returns an index of the documents that meet the condition. So deleted objects cost a list
/// nothing.
fn index(index: &Index, condition: Option<bson::Document>) -> IndexModel {
    // The tenant comes first, since every read names it; the id last, so that pages have one order.
    let mut keys = doc! { "tenant": 1 };
    for field in index.fields {
        keys.insert(format!("view.{field}"), 1);
    }
    keys.insert("_id", 1);
    let mut name = [&["tenant"], index.fields, &["id"]].concat();
    name.extend(condition.is_some().then_some("shown"));
    let mut options = IndexOptions::builder().name(name.join("_")).build();
    options.partial_filter_expression = condition;
    IndexModel::builder().keys(keys).options(options).build()
}
