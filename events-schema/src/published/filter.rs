//! Which events an endpoint receives.

use std::{fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::{EventType, event_types};
use crate::{AreaName, Invalid, Permissions};

/// The most bytes of a filter.
const MAX_LENGTH: usize = 128;

static UNKNOWN: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = event_types().iter().map(|one| one.as_str()).collect();
    let names = names.join(", ");
    format!("must be `*`, all events of an area such as `project.*`, or one of {names}")
});

/// Chooses events: `project.created` one type, `project.*` all of an area, `*` all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct EventFilter(String);

impl EventFilter {
    /// Parses a filter that somebody enters.
    ///
    /// # Errors
    /// If it chooses no event that this release sends. The error lists the types.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let unknown = Invalid(&UNKNOWN);
        let filter = Self::from_stored(text).map_err(|_| unknown)?;
        let is_known = event_types().iter().any(|one| filter.matches(*one));
        is_known.then_some(filter).ok_or(unknown)
    }

    /// Reads a filter that was stored. A newer release may have stored one that chooses no event of
    /// this release.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn from_stored(text: &str) -> Result<Self, Invalid> {
        let is_name = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty() && bytes.all(|c| c.is_ascii_lowercase() || c == b'_')
        };
        let is_filter = match text.split_once('.') {
            Some((area, event)) => is_name(area) && (event == "*" || is_name(event)),
            None => text == "*",
        };
        if is_filter && text.len() <= MAX_LENGTH {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must be an event such as project.created"))
        }
    }

    /// Returns the filter as it is entered and stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter chooses events of this type.
    pub fn matches(&self, event_type: EventType) -> bool {
        let name = event_type.as_str();
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }

    /// Returns the permissions that a reader needs for all events that the filter chooses: those of
    /// the feed. Later releases may add events to `*`, which then needs more of them.
    pub fn permissions(&self) -> Permissions {
        let areas = AreaName::ALL.iter().filter(|area| {
            let mut types = area.event_types().iter();
            types.any(|event_type| self.matches(*event_type))
        });
        areas.filter_map(|area| area.feed()).collect()
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EventFilter {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::from_stored(&text)
    }
}

impl From<EventFilter> for String {
    fn from(filter: EventFilter) -> Self {
        filter.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Permission, project, task};

    fn matched(filter: &str) -> Vec<&'static str> {
        let filter = EventFilter::parse(filter).unwrap();
        let types = event_types().iter().copied();
        let matched = types.filter(|event_type| filter.matches(*event_type));
        matched.map(EventType::as_str).collect()
    }

    #[test]
    fn a_filter_chooses_one_type_an_area_or_everything() {
        assert_eq!(matched("task.updated"), ["task.updated"]);
        let of_project = ["project.created", "project.updated", "project.deleted"];
        assert_eq!(matched("project.*"), of_project);
        assert_eq!(matched("*").len(), event_types().len());
    }

    #[test]
    fn a_filter_that_chooses_nothing_is_refused_with_the_list_of_types() {
        for wrong in [
            "",
            "project",
            "project.",
            ".created",
            "project.flown",
            "proj*",
            "project.cre*",
            "*.created",
            "**",
            "project.*.*",
            "Project.created",
            " project.created",
            "account.*",
            "access_token.restricted",
        ] {
            let error = EventFilter::parse(wrong).unwrap_err().to_string();
            assert!(
                error.contains("project.created, project.updated"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_stored_filter_of_a_newer_release_is_kept_and_chooses_nothing() {
        let stored = "\"invoice.paid\"";
        let filter: EventFilter = serde_json::from_str(stored).unwrap();
        assert!(!event_types().iter().any(|one| filter.matches(*one)));
        assert!(filter.permissions().is_empty());
        assert_eq!(serde_json::to_string(&filter).unwrap(), stored);
        serde_json::from_str::<EventFilter>("\"proj*\"").unwrap_err();
    }

    #[test]
    fn a_filter_needs_the_permissions_of_the_feed() {
        let needed = |filter: &str| EventFilter::parse(filter).unwrap().permissions();
        assert_eq!(
            needed("project.deleted"),
            Permissions::from([project::READ])
        );
        assert_eq!(needed("task.*"), Permissions::from([task::READ]));
        let publish = |area: &&AreaName| !area.event_types().is_empty();
        let areas = AreaName::ALL.iter().filter(publish);
        let all: Vec<Permission> = areas.map(|area| area.feed().unwrap()).collect();
        assert!(all.len() > 2);
        assert_eq!(needed("*"), all.into_iter().collect());
    }
}
