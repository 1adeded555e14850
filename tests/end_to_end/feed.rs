//! The feed over WebSocket and the audit log: in order, nothing missed, nothing twice, nothing of
//! anybody else's.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::support::{Browser, DEADLINE, eventually, start};
use futures_util::{SinkExt, StreamExt, future::join_all};
use local::Local;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

const CREATE_PROJECT: &str =
    "mutation($input: CreateProjectInput!) { project { create(input: $input) { id } } }";
const CREATE_TOKEN: &str = "mutation($input: CreateAccessTokenInput!) { accessToken { create(input: $input) { token accessToken { id } } } }";
const EVENTS: &str = "subscription($after: String, $areas: [AreaName!]) { events(after: $after, areas: $areas) { cursor area id revision events } }";

/// A socket whose client has a token.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(local: &Local, headers: &[(&str, &str)]) -> Result<Self, Error> {
        Self::open_with(local, headers, None).await
    }

    async fn open_with(
        local: &Local,
        headers: &[(&str, &str)],
        receive_buffer: Option<u32>,
    ) -> Result<Self, Error> {
        let host = local.url().trim_start_matches("http://").to_owned();
        let mut request = format!("ws://{host}/graphql/ws")
            .into_client_request()
            .unwrap();
        request.headers_mut().insert(
            "sec-websocket-protocol",
            "graphql-transport-ws".parse().unwrap(),
        );
        for (name, value) in headers {
            request.headers_mut().insert(
                name.parse::<axum::http::HeaderName>().unwrap(),
                value.parse().unwrap(),
            );
        }
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(host.parse().unwrap()).await.unwrap();
        let mut socket = Self(client_async(request, stream).await?.0);
        socket.say(json!({ "type": "connection_init" })).await;
        Ok(socket)
    }

    /// One that listens to everything behind a cursor.
    async fn listening(local: &Local, token: &str, after: Option<&str>, areas: Value) -> Self {
        let mut socket = Self::open(local, &[("authorization", &format!("Bearer {token}"))])
            .await
            .unwrap();
        assert_eq!(socket.hear().await.unwrap()["type"], "connection_ack");
        socket
            .subscribe("1", EVENTS, json!({ "after": after, "areas": areas }))
            .await;
        socket
    }

    async fn say(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        self.say(json!({ "type": "subscribe", "id": id, "payload": { "query": query, "variables": variables } })).await;
    }

    /// The next message; none once the socket is closed. Pings do not count.
    async fn hear(&mut self) -> Option<Value> {
        let message = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(DEADLINE, message)
            .await
            .expect("nothing came")
    }

    /// The next event.
    async fn event(&mut self) -> Value {
        let message = self.hear().await.expect("the socket was closed");
        assert_eq!(message["type"], "next", "{message}");
        assert!(message["payload"]["errors"].is_null(), "{message}");
        message["payload"]["data"]["events"].clone()
    }

    /// The code of the error that a subscription ends with.
    async fn refusal(&mut self) -> String {
        loop {
            let message = self.hear().await.expect("the socket was closed");
            let errors = if message["type"] == "error" {
                &message["payload"]
            } else {
                &message["payload"]["errors"]
            };
            if errors.is_array() {
                return errors[0]["extensions"]["code"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{message}"))
                    .to_owned();
            }
        }
    }
}

async fn token(browser: &Browser, scopes: &[&str]) -> String {
    let made = browser
        .data(
            CREATE_TOKEN,
            json!({ "input": { "name": "Listener", "scopes": scopes } }),
        )
        .await;
    made["accessToken"]["create"]["token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_loses_its_socket_a_hundred_times_misses_nothing_and_sees_nothing_twice() {
    let local = start().await;
    let (ada, eve) = (Browser::new(&local), Browser::new(&local));
    tokio::join!(ada.join("ada@example.com"), eve.join("eve@example.com"));
    ada.found("acme").await;
    eve.found("rival").await;
    let (ada, eve) = (ada.inside("acme"), eve.inside("rival"));
    let token = token(&ada, &["read_project"]).await;
    let done = AtomicBool::new(false);
    let work = async {
        let mut made = BTreeSet::new();
        for round in 0..40 {
            let acme = join_all((0..8).map(|at| {
                ada.data(
                    CREATE_PROJECT,
                    json!({ "input": { "name": format!("{round} {at}") } }),
                )
            }));
            let rival = eve.data(CREATE_PROJECT, json!({ "input": { "name": "rival" } }));
            let (acme, _) = tokio::join!(acme, rival);
            made.extend(acme.iter().map(|answer| {
                answer["project"]["create"]["id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            }));
        }
        done.store(true, Ordering::SeqCst);
        made
    };
    let listen = async {
        let mut heard = Vec::new();
        let mut cursor: Option<String> = Some("AAAAAAAAAAA".to_owned());
        for lost in 0..=100 {
            let mut socket =
                Socket::listening(&local, &token, cursor.as_deref(), json!(["PROJECT"])).await;
            // The last one hears the rest.
            let wanted = if lost < 100 {
                heard.len() + 1 + lost % 4
            } else {
                320
            };
            while heard.len() < wanted.min(320) {
                let event = socket.event().await;
                cursor = Some(event["cursor"].as_str().unwrap().to_owned());
                heard.push(event);
            }
        }
        heard
    };
    let (made, heard) = tokio::join!(work, listen);
    assert!(done.load(Ordering::SeqCst));
    let ids: Vec<String> = heard
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 320);
    assert_eq!(
        ids.into_iter().collect::<BTreeSet<_>>(),
        made,
        "each once, and none of the rival's"
    );
    let cursors: Vec<Vec<u8>> = heard
        .iter()
        .map(|event| {
            data_encoding::BASE64URL_NOPAD
                .decode(event["cursor"].as_str().unwrap().as_bytes())
                .unwrap()
        })
        .collect();
    assert!(
        cursors.windows(2).all(|pair| pair[0] < pair[1]),
        "in the order of the log"
    );
    assert!(
        heard
            .iter()
            .all(|event| event["area"] == "PROJECT" && event["events"] == json!(["created"]))
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_at_once_and_a_listener_hears_no_more_than_they_may() {
    let local = start().await;
    let (ada, bob) = (Browser::new(&local), Browser::new(&local));
    tokio::join!(ada.join("ada@example.com"), bob.join("bob@example.com"));
    ada.found("acme").await;
    let ada = ada.inside("acme");
    let bobs = ada.take_in(&bob, "bob@example.com", "DEVELOPER").await;
    let bobs_token = token(&bob.inside("acme"), &["read_project", "read_member"]).await;
    let narrow = token(&ada, &["read_project"]).await;

    let mut socket = Socket::listening(&local, &narrow, None, Value::Null).await;
    let mut other =
        Socket::listening(&local, &bobs_token, None, json!(["MEMBER", "PROJECT"])).await;
    // A subscription is there when its first event comes, so projects are made until it does.
    let make = async || {
        ada.data(CREATE_PROJECT, json!({ "input": { "name": "Rocket" } }))
            .await["project"]["create"]["id"]
            .clone()
    };
    for socket in [&mut socket, &mut other] {
        let endless = async {
            loop {
                make().await;
            }
        };
        let first =
            tokio::select! { first = socket.event() => first, () = endless => unreachable!() };
        assert_eq!(first["area"], "PROJECT");
    }
    let begun = Instant::now();
    let last = make().await;
    while socket.event().await["id"] != last {}
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );

    let mut refused = Socket::listening(&local, &narrow, None, json!(["MEMBER"])).await;
    assert_eq!(refused.refusal().await, "FORBIDDEN");
    // As a guest, Bob may no longer read members: what he listens to ends, though projects alone
    // would go on.
    let begun = Instant::now();
    let change =
        "mutation($input: UpdateMemberInput!) { member { update(input: $input) { role } } }";
    ada.data(change, json!({ "input": { "id": bobs, "role": "GUEST" } }))
        .await;
    assert_eq!(other.refusal().await, "FORBIDDEN");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    ada.found("acme").await;
    let ada = ada.inside("acme");
    for _ in 0..20 {
        join_all((0..20).map(|at| {
            ada.data(
                CREATE_PROJECT,
                json!({ "input": { "name": at.to_string() } }),
            )
        }))
        .await;
    }
    let token = token(&ada, &["read_project"]).await;
    let bearer = format!("Bearer {token}");
    let mut socket = Socket::open_with(&local, &[("authorization", &bearer)], Some(4_096))
        .await
        .unwrap();
    socket.hear().await.unwrap();
    // Every event many times over: far more than the buffers between the two hold.
    let aliases: String = (0..28)
        .map(|at| format!("a_rather_long_alias_for_{at}: cursor "))
        .collect();
    let query = format!("subscription {{ events(after: \"AAAAAAAAAAA\") {{ {aliases} }} }}");
    for id in 0..20 {
        socket.subscribe(&id.to_string(), &query, json!({})).await;
    }
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(25)).await;
    let mut heard = 0;
    while socket.hear().await.is_some() {
        heard += 1;
    }
    assert!(
        heard < 20 * 400,
        "{heard}: all of it came, so nothing was ever held up"
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(
        ada.data("{ projects { totalCount } }", json!({})).await["projects"]["totalCount"],
        400,
        "others are served"
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_carries_subscriptions_alone_and_none_too_many() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    ada.found("acme").await;
    let token = token(&ada.inside("acme"), &["read_project"]).await;
    let bearer = format!("Bearer {token}");
    let mut socket = Socket::open(&local, &[("authorization", &bearer)])
        .await
        .unwrap();
    socket.hear().await.unwrap();
    let deep = format!(
        "subscription {{ events {{ id }} ...f }} fragment f on Subscription {{ {} }}",
        "events { id } ".repeat(600)
    );
    for (id, query) in [
        ("1", "{ projects { nodes { id } } }"),
        ("2", "mutation { account { logout { success } } }"),
        ("3", "subscription { events(after: \"nonsense\") { id } }"),
        ("4", "subscription { nothing }"),
        ("5", &deep),
        ("6", "not GraphQL"),
    ] {
        socket.subscribe(id, query, json!({})).await;
        assert_eq!(socket.refusal().await, "BAD_USER_INPUT", "{query}");
        // What was refused is also completed.
    }
    for id in 10..30 {
        socket.subscribe(&id.to_string(), EVENTS, json!({})).await;
    }
    socket.subscribe("30", EVENTS, json!({})).await;
    assert_eq!(socket.refusal().await, "BAD_USER_INPUT");

    let mut nobody = Socket::open(&local, &[]).await.unwrap();
    nobody.hear().await.unwrap();
    nobody.subscribe("1", EVENTS, json!({})).await;
    assert_eq!(nobody.refusal().await, "UNAUTHENTICATED");
    let eve = Browser::new(&local);
    eve.join("eve@example.com").await;
    eve.found("rival").await;
    for tenant in ["rival", "nowhere", "x y"] {
        let mut elsewhere =
            Socket::open(&local, &[("authorization", &bearer), ("x-tenant", tenant)])
                .await
                .unwrap();
        elsewhere.hear().await.unwrap();
        elsewhere.subscribe("1", EVENTS, json!({})).await;
        assert_eq!(elsewhere.refusal().await, "NOT_FOUND", "{tenant}");
    }
    let foreign = Socket::open(&local, &[("origin", "https://evil.example")]).await;
    assert!(matches!(foreign, Err(Error::Http(response)) if response.status() == 403));
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_administrators_who_did_what_and_from_where() {
    let local = start().await;
    let (ada, bob) = (Browser::new(&local), Browser::new(&local));
    tokio::join!(ada.join("ada@example.com"), bob.join("bob@example.com"));
    let tenant = ada.found("acme").await;
    let ada = ada.inside("acme");
    ada.take_in(&bob, "bob@example.com", "DEVELOPER").await;
    let bob = bob.inside("acme");
    let token = token(&bob, &["create_project"]).await;
    let robot = Browser::machine(&local, &token);
    let project = robot
        .data(CREATE_PROJECT, json!({ "input": { "name": "Rocket" } }))
        .await;
    for at in 0..300 {
        bob.data(
            CREATE_PROJECT,
            json!({ "input": { "name": at.to_string() } }),
        )
        .await;
    }
    let audit = "query($where: AuditFilter, $first: Int, $after: String) { auditLog(where: $where, first: $first, after: $after) {
        nodes { at area id revision events address device actor { kind id person { firstname } } } pageInfo { hasNextPage endCursor } } }";
    let ask = async |variables: Value| ada.data(audit, variables).await["auditLog"].clone();

    let first =
        ask(json!({ "where": { "id": project["project"]["create"]["id"] } })).await["nodes"][0]
            .clone();
    assert_eq!(
        (&first["area"], &first["events"], &first["actor"]["kind"]),
        (
            &json!("PROJECT"),
            &json!(["created"]),
            &json!("ACCESS_TOKEN")
        )
    );
    assert_eq!(
        (&first["address"], &first["device"]),
        (&json!("127.0.0.1"), &json!("Browser/1.0"))
    );
    let founding = ask(json!({ "where": { "area": ["TENANT"] } })).await;
    assert_eq!(founding["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &founding["nodes"][0]["id"],
            &founding["nodes"][0]["actor"]["person"]["firstname"]
        ),
        (&tenant["id"], &json!("Ada"))
    );
    assert_eq!(
        ask(json!({ "where": { "area": ["MEMBER"] } })).await["nodes"]
            .as_array()
            .unwrap()
            .len(),
        3,
        "founded, invited, accepted"
    );

    // All pages: everything once, the latest first.
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = ask(json!({ "first": 37, "after": after })).await;
        seen.extend(
            page["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|node| format!("{} {}", node["id"], node["revision"])),
        );
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(
        (seen.len(), seen.iter().collect::<BTreeSet<_>>().len()),
        (306, 306)
    );
    assert_eq!(seen.last().unwrap(), &format!("{} 1", tenant["id"]));

    let times = ask(json!({ "first": 100 })).await;
    let middle = times["nodes"][60]["at"].clone();
    let since = ask(json!({ "where": { "since": middle }, "first": 100 })).await["nodes"]
        .as_array()
        .unwrap()
        .clone();
    assert!(
        since.len() >= 61
            && since
                .iter()
                .all(|node| node["at"].as_str() >= middle.as_str())
    );
    let until = ask(json!({ "where": { "until": middle }, "first": 100 })).await["nodes"]
        .as_array()
        .unwrap()
        .clone();
    assert!(
        until.len() == 100
            && until
                .iter()
                .all(|node| node["at"].as_str() < middle.as_str())
    );

    assert_eq!(bob.error(audit, json!({})).await["code"], "FORBIDDEN");
    assert_eq!(
        ada.error(audit, json!({ "after": "nonsense" })).await["field"],
        "after"
    );
    assert_eq!(
        ada.error(audit, json!({ "first": 101 })).await["field"],
        "first"
    );
    eventually("the use of the token", || async {
        let tokens = ada
            .data("{ accessTokens { nodes { lastUsedAt } } }", json!({}))
            .await;
        tokens["accessTokens"]["nodes"][0]["lastUsedAt"].is_string()
    })
    .await;
    local.stop().await.unwrap();
}
