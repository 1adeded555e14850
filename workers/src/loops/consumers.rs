//! The consumers, as data: looked up when a loop opens its pull, and created if they are missing.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    Context, ErrorCode,
    consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, pull},
    stream::{ConsumerError, ConsumerErrorKind},
};
use events_schema::{
    AreaName,
    subject::{self, COMMANDS, EVENTS, INBOX, STRIPE, WEBHOOKS},
};

/// Messages of one consumer that may be in progress at once, across all workers.
const MAX_ACK_PENDING: i64 = 10_000;

/// A durable pull consumer with its retry policy.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// The loop's name: the second token in the subjects of its dead letters.
    pub worker_loop: &'static str,
    pub stream: &'static str,
    /// The durable name.
    pub name: String,
    /// The subjects that it reads.
    pub filters: Vec<String>,
    /// A message that is not settled within this time is redelivered, to any worker.
    pub ack_wait: Duration,
    /// After this many deliveries a message goes to DEAD.
    pub deliveries: i64,
    /// The wait before the second delivery. It doubles with each further one.
    pub first_retry: Duration,
    /// The longest wait between two deliveries.
    pub longest_retry: Duration,
    /// Messages that one process handles at once.
    pub concurrency: usize,
    /// Messages that one process fetches at once: few where one takes long, since the ack wait runs
    /// from the delivery.
    pub prefetch: usize,
}

impl Consumer {
    /// Returns the consumer of the commands of an area that clients send. Its ack wait of five
    /// seconds is a thousand times what a command takes, and short enough that another worker soon
    /// gets the commands of a killed one.
    pub fn commands(area: AreaName) -> Self {
        Self {
            worker_loop: "commands",
            stream: COMMANDS,
            name: format!("commands_{area}"),
            filters: vec![subject::commands_of(area)],
            ack_wait: Duration::from_secs(5),
            deliveries: 20,
            first_retry: Duration::from_millis(100),
            longest_retry: Duration::from_secs(5),
            concurrency: 128,
            prefetch: 64,
        }
    }

    /// Returns the consumer of the commands of an area that only workers and operators send; `None`
    /// if it has none.
    pub fn internal_commands(area: AreaName) -> Option<Self> {
        (!area.internal().is_empty()).then(|| Self {
            name: format!("internal_commands_{area}"),
            filters: vec![subject::internal_commands_of(area)],
            ..Self::commands(area)
        })
    }

    /// Returns the consumer of the commits that a view is folded from. Its deliveries outlast hours
    /// without MongoDB, and the wait between them stays short, so that views are current soon after
    /// its return. The ack wait is short, too: until another worker gets the commits of a killed
    /// one, a revoked permission may still be used.
    pub fn views(name: &str, area: AreaName) -> Self {
        Self {
            worker_loop: "views",
            stream: EVENTS,
            name: format!("views_{name}"),
            filters: vec![subject::events_of(area)],
            ack_wait: Duration::from_secs(2),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 400,
            prefetch: 200,
        }
    }

    /// Returns the consumer of the commits that a reaction reads.
    pub fn reactions(name: &str, source: AreaName) -> Self {
        Self {
            worker_loop: "reactions",
            stream: EVENTS,
            name: format!("reactions_{name}"),
            filters: vec![subject::events_of(source)],
            ack_wait: Duration::from_secs(10),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 64,
            prefetch: 32,
        }
    }

    /// Returns the consumer of the commits that request an effect. The loop only adds them to the
    /// outbox.
    pub fn effects(name: &str, source: AreaName) -> Self {
        Self {
            worker_loop: "effects",
            stream: EVENTS,
            name: format!("effects_{name}"),
            filters: vec![subject::events_of(source)],
            ack_wait: Duration::from_secs(60),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 64,
            prefetch: 32,
        }
    }

    /// Returns the consumer of the commits that the owners of tenants learn of by mail.
    pub fn billing_mail() -> Self {
        Self::effects("billing_mail", AreaName::Billing)
    }

    /// Returns the consumer of the commits of connections that the owners of tenants learn of by
    /// mail.
    pub fn connection_notices() -> Self {
        Self::effects("connection_notices", AreaName::Connection)
    }

    /// Returns the consumer of the commits of accounts that their members follow. One that fails is
    /// delivered until it succeeds: a tenant may lack an owner for long.
    pub fn account_members() -> Self {
        Self {
            deliveries: i64::MAX,
            longest_retry: Duration::from_secs(60),
            ..Self::effects("account_members", AreaName::Account)
        }
    }

    /// Returns the consumer of the commits of members that are compared with their accounts.
    pub fn member_accounts() -> Self {
        Self {
            name: "effects_member_accounts".to_owned(),
            filters: vec![subject::events_of(AreaName::Member)],
            ..Self::account_members()
        }
    }

    /// Returns the consumer of the commits that may change how many seats a tenant pays for.
    pub fn seats() -> Self {
        let areas = [AreaName::Member, AreaName::Billing];
        Self {
            filters: areas.map(subject::events_of).to_vec(),
            ..Self::effects("seats", AreaName::Member)
        }
    }

    /// Returns the consumer of the commits that wake webhooks. A new one reads the whole log, which
    /// wakes each webhook once more.
    pub fn wake_ups_of_webhooks() -> Self {
        let areas = AreaName::ALL.iter().copied();
        let concerns = |area: &AreaName| {
            let areas = [AreaName::Webhook, AreaName::Tenant];
            areas.contains(area) || !area.event_types().is_empty()
        };
        Self {
            worker_loop: "webhooks",
            stream: EVENTS,
            name: "webhooks_wake".to_owned(),
            filters: areas.filter(concerns).map(subject::events_of).collect(),
            ack_wait: Duration::from_secs(10),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 800,
            prefetch: 400,
        }
    }

    /// Returns the consumer of wake-ups. A session holds its wake-up as long as it lasts, and says
    /// so in time. It is the way in which wake-ups of a killed worker come to others.
    pub fn deliveries_to_webhooks() -> Self {
        Self {
            worker_loop: "webhooks",
            stream: WEBHOOKS,
            name: "webhooks_deliver".to_owned(),
            filters: vec![subject::wake_ups()],
            ack_wait: Duration::from_secs(10),
            deliveries: i64::MAX,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(1),
            concurrency: 1_024,
            prefetch: 64,
        }
    }

    /// Returns the consumer of hooks that other services have sent.
    pub fn inbound_hooks() -> Self {
        Self {
            worker_loop: "inbound",
            stream: INBOX,
            name: "inbound_hooks".to_owned(),
            filters: vec![subject::hooks()],
            ack_wait: Duration::from_secs(30),
            deliveries: 10_000,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            concurrency: 64,
            prefetch: 16,
        }
    }

    /// Returns the consumer of the commits that ask for a hook to be handled once more.
    pub fn inbound_replays() -> Self {
        Self {
            name: "inbound_replays".to_owned(),
            stream: EVENTS,
            filters: vec![subject::events_of(AreaName::InboundSource)],
            ..Self::inbound_hooks()
        }
    }

    /// Returns the consumer of Stripe's events. A delivery fails only while Stripe or a server of
    /// ours is away, so its deliveries outlast the week after which the stream forgets the event.
    pub fn stripe_hooks() -> Self {
        Self {
            stream: STRIPE,
            name: "stripe_hooks".to_owned(),
            filters: vec![subject::stripe_hooks()],
            deliveries: 100_000,
            longest_retry: Duration::from_secs(60),
            ..Self::inbound_hooks()
        }
    }

    /// Returns the consumer for its loop. Only the loop that decides commands creates its own: a
    /// consumer can deliver to any subject, also to those of the log.
    ///
    /// # Errors
    /// If the server does not answer, or runs the consumer with other settings, or if others create
    /// it and have not yet.
    pub async fn open(&self, context: &Context) -> anyhow::Result<PullConsumer> {
        if self.stream == COMMANDS {
            return self.ensure(context).await;
        }
        let present = self.present(context).await?;
        let present = present.filter(|present| self.suits(&present.cached_info().config));
        present.with_context(|| {
            format!(
                "consumer {} is missing or has other settings; a worker that decides commands \
                 creates it, and so does `workers migrate`",
                self.name
            )
        })
    }

    /// Returns the consumer. It is created or updated only if it is missing or has other settings:
    /// each creation is a proposal to the leader of a cluster, and idle loops ask every few
    /// seconds.
    ///
    /// # Errors
    /// If the server does not answer, or runs the consumer with other settings.
    pub async fn ensure(&self, context: &Context) -> anyhow::Result<PullConsumer> {
        let present = self.present(context).await?;
        let mut filters = self.filters.clone();
        if let Some(present) = present {
            let config = &present.cached_info().config;
            if self.suits(config) {
                return Ok(present);
            }
            // A worker of a newer release may have added them.
            let added = filters_of(config).filter(|filter| !self.filters.contains(filter));
            filters.extend(added.cloned());
        }
        let consumer: PullConsumer = context
            .create_consumer_on_stream(self.config(&filters), self.stream)
            .await
            .with_context(|| format!("consumer {} on stream {}", self.name, self.stream))?;
        ensure!(
            self.suits(&consumer.cached_info().config),
            "consumer {} has other settings than workers/src/loops/consumers.rs asks for",
            self.name
        );
        Ok(consumer)
    }

    /// Looks the consumer up; `None` if it is missing.
    async fn present(&self, context: &Context) -> anyhow::Result<Option<PullConsumer>> {
        let present = context.get_consumer_from_stream(&self.name, self.stream);
        match present.await {
            Ok(present) => Ok(Some(present)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking up consumer {}", self.name)),
        }
    }

    fn config(&self, filters: &[String]) -> pull::Config {
        pull::Config {
            durable_name: Some(self.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // The loop moves a message to DEAD after `deliveries`. The server must not give up
            // first, since it would do so silently.
            max_deliver: -1,
            max_ack_pending: MAX_ACK_PENDING,
            filter_subject: one(filters),
            filter_subjects: several(filters),
            ..pull::Config::default()
        }
    }

    /// Whether a consumer with these settings does what the loop needs. It may read more: a worker
    /// of a newer release knows more areas.
    fn suits(&self, got: &consumer::Config) -> bool {
        let wanted = self.config(&self.filters);
        let read: Vec<&String> = filters_of(got).collect();
        got.ack_policy == wanted.ack_policy
            && got.ack_wait == wanted.ack_wait
            && got.max_deliver == wanted.max_deliver
            && got.max_ack_pending == wanted.max_ack_pending
            && self.filters.iter().all(|filter| read.contains(&filter))
    }
}

fn is_not_found(error: &ConsumerError) -> bool {
    let ConsumerErrorKind::JetStream(error) = error.kind() else {
        return false;
    };
    error.error_code() == ErrorCode::CONSUMER_NOT_FOUND
}

/// The server has a field for a single filter, and another one for several.
fn one(filters: &[String]) -> String {
    match filters {
        [filter] => filter.clone(),
        _ => String::new(),
    }
}

fn several(filters: &[String]) -> Vec<String> {
    match filters {
        [_] => Vec::new(),
        several => several.to_vec(),
    }
}

/// Returns the filters in both fields.
fn filters_of(config: &consumer::Config) -> impl Iterator<Item = &String> {
    let one = Some(&config.filter_subject).filter(|filter| !filter.is_empty());
    one.into_iter().chain(&config.filter_subjects)
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::consumer::IntoConsumerConfig as _;

    use super::*;

    fn reading(filters: &[&str]) -> Consumer {
        Consumer {
            filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
            ..Consumer::wake_ups_of_webhooks()
        }
    }

    #[test]
    fn a_consumer_that_reads_more_suits_an_older_worker_and_no_newer_one() {
        let one = reading(&["evt.*.a.*"]);
        let (older, newer) = (
            reading(&["evt.*.a.*", "evt.*.b.*"]),
            reading(&["evt.*.c.*", "evt.*.b.*", "evt.*.a.*"]),
        );
        let config = |runs: &Consumer| runs.config(&runs.filters).into_consumer_config();
        for (needs, runs, expected) in [
            (&older, &older, true),
            (&older, &newer, true),
            (&one, &newer, true),
            (&one, &one, true),
            (&newer, &older, false),
            (&older, &one, false),
        ] {
            assert_eq!(needs.suits(&config(runs)), expected, "{needs:?} {runs:?}");
        }
        let mut slower = config(&newer);
        slower.ack_wait *= 2;
        assert!(!older.suits(&slower));
    }
}
