//! `workers run`: starts the loops and drains them at the end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use async_nats::{Client, jetstream};
use event_store::{CommandSender, EventLog, GroupCommit, Role};
use events_schema::View;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    aggregate::Aggregate,
    areas::{self, Visitor},
    config::{Config, Loop},
    effect::Effect,
    loops,
    placements::Placements,
    reaction::Reaction,
    streams,
    views::Confirmations,
};

/// How long work in progress may take after the signal to stop: less than the 30 s that containers
/// usually get.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the last messages may take to reach the server.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the configured loops until `shutdown`, then finishes the work in progress.
///
/// # Errors
/// If a server cannot be reached or has weaker settings than needed, or if a loop ends by itself.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = event_store::connect(&config.nats, Role::Workers).await?;
    let placements = Placements::connect(&config.mongo).await?;
    streams::ensure_streams(&jetstream::new(client.clone()), config.replicas).await?;

    let mut start = Start {
        running: JoinSet::new(),
        config: &config,
        sender: CommandSender::start(client.clone()).await?,
        commits: GroupCommit::start(EventLog::new(client.clone())),
        client: client.clone(),
        confirmations: Confirmations::new(placements.clone()),
        placements,
        shutdown: shutdown.clone(),
    };
    let context = jetstream::new(client.clone());
    let keep = streams::keep_transport(context, config.replicas, shutdown.clone());
    let keep = tokio::spawn(keep);
    for area in config.areas.iter().collect::<BTreeSet<_>>() {
        areas::visit(*area, &mut start);
    }
    let mut running = start.running;
    tracing::info!(areas = ?config.areas, loops = ?config.loops, "working");
    let overdue = async {
        shutdown.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        ended = all_ended(&mut running, &shutdown) => ended?,
        () = overdue => {
            tracing::warn!("work is left after {DRAIN:?}; other workers will do it");
        }
    }
    keep.abort();
    // The last acknowledgements must reach the server. While it is away, a flush would wait for
    // ever.
    if timeout(FLUSH, client.flush()).await.is_err() {
        tracing::warn!("NATS is away; returned messages are redelivered after their ack wait");
    }
    Ok(())
}

async fn all_ended(
    running: &mut JoinSet<anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    while let Some(ended) = running.join_next().await {
        ended.context("a loop panicked")??;
        ensure!(shutdown.is_cancelled(), "a loop ended by itself");
    }
    Ok(())
}

/// Starts the loops of the areas that it visits.
struct Start<'a> {
    running: JoinSet<anyhow::Result<()>>,
    config: &'a Config,
    client: Client,
    sender: CommandSender,
    commits: GroupCommit,
    placements: Placements,
    confirmations: Confirmations,
    shutdown: CancellationToken,
}

impl Start<'_> {
    fn runs(&self, kind: Loop) -> bool {
        self.config.loops.contains(&kind)
    }
}

impl Visitor for Start<'_> {
    fn commands<A: Aggregate>(&mut self) {
        if self.runs(Loop::Commands) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            let commits = self.commits.clone();
            self.running
                .spawn(loops::command::run::<A>(client, commits, shutdown));
        }
    }

    fn view<V: View>(&mut self) {
        if self.runs(Loop::Views) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            let (placements, confirmations) = (self.placements.clone(), self.confirmations.clone());
            let run = loops::view::run::<V>(client, placements, confirmations, shutdown);
            self.running.spawn(run);
        }
    }

    fn reaction<R: Reaction>(&mut self) {
        if self.runs(Loop::Reactions) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            let sender = self.sender.clone();
            self.running
                .spawn(loops::reaction::run::<R>(client, sender, shutdown));
        }
    }

    fn effect<E: Effect>(&mut self) {
        if self.runs(Loop::Effects) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            let (effect, sender) = (E::new(self.config), self.sender.clone());
            let run = async move { loops::effect::run(effect?, client, sender, shutdown).await };
            self.running.spawn(run);
        }
    }
}
