//! How a meter counts.

use crate::{Area, Commit, Meter};

/// A meter of an area, and how it counts.
#[derive(Clone, Copy, Debug)]
pub struct Counter<A: Area> {
    pub meter: Meter,
    /// Returns what one commit adds. It is pure and never changes its mind: usage that was counted
    /// is counted again to prove it.
    pub count: fn(&Commit<A>) -> u64,
}

impl<A: Area> Counter<A> {
    /// Declares a meter that counts by this function.
    pub const fn new(meter: Meter, count: fn(&Commit<A>) -> u64) -> Self {
        Self { meter, count }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Actor, AreaName, CommandId, Id, TenantId, Time, golden, project, task};

    /// What each meter of an area counts of a commit with one event of this type.
    fn counted<A: Area>(name: &str) -> Vec<(Meter, u64)> {
        let examples = golden::events(A::NAME);
        let example = examples.iter().find(|event| event["type"] == name);
        let event: A::Event = serde_json::from_value(example.unwrap().clone()).unwrap();
        let commit = Commit::<A> {
            tenant: TenantId::Platform,
            area: A::NAME,
            id: Id::from_bytes([1; 16]).into(),
            revision: 1,
            command: CommandId(Id::from_bytes([2; 16])),
            actor: Actor::System,
            time: Time(5),
            origin: None,
            events: vec![event],
        };
        let all = A::METERS.iter();
        all.map(|counter| (counter.meter, (counter.count)(&commit)))
            .collect()
    }

    #[test]
    fn projects_and_tasks_are_counted_when_they_are_created() {
        for (event, expected) in [("created", 1), ("updated", 0), ("deleted", 0)] {
            let projects = counted::<project::Area>(event);
            assert_eq!(projects, [(project::PROJECTS_CREATED, expected)], "{event}");
            let tasks = counted::<task::Area>(event);
            assert_eq!(tasks, [(task::TASKS_CREATED, expected)], "{event}");
        }
    }

    #[test]
    fn a_meter_belongs_to_one_area() {
        let all = AreaName::ALL.iter().flat_map(|area| area.meters());
        let all: Vec<Meter> = all.collect();
        let names: BTreeSet<Meter> = all.iter().copied().collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(Meter::all(), names.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_unknown_meter_is_refused_with_the_names_of_all() {
        let parsed = Meter::parse("tasks_created");
        assert_eq!(parsed, Ok(task::TASKS_CREATED));
        let refused = Meter::parse("moons_created").unwrap_err();
        // Each area may add meters, so the list grows.
        assert!(refused.0.starts_with("must be one of "), "{}", refused.0);
        assert!(refused.0.contains("projects_created") && refused.0.contains("tasks_created"));
        let newer = Meter::from_stored("moons_created").unwrap();
        assert_ne!(newer, project::PROJECTS_CREATED);
        assert_eq!(newer.as_str(), "moons_created");
    }
}
