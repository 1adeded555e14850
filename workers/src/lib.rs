//! The workers: they decide commands, keep views, react to events and act on the outside world.
//!
//! Stateless: everything they know is in the log, so an operator scales them by starting more of
//! them. The pure rules are in `domain`, `view` and `reaction`; what runs them, in the files named
//! `*_loop.rs`.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, ServerAddr};
use events_schema::{Area, access_token, account, email, member, project, role, session, tenant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub mod aggregate;
pub mod config;
pub mod domain;
mod effect;
mod event_store;
mod loops;
mod operate;
mod places;
pub mod reaction;
pub mod view;

pub use operate::move_tenant::move_tenant;

use config::{Config, Loop, Mongo, Nats};
use places::Places;
use reaction::{account_mail::AccountMail, founder::Founder, member_mail::MemberMail};

/// A NATS server that vanished without a word is noticed after two of these.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long work under way may take at the end: less than the 30 s that containers are commonly
/// given.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the last messages may take to leave.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the loops that were asked for until `shutdown`, then finishes what was begun.
///
/// # Errors
/// At start-up, if a server is away or weaker than needed; later, only if a loop ends by itself.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = connect_nats(&config.nats).await?;
    let places = Places::connect(&config.mongo).await?;
    loops::consumers::ensure_streams(&async_nats::jetstream::new(client.clone()), config.replicas)
        .await?;

    let mut loops = JoinSet::new();
    for area in config.areas.iter().collect::<BTreeSet<_>>() {
        for kind in &config.loops {
            match kind {
                Loop::Commands => run_commands(&mut loops, *area, &client, &shutdown),
                Loop::Views => run_views(&mut loops, *area, &client, &places, &shutdown).await?,
                Loop::Reactions => run_reactions(&mut loops, *area, &client, &shutdown),
                Loop::Effects => run_effects(&mut loops, *area, &client, &config.mail, &shutdown)?,
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

type Loops = JoinSet<anyhow::Result<()>>;

fn run_commands(loops: &mut Loops, area: Area, client: &Client, stop: &CancellationToken) {
    let (client, stop) = (client.clone(), stop.clone());
    match area {
        Area::AccessToken => loops.spawn(loops::command::run::<domain::access_token::AccessToken>(
            client, stop,
        )),
        Area::Account => loops.spawn(loops::command::run::<domain::account::Account>(
            client, stop,
        )),
        Area::Email => loops.spawn(loops::command::run::<domain::email::Email>(client, stop)),
        Area::Member => loops.spawn(loops::command::run::<domain::member::Member>(client, stop)),
        Area::Project => loops.spawn(loops::command::run::<domain::project::Project>(
            client, stop,
        )),
        Area::Role => loops.spawn(loops::command::run::<domain::role::Roles>(client, stop)),
        Area::Session => loops.spawn(loops::command::run::<domain::session::Session>(
            client, stop,
        )),
        Area::Tenant => loops.spawn(loops::command::run::<domain::tenant::Tenant>(client, stop)),
    };
}

async fn run_views(
    loops: &mut Loops,
    area: Area,
    client: &Client,
    places: &Places,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    async fn run<V: view::Fold>(
        loops: &mut Loops,
        client: &Client,
        places: &Places,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let views = loops::view::Views::<V>::new(client.clone(), places.clone());
        views.prepare().await?;
        loops.spawn(views.run(stop.clone()));
        Ok(())
    }
    match area {
        Area::AccessToken => run::<access_token::View>(loops, client, places, stop).await,
        Area::Account => run::<account::View>(loops, client, places, stop).await,
        Area::Email => run::<email::View>(loops, client, places, stop).await,
        Area::Member => {
            run::<member::Membership>(loops, client, places, stop).await?;
            run::<member::View>(loops, client, places, stop).await
        }
        Area::Project => run::<project::View>(loops, client, places, stop).await,
        Area::Role => run::<role::View>(loops, client, places, stop).await,
        Area::Session => run::<session::View>(loops, client, places, stop).await,
        Area::Tenant => run::<tenant::View>(loops, client, places, stop).await,
    }
}

fn run_reactions(loops: &mut Loops, area: Area, client: &Client, stop: &CancellationToken) {
    let (client, stop) = (client.clone(), stop.clone());
    match area {
        Area::Account => _ = loops.spawn(loops::reaction::run::<AccountMail>(client, stop)),
        Area::Member => _ = loops.spawn(loops::reaction::run::<MemberMail>(client, stop)),
        Area::Tenant => _ = loops.spawn(loops::reaction::run::<Founder>(client, stop)),
        Area::AccessToken | Area::Email | Area::Project | Area::Role | Area::Session => {}
    }
}

fn run_effects(
    loops: &mut Loops,
    area: Area,
    client: &Client,
    mail: &config::Mail,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    match area {
        Area::Email => {
            let links = effect::mail_text::Links {
                key: mail.secret.clone(),
                public_url: mail.public_url.trim_end_matches('/').to_owned(),
            };
            let send = effect::send_mail::SendMail::new(
                client,
                &mail.smtp_url,
                mail.mail_from.clone(),
                links,
                mail.mail_attempts,
            )?;
            loops.spawn(send.run(stop.clone()));
        }
        Area::AccessToken
        | Area::Account
        | Area::Member
        | Area::Project
        | Area::Role
        | Area::Session
        | Area::Tenant => {}
    }
    Ok(())
}

/// Builds the views of these areas anew from the log; `progress` hears the view, the commits read
/// and the sequence reached.
///
/// # Errors
/// If a server is away; the call may be repeated, and at worst a view lags behind until it is.
pub async fn rebuild_views(
    nats: &Nats,
    mongo: &Mongo,
    areas: &[Area],
    progress: impl Fn(&str, u64, u64),
) -> anyhow::Result<()> {
    async fn rebuild<V: view::Fold>(
        client: &Client,
        places: &Places,
        progress: &impl Fn(&str, u64, u64),
    ) -> anyhow::Result<u64> {
        loops::view::rebuild::<V>(client.clone(), places, |read, sequence| {
            progress(V::NAME, read, sequence)
        })
        .await
    }
    let (client, places) = (connect_nats(nats).await?, Places::connect(mongo).await?);
    // Tenants first: they say where the views of the other areas live.
    let tenants_first = areas
        .iter()
        .filter(|area| **area == Area::Tenant)
        .chain(areas.iter().filter(|area| **area != Area::Tenant));
    for area in tenants_first {
        match area {
            Area::AccessToken => rebuild::<access_token::View>(&client, &places, &progress).await?,
            Area::Account => rebuild::<account::View>(&client, &places, &progress).await?,
            Area::Email => rebuild::<email::View>(&client, &places, &progress).await?,
            Area::Member => {
                rebuild::<member::Membership>(&client, &places, &progress).await?;
                rebuild::<member::View>(&client, &places, &progress).await?
            }
            Area::Project => rebuild::<project::View>(&client, &places, &progress).await?,
            Area::Role => rebuild::<role::View>(&client, &places, &progress).await?,
            Area::Session => rebuild::<session::View>(&client, &places, &progress).await?,
            Area::Tenant => rebuild::<tenant::View>(&client, &places, &progress).await?,
        };
    }
    Ok(())
}

async fn connect_nats(config: &Nats) -> anyhow::Result<Client> {
    let servers = config
        .nats_url
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<ServerAddr>, _>>()
        .context("UB_NATS_URL")?;
    // The client does not take user and password from the address by itself.
    let credentials = servers
        .first()
        .and_then(|server| Some((server.username()?.to_owned(), server.password()?.to_owned())));
    let (user, password) = credentials.context(
        "UB_NATS_URL must name user and password, as in nats://workers:secret@host:4222",
    )?;
    ConnectOptions::with_user_and_password(user, password)
        .name("workers")
        .custom_inbox_prefix("_INBOX_workers")
        .max_reconnects(None)
        .ping_interval(PING_EVERY)
        .connect(servers)
        .await
        .context("NATS is not reached; see UB_NATS_URL")
}
