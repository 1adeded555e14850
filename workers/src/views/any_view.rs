//! Views without the types of their documents. What works on all views is compiled once.

use anyhow::Context as _;
use event_store::Location;
use events_schema::{Document, View};
use futures_util::future::BoxFuture;
use mongodb::bson::{
    RawDocument, RawDocumentBuf, deserialize_from_slice, serialize_to_raw_document_buf,
};

use crate::views::{BULK, Collection, Progress, Rebuilt, Scope, Views};

/// A view of any type.
pub trait AnyView: Send + Sync {
    /// Returns the collection of its documents.
    fn collection(&self) -> &Collection;

    /// Returns the name of the view.
    fn name(&self) -> &'static str {
        self.collection().kind.name
    }

    /// Rebuilds documents, with up to `max_held_bytes` of them in memory.
    ///
    /// # Errors
    /// If a server does not answer.
    fn rebuild<'a>(
        &'a self,
        scope: Scope,
        max_held_bytes: usize,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<Rebuilt>>;

    /// Folds the commits into a stored document that the log has on this subject after those in it.
    ///
    /// # Errors
    /// If the log does not answer, or has a commit that cannot be decoded.
    fn read_on<'a>(
        &'a self,
        document: &'a RawDocument,
        subject: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<RawDocumentBuf>>;

    /// Announces stored documents.
    ///
    /// # Errors
    /// If NATS does not answer.
    fn announce<'a>(
        &'a self,
        location: &'a Location,
        documents: &'a [RawDocumentBuf],
    ) -> BoxFuture<'a, anyhow::Result<()>>;
}

impl<V: View> AnyView for Views<V> {
    fn collection(&self) -> &Collection {
        &self.collection
    }

    fn rebuild<'a>(
        &'a self,
        scope: Scope,
        max_held_bytes: usize,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, anyhow::Result<Rebuilt>> {
        Box::pin(self.rebuild(scope, max_held_bytes, progress))
    }

    fn read_on<'a>(
        &'a self,
        document: &'a RawDocument,
        subject: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<RawDocumentBuf>> {
        Box::pin(async move {
            let document = decoded::<V>(document)?;
            encoded(&self.read_on(document, subject).await?)
        })
    }

    fn announce<'a>(
        &'a self,
        location: &'a Location,
        documents: &'a [RawDocumentBuf],
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            // Not all at once: decoded documents take more memory than stored ones.
            for documents in documents.chunks(BULK) {
                let documents = documents.iter().map(|document| decoded::<V>(document));
                let documents: Vec<_> = documents.collect::<anyhow::Result<_>>()?;
                self.announce(location, &documents).await?;
            }
            Ok(())
        })
    }
}

/// Returns a document in the form in which it is stored.
pub(super) fn encoded<V: View>(document: &Document<V>) -> anyhow::Result<RawDocumentBuf> {
    serialize_to_raw_document_buf(document).context("encoding a document")
}

fn decoded<V: View>(document: &RawDocument) -> anyhow::Result<Document<V>> {
    deserialize_from_slice(document.as_bytes()).context("decoding a document")
}
