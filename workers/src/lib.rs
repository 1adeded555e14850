//! The workers: they decide commands, keep views, react to events and act on the outside world.
//!
//! Stateless: everything they know is in the log, so an operator scales them by starting more of them. The pure
//! rules are in `domain`, `view` and `reaction`; what runs them, in the files named `*_loop.rs`.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, ServerAddr};
use events_schema::Area;
use mongodb::{
    Database,
    options::{ClientOptions, ReadConcern},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub mod aggregate;
mod command_loop;
pub mod config;
mod delivery;
pub mod domain;
mod effect;
mod event_store;
mod history;
mod jetstream;
pub mod reaction;
mod reaction_loop;
pub mod view;
mod view_loop;

use config::{Config, Loop, Mongo, Nats};
use events_schema::{account, email, session};

/// How long MongoDB may be away before a read or write counts as failed, and is tried again by its consumer.
const MONGO_PATIENCE: Duration = Duration::from_secs(5);

/// A NATS server that vanished without a word is noticed after two of these.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long work under way may take at the end: less than the 30 s that containers are commonly given.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the last messages may take to leave.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the loops that were asked for until `shutdown`, then finishes what was begun.
///
/// # Errors
/// At start-up, if a server is away or weaker than needed; later, only if a loop ends by itself.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = connect_nats(&config.nats).await?;
    let database = connect_mongo(&config.mongo).await?;
    jetstream::ensure_streams(&async_nats::jetstream::new(client.clone()), config.replicas).await?;

    let mut loops = JoinSet::new();
    let wanted = |kind: Loop| config.loops.contains(&kind);
    for area in config.areas.iter().collect::<BTreeSet<_>>() {
        let (client, stop) = (client.clone(), shutdown.clone());
        if wanted(Loop::Commands) {
            match area {
                Area::Account => loops.spawn(command_loop::run::<domain::account::Account>(client.clone(), stop.clone())),
                Area::Email => loops.spawn(command_loop::run::<domain::email::Email>(client.clone(), stop.clone())),
                Area::Session => loops.spawn(command_loop::run::<domain::session::Session>(client.clone(), stop.clone())),
            };
        }
        if wanted(Loop::Views) {
            match area {
                Area::Account => spawn_view::<account::View>(&mut loops, &client, &database, &stop).await?,
                Area::Email => spawn_view::<email::View>(&mut loops, &client, &database, &stop).await?,
                Area::Session => spawn_view::<session::View>(&mut loops, &client, &database, &stop).await?,
            }
        }
        if wanted(Loop::Reactions) {
            match area {
                Area::Account => {
                    loops.spawn(reaction_loop::run::<reaction::account_mail::AccountMail>(client.clone(), stop.clone()));
                }
                Area::Email | Area::Session => {}
            }
        }
        if wanted(Loop::Effects) {
            match area {
                Area::Email => {
                    let mail = &config.mail;
                    let links =
                        effect::mail_text::Links { key: mail.secret.clone(), public_url: mail.public_url.trim_end_matches('/').to_owned() };
                    let send =
                        effect::send_mail::SendMail::new(&client, &mail.smtp_url, mail.mail_from.clone(), links, mail.mail_attempts)?;
                    loops.spawn(send.run(stop.clone()));
                }
                Area::Account | Area::Session => {}
            }
        }
    }
    tracing::info!(areas = ?config.areas, loops = ?config.loops, "working");
    let ended = async {
        while let Some(ended) = loops.join_next().await {
            ended.context("a loop panicked")??;
            anyhow::ensure!(shutdown.is_cancelled(), "a loop ended by itself");
        }
        anyhow::Ok(())
    };
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = ended => ended?,
        () = too_late => tracing::warn!("not everything was finished within {DRAIN:?}; the rest goes to other workers"),
    }
    // Without this, what was given back may never leave; while NATS is away it would wait for ever.
    if tokio::time::timeout(FLUSH, client.flush()).await.is_err() {
        tracing::warn!("NATS is away; what was given back comes again after its ack wait");
    }
    Ok(())
}

async fn spawn_view<V: view::View>(
    loops: &mut JoinSet<anyhow::Result<()>>,
    client: &Client,
    database: &Database,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let views = view_loop::Views::<V>::new(client.clone(), database.clone());
    views.ensure_indexes().await?;
    loops.spawn(views.run(stop.clone()));
    Ok(())
}

/// Builds the views of these areas anew from the log; `progress` hears the area, the commits read and the sequence reached.
///
/// # Errors
/// If a server is away; the call may be repeated, and at worst a view lags behind until it is.
pub async fn rebuild_views(nats: &Nats, mongo: &Mongo, areas: &[Area], progress: impl Fn(Area, u64, u64)) -> anyhow::Result<()> {
    let client = connect_nats(nats).await?;
    let database = connect_mongo(mongo).await?;
    for area in areas {
        let progress = |read, sequence| progress(*area, read, sequence);
        match area {
            Area::Account => view_loop::rebuild::<account::View>(client.clone(), &database, progress).await?,
            Area::Email => view_loop::rebuild::<email::View>(client.clone(), &database, progress).await?,
            Area::Session => view_loop::rebuild::<session::View>(client.clone(), &database, progress).await?,
        };
    }
    Ok(())
}

async fn connect_nats(config: &Nats) -> anyhow::Result<Client> {
    let servers = config.nats_url.split(',').map(str::parse).collect::<Result<Vec<ServerAddr>, _>>().context("UB_NATS_URL")?;
    // The client does not take user and password from the address by itself.
    let credentials = servers.first().and_then(|server| Some((server.username()?.to_owned(), server.password()?.to_owned())));
    let (user, password) = credentials.context("UB_NATS_URL must name user and password, as in nats://workers:secret@host:4222")?;
    ConnectOptions::with_user_and_password(user, password)
        .name("workers")
        .custom_inbox_prefix("_INBOX_workers")
        .max_reconnects(None)
        .ping_interval(PING_EVERY)
        .connect(servers)
        .await
        .context("NATS is not reached; see UB_NATS_URL")
}

async fn connect_mongo(config: &Mongo) -> anyhow::Result<Database> {
    let mut options = ClientOptions::parse(&config.mongo_url).await.context("UB_MONGO_URL")?;
    options.app_name = Some("workers".to_owned());
    options.server_selection_timeout = Some(MONGO_PATIENCE);
    // What is read must not be undone by an election, or a write that was rolled back would be taken for done.
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = None;
    let database = mongodb::Client::with_options(options)?.database(&config.mongo_database);
    let hello = database.run_command(mongodb::bson::doc! { "hello": 1 }).await.context("MongoDB is not reached; see UB_MONGO_URL")?;
    anyhow::ensure!(
        hello.contains_key("setName"),
        "MongoDB must run as a replica set (one member will do), or its writes are not majority writes"
    );
    Ok(database)
}
