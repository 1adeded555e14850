//! The read side: how a commit is folded into a document, and which indexes that document is found
//! by.
//!
//! Pure; `view_loop.rs` reads and writes. One document is fed by one aggregate.

use events_schema::Commit;
use serde::{Serialize, de::DeserializeOwned};

pub mod access_token;
pub mod account;
pub mod email;
pub mod member;
pub mod project;
pub mod role;
pub mod session;
pub mod tenant;

/// How a view follows from commits.
pub trait Fold: events_schema::View {
    /// What feeds it.
    type Event: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// What it is looked up by, beside its id.
    const INDEXES: &'static [Index];

    /// The document after the commit; `None` if there is nothing (more) to show. Total: no commit
    /// is refused.
    fn fold(view: Option<Self>, commit: &Commit<Self::Event>) -> Option<Self>;
}

/// An index over the tenant and then these fields of the view, ascending.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Field names within the view.
    pub fields: &'static [&'static str],
}

#[cfg(test)]
mod testing {
    use events_schema::{Actor, CommandId, Commit, Id, TenantId, Time};

    use super::Fold;

    /// Whose commits they are.
    pub(super) const TENANT: TenantId = TenantId::Tenant(Id::from_bytes([6; 16]));

    /// The document after these events, each in a commit of its own at the given time.
    pub(super) fn fold<V: Fold>(events: impl IntoIterator<Item = (i64, V::Event)>) -> Option<V> {
        let id = Id::from_bytes([7; 16]);
        (1..)
            .zip(events)
            .fold(None, |view, (revision, (time, event))| {
                let (actor, time) = (Actor::Anonymous, Time(time));
                V::fold(
                    view,
                    &Commit {
                        tenant: TENANT,
                        area: V::AREA,
                        id,
                        revision,
                        command: CommandId(id),
                        actor,
                        time,
                        origin: None,
                        events: vec![event],
                    },
                )
            })
    }
}
