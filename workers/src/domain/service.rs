//! The services of a tenant, as one aggregate: their number, names and roles. Nobody gives a service
//! more than they hold, and no service is an owner.

use std::collections::BTreeMap;

use events_schema::{
    BuiltInRole, Name, Permissions, Reject, RejectionKind, ServiceId, Time,
    service::{Area, Command, Event, MAX_SERVICES, Service, apply},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// The services of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services(BTreeMap<ServiceId, Service>);

/// Why a command to a tenant's services is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The service does not exist, or it is deleted.
    #[error("There is no such service.")]
    NotFound,
    /// Another service of the tenant has the name.
    #[error("Another service has this name. Choose another one.")]
    NameTaken,
    /// The tenant would have more than [`MAX_SERVICES`] services.
    #[error("A tenant has at most {MAX_SERVICES} services. Delete one first.")]
    TooManyServices,
    /// The service would be an owner.
    #[error("A service cannot own a tenant. Choose a weaker role.")]
    OwnerRole,
    /// The service holds, or would hold, a permission that the actor lacks.
    #[error("This needs permissions that you do not have. Ask a member who has them.")]
    BeyondOwnPermissions,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::NameTaken => RejectionKind::Conflict,
            Self::TooManyServices => RejectionKind::Limit,
            Self::OwnerRole => RejectionKind::invalid("role"),
            Self::BeyondOwnPermissions => RejectionKind::Forbidden,
        }
    }
}

impl Aggregate for Services {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let event = match command {
            Command::Create { name, role } => {
                Some(self.create(ServiceId(facts.command.0), name, *role, &facts.held)?)
            }
            Command::Rename { service, name } => self.rename(*service, name)?,
            Command::ChangeRole { service, role } => {
                self.change_role(*service, *role, &facts.held)?
            }
            Command::Delete { service } => {
                check_within(self.find(*service)?.role, &facts.held)?;
                Some(Event::Deleted { service: *service })
            }
        };
        Ok(Decision::events(event.into_iter().collect()))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        apply(&mut self.0, event, at);
    }
}

impl Services {
    fn find(&self, service: ServiceId) -> Result<&Service, Rejection> {
        self.0.get(&service).ok_or(Rejection::NotFound)
    }

    fn create(
        &self,
        service: ServiceId,
        name: &Name,
        role: BuiltInRole,
        held: &Permissions,
    ) -> Result<Event, Rejection> {
        check_role(role, held)?;
        self.check_name(name)?;
        if self.0.len() >= MAX_SERVICES {
            return Err(Rejection::TooManyServices);
        }
        Ok(Event::Created {
            service,
            name: name.clone(),
            role,
        })
    }

    fn rename(&self, service: ServiceId, name: &Name) -> Result<Option<Event>, Rejection> {
        if self.find(service)?.name == *name {
            return Ok(None);
        }
        self.check_name(name)?;
        let name = name.clone();
        Ok(Some(Event::Renamed { service, name }))
    }

    fn change_role(
        &self,
        service: ServiceId,
        role: BuiltInRole,
        held: &Permissions,
    ) -> Result<Option<Event>, Rejection> {
        let present = self.find(service)?.role;
        check_within(present, held)?;
        check_role(role, held)?;
        let changed = Event::RoleChanged { service, role };
        Ok((role != present).then_some(changed))
    }

    /// Names are told apart, since the audit log shows them.
    fn check_name(&self, name: &Name) -> Result<(), Rejection> {
        let mut services = self.0.values();
        if services.any(|service| service.name == *name) {
            Err(Rejection::NameTaken)
        } else {
            Ok(())
        }
    }
}

fn check_role(role: BuiltInRole, held: &Permissions) -> Result<(), Rejection> {
    if role == BuiltInRole::Owner {
        return Err(Rejection::OwnerRole);
    }
    check_within(role, held)
}

/// Checks that the actor holds all permissions of this role.
fn check_within(role: BuiltInRole, held: &Permissions) -> Result<(), Rejection> {
    if role.permissions().is_subset(held) {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnPermissions)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        BuiltInRole::{Admin, Developer, Guest, Owner},
        Id,
    };

    use super::*;
    use crate::domain::testing::{COMMAND, Given, given};

    const ROBOT: ServiceId = ServiceId(Id::from_bytes([1; 16]));
    const OTHER: ServiceId = ServiceId(Id::from_bytes([2; 16]));

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn create(text: &str, role: BuiltInRole) -> Command {
        let name = name(text);
        Command::Create { name, role }
    }
    fn created(service: ServiceId, text: &str, role: BuiltInRole) -> Event {
        Event::Created {
            service,
            name: name(text),
            role,
        }
    }
    fn rename(service: ServiceId, text: &str) -> Command {
        let name = name(text);
        Command::Rename { service, name }
    }
    fn change(service: ServiceId, role: BuiltInRole) -> Command {
        Command::ChangeRole { service, role }
    }
    fn delete(service: ServiceId) -> Command {
        Command::Delete { service }
    }
    fn none() -> Given<Services> {
        given([])
    }
    fn robot(role: BuiltInRole) -> Given<Services> {
        given([created(ROBOT, "Robot", role)])
    }

    #[test]
    fn a_service_is_created_with_a_role_that_its_creator_holds() {
        let own = ServiceId(COMMAND);
        let when = none().when(create("Robot", Admin)).holding(Admin);
        when.then([created(own, "Robot", Admin)]);
        let when = none().when(create("Robot", Admin)).holding(Developer);
        when.rejects(Rejection::BeyondOwnPermissions);
    }

    #[test]
    fn a_service_is_never_an_owner() {
        let when = none().when(create("Robot", Owner)).holding(Owner);
        when.rejects(Rejection::OwnerRole);
        let when = robot(Guest).when(change(ROBOT, Owner)).holding(Owner);
        when.rejects(Rejection::OwnerRole);
    }

    #[test]
    fn two_services_have_different_names() {
        let when = robot(Guest).when(create("Robot", Guest)).holding(Admin);
        when.rejects(Rejection::NameTaken);
        let two = robot(Guest).and([created(OTHER, "Import", Guest)]);
        two.when(rename(OTHER, "Robot"))
            .rejects(Rejection::NameTaken);
        let deleted = two.and([Event::Deleted { service: ROBOT }]);
        let renamed = Event::Renamed {
            service: OTHER,
            name: name("Robot"),
        };
        deleted.when(rename(OTHER, "Robot")).then([renamed]);
    }

    #[test]
    fn a_service_keeps_the_name_that_it_has() {
        let when = robot(Guest).when(rename(ROBOT, "Robot"));
        when.changes_nothing();
    }

    #[test]
    fn a_tenant_has_at_most_100_services() {
        let all = (1..=100).map(|number| {
            let service = ServiceId(Id::from_bytes([number; 16]));
            created(service, &format!("Robot {number}"), Guest)
        });
        let full: Given<Services> = given(all);
        let when = full.when(create("Import", Guest)).holding(Admin);
        when.rejects(Rejection::TooManyServices);
        let room = full.and([Event::Deleted { service: ROBOT }]);
        let when = room.when(create("Import", Guest)).holding(Admin);
        when.then([created(ServiceId(COMMAND), "Import", Guest)]);
    }

    #[test]
    fn nobody_changes_or_deletes_a_service_that_holds_more_than_they_do() {
        for command in [change(ROBOT, Guest), delete(ROBOT)] {
            let when = robot(Admin).when(command.clone()).holding(Developer);
            when.rejects(Rejection::BeyondOwnPermissions);
            assert!(robot(Admin).when(command).holding(Admin).decide().is_ok());
        }
        let when = robot(Guest).when(change(ROBOT, Admin)).holding(Developer);
        when.rejects(Rejection::BeyondOwnPermissions);
    }

    #[test]
    fn a_role_is_changed_once() {
        let changed = Event::RoleChanged {
            service: ROBOT,
            role: Developer,
        };
        let when = robot(Guest).when(change(ROBOT, Developer)).holding(Admin);
        when.then([changed]);
        let when = robot(Guest).when(change(ROBOT, Guest)).holding(Admin);
        when.changes_nothing();
    }

    #[test]
    fn a_service_that_does_not_exist_is_not_changed() {
        let deleted = robot(Guest).and([Event::Deleted { service: ROBOT }]);
        for services in [none(), deleted] {
            for command in [rename(ROBOT, "A"), change(ROBOT, Guest), delete(ROBOT)] {
                let when = services.when(command).holding(Owner);
                when.rejects(Rejection::NotFound);
            }
        }
    }
}
