//! Reading the log once more repeats nothing of what identity has led to.

use super::*;
use crate::{
    impersonation::{IMPERSONATE, grant_support, impersonation},
    mail::replay,
    support::{Device, add_passkey, add_second_factor, make_administrator},
};

/// The record of [`BOB`]'s domain.
const RECORD: &str = "_ub-challenge.corp.example";

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_all_that_identity_has_stored_mails_nothing_and_asks_dns_for_nothing() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    world.links(&ada, ADA, &id).await;
    add_passkey(&ada, &mut Device::new().at(&world.url), "Phone").await;
    add_second_factor(&ada).await;
    let root = world.person("root@example.com").await;
    make_administrator(&world.backend, &root, "root@example.com").await;
    grant_support(&ada).await;
    let ids = ada.data("{ profile { id } tenant { id } }", ()).await;
    let as_ada = impersonation(&text(&ids, "/profile/id"), &text(&ids, "/tenant/id"));
    root.data(IMPERSONATE, as_ada).await;
    // Two verify addresses, and two tell of apps. The others: the connection, its domain, the
    // identity, the passkey and the administrator.
    eventually("nine mails", || async { ada.mails().await.len() == 9 }).await;
    let asked = world.dns.asked_for(RECORD);

    let replayed = replay(&world.backend).await;
    for expected in [
        "effects_send_mail",
        "effects_check_domain",
        "reactions_account_mail",
    ] {
        assert!(replayed.iter().any(|name| name == expected), "{replayed:?}");
    }
    // A later look, for a record that is not there, and a later mail come behind the whole replay.
    ada.data(ADD, of(&id, "later.example")).await;
    ada.data(VERIFY, of(&id, "later.example")).await;
    eventually("the later look", || async {
        world.dns.asked_for("_ub-challenge.later.example") > 0
    })
    .await;
    world.browser().register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    let now = (world.dns.asked_for(RECORD), ada.mails().await.len());
    assert_eq!(now, (asked, 9 + 1));
}
