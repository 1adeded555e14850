//! `workers run`: starts the loops and drains them at the end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use async_nats::{Client, jetstream};
use event_store::Role;
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
        client: client.clone(),
        placements,
        shutdown: shutdown.clone(),
    };
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
    placements: Placements,
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
            self.running
                .spawn(loops::command::run::<A>(client, shutdown));
        }
    }

    fn view<V: View>(&mut self) {
        if self.runs(Loop::Views) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            let placements = self.placements.clone();
            self.running
                .spawn(loops::view::run::<V>(client, placements, shutdown));
        }
    }

    fn reaction<R: Reaction>(&mut self) {
        if self.runs(Loop::Reactions) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            self.running
                .spawn(loops::reaction::run::<R>(client, shutdown));
        }
    }

    fn effect<E: Effect>(&mut self) {
        if self.runs(Loop::Effects) {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            let effect = E::new(self.config);
            let run = async move { loops::effect::run(effect?, client, shutdown).await };
            self.running.spawn(run);
        }
    }
}
