//! The feed over WebSocket: in order, nothing missed, nothing twice, nothing of another tenant.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use events_schema::subject::{self, direct_get};
use futures_util::{StreamExt, future::join_all};
use local::Local;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::support::{
    Browser, CREATE_TOKEN, EVENTS, PROJECTS, Socket, UPDATE_MEMBER, ada_and_bob, ada_in_acme,
    create_project, eventually, input, operator, start, start_with, text,
};

pub(crate) async fn create_token(browser: &Browser, scopes: &[&str]) -> String {
    let token = input(json!({ "name": "Listener", "scopes": scopes }));
    text(
        &browser.data(CREATE_TOKEN, token).await,
        "/accessToken/create/token",
    )
}

/// Receives `wanted` events over 101 sockets, each of which is closed after a few of them.
async fn listen_over_many_sockets(backend: &Local, token: &str, wanted: usize) -> Vec<Value> {
    let mut heard = Vec::new();
    let mut cursor: Option<String> = None;
    for lost in 0..=100 {
        let areas = json!(["PROJECT"]);
        let mut socket = Socket::subscribed_to_all(backend, token, cursor.as_deref(), areas).await;
        // The last socket receives the rest.
        let until = if lost < 100 {
            heard.len() + 1 + lost % 4
        } else {
            wanted
        };
        while heard.len() < until.min(wanted) {
            let event = socket.event().await;
            cursor = Some(text(&event, "/cursor"));
            heard.push(event);
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reconnects_a_hundred_times_gets_every_event_once_and_in_order() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    eve.create_tenant("rival").await;
    let eve = eve.in_tenant("rival");
    let tenant = text(&ada.data("{ tenant { id } }", ()).await, "/tenant/id");
    let token = create_token(&ada, &["read_project"]).await;
    let work = async {
        let mut created = BTreeSet::new();
        for round in 0..40 {
            let names: Vec<_> = (0..8).map(|at| format!("{round} {at}")).collect();
            let acme = join_all(names.iter().map(|name| create_project(&ada, name)));
            let (acme, _) = tokio::join!(acme, create_project(&eve, "rival"));
            created.extend(acme);
        }
        created
    };
    let listen = listen_over_many_sockets(&backend, &token, 320);
    let (created, heard) = tokio::join!(work, listen);

    let ids: Vec<String> = heard.iter().map(|event| text(event, "/id")).collect();
    assert_eq!(ids.len(), 320);
    assert_eq!(
        ids.iter().cloned().collect::<BTreeSet<_>>(),
        created,
        "each once, none of the rival's"
    );
    let log = operator(&backend).await.get_stream("EVENTS").await.unwrap();
    let mut sequences = Vec::new();
    for id in &ids {
        let subject = format!("evt.{tenant}.project.{id}");
        let stored = log.get_last_raw_message_by_subject(&subject).await.unwrap();
        sequences.push(stored.sequence);
    }
    assert!(sequences.is_sorted(), "in the log's order");
    for event in &heard {
        assert_eq!(
            (&event["area"], &event["events"]),
            (&json!("PROJECT"), &json!(["created"]))
        );
    }
}

/// Waits until a subscription has begun: creates projects until the first event arrives.
pub(crate) async fn begun(ada: &Browser, socket: &mut Socket) {
    let create_projects = async {
        loop {
            create_project(ada, "Rocket").await;
        }
    };
    let first = tokio::select! {
        first = socket.event() => first,
        () = create_projects => unreachable!(),
    };
    assert_eq!(first["area"], "PROJECT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_within_two_seconds() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let mut socket = Socket::subscribed(&backend, &token, None, Value::Null).await;
    begun(&ada, &mut socket).await;
    let start = Instant::now();
    let last = create_project(&ada, "Last").await;
    while socket.event().await["id"] != last.as_str() {}
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_a_tenant_share_one_reader_of_the_log() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let subscribed = (0..40).map(|_| Socket::subscribed(&backend, &token, None, Value::Null));
    let mut sockets = join_all(subscribed).await;
    for socket in &mut sockets {
        begun(&ada, socket).await;
    }
    let client = operator(&backend).await.client();
    let log = direct_get(subject::EVENTS);
    let mut reads = client.subscribe(log.clone()).await.unwrap();
    client.flush().await.unwrap();
    let last = create_project(&ada, "Last").await;
    for socket in &mut sockets {
        while socket.event().await["id"] != last.as_str() {}
    }
    // The operator hears of every read before it hears of this message.
    client.publish(log, "".into()).await.unwrap();
    let mut reads_of_acme = 0;
    while let read = reads.next().await.unwrap()
        && !read.payload.is_empty()
    {
        let read: Value = serde_json::from_slice(&read.payload).unwrap();
        // Workers that wake webhooks ask for last messages, without such a filter.
        let filter = read["next_by_subj"].as_str().unwrap_or_default();
        reads_of_acme += usize::from(filter.ends_with(".*.*"));
    }
    assert!((1..20).contains(&reads_of_acme), "{reads_of_acme} reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_initialized_in_time_is_closed() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    // One that is in time stays open for longer.
    let mut socket = Socket::subscribed(&backend, &token, None, Value::Null).await;
    begun(&ada, &mut socket).await;
    let mut late = Socket::connect(&backend, &headers, None).await.unwrap();
    assert_eq!(late.close_code().await, 4408);
    let last = create_project(&ada, "Last").await;
    while socket.event().await["id"] != last.as_str() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_to_an_area_beyond_the_tokens_scopes_is_refused() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let mut socket = Socket::subscribed(&backend, &token, None, json!(["MEMBER"])).await;
    assert_eq!(socket.refusal().await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_when_its_client_may_no_longer_read_one_of_its_areas() {
    let backend = start().await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
    let id = ada.add_member(&bob, "bob@example.com", "DEVELOPER").await;
    let token = create_token(&bob, &["read_project", "read_member"]).await;
    let areas = json!(["MEMBER", "PROJECT"]);
    let mut socket = Socket::subscribed(&backend, &token, None, areas).await;
    begun(&ada, &mut socket).await;
    let start = Instant::now();
    // A guest reads projects, but not members.
    ada.data(UPDATE_MEMBER, input(json!({ "id": id, "role": "GUEST" })))
        .await;
    assert_eq!(socket.refusal().await, "FORBIDDEN");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_disconnected() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    for _ in 0..20 {
        join_all((0..20).map(|_| create_project(&ada, "Rocket"))).await;
    }
    let bearer = format!("Bearer {}", create_token(&ada, &["read_project"]).await);
    let headers = [("authorization", bearer.as_str())];
    let mut socket = Socket::open_with_buffer(&backend, &headers, Some(4_096))
        .await
        .unwrap();
    // Every event many times over: far more than the buffers between the two hold.
    let aliases: String = (0..28)
        .map(|at| format!("a_rather_long_alias_for_{at}: cursor "))
        .collect();
    let query = format!("subscription {{ events(fromBeginning: true) {{ {aliases} }} }}");
    for id in 0..20 {
        socket.subscribe(&id.to_string(), &query, ()).await;
    }
    assert!(!socket.is_cut_off());
    eventually("the end of the connection", || async {
        socket.is_cut_off()
    })
    .await;
    let mut heard = 0;
    while socket.receive().await.is_some() {
        heard += 1;
    }
    assert!(
        heard < 20 * 400,
        "{heard}: everything arrived, so the gateway was never blocked"
    );
    assert_eq!(
        ada.data(PROJECTS, ()).await["projects"]["totalCount"],
        400,
        "others are served"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_carries_subscriptions_only() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let bearer = format!("Bearer {}", create_token(&ada, &["read_project"]).await);
    let mut socket = Socket::open(&backend, &[("authorization", &bearer)])
        .await
        .unwrap();
    let deep = format!(
        "subscription {{ events {{ id }} ...f }} fragment f on SubscriptionRoot {{ {} }}",
        "events { id } ".repeat(600)
    );
    let refused = [
        "{ projects { nodes { id } } }",
        "mutation { account { logout { success } } }",
        r#"subscription { events(after: "garbage") { id } }"#,
        "subscription { nothing }",
        &deep,
        "not GraphQL",
    ];
    for (id, query) in refused.iter().enumerate() {
        socket.subscribe(&id.to_string(), query, ()).await;
        assert_eq!(socket.refusal().await, "BAD_USER_INPUT", "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_carries_twenty_subscriptions_at_once() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let bearer = format!("Bearer {}", create_token(&ada, &["read_project"]).await);
    let mut socket = Socket::open(&backend, &[("authorization", &bearer)])
        .await
        .unwrap();
    // A refused subscription takes no place.
    socket.subscribe("0", "subscription { nothing }", ()).await;
    assert_eq!(socket.refusal().await, "BAD_USER_INPUT");
    for id in 1..=20 {
        socket.subscribe(&id.to_string(), EVENTS, ()).await;
    }
    socket.subscribe("21", EVENTS, ()).await;
    assert_eq!(socket.refusal().await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_socket() {
    let backend = start().await;
    for headers in [&[][..], &[("authorization", "Bearer ub_unknown")]] {
        let refused = Socket::connect(&backend, headers, None).await;
        assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 401));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_has_one_field() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let bearer = format!("Bearer {}", create_token(&ada, &["read_project"]).await);
    let headers = [("authorization", bearer.as_str())];
    let mut socket = Socket::open(&backend, &headers).await.unwrap();
    for (id, query) in [
        "subscription { a: events { id } b: events { id } }",
        "subscription { events { id } ...f } fragment f on SubscriptionRoot { b: events { id } }",
    ]
    .iter()
    .enumerate()
    {
        socket.subscribe(&id.to_string(), query, ()).await;
        assert_eq!(socket.refusal().await, "BAD_USER_INPUT", "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_a_client_and_feeds_of_an_account_and_a_tenant_are_limited() {
    let limits = [
        "--sockets-per-client=4",
        "--feeds-per-account=2",
        "--feeds-per-tenant=3",
    ];
    let backend = start_with(&limits).await;
    let (ada, bob) = ada_and_bob(&backend).await;
    ada.create_tenant("acme").await;
    let (ada, bob) = (ada.in_tenant("acme"), bob.in_tenant("acme"));
    ada.add_member(&bob, "bob@example.com", "DEVELOPER").await;
    let scopes = ["read_project"];
    let (of_ada, of_bob) = (create_token(&ada, &scopes), create_token(&bob, &scopes));
    let (of_ada, of_bob) = (of_ada.await, of_bob.await);
    let mut sockets = Vec::new();
    for token in [&of_ada, &of_ada, &of_bob] {
        let mut socket = Socket::subscribed(&backend, token, None, Value::Null).await;
        begun(&ada, &mut socket).await;
        sockets.push(socket);
    }
    for socket in [0, 2] {
        sockets[socket].subscribe("more", EVENTS, ()).await;
        assert_eq!(sockets[socket].refusal().await, "RATE_LIMITED");
    }
    let bearer = format!("Bearer {of_bob}");
    let headers = [("authorization", bearer.as_str())];
    let fourth = Socket::open(&backend, &headers).await.unwrap();
    let Err(Error::Http(refused)) = Socket::open(&backend, &headers).await else {
        panic!("a socket too many was opened");
    };
    assert_eq!(refused.status().as_u16(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    // What is closed makes room.
    drop((fourth, sockets.pop()));
    eventually("room for a socket", || async {
        Socket::open(&backend, &headers).await.is_ok()
    })
    .await;
    let mut socket = Socket::subscribed(&backend, &of_bob, None, Value::Null).await;
    begun(&ada, &mut socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_in_another_tenant_than_the_tokens_is_refused() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let bearer = format!("Bearer {}", create_token(&ada, &["read_project"]).await);
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    eve.create_tenant("rival").await;
    for tenant in ["rival", "nowhere", "x y"] {
        let headers = [("authorization", bearer.as_str()), ("x-tenant", tenant)];
        let mut socket = Socket::open(&backend, &headers).await.unwrap();
        socket.subscribe("1", EVENTS, ()).await;
        assert_eq!(socket.refusal().await, "NOT_FOUND", "{tenant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_from_another_site_is_refused() {
    let backend = start().await;
    let foreign = Socket::open(&backend, &[("origin", "https://evil.example")]).await;
    assert!(matches!(foreign, Err(Error::Http(response)) if response.status() == 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_too_many_sockets_gets_no_more_and_shuts_out_nobody() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let token = create_token(&ada, &["read_project"]).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let mut sockets = Vec::new();
    for _ in 0..300 {
        sockets.push(Socket::open(&backend, &headers).await.unwrap());
    }
    let Err(Error::Http(refused)) = Socket::open(&backend, &headers).await else {
        panic!("a socket too many was opened");
    };
    assert_eq!(refused.status().as_u16(), 429);
    create_project(&ada, "Rocket").await;
    let eve = Browser::signed_up(&backend, "eve@example.com").await;
    eve.create_tenant("rival").await;
    let eve = eve.in_tenant("rival");
    let other = create_token(&eve, &["read_project"]).await;
    Socket::subscribed(&backend, &other, None, Value::Null).await;
    // A closed socket makes room.
    drop(sockets.pop());
    eventually("room for a socket", || async {
        Socket::open(&backend, &headers).await.is_ok()
    })
    .await;
}
