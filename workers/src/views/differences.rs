//! Compares the documents of a tenant at two places.

use std::cmp::Ordering;

use event_store::Location;
use events_schema::TenantId;
use futures_util::TryStreamExt;
use mongodb::{
    Cursor,
    bson::{Document, doc},
};

use crate::views::Collection;

impl Collection {
    /// Counts the documents of a tenant that differ between two locations or exist at one only.
    ///
    /// # Errors
    /// If MongoDB does not answer.
    pub async fn differences(
        &self,
        tenant: TenantId,
        one: &Location,
        other: &Location,
    ) -> anyhow::Result<u64> {
        let mut one = self.documents_of(tenant, one).await?;
        let mut other = self.documents_of(tenant, other).await?;
        let (mut left, mut right) = (one.try_next().await?, other.try_next().await?);
        let mut differences = 0;
        while left.is_some() || right.is_some() {
            let order = match (id(&left), id(&right)) {
                (Some(left), Some(right)) => left.cmp(right),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            let is_same = order == Ordering::Equal && is_same(left.as_ref(), right.as_ref());
            differences += u64::from(!is_same);
            if order.is_le() {
                left = one.try_next().await?;
            }
            if order.is_ge() {
                right = other.try_next().await?;
            }
        }
        Ok(differences)
    }

    /// Returns the documents of a tenant, ordered by id.
    async fn documents_of(
        &self,
        tenant: TenantId,
        location: &Location,
    ) -> anyhow::Result<Cursor<Document>> {
        let database = self.placements.database(location)?;
        let name = self.kind.name;
        let of_tenant = doc! { "tenant": tenant.to_string() };
        let found = database.run("find", |database| async move {
            let documents = database.collection(name);
            documents.find(of_tenant).sort(doc! { "_id": 1 }).await
        });
        found.await
    }
}

/// Whether two documents are the same. Documents of earlier releases have no sequence.
fn is_same(left: Option<&Document>, right: Option<&Document>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return false;
    };
    let has_sequence = |document: &Document| document.get_i64("sequence").is_ok_and(|at| at > 0);
    if has_sequence(left) && has_sequence(right) {
        return left == right;
    }
    let without = |document: &Document| {
        let mut document = document.clone();
        document.remove("sequence");
        document
    };
    without(left) == without(right)
}

fn id(document: &Option<Document>) -> Option<&str> {
    document.as_ref()?.get_str("_id").ok()
}
