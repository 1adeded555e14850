//! Where the gateway looks for the issuers of tenants, and what does not depend on them.

use std::time::{Duration, Instant};

use events_schema::{IpNetwork, secret::Secret};
use futures_util::future::join;
use serde_json::json;
use tokio::net::UdpSocket;

use crate::{
    providers::hosts::Server,
    sso::{ADA, CREATE, World, connection},
    support::{Browser, Dns, Gateway, text},
};

/// An issuer has five seconds, and the machine of the tests is slow.
const IN_TIME: Duration = Duration::from_secs(7);
/// A secret that the other programs do not have.
const OTHER: &str = "k2:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
const METHODS: &str = r#"{ loginMethods(email: "x@corp.example") { sso { title } } }"#;

/// A gateway of its own for these settings.
async fn gateway(world: &World, change: impl FnOnce(&mut gateway::Config)) -> Gateway {
    Gateway::start_at_own_url(&world.backend, change).await
}

fn networks(texts: &[&str]) -> Vec<IpNetwork> {
    let parsed = texts.iter().map(|text| IpNetwork::parse(text).unwrap());
    parsed.collect()
}

/// Begins to log in by a connection that leads nobody anywhere.
async fn begins_in_vain(browser: &Browser, id: &str, reason: &str) {
    let began = Instant::now();
    let to = browser.visit(&format!("/oauth/{id}/start")).await.unwrap();
    assert_eq!(to, format!("/account/login?login=failed&reason={reason}"));
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
}

/// The way by the issuer is offered, whatever has become of it.
async fn is_offered(browser: &Browser) {
    let methods = browser.data(METHODS, ()).await;
    assert_eq!(methods["loginMethods"]["sso"], json!({ "title": "Acme" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_networks_of_the_operators_providers_are_not_open_to_tenants() {
    let world = World::start().await;
    let (ada, _) = world.owner(ADA, "acme").await;
    let strict = gateway(&world, |config| {
        config.providers.outbound_allow = networks(&["127.0.0.0/8"]);
        config.providers.sso_allow = Vec::new();
    })
    .await;
    let ada = ada.at_localhost(&strict);
    let error = ada.error(CREATE, connection(&world.issuer.url)).await;
    let expected = json!({ "code": "BAD_USER_INPUT", "field": "issuer" });
    assert_eq!(error, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_whose_name_leads_to_a_private_server_is_not_asked() {
    let private = Server::start("127.0.0.1:0").await;
    let port = private.address.port();
    // It stands for a public one.
    let public = Server::start(&format!("127.0.0.2:{port}")).await;
    let dns = Dns::answers(&[&["127.0.0.2"], &["127.0.0.1"]]).await;
    let world = World::start().await;
    let gateway = gateway(&world, |config| {
        config.providers.outbound_allow = networks(&["127.0.0.0/8"]);
        config.providers.sso_allow = networks(&["127.0.0.2"]);
        config.providers.outbound_dns = Some(dns.address);
    })
    .await;
    let (ada, _) = world.owner(ADA, "acme").await;
    let ada = ada.at_localhost(&gateway);
    // Two names, since an issuer that does not answer is not asked again at once.
    for (host, at_public) in [("one.example", 1), ("two.example", 0)] {
        let issuer = format!("https://{host}:{port}");
        let created = ada.data(CREATE, connection(&issuer)).await;
        let id = text(&created, "/sso/create/id");
        begins_in_vain(&ada, &id, "unavailable").await;
        assert_eq!(public.connections().await, at_public, "{host}");
        assert_eq!(private.connections().await, 0, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_redirects_leads_nobody_anywhere() {
    let world = World::start().await;
    let (_ada, id) = world.owner(ADA, "acme").await;
    world.issuer.redirects();
    begins_in_vain(&world.browser(), &id, "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_issuer_stops_no_other_way_to_log_in() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    world.issuer.is_silent();
    let stranger = world.browser();
    let others = async {
        is_offered(&world.browser()).await;
        ada.log_in(ADA).await;
    };
    join(begins_in_vain(&stranger, &id, "unavailable"), others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_dns_server_stops_no_other_way_to_log_in() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let world = World::start().await;
    let (ada, _) = world.verified().await;
    let created = ada.data(CREATE, connection("https://issuer.example")).await;
    let id = text(&created, "/sso/create/id");
    let gateway = gateway(&world, |config| {
        config.providers.outbound_dns = Some(silent.local_addr().unwrap());
    })
    .await;
    let (ada, stranger) = (
        ada.at_localhost(&gateway),
        world.browser().at_localhost(&gateway),
    );
    let others = async {
        is_offered(&stranger).await;
        ada.log_in(ADA).await;
    };
    join(begins_in_vain(&stranger, &id, "unavailable"), others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_that_cannot_be_opened_stops_the_log_in_by_it_and_nothing_else() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let gateway = gateway(&world, |config| {
        config.secrets.secret = Secret::parse(OTHER).unwrap();
    })
    .await;
    let stranger = world.browser().at_localhost(&gateway);
    is_offered(&stranger).await;
    let began = stranger.visit(&format!("/oauth/{id}/start")).await;
    assert_eq!(began.unwrap_err().status(), 503);
    ada.at_localhost(&gateway).log_in(ADA).await;
}
