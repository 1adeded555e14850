//! Log-ins by other parties while the secret of the deployment is replaced.

use super::*;
use crate::{rotation::rotate, support::Authenticator};

/// A gateway with the next secret. It accepts the former one if `accepts` says so.
async fn rotated(world: &World, folder: &tempfile::TempDir, accepts: bool) -> Gateway {
    let entries = vec![entry("google", "google", &world.provider.url)];
    let change = |config: &mut gateway::Config| rotate(config, accepts);
    gateway_with(&world.backend, folder, entries, &["127.0.0.0/8"], change).await
}

/// Logs in by Google and by the app, at this gateway; returns the id of the account.
async fn proves_both(world: &World, gateway: &Gateway, app: &mut Authenticator) -> String {
    let browser = Browser::new(&world.backend).at_gateway(gateway);
    assert_eq!(world.logs_in(&browser, "google").await, "second_factor");
    browser
        .data(LOG_IN, second("Totp", &app.next().await))
        .await;
    let profile = browser.data("{ profile { id } }", ()).await;
    text(&profile, "/profile/id")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_and_an_app_of_a_former_secret_log_in_as_long_as_it_is_accepted() {
    let world = World::start().await;
    let person = json!({ "sub": "7", "email": "ada@gmail.com", "email_verified": true });
    world.provider.identifies(person);
    let ada = world.browser();
    assert_eq!(world.logs_in(&ada, "google").await, "done");
    let (mut app, _) = add_second_factor(&ada).await;
    let before = proves_both(&world, &world.gateway, &mut app).await;
    let folder = tempfile::tempdir().unwrap();
    let accepting = rotated(&world, &folder, true).await;
    assert_eq!(proves_both(&world, &accepting, &mut app).await, before);

    // Without the former secret, the person is a stranger with the address of an account.
    let ended = rotated(&world, &folder, false).await;
    let browser = Browser::new(&world.backend).at_gateway(&ended);
    assert_eq!(world.logs_in(&browser, "google").await, "linking");
}
