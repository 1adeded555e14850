//! The public form of events: what webhooks send to the servers of customers.
//!
//! Each area says in its own file which events it sends, and which fields of its objects
//! ([`Published`]). Nothing else is ever sent. The message is a CloudEvents 1.0 event that tells
//! what happened, and either names the object or shows it as it was after the change. It is a pure
//! function of the log, so a retry, a replay and every endpoint send the same.
//!
//! `webhooks.json` has the JSON Schema and an example of each type, and `docs/webhook-events.md`
//! explains them. `UPDATE_GENERATED=1 cargo test --lib` writes both.

mod body;
mod event;
mod event_type;
mod filter;
mod read;
mod values;

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use serde::Serialize;

use crate::{Area, Id, View};

pub use body::{Content, MAX_BODY};
pub use event::{PublicEvent, source};
pub use event_type::{CatalogueEntry, EventType, event_types};
pub use filter::EventFilter;
pub use read::{Folded, Unreadable, events_of};
pub use values::{DateTime, EnumName, Person};

/// An event of the area whose view this is.
type EventOf<V> = <<V as View>::Area as Area>::Event;

/// An object of an area as webhooks send it. Its fields are those of the API's object, with the
/// same names and values. All who may read the object see them, so it has no field that a row of
/// [`Area::FIELDS`] guards.
pub trait Published: Serialize + Sized {
    /// The view that shows the object.
    type View: View;
    /// The types of the events that are sent. Each is named `<area>.<event>`.
    const EVENTS: &'static [EventType];
    /// The names of the area's other events. They are never sent.
    const UNSENT: &'static [&'static str] = &[];

    /// Returns the object that an event is about. It is the aggregate, unless the aggregate
    /// consists of several objects.
    fn object_id(_event: &EventOf<Self::View>, aggregate: Id) -> Id {
        aggregate
    }

    /// Returns the object at this revision of its aggregate; `None` if the view does not show it.
    fn of(view: Self::View, id: Id, revision: u64) -> Option<Self>;
}

/// Says that webhooks send nothing of the area with this view.
#[derive(Serialize)]
#[serde(bound = "")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(bound = ""))]
pub struct Private<V>(PhantomData<V>);

impl<V: View> Published for Private<V> {
    type View = V;
    const EVENTS: &'static [EventType] = &[];

    fn of(_: V, _: Id, _: u64) -> Option<Self> {
        None
    }
}
