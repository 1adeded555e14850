//! The types of events that webhooks send, with the schema and an example of each.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde::Deserialize;
use serde_json::Value;

use crate::AreaName;

/// A type of events, such as `project.created`.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    name: &'static str,
    description: &'static str,
}

/// What a customer needs to know to receive events of one type.
#[derive(Debug, Deserialize)]
pub struct CatalogueEntry {
    /// The JSON Schema of the body.
    pub schema: Value,
    /// A body that shows the object.
    pub example: Value,
}

static CATALOGUE: LazyLock<BTreeMap<String, CatalogueEntry>> = LazyLock::new(|| {
    let text = include_str!("../../webhooks.json");
    // A test compares the file with the code.
    serde_json::from_str(text).unwrap_or_default()
});

static ALL: LazyLock<Vec<EventType>> = LazyLock::new(|| {
    let areas = AreaName::ALL.iter();
    areas.flat_map(|area| area.event_types()).copied().collect()
});

/// Returns the types of all events that webhooks send, area by area.
pub fn event_types() -> &'static [EventType] {
    &ALL
}

impl EventType {
    /// A type with this name and a sentence that says what happened.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description }
    }

    /// Finds the type with this name; `None` if this release sends no such events.
    pub fn find(name: &str) -> Option<Self> {
        event_types().iter().copied().find(|one| one.name == name)
    }

    /// Returns the name, such as `project.created`.
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// Returns the sentence that says what happened.
    pub const fn description(self) -> &'static str {
        self.description
    }

    /// Returns the name of the event within its area, such as `created`.
    pub fn event_name(self) -> &'static str {
        self.name.split_once('.').map_or("", |(_, event)| event)
    }

    /// Returns the schema and an example; `None` until they are generated.
    pub fn catalogue_entry(self) -> Option<&'static CatalogueEntry> {
        CATALOGUE.get(self.name)
    }
}

impl PartialEq for EventType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for EventType {}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
