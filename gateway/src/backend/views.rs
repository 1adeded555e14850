//! Reads the views of one tenant, or those of the platform: no view can be read without naming
//! whose data it is.
//!
//! Only workers write views.

mod wait;

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use event_store::{Database, Mongo};
use events_schema::{Area, AreaName, Document, Home, Id, TenantId, TenantKey, View, tenant};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{BoxStream, select, unfold},
};
use lru::LruCache;
use mongodb::bson::{self, doc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{
        filter::{Filter, Sort},
        follow::follow,
        memory::{Known, Memory, Topic},
    },
    error::Error,
};

/// How long a read may take, as a request itself. It runs on when its client has gone.
pub(super) const MAX_READ_TIME: Duration = Duration::from_secs(15);
/// Names whose documents are remembered, such as the slugs of tenants.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).unwrap();

/// The views of the platform and of all tenants.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    mongo: Mongo,
    /// Made once, since each request reads some of them.
    platform: TenantViews,
}

/// The views of one tenant, or those of the platform.
#[derive(Clone, Debug)]
pub(crate) struct TenantViews {
    tenant: TenantId,
    database: Database,
    memory: Memory,
    names: Names,
}

/// The documents that were found by a unique name. Each use checks the name again.
type Names = Arc<Mutex<LruCache<(&'static str, TenantId, String), Id>>>;

/// A view with its id and revision.
#[derive(Clone, Debug)]
pub(crate) struct ViewDocument<V: View> {
    pub(crate) id: <V::Area as Area>::Id,
    /// The revision of the last commit in the view.
    pub(crate) revision: i64,
    pub(crate) view: V,
}

impl Views {
    /// Reads views from these databases, and follows their changes over NATS until `closing`.
    pub(crate) fn start(
        mongo: Mongo,
        nats: async_nats::Client,
        closing: CancellationToken,
    ) -> Self {
        let memory = Memory::new();
        let following = follow(nats, memory.clone());
        tokio::spawn(closing.run_until_cancelled_owned(following));
        let platform = TenantViews {
            tenant: TenantId::Platform,
            database: mongo.platform(),
            memory,
            names: Arc::new(Mutex::new(LruCache::new(REMEMBERED))),
        };
        Self { mongo, platform }
    }

    /// Returns the views that belong to no tenant.
    pub(crate) fn platform(&self) -> TenantViews {
        self.platform.clone()
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
            ..self.platform()
        })
    }

    /// Checks that MongoDB answers.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        self.mongo.ping().await?;
        Ok(())
    }

    /// Returns a stream with an item whenever a view has changed in a tenant, or may have.
    pub(crate) fn changes_in(&self, tenant: TenantKey) -> BoxStream<'static, ()> {
        let own = self
            .platform
            .memory
            .listen(Topic::Tenant(TenantId::Tenant(tenant)));
        let tenant = self.platform.changes_of::<tenant::View>(tenant);
        select(changes(own), tenant).boxed()
    }
}

impl TenantViews {
    /// Returns the tenant that the views belong to, or the platform.
    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns a stream with an item whenever this view has changed, or may have.
    pub(crate) fn changes_of<V: View>(&self, id: <V::Area as Area>::Id) -> BoxStream<'static, ()> {
        let key = (V::NAME, self.tenant, id.into());
        changes(self.memory.listen(Topic::Document(key)))
    }

    /// Reads a view by its id; `None` if it does not exist or is a tombstone.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn get<V: View>(
        &self,
        id: <V::Area as Area>::Id,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        Ok(self
            .read([id], false)
            .await?
            .first()
            .and_then(|found| shown(found)))
    }

    /// Reads a view that may be missing for long, by its id; `None` if it does not exist or is a
    /// tombstone. Memory keeps that it does not exist, too.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn get_or_absence<V: View>(
        &self,
        id: <V::Area as Area>::Id,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        Ok(self
            .read([id], true)
            .await?
            .first()
            .and_then(|found| shown(found)))
    }

    /// Reads a view that may be missing for long, by its id, and shares it with memory: a large
    /// view that each request needs is not copied. `None` if there is no document; the document of
    /// a tombstone has no view.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn shared<V: View>(
        &self,
        id: <V::Area as Area>::Id,
    ) -> Result<Option<Arc<Document<V>>>, Error> {
        Ok(self.read([id], true).await?.pop())
    }

    /// Returns a part of a view if the view is in memory and shows something.
    pub(crate) fn kept<V: View, T>(
        &self,
        id: <V::Area as Area>::Id,
        part: impl FnOnce(&V) -> T,
    ) -> Option<T> {
        match self.memory.get::<V>(self.tenant, id) {
            Ok(Known::Document(document)) => document.view.as_ref().map(part),
            Ok(Known::Unknown(_)) | Err(_) => None,
        }
    }

    /// Reads those of these views that exist, in any order.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn get_all<V: View>(
        &self,
        ids: impl IntoIterator<Item = <V::Area as Area>::Id>,
    ) -> Result<Vec<ViewDocument<V>>, Error> {
        let documents = self.read(ids, false).await?;
        Ok(documents.iter().filter_map(|found| shown(found)).collect())
    }

    /// Reads the documents of these views, tombstones included. Absences are kept only where they
    /// are common: otherwise anybody could fill memory with ids of their own making.
    async fn read<V: View>(
        &self,
        ids: impl IntoIterator<Item = <V::Area as Area>::Id>,
        keep_absence: bool,
    ) -> Result<Vec<Arc<Document<V>>>, Error> {
        self.ensure_home::<V>()?;
        let (mut found, mut unknown, mut ticket) = (Vec::new(), Vec::new(), None);
        for id in ids {
            match self.memory.get::<V>(self.tenant, id)? {
                Known::Document(document) => found.push(document),
                Known::Unknown(issued) => {
                    // The first ticket permits the least.
                    ticket = ticket.or(issued);
                    unknown.push(id);
                }
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        // Tombstones, too: memory keeps them.
        let ids: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        let filter = doc! { "_id": { "$in": ids }, "tenant": self.tenant.to_string() };
        let stored = self.read_all::<V>(filter, doc! {}, 0).await?;
        let stored = Vec::from_iter(stored.into_iter().map(Arc::new));
        found.extend(stored.iter().cloned());
        if let Some(ticket) = ticket {
            let by_id = stored.into_iter().map(|document| (document.id, document));
            let mut stored: HashMap<_, _> = by_id.collect();
            for id in unknown {
                let absence = keep_absence.then(|| Arc::new(absence_of(id, self.tenant)));
                if let Some(document) = stored.remove(&id).or(absence) {
                    self.memory.keep(ticket, document);
                }
            }
        }
        Ok(found)
    }

    /// Reads the view that meets a filter; of several, the one that changed last. A name may have
    /// passed to another object while the view of the first is late.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn find<V: View>(
        &self,
        filter: Filter,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        let filter = self.own(filter.into_document());
        let last = doc! { "sequence": -1 };
        let found = self.read_all::<V>(filter, last, 1).await?;
        Ok(found.first().and_then(shown))
    }

    /// Reads the one view with this name. `is_named` tells whether a view has the name, and
    /// `filter` finds it.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn named<V: View>(
        &self,
        name: &str,
        is_named: impl Fn(&V) -> bool,
        filter: Filter,
    ) -> Result<Option<ViewDocument<V>>, Error> {
        let name = (V::NAME, self.tenant, name.to_owned());
        let remembered = self.names.lock();
        let remembered = remembered
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .copied();
        if let Some(id) = remembered
            && let Some(found) = self.get::<V>(id.into()).await?
            && is_named(&found.view)
        {
            return Ok(Some(found));
        }
        let found = self.find::<V>(filter).await?;
        if let Some(found) = &found {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.put(name, found.id.into());
        }
        Ok(found)
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
        let (filter, sort) = (self.own(filter.into_document()), sort.to_document(from_end));
        let documents = self.read_all::<V>(filter, sort, limit).await?;
        let shown = documents.into_iter().filter_map(|document| {
            Some(ViewDocument {
                id: document.id,
                revision: document.revision,
                view: document.view?,
            })
        });
        Ok(shown.collect())
    }

    /// Counts the views that meet a filter.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn count<V: View>(&self, filter: Filter) -> Result<u64, Error> {
        self.ensure_home::<V>()?;
        let filter = self.own(filter.into_document());
        let count = self.database.run("count", |database| async move {
            let views = database.collection::<bson::Document>(V::NAME);
            views.count_documents(filter).max_time(MAX_READ_TIME).await
        });
        Ok(count.await.context("counting views")?)
    }

    /// Counts how many of these objects have a view.
    ///
    /// # Errors
    /// If MongoDB does not answer, or the view is not stored here.
    pub(crate) async fn count_existing<V: View>(
        &self,
        ids: impl IntoIterator<Item = <V::Area as Area>::Id>,
    ) -> Result<u64, Error> {
        self.ensure_home::<V>()?;
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let filter = self.own(doc! { "_id": { "$in": ids } });
        let count = self.database.run("count", |database| async move {
            let views = database.collection::<bson::Document>(V::NAME);
            views.count_documents(filter).max_time(MAX_READ_TIME).await
        });
        Ok(count.await.context("counting views")?)
    }

    async fn read_all<V: View>(
        &self,
        filter: bson::Document,
        sort: bson::Document,
        limit: i64,
    ) -> Result<Vec<Document<V>>, Error> {
        self.ensure_home::<V>()?;
        let documents = self.database.run("find", |database| async move {
            let views = database.collection::<Document<V>>(V::NAME);
            let found = views.find(filter).sort(sort).limit(limit);
            let found = found.max_time(MAX_READ_TIME).await?;
            found.try_collect().await
        });
        Ok(documents.await.context("reading views")?)
    }

    fn ensure_home<V: View>(&self) -> Result<(), Error> {
        let home = match self.tenant {
            TenantId::Platform => Home::Platform,
            TenantId::Tenant(_) => Home::Tenant,
        };
        if V::HOME == home {
            Ok(())
        } else {
            let area: AreaName = V::Area::NAME;
            Err(anyhow!("the view {} of {area} is not stored here", V::NAME).into())
        }
    }

    /// Restricts a filter to this tenant's documents that show something.
    fn own(&self, mut filter: bson::Document) -> bson::Document {
        filter.insert("tenant", self.tenant.to_string());
        // The condition of the indexes.
        filter.insert("view", doc! { "$type": "object" });
        filter
    }
}

fn changes(listener: watch::Receiver<()>) -> BoxStream<'static, ()> {
    let changed = unfold(listener, |mut listener| async move {
        listener.changed().await.ok()?;
        Some(((), listener))
    });
    changed.boxed()
}

/// Returns the document of a view that does not exist.
fn absence_of<V: View>(id: <V::Area as Area>::Id, tenant: TenantId) -> Document<V> {
    Document {
        id,
        tenant,
        revision: 0,
        sequence: 0,
        view: None,
    }
}

fn shown<V: View>(document: &Document<V>) -> Option<ViewDocument<V>> {
    let view = document.view.clone()?;
    Some(ViewDocument {
        id: document.id,
        revision: document.revision,
        view,
    })
}
