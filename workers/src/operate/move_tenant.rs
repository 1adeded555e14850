//! Moves the views of one tenant to another place, while everything runs: `workers move-tenant`.
//!
//! Writers come first: from `BeginMove` on every view worker writes both places. Once no worker can
//! hold the old place for the only one, the new one is filled from the log and compared; then
//! readers change over with one commit, and lastly, when no request that began before can still be
//! reading there, the old documents are dropped. At every moment the place that is read is
//! complete. Said again after whatever broke it off, the command goes on.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use async_nats::{Client, jetstream};
use events_schema::{
    Actor, Area, Command, CommandId, Id, Place, TenantId, View as _, access_token, member, project,
    role, tenant,
};
use mongodb::bson::doc;
use tokio::time::{Instant, sleep};

use crate::{
    config::{Mongo, Nats},
    connect_nats, event_store,
    loops::delivery,
    loops::view::{BULK_BOUND, Views},
    places::{Location, Places},
    view::Fold,
};

/// Every bulk that was begun before has ended after so long, with a margin for clocks and
/// scheduling.
const WRITERS: Duration = BULK_BOUND.saturating_add(Duration::from_secs(1));
/// Every request that was begun before has ended after so long: the gateway's own limit is 15 s.
const READERS: Duration = Duration::from_secs(17);
/// How long a command may take to be decided and shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How often two places are compared before it is said that they differ: documents change while
/// they are read.
const COMPARISONS: usize = 20;
/// The wait between two comparisons.
const COMPARE_AGAIN: Duration = Duration::from_millis(500);

struct Mover {
    client: Client,
    places: Places,
    tenant: TenantId,
    id: Id,
}

/// Moves the views of the tenant with this slug or id; `progress` hears what is being done.
///
/// # Errors
/// If there is no such tenant or host, if a server is away, or if the two places differ in the end:
/// then everything is as before.
pub async fn move_tenant(
    nats: &Nats,
    mongo: &Mongo,
    tenant: &str,
    to: Place,
    progress: impl Fn(&str),
) -> anyhow::Result<()> {
    let (client, places) = (connect_nats(nats).await?, Places::connect(mongo).await?);
    let named = doc! { "$or": [{ "_id": tenant }, { "view.slug": tenant }], "view": { "$ne": mongodb::bson::Bson::Null } };
    let found = places
        .tenants(named)
        .await?
        .pop()
        .and_then(|(id, view)| Some((id, view?)));
    let (id, view) = found.with_context(|| format!("there is no tenant {tenant}"))?;
    let mover = Mover {
        client,
        places,
        tenant: TenantId::Tenant(id),
        id,
    };
    let (old, new) = (
        mover.places.location(&view.place, mover.tenant),
        mover.places.location(&to, mover.tenant),
    );
    mover
        .places
        .open(&new)?
        .run_command(doc! { "ping": 1 })
        .await
        .context("the new place is not reached")?;
    if view.place == to {
        ensure!(
            view.moving_to.is_none(),
            "the tenant is on its way elsewhere; finish that move first"
        );
        progress("it is there already");
        return Ok(());
    }
    progress("writing both places from now on");
    mover
        .say(tenant::Command::BeginMove { to: to.clone() }, |view| {
            view.moving_to.as_ref() == Some(&to)
        })
        .await?;
    sleep(WRITERS).await;
    progress("filling the new place from the log");
    if let Err(error) = mover.fill(&old, &new, &progress).await {
        progress("going back to the old place");
        mover
            .say(tenant::Command::AbandonMove, |view| {
                view.moving_to.is_none()
            })
            .await?;
        sleep(WRITERS).await;
        mover.drop(&new).await?;
        return Err(error);
    }
    progress("reading the new place from now on");
    mover
        .say(tenant::Command::FinishMove, |view| view.place == to)
        .await?;
    sleep(READERS).await;
    progress("dropping the old place");
    mover.drop(&old).await?;
    progress("moved");
    Ok(())
}

impl Mover {
    async fn fill(
        &self,
        old: &Location,
        new: &Location,
        progress: &impl Fn(&str),
    ) -> anyhow::Result<()> {
        self.fill_view::<access_token::View>(old, new, progress)
            .await?;
        self.fill_view::<member::View>(old, new, progress).await?;
        self.fill_view::<project::View>(old, new, progress).await?;
        self.fill_view::<role::View>(old, new, progress).await
    }

    async fn fill_view<V: Fold>(
        &self,
        old: &Location,
        new: &Location,
        progress: &impl Fn(&str),
    ) -> anyhow::Result<()> {
        let views = Views::<V>::new(self.client.clone(), self.places.clone());
        let said = |read: u64, _| progress(&format!("{}: {read} commits", V::NAME));
        views.fill(self.tenant, new, &said).await?;
        for _ in 0..COMPARISONS {
            if views.differences(self.tenant, old, new).await? == 0 {
                return Ok(());
            }
            sleep(COMPARE_AGAIN).await;
        }
        bail!(
            "{} differs between the two places; rebuild the view and try again",
            V::NAME
        )
    }

    /// Says a command to the tenant and waits until its view shows what came of it.
    async fn say(
        &self,
        payload: tenant::Command,
        shown: impl Fn(&tenant::View) -> bool,
    ) -> anyhow::Result<()> {
        let name = Id::parse(&event_store::random_name()?)?;
        let command = Command {
            id: CommandId(name),
            tenant: self.tenant,
            area: Area::Tenant,
            aggregate: self.id,
            actor: Actor::System,
            time: SystemTime::now().into(),
            expected: None,
            origin: None,
            reply: None,
            payload,
        };
        let subject = command.subject()?.to_string();
        let body = serde_json::to_vec(&command)?;
        delivery::publish(
            &jetstream::new(self.client.clone()),
            None,
            subject,
            body.into(),
        )
        .await
        .context("saying a command")?;
        let deadline = Instant::now() + SHOWN_WITHIN;
        while Instant::now() < deadline {
            let found = self
                .places
                .tenants(doc! { "_id": self.id.to_string() })
                .await?
                .pop();
            if found
                .and_then(|(_, view)| view)
                .is_some_and(|view| shown(&view))
            {
                return Ok(());
            }
            sleep(POLL).await;
        }
        bail!("the tenant does not show what was asked of it; is a worker running?")
    }

    /// Drops the tenant's documents from a place that is no longer read.
    async fn drop(&self, location: &Location) -> anyhow::Result<()> {
        let database = self.places.open(location)?;
        if *location != self.places.platform() {
            return database
                .drop()
                .await
                .context("dropping the tenant's database");
        }
        for name in [
            access_token::View::NAME,
            member::View::NAME,
            project::View::NAME,
            role::View::NAME,
        ] {
            let collection = database.collection::<mongodb::bson::Document>(name);
            collection
                .delete_many(doc! { "tenant": self.tenant.to_string() })
                .await
                .context("dropping the tenant's documents")?;
        }
        Ok(())
    }
}
