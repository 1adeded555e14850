//! The consumers, as data: looked up when a loop opens its pull, and created if they are missing.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    Context,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use events_schema::{
    AreaName,
    subject::{self, COMMANDS, EVENTS, INBOX, WEBHOOKS},
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
            concurrency: 400,
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
            concurrency: 512,
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
    /// ours is away, so its deliveries outlast the month after which the stream forgets the event.
    pub fn stripe_hooks() -> Self {
        Self {
            name: "stripe_hooks".to_owned(),
            filters: vec![subject::stripe_hooks()],
            deliveries: 100_000,
            longest_retry: Duration::from_secs(60),
            ..Self::inbound_hooks()
        }
    }

    /// Returns the consumer. It is created or updated only if it is missing or has other settings:
    /// each creation is a proposal to the leader of a cluster, and idle loops ask every few
    /// seconds.
    ///
    /// # Errors
    /// If the server does not answer, or runs the consumer with other settings.
    pub async fn ensure(&self, context: &Context) -> anyhow::Result<PullConsumer> {
        let wanted = self.wanted();
        let present = context.get_consumer_from_stream(&self.name, self.stream);
        if let Ok(present) = present.await
            && is_as_wanted(&wanted, &present)
        {
            return Ok(present);
        }
        let consumer: PullConsumer = context
            .create_consumer_on_stream(wanted.clone(), self.stream)
            .await
            .with_context(|| format!("consumer {} on stream {}", self.name, self.stream))?;
        ensure!(
            is_as_wanted(&wanted, &consumer),
            "consumer {} has other settings than workers/src/loops/consumers.rs asks for",
            self.name
        );
        Ok(consumer)
    }

    fn wanted(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // The loop moves a message to DEAD after `deliveries`. The server must not give up
            // first, since it would do so silently.
            max_deliver: -1,
            max_ack_pending: MAX_ACK_PENDING,
            filter_subject: one(&self.filters),
            filter_subjects: several(&self.filters),
            ..pull::Config::default()
        }
    }
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

fn is_as_wanted(wanted: &pull::Config, consumer: &PullConsumer) -> bool {
    let got = &consumer.cached_info().config;
    got.ack_policy == wanted.ack_policy
        && got.ack_wait == wanted.ack_wait
        && got.max_deliver == wanted.max_deliver
        && got.max_ack_pending == wanted.max_ack_pending
        && got.filter_subject == wanted.filter_subject
        && got.filter_subjects == wanted.filter_subjects
}
