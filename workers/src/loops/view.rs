//! Commits in, documents out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{
    Client,
    jetstream::{self, Context, Message},
};
use events_schema::{Area as _, View};
use futures_util::{StreamExt, future::join_all};
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    decode,
    loops::{
        consumers::Consumer,
        delivery::{self, Handled},
    },
    placements::Placements,
    views::{Applied, BULK, Commits, Confirmations, Key, Views},
};

/// From how many commits in a bulk on a view counts as busy. Then the next bulk gathers for a
/// moment: one write of many documents costs little more than one of a single document.
const BUSY: usize = 3;
/// The least time from the start of a bulk to the next one, while the view is busy.
const PACE: Duration = Duration::from_millis(3);

/// Keeps one view current until `shutdown`.
///
/// # Errors
/// If the view's indexes cannot be created.
pub async fn run<V: View>(
    client: Client,
    placements: Placements,
    confirmations: Confirmations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let view_loop = Arc::new(ViewLoop::<V> {
        context: jetstream::new(client.clone()),
        consumer: Consumer::views(V::NAME, V::Area::NAME),
        views: Views::live(client, placements, confirmations),
        unconfirmed: TaskTracker::new(),
    });
    view_loop.views.prepare().await?;
    let (context, consumer) = (view_loop.context.clone(), view_loop.consumer.clone());
    delivery::messages(context, consumer, shutdown)
        .ready_chunks(BULK)
        .for_each(async |messages| {
            let pause = if messages.len() < BUSY {
                Duration::ZERO
            } else {
                PACE
            };
            let next = Instant::now() + pause;
            view_loop.handle(messages).await;
            sleep_until(next).await;
        })
        .await;
    view_loop.unconfirmed.close();
    view_loop.unconfirmed.wait().await;
    Ok(())
}

struct ViewLoop<V: View> {
    context: Context,
    consumer: Consumer,
    views: Views<V>,
    /// Bulks that are written but not yet durable.
    unconfirmed: TaskTracker,
}

impl<V: View> ViewLoop<V> {
    async fn handle(self: &Arc<Self>, messages: Vec<Message>) {
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
        match delivery::bounded(&self.consumer, self.views.apply(&commits)).await {
            Ok(applied) => {
                let messages = by_document.into_values().flatten().collect();
                self.confirm(messages, applied);
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(error, "applying the documents of a bulk one by one");
                let each = by_document
                    .into_iter()
                    .map(|(key, messages)| self.apply_one(key, messages, &commits));
                join_all(each).await;
            }
        }
    }

    /// Applies the commits of one document alone, so that a document that cannot be written does
    /// not delay the rest of its bulk.
    async fn apply_one(self: &Arc<Self>, key: Key<V>, messages: Vec<Message>, all: &Commits<V>) {
        let of_document = all.get(&key).cloned().unwrap_or_default();
        let alone = Commits::<V>::from([(key, of_document)]);
        match delivery::bounded(&self.consumer, self.views.apply(&alone)).await {
            Ok(applied) => self.confirm(messages, applied),
            Err(error) => self.settle_all(&messages, Err(error)).await,
        }
    }

    /// Acknowledges messages in the background, once their documents are durable.
    fn confirm(self: &Arc<Self>, messages: Vec<Message>, applied: Applied) {
        let view_loop = self.clone();
        self.unconfirmed.spawn(async move {
            let confirmed = delivery::bounded(&view_loop.consumer, applied.confirm()).await;
            view_loop.settle_all(&messages, confirmed).await;
        });
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
