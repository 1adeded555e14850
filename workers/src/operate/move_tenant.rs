//! Moves the views of one tenant to another place while everything runs: `workers move-tenant`.
//!
//! Writers come first: after `BeginMove` every view worker writes both places. Once no worker can
//! believe that the old place is the only one, the new one is filled from the log and compared.
//! Then readers change with one commit. Writers write both places until no request can still read
//! the old one; only then it is dropped. At every moment the place that is read is complete. The
//! next run continues an interrupted one.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use event_store::{CommandSender, Location, MongoOptions, NatsOptions, Role, Trace, random_id};
use events_schema::{AreaName, Command, CommandId, Home, Placement, TenantId, TenantKey, tenant};
use mongodb::bson::{Bson, Document, doc};
use tokio::time::{Instant, sleep};

use crate::{
    operate::any_view::{self, AnyView},
    placements::{KEPT_FOR, Placements},
    views::{MAX_WRITE_TIME, Scope},
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
/// Bytes of documents that are held in memory while the new place is filled.
const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;
/// The pause between two comparisons.
const COMPARISON_PAUSE: Duration = Duration::from_millis(500);

struct Mover {
    sender: CommandSender,
    placements: Placements,
    tenant: TenantKey,
    /// All views that belong to tenants.
    views: Vec<Box<dyn AnyView>>,
}

/// Moves the views of the tenant with this slug or id; `progress` is called with each step.
///
/// # Errors
/// If the tenant or the host does not exist, a server does not answer, or the two places still
/// differ at the end. Then the tenant stays where it was.
pub async fn move_tenant(
    nats: &NatsOptions,
    mongo: &MongoOptions,
    tenant: &str,
    to: Placement,
    progress: impl Fn(&str) + Send + Sync,
) -> anyhow::Result<()> {
    let client = event_store::connect(nats, Role::Workers).await?;
    let placements = Placements::connect(mongo).await?;
    let (key, view) = find(&placements, tenant).await?;
    let mut views = any_view::of(AreaName::ALL.iter().copied(), &client, &placements);
    views.retain(|view| view.home() == Home::Tenant);
    let mover = Mover {
        sender: CommandSender::start(client).await?,
        placements,
        tenant: key,
        views,
    };
    let target = match (&view.moving_to, &view.moved_from) {
        (None, Some(_)) => Some(&view.placement),
        (target, _) => target.as_ref(),
    };
    ensure!(
        target.is_none_or(|target| *target == to),
        "the tenant is moving to another place; finish that move first"
    );
    if view.placement == to {
        if let Some(from) = &view.moved_from {
            return mover.finish(from, &progress).await;
        }
        progress("the tenant is there already");
        return Ok(());
    }
    mover.run(&view.placement, &to, &progress).await
}

async fn find(placements: &Placements, tenant: &str) -> anyhow::Result<(TenantKey, tenant::View)> {
    let named = doc! {
        "$or": [{ "_id": tenant }, { "view.slug": tenant }],
        "view": { "$ne": Bson::Null },
    };
    let mut found = placements.tenants(named).await?.into_iter();
    let found = found.find_map(|(key, view)| Some((key, view?)));
    found.with_context(|| format!("there is no tenant {tenant}; give its slug or id"))
}

impl Mover {
    async fn run(
        &self,
        from: &Placement,
        to: &Placement,
        progress: &(impl Fn(&str) + Send + Sync),
    ) -> anyhow::Result<()> {
        let old = self.placements.location(from, self.tenant_id());
        let new = self.placements.location(to, self.tenant_id());
        let database = self.placements.database(&new)?;
        let pinged = database.run("ping", |new| async move {
            new.run_command(doc! { "ping": 1 }).await
        });
        pinged.await.context("the new place cannot be reached")?;

        self.ensure_all_known(&old).await?;
        progress("writing to both places from now on");
        let begin = tenant::Command::BeginMove { to: to.clone() };
        self.send(begin, |view| view.moving_to.as_ref() == Some(to))
            .await?;
        sleep(WRITERS_DONE).await;

        progress("filling the new place from the log");
        if let Err(error) = self.fill(&old, &new, progress).await {
            progress("returning to the old place");
            let abandon = tenant::Command::AbandonMove;
            self.send(abandon, |view| view.moving_to.is_none()).await?;
            sleep(WRITERS_DONE).await;
            self.drop(&new).await?;
            return Err(error);
        }

        progress("reading from the new place from now on");
        let switch = tenant::Command::SwitchMove;
        self.send(switch, |view| view.placement == *to).await?;
        self.finish(from, progress).await
    }

    /// Stops writing to the old place, once no request can still read it, and drops it.
    async fn finish(
        &self,
        from: &Placement,
        progress: &(impl Fn(&str) + Send + Sync),
    ) -> anyhow::Result<()> {
        sleep(READERS_DONE).await;
        progress("writing to the new place only from now on");
        let finish = tenant::Command::FinishMove;
        self.send(finish, |view| view.moved_from.is_none()).await?;
        sleep(WRITERS_DONE).await;

        progress("dropping the old place");
        let old = self.placements.location(from, self.tenant_id());
        self.drop(&old).await?;
        progress("moved");
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
            let is_rebuilding = name.contains('.');
            if is_known || is_rebuilding {
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

    async fn fill(
        &self,
        old: &Location,
        new: &Location,
        progress: &(impl Fn(&str) + Send + Sync),
    ) -> anyhow::Result<()> {
        for view in &self.views {
            let of_view = |read: u64, _| progress(&format!("{}: {read} commits", view.name()));
            let scope = Scope::Tenant(self.tenant_id(), new.clone());
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
            if view.differences(self.tenant_id(), old, new).await? == 0 {
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

    /// Drops the tenant's documents at a place that is no longer read.
    async fn drop(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.placements.database(location)?;
        if *location != self.placements.platform() {
            let dropped = database.run("drop_database", |own| async move { own.drop().await });
            return dropped.await.context("dropping the tenant's database");
        }
        let of_tenant = doc! { "tenant": self.tenant.to_string() };
        for view in &self.views {
            let (name, of_tenant) = (view.name(), of_tenant.clone());
            let dropped = database.run("delete_many", |shared| async move {
                let documents = shared.collection::<Document>(name);
                documents.delete_many(of_tenant).await
            });
            dropped.await.context("dropping the tenant's documents")?;
        }
        Ok(())
    }
}
