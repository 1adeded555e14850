//! How a request names its tenant: each of the five places by itself, several in order, and what
//! hostile clients put there.

mod request;

use event_store::Mode;
use gateway::Resolver::{self, Cookie, Header, Path, Query, Subdomain};
use local::Local;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, Gateway, LOGIN, PASSWORD, code_of, credentials, list, share, start, start_with, text,
};
use request::Request;

const ME: &str = "{ me { tenant { normalizedName } member { email } } }";
const ALL: [Resolver; 5] = [Subdomain, Header, Query, Cookie, Path];

/// Ada belongs to `acme` and not to `other`.
struct World {
    backend: Local,
    /// The cookie of Ada's session.
    session: String,
    /// The id of `acme`.
    acme: String,
    /// The id of `other`.
    other: String,
}

impl World {
    async fn start() -> Self {
        Self::with(start().await).await
    }

    async fn with(backend: Local) -> Self {
        let ada = Browser::signed_up(&backend, "ada@example.com").await;
        let eve = Browser::signed_up(&backend, "eve@example.com").await;
        let acme = text(&ada.create_tenant("acme").await, "/id");
        let other = text(&eve.create_tenant("other").await, "/id");
        let response = ada
            .post(LOGIN, credentials("ada@example.com", PASSWORD))
            .await;
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        let session = cookie.split(';').next().unwrap().to_owned();
        Self {
            backend,
            session,
            acme,
            other,
        }
    }

    /// A gateway that looks for the tenant in these places.
    async fn gateway(&self, resolvers: &[Resolver]) -> Gateway {
        Gateway::start(&self.backend, |config| {
            config.tenant_resolvers = resolvers.to_vec();
            config.posture.public_url = "http://backend.test:8443".to_owned();
            config.posture.mode = Some(Mode::Development);
        })
        .await
    }

    /// Asks who Ada is; returns the status and the body.
    async fn me(&self, gateway: &Gateway, request: &Request) -> (u16, Value) {
        request
            .send(gateway.address(), Some(&self.session), ME)
            .await
    }

    /// The slug of the tenant that a request is for; null if it is refused, which must be by
    /// `NOT_FOUND`.
    async fn slug(&self, gateway: &Gateway, request: &Request) -> Value {
        let (status, body) = self.me(gateway, request).await;
        assert_eq!(status, 200, "{request:?}: {body}");
        let slug = slug(&body).clone();
        assert!(
            !slug.is_null() || code_of(&body) == "NOT_FOUND",
            "{request:?}: {body}"
        );
        slug
    }
}

/// Runs a test in the one world of this file: the tests only read.
fn in_world(test: impl AsyncFnOnce(&World)) {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    share(&WORLD, World::start, test);
}

fn slug(body: &Value) -> &Value {
    &body["data"]["me"]["tenant"]["normalizedName"]
}

#[test]
fn each_place_names_a_tenant_by_slug_or_id_and_other_places_are_ignored() {
    in_world(async |world| {
        for resolver in ALL {
            let gateway = world.gateway(&[resolver]).await;
            for place in ALL {
                for name in ["acme", &world.acme] {
                    let (status, body) = world.me(&gateway, &Request::naming(place, &[name])).await;
                    let what = format!("{resolver} by {place}: {body}");
                    if place == resolver {
                        assert_eq!((status, slug(&body)), (200, &json!("acme")), "{what}");
                    } else {
                        assert!(
                            slug(&body).is_null() && code_of(&body).is_string(),
                            "{what}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn a_foreign_a_missing_and_a_malformed_tenant_are_answered_alike_in_every_place() {
    in_world(async |world| {
        let missing = "0".repeat(32);
        let (upper, long) = (world.acme.to_uppercase(), "a".repeat(500));
        // Each stands for a family: foreign, missing, of wrong form, encoded, meant for MongoDB,
        // NATS, a path or a shell.
        let wrong = [
            "other",
            &world.other,
            &missing,
            &upper,
            "ACME",
            "-acme",
            "platform",
            "$ne",
            "%61cme",
            "acme%00",
            "acme*",
            "evt.*.%3E",
            "..%2Facme",
            "acme%2Fgraphql",
            "null",
            "acme'",
            &long,
        ];
        for resolver in ALL {
            let gateway = world.gateway(&[resolver]).await;
            let expected = world
                .me(&gateway, &Request::naming(resolver, &["nowhere"]))
                .await;
            assert_eq!(
                (expected.0, &expected.1["data"]),
                (200, &json!({ "me": null })),
                "{resolver}"
            );
            let extensions = &expected.1["errors"][0]["extensions"];
            assert_eq!(*extensions, json!({ "code": "NOT_FOUND" }), "{resolver}");
            for name in wrong {
                // Host names know no upper case.
                if resolver == Subdomain && name.contains(char::is_uppercase) {
                    continue;
                }
                let answer = world
                    .me(&gateway, &Request::naming(resolver, &[name]))
                    .await;
                assert_eq!(answer, expected, "{resolver}: {name}");
            }
            // Two hosts have a test of their own; a path with two tenants has no route.
            if !matches!(resolver, Subdomain | Path) {
                for twice in [["acme", "acme"], ["acme", "other"], ["nowhere", "acme"]] {
                    let answer = world.me(&gateway, &Request::naming(resolver, &twice)).await;
                    assert_eq!(answer, expected, "{resolver}: {twice:?}");
                }
            }
            let right = Request::naming(resolver, &["acme"]);
            assert_eq!(world.slug(&gateway, &right).await, "acme", "{resolver}");
        }
    });
}

/// Spellings of `acme` in one place that must not be understood.
fn hostile_spellings(place: Resolver) -> Vec<Request> {
    let headers = |name: &'static str, values: &[&[u8]]| {
        values
            .iter()
            .map(|value| Request::plain().with(name, value))
            .collect()
    };
    let targets = |targets: &[&str]| targets.iter().map(|target| Request::to(target)).collect();
    match place {
        Subdomain => headers(
            "Host",
            &[
                b"acme.backend.test.evil.org",
                b"acmebackend.test",
                b"a.acme.backend.test",
                b".backend.test",
                b"acme..backend.test",
                b"acme.evil.org",
                b"backend.test@acme",
                b"acme.backend.test:8443:1",
                b"",
                b"acme.backend.test.",
            ],
        ),
        Header => headers(
            "X-Tenant",
            &[
                b"",
                b"acme,other",
                b"acme acme",
                b"\xff\xfe",
                b"acme\xff",
                b"\"acme\"",
                b"acme;other",
            ],
        ),
        Query => targets(&[
            "/graphql?tenant",
            "/graphql?tenant=",
            "/graphql?Tenant=acme",
            "/graphql?tenant[]=acme",
            "/graphql?tenant=acme;x",
            "/graphql?a=1&tenant=acme&tenant",
            "/graphql?tenant%3Dacme",
            "/graphql?tenant=+acme",
        ]),
        Cookie => headers(
            "Cookie",
            &[
                b"tenant",
                b"tenant=",
                b"Tenant=acme",
                b"tenant=\"acme\"",
                b"tenant=acme; tenant=acme",
                b"tenant=acme, tenant=other",
            ],
        ),
        Path => targets(&[
            "/t//graphql",
            "/t/acme%20/graphql",
            "/t/acme;x/graphql",
            "/t/.acme/graphql",
        ]),
    }
}

#[test]
fn a_hostile_spelling_names_no_tenant() {
    in_world(async |world| {
        for resolver in ALL {
            let gateway = world.gateway(&[resolver]).await;
            for request in hostile_spellings(resolver) {
                let (status, body) = world.me(&gateway, &request).await;
                let what = format!("{resolver} {request:?}: {status} {body}");
                assert!(slug(&body).is_null(), "{what}");
                let refused = status == 200 && code_of(&body).is_string();
                assert!(refused || status == 400, "{what}");
            }
        }
    });
}

#[test]
fn a_path_around_a_tenant_has_no_route() {
    in_world(async |world| {
        let gateway = world.gateway(&[Path]).await;
        for target in [
            "/t/graphql",
            "/t/acme",
            "/t/acme/",
            "/t/acme/graphql/",
            "/t/acme/t/acme/graphql",
            "/t/../t/acme/graphql",
        ] {
            let (status, body) = world.me(&gateway, &Request::to(target)).await;
            assert_eq!(
                (status, code_of(&body)),
                (404, &json!("NOT_FOUND")),
                "{target}"
            );
        }
    });
}

#[test]
fn the_first_place_that_names_a_tenant_decides_even_if_it_names_a_wrong_one() {
    in_world(async |world| {
        for (at, first) in ALL.into_iter().enumerate() {
            // Each of the other places, in turn, names the right tenant behind it.
            for second in ALL.into_iter().cycle().skip(at + 1).take(4) {
                let gateway = world.gateway(&[first, second]).await;
                let right = Request::naming(second, &["acme"]);
                assert_eq!(
                    world.slug(&gateway, &right).await,
                    "acme",
                    "{second} behind {first}"
                );
                for wrong in ["other", "nowhere", "-no-such-thing"] {
                    let both = Request::naming(first, &[wrong]).and(&right);
                    let slug = world.slug(&gateway, &both).await;
                    assert_eq!(slug, Value::Null, "{first} {wrong} before {second}");
                }
                let wrong = Request::naming(second, &["other"]);
                let both = Request::naming(first, &["acme"]).and(&wrong);
                assert_eq!(
                    world.slug(&gateway, &both).await,
                    "acme",
                    "{first} before {second}"
                );
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_of_the_gateway_sets_the_places_and_their_order() {
    let options = ["--tenant-resolvers", "query,header,cookie"];
    let world = World::with(start_with(&options).await).await;
    let url = world.backend.url();
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
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
        let request = Request::to(target).with("X-Tenant", header.as_bytes());
        let request = request.with("Cookie", cookie.as_bytes());
        let (_, body) = request.send(address, Some(&world.session), ME).await;
        assert_eq!(*slug(&body), expected, "{target}: {body}");
    }
}

#[test]
fn two_hosts_name_no_tenant() {
    in_world(async |world| {
        let gateway = world.gateway(&[Subdomain]).await;
        for hosts in [["acme", "other"], ["other", "acme"], ["acme", "acme"]] {
            let (_, body) = world
                .me(&gateway, &Request::naming(Subdomain, &hosts))
                .await;
            assert!(slug(&body).is_null(), "{hosts:?}: {body}");
        }
    });
}

#[test]
fn a_place_with_invalid_text_is_not_skipped() {
    in_world(async |world| {
        let by_query = Request::to("/graphql?tenant=acme");
        for (first, name, value) in [
            (Header, "X-Tenant", &b"other\xff"[..]),
            (Cookie, "Cookie", b"tenant=other\xff"),
            (Subdomain, "Host", b"other\xff.backend.test:8443"),
        ] {
            let gateway = world.gateway(&[first, Query]).await;
            let (_, body) = world
                .me(&gateway, &by_query.clone().with(name, value))
                .await;
            assert!(slug(&body).is_null(), "{first} was skipped: {body}");
        }
    });
}

/// Operations on all that a tenant has, in documents with several fields.
fn operations_in_a_tenant() -> Vec<String> {
    let operations = r#"
        {
            me { permissions } tenant { id } projects { totalCount } members { totalCount }
            roles { id } accessTokens { totalCount }
        };
        {
            project(id: "ID") { id } member(id: "ID") { id } role(id: "owner") { id }
            accessToken(id: "ID") { id }
        };
        mutation { tenant { update(input: { name: "Mine" }) { id } } };
        mutation { tenant { delete(input: { normalizedName: "other" }) { success } } };
        mutation { member { invite(input: { email: "ada@example.com", role: OWNER }) { id } } };
        mutation {
            member { delete(id: "ID") { success } update(input: { id: "ID", role: OWNER }) { id } }
        };
        mutation {
            role { delete(id: "ID") { success } assign(input: { member: "ID", role: "ID" }) { id } }
        };
        mutation { role { create(input: { name: "R", permissions: [] }) { id } } };
        mutation {
            accessToken { create(input: { name: "T", scopes: ["read_project"] }) { token } }
        };
        mutation { project { create(input: { name: "P" }) { id } } }"#;
    operations
        .replace("ID\"", &format!("{}\"", "0".repeat(32)))
        .split(';')
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_operation_reveals_to_a_stranger_whether_a_tenant_exists() {
    in_world(async |world| {
        let gateway = world.gateway(&[Header]).await;
        for (session, code) in [
            (Some(world.session.as_str()), "NOT_FOUND"),
            (None, "UNAUTHENTICATED"),
        ] {
            for operation in operations_in_a_tenant() {
                let in_tenant = async |tenant: &str| {
                    let request = Request::naming(Header, &[tenant]);
                    request.send(gateway.address(), session, &operation).await
                };
                let expected = in_tenant("nowhere").await;
                for error in list(&expected.1["errors"]) {
                    assert_eq!(
                        error["extensions"],
                        json!({ "code": code }),
                        "{operation}: {error}"
                    );
                }
                assert_eq!(in_tenant("other").await, expected, "{operation}");
                assert_eq!(in_tenant(&world.other).await, expected, "{operation}");
            }
        }
    });
}
