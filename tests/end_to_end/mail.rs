//! Mail that is refused, repeated and replayed.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::{TryStreamExt as _, future::join_all};
use local::Local;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::{
    email_change::moves,
    services::create as create_service,
    support::{
        Browser, CREATE_TOKEN, DELETE_MEMBER, DELETE_TOKEN, INVITE, PLATFORM, ada_in_acme,
        close_stream, documents_of, eventually, input, invite, mongo, open_stream, operator, start,
        start_with_mail_attempts,
    },
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

/// Lets everything that reads the log read it once more, and waits until it has.
pub async fn replay(backend: &Local) -> Vec<String> {
    let events = operator(backend).await.get_stream("EVENTS").await.unwrap();
    let mut replayed = consumers(&events).await;
    replayed.retain(|(_, delivered)| *delivered > 0);
    for (consumer, _) in &replayed {
        eventually(consumer, || is_done(&events, consumer)).await;
        events.delete_consumer(consumer).await.unwrap();
    }
    for (consumer, _) in &replayed {
        eventually(consumer, || is_done(&events, consumer)).await;
    }
    replayed.into_iter().map(|(name, _)| name).collect()
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

    let replayed = replay(&backend).await;
    for expected in [
        "views_account",
        "reactions_account_mail",
        "effects_send_mail",
    ] {
        assert!(replayed.iter().any(|name| name == expected), "{replayed:?}");
    }
    // A later registration is served behind the whole replay.
    Browser::new(&backend).register("last@example.com").await;
    ada.mail("last@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 12);
}

/// The entries of the outbox.
pub async fn outbox(backend: &Local) -> Vec<Document> {
    let platform = mongo(backend).await.database(PLATFORM);
    let outbox = platform.collection::<Document>("outbox");
    let found = outbox.find(doc! {}).await.unwrap();
    found.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mail_is_sent_again_until_the_server_accepts_it() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    backend.mailbox.refuse(Some(451));
    ada.register("ada@example.com").await;
    eventually("a second attempt", || async {
        let mut attempts = outbox(&backend).await.into_iter();
        attempts.any(|entry| entry.get_i64("attempts").unwrap() > 1)
    })
    .await;
    assert_eq!(ada.mails().await.len(), 0);
    backend.mailbox.refuse(None);
    ada.mail("ada@example.com", "code", 1).await;
    assert_eq!(ada.mails().await.len(), 1);
    eventually("an empty outbox", || async {
        outbox(&backend).await.is_empty()
    })
    .await;
}

/// Makes everything in the outbox due, as time does.
async fn let_time_pass(backend: &Local) {
    let platform = mongo(backend).await.database(PLATFORM);
    let outbox = platform.collection::<Document>("outbox");
    let due = doc! { "$set": { "due_at": DateTime::now() } };
    outbox.update_many(doc! {}, due).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_creator_of_a_token_is_reminded_once_unless_the_token_has_ended() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let mut developers = Vec::new();
    for email in ["bob@example.com", "eve@example.com"] {
        let person = Browser::signed_up(&backend, email).await.in_tenant("acme");
        let member = ada.add_member(&person, email, "DEVELOPER").await;
        developers.push((person, member));
    }
    let read = ["read_project"];
    ada.create_machine(&backend, &read).await;
    let (_, revoked) = ada.create_machine(&backend, &read).await;
    for (developer, _) in &developers {
        developer.create_machine(&backend, &read).await;
    }
    eventually("only the reminders in the outbox", || async {
        let waiting = outbox(&backend).await;
        // A token expires in 90 days by default.
        let due_at = |entry: &Document| entry.get_datetime("due_at").unwrap().timestamp_millis();
        let wait = |entry| due_at(entry) - DateTime::now().timestamp_millis();
        let days = |entry| wait(entry) as f64 / (24. * 60. * 60. * 1000.);
        waiting.len() == 4
            && waiting
                .iter()
                .map(days)
                .all(|days| (82.9..83.).contains(&days))
    })
    .await;
    ada.data(DELETE_TOKEN, json!({ "id": revoked })).await;
    let ((bob, _), (_, eve)) = (&developers[0], &developers[1]);
    bob.data("mutation { account { revokeAllSessions { success } } }", ())
        .await;
    ada.data(DELETE_MEMBER, json!({ "id": eve })).await;
    let_time_pass(&backend).await;
    ada.mail("ada@example.com", "expires on", 1).await;
    eventually("an empty outbox", || async {
        outbox(&backend).await.is_empty()
    })
    .await;
    let mails = ada.mails().await.into_iter();
    let reminders = mails.filter(|mail| mail["text"].as_str().unwrap().contains("expires on"));
    assert_eq!(reminders.count(), 1);
    eventually("the record of the others", || async {
        let mails = documents_of(&backend, "email").await.into_iter();
        let withdrawn = mails.filter(|mail| mail["view"]["status"] == "withdrawn");
        withdrawn.count() == 3
    })
    .await;
}

/// Waits for the record that a mail has failed with this code.
async fn failed_with(backend: &Local, code: &str) {
    let emails = mongo(backend).await.database(PLATFORM);
    let emails = emails.collection::<Document>("email");
    eventually("the record of the failure", || async {
        let failed = doc! { "view.status": "failed", "view.reason": { "$regex": code } };
        emails.count_documents(failed).await.unwrap() == 1
    })
    .await;
    eventually("an empty outbox", || async {
        outbox(backend).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_again_and_again_is_recorded_as_failed() {
    let backend = start_with_mail_attempts(2).await;
    let ada = Browser::new(&backend);
    backend.mailbox.refuse(Some(451));
    ada.register("ada@example.com").await;
    failed_with(&backend, "451").await;
    backend.mailbox.refuse(None);
    Browser::new(&backend).register("bob@example.com").await;
    ada.mail("bob@example.com", "code", 1).await;
    assert_eq!(
        ada.mails().await.len(),
        1,
        "the mail that was given up is not sent later"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_for_good_is_not_tried_again() {
    let backend = start().await;
    backend.mailbox.refuse(Some(550));
    Browser::new(&backend).register("ada@example.com").await;
    // Twelve attempts would take more than an hour.
    failed_with(&backend, "550").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_does_not_answer_holds_up_no_mail_to_another() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    backend.mailbox.stall(Some("@slow.example"));
    let slow = (0..24).map(|at| {
        let browser = Browser::new(&backend);
        async move { browser.register(&format!("user{at}@slow.example")).await }
    });
    join_all(slow).await;
    eventually("the outbox", || async {
        outbox(&backend).await.len() == 24
    })
    .await;
    let registered = Instant::now();
    ada.register("ada@example.com").await;
    ada.mail("ada@example.com", "code", 1).await;
    // The workers wait for an answer of the mail server for ten seconds.
    assert!(
        registered.elapsed() < Duration::from_secs(8),
        "{:?}",
        registered.elapsed()
    );
    backend.mailbox.stall(None);
    eventually("all mails", || async { ada.mails().await.len() == 25 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_record_cannot_be_stored_is_not_sent_again() {
    let backend = start().await;
    let ada = Browser::new(&backend);
    backend.mailbox.stall(Some(""));
    ada.register("ada@example.com").await;
    eventually("the outbox", || async { outbox(&backend).await.len() == 1 }).await;
    close_stream(&backend, "COMMANDS").await;
    backend.mailbox.stall(None);
    eventually("the note that it was sent", || async {
        let mut entries = outbox(&backend).await.into_iter();
        entries.any(|entry| entry.get_bool("performed").unwrap_or_default())
    })
    .await;
    open_stream(&backend, "COMMANDS").await;
    eventually("an empty outbox", || async {
        outbox(&backend).await.is_empty()
    })
    .await;
    assert_eq!(ada.mails().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_mail_comes_before_invitations_that_wait() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let before = ada.mails().await.len();
    // No domain answers, so all attempts of the worker wait.
    backend.mailbox.stall(Some(""));
    for at in 0..30 {
        let guest = format!("guest@domain{at}.example");
        ada.data(INVITE, invite(&guest, "GUEST")).await;
    }
    eventually("the outbox", || async {
        outbox(&backend).await.len() == 30
    })
    .await;
    Browser::new(&backend).register("bob@example.com").await;
    eventually("the outbox", || async {
        outbox(&backend).await.len() == 31
    })
    .await;
    backend.mailbox.stall(None);
    eventually("all mails", || async {
        ada.mails().await.len() == before + 31
    })
    .await;
    let mails = ada.mails().await;
    let to_bob = |mail: &Value| mail["to"][0] == "bob@example.com";
    let place = mails.iter().position(to_bob).unwrap() - before;
    // Eight invitations were on their way, and may have ended in any order.
    assert!(place < 16, "it was number {place} of 31");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_are_reminded_of_the_end_of_a_service_token_whose_creator_has_left() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let email = "bob@example.com";
    let bob = Browser::signed_up(&backend, email).await.in_tenant("acme");
    let member = ada.add_member(&bob, email, "ADMIN").await;
    let import = create_service(&bob, "Import", "GUEST").await;
    let token = json!({ "name": "Key", "scopes": ["read_project"], "service": import });
    bob.data(CREATE_TOKEN, input(token)).await;
    eventually("two reminders in the outbox", || async {
        outbox(&backend).await.len() == 2
    })
    .await;
    ada.data(DELETE_MEMBER, json!({ "id": member })).await;
    moves(&ada, "ada@example.com", "ada@example.org").await;
    eventually("an outbox with reminders only", || async {
        outbox(&backend).await.len() == 2
    })
    .await;
    let_time_pass(&backend).await;
    ada.mail("ada@example.org", "expires on", 1).await;
    eventually("an empty outbox", || async {
        outbox(&backend).await.is_empty()
    })
    .await;
    assert!(ada.mails_to(email, "expires on").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_goes_to_the_address_that_the_creator_has_by_then() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    ada.create_machine(&backend, &["read_project"]).await;
    moves(&ada, "ada@example.com", "ada@example.org").await;
    eventually("only the reminder in the outbox", || async {
        let waiting = outbox(&backend).await;
        let soon = DateTime::now().timestamp_millis() + 60_000;
        let is_later = |entry: &Document| {
            let due_at = entry.get_datetime("due_at").unwrap();
            due_at.timestamp_millis() > soon
        };
        waiting.len() == 1 && waiting.iter().all(is_later)
    })
    .await;
    let_time_pass(&backend).await;
    ada.mail("ada@example.org", "expires on", 1).await;
    let former = ada.mails_to("ada@example.com", "expires on").await;
    assert!(former.is_empty(), "{former:?}");
}
