//! Views: the documents that queries read. Each is the fold of one aggregate's commits.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Area, Commit};

/// A document that queries read, folded from the commits of one aggregate.
pub trait View: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The area whose commits the view is folded from.
    type Area: Area;
    /// The name of the view's collection, and its token in subjects.
    const NAME: &'static str;
    /// The database that holds the view.
    const HOME: Home;
    /// The indexes of the view, beside its id. Lists filter and sort by no other fields.
    const INDEXES: &'static [Index];

    /// Returns the document after the commit; `None` if there is nothing (more) to show. Total: it
    /// accepts every commit in every state.
    fn fold(view: Option<Self>, commit: &Commit<Self::Area>) -> Option<Self>;
}

/// A view of objects that belong to a parent in the same tenant, such as the tasks of a project. A
/// deleted parent hides its children.
pub trait Child: View {
    /// The view of the parents.
    type Parent: View;

    /// Returns the id of the parent.
    fn parent(&self) -> <<Self::Parent as View>::Area as Area>::Id;
}

/// The database that holds a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The platform's database, for views that are read before the tenant is known.
    Platform,
    /// The database where the tenant keeps its views.
    Tenant,
}

/// An index over the tenant and these fields of the view, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Names of fields within the view, in the order of the index.
    pub fields: &'static [&'static str],
}

impl Index {
    /// An index over these fields.
    pub const fn on(fields: &'static [&'static str]) -> Self {
        Self { fields }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Folds events into a document, for tests.

    use super::View;
    use crate::{Actor, Area, CommandId, Commit, Id, TenantId, TenantKey, Time};

    /// The tenant of all commits.
    pub(crate) const TENANT: TenantId = TenantId::Tenant(TenantKey(Id::from_bytes([6; 16])));
    /// The aggregate of all commits.
    pub(crate) const AGGREGATE: Id = Id::from_bytes([7; 16]);

    type EventOf<V> = <<V as View>::Area as Area>::Event;

    /// Folds these events, each in a commit of its own at the given time.
    pub(crate) fn fold<V: View>(events: impl IntoIterator<Item = (i64, EventOf<V>)>) -> Option<V> {
        let commits = (1..).zip(events);
        commits.fold(None, |view, (revision, (time, event))| {
            let commit = Commit {
                tenant: TENANT,
                area: V::Area::NAME,
                id: AGGREGATE.into(),
                revision,
                command: CommandId(AGGREGATE),
                actor: Actor::Anonymous,
                time: Time(time),
                origin: None,
                events: vec![event],
            };
            V::fold(view, &commit)
        })
    }
}
