//! A tenant that changes much of which a webhook wants little.

use events_schema::published::EventFilter;
use futures_util::future::join_all;

use super::{
    LOOPS, arrived,
    cursors::rests,
    customer::{Customer, settings},
    receiver::Receiver,
    up_to,
};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_rests_although_its_tenant_goes_on() {
    let world = World::start().await;
    let _worker = world.workers::<1>(LOOPS).await;
    let acme = Customer::new(&world).await;
    let receiver = Receiver::start().await;
    let mut settings = settings(&receiver.url);
    settings.event_types = [EventFilter::parse("project.created").unwrap()].into();
    let (webhook, _) = acme.webhook(settings).await;
    let projects = join_all((0..10).map(|_| acme.project())).await;
    let renames = join_all(projects.iter().map(|project| async {
        loop {
            acme.rename(*project).await;
        }
    }));
    let resting = async {
        arrived(&receiver, &up_to(&projects, 1)).await;
        rests(&world, acme.tenant, webhook, |_| true).await;
    };
    tokio::select! {
        _ = renames => {}
        () = resting => {}
    }
    let created = acme.project().await;
    arrived(&receiver, &up_to(&[created], 1)).await;
}
