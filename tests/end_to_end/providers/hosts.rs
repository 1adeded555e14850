//! Providers at the public URL and elsewhere.

use super::*;

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
