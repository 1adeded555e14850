//! Reads and decodes the commits of a view ahead of their use.

use anyhow::Context as _;
use event_store::{Page, Replay};
use events_schema::{Subject, View};
use futures_util::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    stream::{self, Stream},
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    decode::{self, Newer},
    views::documents::{Commits, Key, Views},
};

/// Commits that are decoded at once.
const PAGE: usize = 5_000;
/// Pages that are read and decoded ahead.
const AHEAD: usize = 2;

/// The commits of a page.
pub(super) struct Batch<V: View> {
    pub(super) commits: Commits<V>,
    /// The documents of commits that cannot be decoded, and whether a newer release can.
    pub(super) undecoded: Vec<(Key<V>, bool)>,
    /// The number of commits, also of those that cannot be decoded.
    pub(super) read: u64,
    /// Their bytes in the log.
    pub(super) bytes: usize,
    /// The sequence after the last one; `None` if there is none.
    pub(super) next: Option<u64>,
    pub(super) is_last: bool,
}

/// Reads and decodes the log, until the handle is dropped.
pub(super) fn read_ahead<V: View>(
    replay: Replay,
) -> (
    AbortOnDropHandle<()>,
    mpsc::Receiver<anyhow::Result<Batch<V>>>,
) {
    let (send, batches) = mpsc::channel(AHEAD);
    let reading = async move {
        let mut read = Box::pin(read::<V>(replay));
        while let Some(batch) = read.next().await {
            if send.send(batch).await.is_err() {
                return;
            }
        }
    };
    let reading = tokio::spawn(reading.boxed());
    (AbortOnDropHandle::new(reading), batches)
}

fn read<V: View>(replay: Replay) -> impl Stream<Item = anyhow::Result<Batch<V>>> {
    let pages = stream::try_unfold(Some(replay), next_page);
    let decoding = pages.map_ok(|page| {
        let decoded = tokio::spawn(async move { decoded(&page) });
        async move { decoded.await.context("decoding a page of the log") }
    });
    decoding.try_buffered(AHEAD)
}

/// Reads a page. There is none after the last one.
async fn next_page(replay: Option<Replay>) -> anyhow::Result<Option<(Page, Option<Replay>)>> {
    let Some(mut replay) = replay else {
        return Ok(None);
    };
    let page = replay.page(PAGE).await?;
    let following = (!page.is_last()).then_some(replay);
    Ok(Some((page, following)))
}

fn decoded<V: View>(page: &Page) -> Batch<V> {
    let bytes = page.messages.iter().map(|message| message.payload.len());
    let (commits, undecoded) = by_document::<V>(page);
    Batch {
        commits,
        undecoded,
        read: page.messages.len() as u64,
        bytes: bytes.sum(),
        next: page.next(),
        is_last: page.is_last(),
    }
}

/// Decodes the commits of a page, by their documents. Also returns the documents of those that
/// cannot be decoded, and whether a newer release can.
fn by_document<V: View>(page: &Page) -> (Commits<V>, Vec<(Key<V>, bool)>) {
    let (mut by_document, mut undecoded) = (Commits::<V>::new(), Vec::new());
    for message in &page.messages {
        match decode::logged::<V::Area>(message) {
            Ok(logged) => {
                let key = Views::<V>::key(&logged.commit);
                by_document.entry(key).or_default().push(logged);
            }
            // The view's loop settles it.
            Err(reason) => {
                if let Ok(Subject::Event { tenant, id, .. }) = Subject::parse(&message.subject) {
                    let key = (Views::<V>::owner(tenant), id.into());
                    undecoded.push((key, reason.is::<Newer>()));
                }
                let (sequence, reason) = (message.sequence, format!("{reason:#}"));
                tracing::error!(sequence, reason, "a commit was skipped");
            }
        }
    }
    (by_document, undecoded)
}
