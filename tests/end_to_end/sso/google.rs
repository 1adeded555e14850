//! Google as the issuer of a tenant. Anybody has an account there, also one with an address of the
//! tenant's domain.

use super::*;

/// A gateway that takes the issuer of the world for Google, as it takes Google itself.
async fn gateway(world: &World, folder: &tempfile::TempDir) -> Gateway {
    let google = json!({
        "name": "google", "kind": "google", "issuer": world.issuer.url,
        "client_id": CLIENT, "client_secret": CLIENT_SECRET,
    });
    let file = folder.path().join("providers.json");
    std::fs::write(&file, json!({ "providers": [google] }).to_string()).unwrap();
    Gateway::start_at(&world.backend, |config, address| {
        config.posture.public_url = format!("http://localhost:{}", address.port());
        config.providers.providers_file = Some(file);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_google_an_address_of_the_domain_makes_no_member_unless_the_account_is_the_domains() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(&world, &folder).await;
    for (email, hd) in [
        (BOB, Value::Null),
        ("carl@corp.example", json!("other.example")),
    ] {
        let person = json!({ "sub": email, "email": email, "email_verified": true, "hd": hd });
        world.issuer.identifies(person);
        let private = world.browser().at_localhost(&gateway).in_tenant("acme");
        assert_eq!(world.logs_in(&private, &id).await, "code", "{hd}");
        assert_eq!(private.code(ME, ()).await, "UNAUTHENTICATED", "{hd}");
    }
    let hd = "corp.example";
    let person = json!({ "sub": "9", "email": BOB, "email_verified": true, "hd": hd });
    world.issuer.identifies(person);
    let bob = world.browser().at_localhost(&gateway).in_tenant("acme");
    assert_eq!(world.logs_in(&bob, &id).await, "done");
    assert_eq!(bob.data(ME, ()).await["me"]["member"]["role"], "GUEST");
}
