//! Hooks of other services: none is lost and none is done twice, whatever dies.

use std::{collections::BTreeSet, time::SystemTime};

use event_store::{CommandSender, Trace};
use events_schema::{
    AccountId, AreaName, Command, CommandId, CommitSummary, InboundSourceId, Name, Outcome,
    ProjectId, TenantId, TenantKey, Time,
    inbound_source::{self, Handling, Hook, HookId, Provider, Receipt, Verdict},
    sealed::Sealed,
    subject::{self, INBOX},
    task,
};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{DEADLINE, World, assert_sound, eventually, id};

const COMMANDS: &[&str] = &["--loops", "commands"];
const INBOUND: &[&str] = &["--loops", "inbound"];

/// A source of GitHub, and a gateway that stores its hooks.
struct Source<'w> {
    world: &'w World,
    sender: CommandSender,
    tenant: TenantKey,
    id: InboundSourceId,
}

impl<'w> Source<'w> {
    async fn create(world: &'w World) -> Self {
        let command = id();
        let source = Self {
            world,
            sender: CommandSender::start(world.gateway.clone()).await.unwrap(),
            tenant: TenantKey(id()),
            id: InboundSourceId(command),
        };
        let sealed = ":QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";
        let create = inbound_source::Command::Create {
            name: Name::parse("Code").unwrap(),
            provider: Provider::Github {
                project: ProjectId(id()),
            },
            secret: Sealed::parse(sealed).unwrap(),
            creator: AccountId(id()),
        };
        source.send(CommandId(command), create).await;
        source
    }

    async fn send(&self, command: CommandId, payload: inbound_source::Command) {
        let tenant = TenantId::Tenant(self.tenant);
        let time = Time::from(SystemTime::now());
        let mut command =
            Command::<inbound_source::Area>::by_system(command, tenant, self.tenant, time, payload);
        command.held = [task::CREATE, task::UPDATE].into_iter().collect();
        let deadline = Instant::now() + DEADLINE;
        let sent = self.sender.send(command, Trace::begin(), deadline).await;
        assert!(matches!(sent, Ok(Outcome::Committed { .. })), "{sent:?}");
    }

    /// Stores the hook of a new issue as a gateway does, and returns its id.
    async fn open_issue(&self, issue: u64) -> HookId {
        let issue = json!({
            "id": issue, "number": issue, "title": format!("Issue {issue}"), "state": "open",
            "updated_at": "2026-11-26T12:00:00Z",
        });
        let body = json!({ "action": "opened", "issue": issue }).to_string();
        self.store(&issue["id"].to_string(), body.as_bytes()).await
    }

    async fn store(&self, key: &str, body: &[u8]) -> HookId {
        let receipt = Receipt {
            key: key.to_owned(),
            event: Some("issues".to_owned()),
            received_at: Time::from(SystemTime::now()),
        };
        let hook = Hook::new((self.tenant, self.id), receipt.clone(), body);
        let to_receipt = subject::receipt(self.tenant, self.id, hook.id());
        self.publish(to_receipt, serde_json::to_vec(&receipt).unwrap())
            .await;
        let to_hook = subject::hooks_of(self.tenant, self.id);
        self.publish(to_hook, serde_json::to_vec(&hook).unwrap())
            .await;
        hook.id()
    }

    async fn publish(&self, subject: String, payload: Vec<u8>) {
        let operator = &self.world.operator;
        let stored = operator.publish(subject, payload.into()).await.unwrap();
        stored.await.unwrap();
    }

    /// What became of a hook; `None` if it waits.
    async fn handling(&self, hook: HookId) -> Option<Handling> {
        let inbox = self.world.operator.get_stream(INBOX).await.unwrap();
        let subject = subject::handling(self.tenant, self.id, hook);
        let found = inbox.get_last_raw_message_by_subject(&subject).await.ok()?;
        Some(serde_json::from_slice(&found.payload).unwrap())
    }

    async fn ended(&self, hook: HookId) -> Handling {
        eventually("the end of a hook", || async {
            self.handling(hook).await.is_some()
        })
        .await;
        self.handling(hook).await.unwrap()
    }

    /// How many commits there are, that of the source included.
    async fn stored(&self) -> u64 {
        let log = self.world.operator.get_stream("EVENTS").await.unwrap();
        log.get_info().await.unwrap().state.messages
    }

    async fn tasks(&self) -> Vec<(u64, CommitSummary)> {
        self.world.commits::<CommitSummary>(AreaName::Task).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_while_they_handle_hooks_lose_none_and_do_none_twice() {
    const HOOKS: u64 = 600;
    let world = World::start().await;
    let [_commands] = world.workers(COMMANDS).await;
    let source = Source::create(&world).await;
    let mut hooks = Vec::new();
    for issue in 0..HOOKS {
        hooks.push(source.open_issue(issue).await);
    }
    for round in 1..=5 {
        let mut doomed = world.spawn_worker(INBOUND);
        // Each worker dies in the midst of its work.
        eventually("progress", || async {
            source.stored().await >= round * HOOKS / 20
        })
        .await;
        doomed.kill().await.unwrap();
    }
    assert!(source.stored().await < HOOKS, "the kills came too late");
    let _last = world.spawn_worker(INBOUND);
    for hook in hooks {
        let ended = source.ended(hook).await;
        assert_eq!((ended.verdict, ended.reason), (Verdict::Handled, None));
    }
    let commits = source.tasks().await;
    assert_sound(&commits);
    let tasks: BTreeSet<_> = commits.iter().map(|(_, commit)| commit.id).collect();
    assert_eq!((commits.len() as u64, tasks.len() as u64), (HOOKS, HOOKS));
    assert_eq!(world.dead().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_delivered_or_replayed_again_changes_nothing_twice() {
    let world = World::start().await;
    let _workers = world.workers::<1>(&["--loops", "commands,inbound"]).await;
    let source = Source::create(&world).await;
    let hook = source.open_issue(1).await;
    let first = source.ended(hook).await;
    // As if its acknowledgement had been lost.
    source.open_issue(1).await;
    eventually("the repetition", || async {
        source.ended(hook).await.at > first.at
    })
    .await;
    let second = source.ended(hook).await;
    let replay = inbound_source::Command::Replay {
        source: source.id,
        hook,
    };
    source.send(CommandId(id()), replay).await;
    eventually("the replay", || async {
        source.ended(hook).await.at > second.at
    })
    .await;
    assert_eq!(source.ended(hook).await.verdict, Verdict::Handled);
    assert_eq!(source.tasks().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_cannot_be_read_or_whose_source_is_gone_holds_up_no_other() {
    let world = World::start().await;
    let _workers = world.workers::<1>(&["--loops", "commands,inbound"]).await;
    let source = Source::create(&world).await;
    let garbage = source.store("garbage", b"\xff\xfe").await;
    let subject = subject::hooks_of(source.tenant, source.id);
    source.publish(subject.clone(), b"no hook".to_vec()).await;
    let opened = source.open_issue(1).await;
    assert_eq!(source.ended(opened).await.verdict, Verdict::Handled);
    assert_eq!(source.ended(garbage).await.verdict, Verdict::Failed);
    eventually("the dead letter", || async {
        world.dead().await.len() == 1
    })
    .await;

    let delete = inbound_source::Command::Delete { source: source.id };
    source.send(CommandId(id()), delete).await;
    let late = source.open_issue(2).await;
    let ended = source.ended(late).await;
    assert_eq!(ended.verdict, Verdict::Failed);
    assert_eq!(ended.reason.unwrap(), "The inbound source is deleted.");
    assert_eq!(source.tasks().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_tenant_delays_no_hook_of_another() {
    const FLOOD: u64 = 600;
    let world = World::start().await;
    let [_commands] = world.workers(COMMANDS).await;
    let (flooding, other) = (Source::create(&world).await, Source::create(&world).await);
    for issue in 0..FLOOD {
        flooding.open_issue(issue).await;
    }
    let hook = other.open_issue(1).await;
    let before = other.stored().await;
    let _worker = world.spawn_worker(INBOUND);
    assert_eq!(other.ended(hook).await.verdict, Verdict::Handled);
    let handled_first = other.stored().await - before;
    assert!(
        handled_first < FLOOD / 2,
        "{handled_first} hooks came first"
    );
    eventually("the end of the flood", || async {
        other.stored().await == before + FLOOD + 1
    })
    .await;
}
