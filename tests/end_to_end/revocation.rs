//! How soon a revoked right is refused, at every gateway and while workers die.
//!
//! Each delay is measured from the answer to the revocation.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use event_store::Monitor;
use futures_util::future::join_all;
use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Browser, CREATE_TOKEN, DEADLINE, DELETE_MEMBER, DELETE_TOKEN, Gateway, PASSWORD, PLATFORM,
    PROJECTS, UPDATE_MEMBER, code_of, eventually, member_role, mongo, operator, scopes, start,
    succeeded, text,
};

const ROUNDS: usize = 20;
/// Deaths of a worker while it holds four messages. Each costs an ack wait of 5 or 10 seconds.
const DEATHS: usize = 5;
/// 99 of 100 refusals come within this, and all within [`LATEST`].
const SOON: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(5);
/// How often a right is used while it is revoked; short beside the delays that are allowed.
const POLL: Duration = Duration::from_millis(5);
/// Longer than a worker's pull stays silent before the worker opens another, and so stands behind
/// the pulls of other workers. Nothing at the broker shows when that has happened.
const PULL_SILENCE: Duration = Duration::from_secs(12);

const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";
const MEMBERS: &str = "{ members { totalCount } }";
const PROFILE: &str = "{ profile { id firstname } }";

const WAYS: [&str; 4] = [
    "a member is removed",
    "a role is changed",
    "a token is deleted",
    "all sessions are ended",
];

/// A right that is about to be revoked.
struct Right {
    /// Who revokes the right, and how.
    revoker: Browser,
    document: &'static str,
    variables: Value,
    /// The holder of the right, the query that needs it, and the code of the refusal.
    holder: Browser,
    query: &'static str,
    code: &'static str,
}

impl Right {
    /// Uses the right until it is refused, and a few times more; returns when it was refused first.
    fn watch(&self, holder: Browser) -> JoinHandle<Instant> {
        let (query, code) = (self.query, self.code);
        tokio::spawn(async move {
            let start = Instant::now();
            let mut answer = holder.gql(query, ()).await;
            while succeeded(&answer) {
                assert!(start.elapsed() < DEADLINE, "{query} is not refused");
                sleep(POLL).await;
                answer = holder.gql(query, ()).await;
            }
            let refused = Instant::now();
            for _ in 0..5 {
                assert_eq!(code_of(&answer), code, "{query}: {answer}");
                answer = holder.gql(query, ()).await;
            }
            refused
        })
    }

    /// Revokes the right while it is used at both gateways; returns both delays.
    async fn revoke(self, second: &Gateway) -> [Duration; 2] {
        let holders = [self.holder.clone(), self.holder.at_gateway(second)];
        for holder in &holders {
            holder.data(self.query, ()).await;
        }
        let [one, two] = holders.map(|holder| self.watch(holder));
        loop {
            let answer = self.revoker.gql(self.document, &self.variables).await;
            let code = code_of(&answer);
            // The change may not be made yet, so the client repeats it. It may then find nothing
            // left.
            if code == "PENDING" {
                continue;
            }
            let gone = code == "NOT_FOUND" || code == "UNAUTHENTICATED";
            assert!(succeeded(&answer) || gone, "{}: {answer}", self.document);
            break;
        }
        let answered = Instant::now();
        [one.await.unwrap(), two.await.unwrap()]
            .map(|refused| refused.saturating_duration_since(answered))
    }
}

/// A backend with two gateways, an owner, and a person for each way to lose a right.
struct World {
    backend: Local,
    second: Gateway,
    owner: Browser,
    people: Vec<Browser>,
}

fn email(way: usize) -> String {
    format!("user{way}@example.com")
}

impl World {
    async fn start() -> Self {
        let backend = start().await;
        let second = Gateway::start(&backend, |_| {}).await;
        let owner = Browser::signed_up(&backend, "ada@example.com").await;
        owner.create_tenant("acme").await;
        let emails: Vec<_> = (0..WAYS.len()).map(email).collect();
        let people = emails
            .iter()
            .map(|email| Browser::signed_up(&backend, email));
        let people = join_all(people).await;
        Self {
            owner: owner.in_tenant("acme"),
            people,
            second,
            backend,
        }
    }

    /// Grants the right that is revoked in the n-th way. `member` is the person's id; a removed
    /// person is added again.
    async fn grant(&self, way: usize, member: &mut Option<String>) -> Right {
        let person = &self.people[way];
        if member.is_none() {
            *member = Some(
                self.owner
                    .add_member(person, &email(way), "DEVELOPER")
                    .await,
            );
        }
        let (revoker, holder) = (self.owner.clone(), person.in_tenant("acme"));
        match way {
            0 => Right {
                revoker,
                document: DELETE_MEMBER,
                variables: json!({ "id": member.take() }),
                holder,
                query: PROJECTS,
                code: "NOT_FOUND",
            },
            1 => {
                let id = member.as_deref().unwrap();
                revoker
                    .data(UPDATE_MEMBER, member_role(id, "DEVELOPER"))
                    .await;
                Right {
                    revoker,
                    document: UPDATE_MEMBER,
                    variables: member_role(id, "GUEST"),
                    holder,
                    query: MEMBERS,
                    code: "FORBIDDEN",
                }
            }
            2 => {
                let created = revoker.data(CREATE_TOKEN, scopes(&["read_project"])).await;
                let token = text(&created, "/accessToken/create/token");
                let id = text(&created, "/accessToken/create/accessToken/id");
                Right {
                    revoker,
                    document: DELETE_TOKEN,
                    variables: json!({ "id": id }),
                    holder: Browser::machine(&self.backend, &token),
                    query: PROJECTS,
                    code: "UNAUTHENTICATED",
                }
            }
            _ => {
                let phone = Browser::new(&self.backend);
                for browser in [&phone, person] {
                    browser.log_in(&email(way)).await;
                }
                Right {
                    revoker: phone,
                    document: REVOKE_ALL,
                    variables: Value::Null,
                    holder,
                    query: PROFILE,
                    code: "UNAUTHENTICATED",
                }
            }
        }
    }

    /// Further workers that run these loops, in a runtime of their own.
    fn spawn_workers(&self, loops: &str) -> tokio::runtime::Runtime {
        let nats_url = self.backend.servers.nats_url(servers::Role::Workers);
        let secret = "k".repeat(32);
        let arguments = [
            ["--nats-url", &nats_url],
            ["--mongo-url", &self.backend.gateway().mongo.mongo_url],
            ["--smtp-url", "smtp://127.0.0.1:1"],
            ["--secret", &secret],
            ["--loops", loops],
        ];
        let command = clap::Command::new("workers").no_binary_name(true);
        let command = <workers::config::Config as clap::Args>::augment_args(command);
        let matches = command.get_matches_from(arguments.as_flattened());
        let config = <workers::config::Config as clap::FromArgMatches>::from_arg_matches(&matches);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(workers::run(
            config.unwrap(),
            Monitor::default(),
            CancellationToken::new(),
        ));
        runtime
    }
}

fn assert_soon(what: &str, mut delays: Vec<Duration>) {
    delays.sort();
    let at_99 = delays[(delays.len() * 99).div_ceil(100) - 1];
    let (median, latest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!(
        "{what}: median {median:?}, 99 % {at_99:?}, latest {latest:?} of {}",
        delays.len()
    );
    assert!(at_99 <= SOON && latest <= LATEST, "{what}: {delays:?}");
}

async fn assert_refused_soon(way: usize) {
    let world = World::start().await;
    let (mut delays, mut member) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        delays.extend(
            world
                .grant(way, &mut member)
                .await
                .revoke(&world.second)
                .await,
        );
    }
    assert_soon(WAYS[way], delays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_refused_by_every_gateway_within_seconds() {
    assert_refused_soon(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_member_is_refused_by_every_gateway_within_seconds() {
    assert_refused_soon(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_token_is_refused_by_every_gateway_within_seconds() {
    assert_refused_soon(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_refused_by_every_gateway_within_seconds() {
    assert_refused_soon(3).await;
}

/// The consumers that these mutations pass.
const CONSUMERS: [(&str, &str); 6] = [
    ("COMMANDS", "commands_member"),
    ("COMMANDS", "commands_access_token"),
    ("COMMANDS", "commands_account"),
    ("EVENTS", "views_member"),
    ("EVENTS", "views_access_token"),
    ("EVENTS", "views_account"),
];

/// How many pulls wait for messages at these consumers, and how many messages are held.
async fn pulls_and_held(operator: &jetstream::Context) -> (usize, usize) {
    let (mut pulls, mut held) = (0, 0);
    for (stream, consumer) in CONSUMERS {
        let stream = operator.get_stream(stream).await.unwrap();
        let info = stream.consumer_info(consumer).await.unwrap();
        pulls += info.num_waiting;
        held += info.num_ack_pending;
    }
    (pulls, held)
}

/// A worker dies while it holds messages: it stands still, the broker gives it the next messages,
/// then its runtime goes with all its tasks. Nothing is finished, acknowledged or given back, as by
/// SIGSTOP and SIGKILL; the difference is that we close its connections and not the kernel. One
/// worker lives on, and must do the work of the dead one.
async fn assert_refused_soon_while_workers_die(loops: &str) {
    let world = World::start().await;
    let operator = operator(&world.backend).await;
    let alone = pulls_and_held(&operator).await.0;
    let (mut delays, mut members, mut held) = (Vec::new(), [const { None }; WAYS.len()], 0);
    for _ in 0..DEATHS {
        // The messages of the death before are done, so that only those that follow meet a death.
        eventually("the end of a death", || async {
            pulls_and_held(&operator).await == (alone, 0)
        })
        .await;
        let mut grants = Vec::new();
        for (way, member) in members.iter_mut().enumerate() {
            grants.push(world.grant(way, member).await);
        }
        let doomed = world.spawn_workers(loops);
        eventually("a second worker", || async {
            pulls_and_held(&operator).await == (alone + CONSUMERS.len() / 2, 0)
        })
        .await;
        let (release, stand_still) = std::sync::mpsc::channel::<()>();
        doomed.spawn(async move { stand_still.recv() });
        sleep(PULL_SILENCE).await;
        let die = async {
            // Each of the four messages is held by it, or has gone elsewhere.
            let (start, mut held) = (Instant::now(), 0);
            while held < 3 && start.elapsed() < Duration::from_secs(1) {
                held = pulls_and_held(&operator).await.1;
            }
            doomed.shutdown_background();
            drop(release);
            held
        };
        let revocations = grants.into_iter().map(|grant| grant.revoke(&world.second));
        let (revoked, held_by_it) = tokio::join!(join_all(revocations), die);
        delays.extend(revoked.into_iter().flatten());
        held += held_by_it;
    }
    assert!(held > 0, "no worker died while it held a message");
    assert_soon(&format!("while workers for {loops} die"), delays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_is_refused_within_seconds_while_command_workers_die() {
    assert_refused_soon_while_workers_die("commands").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_is_refused_within_seconds_while_view_workers_die() {
    assert_refused_soon_while_workers_die("views").await;
}

/// A wire to a server. While it is frozen, nothing passes and nothing is closed, as in a network
/// that loses all packets.
async fn freezable(port: u16) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let (frozen, is_frozen) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let (client, server) = (client.into_split(), server.into_split());
            tokio::spawn(pass(client.0, server.1, is_frozen.clone()));
            tokio::spawn(pass(server.0, client.1, is_frozen.clone()));
        }
    });
    (own_port, frozen)
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let thawed = frozen.wait_for(|frozen| !frozen).await.is_ok();
        if !thawed || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_hears_of_no_change_for_a_second_refuses_revoked_sessions() {
    let backend = start().await;
    let nats = &backend.servers.nats[0];
    let (port, frozen) = freezable(nats.port()).await;
    let wired = Gateway::start(&backend, |config| {
        let url = config.nats.nats_url.clone();
        config.nats.nats_url = url.replace(&format!(":{}", nats.port()), &format!(":{port}"));
    })
    .await;
    let ada = Browser::signed_up(&backend, "ada@example.com").await;
    // With cookies of its own: the revocation takes those of its sender.
    let holder = Browser::new(&backend);
    holder.log_in("ada@example.com").await;
    let holder = holder.at_gateway(&wired);
    let platform = mongo(&backend).await.database(PLATFORM);
    let accounts = platform.collection::<Document>("account");
    let last = AtomicUsize::new(0);
    eventually("an answer from memory", || async {
        // A change that is never announced: memory does not have it.
        let name = format!("Ada {}", last.fetch_add(1, Ordering::Relaxed));
        let change = doc! { "$set": { "view.firstname": &name } };
        accounts.update_many(doc! {}, change).await.unwrap();
        holder.data(PROFILE, ()).await["profile"]["firstname"] != name
    })
    .await;
    frozen.send_replace(true);
    ada.data(REVOKE_ALL, ()).await;
    let revoked = Instant::now();
    let mut answer = holder.gql(PROFILE, ()).await;
    while succeeded(&answer) {
        assert!(
            revoked.elapsed() < SOON,
            "the wired gateway believes its memory"
        );
        sleep(POLL).await;
        answer = holder.gql(PROFILE, ()).await;
    }
    assert_eq!(code_of(&answer), "UNAUTHENTICATED");
    frozen.send_replace(false);
    eventually("the wired gateway's answers", || async {
        let ada = Browser::at(&format!("http://{}", wired.address()), &backend.mail_url());
        succeeded(&ada.login("ada@example.com", PASSWORD).await)
    })
    .await;
}
