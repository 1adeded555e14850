//! What operators see: traces and metrics at a collector of OpenTelemetry, and the monitor.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use serde_json::json;

use crate::{
    cargo_dev::Dev,
    support::{CHANGE_PASSWORD, Collector, OTHER_PASSWORD, PASSWORD, REGISTER, eventually, input},
};

const CLIENT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// A backend that exports to the collector soon, with these further variables.
async fn exporting(collector: &Collector, variables: &[(&str, &str)]) -> Dev {
    let exports = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
    ];
    Dev::start_with(&["--ephemeral"], &[&exports, variables].concat()).await
}

fn registration_of_ada() -> serde_json::Value {
    input(json!({
        "firstname": "Ada", "lastname": "Lovelace", "email": "ada@example.com",
        "password": PASSWORD,
    }))
}

fn names(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// The names of a span and of all that it is within, from the outermost.
fn path(spans: &[Span], name: &str) -> Vec<String> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.span_id, span)).collect();
    let mut path = Vec::new();
    let mut next = spans.iter().find(|span| span.name == name);
    while let Some(span) = next {
        path.insert(0, span.name.clone());
        next = by_id.get(&span.parent_span_id).copied();
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_up_to_the_mail_that_it_leads_to() {
    let collector = Collector::start().await;
    let dev = exporting(&collector, &[]).await;
    let ada = dev.browser();
    ada.sign_up("ada@example.com").await;
    let change = input(json!({ "oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD }));
    let answer = ada.post(CHANGE_PASSWORD, change).await;
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    // They end in any order.
    let last = [
        "POST /graphql",
        "process commands_account",
        "process views_account",
        "process reactions_account_mail",
        "process internal_commands_email",
        "process effects_send_mail",
        "attempt send_mail",
    ];
    eventually("all spans", || async {
        let spans = collector.trace(&id);
        last.iter().all(|name| names(&spans).contains(name))
    })
    .await;

    let spans = collector.trace(&id);
    let request = "POST /graphql";
    let decided = [
        request,
        "execute",
        "send account.change_password",
        "process commands_account",
    ];
    assert_eq!(path(&spans, "decide"), [&decided[..], &["decide"]].concat());
    let stored = [&decided[..], &["append"]].concat();
    assert_eq!(path(&spans, "append"), stored);
    let shown = [&stored[..], &["process views_account"]].concat();
    assert_eq!(path(&spans, "process views_account"), shown);
    let reacted = [
        &stored[..],
        &[
            "process reactions_account_mail",
            "send email.request",
            "process internal_commands_email",
        ],
    ];
    assert_eq!(
        path(&spans, "process internal_commands_email"),
        reacted.concat()
    );
    let mailed = path(&spans, "perform");
    assert_eq!(
        mailed.last_chunk().unwrap(),
        &["process effects_send_mail", "attempt send_mail", "perform"]
    );
    assert_eq!(mailed[0], request);

    let root = spans.iter().find(|span| span.name == request).unwrap();
    assert!(root.parent_span_id.is_empty() && root.kind == SpanKind::Server as i32);
    let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    assert_eq!(roots.count(), 1, "{:?}", names(&spans));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_continues_the_trace_of_its_client() {
    let collector = Collector::start().await;
    let dev = exporting(&collector, &[("OTEL_SERVICE_NAME", "shop")]).await;
    let traceparent = format!("00-{CLIENT}-{CLIENT_SPAN}-01");
    let browser = dev.browser().with_header("traceparent", &traceparent);
    let answer = browser.post("{ sessions { current } }", ()).await;
    assert_eq!(answer.headers()["x-request-id"], CLIENT);
    let is_root = |span: &Span| span.name == "POST /graphql";
    // Spans within the request's end before it, and may be exported before it.
    eventually("the request's span", || async {
        collector.trace(CLIENT).iter().any(is_root)
    })
    .await;
    let spans = collector.trace(CLIENT);
    let root = spans.iter().find(|span| is_root(span)).unwrap();
    assert_eq!(HEXLOWER.encode(&root.parent_span_id), CLIENT_SPAN);
    let services = collector.services();
    assert!(
        services.len() == 1 && services.first().unwrap().contains("\"shop\""),
        "{services:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_export_long_texts() {
    let collector = Collector::start().await;
    let dev = exporting(&collector, &[]).await;
    let path = format!("/{}", "a".repeat(20_000));
    let status = reqwest::get(dev.browser().url(&path))
        .await
        .unwrap()
        .status();
    assert_eq!(status.as_u16(), 404);
    let is_unknown = |span: &Span| span.name == "GET";
    eventually("the span", || async {
        collector.spans().iter().any(is_unknown)
    })
    .await;
    let spans = collector.spans();
    let span = spans.iter().find(|span| is_unknown(span)).unwrap();
    let longest = span.attributes.iter().map(|pair| format!("{pair:?}").len());
    assert!(longest.max().unwrap() < 500, "{span:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_repeated_begins_a_trace_that_links_to_the_first() {
    let collector = Collector::start().await;
    let dev = exporting(&collector, &[]).await;
    let mailbox = reqwest::Client::new().put(format!("{}/refuse", dev.mail_url));
    mailbox.json(&json!({ "code": 451 })).send().await.unwrap();
    let answer = dev.browser().post(REGISTER, registration_of_ada()).await;
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    eventually("a second attempt", || async {
        let mut spans = collector.spans();
        spans.retain(|span| span.name == "attempt send_mail");
        let mut links = spans.iter().flat_map(|span| &span.links);
        links.any(|link| HEXLOWER.encode(&link.trace_id) == id)
    })
    .await;
    let mut failed = collector.trace(&id);
    failed.retain(|span| span.name == "attempt send_mail");
    let status = failed[0].status.clone().unwrap();
    assert!(
        failed.len() == 1 && status.message.contains("451"),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_reach_a_collector_also_if_no_request_is_sampled() {
    let collector = Collector::start().await;
    let dev = exporting(&collector, &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    dev.browser().post(REGISTER, registration_of_ada()).await;
    for metric in [
        "http.server.request.duration",
        "ub.append.duration",
        "ub.view.bulk_size",
    ] {
        eventually(metric, || async { collector.metrics().contains(metric) }).await;
    }
    // Several exports later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(names(&collector.spans()), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_shows_metrics_for_prometheus() {
    let dev = Dev::start_with(&["--ephemeral"], &[]).await;
    dev.browser().sign_up("ada@example.com").await;
    dev.browser().login("ada@example.com", OTHER_PASSWORD).await;
    let monitor = |path: &str| format!("{}{path}", dev.monitor_url);
    dev.get(&monitor("/livez")).await;
    dev.get(&monitor("/readyz")).await;
    for line in [
        "http_server_request_duration_seconds_bucket{http_request_method=\"POST\",\
         http_response_status_code=\"200\",http_route=\"/graphql\",le=\"15\"} 4",
        "ub_command_duration_seconds_count{area=\"account\",outcome=\"committed\"} 1",
        "ub_security_events_total{event=\"login_failed\"} 1",
        "messaging_process_duration_seconds_count{consumer=\"views_account\",result=\"done\"} 1",
        "ub_consumer_pending{consumer=\"commands_account\"} 0",
    ] {
        eventually(line, || async {
            let shown = dev.get(&monitor("/metrics")).await.text().await.unwrap();
            shown.lines().any(|shown| shown == line)
        })
        .await;
    }
    // Strangers reach the gateway only.
    let status = reqwest::get(dev.browser().url("/metrics"))
        .await
        .unwrap()
        .status();
    assert_eq!(status.as_u16(), 404);
}
