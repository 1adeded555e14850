//! Effects wait in an outbox, which can be lost.

use mongodb::bson::{Document, doc};

use crate::support::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn lost_effects_are_added_to_the_outbox_again() {
    let world = World::start().await;
    // The mail server does not answer, so the mail stays in the outbox.
    let _first = world.workers::<1>(&[]).await;
    world.register_and_mail("ada@example.com").await;
    let outbox = world.views.collection::<Document>("outbox");
    let has_one = || async { outbox.count_documents(doc! {}).await.unwrap() == 1 };
    eventually("the mail in the outbox", has_one).await;
    let emails = world.views.collection::<Document>("email");
    eventually("the mail in its view", || async {
        // As if it had been requested two hours ago.
        let change = doc! { "$inc": { "view.requested_at": -2 * 60 * 60 * 1000_i64 } };
        let changed = emails.update_one(doc! {}, change).await.unwrap();
        changed.matched_count == 1
    })
    .await;
    outbox.drop().await.unwrap();
    // A worker looks for lost effects when it starts.
    let _second = world.spawn_worker(&["--loops", "effects"]);
    eventually("the mail in the outbox", has_one).await;
}
