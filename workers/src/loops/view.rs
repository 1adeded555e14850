//! Commits in, documents out.

use std::collections::BTreeMap;

use async_nats::{
    Client,
    jetstream::{self, Context, Message},
};
use events_schema::{Area as _, View};
use futures_util::{StreamExt, future::join_all};
use tokio_util::sync::CancellationToken;

use crate::{
    decode,
    loops::{
        consumers::Consumer,
        delivery::{self, Handled},
    },
    placements::Placements,
    views::{BULK, Commits, Key, Views},
};

/// Bulks that one process writes at once, per view.
const BULKS: usize = 4;

/// Keeps one view current until `shutdown`.
///
/// # Errors
/// If the view's indexes cannot be created.
pub async fn run<V: View>(
    client: Client,
    placements: Placements,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let view_loop = ViewLoop::<V> {
        context: jetstream::new(client.clone()),
        consumer: Consumer::views(V::NAME, V::Area::NAME),
        views: Views::new(client, placements),
    };
    view_loop.views.prepare().await?;
    let (context, consumer) = (view_loop.context.clone(), view_loop.consumer.clone());
    delivery::messages(context, consumer, shutdown)
        .ready_chunks(BULK)
        .for_each_concurrent(BULKS, |messages| view_loop.handle(messages))
        .await;
    Ok(())
}

struct ViewLoop<V: View> {
    context: Context,
    consumer: Consumer,
    views: Views<V>,
}

impl<V: View> ViewLoop<V> {
    async fn handle(&self, messages: Vec<Message>) {
        let mut commits = Commits::<V>::new();
        let mut by_document: BTreeMap<Key<V>, Vec<Message>> = BTreeMap::new();
        for message in messages {
            match decode::commit::<V::Area>(&message.subject, &message.payload) {
                Err(reason) => {
                    self.settle(&message, Ok(Handled::Dead(format!("{reason:#}"))))
                        .await
                }
                Ok(_) if delivery::is_lost(&self.consumer, &message) => {
                    let lost = Handled::Dead(delivery::LOST.to_owned());
                    self.settle(&message, Ok(lost)).await;
                }
                Ok(commit) => {
                    let key = Views::<V>::key(&commit);
                    commits.entry(key).or_default().push(commit);
                    by_document.entry(key).or_default().push(message);
                }
            }
        }
        let all_applied = delivery::bounded(&self.consumer, self.views.apply(&commits)).await;
        let all_applied = all_applied.inspect_err(|error| {
            let error = format!("{error:#}");
            tracing::debug!(error, "applying the documents of a bulk one by one");
        });
        let settled = by_document.into_iter().map(async |(key, messages)| {
            let applied = match all_applied {
                Ok(()) => Ok(()),
                Err(_) => self.apply_one(key, &commits).await,
            };
            self.settle_all(&messages, applied).await;
        });
        join_all(settled).await;
    }

    /// Applies the commits of one document alone, so that a document that cannot be written does
    /// not delay the rest of its bulk.
    async fn apply_one(&self, key: Key<V>, commits: &Commits<V>) -> anyhow::Result<()> {
        let of_document = commits.get(&key).cloned().unwrap_or_default();
        let alone = Commits::<V>::from([(key, of_document)]);
        delivery::bounded(&self.consumer, self.views.apply(&alone)).await
    }

    async fn settle_all(&self, messages: &[Message], applied: anyhow::Result<()>) {
        let applied = applied.map_err(|error| format!("{error:#}"));
        let settled = messages.iter().map(|message| {
            let result = applied.clone().map(|()| Handled::Done);
            self.settle(message, result.map_err(anyhow::Error::msg))
        });
        join_all(settled).await;
    }

    async fn settle(&self, message: &Message, result: anyhow::Result<Handled>) {
        delivery::settle(&self.context, &self.consumer, message, result).await;
    }
}
