//! What tenants use is counted once, and Stripe is told once, whatever workers do.

mod metered;
mod stripe;

use futures_util::future::join_all;
use mongodb::bson::{Document, doc};

use self::{
    metered::{Cut, Metered},
    stripe::{Hold, Stripe},
};
use crate::support::{World, eventually};

/// Workers that never count.
const WITHOUT_COUNTING: &[&str] = &["--loops", "commands,views"];
/// Workers that count once a day, and know no Stripe.
const ONCE_A_DAY: &[&str] = &["--loops", "effects", "--usage-interval-s", "86400"];

/// Asserts that each part of the log is in one cut, and that Stripe knows each that is due.
fn assert_right(cuts: &[Cut], stripe: &Stripe, tasks: u64) {
    let mut end = 0;
    for cut in cuts {
        assert_eq!(cut.from, end, "{cuts:?}");
        end = cut.to;
    }
    assert_eq!(cuts.iter().map(|cut| cut.quantity).sum::<u64>(), tasks);
    let due = cuts.iter().filter(|cut| cut.is_due);
    let mut due: Vec<u64> = due.map(|cut| cut.quantity).collect();
    let mut known: Vec<u64> = stripe.reports().into_values().collect();
    due.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, due, "{cuts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_equals_a_recount_although_workers_are_killed_while_they_count() {
    let world = World::start().await;
    let stripe = Stripe::start().await;
    let _decider = world.workers::<1>(WITHOUT_COUNTING).await;
    let acme = Metered::new(&world).await;
    let mut doomed = world.workers::<2>(&stripe.options()).await;
    acme.create_tasks(10).await;
    acme.counted(&world, 10).await;
    for round in 0..6 {
        let cuts = acme.cuts(&world).await.len();
        let victim = &mut doomed[round % 2];
        if round < 3 {
            let (_, killed) = tokio::join!(acme.create_tasks(30), victim.kill());
            killed.unwrap();
        } else {
            // It is about to tell Stripe, or the other one is.
            acme.create_tasks(30).await;
            eventually("a cut", || async { acme.cuts(&world).await.len() > cuts }).await;
            victim.kill().await.unwrap();
        }
        *victim = world.spawn_worker(&stripe.options());
    }
    acme.counted(&world, 190).await;
    acme.reported(&world).await;
    let cuts = acme.cuts(&world).await;
    assert_right(&cuts, &stripe, 190);
    assert!(!stripe.reports().is_empty());
    world.run(&["recount-usage"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_workers_that_count_the_same_one_stores_it() {
    let world = World::start().await;
    let _deciders = world.workers::<2>(WITHOUT_COUNTING).await;
    let acme = Metered::new(&world).await;
    for round in 1..=2 {
        let from = acme.cuts(&world).await.last().map_or(0, |cut| cut.to);
        // They have read the log at different times.
        let racers = (1..=20).map(|racer| acme.cut(from, from + racer));
        let stored = join_all(racers).await;
        let winners = stored.iter().filter(|is_stored| **is_stored).count();
        assert_eq!(winners, 1);
        assert_eq!(acme.cuts(&world).await.len(), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_before_or_after_stripe_acts_leads_to_one_report_of_each_cut() {
    let world = World::start().await;
    let stripe = Stripe::start().await;
    let _decider = world.workers::<1>(WITHOUT_COUNTING).await;
    let acme = Metered::new(&world).await;
    let [mut doomed] = world.workers::<1>(&stripe.options()).await;
    acme.create_tasks(1).await;
    acme.counted(&world, 1).await;
    let mut tasks = 1;
    for hold in [Hold::Before, Hold::After].repeat(3) {
        stripe.hold(hold);
        acme.create_tasks(2).await;
        tasks += 2;
        stripe.held().await;
        doomed.kill().await.unwrap();
        stripe.hold(Hold::No);
        doomed = world.spawn_worker(&stripe.options());
        acme.counted(&world, tasks).await;
        acme.reported(&world).await;
        let cuts = acme.cuts(&world).await;
        assert_right(&cuts, &stripe, tasks as u64);
    }
    assert!(stripe.reports().len() >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_sleep_one_cut_covers_the_whole_gap_and_no_key_is_needed() {
    let world = World::start().await;
    let _decider = world.workers::<1>(WITHOUT_COUNTING).await;
    let acme = Metered::new(&world).await;
    acme.create_tasks(30).await;
    let mut counting = world.spawn_worker(ONCE_A_DAY);
    acme.counted(&world, 30).await;
    counting.kill().await.unwrap();
    acme.create_tasks(5).await;
    // These find that the day is counted. When the second one counts for another tenant, the first
    // one has looked at all of them.
    let mut later = Vec::new();
    for _ in 0..2 {
        let other = acme.neighbour().await;
        other.create_tasks(1).await;
        later.push(world.spawn_worker(ONCE_A_DAY));
        other.counted(&world, 1).await;
    }
    let cuts = acme.cuts(&world).await;
    assert_eq!(cuts.len(), 1, "{cuts:?}");
    assert_eq!((cuts[0].from, cuts[0].quantity), (0, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_replay_tells_stripe_nothing() {
    let world = World::start().await;
    let stripe = Stripe::start().await;
    let _decider = world.workers::<1>(WITHOUT_COUNTING).await;
    let acme = Metered::new(&world).await;
    let [mut worker] = world.workers::<1>(&stripe.options()).await;
    for tasks in 1..=4 {
        acme.create_tasks(1).await;
        acme.counted(&world, tasks).await;
    }
    acme.reported(&world).await;
    worker.kill().await.unwrap();
    let before = stripe.requests();
    let outbox = world.views.collection::<Document>("outbox");
    outbox.drop().await.unwrap();
    let events = world.operator.get_stream("EVENTS").await.unwrap();
    events
        .delete_consumer("effects_report_usage")
        .await
        .unwrap();
    let _worker = world.spawn_worker(&stripe.options());
    eventually("the replay", || async {
        let consumer = events.consumer_info("effects_report_usage").await;
        let is_done = |info: async_nats::jetstream::consumer::Info| {
            info.num_pending == 0 && info.num_ack_pending == 0
        };
        let is_empty = outbox.count_documents(doc! {}).await.unwrap() == 0;
        consumer.is_ok_and(is_done) && is_empty
    })
    .await;
    assert_eq!(stripe.requests(), before);
}
