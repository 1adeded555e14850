//! How soon a revoked right is refused, at every gateway.
//!
//! Each delay is measured from the answer to the revocation.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

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
    time::{sleep, timeout},
};

use crate::support::{
    Browser, CREATE_TOKEN, DEADLINE, DELETE_MEMBER, DELETE_TOKEN, Gateway, PASSWORD, PLATFORM,
    PROJECTS, UPDATE_MEMBER, code_of, eventually, member_role, mongo, scopes, start, succeeded,
    text,
};

const ROUNDS: usize = 20;
/// 99 of 100 refusals come within this, and all within [`LATEST`].
const SOON: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(5);
/// How often a right is used while it is revoked; short beside the delays that are allowed.
const POLL: Duration = Duration::from_millis(5);

const REVOKE_ALL: &str = "mutation { account { revokeAllSessions { success } } }";
const MEMBERS: &str = "{ members { totalCount } }";
const PROFILE: &str = "{ profile { id firstname } }";

pub const WAYS: [&str; 4] = [
    "a member is removed",
    "a role is changed",
    "a token is deleted",
    "all sessions are ended",
];

/// A right that is about to be revoked.
pub struct Right {
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
    pub async fn revoke(self, second: &Gateway) -> [Duration; 2] {
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
pub struct World {
    pub backend: Local,
    pub second: Gateway,
    owner: Browser,
    people: Vec<Browser>,
}

fn email(way: usize) -> String {
    format!("user{way}@example.com")
}

impl World {
    pub async fn start() -> Self {
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
    pub async fn grant(&self, way: usize, member: &mut Option<String>) -> Right {
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
}

/// Asserts that a gateway soon hears of what has changed at another one.
pub async fn soon<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    let waited = timeout(SOON, eventually(what, holds)).await;
    assert!(waited.is_ok(), "{what} comes late");
}

pub fn assert_soon(what: &str, mut delays: Vec<Duration>) {
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
