//! What each user of `nats.conf` may and may not do, tried on a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, ServerAddr, ServerError, jetstream,
};
use futures_util::StreamExt;
use serde_json::Value;
use servers::{NatsServer, Passwords, Role};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// A loaded machine needs a few seconds for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);
/// Only the operator may publish or subscribe here. When this is refused, everything sent before
/// has been checked.
const SENTINEL: &str = "sentinel";

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
            let text = format!("{action} to \"{}\"", subject.to_lowercase());
            refusals
                .iter()
                .any(|refusal| refusal.contains("permissions violation") && refusal.contains(&text))
        };
        subjects.iter().copied().filter(is_refused).collect()
    }
}

/// Requests that neither the gateway nor the workers may send, such as those that delete a stream.
const DESTRUCTION: [&str; 12] = [
    "$JS.API.STREAM.DELETE.EVENTS",
    "$JS.API.STREAM.DELETE.COMMANDS",
    "$JS.API.STREAM.PURGE.EVENTS",
    "$JS.API.STREAM.PURGE.COMMANDS",
    "$JS.API.STREAM.MSG.DELETE.EVENTS",
    "$JS.API.STREAM.SNAPSHOT.EVENTS",
    "$JS.API.STREAM.RESTORE.EVENTS",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.UPDATE.OTHER",
    "$JS.API.CONSUMER.DELETE.EVENTS.views",
    "$JS.API.CONSUMER.PAUSE.EVENTS.views",
    "$SYS.REQ.SERVER.PING.CONNZ",
];

const FOREIGN: [&str; 9] = [
    ">",
    "evt.>",
    "clm.>",
    "cmd.>",
    "view.>",
    "dead.>",
    "_INBOX_operator.>",
    "_INBOX.>",
    "$JS.API.>",
];

#[tokio::test]
async fn the_gateway_may_publish_commands_and_read_and_nothing_else() {
    let broker = Broker::start().await;
    let mut gateway = broker.connect(Role::Gateway).await;
    let may = [
        "cmd.platform.account.complete_registration",
        "cmd.platform.email.ask_to_verify",
        "cmd.platform.email.warn_of_registration",
        "cmd.platform.email.warn_of_failed_logins",
        "$KV.REGISTRATIONS.a",
        "$JS.API.DIRECT.GET.KV_REGISTRATIONS.$KV.REGISTRATIONS.a",
        "$JS.API.STREAM.INFO.KV_REGISTRATIONS",
        "cmd.a.tenant.create",
        "cmd.a.member.invite",
        "$KV.LOGINS.a",
        "$JS.API.DIRECT.GET.KV_LOGINS.$KV.LOGINS.a",
        "$JS.API.STREAM.INFO.KV_LOGINS",
        "$KV.TOKEN_USES.a",
        "$JS.API.DIRECT.GET.KV_TOKEN_USES.$KV.TOKEN_USES.a",
        "$JS.API.STREAM.INFO.KV_TOKEN_USES",
        "$KV.SESSION_USES.a",
        "$JS.API.DIRECT.GET.KV_SESSION_USES.$KV.SESSION_USES.a",
        "$JS.API.STREAM.INFO.KV_SESSION_USES",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.STREAM.INFO.COMMANDS",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.STREAM.INFO.VIEWS",
    ];
    assert_eq!(gateway.unpublishable(&may).await, [""; 0]);
    let may_not = [
        "evt.platform.account.a",
        "clm.platform.email.a",
        "dead.command.platform.account",
        "view.platform.account.a",
        "changed.view.platform.account.a",
        "_INBOX_gateway.a",
        "_INBOX_workers.a",
        "$JS.API.CONSUMER.CREATE.VIEWS.views",
        "$KV.OTHER.a",
        "$JS.ACK.EVENTS.views.1.1.1.1.0",
        "$JS.API.INFO",
        "$JS.API.STREAM.CREATE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS.evt.platform.account.a",
        "$JS.API.CONSUMER.CREATE.EVENTS.views",
        "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.commands",
        "$SYS.REQ.SERVER.PING.JSZ",
    ];
    assert_eq!(gateway.unpublishable(&may_not).await, may_not);
    // They would send mail to anybody, and make anybody an owner.
    let of_workers = [
        "cmd.platform.email.request",
        "cmd.platform.email.record_sent",
        "cmd.platform.email.record_failed",
        "cmd.platform.email.record_withdrawn",
        "cmd.platform.account.grant_platform_admin",
        "cmd.platform.account.revoke_platform_admin",
        "cmd.a.member.add_founder",
        "cmd.a.tenant.begin_move",
        "cmd.a.tenant.lead_move",
        "cmd.a.tenant.switch_move",
        "cmd.a.tenant.finish_move",
        "cmd.a.tenant.abandon_move",
        "cmd.a.tenant.record_place_dropped",
    ];
    assert_eq!(gateway.unpublishable(&of_workers).await, of_workers);
    assert_eq!(gateway.unpublishable(&DESTRUCTION).await, DESTRUCTION);
    assert_eq!(
        gateway
            .unreadable(&["_INBOX_gateway.>", "changed.view.platform.account.a"])
            .await,
        [""; 0]
    );
    assert_eq!(
        gateway.unreadable(&["_INBOX_workers.>"]).await,
        ["_INBOX_workers.>"]
    );
    assert_eq!(gateway.unreadable(&FOREIGN).await, FOREIGN);
}

#[tokio::test]
async fn the_workers_may_write_but_not_delete() {
    let broker = Broker::start().await;
    let mut workers = broker.connect(Role::Workers).await;
    let may = [
        "evt.platform.account.a",
        "clm.platform.email.a",
        "dead.command.platform.account",
        "view.platform.account.a",
        "cmd.platform.email.request",
        "_INBOX_gateway.a",
        "_INBOX_workers.a",
        "$JS.ACK.EVENTS.views.1.1.1.1.0",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$SYS.REQ.SERVER.PING.JSZ",
    ];
    assert_eq!(workers.unpublishable(&may).await, [""; 0]);
    let may_not = [
        "_INBOX_operator.a",
        "_INBOX.a",
        "changed.view.platform.account.a",
        "$KV.LOGINS.a",
        "$JS.API.STREAM.LIST",
        "$JS.API.CONSUMER.DURABLE.CREATE.OTHER.a",
    ];
    assert_eq!(workers.unpublishable(&may_not).await, may_not);
    assert_eq!(workers.unpublishable(&DESTRUCTION).await, DESTRUCTION);
    assert_eq!(workers.unreadable(&["_INBOX_workers.>"]).await, [""; 0]);
    assert_eq!(
        workers.unreadable(&["_INBOX_gateway.>"]).await,
        ["_INBOX_gateway.>"]
    );
    assert_eq!(workers.unreadable(&FOREIGN).await, FOREIGN);
}

#[tokio::test]
async fn gateway_and_workers_may_do_all_that_they_need() {
    let broker = Broker::start().await;
    let workers = broker.jetstream(Role::Workers).await;
    for (name, subjects) in [
        ("COMMANDS", vec!["cmd.>"]),
        ("EVENTS", vec!["evt.>", "clm.>"]),
        ("DEAD", vec!["dead.>"]),
    ] {
        let subjects = subjects.into_iter().map(str::to_owned).collect();
        let config = jetstream::stream::Config {
            name: name.into(),
            subjects,
            allow_direct: true,
            ..Default::default()
        };
        workers.create_or_update_stream(config).await.unwrap();
    }
    workers
        .create_key_value(jetstream::kv::Config {
            bucket: "LOGINS".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let commands = workers.get_stream("COMMANDS").await.unwrap();
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("commands".into()),
        ..Default::default()
    };
    let consumer = commands.create_consumer(config).await.unwrap();

    let gateway = broker.connect(Role::Gateway).await.client;
    let mut inbox = gateway.subscribe("_INBOX_gateway.a").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("reply", "_INBOX_gateway.a");
    jetstream::new(gateway.clone())
        .publish_with_headers("cmd.a.b.c", headers, "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let logins = jetstream::new(gateway)
        .get_key_value("LOGINS")
        .await
        .unwrap();
    logins.put("a", "1".into()).await.unwrap();
    assert_eq!(logins.get("a").await.unwrap().unwrap(), "1");
    logins.purge("a").await.unwrap();

    let command = consumer
        .messages()
        .await
        .unwrap()
        .next()
        .await
        .unwrap()
        .unwrap();
    let reply = command
        .headers
        .as_ref()
        .unwrap()
        .get("reply")
        .unwrap()
        .to_string();
    workers
        .publish("evt.a.b.c", "y".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let events = workers.get_stream("EVENTS").await.unwrap();
    assert_eq!(
        events
            .direct_get_last_for_subject("evt.a.b.c")
            .await
            .unwrap()
            .payload,
        "y"
    );
    assert_eq!(events.get_raw_message(1).await.unwrap().payload, "y");
    let client = broker.connect(Role::Workers).await.client;
    client.publish(reply, "done".into()).await.unwrap();
    client.flush().await.unwrap();
    command.double_ack().await.unwrap();
    assert_eq!(
        timeout(LIMIT, inbox.next()).await.unwrap().unwrap().payload,
        "done"
    );
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
