//! Tenants: organizations whose data is kept apart. A tenant's commits are in its own log. Its view
//! belongs to the platform, since it is read before the tenant of a request is known.

use std::{collections::BTreeMap, mem};

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Commit, EmailAddress, Feature, Home, Id, Index,
    MemberId, Name, Permission, Placement, SettingKey, SettingValue, Slug, TenantKey, Time,
    published::{DateTime, EventType, Person, Published},
    secret::derived_id,
};

/// A tenant has at most this many settings.
pub const MAX_SETTINGS: usize = 50;

/// Values that a tenant's administrators keep for their own use.
pub type Settings = BTreeMap<SettingKey, SettingValue>;

/// The permission to follow the tenant's own events.
pub const READ: Permission = Permission::new("read_tenant", BuiltInRole::Guest);
/// The permission to change the tenant's name, slug and settings, and what its members must prove.
pub const UPDATE: Permission = Permission::new("update_tenant", BuiltInRole::Admin);
/// The permission to delete the tenant.
pub const DELETE: Permission = Permission::new("delete_tenant", BuiltInRole::Owner);
/// The permission to read the tenant's audit log, and what its members were refused.
pub const READ_AUDIT_LOG: Permission = Permission::new("read_audit_log", BuiltInRole::Admin);

/// The feature that lets a tenant read its audit log.
pub const AUDIT_LOG: Feature = Feature::new("audit_log");

/// The area of tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Tenant;
    const ACCESS: &'static [Access] = &[
        Access::signed_in("read"),
        Access::signed_in("tenant_available"),
        Access::signed_in("create"),
        Access::permission("update", UPDATE),
        Access::permission("require_second_factor", UPDATE)
            .fresh()
            .two_factors(),
        Access::permission("delete", DELETE).fresh(),
        Access::permission("audit_log", READ_AUDIT_LOG).feature_to_read(AUDIT_LOG),
        Access::permission("refusals", READ_AUDIT_LOG),
        // Each event also needs the permission that its area names for the feed.
        Access::member("events"),
        Access::platform("platform_tenants"),
    ];
    const INTERNAL: &'static [&'static str] = &[
        "begin_move",
        "lead_move",
        "switch_move",
        "finish_move",
        "abandon_move",
        "record_place_dropped",
    ];
    const FIELDS: &'static [Access] = &[
        Access::permission("settings", UPDATE),
        // Administrators of the platform have to know where data is.
        Access::platform_or("database", UPDATE),
    ];
    const FEED: Option<Permission> = Some(READ);
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
    type Public = Public;
}

/// A request to change a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a tenant, if no other has the slug.
    Create {
        name: Name,
        slug: Slug,
        /// The founder, who becomes the first owner.
        owner: AccountId,
        /// The owner's address.
        email: EmailAddress,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Id>,
        placement: Placement,
        /// How many tenants the founder may have at once. Without it, any number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        places: Option<u16>,
    },
    /// Change the given fields. An absent field keeps its value.
    Update {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// The new slug. The old one rests before another tenant may take it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slug: Option<Slug>,
        /// Replaces all settings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<Settings>,
    },
    /// Require a second factor of the members, or no longer.
    RequireSecondFactor { required: bool },
    /// Delete the tenant. Its slug rests before another tenant may take it.
    Delete {
        /// The tenant's slug, repeated as a confirmation.
        slug: Slug,
    },
    /// Begin a move: write the views to a second place, too. `run` leads the move.
    BeginMove { to: Placement, run: Id },
    /// Lead a move that another run has begun. Only the run that leads may do the next steps.
    LeadMove { run: Id },
    /// Read the views from the second place from now on, but write both.
    SwitchMove { run: Id },
    /// Finish the move: write the views to the place only from which they are read.
    FinishMove { run: Id },
    /// Abandon the move: keep the views where they are.
    AbandonMove { run: Id },
    /// Record that the views were dropped at the place that is no longer written.
    RecordPlaceDropped { run: Id },
}

/// A change to a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The tenant was created.
    Created {
        name: Name,
        slug: Slug,
        /// The first owner.
        owner: AccountId,
        /// The owner's address.
        email: EmailAddress,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Id>,
        #[serde(alias = "place")]
        placement: Placement,
        /// Which of the tenants of its founder this one is, if their number is limited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u16>,
    },
    /// The tenant was changed. All fields are given, changed or not.
    Updated {
        name: Name,
        slug: Slug,
        settings: Settings,
    },
    /// The tenant requires a second factor of its members, or no longer.
    SecondFactorRequirementChanged { required: bool },
    /// The tenant was deleted.
    Deleted,
    /// The views are written to a second place, too.
    MoveBegun {
        to: Placement,
        /// The run of `workers move-tenant` that leads the move. Earlier releases had none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<Id>,
    },
    /// Another run leads the move.
    MoveLed { run: Id },
    /// The views are read from the second place, and still written to both.
    MoveSwitched,
    /// The views are read from the second place and written to it only.
    MoveFinished,
    /// The views stay where they were.
    MoveAbandoned,
    /// The views were dropped at the place that is no longer written.
    PlaceDropped,
}

/// The view of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub name: Name,
    pub slug: Slug,
    /// The account that created the tenant.
    pub founder: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Id>,
    pub settings: Settings,
    /// Whether members must have proved two factors.
    #[serde(default, skip_serializing_if = "is_false")]
    pub requires_second_factor: bool,
    /// Where the views are read from.
    #[serde(alias = "place")]
    pub placement: Placement,
    /// Where the views are also written while they move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<Placement>,
    /// Where the views are still written after a move, for requests that began before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Placement>,
    /// A place that is no longer written, and not dropped yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_drop: Option<Placement>,
    /// The run of `workers move-tenant` that leads the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led_by: Option<Id>,
    pub created_at: Time,
    pub updated_at: Time,
}

const fn is_false(value: &bool) -> bool {
    !*value
}

/// Returns the member id of a tenant's founder, so that the gateway can await that member.
pub fn founder_id(tenant: TenantKey) -> MemberId {
    MemberId(derived_id(&[b"founder", tenant.0.bytes()]))
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "tenant";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[Index::on(&["slug"]), Index::on(&["created_at"])];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let events = commit.events.iter();
        let folded = events.fold(view, |view, event| step(view, event, commit.time));
        folded.map(|view| Self {
            updated_at: commit.time,
            ..view
        })
    }
}

fn step(view: Option<View>, event: &Event, at: Time) -> Option<View> {
    if let Event::Created {
        name,
        slug,
        owner,
        email: _,
        plan,
        placement,
        number: _,
    } = event
    {
        return Some(View {
            name: name.clone(),
            slug: slug.clone(),
            founder: *owner,
            plan: *plan,
            settings: Settings::new(),
            requires_second_factor: false,
            placement: placement.clone(),
            moving_to: None,
            moved_from: None,
            to_drop: None,
            led_by: None,
            created_at: at,
            updated_at: at,
        });
    }
    let mut view = view?;
    match event {
        Event::Created { .. } => {}
        Event::Updated {
            name,
            slug,
            settings,
        } => {
            view.name = name.clone();
            view.slug = slug.clone();
            view.settings = settings.clone();
        }
        Event::SecondFactorRequirementChanged { required } => {
            view.requires_second_factor = *required;
        }
        Event::Deleted => return None,
        Event::MoveBegun { to, run } => {
            view.moving_to = Some(to.clone());
            view.to_drop = None;
            view.led_by = *run;
        }
        Event::MoveLed { run } => view.led_by = Some(*run),
        Event::MoveSwitched => {
            if let Some(placement) = view.moving_to.take() {
                view.moved_from = Some(mem::replace(&mut view.placement, placement));
            }
        }
        Event::MoveFinished => {
            let mut left = view.moved_from.take();
            // Moves of earlier releases have no switch.
            if let Some(placement) = view.moving_to.take() {
                left = Some(mem::replace(&mut view.placement, placement));
            }
            // Runs of earlier releases have dropped it without a record.
            view.to_drop = left.filter(|_| view.led_by.is_some());
        }
        Event::MoveAbandoned => {
            let left = view.moving_to.take();
            view.to_drop = left.filter(|_| view.led_by.is_some());
        }
        Event::PlaceDropped => {
            view.to_drop = None;
            view.led_by = None;
        }
    }
    Some(view)
}

/// A tenant as webhooks send it, without its settings and the place of its data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Public {
    /// Id of the tenant.
    id: Id,
    /// Name of the tenant.
    name: Name,
    /// The tenant's short name in URLs.
    slug: Slug,
    /// The person who created the tenant.
    founder: Person,
    /// What the founder has named as the plan, or null.
    plan: Option<Id>,
    /// When the tenant was created.
    created_at: DateTime,
    /// When the tenant was last changed.
    updated_at: DateTime,
    /// Counts the changes of the tenant.
    revision: u64,
}

impl Published for Public {
    type View = View;
    const EVENTS: &'static [EventType] = &[
        EventType::new("tenant.created", "The tenant was created."),
        EventType::new(
            "tenant.updated",
            "The tenant's name, slug or settings were changed.",
        ),
        EventType::new("tenant.deleted", "The tenant was deleted."),
    ];
    // Moves are the operator's affair, and what a session must prove is that of the members.
    const UNSENT: &'static [&'static str] = &[
        "second_factor_requirement_changed",
        "move_begun",
        "move_led",
        "move_switched",
        "move_finished",
        "move_abandoned",
        "place_dropped",
    ];

    fn of(view: View, id: Id, revision: u64) -> Option<Self> {
        Some(Self {
            id,
            name: view.name,
            slug: view.slug,
            founder: Person { id: view.founder },
            plan: view.plan,
            created_at: DateTime(view.created_at),
            updated_at: DateTime(view.updated_at),
            revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::fold;

    const OWN_DATABASE: Placement = Placement::Database { host: None };

    fn created() -> (i64, Event) {
        let event = Event::Created {
            name: Name::parse("Acme").unwrap(),
            slug: Slug::parse("acme").unwrap(),
            owner: AccountId(Id::from_bytes([1; 16])),
            email: EmailAddress::parse("ada@example.com").unwrap(),
            plan: Some(Id::from_bytes([2; 16])),
            placement: Placement::Shared,
            number: None,
        };
        (10, event)
    }
    fn begun() -> (i64, Event) {
        let (to, run) = (OWN_DATABASE, Some(Id::from_bytes([3; 16])));
        (20, Event::MoveBegun { to, run })
    }
    /// Where the views are read from, and where they are moving to, have moved from, and are to be
    /// dropped.
    fn placements(events: &[(i64, Event)]) -> (Placement, [Option<Placement>; 3]) {
        let shown: View = fold(events.iter().cloned()).unwrap();
        let others = [shown.moving_to, shown.moved_from, shown.to_drop];
        (shown.placement, others)
    }

    #[test]
    fn a_tenant_shows_its_latest_state_until_it_is_deleted() {
        let key = SettingKey::parse("theme").unwrap();
        let (name, slug) = (Name::parse("Apex").unwrap(), Slug::parse("apex").unwrap());
        let settings = Settings::from([(key, SettingValue::parse("dark").unwrap())]);
        let updated = Event::Updated {
            name: name.clone(),
            slug: slug.clone(),
            settings: settings.clone(),
        };
        let shown: View = fold([created(), (20, updated.clone())]).unwrap();
        let expected = View {
            name,
            slug,
            founder: AccountId(Id::from_bytes([1; 16])),
            plan: Some(Id::from_bytes([2; 16])),
            settings,
            requires_second_factor: false,
            placement: Placement::Shared,
            moving_to: None,
            moved_from: None,
            to_drop: None,
            led_by: None,
            created_at: Time(10),
            updated_at: Time(20),
        };
        assert_eq!(shown, expected);
        let deleted = [created(), (15, Event::Deleted), (20, updated)];
        assert_eq!(fold::<View>(deleted), None);
    }

    #[test]
    fn a_tenant_shows_whether_it_requires_a_second_factor() {
        let changed = |at, required| (at, Event::SecondFactorRequirementChanged { required });
        let is_required = |events: &[(i64, Event)]| {
            let shown: View = fold(events.iter().cloned()).unwrap();
            shown.requires_second_factor
        };
        let events = [created(), changed(20, true), changed(30, false)];
        assert_eq!(
            [1, 2, 3].map(|n| is_required(&events[..n])),
            [false, true, false]
        );
    }

    #[test]
    fn a_tenant_is_read_in_one_place_while_it_moves_to_another() {
        let shared = Placement::Shared;
        let moving = vec![created(), begun()];
        let own = || Some(OWN_DATABASE);
        assert_eq!(placements(&moving), (shared.clone(), [own(), None, None]));
        let switched = [&moving[..], &[(30, Event::MoveSwitched)]].concat();
        let expected = (OWN_DATABASE, [None, Some(shared.clone()), None]);
        assert_eq!(placements(&switched), expected);
        // Moves of earlier releases had no switch, and no run.
        for before in [switched, moving.clone()] {
            let finished = [&before[..], &[(40, Event::MoveFinished)]].concat();
            let expected = (OWN_DATABASE, [None, None, Some(shared.clone())]);
            assert_eq!(placements(&finished), expected);
            let dropped = [&finished[..], &[(50, Event::PlaceDropped)]].concat();
            assert_eq!(placements(&dropped), (OWN_DATABASE, [None, None, None]));
        }
        let abandoned = [&moving[..], &[(30, Event::MoveAbandoned)]].concat();
        let expected = (shared.clone(), [None, None, own()]);
        assert_eq!(placements(&abandoned), expected);
        let again = [&abandoned[..], &[begun()]].concat();
        assert_eq!(placements(&again), (shared, [own(), None, None]));
    }

    #[test]
    fn a_tenant_shows_the_run_that_leads_its_move() {
        let led_by = |events: &[(i64, Event)]| {
            let shown: View = fold(events.iter().cloned()).unwrap();
            shown.led_by
        };
        let run = Id::from_bytes([4; 16]);
        let led = vec![created(), begun(), (30, Event::MoveLed { run })];
        assert_eq!(led_by(&led[..2]), Some(Id::from_bytes([3; 16])));
        assert_eq!(led_by(&led), Some(run));
        let dropped = [&led[..], &[(50, Event::PlaceDropped)]].concat();
        assert_eq!(led_by(&dropped), None);
    }
}
