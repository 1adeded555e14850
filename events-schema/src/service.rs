//! Services: members of a tenant without a person, such as a deployment or an import. A service has
//! a role, and works by access tokens. It cannot log in.
//!
//! All services of a tenant are one aggregate: their names and number concern all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Commit, Home, Index, Name, Permission, TenantKey,
    Time, access_token, id::typed_id, published::Private,
};

typed_id! {
    /// Identifies a service.
    ServiceId
}

/// A tenant has at most this many services: more than it has programs.
pub const MAX_SERVICES: usize = 100;

/// The permission to read services.
pub const READ: Permission = Permission::new("read_service", BuiltInRole::Developer);
/// The permission to create services.
pub const CREATE: Permission = Permission::new("create_service", BuiltInRole::Admin);
/// The permission to change services, and to create their access tokens.
pub const UPDATE: Permission = Permission::new("update_service", BuiltInRole::Admin);
/// The permission to delete services.
pub const DELETE: Permission = Permission::new("delete_service", BuiltInRole::Admin);

/// The area of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Service;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        // A service is of no use without access tokens.
        Access::permission("create", CREATE)
            .in_person()
            .feature(access_token::FEATURE)
            .creates(),
        Access::permission("rename", UPDATE).in_person(),
        Access::permission("change_role", UPDATE).in_person(),
        Access::permission("delete", DELETE).in_person(),
    ];
    const FEED: Option<Permission> = Some(READ);
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

impl ServiceId {
    /// Returns the id that stands for the service wherever that of a person's account would, such as
    /// for the author of a task. No account has it.
    pub const fn as_account(self) -> AccountId {
        AccountId(self.0)
    }
}

/// A request to change a tenant's services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Create a service. It takes the command's id.
    Create { name: Name, role: BuiltInRole },
    /// Change the name.
    Rename { service: ServiceId, name: Name },
    /// Change the role.
    ChangeRole {
        service: ServiceId,
        role: BuiltInRole,
    },
    /// Delete a service. Its access tokens are no longer valid.
    Delete { service: ServiceId },
}

/// A change to a tenant's services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A service was created.
    Created {
        service: ServiceId,
        name: Name,
        role: BuiltInRole,
    },
    /// A service has got another name.
    Renamed { service: ServiceId, name: Name },
    /// A service has got another role.
    RoleChanged {
        service: ServiceId,
        role: BuiltInRole,
    },
    /// A service was deleted. Its id is never used again.
    Deleted { service: ServiceId },
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Service {
    pub name: Name,
    pub role: BuiltInRole,
    pub created_at: Time,
    pub updated_at: Time,
}

/// The view of a tenant's services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub services: BTreeMap<ServiceId, Service>,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "service";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    /// The document stays when the last service is deleted.
    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            apply(&mut view.services, event, commit.time);
        }
        Some(view)
    }
}

/// Applies an event to a tenant's services. The view and the aggregate have the same state.
pub fn apply(services: &mut BTreeMap<ServiceId, Service>, event: &Event, at: Time) {
    match event {
        Event::Created {
            service,
            name,
            role,
        } => {
            let created = Service {
                name: name.clone(),
                role: *role,
                created_at: at,
                updated_at: at,
            };
            services.insert(*service, created);
        }
        Event::Renamed { service, name } => {
            if let Some(service) = services.get_mut(service) {
                service.name = name.clone();
                service.updated_at = at;
            }
        }
        Event::RoleChanged { service, role } => {
            if let Some(service) = services.get_mut(service) {
                service.role = *role;
                service.updated_at = at;
            }
        }
        Event::Deleted { service } => {
            services.remove(service);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, view::testing::fold};

    const ROBOT: ServiceId = ServiceId(Id::from_bytes([1; 16]));

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_service_shows_its_latest_state_until_it_is_deleted() {
        let created = Event::Created {
            service: ROBOT,
            name: name("Robot"),
            role: BuiltInRole::Guest,
        };
        let renamed = Event::Renamed {
            service: ROBOT,
            name: name("Import"),
        };
        let promoted = Event::RoleChanged {
            service: ROBOT,
            role: BuiltInRole::Member,
        };
        let changes = [(10, created), (20, renamed), (30, promoted.clone())];
        let shown: View = fold(changes.clone()).unwrap();
        let expected = Service {
            name: name("Import"),
            role: BuiltInRole::Member,
            created_at: Time(10),
            updated_at: Time(30),
        };
        assert_eq!(shown.services, BTreeMap::from([(ROBOT, expected)]));
        let ended = [(40, Event::Deleted { service: ROBOT }), (50, promoted)];
        let shown: View = fold(changes.into_iter().chain(ended)).unwrap();
        assert_eq!(shown, View::default());
    }
}
