//! Reads commits of the log as public events and objects.

use serde_json::Value;

use super::{EventType, PublicEvent, Published};
use crate::{
    Area, AreaName, Commit, CommitSummary, TenantId, TenantKey, View, areas, variant_name,
};

/// Why a commit has no public form here.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The envelope is readable, but this program does not know the content. Another one may.
    #[error("a newer release wrote the commit: {0}")]
    Newer(String),
    /// No retry can help.
    #[error("the commit is malformed: {0}")]
    Malformed(String),
    /// The commits end before that of the event.
    #[error("revision {wanted} of {subject} is missing after revision {last}")]
    Missing {
        subject: String,
        wanted: u64,
        last: u64,
    },
}

/// Returns the events of a commit that webhooks send, in order. There are none if the commit
/// belongs to the platform, or to an area of which webhooks send nothing.
///
/// # Errors
/// If a newer release wrote the commit; if it is malformed, or does not belong to the subject.
pub fn events_of(subject: &str, payload: &[u8]) -> Result<Vec<PublicEvent>, Unreadable> {
    let summary: CommitSummary = serde_json::from_slice(payload).map_err(malformed)?;
    let of_body = format!("evt.{}.{}.{}", summary.tenant, summary.area, summary.id);
    if of_body != subject {
        return Err(malformed("the subject and the body disagree"));
    }
    let Ok(area) = AreaName::parse(&summary.area) else {
        return Err(Unreadable::Newer(format!("no area {}", summary.area)));
    };
    match summary.tenant {
        TenantId::Platform => Ok(Vec::new()),
        TenantId::Tenant(tenant) => events_in(area, tenant, payload),
    }
}

/// An object that is folded from a part of its commits.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    view: Option<Value>,
    /// The revision of the last commit.
    last: u64,
}

impl Folded {
    /// Returns the revision of the last commit that is folded; 0 if there is none.
    pub const fn revision(&self) -> u64 {
        self.last
    }

    /// Returns how many bytes the object takes as JSON.
    pub fn json_bytes(&self) -> usize {
        let json = self.view.as_ref().map(Value::to_string);
        json.map_or(0, |json| json.len())
    }
}

macro_rules! declare_dispatch {
    ($($name:ident: $module:ident [$($view:ident)+],)+) => {
        fn events_in(
            area: AreaName,
            tenant: TenantKey,
            payload: &[u8],
        ) -> Result<Vec<PublicEvent>, Unreadable> {
            match area {
                $(AreaName::$name => events::<crate::$module::Area>(tenant, payload)),+
            }
        }

        /// Folds further commits on the subject of an event.
        pub(super) fn fold<P: AsRef<[u8]>>(
            event: &PublicEvent,
            folded: Folded,
            payloads: impl IntoIterator<Item = P>,
        ) -> Result<Folded, Unreadable> {
            match event.area {
                $(AreaName::$name => fold_in::<crate::$module::Area, P>(event, folded, payloads)),+
            }
        }

        /// Returns the object of an event at its revision.
        pub(super) fn object(
            event: &PublicEvent,
            folded: Folded,
        ) -> Result<Option<Value>, Unreadable> {
            match event.area {
                $(AreaName::$name => object_in::<crate::$module::Area>(event, folded)),+
            }
        }
    };
}
areas!(declare_dispatch);

fn events<A: Area>(tenant: TenantKey, payload: &[u8]) -> Result<Vec<PublicEvent>, Unreadable> {
    if A::Public::EVENTS.is_empty() {
        return Ok(Vec::new());
    }
    let commit = decode::<A>(payload)?;
    let mut events = Vec::new();
    for (position, event) in (0..).zip(&commit.events) {
        if let Some(event_type) = type_of::<A>(event)? {
            events.push(PublicEvent {
                id: PublicEvent::id_of(&commit.subject(), commit.revision, position),
                event_type,
                tenant,
                area: A::NAME,
                aggregate: commit.id.into(),
                object: A::Public::object_id(event, commit.id.into()),
                revision: commit.revision,
                position,
                actor: commit.actor,
                time: commit.time,
                is_test: false,
            });
        }
    }
    Ok(events)
}

fn type_of<A: Area>(event: &A::Event) -> Result<Option<EventType>, Unreadable> {
    let name = variant_name(event).map_err(malformed)?;
    let mut types = A::Public::EVENTS.iter().copied();
    Ok(types.find(|event_type| event_type.event_name() == name))
}

fn fold_in<A: Area, P: AsRef<[u8]>>(
    event: &PublicEvent,
    folded: Folded,
    payloads: impl IntoIterator<Item = P>,
) -> Result<Folded, Unreadable> {
    let Folded { view, mut last } = folded;
    let mut view: Option<<A::Public as Published>::View> = match view {
        Some(view) => Some(serde_json::from_value(view).map_err(malformed)?),
        None => None,
    };
    for payload in payloads {
        if last == event.revision {
            break;
        }
        let commit = decode::<A>(payload.as_ref())?;
        if commit.subject() != event.subject() {
            return Err(malformed("it belongs to another object"));
        }
        if commit.revision != last + 1 {
            break;
        }
        view = <<A::Public as Published>::View as View>::fold(view, &commit);
        last = commit.revision;
    }
    let view = view.map(serde_json::to_value).transpose();
    Ok(Folded {
        view: view.map_err(malformed)?,
        last,
    })
}

fn object_in<A: Area>(event: &PublicEvent, folded: Folded) -> Result<Option<Value>, Unreadable> {
    if folded.last != event.revision {
        return Err(Unreadable::Missing {
            subject: event.subject().to_string(),
            wanted: event.revision,
            last: folded.last,
        });
    }
    let Some(view) = folded.view else {
        return Ok(None);
    };
    let view = serde_json::from_value(view).map_err(malformed)?;
    let object = A::Public::of(view, event.object, event.revision);
    object
        .map(serde_json::to_value)
        .transpose()
        .map_err(malformed)
}

/// Decodes a commit. If only its envelope is readable, a newer release wrote it.
fn decode<A: Area>(payload: &[u8]) -> Result<Commit<A>, Unreadable> {
    serde_json::from_slice(payload).map_err(|unknown| {
        match serde_json::from_slice::<CommitSummary>(payload) {
            Ok(_) => Unreadable::Newer(unknown.to_string()),
            Err(error) => malformed(error),
        }
    })
}

fn malformed(reason: impl ToString) -> Unreadable {
    Unreadable::Malformed(reason.to_string())
}
