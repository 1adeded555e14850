//! Where the gateway looks for a provider: at servers that the operator means, and not for long.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{
    forged::{Victim, parties},
    *,
};
use crate::support::Dns;

/// A provider has five seconds, and the machine of the tests is slow.
const IN_TIME: Duration = Duration::from_secs(7);
const UNAVAILABLE: &str = "/account/login?login=failed&reason=unavailable";
/// Names of this machine.
const OWN_HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"];
pub const PRIVATE_HOSTS: [&str; 12] = [
    OWN_HOSTS[0],
    OWN_HOSTS[1],
    OWN_HOSTS[2],
    "0.0.0.0",
    "[::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "[fd00::1]",
    "[fe80::1]",
];

/// A server that counts its connections, and closes each.
pub struct Server {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let server = Self {
            address: listener.local_addr().unwrap(),
            accepted: Arc::clone(&accepted),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        server
    }

    /// How many connections it had since it was asked last.
    pub async fn connections(&self) -> usize {
        let mut own = TcpStream::connect(self.address).await.unwrap();
        // It is closed after those before it.
        assert_eq!(own.read(&mut [0]).await.unwrap(), 0);
        self.accepted.swap(0, Ordering::SeqCst) - 1
    }
}

/// Entries of providers at these hosts, `p0`, `p1` and so on.
fn entries(hosts: &[&str], port: u16) -> Vec<Value> {
    let hosts = hosts.iter().enumerate();
    let entries =
        hosts.map(|(at, host)| entry(&format!("p{at}"), "oidc", &format!("https://{host}:{port}")));
    entries.collect()
}

/// Begins to log in by a provider that does not answer.
async fn begins_in_vain(browser: &Browser, name: &str) {
    let began = Instant::now();
    let to = browser.visit(&format!("/oauth/{name}/start")).await;
    assert_eq!(to.unwrap(), UNAVAILABLE, "{name}");
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
}

/// What documents must not say; null stands for a redirect to an honest one.
pub fn documents() -> Vec<Value> {
    vec![
        json!({ "issuer": "https://accounts.google.com" }),
        json!({ "issuer": null }),
        json!({ "token_endpoint": "https://10.0.0.1/token" }),
        json!({ "jwks_uri": "http://169.254.169.254/latest" }),
        json!({ "userinfo_endpoint": "https://[::ffff:10.0.0.1]/userinfo" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "authorization_endpoint": "http://192.0.2.1/authorize" }),
        json!({ "token_endpoint": "file:///etc/passwd" }),
        Value::Null,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_issuer_or_of_private_servers_sends_nobody_anywhere() {
    let cases = documents();
    let describes = |party: &Provider, metadata: &Value| {
        if metadata.is_null() {
            party.redirects();
        } else {
            party.describes(metadata.clone());
        }
    };
    let (world, parties) = parties(&cases, describes).await;
    assert_eq!(parties.len(), cases.len());
    let victim = Victim::of(&world).await;
    for (at, case) in cases.iter().enumerate() {
        let start = format!("/oauth/p{at}/start");
        let to = world.browser().visit(&start).await.unwrap();
        assert_eq!(to, "/account/login?login=failed&reason=refused", "{case}");
        victim.is_safe(&case.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_a_private_network_is_not_asked_unless_the_operator_allows_it() {
    let server = Server::start("127.0.0.1:0").await;
    let entries = entries(&PRIVATE_HOSTS, server.address.port());
    let provider = Provider::start().await;
    let world = World::with(provider, entries.clone(), &["192.0.2.0/24"]).await;
    let folder = tempfile::tempdir().unwrap();
    let own = ["127.0.0.0/8", "::1"];
    let allowing = gateway(&world.backend, &folder, entries, &own).await;
    let allowing = world.browser().at_gateway(&allowing);
    for (at, host) in PRIVATE_HOSTS.iter().enumerate() {
        let name = format!("p{at}");
        begins_in_vain(&world.browser(), &name).await;
        assert_eq!(server.connections().await, 0, "{host}");
        if OWN_HOSTS.contains(host) {
            begins_in_vain(&allowing, &name).await;
            assert!(server.connections().await > 0, "{host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_once_it_was_checked_leads_to_no_private_server() {
    let private = Server::start("127.0.0.1:0").await;
    let port = private.address.port();
    // It stands for a public one.
    let public = Server::start(&format!("127.0.0.2:{port}")).await;
    let dns = Dns::answers(&[&["127.0.0.2"], &["127.0.0.1"]]).await;
    let backend = start().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = entries(&["provider.example"; 2], port);
    let gateway = gateway_with(&backend, &folder, entries, &["127.0.0.2"], |config| {
        config.providers.outbound_dns = Some(dns.address);
    });
    let gateway = gateway.await;
    let browser = Browser::new(&backend).at_gateway(&gateway);
    for (name, at_public) in [("p0", 1), ("p1", 0)] {
        begins_in_vain(&browser, name).await;
        assert_eq!(public.connections().await, at_public, "{name}");
        assert_eq!(private.connections().await, 0, "{name}");
    }
    assert_eq!(
        dns.lookups(),
        2,
        "the name is looked up once for each request"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dns_server_that_does_not_answer_stops_no_other_way_to_log_in() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let backend = start().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = entries(&["provider.example"], 443);
    let gateway = gateway_with(&backend, &folder, entries, &[], |config| {
        config.providers.outbound_dns = Some(silent.local_addr().unwrap());
    });
    let gateway = gateway.await;
    let ada = Browser::new(&backend).at_gateway(&gateway);
    ada.sign_up(ADA).await;
    let stranger = Browser::new(&backend).at_gateway(&gateway);
    join(begins_in_vain(&stranger, "p0"), ada.log_in(ADA)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_or_silent_stops_no_other_way_to_log_in() {
    let provider = Provider::start().await;
    provider.is_silent();
    // Nobody listens there.
    let away = entry("away", "google", "http://127.0.0.1:1");
    let silent = entry("silent", "google", &provider.url);
    let world = World::with(provider, vec![away, silent], &["127.0.0.0/8"]).await;
    let ada = world.ada().await;
    for name in ["away", "silent"] {
        let stranger = world.browser();
        join(begins_in_vain(&stranger, name), ada.log_in(ADA)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sub_domain_of_a_tenant_has_no_providers() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = vec![entry("google", "google", &world.provider.url)];
    let gateway = gateway_with(
        &world.backend,
        &folder,
        entries,
        &["127.0.0.0/8"],
        |config| config.tenant_resolvers = vec![gateway::Resolver::Subdomain],
    );
    let gateway = gateway.await;
    let public = world.ada().await.at_gateway(&gateway);
    let host = format!("acme.{}", gateway.address());
    let of_tenant = public.with_header("host", &host);
    let link = r#"mutation { credential { startLink(provider: "google") } }"#;
    for (browser, count) in [(&public, 1), (&of_tenant, 0)] {
        let methods = browser.data(METHODS, ()).await;
        let providers = methods["loginMethods"]["providers"].as_array().unwrap();
        assert_eq!(providers.len(), count);
        let start = browser.visit("/oauth/google/start").await;
        assert_eq!(start.is_ok(), count == 1, "{start:?}");
        assert_eq!(succeeded(&browser.gql(link, ()).await), count == 1);
    }
    let answer = of_tenant.gql(link, ()).await;
    let message = text(&answer, "/errors/0/message");
    assert!(message.contains(&gateway.url()), "{message}");
}
