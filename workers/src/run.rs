//! `workers run`: starts the loops and drains them at the end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream;
use event_store::{CommandSender, EventLog, GroupCommit, Monitor, program};
use events_schema::{Area as _, AreaName, View};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    account_members,
    aggregate::Aggregate,
    areas::{self, Visitor},
    billing_mail::BillingMail,
    config::{Config, Loop},
    connection_notices::ConnectionNotices,
    effect::{AreaOf, Effect, Setup},
    inbound,
    loops::{self, Pulls, Shared, consumers::Consumer},
    owner_mail::{self, OwnerMail},
    payments,
    placements::Placements,
    reaction::Reaction,
    readiness::Readiness,
    reconcile::{self, Comparison, Reconciler},
    seats, streams,
    stripe::Stripe,
    usage,
    views::Confirmations,
    webhooks,
};

/// How long work in progress may take after the signal to stop: less than the 30 s that containers
/// usually get.
const DRAIN: Duration = Duration::from_secs(20);
/// The part of [`DRAIN`] that is left to the loops that decide commands.
const DECIDING: Duration = Duration::from_secs(5);
/// How long the last messages may take to reach the server.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the configured loops until `shutdown`, then finishes the work in progress. `monitor`
/// answers supervisors meanwhile.
///
/// The future is boxed, so that the loops are compiled once, here, and not in each program again.
///
/// # Errors
/// If a server cannot be reached or has weaker settings than needed, or if a loop ends by itself.
pub fn run(
    config: Config,
    monitor: Monitor,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run_loops(config, monitor, shutdown))
}

async fn run_loops(
    config: Config,
    monitor: Monitor,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Each webhook to which it sends has a connection.
    program::raise_open_files();
    let (posture, smtp_url) = (&config.posture, Some(config.mail.smtp_url.as_str()));
    let checked = posture.check(&config.nats, &config.mongo, Some(&config.secrets), smtp_url);
    checked.await?;
    posture.warn_of_networks("UB_WEBHOOK_ALLOW", &config.outbound.webhook.webhook_allow);
    let client = event_store::connect(&config.nats, "workers").await?;
    posture.check_nats(&client)?;
    let placements = Placements::connect(&config.mongo).await?;
    posture.check_mongo(placements.mongo()).await?;
    let context = jetstream::new(client.clone());
    let keeps_transport = config.loops.contains(&Loop::Commands);
    let log_may_expire = streams::check(context, config.streams.replicas, keeps_transport).await?;
    let log = EventLog::new(client.clone()).with_expiry(log_may_expire);

    let (pulls, reconnects) = (Pulls::default(), event_store::reconnects(&client));
    let stop_deciding = CancellationToken::new();
    let mut start = Start {
        running: JoinSet::new(),
        deciding: JoinSet::new(),
        stop_deciding: stop_deciding.clone(),
        config: &config,
        sender: CommandSender::start(client.clone()).await?,
        commits: GroupCommit::start(log.clone()),
        log,
        stripe: Stripe::new(&config.stripe)?,
        shared: Shared {
            client: client.clone(),
            pulls: pulls.clone(),
            reconnects: reconnects.clone(),
            shutdown: shutdown.clone(),
        },
        confirmations: Confirmations::new(placements.clone()),
        placements: placements.clone(),
    };
    let context = jetstream::new(client.clone());
    let keep = keeps_transport.then(|| {
        let keep = streams::keep_transport(context, config.streams.replicas, reconnects);
        tokio::spawn(keep)
    });
    let leave = event_store::leave_isolated_server(client.clone(), config.nats.clone());
    let leave = tokio::spawn(leave);
    for area in config.areas.iter().collect::<BTreeSet<_>>() {
        areas::visit(*area, &mut start);
    }
    start.webhooks();
    start.inbound();
    start.payments();
    start.usage();
    start.stripe_hooks();
    start.stripe_account().await?;
    start.nightly_comparison();
    start.seats();
    start.owner_mail(Consumer::billing_mail(), BillingMail);
    start.owner_mail(Consumer::connection_notices(), ConnectionNotices);
    start.account_members();
    let (running, deciding) = (start.running, start.deciding);
    // From here on, all loops are known.
    let readiness = Readiness::new(client.clone(), placements, pulls);
    let check = move || {
        let readiness = readiness.clone();
        async move { readiness.check().await }
    };
    monitor.start(check, shutdown.clone());
    tracing::info!(areas = ?config.areas, loops = ?config.loops, "working");
    drain(running, deciding, &shutdown, &stop_deciding).await?;
    if let Some(keep) = keep {
        keep.abort();
    }
    leave.abort();
    // The last acknowledgements must reach the server. While it is away, a flush would wait for
    // ever.
    if timeout(FLUSH, client.flush()).await.is_err() {
        tracing::warn!("NATS is away; returned messages are redelivered after their ack wait");
    }
    Ok(())
}

/// Returns when all loops have ended: after `shutdown`, and at most the time to drain later. The
/// loops that decide commands end last: the others wait for the outcomes of commands that they have
/// sent, and this may be the only worker.
async fn drain(
    mut running: JoinSet<anyhow::Result<()>>,
    mut deciding: JoinSet<anyhow::Result<()>>,
    shutdown: &CancellationToken,
    stop_deciding: &CancellationToken,
) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.cancelled().await;
        sleep(DRAIN).await;
    };
    let in_order = async {
        let others = async {
            let overdue = async {
                shutdown.cancelled().await;
                sleep(DRAIN - DECIDING).await;
            };
            tokio::select! {
                ended = all_ended(&mut running, shutdown) => ended?,
                // A slow mail must not keep commands from being returned in time.
                () = overdue => {}
            }
            shutdown.cancelled().await;
            anyhow::Ok(())
        };
        tokio::select! {
            ended = others => ended?,
            Some(ended) = deciding.join_next() => {
                ended.context("a loop panicked")??;
                bail!("a loop ended by itself");
            }
        }
        stop_deciding.cancel();
        all_ended(&mut deciding, stop_deciding).await
    };
    tokio::select! {
        ended = in_order => ended?,
        () = overdue => {
            tracing::warn!("work is left after {DRAIN:?}; other workers will do it");
        }
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
    /// The loops that decide commands.
    deciding: JoinSet<anyhow::Result<()>>,
    stop_deciding: CancellationToken,
    config: &'a Config,
    shared: Shared,
    sender: CommandSender,
    commits: GroupCommit,
    log: EventLog,
    /// All loops share its pace: Stripe counts the requests of an account.
    stripe: Option<Stripe>,
    placements: Placements,
    confirmations: Confirmations,
}

impl Start<'_> {
    fn runs(&self, kind: Loop) -> bool {
        self.config.loops.contains(&kind)
    }

    /// Starts the loop that sends events to webhooks. It serves all areas.
    fn webhooks(&mut self) {
        if self.runs(Loop::Webhooks) {
            self.expect(Consumer::wake_ups_of_webhooks());
            let shared = self.expect(Consumer::deliveries_to_webhooks());
            let (config, sender) = (self.config.clone(), self.sender.clone());
            let run = async move { webhooks::run(&config, shared, sender).await };
            self.start(run);
        }
    }

    /// Starts the loop that handles hooks of other services. It serves all areas.
    fn inbound(&mut self) {
        if self.runs(Loop::Inbound) {
            self.expect(Consumer::inbound_replays());
            let shared = self.expect(Consumer::inbound_hooks());
            self.start(inbound::run(shared, self.sender.clone()));
        }
    }

    /// Starts what answers questions about payments, where the key of Stripe is.
    fn payments(&mut self) {
        let stripe = self.stripe.clone();
        if let Some(stripe) = stripe.filter(|_| self.runs(Loop::Effects)) {
            let (shared, sender) = (self.shared.clone(), self.sender.clone());
            let run = async move { payments::run(&stripe, shared, sender).await };
            self.start(run);
        }
    }

    /// Starts what counts usage. It belongs to the effects, since it looks at the clock.
    fn usage(&mut self) {
        if self.runs(Loop::Effects) && self.config.areas.contains(&AreaName::Usage) {
            let interval = Duration::from_secs(self.config.usage.usage_interval_s);
            let (shared, sender) = (self.shared.clone(), self.sender.clone());
            self.start(usage::run(interval, shared, sender));
        }
    }

    /// Starts the loop that counts the seats of tenants. It needs no key of Stripe: the effect
    /// does.
    fn seats(&mut self) {
        if self.runs(Loop::Effects) {
            let shared = self.expect(Consumer::seats());
            self.start(seats::run(shared, self.sender.clone()));
        }
    }

    /// Starts a loop that requests mails to the owners of tenants. It looks for them in the log,
    /// which the loops of reactions may not read.
    fn owner_mail(&mut self, consumer: Consumer, mails: impl OwnerMail + 'static) {
        if self.runs(Loop::Effects) {
            let shared = self.expect(consumer.clone());
            let mails = owner_mail::run(consumer, shared, self.sender.clone(), mails);
            self.start(mails);
        }
    }

    /// Starts the loops that change the members of accounts. They look for tenants and accounts in
    /// the log.
    fn account_members(&mut self) {
        if self.runs(Loop::Effects) {
            self.expect(Consumer::member_accounts());
            let shared = self.expect(Consumer::account_members());
            let sender = self.sender.clone();
            self.start(account_members::run(shared, sender));
        }
    }

    /// Starts the loop that handles events of Stripe, if there is a key. It belongs to those of
    /// other services.
    fn stripe_hooks(&mut self) {
        let stripe = self.stripe.clone();
        if let Some(stripe) = stripe.filter(|_| self.runs(Loop::Inbound)) {
            let shared = self.expect(Consumer::stripe_hooks());
            let (config, sender) = (self.config.clone(), self.sender.clone());
            let run = async move { reconcile::run(&config, stripe, shared, sender).await };
            self.start(run);
        }
    }

    /// Refuses the key of another account than before, and records the first one.
    ///
    /// # Errors
    /// If the key belongs to another account.
    async fn stripe_account(&mut self) -> anyhow::Result<()> {
        if let Some(reconciler) = self.reconciler() {
            reconciler.refuse_other_account().await?;
            if self.runs(Loop::Effects) {
                let shutdown = self.shared.shutdown.clone();
                self.start(reconcile::watch_account(reconciler, shutdown));
            }
        }
        Ok(())
    }

    /// Starts what compares billings with Stripe once a night.
    fn nightly_comparison(&mut self) {
        if let Some(reconciler) = self.reconciler().filter(|_| self.runs(Loop::Effects)) {
            let comparison = Comparison {
                reconciler,
                log: self.log.clone(),
                is_dry_run: false,
            };
            let context = jetstream::new(self.shared.client.clone());
            let interval = Duration::from_secs(self.config.comparison_interval_s.into());
            let shutdown = self.shared.shutdown.clone();
            let run = reconcile::run_nightly(comparison, context, interval, shutdown);
            self.start(run);
        }
    }

    fn reconciler(&self) -> Option<Reconciler> {
        let stripe = self.stripe.clone()?;
        let (log, sender) = (self.log.clone(), self.sender.clone());
        Some(Reconciler::new(stripe, log, sender))
    }

    /// Starts a loop. It is boxed: tokio's task would be compiled again for each type of loop.
    fn start(&mut self, run: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.running.spawn(run.boxed());
    }

    /// Returns what a loop gets. The process is not ready until the loop's consumer has an open
    /// pull.
    fn expect(&self, consumer: Consumer) -> Shared {
        self.shared.pulls.closed(&consumer.name);
        self.shared.clone()
    }
}

impl Visitor for Start<'_> {
    fn commands<A: Aggregate>(&mut self) {
        if self.runs(Loop::Commands) {
            if let Some(internal) = Consumer::internal_commands(A::Area::NAME) {
                self.expect(internal);
            }
            let shared = Shared {
                shutdown: self.stop_deciding.clone(),
                ..self.expect(Consumer::commands(A::Area::NAME))
            };
            let commits = self.commits.clone();
            let run = loops::command::run::<A>(shared, commits);
            self.deciding.spawn(run.boxed());
        }
    }

    fn view<V: View>(&mut self) {
        if self.runs(Loop::Views) {
            let shared = self.expect(Consumer::views(V::NAME, V::Area::NAME));
            let (placements, confirmations) = (self.placements.clone(), self.confirmations.clone());
            let run = loops::view::run::<V>(shared, placements, confirmations);
            self.start(run);
        }
    }

    fn reaction<R: Reaction>(&mut self) {
        if self.runs(Loop::Reactions) {
            let shared = self.expect(Consumer::reactions(R::NAME, R::Source::NAME));
            let sender = self.sender.clone();
            let run = loops::reaction::run::<R>(shared, sender);
            self.start(run);
        }
    }

    fn effect<E: Effect>(&mut self) {
        if !self.runs(Loop::Effects) {
            return;
        }
        let setup = Setup {
            config: self.config,
            stripe: self.stripe.as_ref(),
            log: &self.log,
            sender: &self.sender,
        };
        let effect = match E::new(&setup) {
            Ok(None) => return,
            Ok(Some(effect)) => Ok(effect),
            Err(error) => Err(error),
        };
        let shared = self.expect(Consumer::effects(E::NAME, AreaOf::<E>::NAME));
        let (sender, placements) = (self.sender.clone(), self.placements.clone());
        let run = async move { loops::effect::run(effect?, shared, sender, placements).await };
        self.start(run);
    }
}
