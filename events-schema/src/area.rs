//! The areas: parts of the business, each with its own commands, events and views.

use std::{
    fmt::{self, Debug, Display},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Access, Counter, Home, Id, Invalid, Meter, Permission, View,
    published::{EventType, Published},
};

/// The parts of one area. A command, an event, an id and a view of different areas do not
/// type-check together.
pub trait Area: Clone + Copy + Debug + PartialEq + Eq + Send + Sync + 'static {
    /// The area's name in subjects and envelopes.
    const NAME: AreaName;
    /// Who may use which operation of the area. Everything else about permissions derives from it.
    const ACCESS: &'static [Access];
    /// Who may read which field, where reading the object is not enough.
    const FIELDS: &'static [Access] = &[];
    /// The verbs of the commands that only workers and operators send. The broker keeps gateways
    /// from sending them.
    const INTERNAL: &'static [&'static str] = &[];
    /// The permission that a member needs to follow the area's events in the tenant's feed. `None`
    /// for areas of the platform, whose commits belong to no tenant.
    const FEED: Option<Permission>;
    /// How long the log keeps a commit; for ever if `None`. Older ones count as if they were gone,
    /// and an aggregate ends with its first commit. Only for areas whose views belong to the
    /// platform, and whose objects nobody needs or changes after this time.
    const RETENTION: Option<Duration> = None;
    /// The events that end an aggregate, such as `deleted`. Limits do not count it then, until
    /// another event follows. Empty if nothing ends one.
    const ENDS: &'static [&'static str] = &[];
    /// The event after which an aggregate ends by itself unless another event follows, and when.
    const LAPSES: Option<(&'static str, Duration)> = None;
    /// What is counted of the area's commits. Only for areas of tenants whose commits the log keeps
    /// for ever.
    const METERS: &'static [Counter<Self>] = &[];
    /// Identifies one aggregate.
    type Id: AggregateId;
    /// A request to change an aggregate.
    type Command: Payload;
    /// A change to an aggregate.
    type Event: Payload;
    /// What webhooks send of the area; [`Private`](crate::published::Private) if they send nothing.
    type Public: Published<View: View<Area = Self>>;
}

/// More than a year: so long the log shows what an investigation may need.
pub(crate) const FOR_INVESTIGATIONS: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The content of a command or event: an enum whose `type` field names the variant.
pub trait Payload:
    Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static
{
}

impl<T> Payload for T where
    T: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static
{
}

/// An identifier that belongs to one area.
pub trait AggregateId:
    Copy
    + Debug
    + Display
    + Eq
    + std::hash::Hash
    + Ord
    + From<Id>
    + Into<Id>
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<T> AggregateId for T where
    T: Copy
        + Debug
        + Display
        + Eq
        + std::hash::Hash
        + Ord
        + From<Id>
        + Into<Id>
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Passes the list of all areas to another macro, with the name, module and views of each. This is
/// the only list of areas. It is a macro because no function can return a list of types.
#[macro_export]
macro_rules! areas {
    ($callback:ident) => {
        $callback! {
            AccessToken: access_token [View],
            Account: account [View],
            Billing: billing [View],
            Connection: connection [View],
            Email: email [View],
            InboundSource: inbound_source [View],
            Member: member [View Membership],
            Plan: plan [View],
            Project: project [View],
            Recipient: recipient [View],
            Role: role [View],
            Service: service [View],
            Session: session [View],
            Support: support [View],
            Task: task [View],
            Tenant: tenant [View],
            Usage: usage [View],
            Webhook: webhook [View],
        }
    };
}

macro_rules! declare_area_name {
    ($($name:ident: $module:ident [$($view:ident)+],)+) => {
        /// The name of an area.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum AreaName {
            $($name),+
        }

        impl AreaName {
            /// All areas.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the name as it is written in subjects, such as `project`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($module)),+
                }
            }

            /// Returns who may use which operation of the area.
            pub const fn access(self) -> &'static [Access] {
                match self {
                    $(Self::$name => <$crate::$module::Area as Area>::ACCESS),+
                }
            }

            /// Returns the verbs of the commands that only workers and operators send.
            pub const fn internal(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => <$crate::$module::Area as Area>::INTERNAL),+
                }
            }

            /// Returns who may read which field, where reading the object is not enough.
            pub const fn fields(self) -> &'static [Access] {
                match self {
                    $(Self::$name => <$crate::$module::Area as Area>::FIELDS),+
                }
            }

            /// Returns the permission that a member needs to follow the area's events; `None` for
            /// areas of the platform.
            pub const fn feed(self) -> Option<Permission> {
                match self {
                    $(Self::$name => <$crate::$module::Area as Area>::FEED),+
                }
            }

            /// Returns what is counted of the area's commits.
            pub fn meters(self) -> Vec<Meter> {
                match self {
                    $(Self::$name => {
                        let counters = <$crate::$module::Area as Area>::METERS.iter();
                        counters.map(|counter| counter.meter).collect()
                    }),+
                }
            }

            /// Returns the types of the area's events that webhooks send.
            pub const fn event_types(self) -> &'static [EventType] {
                match self {
                    $(Self::$name =>
                        <<$crate::$module::Area as Area>::Public as Published>::EVENTS),+
                }
            }

            /// Returns the names and homes of the area's views.
            pub const fn views(self) -> &'static [(&'static str, Home)] {
                match self {
                    $(Self::$name => &[$((
                        <$crate::$module::$view as $crate::View>::NAME,
                        <$crate::$module::$view as $crate::View>::HOME,
                    )),+]),+
                }
            }
        }
    };
}
areas!(declare_area_name);

impl AreaName {
    /// Parses a name as it is written in subjects, such as `project`.
    ///
    /// # Errors
    /// If no area has this name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.iter().copied().find(|area| area.as_str() == text);
        known.ok_or(Invalid(
            "must be the name of an area, such as account or project",
        ))
    }
}

impl Display for AreaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_whose_commits_are_dropped_has_no_view_in_a_tenants_database() {
        macro_rules! check {
            ($($name:ident: $module:ident [$($view:ident)+],)+) => {
                $(if <crate::$module::Area as Area>::RETENTION.is_some() {
                    let mut views = AreaName::$name.views().iter();
                    let is_of_platform = views.all(|(_, home)| *home == Home::Platform);
                    assert!(is_of_platform, "{}", AreaName::$name);
                })+
            };
        }
        areas!(check);
    }

    #[test]
    fn meters_count_what_tenants_do_and_the_log_keeps() {
        macro_rules! check {
            ($($name:ident: $module:ident [$($view:ident)+],)+) => {
                $(if !AreaName::$name.meters().is_empty() {
                    assert!(<crate::$module::Area as Area>::RETENTION.is_none());
                    assert!(AreaName::$name.feed().is_some(), "{}", AreaName::$name);
                })+
            };
        }
        areas!(check);
    }

    #[test]
    fn exactly_the_areas_of_tenants_have_a_feed() {
        for area in AreaName::ALL {
            let mut views = area.views().iter();
            // The commits of a tenant itself are its own, but its view is read before a request's
            // tenant is known.
            let is_of_tenants =
                *area == AreaName::Tenant || views.any(|(_, home)| *home == Home::Tenant);
            assert_eq!(area.feed().is_some(), is_of_tenants, "{area}");
        }
    }
}
