//! On a real server: which process looks, and how often.

use std::time::Instant;

use async_nats::{ConnectOptions, jetstream};
use event_store::random_id;
use events_schema::subject::{WEBHOOKS, cursor_key, wake_up};
use servers::{Layout, Role, Servers};
use tokio::task::JoinSet;

use super::*;
use crate::streams;

/// Far more than any step takes.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the processes of a test look.
const OFTEN: Duration = Duration::from_millis(200);

/// A server with its streams, and an operator's connection to it.
struct World {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    _servers: Servers,
}

impl World {
    async fn start() -> Self {
        let servers = Servers::ephemeral(Layout::Single).await.unwrap();
        let password = servers.passwords.of(Role::Operator).to_owned();
        let options = ConnectOptions::with_user_and_password("operator".to_owned(), password);
        let options = options.custom_inbox_prefix("_INBOX_operator");
        let client = options.connect(servers.nats_url(Role::Operator)).await;
        let client = client.unwrap();
        let jetstream = jetstream::new(client.clone());
        streams::migrate(jetstream.clone(), 1).await.unwrap();
        Self {
            client,
            jetstream,
            _servers: servers,
        }
    }

    /// The cursors as one process sees them.
    fn cursors(&self) -> Cursors {
        Cursors::new(self.jetstream.clone())
    }

    /// What looks in one process.
    fn sweep(&self) -> Sweep {
        let log = EventLog::new(self.client.clone());
        let wakes = Wakes::new(self.jetstream.clone());
        let sweep = Sweep::new(log.clone(), Tenants::new(log), self.cursors(), wakes);
        Sweep {
            every: OFTEN,
            ..sweep
        }
    }
}

fn later(time: Time, seconds: i64) -> Time {
    Time(time.0 + 1_000 * seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_looks_in_an_interval_and_any_one_after_it() {
    const MINUTE: Duration = Duration::from_secs(60);
    let world = World::start().await;
    let processes = [(); 8].map(|()| world.cursors());
    for round in 0..10 {
        let at = later(now(), 3_600 * round);
        let mut beginning = JoinSet::new();
        for cursors in processes.clone() {
            beginning.spawn(async move { cursors.begin_sweep(at, MINUTE).await });
        }
        let begun = beginning.join_all().await.into_iter().map(Result::unwrap);
        assert_eq!(begun.filter(|begun| *begun).count(), 1, "round {round}");
        for (seconds, begins) in [(59, false), (60, true), (119, false)] {
            let begun = processes[0].begin_sweep(later(at, seconds), MINUTE).await;
            assert_eq!(begun.unwrap(), begins, "{seconds} s later");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_look_again_and_again_but_one_at_a_time() {
    const WAKE_UPS: u64 = 20;
    let world = World::start().await;
    let tenant = TenantKey(random_id().unwrap());
    let webhook = WebhookId(random_id().unwrap());
    let put = world
        .cursors()
        .put(tenant, webhook, &Cursor::after(0), 0)
        .await;
    assert!(put.unwrap().is_some(), "{}", cursor_key(tenant, webhook));
    let event = format!("evt.{tenant}.project.{tenant}");
    let stored = world.jetstream.publish(event, "{}".into()).await.unwrap();
    stored.await.unwrap();
    let began = Instant::now();
    let (_reconnects, watch) = watch::channel(0);
    let mut sweeping = JoinSet::new();
    for _ in 0..3 {
        sweeping.spawn(world.sweep().run(watch.clone()));
    }

    // Nobody serves the webhook, so each look wakes it.
    let mut wake_ups = world.jetstream.get_stream(WEBHOOKS).await.unwrap();
    let woken = loop {
        let woken = wake_ups.info().await.unwrap().state.last_sequence;
        if woken >= WAKE_UPS {
            break woken;
        }
        assert!(began.elapsed() < DEADLINE, "only {woken} wake-ups");
    };
    let subject = wake_up(tenant, webhook);
    let last = wake_ups.get_last_raw_message_by_subject(&subject).await;
    assert!(last.unwrap().sequence >= woken);
    // Each process looks once at its start. After that, only one of them does in a time.
    let looks = 3 + began.elapsed().as_millis() / (OFTEN * 4 / 5).as_millis() + 1;
    assert!(u128::from(woken) <= looks, "{woken} instead of {looks}");
}
