//! Makes an account one of the platform's administrators, or an ordinary one again: `workers
//! platform-admin`.
//!
//! It names an account that has proved its address. A list of addresses would make everybody an
//! administrator who gets hold of one of them later.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use event_store::{CommandSender, Database, MongoOptions, NatsOptions, Trace, random_id};
use events_schema::{
    AccountId, Command, CommandId, EmailAddress, Id, TenantId, View as _,
    account::{self, View},
};
use futures_util::future::BoxFuture;
use mongodb::bson::{Document, doc};
use tokio::time::{Instant, sleep};

use crate::placements::Placements;

/// How long the command may take to be decided and shown.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two looks at the view.
const POLL: Duration = Duration::from_millis(20);

/// Grants or revokes the administration of the platform. Returns when the view shows it.
///
/// # Errors
/// If no account has proved this address, or a server or worker does not answer.
pub fn set_platform_admin<'a>(
    nats: &'a NatsOptions,
    mongo: &'a MongoOptions,
    email: &'a EmailAddress,
    is_granted: bool,
) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(async move {
        let placements = Placements::connect(mongo).await?;
        let database = placements.database(&placements.platform())?;
        let verified = doc! { "view.email": email.as_str(), "view.verified": true };
        let found = find(&database, verified).await?;
        let found = found.with_context(|| {
            format!("no account has the verified address {email}; register it first")
        })?;
        let id = found.get_str("_id")?;
        let account = AccountId(Id::parse(id)?);
        let payload = if is_granted {
            account::Command::GrantPlatformAdmin
        } else {
            account::Command::RevokePlatformAdmin
        };
        let command = Command::<account::Area>::by_system(
            CommandId(random_id()?),
            TenantId::Platform,
            account,
            SystemTime::now().into(),
            payload,
        );
        let client = event_store::connect(nats, "workers").await?;
        let sender = CommandSender::start(client).await?;
        let deadline = Instant::now() + SHOWN_WITHIN;
        let outcome = sender.send(command, Trace::begin(), deadline).await;
        let outcome = outcome.context("sending a command; is a worker running?")?;
        if let Err(rejection) = outcome.revision() {
            bail!("the command was refused: {}", rejection.message);
        }
        // The view leaves the field out if it is false.
        let shown = if is_granted {
            doc! { "$eq": true }
        } else {
            doc! { "$ne": true }
        };
        let shown = doc! { "_id": id, "view.is_platform_admin": shown };
        while Instant::now() < deadline {
            if find(&database, shown.clone()).await?.is_some() {
                return Ok(());
            }
            sleep(POLL).await;
        }
        bail!("the account's view does not show the change; is a worker running?")
    })
}

async fn find(database: &Database, filter: Document) -> anyhow::Result<Option<Document>> {
    let found = database.run("find_one", |database| async move {
        let accounts = database.collection::<Document>(View::NAME);
        accounts.find_one(filter).await
    });
    found.await.context("reading accounts")
}
