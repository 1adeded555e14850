//! Bad input of every kind, by HTTP: each gets its documented answer, and nothing else happens.

use std::time::{Duration, Instant};

use crate::support::{Browser, PASSWORD, REGISTER, assert_refused, start};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

const PROFILE: &str = "{ profile { id } }";

#[tokio::test(flavor = "multi_thread")]
async fn hostile_documents_are_refused_with_the_limit_they_exceed() {
    let local = start().await;
    let eve = Browser::new(&local);
    let deep = format!(
        "{{ __schema {}{{ name }}{} }}",
        "{ types { fields { type ".repeat(12),
        " } } }".repeat(12)
    );
    let aliases = format!(
        "{{ {} }}",
        (0..200)
            .map(|at| format!("a{at}: profile {{ id }} "))
            .collect::<String>()
    );
    let wide = format!("{{ profile {{ {} }} }}", "id ".repeat(5_000));
    let directives = format!(
        "{{ profile {{ id {} }} }}",
        "@include(if: true) ".repeat(200)
    );
    // Each fragment spreads the one before it twice: two to the power of thirty fields.
    let fragments: String = (1..30)
        .map(|at| {
            format!(
                "fragment f{at} on User {{ ...f{} ...f{} }} ",
                at - 1,
                at - 1
            )
        })
        .collect();
    let exploding = format!("{{ profile {{ ...f29 }} }} fragment f0 on User {{ id }} {fragments}");
    let cyclic = "{ profile { ...a } } fragment a on User { ...b } fragment b on User { ...a }";
    let nested = format!("{{ {} }}", "{".repeat(10_000));
    let list = format!(
        "mutation {{ account {{ logout(x: {}) {{ success }} }} }}",
        "[".repeat(10_000)
    );
    let many = format!(
        "mutation {{ {} }}",
        (0..50)
            .map(|at| format!("a{at}: account {{ logout {{ success }} }} "))
            .collect::<String>()
    );
    for (what, document) in [
        ("deep", deep.as_str()),
        ("aliases", &aliases),
        ("wide", &wide),
        ("directives", &directives),
        ("exploding", &exploding),
        ("cyclic", cyclic),
        ("nested", &nested),
        ("list", &list),
        ("many", &many),
        ("unknown field", "{ secrets }"),
        ("no document", "  "),
        ("not GraphQL", "SELECT 1"),
        (
            "unknown operation",
            "query A { profile { id } } query B { profile { id } }",
        ),
        (
            "unknown argument",
            "mutation { account { logout(force: true) { success } } }",
        ),
        ("control characters", "{ profile \u{0} { id } }"),
    ] {
        let start = Instant::now();
        let response = eve.run_with(document, json!({}), HeaderMap::new()).await;
        assert_refused(what, response, StatusCode::BAD_REQUEST, "BAD_USER_INPUT").await;
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{what} took {:?}",
            start.elapsed()
        );
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_are_refused_by_status() {
    let local = start().await;
    let eve = Browser::new(&local);
    let url = eve.url("/graphql");
    let post = |content_type: &'static str, body: String| {
        eve.http()
            .post(&url)
            .header("content-type", content_type)
            .body(body)
            .send()
    };
    let valid = json!({ "query": PROFILE }).to_string();

    for form in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "text/json",
    ] {
        assert_refused(
            form,
            post(form, valid.clone()).await.unwrap(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "BAD_USER_INPUT",
        )
        .await;
    }
    let none = eve
        .http()
        .post(&url)
        .body(valid.clone())
        .send()
        .await
        .unwrap();
    assert_refused(
        "no content type",
        none,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "BAD_USER_INPUT",
    )
    .await;
    for garbage in [
        "",
        "{",
        "null",
        "[]",
        "\"query\"",
        "{}",
        "{\"query\": 1}",
        "{\"query\": \"{profile{id}}\", \"variables\": 3}",
        "[{\"query\": \"{profile{id}}\"}]",
    ] {
        assert_refused(
            garbage,
            post("application/json", garbage.to_owned()).await.unwrap(),
            StatusCode::BAD_REQUEST,
            "BAD_USER_INPUT",
        )
        .await;
    }
    let huge = json!({ "query": PROFILE, "variables": { "x": "x".repeat(70_000) } }).to_string();
    assert_refused(
        "huge",
        post("application/json", huge).await.unwrap(),
        StatusCode::PAYLOAD_TOO_LARGE,
        "BAD_USER_INPUT",
    )
    .await;

    let by_get = eve
        .http()
        .get(format!(
            "{url}?query=mutation%7Baccount%7Blogout%7Bsuccess%7D%7D%7D"
        ))
        .send()
        .await
        .unwrap();
    assert_eq!(by_get.headers()["allow"], "POST");
    assert_refused(
        "a mutation by GET",
        by_get,
        StatusCode::METHOD_NOT_ALLOWED,
        "BAD_USER_INPUT",
    )
    .await;
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let response = eve.http().request(method, &url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(
        eve.http()
            .get(eve.url("/nowhere"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::NOT_FOUND
    );

    let accepts = eve
        .http()
        .post(&url)
        .json(&json!({ "query": PROFILE }))
        .header("accept", "application/graphql-response+json")
        .send()
        .await
        .unwrap();
    assert_eq!(accepts.status(), StatusCode::OK);
    assert!(
        accepts.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/graphql-response+json")
    );
    assert_eq!(accepts.headers()["x-request-id"].len(), 32);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_can_neither_read_nor_post_with_a_persons_cookie() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let logout = json!({ "query": "mutation { account { logout { success } } }" }).to_string();
    for (content_type, site) in [
        ("text/plain", "cross-site"),
        ("application/x-www-form-urlencoded", "cross-site"),
        ("application/json", "cross-site"),
    ] {
        let form = ada
            .http()
            .post(ada.url("/graphql"))
            .header("content-type", content_type)
            .header("sec-fetch-site", site);
        let response = form
            .header("origin", "https://evil.example")
            .body(logout.clone())
            .send()
            .await
            .unwrap();
        assert!(
            response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE
                || response.status() == StatusCode::FORBIDDEN,
            "{content_type}"
        );
        assert!(ada.is_logged_in().await, "{content_type}");
    }
    let preflight = ada
        .http()
        .request(Method::OPTIONS, ada.url("/graphql"))
        .header("origin", "https://evil.example");
    let response = preflight
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert!(
        response
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_foreign_or_mangled_session_is_nobodys() {
    let local = start().await;
    let ada = Browser::new(&local);
    ada.join("ada@example.com").await;
    let long = "x".repeat(4_000);
    for cookie in [
        "",
        "session=",
        "session=x",
        "session=../../etc/passwd",
        "session=\"",
        "session=%00",
        &format!("session={long}"),
        "other=1; session=AAAA; session=BBBB",
    ] {
        let body: Value = reqwest::Client::new()
            .post(ada.url("/graphql"))
            .header("cookie", cookie)
            .json(&json!({ "query": "{ profile { id } sessions { id } }" }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED",
            "{cookie}: {body}"
        );
    }
    let eve = Browser::new(&local);
    for document in [
        "mutation { profile { update(input: { lastname: \"X\" }) { id } } }",
        "mutation { account { revokeAllSessions { success } } }",
        "mutation { account { revokeSession(id: \"00000000000000000000000000000000\") { success } } }",
        "mutation { account { changePassword(input: { oldPassword: \"x\", newPassword: \"correct horse battery\" }) { success } } }",
    ] {
        assert_eq!(
            eve.error(document, json!({})).await["code"],
            "UNAUTHENTICATED",
            "{document}"
        );
    }
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_field_is_named() {
    let local = start().await;
    let eve = Browser::new(&local);
    let good = json!({ "firstname": "Ada", "lastname": "Lovelace", "email": "ada@example.com", "password": PASSWORD });
    let long = "x".repeat(101);
    let longer = "x".repeat(129);
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
        let mut input = good.clone();
        input[field] = json!(value);
        let error = eve.error(REGISTER, json!({ "input": input })).await;
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("BAD_USER_INPUT"), &json!(field)),
            "{value:?}"
        );
    }
    let with = |field: &str, value: Value| {
        let mut input = good.clone();
        input[field] = value;
        json!({ "input": input })
    };
    for (variables, field) in [
        (
            json!({ "input": { "firstname": "Ada", "lastname": "Lovelace", "password": PASSWORD } }),
            "email",
        ),
        (with("email", json!(null)), "email"),
        (with("email", json!(3)), "email"),
        (with("firstname", json!(["Ada"])), "firstname"),
        (with("nickname", json!("Ada")), "nickname"),
        (json!({}), "input"),
        (json!({ "input": null }), "input"),
    ] {
        let error = eve.error(REGISTER, variables.clone()).await;
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("BAD_USER_INPUT"), &json!(field)),
            "{variables}"
        );
    }
    let login = "mutation { account { login(input: { service: Pigeon, params: { email: \"a@b.cd\", password: \"x\" } }) { user { id } } } }";
    assert_eq!(eve.error(login, json!({})).await["field"], "service");
    assert_eq!(
        eve.error("mutation { account { register { success } } }", json!({}))
            .await["field"],
        "input"
    );
    assert_eq!(eve.mails().await.len(), 0, "nothing came of it");
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_tell_the_truth() {
    let local = start().await;
    let eve = Browser::new(&local);
    assert_eq!(
        eve.http()
            .get(eve.url("/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    let ready = eve.http().get(eve.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let body: Value = ready.json().await.unwrap();
    assert!(
        ["nats", "mongo", "commands"]
            .iter()
            .all(|part| body.get(part).is_some()),
        "{body}"
    );
    local.stop().await.unwrap();
}
