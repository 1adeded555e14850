//! The program `workers`: a shell around the library.

use std::{
    io::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::bail;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use event_store::{
    MongoOptions, Monitor, NatsOptions, PostureOptions, SecretOptions, Telemetry, program,
};
use events_schema::{AreaName, EmailAddress, HostName, Placement, Time};
use workers::{
    Difference, Recount,
    config::{Config, StreamOptions},
    stripe::StripeOptions,
};

/// Tenants between two lines about the progress of a comparison.
const PROGRESS_EVERY: usize = 100;

/// Stateless workers: decide commands, keep views, react to events, send mail.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until told to stop. Any number of copies may run.
    Run(Box<Config>),

    /// Prepare NATS and MongoDB for this release: streams and indexes. Run it before the workers
    /// start, and at each upgrade. It deletes nothing.
    Migrate {
        #[command(flatten)]
        stores: Stores,
        #[command(flatten)]
        streams: StreamOptions,
    },

    /// Rebuild views from the log while everything runs. Writes only documents that differ.
    RebuildViews {
        #[command(flatten)]
        stores: Stores,
        /// Areas whose views to rebuild.
        #[arg(
            long,
            value_delimiter = ',',
            default_values_t = AreaName::ALL.to_vec(),
            value_parser = AreaName::parse
        )]
        areas: Vec<AreaName>,
        /// Memory in MiB for documents that are not compared yet, measured by their commits: 1 to
        /// 1000000. What does not fit is compared several times, which is slower.
        #[arg(
            long,
            default_value_t = workers::REBUILD_MEMORY_MIB,
            value_parser = value_parser!(u32).range(1..=1_000_000)
        )]
        memory_mib: u32,
    },

    /// Move the views of a tenant to another place while everything runs. Takes a minute and
    /// the time to read the tenant's log.
    MoveTenant {
        #[command(flatten)]
        stores: Stores,
        /// Slug or id of the tenant.
        tenant: String,
        /// Where to keep the views.
        #[arg(long)]
        to: Target,
        /// One of UB_MONGO_HOSTS; by default the platform's host.
        #[arg(long, value_parser = HostName::parse)]
        host: Option<HostName>,
    },

    /// Make an account one of the platform's administrators, who see all tenants and accounts and
    /// can disable accounts; or make it an ordinary account again.
    PlatformAdmin {
        #[command(flatten)]
        stores: Stores,
        /// What to do.
        change: Change,
        /// The verified e-mail address of the account.
        #[arg(value_parser = EmailAddress::parse)]
        email: EmailAddress,
    },

    /// Let webhooks go on whose place in the log is lost, such as after a loss of the bucket
    /// CURSORS. They get the events from a time on.
    ResetWebhooks {
        #[command(flatten)]
        stores: Stores,
        /// The time, such as 2026-11-26T17:00:00Z. Events after it may be sent once more; earlier
        /// ones that were not sent are skipped.
        #[arg(long, value_parser = Time::parse)]
        at: Time,
    },

    /// Seal the secrets of webhooks and inbound sources with the current secret, after a new one was added. Then the
    /// former one need not be in UB_ACCEPTED_SECRETS for their sake.
    Reseal {
        #[command(flatten)]
        stores: Stores,
        #[command(flatten)]
        secrets: SecretOptions,
    },

    /// Compare what tenants pay with Stripe, record what differs, and end the subscriptions of
    /// deleted tenants. Workers do this each night; run it to see the result, or to mend at once.
    /// The exit code is 1 if something differs that is not mended.
    ReconcileBilling {
        #[command(flatten)]
        stores: Stores,
        #[command(flatten)]
        stripe: StripeOptions,
        /// Slug or id of the only tenant to compare.
        #[arg(long)]
        tenant: Option<String>,
        /// Change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print each difference as a line of JSON.
        #[arg(long)]
        json: bool,
    },

    /// Record that the customers of tenants are in the account of UB_STRIPE_KEY from now on. Workers
    /// refuse the key of another account than before. The prices of plans are created there; the
    /// customers of tenants are not moved.
    AdoptStripeAccount {
        #[command(flatten)]
        stores: Stores,
        #[command(flatten)]
        stripe: StripeOptions,
    },

    /// Count again what tenants have used, and compare it with what was stored. The exit code is 1
    /// if something differs. It changes nothing.
    RecountUsage {
        #[command(flatten)]
        stores: Stores,
    },

    /// Drop what MongoDB has of tenants that were deleted long ago. The log keeps their commits.
    /// Run it regularly, such as once a day.
    DropDeleted {
        #[command(flatten)]
        stores: Stores,
        /// Days since the deletion, 0 to 3650.
        #[arg(long, default_value_t = 30, value_parser = value_parser!(u16).range(0..=3650))]
        after_days: u16,
    },
}

/// What every command of an operator needs.
#[derive(Args)]
struct Stores {
    #[command(flatten)]
    nats: NatsOptions,
    #[command(flatten)]
    mongo: MongoOptions,
    #[command(flatten)]
    posture: PostureOptions,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Change {
    /// Make it an administrator.
    Grant,
    /// Make it an ordinary account.
    Revoke,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The platform's database, beside other tenants.
    Shared,
    /// A database of the tenant's own.
    Database,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let is_production = options.command.posture().is_production();
    let telemetry = Telemetry::start("workers", is_production, "info")?;
    let result = execute(options.command).await;
    telemetry.stop().await;
    result
}

impl Command {
    const fn posture(&self) -> &PostureOptions {
        match self {
            Self::Run(config) => &config.posture,
            Self::Migrate { stores, .. }
            | Self::RebuildViews { stores, .. }
            | Self::MoveTenant { stores, .. }
            | Self::PlatformAdmin { stores, .. }
            | Self::ResetWebhooks { stores, .. }
            | Self::Reseal { stores, .. }
            | Self::ReconcileBilling { stores, .. }
            | Self::AdoptStripeAccount { stores, .. }
            | Self::RecountUsage { stores }
            | Self::DropDeleted { stores, .. } => &stores.posture,
        }
    }
}

impl Stores {
    /// Returns how to reach NATS and MongoDB, if that is safe.
    async fn checked(self) -> anyhow::Result<(NatsOptions, MongoOptions)> {
        let checked = self.posture.check(&self.nats, &self.mongo, None, None);
        checked.await.map(|()| (self.nats, self.mongo))
    }
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(config) => run(*config).await,
        Command::Migrate { stores, streams } => migrate(stores, streams.replicas).await,
        Command::RebuildViews {
            stores,
            areas,
            memory_mib,
        } => rebuild_views(stores, &areas, memory_mib).await,
        Command::MoveTenant {
            stores,
            tenant,
            to,
            host,
        } => move_tenant(stores, &tenant, placement(to, host)?).await,
        Command::PlatformAdmin {
            stores,
            change,
            email,
        } => set_platform_admin(stores, change, &email).await,
        Command::ResetWebhooks { stores, at } => reset_webhooks(stores, at).await,
        Command::Reseal { stores, secrets } => reseal(stores, &secrets).await,
        Command::ReconcileBilling {
            stores,
            stripe,
            tenant,
            dry_run,
            json,
        } => {
            let found = if json { print_json } else { log_difference };
            reconcile_billing(stores, &stripe, tenant.as_deref(), dry_run, found).await
        }
        Command::AdoptStripeAccount { stores, stripe } => adopt_account(stores, &stripe).await,
        Command::RecountUsage { stores } => recount_usage(stores).await,
        Command::DropDeleted { stores, after_days } => drop_deleted(stores, after_days).await,
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let monitor = Monitor::bind(config.monitor.monitor_listen).await?;
    workers::run(config, monitor, program::stop_on_signal()?).await
}

async fn migrate(stores: Stores, replicas: usize) -> anyhow::Result<()> {
    let (nats, mongo) = stores.checked().await?;
    workers::migrate(&nats, &mongo, replicas).await?;
    tracing::info!("streams and indexes are as this release needs them");
    Ok(())
}

async fn rebuild_views(stores: Stores, areas: &[AreaName], memory_mib: u32) -> anyhow::Result<()> {
    let (nats, mongo) = stores.checked().await?;
    let progress = |view: &str, step: &str| tracing::info!(view, "{step}");
    workers::rebuild_views(&nats, &mongo, areas, memory_mib, &progress).await
}

async fn move_tenant(stores: Stores, tenant: &str, to: Placement) -> anyhow::Result<()> {
    let (nats, mongo) = stores.checked().await?;
    let progress = |step: &str| tracing::info!(tenant, "{step}");
    workers::move_tenant(&nats, &mongo, tenant, to, &progress).await
}

async fn set_platform_admin(
    stores: Stores,
    change: Change,
    email: &EmailAddress,
) -> anyhow::Result<()> {
    let (nats, mongo) = stores.checked().await?;
    let is_granted = change == Change::Grant;
    workers::set_platform_admin(&nats, &mongo, email, is_granted).await?;
    tracing::info!(%email, is_granted, "the account was changed");
    Ok(())
}

async fn reset_webhooks(stores: Stores, at: Time) -> anyhow::Result<()> {
    let (nats, _) = stores.checked().await?;
    let count = workers::reset_webhooks(&nats, at).await?;
    tracing::info!(count, "webhooks without a place in the log go on");
    Ok(())
}

async fn reseal(stores: Stores, secrets: &SecretOptions) -> anyhow::Result<()> {
    let (nats, _) = stores.checked().await?;
    let count = workers::reseal(&nats, secrets).await?;
    tracing::info!(
        count,
        "the secrets of webhooks are sealed with the current secret"
    );
    Ok(())
}

async fn reconcile_billing(
    stores: Stores,
    stripe: &StripeOptions,
    tenant: Option<&str>,
    is_dry_run: bool,
    found: fn(&Difference),
) -> anyhow::Result<()> {
    let (nats, _) = stores.checked().await?;
    let remaining =
        workers::reconcile_billing(&nats, stripe, tenant, is_dry_run, &found, &log_progress);
    match remaining.await? {
        0 => Ok(()),
        remaining => bail!("{remaining} differences are not mended"),
    }
}

async fn adopt_account(stores: Stores, stripe: &StripeOptions) -> anyhow::Result<()> {
    let (nats, _) = stores.checked().await?;
    let account = workers::adopt_stripe_account(&nats, stripe).await?;
    tracing::info!(id = %account.id, live = account.live, "the account is recorded");
    Ok(())
}

async fn recount_usage(stores: Stores) -> anyhow::Result<()> {
    let (nats, _) = stores.checked().await?;
    let (all, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = |cut: &Recount| {
        all.fetch_add(1, Ordering::Relaxed);
        if !cut.is_right() {
            wrong.fetch_add(1, Ordering::Relaxed);
            tracing::error!(?cut, "another usage was stored");
        }
    };
    workers::recount_usage(&nats, &done).await?;
    match wrong.into_inner() {
        0 => tracing::info!(cuts = all.into_inner(), "all usage was counted right"),
        wrong => bail!("{wrong} cuts are wrong"),
    }
    Ok(())
}

async fn drop_deleted(stores: Stores, after_days: u16) -> anyhow::Result<()> {
    let (nats, mongo) = stores.checked().await?;
    let grace = Duration::from_secs(u64::from(after_days) * 24 * 60 * 60);
    let progress = |tenant, step: &str| tracing::info!(%tenant, "{step}");
    workers::drop_deleted(&nats, &mongo, grace, &progress).await
}

fn print_json(difference: &Difference) {
    let line = serde_json::json!(difference);
    // A reader that closes the output wants no more lines.
    _ = writeln!(io::stdout(), "{line}");
}

fn log_difference(difference: &Difference) {
    let (tenant, kind) = (
        difference.tenant.map(|tenant| tenant.to_string()),
        &difference.kind,
    );
    tracing::warn!(
        tenant,
        ?kind,
        mended = difference.mended,
        "Stripe and the log differ"
    );
}

fn log_progress(done: usize, all: usize) {
    if done.is_multiple_of(PROGRESS_EVERY) || done == all {
        tracing::info!(done, all, "compared");
    }
}

fn placement(to: Target, host: Option<HostName>) -> anyhow::Result<Placement> {
    match (to, host) {
        (Target::Database, host) => Ok(Placement::Database { host }),
        (Target::Shared, None) => Ok(Placement::Shared),
        (Target::Shared, Some(_)) => {
            bail!("--host needs --to database: the shared database is on the platform's host")
        }
    }
}
