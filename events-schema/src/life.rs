//! Whether an aggregate is live. Limits count the live ones.

use crate::{Area, Time};

/// How long an aggregate lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until another commit ends it.
    Open,
    /// Until this time, unless another commit follows.
    Until(Time),
    /// It has ended.
    Ended,
}

impl Life {
    /// Returns how long an aggregate lives after a commit of this time whose last event has this
    /// name, and says this of its end. An event that this release does not know ends nothing.
    pub fn after<A: Area>(event: &str, time: Time, lapses_at: Option<Time>) -> Self {
        if A::ENDS.contains(&event) {
            return Self::Ended;
        }
        let lapse = A::LAPSES.filter(|(lapsing, _)| *lapsing == event);
        let lapses_at = lapse.map(|(_, after)| time + after).or(lapses_at);
        lapses_at.map_or(Self::Open, Self::Until)
    }

    /// Whether the aggregate is live at this time.
    pub fn is_live_at(self, time: Time) -> bool {
        match self {
            Self::Open => true,
            Self::Until(end) => time < end,
            Self::Ended => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use serde_json::Value;

    use super::*;
    use crate::{
        AccountId, Actor, CommandId, Commit, Id, TenantId, TenantKey, View, areas, golden, member,
        project,
    };

    const WEEK: i64 = 7 * 24 * 60 * 60 * 1000;

    #[test]
    fn an_aggregate_lives_until_an_event_ends_it() {
        let after = |event| Life::after::<project::Area>(event, Time(5), None);
        for event in ["created", "updated", "event_of_a_newer_release"] {
            assert_eq!(after(event), Life::Open, "{event}");
        }
        assert_eq!(after("deleted"), Life::Ended);
        assert!(Life::Open.is_live_at(Time(i64::MAX)));
        assert!(!Life::Ended.is_live_at(Time(0)));
    }

    #[test]
    fn an_invitation_lives_for_a_week_and_a_member_until_removed() {
        let after = |event| Life::after::<member::Area>(event, Time(5), None);
        let invited = after("invited");
        assert!(invited.is_live_at(Time(5 + WEEK - 1)));
        assert!(!invited.is_live_at(Time(5 + WEEK)));
        for event in ["founder_added", "accepted", "suspended", "role_assigned"] {
            assert_eq!(after(event), Life::Open, "{event}");
        }
        for event in ["rejected", "removed"] {
            assert_eq!(after(event), Life::Ended, "{event}");
        }
    }

    #[test]
    fn an_invitation_whose_role_changes_lives_no_longer() {
        let end = Some(Time(9));
        for event in ["role_changed", "role_assigned", "role_unassigned"] {
            let life = Life::after::<member::Area>(event, Time(5), end);
            assert_eq!(life, Life::Until(Time(9)), "{event}");
        }
        let removed = Life::after::<member::Area>("removed", Time(5), end);
        assert_eq!(removed, Life::Ended);
    }

    fn name_of(event: &Value) -> &str {
        event["type"].as_str().unwrap()
    }

    /// Whether the event leaves nothing to show, whatever was shown.
    fn leaves_nothing<V: View>(event: &Value, before: &Value) -> bool {
        let commit = Commit::<V::Area> {
            tenant: TenantId::Platform,
            area: V::Area::NAME,
            id: Id::from_bytes([1; 16]).into(),
            revision: 2,
            command: CommandId(Id::from_bytes([2; 16])),
            actor: Actor::Account(AccountId(Id::from_bytes([3; 16]))),
            time: Time(5),
            origin: None,
            events: vec![serde_json::from_value(event.clone()).unwrap()],
        };
        let before: V = serde_json::from_value(before.clone()).unwrap();
        V::fold(Some(before), &commit).is_none()
    }

    fn check<V: View>() {
        type AreaOf<V> = <V as View>::Area;
        let examples = golden::events(AreaOf::<V>::NAME);
        let lapsing = AreaOf::<V>::LAPSES.map(|(event, _)| event);
        for name in AreaOf::<V>::ENDS.iter().copied().chain(lapsing) {
            let is_known = examples.iter().any(|event| name_of(event) == name);
            assert!(is_known, "{} has no event {name}", AreaOf::<V>::NAME);
        }
        // The only aggregate of a tenant in an area is not counted, and nobody counts those of the
        // platform.
        let is_counted = AreaOf::<V>::FEED.is_some()
            && TypeId::of::<<AreaOf<V> as Area>::Id>() != TypeId::of::<TenantKey>();
        let before = &golden::views(AreaOf::<V>::NAME)[V::NAME][0];
        for event in examples.iter().filter(|_| is_counted) {
            let name = name_of(event);
            let ends = AreaOf::<V>::ENDS.contains(&name);
            assert!(
                ends || !leaves_nothing::<V>(event, before),
                "{name} ends an aggregate of {}: name it in ENDS",
                AreaOf::<V>::NAME
            );
        }
    }

    macro_rules! check_each {
        ($($name:ident: $module:ident [$view:ident $($others:ident)*],)+) => {
            $(check::<crate::$module::$view>();)+
        };
    }

    #[test]
    fn an_event_that_leaves_nothing_of_an_object_ends_it() {
        areas!(check_each);
    }
}
