//! Mail that is refused, repeated and replayed.

use async_nats::jetstream;
use futures_util::{TryStreamExt as _, future::join_all};
use mongodb::bson::{Document, doc};

use crate::support::{
    Browser, PLATFORM, eventually, mongo, operator, start, start_with_mail_attempts,
};

/// The consumers of EVENTS; each with the number of messages that it has delivered.
async fn consumers(events: &jetstream::stream::Stream) -> Vec<(String, u64)> {
    let consumers: Vec<_> = events.consumers().try_collect().await.unwrap();
    let delivered = |info: jetstream::consumer::Info| (info.name, info.delivered.consumer_sequence);
    consumers.into_iter().map(delivered).collect()
}

/// Whether a consumer has delivered something and has nothing left to deliver.
async fn is_done(events: &jetstream::stream::Stream, consumer: &str) -> bool {
    let info = events.consumer_info(consumer).await;
    info.is_ok_and(|info| {
        let done = info.num_pending == 0 && info.num_ack_pending == 0;
        done && info.delivered.consumer_sequence > 0
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_replay_of_the_log_sends_no_mail_again() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    join_all((0..10).map(|at| {
        let browser = Browser::new(&backend);
        async move { browser.register(&format!("user{at}@example.com")).await }
    }))
    .await;
    ada.sign_up("ada@example.com").await;
    eventually("eleven mails", || async { ada.mails().await.len() == 11 }).await;

    let events = operator(&backend).await.get_stream("EVENTS").await.unwrap();
    let mut replayed = consumers(&events).await;
    replayed.retain(|(_, delivered)| *delivered > 0);
    for expected in [
        "views_account",
        "reactions_account_mail",
        "effects_send_mail",
    ] {
        assert!(
            replayed.iter().any(|(name, _)| name == expected),
            "{replayed:?}"
        );
    }
    for (consumer, _) in &replayed {
        eventually(consumer, || is_done(&events, consumer)).await;
        events.delete_consumer(consumer).await.unwrap();
    }
    for (consumer, _) in &replayed {
        eventually(consumer, || is_done(&events, consumer)).await;
    }
    // A later registration is served behind the whole replay.
    Browser::new(&backend).register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mail_is_sent_again_until_the_server_accepts_it() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    backend.mailbox.refuse(Some(451));
    ada.register("ada@example.com").await;
    let events = operator(&backend).await.get_stream("EVENTS").await.unwrap();
    eventually("a second attempt", || async {
        let info = events.consumer_info("effects_send_mail").await.unwrap();
        info.num_redelivered > 0
    })
    .await;
    assert_eq!(ada.mails().await.len(), 0);
    backend.mailbox.refuse(None);
    ada.mail("ada@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_always_refused_becomes_a_dead_letter_and_does_not_block_the_next() {
    let backend = start_with_mail_attempts(2).await;
    let ada = Browser::new(&backend);
    backend.mailbox.refuse(Some(550));
    ada.register("ada@example.com").await;
    let dead = operator(&backend).await.get_stream("DEAD").await.unwrap();
    eventually("a dead letter", || async {
        dead.get_info().await.unwrap().state.messages == 1
    })
    .await;
    let letter = dead
        .get_last_raw_message_by_subject("dead.effects.platform.email")
        .await;
    let headers = letter.unwrap().headers;
    assert!(
        headers.get("Ub-Reason").unwrap().as_str().contains("550"),
        "{headers:?}"
    );
    eventually("the record of the failure", || async {
        let emails = mongo(&backend).await.database(PLATFORM);
        let emails = emails.collection::<Document>("email");
        let failed = doc! { "view.status": "failed", "view.reason": { "$regex": "550" } };
        emails.count_documents(failed).await.unwrap() == 1
    })
    .await;
    backend.mailbox.refuse(None);
    Browser::new(&backend).register("bob@example.com").await;
    ada.mail("bob@example.com", "code", 1).await;
    assert_eq!(
        ada.mails().await.len(),
        1,
        "the mail that was given up is not sent later"
    );
}
