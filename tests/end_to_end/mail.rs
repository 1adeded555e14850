//! Mail that is refused, repeated and replayed.

use crate::support::{Browser, eventually, start, start_with_mail_attempts};
use async_nats::{ConnectOptions, jetstream};
use futures_util::future::join_all;
use servers::Role;

/// Somebody who may look at streams and consumers.
pub async fn operator(local: &local::Local) -> jetstream::Context {
    let password = local.servers.passwords.of(Role::Operator).to_owned();
    let options = ConnectOptions::with_user_and_password("operator".to_owned(), password)
        .custom_inbox_prefix("_INBOX_operator");
    jetstream::new(
        options
            .connect(local.servers.nats.url(Role::Operator))
            .await
            .unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn all_consumers_start_over_and_not_one_mail_more_is_sent() {
    let local = start().await;
    let ada = Browser::new(&local);
    join_all((0..10).map(|at| {
        let browser = Browser::new(&local);
        async move { browser.register(&format!("user{at}@example.com")).await }
    }))
    .await;
    ada.join("ada@example.com").await;
    eventually("eleven mails", || async { ada.mails().await.len() == 11 }).await;
    let operator = operator(&local).await;
    let stream = operator.get_stream("EVENTS").await.unwrap();
    let consumers = [
        "views_account",
        "views_email",
        "views_session",
        "reactions_account_mail",
        "effects_send_mail",
    ];
    let idle = async |consumer: &str| {
        let info = stream.consumer_info(consumer).await;
        info.is_ok_and(|info| {
            info.num_pending == 0
                && info.num_ack_pending == 0
                && info.delivered.consumer_sequence > 0
        })
    };
    for consumer in consumers {
        eventually(consumer, || idle(consumer)).await;
        stream.delete_consumer(consumer).await.unwrap();
    }
    for consumer in consumers {
        eventually(consumer, || idle(consumer)).await;
    }
    // Whoever registers now is served after all that was read again.
    Browser::new(&local).register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 12);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mail_is_tried_again_until_the_server_takes_it() {
    let local = start().await;
    let ada = Browser::new(&local);
    local.mailbox.refuse(Some(451));
    ada.register("ada@example.com").await;
    let operator = operator(&local).await;
    eventually("a second try", || async {
        let info = operator
            .get_stream("EVENTS")
            .await
            .unwrap()
            .consumer_info("effects_send_mail")
            .await
            .unwrap();
        info.num_redelivered > 0
    })
    .await;
    assert_eq!(ada.mails().await.len(), 0);
    local.mailbox.refuse(None);
    ada.mail("ada@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 1);
    local.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_always_refused_ends_in_dead_and_does_not_hold_up_the_next() {
    let local = start_with_mail_attempts(2).await;
    let ada = Browser::new(&local);
    local.mailbox.refuse(Some(550));
    ada.register("ada@example.com").await;
    let operator = operator(&local).await;
    eventually("a dead letter", || async {
        operator
            .get_stream("DEAD")
            .await
            .unwrap()
            .cached_info()
            .state
            .messages
            == 1
    })
    .await;
    let stream = operator.get_stream("DEAD").await.unwrap();
    let dead = stream
        .get_last_raw_message_by_subject("dead.effects.platform.email")
        .await
        .unwrap();
    assert!(
        dead.headers
            .get("Ub-Reason")
            .unwrap()
            .as_str()
            .contains("550"),
        "{:?}",
        dead.headers
    );
    local.mailbox.refuse(None);
    Browser::new(&local).register("bob@example.com").await;
    ada.mail("bob@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 1, "what was given up stays so");
    local.stop().await.unwrap();
}
