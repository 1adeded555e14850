//! Moves the views of one tenant to another place while everything runs: `workers move-tenant`.
//!
//! Writers come first: after `BeginMove` every view worker writes both places. Once no worker can
//! believe that the old place is the only one, the new one is filled from the log and compared.
//! Then readers change with one commit. Writers write both places until no request can still read
//! the old one; only then it is dropped. At every moment the place that is read is complete.
//!
//! Each step is a commit of the tenant, including the drop of the old place. So the next run goes
//! on where an interrupted one has stopped, and no other move begins before. The run that began
//! last leads the move; the steps of an earlier one are rejected.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use event_store::{
    CommandSender, Database, EventLog, Location, MongoOptions, NatsOptions, Trace, random_id,
};
use events_schema::{
    AreaName, Command, CommandId, Home, Id, Placement, Subject, TenantId, TenantKey, View as _,
    tenant,
};
use futures_util::future::BoxFuture;
use mongodb::bson::{Bson, Document, doc};
use tokio::time::{Instant, sleep};

use crate::{
    decode,
    operate::all_views,
    placements::{KEPT_FOR, Placements},
    views::{AnyView, MAX_WRITE_TIME, PARKED, Scope},
};

/// Every write that began before has ended after this time, with a margin for clocks and
/// scheduling.
const WRITERS_DONE: Duration = KEPT_FOR
    .saturating_add(MAX_WRITE_TIME)
    .saturating_add(Duration::from_secs(1));
/// Every request that began before has ended after this time: the gateway's own limit is 15 s.
const READERS_DONE: Duration = Duration::from_secs(17);
/// How long a command may take to be decided and shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two looks at the tenant's view meanwhile.
const POLL: Duration = Duration::from_millis(50);
/// How often two places are compared before they count as different: documents change meanwhile.
const MAX_COMPARISONS: usize = 20;
/// Bytes of documents that are held in memory while the new place is filled: all of a large tenant.
const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;
/// The pause between two comparisons.
const COMPARISON_PAUSE: Duration = Duration::from_millis(500);

/// Gets the name of each step.
type StepProgress<'a> = &'a (dyn Fn(&str) + Send + Sync);

struct Mover {
    log: EventLog,
    sender: CommandSender,
    placements: Placements,
    tenant: TenantKey,
    /// Identifies this run.
    run: Id,
    /// All views that belong to tenants.
    views: Vec<Box<dyn AnyView>>,
}

/// Moves the views of the tenant with this slug or id; `progress` is called with each step.
///
/// # Errors
/// If the tenant or the host does not exist, a server does not answer, another run has taken over,
/// or the two places still differ at the end. Then the tenant stays where it was.
pub fn move_tenant<'a>(
    nats: &'a NatsOptions,
    mongo: &'a MongoOptions,
    tenant: &'a str,
    to: Placement,
    progress: StepProgress<'a>,
) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(async move {
        let mover = Mover::new(nats, mongo, tenant).await?;
        mover.run(&to, progress).await
    })
}

impl Mover {
    async fn new(nats: &NatsOptions, mongo: &MongoOptions, tenant: &str) -> anyhow::Result<Self> {
        let client = event_store::connect(nats, "workers").await?;
        let placements = Placements::connect(mongo).await?;
        let tenant = find_tenant(&placements, tenant).await?;
        let mut views = all_views::of(AreaName::ALL.iter().copied(), &client, &placements);
        views.retain(|view| view.collection().kind.home == Home::Tenant);
        Ok(Self {
            log: EventLog::new(client.clone()),
            sender: CommandSender::start(client).await?,
            placements,
            tenant,
            run: random_id()?,
            views,
        })
    }

    /// Does what is left of the tenant's last move, and then moves it to this place.
    async fn run(&self, to: &Placement, progress: StepProgress<'_>) -> anyhow::Result<()> {
        let mut now = self.now().await?;
        let places = [&now.moving_to, &now.moved_from, &now.to_drop];
        if places.iter().any(|place| place.is_some()) {
            progress("going on with a move that was begun before");
            let lead = tenant::Command::LeadMove { run: self.run };
            let run = Some(self.run);
            self.send(lead, |view| view.led_by == run).await?;
            now = self.now().await?;
        }
        if let Some(left) = &now.to_drop {
            self.drop_place(left, progress).await?;
            now = self.now().await?;
        }
        // After the switch, the views are read from the target already.
        let target = match &now.moved_from {
            Some(_) => Some(&now.placement),
            None => now.moving_to.as_ref(),
        };
        ensure!(
            target.is_none_or(|target| target == to),
            "the tenant is moving to another place; first run the command with that place"
        );
        if let Some(from) = &now.moved_from {
            return self.finish(from, progress).await;
        }
        if now.placement == *to {
            progress("the tenant is there already");
            return Ok(());
        }
        if now.moving_to.is_none() {
            self.begin(&now.placement, to, progress).await?;
        }
        self.switch(&now.placement, to, progress).await
    }

    /// Begins to write both places.
    async fn begin(
        &self,
        from: &Placement,
        to: &Placement,
        progress: StepProgress<'_>,
    ) -> anyhow::Result<()> {
        let (old, new) = (self.location(from), self.location(to));
        self.ensure_different(&old, &new).await?;
        self.ensure_all_known(&old).await?;
        progress("writing to both places from now on");
        let (to, run) = (to.clone(), self.run);
        let begin = tenant::Command::BeginMove {
            to: to.clone(),
            run,
        };
        self.send(begin, |view| view.moving_to.as_ref() == Some(&to))
            .await
    }

    /// Fills the new place, and changes readers to it.
    async fn switch(
        &self,
        from: &Placement,
        to: &Placement,
        progress: StepProgress<'_>,
    ) -> anyhow::Result<()> {
        sleep(WRITERS_DONE).await;
        progress("filling the new place from the log");
        let (old, new) = (self.location(from), self.location(to));
        if let Err(error) = self.fill(&old, &new, progress).await {
            progress("returning to the old place");
            let abandon = tenant::Command::AbandonMove { run: self.run };
            self.send(abandon, |view| view.moving_to.is_none()).await?;
            self.drop_place(to, progress).await?;
            return Err(error);
        }
        progress("reading from the new place from now on");
        let switch = tenant::Command::SwitchMove { run: self.run };
        self.send(switch, |view| view.placement == *to).await?;
        self.finish(from, progress).await
    }

    /// Stops writing to the old place, once no request can still read it, and drops it.
    async fn finish(&self, from: &Placement, progress: StepProgress<'_>) -> anyhow::Result<()> {
        sleep(READERS_DONE).await;
        progress("writing to the new place only from now on");
        let finish = tenant::Command::FinishMove { run: self.run };
        self.send(finish, |view| view.moved_from.is_none()).await?;
        self.drop_place(from, progress).await?;
        progress("moved");
        Ok(())
    }

    /// Checks that two locations are not one database under two names. A drop of one would be a
    /// drop of the other.
    async fn ensure_different(&self, old: &Location, new: &Location) -> anyhow::Result<()> {
        let mark = format!("moving_{}", self.tenant);
        let (old, new) = (
            self.placements.database(old)?,
            self.placements.database(new)?,
        );
        let mark_document = doc! { "_id": self.run.to_string() };
        let (name, inserted) = (mark.clone(), mark_document.clone());
        let marked = new.run("insert", |new| async move {
            new.collection(&name).insert_one(inserted).await
        });
        marked
            .await
            .context("one of the two places cannot be reached")?;
        let name = mark.clone();
        let found = old.run("find_one", |old| async move {
            let documents = old.collection::<Document>(&name);
            documents.find_one(mark_document).await
        });
        let found = found.await;
        let unmarked = new.run("drop", |new| async move {
            new.collection::<Document>(&mark).drop().await
        });
        unmarked.await?;
        let is_same = found.context("reading the other place")?.is_some();
        ensure!(
            !is_same,
            "the two places are one database: two hosts of UB_MONGO_HOSTS are the same server"
        );
        Ok(())
    }

    /// Refuses to move a tenant that has documents of a view that this program does not know. An
    /// older program would leave them behind and then drop them.
    async fn ensure_all_known(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.placements.database(location)?;
        let of_tenant = doc! { "tenant": self.tenant.to_string() };
        let names = database.run("list_collections", |old| async move {
            old.list_collection_names().await
        });
        for name in names.await? {
            let is_known = self.views.iter().any(|view| view.name() == name);
            // An interrupted rebuild of an earlier release has left this.
            let is_leftover = name.contains('.');
            if is_known || is_leftover || name == PARKED {
                continue;
            }
            let (collection, of_tenant) = (name.clone(), of_tenant.clone());
            let found = database.run("find_one", |old| async move {
                let documents = old.collection::<Document>(&collection);
                documents.find_one(of_tenant).await
            });
            ensure!(
                found.await?.is_none(),
                "this program does not know the view {name}; use the release that the workers run"
            );
        }
        Ok(())
    }

    fn tenant_id(&self) -> TenantId {
        TenantId::Tenant(self.tenant)
    }

    fn location(&self, placement: &Placement) -> Location {
        self.placements.location(placement, self.tenant_id())
    }

    /// Folds the tenant from the log, up to the last commit that the log's leader has. The tenant's
    /// view may lag.
    async fn now(&self) -> anyhow::Result<tenant::View> {
        let subject = Subject::Event {
            tenant: self.tenant_id(),
            area: AreaName::Tenant,
            id: self.tenant.0,
        };
        let subject = subject.to_string();
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let last = self.log.last(&subject).await?;
            let last = last.map_or(0, |last| last.sequence);
            let commits = self.log.read(&subject, 0).await?;
            // A replica may lag.
            let is_complete = commits.last().is_some_and(|read| read.sequence >= last);
            if is_complete {
                let mut now = None;
                for stored in commits {
                    let commit = decode::commit(&stored.subject, &stored.payload)?;
                    now = tenant::View::fold(now, &commit);
                }
                return now.context("the tenant was deleted");
            }
            ensure!(
                Instant::now() < deadline,
                "the log does not show the tenant"
            );
            sleep(POLL).await;
        }
    }

    async fn fill(
        &self,
        old: &Location,
        new: &Location,
        progress: StepProgress<'_>,
    ) -> anyhow::Result<()> {
        for view in &self.views {
            let of_view = |read: u64, _| progress(&format!("{}: {read} commits", view.name()));
            let scope = Scope::Fill(self.tenant_id(), new.clone());
            view.rebuild(scope, MAX_HELD_BYTES, &of_view).await?;
            self.ensure_same(view.as_ref(), old, new).await?;
        }
        Ok(())
    }

    async fn ensure_same(
        &self,
        view: &dyn AnyView,
        old: &Location,
        new: &Location,
    ) -> anyhow::Result<()> {
        for _ in 0..MAX_COMPARISONS {
            if view
                .collection()
                .differences(self.tenant_id(), old, new)
                .await?
                == 0
            {
                return Ok(());
            }
            sleep(COMPARISON_PAUSE).await;
        }
        let name = view.name();
        bail!("the view {name} differs between the two places; rebuild it and try again")
    }

    /// Sends a command to the tenant and waits until its view shows the result.
    async fn send(
        &self,
        payload: tenant::Command,
        is_shown: impl Fn(&tenant::View) -> bool,
    ) -> anyhow::Result<()> {
        let command = Command::<tenant::Area>::by_system(
            CommandId(random_id()?),
            self.tenant_id(),
            self.tenant,
            SystemTime::now().into(),
            payload,
        );
        let deadline = Instant::now() + SHOWN_WITHIN;
        let outcome = self.sender.send(command, Trace::begin(), deadline).await;
        let outcome = outcome.context("sending a command; is a worker running?")?;
        if let Err(rejection) = outcome.revision() {
            bail!("the move was refused: {}", rejection.message);
        }
        while Instant::now() < deadline {
            let filter = doc! { "_id": self.tenant.to_string() };
            let found = self.placements.tenants(filter).await?.pop();
            if found
                .and_then(|(_, view)| view)
                .is_some_and(|view| is_shown(&view))
            {
                return Ok(());
            }
            sleep(POLL).await;
        }
        bail!("the tenant's view does not show the change; is a worker running?")
    }

    /// Drops the tenant's documents at a place that is neither read nor written any more, and
    /// records that.
    async fn drop_place(
        &self,
        place: &Placement,
        progress: StepProgress<'_>,
    ) -> anyhow::Result<()> {
        sleep(WRITERS_DONE).await;
        progress("dropping the place that is no longer used");
        let location = self.location(place);
        match self.placements.database(&location) {
            Ok(database) => self.drop_at(place, &location, &database).await?,
            Err(_) => progress("its host is not configured any more: nothing is dropped there"),
        }
        let record = tenant::Command::RecordPlaceDropped { run: self.run };
        self.send(record, |view| view.to_drop.is_none()).await
    }

    async fn drop_at(
        &self,
        place: &Placement,
        location: &Location,
        database: &Database,
    ) -> anyhow::Result<()> {
        // Its host may have become another name of the present one.
        let present = self.location(&self.now().await?.placement);
        self.ensure_different(&present, location).await?;
        if *location == self.placements.platform() {
            let of_tenant = doc! { "tenant": self.tenant.to_string() };
            for view in &self.views {
                self.ensure_to_drop(place).await?;
                let (name, of_tenant) = (view.name(), of_tenant.clone());
                let dropped = database.run("delete_many", |shared| async move {
                    let documents = shared.collection::<Document>(name);
                    documents.delete_many(of_tenant).await
                });
                dropped.await.context("dropping the tenant's documents")?;
            }
        } else {
            self.ensure_to_drop(place).await?;
            let dropped = database.run("drop_database", |own| async move { own.drop().await });
            dropped.await.context("dropping the tenant's database")?;
        }
        Ok(())
    }

    /// Checks that a place is still to be dropped, by this run.
    async fn ensure_to_drop(&self, place: &Placement) -> anyhow::Result<()> {
        let now = self.now().await?;
        ensure!(
            now.to_drop.as_ref() == Some(place) && now.led_by == Some(self.run),
            "another run of `workers move-tenant` has taken over this move"
        );
        Ok(())
    }
}

async fn find_tenant(placements: &Placements, tenant: &str) -> anyhow::Result<TenantKey> {
    let named = doc! {
        "$or": [{ "_id": tenant }, { "view.slug": tenant }],
        "view": { "$ne": Bson::Null },
    };
    let found = placements.tenants(named).await?.pop();
    let found = found.with_context(|| format!("there is no tenant {tenant}; give its slug or id"));
    Ok(found?.0)
}
