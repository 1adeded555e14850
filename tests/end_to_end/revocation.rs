//! How soon what was taken away is refused: at every gateway, and also while workers die.
//!
//! Measured from the moment in which whoever takes it away is answered.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    mail::operator,
    support::{Browser, DEADLINE, Gateway, PASSWORD, eventually, start, text},
};

const ROUNDS: usize = 20;
/// Deaths of a worker, each with four things in its hands: each costs its ack wait of 5 or 10
/// seconds.
const DEATHS: usize = 5;
/// 99 of 100 refusals come within this, and all within [`LATEST`].
const SOON: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(5);

const REMOVE: &str = "mutation($id: ID!) { member { delete(id: $id) { success } } }";
const UPDATE: &str =
    "mutation($input: UpdateMemberInput!) { member { update(input: $input) { role } } }";
const TOKEN: &str = "mutation { accessToken { create(input: { name: \"Robot\", scopes: [\"read_project\"] }) { token accessToken { id } } } }";
const TOKEN_DELETE: &str = "mutation($id: ID!) { accessToken { delete(id: $id) { success } } }";
const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";

/// Asks again and again until it is refused, and a few times more; answers when it was refused
/// first.
fn watch(browser: Browser, query: &'static str, code: &'static str) -> JoinHandle<Instant> {
    tokio::spawn(async move {
        let begun = Instant::now();
        loop {
            let answer = browser.run(query, json!({})).await;
            if !answer["errors"].is_null() {
                assert_eq!(
                    answer["errors"][0]["extensions"]["code"], code,
                    "{query}: {answer}"
                );
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "{query} is not refused");
        }
        let refused = Instant::now();
        for _ in 0..5 {
            assert_eq!(
                browser.run(query, json!({})).await["errors"][0]["extensions"]["code"],
                code,
                "refused for good: {query}"
            );
        }
        refused
    })
}

/// Something to take away, and how it shows that it is gone.
struct Taken {
    by: Browser,
    document: &'static str,
    variables: Value,
    from: Browser,
    query: &'static str,
    code: &'static str,
}

impl Taken {
    /// Takes it away while both gateways are asked; answers both delays.
    async fn away(self, world: &World) -> [Duration; 2] {
        let Self {
            by,
            document,
            variables,
            from,
            query,
            code,
        } = self;
        let at_second = from.at_gateway(&world.second);
        for browser in [&from, &at_second] {
            browser.data(query, json!({})).await;
        }
        let watches = [watch(from, query, code), watch(at_second, query, code)];
        let answered = loop {
            let answer = by.run(document, variables.clone()).await;
            let code = &answer["errors"][0]["extensions"]["code"];
            // Pending is no answer that it is done: whoever hears it says it again, and may hear
            // that there is nothing any more.
            if code != "PENDING" {
                assert!(
                    answer["errors"].is_null() || code == "NOT_FOUND" || code == "UNAUTHENTICATED",
                    "{document}: {answer}"
                );
                break Instant::now();
            }
        };
        let [one, two] = watches;
        [one.await.unwrap(), two.await.unwrap()]
            .map(|refused| refused.saturating_duration_since(answered))
    }
}

/// A backend with two gateways, an owner, and one who is about to lose something.
struct World {
    local: local::Local,
    second: Gateway,
    ada: Browser,
    /// One for each of the ways to lose something.
    people: Vec<Browser>,
}

impl World {
    async fn start() -> Self {
        let local = start().await;
        let second = Gateway::start(&local, |_| {}).await;
        let (ada, mut people) = (Browser::new(&local), Vec::new());
        ada.join("ada@example.com").await;
        ada.found("acme").await;
        for way in 0..WAYS.len() {
            people.push(Browser::new(&local));
            people[way].join(&format!("user{way}@example.com")).await;
        }
        Self {
            ada: ada.inside("acme"),
            people,
            second,
            local,
        }
    }

    /// What is to be taken away in the n-th way; `member` is the one's id, taken in anew where they
    /// were removed.
    async fn prepare(&self, way: usize, member: &mut Option<String>) -> Taken {
        let (person, email) = (&self.people[way], format!("user{way}@example.com"));
        if member.is_none() {
            *member = Some(self.ada.take_in(person, &email, "DEVELOPER").await);
        }
        let (by, from) = (self.ada.clone(), person.inside("acme"));
        match way {
            0 => {
                let variables = json!({ "id": member.take().unwrap() });
                Taken {
                    by,
                    document: REMOVE,
                    variables,
                    from,
                    query: "{ projects { totalCount } }",
                    code: "NOT_FOUND",
                }
            }
            1 => {
                let role = |role: &str| json!({ "input": { "id": member.as_deref().unwrap(), "role": role } });
                by.data(UPDATE, role("DEVELOPER")).await;
                Taken {
                    by,
                    document: UPDATE,
                    variables: role("GUEST"),
                    from,
                    query: "{ members { totalCount } }",
                    code: "FORBIDDEN",
                }
            }
            2 => {
                let made = by.data(TOKEN, json!({})).await;
                let from = Browser::machine(&self.local, &text(&made, "/accessToken/create/token"));
                let variables = json!({ "id": text(&made, "/accessToken/create/accessToken/id") });
                Taken {
                    by,
                    document: TOKEN_DELETE,
                    variables,
                    from,
                    query: "{ projects { totalCount } }",
                    code: "UNAUTHENTICATED",
                }
            }
            _ => {
                let phone = Browser::new(&self.local);
                for browser in [&phone, person] {
                    assert!(browser.login(&email, PASSWORD).await["errors"].is_null());
                }
                Taken {
                    by: phone,
                    document: REVOKE_ALL,
                    variables: json!({}),
                    from,
                    query: "{ profile { id } }",
                    code: "UNAUTHENTICATED",
                }
            }
        }
    }

    async fn stop(self) {
        self.second.stop().await;
        self.local.stop().await.unwrap();
    }

    /// Further workers, with a runtime of their own and these loops alone.
    fn workers(&self, loops: &str) -> tokio::runtime::Runtime {
        let (nats_url, mongo_url) = (
            self.local.servers.nats.url(servers::Role::Workers),
            self.local.gateway().mongo_url.clone(),
        );
        let secret = "k".repeat(32);
        let words = [
            "--nats-url",
            &nats_url,
            "--mongo-url",
            &mongo_url,
            "--smtp-url",
            "smtp://127.0.0.1:1",
            "--secret",
            &secret,
        ];
        let words = words.into_iter().chain(["--loops", loops]);
        let command = <workers::config::Config as clap::Args>::augment_args(
            clap::Command::new("workers").no_binary_name(true),
        );
        let config = <workers::config::Config as clap::FromArgMatches>::from_arg_matches(
            &command.get_matches_from(words),
        )
        .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(workers::run(config, CancellationToken::new()));
        runtime
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what was measured is for people to read: run with `--nocapture`"
)]
fn assert_soon(what: &str, mut delays: Vec<Duration>) {
    delays.sort();
    let (at_99, latest) = (
        delays[(delays.len() * 99).div_ceil(100) - 1],
        delays[delays.len() - 1],
    );
    println!(
        "{what}: {} measured, median {:?}, 99 % {at_99:?}, latest {latest:?}",
        delays.len(),
        delays[delays.len() / 2]
    );
    assert!(at_99 <= SOON && latest <= LATEST, "{what}: {delays:?}");
}

/// The consumers that a mutation goes by.
const CONSUMERS: [(&str, &str); 6] = [
    ("COMMANDS", "commands_member"),
    ("COMMANDS", "commands_access_token"),
    ("COMMANDS", "commands_account"),
    ("EVENTS", "views_member"),
    ("EVENTS", "views_access_token"),
    ("EVENTS", "views_account"),
];

/// How many workers wait for messages, counted once for each of these consumers; and how many
/// messages are in somebody's hands.
async fn consumers(operator: &jetstream::Context) -> (usize, usize) {
    let (mut waiting, mut held) = (0, 0);
    for (stream, consumer) in CONSUMERS {
        let info = operator
            .get_stream(stream)
            .await
            .unwrap()
            .consumer_info(consumer)
            .await
            .unwrap();
        waiting += info.num_waiting;
        held += info.num_ack_pending;
    }
    (waiting, held)
}

const WAYS: [&str; 4] = [
    "a member removed",
    "a role changed",
    "a token deleted",
    "all sessions ended",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_is_refused_at_both_gateways_within_seconds() {
    let world = World::start().await;
    for (way, name) in WAYS.into_iter().enumerate() {
        let (mut delays, mut member) = (Vec::new(), None);
        for _ in 0..ROUNDS {
            delays.extend(world.prepare(way, &mut member).await.away(&world).await);
        }
        assert_soon(name, delays);
    }
    world.stop().await;
}

/// A worker dies with messages in its hands: it stands still, the broker gives it what comes next,
/// then its runtime goes with all its tasks. Nothing is finished, acknowledged or given back, as by
/// SIGSTOP and SIGKILL; what differs is that its connections are closed by us and not by the
/// kernel. One worker lives on, and must do what the dead one had taken.
async fn refused_in_time_while_workers_die(loops: &str) {
    let world = World::start().await;
    let operator = operator(&world.local).await;
    let alone = consumers(&operator).await.0;
    let (mut all, mut members, mut in_hands) = (Vec::new(), [const { None }; WAYS.len()], 0);
    for _ in 0..DEATHS {
        // What the one before held is done, so that only what is measured meets a death.
        eventually("the end of a death", || async {
            consumers(&operator).await == (alone, 0)
        })
        .await;
        let mut taken = Vec::new();
        for (way, member) in members.iter_mut().enumerate() {
            taken.push(world.prepare(way, member).await);
        }
        let doomed = world.workers(loops);
        eventually("a second worker", || async {
            consumers(&operator).await == (alone + CONSUMERS.len() / 2, 0)
        })
        .await;
        let (release, stand_still) = std::sync::mpsc::channel::<()>();
        doomed.spawn(async move { stand_still.recv() });
        // The broker serves whoever has asked first. A worker that hears nothing asks anew after
        // ten seconds, and stands behind the doomed one from then on; nothing at the broker shows
        // when.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let die = async {
            // Each of the four is in its hands, or has gone by it.
            let begun = Instant::now();
            let mut held = 0;
            while held < 3 && begun.elapsed() < Duration::from_secs(1) {
                held = consumers(&operator).await.1;
            }
            doomed.shutdown_background();
            drop(release);
            held
        };
        let (delays, held) = tokio::join!(
            join_all(taken.into_iter().map(|taken| taken.away(&world))),
            die
        );
        all.extend(delays.into_iter().flatten());
        in_hands += held;
    }
    assert!(in_hands > 0, "no worker died with anything in its hands");
    assert_soon(&format!("while workers for {loops} die"), all);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_is_refused_in_time_also_while_those_die_who_decide() {
    refused_in_time_while_workers_die("commands").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_is_refused_in_time_also_while_those_die_who_keep_the_views() {
    refused_in_time_while_workers_die("views").await;
}
