//! Bad requests of every kind, by HTTP: each gets its documented answer and has no effect.

use std::time::{Duration, Instant};

use local::Local;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, PASSWORD, REGISTER, assert_refused, bad_input, code_of, input, share, start,
};

const PERSON: &str = "grace@example.com";
const PROFILE: &str = "{ profile { id } }";

/// Runs a test on the one backend of this file. `PERSON` never has an account there.
fn on_backend(test: impl AsyncFnOnce(&Local)) {
    static BACKEND: OnceCell<Local> = OnceCell::const_new();
    share(&BACKEND, start, test);
}

/// A document that is this text, many times over, within braces.
fn repeated(text: &str, times: usize) -> String {
    format!("{{ {} }}", text.repeat(times))
}

/// A document whose fragments spread each other so that two to the power of thirty fields result.
fn exploding_fragments() -> String {
    let spread = |at: usize| format!("fragment f{at} on User {{ ...f{0} ...f{0} }} ", at - 1);
    let fragments: String = (1..30).map(spread).collect();
    format!("{{ profile {{ ...f29 }} }} fragment f0 on User {{ id }} {fragments}")
}

#[test]
fn a_document_that_exceeds_a_limit_is_refused_within_five_seconds() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let levels = 12;
        let deep = format!(
            "{{ __schema {}{{ name }}{} }}",
            "{ types { fields { type ".repeat(levels),
            " } } }".repeat(levels)
        );
        let aliased = |field: &str, count: usize| -> String {
            (0..count).map(|at| format!("a{at}: {field} ")).collect()
        };
        let aliases = format!("{{ {} }}", aliased("profile { id }", 200));
        let mutations = format!(
            "mutation {{ {} }}",
            aliased("account { logout { success } }", 50)
        );
        let wide = format!("{{ profile {} }}", repeated("id ", 5_000));
        let directives = format!(
            "{{ profile {{ id {} }} }}",
            "@include(if: true) ".repeat(200)
        );
        let list = format!(
            "mutation {{ account {{ logout(x: {}) {{ success }} }} }}",
            "[".repeat(10_000)
        );
        let cyclic = "
        { profile { ...a } }
        fragment a on User { ...b }
        fragment b on User { ...a }";
        for (what, document) in [
            ("depth", deep.as_str()),
            ("aliases", &aliases),
            ("mutations", &mutations),
            ("width", &wide),
            ("directives", &directives),
            ("exploding fragments", &exploding_fragments()),
            ("cyclic fragments", cyclic),
            ("open braces", &repeated("{", 10_000)),
            ("open brackets", &list),
            ("unknown field", "{ secrets }"),
            ("no document", "  "),
            ("not GraphQL", "SELECT 1"),
            (
                "two operations",
                "query A { profile { id } } query B { profile { id } }",
            ),
            (
                "unknown argument",
                "mutation { account { logout(force: true) { success } } }",
            ),
            ("control character", "{ profile \u{0} { id } }"),
        ] {
            let start = Instant::now();
            let response = eve.post(document, ()).await;
            assert_refused(what, response, StatusCode::BAD_REQUEST, "BAD_USER_INPUT").await;
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{what}: {:?}",
                start.elapsed()
            );
        }
    });
}

async fn post(browser: &Browser, content_type: Option<&str>, body: &str) -> Response {
    let mut request = browser
        .http()
        .post(browser.url("/graphql"))
        .body(body.to_owned());
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.send().await.unwrap()
}

#[test]
fn a_request_that_is_not_json_is_refused() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let valid = json!({ "query": PROFILE }).to_string();
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/graphql"),
            Some("text/json"),
        ] {
            let (what, response) = (
                format!("{content_type:?}"),
                post(&eve, content_type, &valid).await,
            );
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            assert_refused(&what, response, status, "BAD_USER_INPUT").await;
        }
        for garbage in [
            "",
            "{",
            "null",
            "[]",
            r#""query""#,
            "{}",
            r#"{"query": 1}"#,
            r#"{"query": "{profile{id}}", "variables": 3}"#,
            r#"[{"query": "{profile{id}}"}]"#,
        ] {
            let response = post(&eve, Some("application/json"), garbage).await;
            assert_refused(garbage, response, StatusCode::BAD_REQUEST, "BAD_USER_INPUT").await;
        }
    });
}

#[test]
fn a_huge_request_is_refused() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let response = eve.post(PROFILE, json!({ "x": "x".repeat(70_000) })).await;
        assert_refused(
            "huge",
            response,
            StatusCode::PAYLOAD_TOO_LARGE,
            "BAD_USER_INPUT",
        )
        .await;
    });
}

#[test]
fn only_post_executes_a_document() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let url = eve.url("/graphql");
        let logout = "query=mutation%7Baccount%7Blogout%7Bsuccess%7D%7D%7D";
        let by_get = eve
            .http()
            .get(format!("{url}?{logout}"))
            .send()
            .await
            .unwrap();
        assert_eq!(by_get.headers()["allow"], "POST");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        assert_refused("GET", by_get, status, "BAD_USER_INPUT").await;
        for method in [Method::PUT, Method::DELETE, Method::PATCH] {
            let response = eve.http().request(method, &url).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        }
    });
}

#[test]
fn an_unknown_path_is_not_found() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let response = eve.http().get(eve.url("/nowhere")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    });
}

#[test]
fn a_client_that_accepts_the_graphql_media_type_gets_it() {
    on_backend(async |backend| {
        let media_type = "application/graphql-response+json";
        let eve = Browser::new(backend).with_header("accept", media_type);
        let response = eve.post(PROFILE, ()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert!(
            headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with(media_type),
            "{headers:?}"
        );
        assert_eq!(headers["x-request-id"].len(), 32);
    });
}

#[test]
fn another_site_cannot_post_with_a_persons_cookie() {
    on_backend(async |backend| {
        let ada = Browser::signed_up(backend, "ada@example.com").await;
        let logout = json!({ "query": "mutation { account { logout { success } } }" }).to_string();
        let evil = "https://evil.example";
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json",
        ] {
            let form = ada
                .http()
                .post(ada.url("/graphql"))
                .header("content-type", content_type);
            let form = form
                .header("sec-fetch-site", "cross-site")
                .header("origin", evil);
            let status = form.body(logout.clone()).send().await.unwrap().status();
            let refusals = [StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::FORBIDDEN];
            assert!(refusals.contains(&status), "{content_type}: {status}");
            assert!(ada.is_logged_in().await, "{content_type}");
        }
    });
}

#[test]
fn another_site_cannot_read_with_a_persons_cookie() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let preflight = eve.http().request(Method::OPTIONS, eve.url("/graphql"));
        let preflight = preflight.header("origin", "https://evil.example");
        let preflight = preflight.header("access-control-request-method", "POST");
        let response = preflight.send().await.unwrap();
        assert!(
            response
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
    });
}

#[test]
fn a_malformed_session_cookie_is_refused() {
    on_backend(async |backend| {
        let url = Browser::new(backend).url("/graphql");
        let query = json!({ "query": "{ profile { id } sessions { id } }" });
        for cookie in [
            "",
            "session=",
            "session=x",
            "session=../../etc/passwd",
            "session=\"",
            "session=%00",
            &format!("session={}", "x".repeat(4_000)),
            "other=1; session=AAAA; session=BBBB",
        ] {
            let request = reqwest::Client::new()
                .post(&url)
                .header("cookie", cookie)
                .json(&query);
            let body: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(code_of(&body), "UNAUTHENTICATED", "{cookie}: {body}");
        }
    });
}

#[test]
fn a_mutation_of_an_account_without_a_session_is_refused() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        for document in [
            r#"mutation { profile { update(input: { lastname: "X" }) { id } } }"#,
            "mutation { account { revokeAllSessions { success } } }",
            r#"mutation {
            account {
                revokeSession(id: "0123456789abcdef0123456789abcdef") { success }
            }
        }"#,
            r#"mutation {
            account {
                changePassword(input: { oldPassword: "x", newPassword: "correct horse battery" }) {
                    success
                }
            }
        }"#,
        ] {
            assert_eq!(
                eve.code(document, ()).await,
                "UNAUTHENTICATED",
                "{document}"
            );
        }
    });
}

fn person() -> Value {
    json!({
        "firstname": "Ada",
        "lastname": "Lovelace",
        "email": PERSON,
        "password": PASSWORD,
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut person = person();
    person[field] = value;
    input(person)
}

#[test]
fn a_wrong_value_is_refused_with_the_name_of_its_field() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let (long, longer) = ("x".repeat(101), "x".repeat(129));
        for (field, value) in [
            ("firstname", ""),
            ("firstname", "  "),
            ("firstname", "a\u{0}b"),
            ("firstname", "a\nb"),
            ("firstname", &long),
            ("firstname", "\u{202E}evil"),
            ("lastname", ""),
            ("lastname", "\u{7}"),
            ("email", ""),
            ("email", "ada"),
            ("email", "ada@"),
            ("email", "a@b"),
            ("email", "a b@c.de"),
            ("email", "a@b.cd\r\nBcc: x@y.zz"),
            ("email", "ada@exämple.com"),
            ("password", ""),
            ("password", "short"),
            ("password", "fourteen chars"),
            ("password", &longer),
        ] {
            let error = eve.error(REGISTER, with(field, json!(value))).await;
            assert_eq!(error, bad_input(field), "{value:?}");
        }
        assert_eq!(
            eve.mails_to(PERSON, "").await.len(),
            0,
            "nobody was registered"
        );
    });
}

#[test]
fn a_missing_mistyped_or_unknown_input_is_refused_with_its_name() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let mut without_email = person();
        without_email.as_object_mut().unwrap().remove("email");
        for (variables, field) in [
            (input(without_email), "email"),
            (with("email", json!(null)), "email"),
            (with("email", json!(3)), "email"),
            (with("firstname", json!(["Ada"])), "firstname"),
            (with("nickname", json!("Ada")), "nickname"),
            (json!({}), "input"),
            (json!({ "input": null }), "input"),
        ] {
            assert_eq!(
                eve.error(REGISTER, &variables).await,
                bad_input(field),
                "{variables}"
            );
        }
        let login = r#"mutation {
        account {
            login(input: { service: Pigeon, params: { email: "a@b.cd", password: "x" } }) {
                user { id }
            }
        }
    }"#;
        assert_eq!(eve.error(login, ()).await["field"], "service");
        let register = "mutation { account { register { success } } }";
        assert_eq!(eve.error(register, ()).await["field"], "input");
        assert_eq!(
            eve.mails_to(PERSON, "").await.len(),
            0,
            "nobody was registered"
        );
    });
}

#[test]
fn health_and_readiness_are_reported() {
    on_backend(async |backend| {
        let eve = Browser::new(backend);
        let get = async |path: &str| eve.http().get(eve.url(path)).send().await.unwrap();
        assert_eq!(get("/healthz").await.status(), StatusCode::OK);
        let ready = get("/readyz").await;
        assert_eq!(ready.status(), StatusCode::OK);
        let body: Value = ready.json().await.unwrap();
        for part in ["nats", "mongo", "commands"] {
            assert!(body.get(part).is_some(), "{body}");
        }
    });
}
