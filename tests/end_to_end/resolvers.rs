//! How a request names its tenant: each of the five places by itself, several in order, and what
//! hostile clients put there.
//!
//! Requests are written by hand: an ordinary client would mend what is wrong with them.

use std::net::SocketAddr;

use gateway::Resolver::{self, Cookie, Header, Path, Query, Subdomain};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Browser, Gateway, LOGIN, PASSWORD, start, start_with, text};

const ME: &str = "{ me { tenant { normalizedName } member { email } } }";
const ALL: [Resolver; 5] = [Subdomain, Header, Query, Cookie, Path];

/// A person who belongs to `acme` and not to `other`, and what it takes to ask as them.
struct World {
    local: local::Local,
    session: String,
    acme: String,
    other: String,
}

/// What a request says beside its session.
type Said<'a> = (&'a str, Vec<(&'a str, &'a [u8])>);

impl World {
    async fn new() -> Self {
        Self::of(start().await).await
    }

    async fn of(local: local::Local) -> Self {
        let (ada, eve) = (Browser::new(&local), Browser::new(&local));
        ada.join("ada@example.com").await;
        eve.join("eve@example.com").await;
        let (acme, other) = (
            text(&ada.found("acme").await, "/id"),
            text(&eve.found("other").await, "/id"),
        );
        let login = json!({ "input": { "service": "Password", "params": { "email": "ada@example.com", "password": PASSWORD } } });
        let response = ada.run_with(LOGIN, login, Default::default()).await;
        let cookie = response.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .to_owned();
        Self {
            local,
            session: cookie.split(';').next().unwrap().to_owned(),
            acme,
            other,
        }
    }

    async fn gateway(&self, resolvers: &[Resolver]) -> Gateway {
        Gateway::start(&self.local, |config| {
            config.tenant_resolvers = resolvers.to_vec();
            config.public_url = "http://backend.test:8443".to_owned();
        })
        .await
    }

    /// Who one is there, as the status and the whole body.
    async fn me(&self, gateway: &Gateway, said: &Said<'_>) -> (u16, Value) {
        ask(gateway.address(), Some(&self.session), ME, said).await
    }
}

/// Sends one request byte by byte as it is given, and reads its answer.
async fn ask(
    address: SocketAddr,
    session: Option<&str>,
    query: &str,
    (target, headers): &Said<'_>,
) -> (u16, Value) {
    let body = json!({ "query": query }).to_string();
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    .into_bytes();
    request.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    request.extend(
        session
            .iter()
            .flat_map(|session| format!("Cookie: {session}\r\n").into_bytes()),
    );
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request.extend(b"Host: backend.test:8443\r\n");
    }
    for (name, value) in headers {
        request.extend([name.as_bytes(), b": ", *value, b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    request.extend(body.bytes());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // A refusal of the HTTP library itself has no body.
    (
        status,
        if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
        },
    )
}

/// A request that names a tenant, or two, in this place; `value` is put there as it is.
fn said<'a>(resolver: Resolver, values: &[&'a str], scratch: &'a mut Vec<String>) -> Said<'a> {
    let written = match resolver {
        Subdomain => values
            .iter()
            .map(|value| format!("{value}.backend.test:8443"))
            .collect(),
        Header => values.iter().map(|value| (*value).to_owned()).collect(),
        Query => vec![format!(
            "/graphql?{}",
            values
                .iter()
                .map(|value| format!("tenant={value}"))
                .collect::<Vec<_>>()
                .join("&")
        )],
        Cookie => values
            .iter()
            .map(|value| format!("tenant={value}"))
            .collect(),
        Path => vec![format!("/t/{}/graphql", values.join("/t/"))],
    };
    *scratch = written;
    let headers = |name| {
        scratch
            .iter()
            .map(|value| (name, value.as_bytes()))
            .collect()
    };
    match resolver {
        Subdomain => ("/graphql", headers("Host")),
        Header => ("/graphql", headers("X-Tenant")),
        Cookie => ("/graphql", headers("Cookie")),
        Query | Path => (scratch[0].as_str(), Vec::new()),
    }
}

fn slug(body: &Value) -> &Value {
    &body["data"]["me"]["tenant"]["normalizedName"]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_names_a_tenant_by_slug_or_id_and_no_other_place_does() {
    let world = World::new().await;
    for resolver in ALL {
        let gateway = world.gateway(&[resolver]).await;
        for place in ALL {
            for name in ["acme", &world.acme] {
                let (status, body) = world
                    .me(&gateway, &said(place, &[name], &mut Vec::new()))
                    .await;
                if place == resolver {
                    assert_eq!(
                        (status, slug(&body)),
                        (200, &json!("acme")),
                        "{resolver}: {name}: {body}"
                    );
                } else {
                    assert_eq!(
                        body["errors"][0]["extensions"]["code"], "NOT_FOUND",
                        "{resolver} read {place}: {body}"
                    );
                }
            }
        }
        gateway.stop().await;
    }
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_s_tenant_a_missing_one_and_nonsense_are_answered_alike_in_every_place() {
    let world = World::new().await;
    let missing = "0".repeat(32);
    let (upper, long) = (world.acme.to_uppercase(), "a".repeat(500));
    // Each stands for a family: foreign, missing, of wrong form, encoded, meant for MongoDB, NATS,
    // a path or a shell.
    let mut wrong = vec![
        "other",
        &world.other,
        "nowhere",
        &missing,
        &upper,
        "ACME",
        "-acme",
        "platform",
        "$ne",
        "%61cme",
        "acme%00",
    ];
    wrong.extend([
        "acme*",
        "evt.*.%3E",
        "..%2Facme",
        "acme%2Fgraphql",
        "null",
        "acme'",
        &long,
    ]);
    for resolver in ALL {
        let gateway = world.gateway(&[resolver]).await;
        let expected = world.me(&gateway, &("/graphql", Vec::new())).await;
        assert_eq!(
            (expected.0, &expected.1["data"]),
            (200, &json!({ "me": null })),
            "{resolver}"
        );
        assert_eq!(
            expected.1["errors"][0]["extensions"],
            json!({ "code": "NOT_FOUND" }),
            "{resolver}"
        );
        for name in &wrong {
            // Host names know no upper case.
            if resolver == Subdomain && name.contains(char::is_uppercase) {
                continue;
            }
            assert_eq!(
                world
                    .me(&gateway, &said(resolver, &[name], &mut Vec::new()))
                    .await,
                expected,
                "{resolver}: {name}"
            );
        }
        for twice in [["acme", "acme"], ["acme", "other"], ["nowhere", "acme"]] {
            // Two hosts are looked at by themselves; a path with two has no route.
            if !matches!(resolver, Subdomain | Path) {
                assert_eq!(
                    world
                        .me(&gateway, &said(resolver, &twice, &mut Vec::new()))
                        .await,
                    expected,
                    "{resolver}: {twice:?}"
                );
            }
        }
        assert_eq!(
            slug(
                &world
                    .me(&gateway, &said(resolver, &["acme"], &mut Vec::new()))
                    .await
                    .1
            ),
            "acme",
            "{resolver}"
        );
        gateway.stop().await;
    }
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_spellings_of_each_place_name_no_tenant() {
    let world = World::new().await;
    let cases: [(Resolver, Vec<Said<'_>>); 5] = [
        (
            Subdomain,
            [
                &b"acme.backend.test.evil.org"[..],
                b"acmebackend.test",
                b"a.acme.backend.test",
                b".backend.test",
                b"acme..backend.test",
            ]
            .into_iter()
            .chain([
                &b"acme.evil.org"[..],
                b"backend.test@acme",
                b"acme.backend.test:8443:1",
                b"",
                b"acme.backend.test.",
            ])
            .map(|host| ("/graphql", vec![("Host", host)]))
            .collect(),
        ),
        (
            Header,
            [
                &b""[..],
                b"acme,other",
                b"acme acme",
                b"\xff\xfe",
                b"acme\xff",
                b"\"acme\"",
                b"acme;other",
            ]
            .into_iter()
            .map(|value| ("/graphql", vec![("X-Tenant", value)]))
            .collect(),
        ),
        (
            Query,
            [
                "/graphql?tenant",
                "/graphql?tenant=",
                "/graphql?Tenant=acme",
                "/graphql?tenant[]=acme",
                "/graphql?tenant=acme;x",
            ]
            .into_iter()
            .chain([
                "/graphql?a=1&tenant=acme&tenant",
                "/graphql?tenant%3Dacme",
                "/graphql?tenant=+acme",
            ])
            .map(|target| (target, Vec::new()))
            .collect(),
        ),
        (
            Cookie,
            [
                &b"tenant"[..],
                b"tenant=",
                b"Tenant=acme",
                b"tenant=\"acme\"",
                b"tenant=acme; tenant=acme",
                b"tenant=acme, tenant=other",
            ]
            .into_iter()
            .map(|value| ("/graphql", vec![("Cookie", value)]))
            .collect(),
        ),
        (
            Path,
            [
                "/t//graphql",
                "/t/acme%20/graphql",
                "/t/acme;x/graphql",
                "/t/.acme/graphql",
            ]
            .into_iter()
            .map(|target| (target, Vec::new()))
            .collect(),
        ),
    ];
    for (resolver, cases) in cases {
        let gateway = world.gateway(&[resolver]).await;
        for said in cases {
            let (status, body) = world.me(&gateway, &said).await;
            assert!(
                status == 200 || status == 400,
                "{resolver} {said:?}: {status} {body}"
            );
            assert!(slug(&body).is_null(), "{resolver} {said:?}: {body}");
            assert!(
                status == 400 || body["errors"][0]["extensions"]["code"] == "NOT_FOUND",
                "{resolver} {said:?}: {body}"
            );
        }
        gateway.stop().await;
    }
    let gateway = world.gateway(&[Path]).await;
    for target in [
        "/t/graphql",
        "/t/acme",
        "/t/acme/",
        "/t/acme/graphql/",
        "/t/acme/t/acme/graphql",
        "/t/../t/acme/graphql",
    ] {
        let (status, body) = world.me(&gateway, &(target, Vec::new())).await;
        assert_eq!(
            (status, &body["errors"][0]["extensions"]["code"]),
            (404, &json!("NOT_FOUND")),
            "{target}"
        );
    }
    gateway.stop().await;
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_place_that_says_anything_decides_and_what_it_says_is_never_passed_over() {
    let world = World::new().await;
    for (at, first) in ALL.into_iter().enumerate() {
        // Each of the other places, in turn, says the right thing behind it.
        for second in ALL.into_iter().cycle().skip(at + 1).take(4) {
            let gateway = world.gateway(&[first, second]).await;
            let (mut one, mut two) = (Vec::new(), Vec::new());
            let right = said(second, &["acme"], &mut two);
            assert_eq!(
                slug(&world.me(&gateway, &right).await.1),
                "acme",
                "{first} says nothing, so {second} decides"
            );
            for wrong in ["other", "nowhere", "-no-such-thing"] {
                let both = (said(first, &[wrong], &mut one), right.clone());
                let target = target(&both.0, &both.1);
                let (_, body) = world
                    .me(&gateway, &(&target, [both.0.1, both.1.1].concat()))
                    .await;
                assert_eq!(
                    body["errors"][0]["extensions"]["code"], "NOT_FOUND",
                    "{first} {wrong} before {second}: {body}"
                );
            }
            let both = (
                said(first, &["acme"], &mut one),
                said(second, &["other"], &mut two),
            );
            let target = target(&both.0, &both.1);
            let (_, body) = world
                .me(&gateway, &(&target, [both.0.1, both.1.1].concat()))
                .await;
            assert_eq!(slug(&body), "acme", "{first} before {second}: {body}");
            gateway.stop().await;
        }
    }
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_option_of_the_gateway_names_the_places_in_their_order() {
    let world = World::of(start_with(&["--tenant-resolvers", "query,header,cookie"]).await).await;
    let address = world
        .local
        .url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    for (target, header, cookie, expected) in [
        (
            "/graphql?tenant=acme",
            "other",
            "tenant=other",
            json!("acme"),
        ),
        ("/graphql?tenant=other", "acme", "tenant=acme", Value::Null),
        ("/t/other/graphql", "acme", "tenant=other", json!("acme")),
        ("/t/acme/graphql", "other", "tenant=acme", Value::Null),
    ] {
        let said = (
            target,
            vec![
                ("X-Tenant", header.as_bytes()),
                ("Cookie", cookie.as_bytes()),
            ],
        );
        let (_, body) = ask(address, Some(&world.session), ME, &said).await;
        assert_eq!(slug(&body), &expected, "{target}: {body}");
    }
    world.local.stop().await.unwrap();
}

/// One target that says what both say: a path and a query go together.
fn target(one: &Said<'_>, two: &Said<'_>) -> String {
    let all = [one.0, two.0];
    let path = all
        .iter()
        .find(|target| target.starts_with("/t/"))
        .unwrap_or(&"/graphql");
    let query = all
        .iter()
        .find_map(|target| target.split_once('?'))
        .map(|(_, query)| format!("?{query}"));
    format!("{path}{}", query.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_name_no_tenant() {
    let world = World::new().await;
    let gateway = world.gateway(&[Subdomain]).await;
    for hosts in [
        ["acme.backend.test", "other.backend.test"],
        ["other.backend.test", "acme.backend.test"],
        ["acme.backend.test"; 2],
    ] {
        let (_, body) = world
            .me(
                &gateway,
                &(
                    "/graphql",
                    hosts.iter().map(|host| ("Host", host.as_bytes())).collect(),
                ),
            )
            .await;
        assert!(slug(&body).is_null(), "{hosts:?}: {body}");
    }
    gateway.stop().await;
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_even_text_is_not_passed_over() {
    let world = World::new().await;
    let nonsense: [(Resolver, &str, &[u8]); 3] = [
        (Header, "X-Tenant", b"other\xff"),
        (Cookie, "Cookie", b"tenant=other\xff"),
        (Subdomain, "Host", b"other\xff.backend.test:8443"),
    ];
    let mut passed_over = Vec::new();
    for (first, name, value) in nonsense {
        let gateway = world.gateway(&[first, Query]).await;
        let (_, body) = world
            .me(&gateway, &("/graphql?tenant=acme", vec![(name, value)]))
            .await;
        if !slug(&body).is_null() {
            passed_over.push(first);
        }
        gateway.stop().await;
    }
    assert_eq!(passed_over, []);
    world.local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_in_a_tenant_cannot_tell_it_from_none_by_any_operation() {
    let world = World::new().await;
    let gateway = world.gateway(&[Header]).await;
    let id = "0".repeat(32);
    let operations = [
        "{ me { permissions } tenant { id } projects { totalCount } members { totalCount } roles { id } accessTokens { totalCount } }"
            .to_owned(),
        format!(
            "{{ project(id: \"{id}\") {{ id }} member(id: \"{id}\") {{ id }} role(id: \"owner\") {{ id }} accessToken(id: \"{id}\") {{ id }} }}"
        ),
        "mutation { tenant { update(input: { name: \"Mine\" }) { id } } }".to_owned(),
        "mutation { tenant { delete(input: { normalizedName: \"other\" }) { success } } }".to_owned(),
        "mutation { member { invite(input: { email: \"ada@example.com\", role: OWNER }) { id } } }".to_owned(),
        format!("mutation {{ member {{ delete(id: \"{id}\") {{ success }} update(input: {{ id: \"{id}\", role: OWNER }}) {{ id }} }} }}"),
        format!(
            "mutation {{ role {{ delete(id: \"{id}\") {{ success }} assign(input: {{ member: \"{id}\", role: \"{id}\" }}) {{ id }} }} }}"
        ),
        "mutation { role { create(input: { name: \"R\", permissions: [] }) { id } } }".to_owned(),
        "mutation { accessToken { create(input: { name: \"T\", scopes: [\"read_project\"] }) { token } } }".to_owned(),
        "mutation { project { create(input: { name: \"P\" }) { id } } }".to_owned(),
    ];
    for session in [Some(world.session.as_str()), None] {
        for query in &operations {
            let at = async |tenant: &str| {
                ask(
                    gateway.address(),
                    session,
                    query,
                    &("/graphql", vec![("X-Tenant", tenant.as_bytes())]),
                )
                .await
            };
            let expected = at("nowhere").await;
            let code = if session.is_some() {
                "NOT_FOUND"
            } else {
                "UNAUTHENTICATED"
            };
            for error in expected.1["errors"].as_array().unwrap() {
                assert_eq!(
                    error["extensions"],
                    json!({ "code": code }),
                    "{query}: {}",
                    expected.1
                );
            }
            assert_eq!(at("other").await, expected, "{query}");
            assert_eq!(at(&world.other).await, expected, "{query}");
        }
    }
    gateway.stop().await;
    world.local.stop().await.unwrap();
}
