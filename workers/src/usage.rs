//! Counts what tenants use, each hour.
//!
//! Each worker looks at the same time, and none has a lease: the domain stores a cut only if it
//! begins where the last one has ended. A worker that finds a usage counted in this hour passes it
//! over, and begins with another tenant than the others. So they seldom count the same, and a
//! killed one leaves nothing behind. After a day without workers, the next cut is a day long.

pub(crate) mod counters;
mod tenants;
mod terms;

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use event_store::{CommandSender, EventLog, Stored, Trace, random_bytes, random_id};
use events_schema::{
    Command, CommandId, Commit, Meter, TenantId, TenantKey, Time, UsageId,
    plan::CATALOGUE,
    subject::events_of_tenant_in,
    usage::{self, Position},
};
use tokio::time::sleep;

use self::{
    counters::LogCounter,
    tenants::Tenants,
    terms::{Terms, terms},
};
use crate::{
    decode,
    domain::{billing::Billing, plan::Catalogue, usage::Usage},
    loops::{
        Shared,
        history::{History, subject_of},
        retry::is_outage,
    },
    record::record,
};

/// Tenants whose positions are read at once.
const AT_ONCE: usize = 100;
const AGAIN_AFTER_OUTAGE: Duration = Duration::from_secs(10);
/// Workers begin within this part of an interval.
const SPREAD: u32 = 20;

/// Counts usage until `shutdown`, once in each interval.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(
    interval: Duration,
    shared: Shared,
    sender: CommandSender,
) -> anyhow::Result<()> {
    let mut counting = Counting {
        log: EventLog::new(shared.client),
        sender,
        interval,
        counters: counters::all(),
        tenants: Tenants::default(),
        catalogue: History::default(),
    };
    let counted = shared.shutdown.run_until_cancelled(counting.run()).await;
    counted.unwrap_or(Ok(()))
}

struct Counting {
    log: EventLog,
    sender: CommandSender,
    interval: Duration,
    counters: Vec<LogCounter>,
    tenants: Tenants,
    catalogue: History<Catalogue>,
}

impl Counting {
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let wait = match self.look().await {
                Ok(()) => self.until_next()?,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "counting usage failed");
                    AGAIN_AFTER_OUTAGE.min(self.interval)
                }
            };
            sleep(wait).await;
        }
    }

    /// Counts for all tenants, once.
    async fn look(&mut self) -> anyhow::Result<()> {
        let subject = subject_of::<Catalogue>(TenantId::Platform, CATALOGUE);
        self.catalogue.refresh(&self.log, &subject).await?;
        let has_meters = self.catalogue.state.plans().has_meters();
        if !has_meters {
            return Ok(());
        }
        self.tenants.refresh(&self.log).await?;
        let order = self.tenants.from(TenantKey(random_id()?));
        for tenants in order.chunks(AT_ONCE) {
            let last = self.last_commits(tenants).await?;
            for tenant in tenants {
                match self.count_of(*tenant, &last).await {
                    Err(error) if is_outage(&error) => return Err(error),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::error!(%tenant, error, "the usage of a tenant is not counted");
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Reads the last commit of each usage of these tenants, by its subject. A replica that lags
    /// behind leads to a cut that is refused.
    async fn last_commits(&self, tenants: &[TenantKey]) -> anyhow::Result<HashMap<String, Stored>> {
        let of_tenant = |tenant: &TenantKey| {
            let meters = self.counters.iter().map(|counter| counter.meter);
            let subjects = meters.map(|meter| subject_of_usage(*tenant, meter));
            subjects.collect::<Vec<_>>()
        };
        let subjects = tenants.iter().flat_map(of_tenant).collect();
        let last = self.log.last_of_each(subjects).await?.into_iter();
        Ok(last.map(|last| (last.subject.clone(), last)).collect())
    }

    /// Counts what a tenant has used, with each meter of its plan.
    async fn count_of(
        &self,
        tenant: TenantKey,
        last: &HashMap<String, Stored>,
    ) -> anyhow::Result<()> {
        let now = Time::from(SystemTime::now());
        let terms = self.terms(tenant, now).await?;
        for counter in &self.counters {
            let last = last.get(&subject_of_usage(tenant, counter.meter));
            let position = last.map(position_after).transpose()?;
            let is_counted = position
                .as_ref()
                .is_some_and(|position| self.number_of(position.at) >= self.number_of(now));
            let payer = terms.payer_of(counter.meter);
            let was_paid = position.as_ref().is_some_and(|it| it.payer.is_some());
            if !is_counted && (terms.meters.contains(&counter.meter) || was_paid) {
                self.cut(tenant, *counter, position, payer).await?;
            }
        }
        Ok(())
    }

    async fn terms(&self, tenant: TenantKey, now: Time) -> anyhow::Result<Terms> {
        let mut billing = History::<Billing>::default();
        let subject = subject_of::<Billing>(TenantId::Tenant(tenant), tenant);
        billing.refresh(&self.log, &subject).await?;
        let catalogue = self.catalogue.state.plans();
        Ok(terms(catalogue, billing.state.view(), now))
    }

    /// Counts all that follows the position, and stores it.
    async fn cut(
        &self,
        tenant: TenantKey,
        counter: LogCounter,
        position: Option<Position>,
        payer: Option<usage::Payer>,
    ) -> anyhow::Result<()> {
        let of_tenant = TenantId::Tenant(tenant);
        let from = position.as_ref().map_or(0, |position| position.to);
        let filter = events_of_tenant_in(of_tenant, counter.area);
        let last = self.log.last(&filter).await?;
        let to = last.map_or(from, |last| last.sequence.max(from));
        let is_same = position.is_some_and(|before| before.payer == payer);
        if to == from && is_same {
            return Ok(());
        }
        let quantity = counter.count(&self.log, of_tenant, from, to).await?;
        let cut = usage::Command::Cut {
            meter: counter.meter,
            from,
            to,
            quantity,
            payer,
        };
        let command = Command::<usage::Area>::by_system(
            CommandId(random_id()?),
            of_tenant,
            UsageId::of(tenant, counter.meter),
            SystemTime::now().into(),
            cut,
        );
        self.send(command).await
    }

    async fn send(&self, command: Command<usage::Area>) -> anyhow::Result<()> {
        // After a conflict, another worker was first.
        let recorded = record(&self.sender, command, Trace::begin()).await;
        recorded.context("storing what was counted").map(drop)
    }

    /// Returns the number of the interval that a time is in.
    fn number_of(&self, time: Time) -> u128 {
        let since_epoch = time.since(Time(0));
        since_epoch.as_millis() / self.interval.as_millis().max(1)
    }

    /// Returns the wait until the next interval, and a little longer, by chance.
    fn until_next(&self) -> anyhow::Result<Duration> {
        let now = Time::from(SystemTime::now()).since(Time(0)).as_nanos();
        let interval = self.interval.as_nanos().max(1);
        let rest = u64::try_from(interval - now % interval)?;
        let chance = u32::from(u16::from_be_bytes(random_bytes()?));
        let spread = self.interval / SPREAD * chance / u32::from(u16::MAX);
        Ok(Duration::from_nanos(rest) + spread)
    }
}

fn subject_of_usage(tenant: TenantKey, meter: Meter) -> String {
    subject_of::<Usage>(TenantId::Tenant(tenant), UsageId::of(tenant, meter))
}

/// Returns where counting stands after a commit.
fn position_after(stored: &Stored) -> anyhow::Result<Position> {
    let commit: Commit<usage::Area> = decode::commit(&stored.subject, &stored.payload)?;
    let last = commit.events.last().context("a commit has no event")?;
    Ok(last.position().clone())
}
