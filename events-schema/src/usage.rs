//! Usage: what a tenant has used, as one meter counts it. One aggregate per tenant and meter.
//!
//! The log is cut into parts, by its sequences. Each part is counted once, and begins exactly where
//! the part before has ended. So each commit is in one cut, and every cut can be counted again.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AreaName, Commit, Home, Index, Meter, Permission, StripeCustomerId, TenantKey, Time,
    billing, id::typed_id, published::Private, secret::derived_id,
};

typed_id! {
    /// Identifies the usage of a tenant that one meter counts. It derives from both.
    UsageId
}

impl UsageId {
    /// Returns the id of what this meter counts of a tenant.
    pub fn of(tenant: TenantKey, meter: Meter) -> Self {
        let parts: [&[u8]; 3] = [b"usage", tenant.0.bytes(), meter.as_str().as_bytes()];
        Self(derived_id(&parts))
    }
}

/// The area of usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Usage;
    /// Clients see it as a part of their billing.
    const ACCESS: &'static [Access] = &[];
    const INTERNAL: &'static [&'static str] = &["cut", "record_report", "record_failure"];
    const FEED: Option<Permission> = Some(billing::READ);
    type Id = UsageId;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

/// Who pays for usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Payer {
    /// The tenant as Stripe knows it.
    pub customer: StripeCustomerId,
    /// When its next payment is due.
    pub period_end: Time,
}

/// A request to change the usage of a tenant. Workers send all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Store what was counted of a part of the log.
    Cut {
        meter: Meter,
        /// The sequence at which the cut before has ended; 0 for the first one.
        from: u64,
        /// The last sequence that is counted.
        to: u64,
        quantity: u64,
        /// Who pays from here on; `None` if nobody does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payer: Option<Payer>,
    },
    /// Record that Stripe knows of the cut that ends here.
    RecordReport { to: u64 },
    /// Record that Stripe is never told of the cut that ends here.
    RecordFailure {
        to: u64,
        /// For the person who looks at it.
        reason: String,
    },
}

/// Where counting stands. Each event has it, so the last commit tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Position {
    /// The last sequence that is counted.
    pub to: u64,
    /// When it was counted.
    pub at: Time,
    /// Who pays from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Payer>,
}

/// A change to the usage of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A part of the log was counted.
    Cut {
        meter: Meter,
        /// The last sequence that was counted before.
        from: u64,
        quantity: u64,
        /// Whether Stripe is to know of it.
        is_due: bool,
        position: Position,
    },
    /// Stripe knows of a cut.
    Reported {
        /// Where that cut ends.
        to: u64,
        position: Position,
    },
    /// Stripe is never told of a cut.
    ReportFailed {
        /// Where that cut ends.
        to: u64,
        reason: String,
        position: Position,
    },
}

impl Event {
    /// Returns where counting stands.
    pub const fn position(&self) -> &Position {
        match self {
            Self::Cut { position, .. }
            | Self::Reported { position, .. }
            | Self::ReportFailed { position, .. } => position,
        }
    }
}

/// The view of what a tenant has used since its last payment was due, as of the last cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub meter: Meter,
    /// The time of the last cut before the payment was due; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The time of the last cut.
    pub until: Time,
    pub quantity: u64,
    /// When the next payment is due; `None` if nobody pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_end: Option<Time>,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "usage";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        commit.events.iter().fold(view, |view, event| match event {
            Event::Cut {
                meter,
                quantity,
                position,
                ..
            } => Some(Self::after(view, *meter, *quantity, position)),
            Event::Reported { .. } | Event::ReportFailed { .. } => view,
        })
    }
}

impl View {
    fn after(before: Option<Self>, meter: Meter, quantity: u64, position: &Position) -> Self {
        let period_end = position.payer.as_ref().map(|payer| payer.period_end);
        let since = before.as_ref().map(|before| before.until);
        let (since, used) = match before {
            Some(same) if same.period_end == period_end => (same.since, same.quantity),
            Some(_) | None => (since, 0),
        };
        Self {
            meter,
            since,
            until: position.at,
            quantity: used.saturating_add(quantity),
            period_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, project, task, view::testing::fold};

    fn cut(at: i64, quantity: u64, period_end: Option<i64>) -> (i64, Event) {
        let payer = period_end.map(|end| Payer {
            customer: StripeCustomerId::parse("cus_1").unwrap(),
            period_end: Time(end),
        });
        let position = Position {
            to: 9,
            at: Time(at),
            payer,
        };
        let event = Event::Cut {
            meter: task::TASKS_CREATED,
            from: 0,
            quantity,
            is_due: true,
            position,
        };
        (at, event)
    }

    fn shown(since: Option<i64>, until: i64, quantity: u64, period_end: Option<i64>) -> View {
        View {
            meter: task::TASKS_CREATED,
            since: since.map(Time),
            until: Time(until),
            quantity,
            period_end: period_end.map(Time),
        }
    }

    #[test]
    fn usage_adds_up_until_another_payment_is_due() {
        let cuts = [
            cut(10, 3, None),
            cut(20, 4, None),
            cut(30, 5, Some(100)),
            cut(40, 6, Some(100)),
            cut(110, 7, Some(200)),
        ];
        let expected = [
            shown(None, 10, 3, None),
            shown(None, 20, 7, None),
            shown(Some(20), 30, 5, Some(100)),
            shown(Some(20), 40, 11, Some(100)),
            shown(Some(40), 110, 7, Some(200)),
        ];
        for (length, expected) in (1..).zip(expected) {
            assert_eq!(fold(cuts[..length].to_vec()), Some(expected));
        }
    }

    #[test]
    fn a_report_changes_nothing_that_is_shown() {
        let (at, counted) = cut(10, 3, None);
        let position = counted.position().clone();
        let reported = Event::Reported { to: 9, position };
        let view = fold([(at, counted), (20, reported)]);
        assert_eq!(view, Some(shown(None, 10, 3, None)));
    }

    #[test]
    fn each_tenant_and_meter_has_a_usage_of_its_own() {
        let [one, other] = [1, 2].map(|number| TenantKey(Id::from_bytes([number; 16])));
        let id = UsageId::of(one, task::TASKS_CREATED);
        assert_eq!(id, UsageId::of(one, task::TASKS_CREATED));
        assert_ne!(id, UsageId::of(other, task::TASKS_CREATED));
        assert_ne!(id, UsageId::of(one, project::PROJECTS_CREATED));
        assert_eq!(id.to_string(), "f3afdfe772589e6bbcb6d3108156946d");
    }
}
