//! What the loss of the deployment's secret does to a connection, and how it works again.

use super::*;
use crate::rotation::rotate;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_client_secret_is_lost_says_so_and_works_once_it_is_entered_again() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let lost = Gateway::start_at(&world.backend, |config, address| {
        config.posture.public_url = format!("http://localhost:{}", address.port());
        rotate(config, false);
    })
    .await;
    let bob = world.browser().at_localhost(&lost).in_tenant("acme");
    let start = format!("/oauth/{id}/start");
    let page = bob.visit(&start).await.unwrap_err();
    assert_eq!(page.status(), 503);
    let page: Value = page.json().await.unwrap();
    let told = text(&page, "/errors/0/message");
    assert!(told.contains("administrator"), "{told}");
    assert!(told.contains("enter it again"), "{told}");

    let ada = ada.at_localhost(&lost);
    let again = json!({ "id": id, "clientSecret": CLIENT_SECRET });
    ada.data(UPDATE, input(again)).await;
    assert_eq!(world.tries(&bob, BOB, &id).await, "done");
    assert_eq!(bob.data(ME, ()).await["me"]["member"]["role"], "GUEST");
}
