//! Reads the views of one tenant, or those of the platform: no view can be read without naming
//! whose data it is.
//!
//! Only workers write views.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use event_store::Mongo;
use events_schema::{
    AccountId, Area, AreaName, Document, Home, Id, Subject, TenantId, TenantKey, View, account,
    subject, tenant,
};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{BoxStream, select_all},
};
use mongodb::{
    Collection, Database,
    bson::{self, Bson, doc},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    backend::filter::{Filter, Sort},
    error::Error,
};

/// How often an awaited view is read, in case its announcement was missed.
const POLL: Duration = Duration::from_millis(50);

/// The views of the platform and of all tenants.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    mongo: Mongo,
    nats: async_nats::Client,
}

/// The views of one tenant, or those of the platform.
#[derive(Clone, Debug)]
pub(crate) struct TenantViews {
    tenant: TenantId,
    database: Database,
    nats: async_nats::Client,
}

/// A view with its id and revision.
#[derive(Clone, Debug)]
pub(crate) struct ViewDocument<V: View> {
    pub(crate) id: <V::Area as Area>::Id,
    /// The revision of the last commit in the view.
    pub(crate) revision: i64,
    pub(crate) view: V,
}

/// The part of a document that is read while the document is awaited.
#[derive(Deserialize)]
struct Revision {
    revision: i64,
}

impl Views {
    /// Reads views from these databases. Workers announce written views over NATS.
    pub(crate) fn new(mongo: Mongo, nats: async_nats::Client) -> Self {
        Self { mongo, nats }
    }

    /// Returns the views that belong to no tenant.
    pub(crate) fn platform(&self) -> TenantViews {
        TenantViews {
            tenant: TenantId::Platform,
            database: self.mongo.platform().clone(),
            nats: self.nats.clone(),
        }
    }

    /// Returns the views of one tenant, in the database that holds them.
    ///
    /// # Errors
    /// If the database's host is not configured here.
    pub(crate) fn of(&self, tenant: &ViewDocument<tenant::View>) -> Result<TenantViews, Error> {
        let id = TenantId::Tenant(tenant.id);
        let location = self.mongo.location(&tenant.view.placement, id);
        Ok(TenantViews {
            tenant: id,
            database: self.mongo.database(&location)?,
            nats: self.nats.clone(),
        })
    }

    /// Checks that MongoDB answers.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        let answer = self.mongo.platform().run_command(doc! { "ping": 1 }).await;
        answer.map(|_| ()).context("pinging MongoDB")
    }

    /// Subscribes to the announcements of views that have changed in a tenant, or that may change
    /// what this account may see there.
    ///
    /// # Errors
    /// If the connection to NATS is closed.
    pub(crate) async fn changes(
        &self,
        tenant: TenantKey,
        account: Option<AccountId>,
    ) -> Result<BoxStream<'static, ()>, Error> {
        let mut subjects = vec![
            subject::views_of_tenant(TenantId::Tenant(tenant)),
            Subject::of_view::<tenant::View>(TenantId::Platform, tenant.0).to_string(),
        ];
        // A password change revokes all sessions.
        let account =
            account.map(|account| Subject::of_view::<account::View>(TenantId::Platform, account.0));
        subjects.extend(account.map(|subject| subject.to_string()));
        let mut all = Vec::new();
        for subject in subjects {
            let changes = self.nats.subscribe(subject).await;
            all.push(changes.context("subscribing to views")?.map(|_| ()));
        }
        Ok(select_all(all).boxed())
    }
}

impl TenantViews {
    /// Returns the tenant that the views belong to, or the platform.
    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Reads a view by its id; `None` if it does not exist or is a tombstone.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn get<V: View>(
        &self,
        id: <V::Area as Area>::Id,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        self.read_one(doc! { "_id": id.to_string() }).await
    }

    /// Reads those of these views that exist, in any order.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn get_all<V: View>(
        &self,
        ids: impl IntoIterator<Item = <V::Area as Area>::Id>,
    ) -> Result<Vec<ViewDocument<V>>, Error> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let limit = ids.len() as i64;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read_all(doc! { "_id": { "$in": ids } }, doc! {}, limit)
            .await
    }

    /// Reads one view that meets a filter.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn find<V: View>(
        &self,
        filter: Filter,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        self.read_one(filter.into_document()).await
    }

    /// Reads the first `limit` views that meet a filter, or the last ones in
    /// reverse order if `from_end`.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn list<V: View>(
        &self,
        filter: Filter,
        sort: Sort,
        from_end: bool,
        limit: i64,
    ) -> Result<Vec<ViewDocument<V>>, Error> {
        let sort = sort.to_document(from_end);
        self.read_all(filter.into_document(), sort, limit).await
    }

    /// Counts the views that meet a filter.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn count<V: View>(&self, filter: Filter) -> Result<u64, Error> {
        let filter = self.own(filter.into_document());
        let views = self.collection::<V, Document<V>>()?;
        let count = views.count_documents(filter).await;
        Ok(count.context("counting views")?)
    }

    /// Waits until a view or its tombstone has reached a revision; false if it has not by the
    /// deadline.
    ///
    /// # Errors
    /// If NATS or MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn wait_for<V: View>(
        &self,
        id: <V::Area as Area>::Id,
        revision: u64,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let revision = i64::try_from(revision).context("reading a revision")?;
        if revision == 0 {
            return Ok(true);
        }
        let reached = timeout_at(deadline, self.reached::<V>(id.into(), revision)).await;
        reached.map_or(Ok(false), |reached| reached.map(|()| true))
    }

    async fn reached<V: View>(&self, id: Id, revision: i64) -> Result<(), Error> {
        let subject = Subject::of_view::<V>(self.tenant, id).to_string();
        let written = self.nats.subscribe(subject).await;
        let mut written = written.context("subscribing to a view")?;
        while self.revision::<V>(id).await? < revision {
            tokio::select! {
                Some(_) = written.next() => {}
                () = sleep(POLL) => {}
            }
        }
        Ok(())
    }

    async fn revision<V: View>(&self, id: Id) -> Result<i64, Error> {
        let filter = doc! { "_id": id.to_string(), "tenant": self.tenant.to_string() };
        let views = self.collection::<V, Revision>()?;
        let only_revision = doc! { "revision": 1 };
        let found = views.find_one(filter).projection(only_revision).await;
        let found = found.context("awaiting a view")?;
        Ok(found.map_or(0, |document| document.revision))
    }

    async fn read_one<V: View>(
        &self,
        filter: bson::Document,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        let views = self.collection::<V, Document<V>>()?;
        let found = views.find_one(self.own(filter)).await;
        Ok(found.context("reading a view")?.and_then(shown))
    }

    async fn read_all<V: View>(
        &self,
        filter: bson::Document,
        sort: bson::Document,
        limit: i64,
    ) -> Result<Vec<ViewDocument<V>>, Error> {
        let views = self.collection::<V, Document<V>>()?;
        let cursor = views.find(self.own(filter)).sort(sort).limit(limit).await;
        let documents = cursor.context("listing views")?.try_collect().await;
        let documents: Vec<Document<V>> = documents.context("listing views")?;
        Ok(documents.into_iter().filter_map(shown).collect())
    }

    fn collection<V: View, T: Send + Sync>(&self) -> Result<Collection<T>, Error> {
        let home = match self.tenant {
            TenantId::Platform => Home::Platform,
            TenantId::Tenant(_) => Home::Tenant,
        };
        if V::HOME == home {
            Ok(self.database.collection(V::NAME))
        } else {
            let area: AreaName = V::Area::NAME;
            Err(anyhow!("the view {} of {area} is not stored here", V::NAME).into())
        }
    }

    /// Restricts a filter to this tenant's documents that show something.
    fn own(&self, mut filter: bson::Document) -> bson::Document {
        filter.insert("tenant", self.tenant.to_string());
        filter.insert("view", doc! { "$ne": Bson::Null });
        filter
    }
}

fn shown<V: View>(document: Document<V>) -> Option<ViewDocument<V>> {
    let Document {
        id, revision, view, ..
    } = document;
    view.map(|view| ViewDocument { id, revision, view })
}
