//! What each user of nats-server and mongod may and may not do, tried on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, jetstream,
};
use mongodb::{
    IndexModel,
    bson::{Document, doc},
    error::ErrorKind,
};
use serde_json::Value;
use servers::{Mongod, NatsServer, Passwords, Role};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// A loaded machine needs a few seconds for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);
/// Only the operator may publish or subscribe here. When this is refused, everything sent before
/// has been checked.
const SENTINEL: &str = "sentinel";

/// MongoDB's code for an operation that the user may not do.
const UNAUTHORIZED: i32 = 13;

struct Broker {
    server: NatsServer,
    _dir: TempDir,
}

/// A connection of a role, and the server's refusals.
struct User {
    client: Client,
    refusals: mpsc::UnboundedReceiver<String>,
}

impl Broker {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(dir.path(), &Passwords::random().unwrap())
            .await
            .unwrap();
        Self { server, _dir: dir }
    }

    fn options(&self, role: Role) -> (ConnectOptions, ServerAddr) {
        let address: ServerAddr = self.server.url(role).parse().unwrap();
        let (user, password) = (
            address.username().unwrap().to_owned(),
            address.password().unwrap().to_owned(),
        );
        let options = ConnectOptions::with_user_and_password(user, password);
        (
            options
                .custom_inbox_prefix(format!("_INBOX_{}", role.as_str()))
                .request_timeout(Some(LIMIT)),
            address,
        )
    }

    async fn connect(&self, role: Role) -> User {
        let (sender, refusals) = mpsc::unbounded_channel();
        let (options, address) = self.options(role);
        let options = options.event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                // At the end of the test nobody receives any more.
                let _ = sender.send(text.to_lowercase());
            }
            std::future::ready(())
        });
        User {
            client: options.connect(address).await.unwrap(),
            refusals,
        }
    }

    async fn jetstream(&self, role: Role) -> jetstream::Context {
        jetstream::new(self.connect(role).await.client)
    }
}

impl User {
    /// The subjects among these on which the user may not publish.
    async fn unpublishable(&mut self, subjects: &[&'static str]) -> Vec<&'static str> {
        for subject in subjects.iter().copied().chain([SENTINEL]) {
            self.client.publish(subject, "".into()).await.unwrap();
        }
        self.refused(subjects, "publish").await
    }

    /// The subjects among these to which the user may not subscribe.
    async fn unreadable(&mut self, subjects: &[&'static str]) -> Vec<&'static str> {
        let mut subscriptions = Vec::new();
        for subject in subjects.iter().copied().chain([SENTINEL]) {
            subscriptions.push(self.client.subscribe(subject).await.unwrap());
        }
        self.refused(subjects, "subscription").await
    }

    async fn refused(&mut self, subjects: &[&'static str], action: &str) -> Vec<&'static str> {
        self.client.flush().await.unwrap();
        let mut refusals = Vec::new();
        loop {
            let refusal = timeout(LIMIT, self.refusals.recv()).await.unwrap().unwrap();
            if refusal.contains(&format!("{action} to \"{SENTINEL}\"")) {
                break;
            }
            refusals.push(refusal);
        }
        let is_refused = |subject: &&str| {
            // A refusal of the gateway names the subject that `nats.conf` has mapped it to.
            let mapped = subject.replace("$JS.API.", "ub.");
            [*subject, &mapped].iter().any(|subject| {
                let text = format!("{action} to \"{}\"", subject.to_lowercase());
                refusals.iter().any(|refusal| {
                    refusal.contains("permissions violation") && refusal.contains(&text)
                })
            })
        };
        subjects.iter().copied().filter(is_refused).collect()
    }
}

use Role::{
    Commands, Effects, Gateway, Inbound, Migrator, Operator, Reactions, Views, Webhooks, Workers,
};

/// Every user but the one that may do everything.
const LIMITED: [Role; 9] = [
    Gateway, Workers, Commands, Views, Reactions, Effects, Webhooks, Inbound, Migrator,
];
const LOOPS: &[Role] = &[
    Workers, Commands, Views, Reactions, Effects, Webhooks, Inbound,
];
const LOOPS_AND_MIGRATOR: &[Role] = &[
    Workers, Commands, Views, Reactions, Effects, Webhooks, Inbound, Migrator,
];
const DECIDERS: &[Role] = &[Workers, Commands];
/// A stream can send its messages on to any subject, also to those of the log.
const KEEPERS: &[Role] = &[Workers, Commands, Migrator];
const READERS_OF_THE_LOG: &[Role] = &[
    Workers, Commands, Views, Effects, Webhooks, Inbound, Migrator,
];
const CONSUMERS_OF_THE_LOG: &[Role] = &[
    Workers, Views, Reactions, Effects, Webhooks, Inbound, Migrator,
];
/// They send events to webhooks.
const SENDERS_TO_WEBHOOKS: &[Role] = &[Workers, Webhooks];
/// They handle hooks of other services.
const HANDLERS_OF_HOOKS: &[Role] = &[Workers, Inbound];
const NOBODY: &[Role] = &[];

/// Who may publish on each subject, beside the operator.
const PUBLISHERS: &[(&str, &[Role])] = &[
    ("cmd.a.tenant.create", &[Gateway]),
    // They would send mail to anybody, and make anybody an owner.
    ("int.platform.email.request", &[Workers, Reactions, Effects]),
    ("int.a.member.add_founder", &[Workers, Reactions]),
    // It would disable webhooks of tenants.
    ("int.a.webhook.give_up", &[Workers, Webhooks, Migrator]),
    ("whk.a.b", &[Workers, Webhooks, Migrator]),
    // It would change the tasks of everybody.
    ("int.a.task.import", HANDLERS_OF_HOOKS),
    // They would give anybody a plan, and plans other prices.
    (
        "int.a.billing.record_subscription",
        &[Workers, Effects, Inbound, Migrator],
    ),
    (
        "int.platform.plan.record_prices",
        &[Workers, Effects, Migrator],
    ),
    // A hook is believed, so only those who verify it may write it.
    ("in.a.b", &[Gateway]),
    ("ink.a.b.c", &[Gateway]),
    ("ins.a", &[Gateway]),
    ("inr.a.b.c", HANDLERS_OF_HOOKS),
    ("$JS.API.DIRECT.GET.INBOX", &[Gateway, Workers, Inbound]),
    ("$JS.API.CONSUMER.CREATE.INBOX.a.in.>", HANDLERS_OF_HOOKS),
    ("$JS.API.CONSUMER.MSG.NEXT.INBOX.a", HANDLERS_OF_HOOKS),
    ("$JS.ACK.INBOX.a.1.1.1.1.0", HANDLERS_OF_HOOKS),
    ("$JS.API.STREAM.UPDATE.INBOX", &[Migrator]),
    ("$JS.API.STREAM.PURGE.INBOX", NOBODY),
    ("_INBOX_inbound.a", DECIDERS),
    ("whs.a.b", SENDERS_TO_WEBHOOKS),
    ("att.a.b.ok", SENDERS_TO_WEBHOOKS),
    ("$KV.CURSORS.a.b", &[Workers, Webhooks, Migrator]),
    (
        "$JS.API.DIRECT.GET.KV_CURSORS.$KV.CURSORS.a.b",
        &[Gateway, Workers, Webhooks, Migrator],
    ),
    ("$JS.API.DIRECT.GET.ATTEMPTS", &[Gateway, Workers, Webhooks]),
    ("$JS.API.STREAM.INFO.ATTEMPTS", &LIMITED),
    ("$JS.API.STREAM.INFO.KV_CURSORS", &LIMITED),
    (
        "$JS.API.CONSUMER.CREATE.WEBHOOKS.a.whk.>",
        SENDERS_TO_WEBHOOKS,
    ),
    ("$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.a", SENDERS_TO_WEBHOOKS),
    ("$JS.ACK.WEBHOOKS.a.1.1.1.1.0", SENDERS_TO_WEBHOOKS),
    ("$JS.API.CONSUMER.CREATE.KV_CURSORS.a", SENDERS_TO_WEBHOOKS),
    ("$JS.API.CONSUMER.CREATE.ATTEMPTS.a", NOBODY),
    // They would make anybody an administrator, and move tenants.
    ("int.platform.account.grant_platform_admin", &[Migrator]),
    ("int.a.tenant.begin_move", &[Migrator]),
    ("evt.platform.account.a", DECIDERS),
    ("clm.platform.email.a", DECIDERS),
    ("view.platform.account.a", &[Workers, Views, Migrator]),
    ("changed.view.platform.account.a", NOBODY),
    ("dead.commands.platform.account", LOOPS),
    ("sec.tenant.a", &[Gateway]),
    ("_INBOX_gateway.a", DECIDERS),
    ("_INBOX_reactions.a", DECIDERS),
    ("_INBOX_effects.a", DECIDERS),
    ("_INBOX_webhooks.a", DECIDERS),
    ("_INBOX_migrator.a", DECIDERS),
    ("_INBOX_commands.a", NOBODY),
    ("_INBOX_operator.a", NOBODY),
    ("_INBOX.a", NOBODY),
    ("$KV.LOGINS.a", &[Gateway]),
    ("$KV.REGISTRATIONS.a", &[Gateway]),
    ("$KV.TOKEN_USES.a", &[Gateway]),
    ("$KV.SESSION_USES.a", &[Gateway]),
    ("$KV.OTHER.a", NOBODY),
    ("$JS.API.DIRECT.GET.KV_LOGINS.$KV.LOGINS.a", &[Gateway]),
    (
        "$JS.API.DIRECT.GET.KV_REGISTRATIONS.$KV.REGISTRATIONS.a",
        &[Gateway],
    ),
    (
        "$JS.API.DIRECT.GET.KV_TOKEN_USES.$KV.TOKEN_USES.a",
        &[Gateway],
    ),
    (
        "$JS.API.DIRECT.GET.KV_SESSION_USES.$KV.SESSION_USES.a",
        &[Gateway],
    ),
    (
        "$JS.API.DIRECT.GET.EVENTS",
        &[
            Gateway, Workers, Commands, Views, Effects, Webhooks, Inbound, Migrator,
        ],
    ),
    ("$JS.API.DIRECT.GET.EVENTS.evt.platform.account.a", NOBODY),
    ("$JS.API.DIRECT.GET.SECURITY", &[Gateway]),
    ("$JS.API.DIRECT.GET.SECURITY.sec.tenant.a", NOBODY),
    ("$JS.API.STREAM.MSG.GET.EVENTS", READERS_OF_THE_LOG),
    ("$JS.API.STREAM.MSG.GET.COMMANDS", NOBODY),
    ("$JS.API.STREAM.INFO.EVENTS", &LIMITED),
    ("$JS.API.STREAM.INFO.COMMANDS", &LIMITED),
    ("$JS.API.STREAM.INFO.VIEWS", &LIMITED),
    ("$JS.API.STREAM.INFO.KV_LOGINS", &LIMITED),
    ("$JS.API.STREAM.INFO.SECURITY", &LIMITED),
    ("$JS.API.STREAM.INFO.DEAD", LOOPS_AND_MIGRATOR),
    ("$JS.API.STREAM.CREATE.COMMANDS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.COMMANDS", KEEPERS),
    ("$JS.API.STREAM.CREATE.VIEWS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.VIEWS", KEEPERS),
    ("$JS.API.STREAM.CREATE.WEBHOOKS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.WEBHOOKS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.KV_CURSORS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.ATTEMPTS", &[Migrator]),
    // A user that may update the log's stream can truncate it.
    ("$JS.API.STREAM.CREATE.EVENTS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.EVENTS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.DEAD", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.KV_LOGINS", &[Migrator]),
    ("$JS.API.STREAM.CREATE.SECURITY", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.SECURITY", &[Migrator]),
    ("$JS.API.STREAM.CREATE.OTHER", NOBODY),
    ("$JS.API.STREAM.UPDATE.OTHER", NOBODY),
    ("$JS.API.STREAM.LIST", NOBODY),
    ("$JS.API.INFO", NOBODY),
    ("$JS.API.STREAM.DELETE.EVENTS", NOBODY),
    ("$JS.API.STREAM.DELETE.COMMANDS", NOBODY),
    ("$JS.API.STREAM.PURGE.EVENTS", NOBODY),
    ("$JS.API.STREAM.PURGE.COMMANDS", NOBODY),
    ("$JS.API.STREAM.PURGE.SECURITY", NOBODY),
    ("$JS.API.STREAM.MSG.DELETE.EVENTS", NOBODY),
    ("$JS.API.STREAM.SNAPSHOT.EVENTS", NOBODY),
    ("$JS.API.STREAM.RESTORE.EVENTS", NOBODY),
    (
        "$JS.API.CONSUMER.CREATE.EVENTS.a.evt.>",
        CONSUMERS_OF_THE_LOG,
    ),
    ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.a", CONSUMERS_OF_THE_LOG),
    ("$JS.ACK.EVENTS.a.1.1.1.1.0", CONSUMERS_OF_THE_LOG),
    ("$JS.API.CONSUMER.CREATE.COMMANDS.a.cmd.>", DECIDERS),
    ("$JS.API.CONSUMER.MSG.NEXT.COMMANDS.a", DECIDERS),
    ("$JS.ACK.COMMANDS.a.1.1.1.1.0", DECIDERS),
    ("$JS.API.CONSUMER.CREATE.VIEWS.a", NOBODY),
    ("$JS.API.CONSUMER.DURABLE.CREATE.OTHER.a", NOBODY),
    ("$JS.API.CONSUMER.DELETE.EVENTS.a", NOBODY),
    ("$JS.API.CONSUMER.PAUSE.EVENTS.a", NOBODY),
    ("$SYS.REQ.SERVER.PING.JSZ", LOOPS_AND_MIGRATOR),
    ("$SYS.REQ.SERVER.PING.CONNZ", NOBODY),
];

/// Only the operator may read these.
const FOREIGN: [&str; 10] = [
    ">",
    "evt.>",
    "clm.>",
    "cmd.>",
    "int.>",
    "view.>",
    "dead.>",
    "sec.>",
    "_INBOX.>",
    "$JS.API.>",
];

#[tokio::test]
async fn each_user_may_publish_what_the_table_says_and_nothing_else() {
    let broker = Broker::start().await;
    let subjects: Vec<_> = PUBLISHERS.iter().map(|(subject, _)| *subject).collect();
    for role in LIMITED {
        let others = PUBLISHERS
            .iter()
            .filter(|(_, roles)| !roles.contains(&role));
        let others: Vec<_> = others.map(|(subject, _)| *subject).collect();
        let mut user = broker.connect(role).await;
        assert_eq!(user.unpublishable(&subjects).await, others, "{role:?}");
    }
}

#[tokio::test]
async fn each_user_reads_its_own_inbox_and_the_gateway_changed_documents() {
    let broker = Broker::start().await;
    let inboxes = Role::ALL.map(|role| (role, format!("_INBOX_{}.>", role.as_str())));
    let inboxes = inboxes.map(|(role, inbox)| (role, &*inbox.leak()));
    for role in LIMITED {
        let mut user = broker.connect(role).await;
        let (own, others): (Vec<_>, Vec<_>) = inboxes.iter().partition(|(of, _)| *of == role);
        let others: Vec<_> = others.into_iter().map(|(_, inbox)| inbox).collect();
        assert_eq!(user.unreadable(&[own[0].1]).await, [""; 0], "{role:?}");
        assert_eq!(user.unreadable(&others).await, others, "{role:?}");
        assert_eq!(user.unreadable(&FOREIGN).await, FOREIGN, "{role:?}");
        let changed = user.unreadable(&["changed.>"]).await;
        assert_eq!(changed.is_empty(), role == Gateway, "{role:?}");
    }
}

/// nats-server sends the answer to a request to any reply subject, without asking for a permission.
#[tokio::test]
async fn a_gateway_cannot_have_answers_stored_in_the_log() {
    let broker = Broker::start().await;
    let operator = broker.jetstream(Role::Operator).await;
    for (name, subject) in [
        ("EVENTS", "evt.>"),
        ("COMMANDS", "int.>"),
        ("KV_LOGINS", "$KV.LOGINS.>"),
    ] {
        let config = jetstream::stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            allow_direct: true,
            ..Default::default()
        };
        operator.create_stream(config).await.unwrap();
    }
    let gateway = broker.connect(Role::Gateway).await.client;
    let forged = "$KV.LOGINS.forged";
    for (subject, payload, expected) in [
        (forged, "forged", r#""stream":"KV_LOGINS""#),
        (
            "$JS.API.DIRECT.GET.KV_LOGINS.$KV.LOGINS.forged",
            "",
            "forged",
        ),
        ("$JS.API.STREAM.INFO.EVENTS", "", r#""state""#),
    ] {
        let answer = gateway.request(subject, payload.into()).await.unwrap();
        let answer = String::from_utf8(answer.payload.into()).unwrap();
        assert!(answer.contains(expected), "{answer}");
        for reply in ["evt.a.b.c", "int.platform.account.grant_platform_admin"] {
            let sent = gateway.publish_with_reply(subject, reply, payload.into());
            sent.await.unwrap();
        }
    }
    // What was sent before has been answered by now.
    gateway.request(forged, "last".into()).await.unwrap();
    for name in ["EVENTS", "COMMANDS"] {
        let stream = operator.get_stream(name).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 0, "{name}");
    }
}

#[test]
fn the_table_has_every_user() {
    let all = LIMITED.iter().chain([&Operator]);
    assert!(all.eq(&Role::ALL));
}

#[tokio::test]
async fn only_the_operator_deletes_a_stream() {
    let broker = Broker::start().await;
    let workers = broker.connect(Role::Workers).await.client;
    let config = jetstream::stream::Config {
        name: "EVENTS".into(),
        subjects: vec!["evt.>".into()],
        ..Default::default()
    };
    let operator = broker.jetstream(Role::Operator).await;
    operator.create_stream(config).await.unwrap();
    // The server refuses without an answer, so the whole wait must pass: it is short.
    let short = Duration::from_millis(200);
    timeout(
        short,
        workers.request("$JS.API.STREAM.DELETE.EVENTS", "".into()),
    )
    .await
    .unwrap_err();
    operator
        .get_stream("EVENTS")
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    assert!(operator.delete_stream("EVENTS").await.unwrap().success);
}

#[tokio::test]
async fn the_workers_can_see_that_the_server_syncs_always() {
    let broker = Broker::start().await;
    let workers = broker.connect(Role::Workers).await.client;
    let answer = workers
        .request("$SYS.REQ.SERVER.PING.JSZ", r#"{"config":true}"#.into())
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(
        answer.pointer("/data/config/sync_always"),
        Some(&Value::Bool(true))
    );
}

#[tokio::test]
async fn nobody_connects_without_a_valid_password() {
    let broker = Broker::start().await;
    let address = format!("nats://127.0.0.1:{}", broker.server.port());
    let refused =
        async |options: ConnectOptions| options.connect(&address).await.unwrap_err().kind();
    assert_eq!(
        refused(ConnectOptions::new()).await,
        ConnectErrorKind::AuthorizationViolation
    );
    for (user, password) in [
        ("operator", "wrong"),
        ("operator", ""),
        ("sys", "sys"),
        ("", ""),
    ] {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        assert_eq!(
            refused(options).await,
            ConnectErrorKind::AuthorizationViolation,
            "{user}"
        );
    }
}

/// Whether each of some operations is allowed to a role: read, write, create an index, drop a
/// database, create a user.
async fn allowed(mongod: &Mongod, role: Role) -> [bool; 5] {
    let client = mongodb::Client::with_uri_str(mongod.uri(role))
        .await
        .unwrap();
    let own = client.database("ultimate_backend_acme");
    let documents = own.collection::<Document>("project");
    let index = IndexModel::builder().keys(doc! { "a": 1 }).build();
    let user = doc! { "createUser": format!("{role:?}"), "pwd": "x", "roles": [] };
    let results = [
        documents.find_one(doc! {}).await.err(),
        documents.insert_one(doc! {}).await.err(),
        documents.create_index(index).await.err(),
        own.drop().await.err(),
        client.database("admin").run_command(user).await.err(),
    ];
    results.map(|error| match error.map(|error| *error.kind) {
        None => true,
        Some(ErrorKind::Command(error)) if error.code == UNAUTHORIZED => false,
        Some(error) => panic!("{error}"),
    })
}

#[tokio::test]
async fn at_mongod_only_those_who_keep_views_write_and_only_operators_drop_databases() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = Passwords::random().unwrap();
    let mongod = Mongod::start(dir.path(), &passwords).await.unwrap();
    let allowed = async |role| allowed(&mongod, role).await;
    for role in [Gateway, Commands, Reactions, Effects, Webhooks, Inbound] {
        assert_eq!(allowed(role).await, [true, false, false, false, false]);
    }
    for role in [Workers, Views] {
        assert_eq!(allowed(role).await, [true, true, true, false, false]);
    }
    assert_eq!(allowed(Migrator).await, [true, true, true, true, false]);
    assert_eq!(allowed(Operator).await, [true; 5]);
    let stranger = format!(
        "mongodb://127.0.0.1:{}/?directConnection=true",
        mongod.port()
    );
    let stranger = mongodb::Client::with_uri_str(stranger).await.unwrap();
    let documents = stranger
        .database("ultimate_backend")
        .collection::<Document>("account");
    documents.find_one(doc! {}).await.unwrap_err();
}
