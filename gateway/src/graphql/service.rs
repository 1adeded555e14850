//! Services: members of the tenant without a person.
//!
//! A tenant has at most a hundred, so they are one list without pages.

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::{Name, service::Command};

use super::{
    field::FieldContext,
    member::MemberRole,
    scalars::{DateTime, Success, id_of, parsed, to_id},
};
use crate::{
    error::Error,
    use_cases::{list::IndexCheck, service::StoredService},
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

pub(super) struct Service(pub(super) StoredService);

/// A member of the tenant without a person, such as a deployment or an import. It works by access
/// tokens, cannot log in, and takes no seat.
#[Object]
impl Service {
    /// Id of the service: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// Name of the service, 1 to 100 characters. No other service of the tenant has it.
    async fn name(&self) -> &str {
        self.0.service.name.as_str()
    }

    /// The built-in role. Its access tokens do no more.
    async fn role(&self) -> MemberRole {
        self.0.service.role.into()
    }

    /// When the service was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.service.created_at)
    }

    /// When the service was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.service.updated_at)
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "ServiceQueries")]
impl Queries {
    /// All services of the tenant, the oldest first. There are at most 100.
    async fn services(&self, ctx: &Context<'_>) -> Result<Option<Vec<Service>>, Error> {
        let field = FieldContext::of(ctx);
        let services = field.use_cases.services.list(field.caller).await?;
        Ok(Some(services.into_iter().map(Service).collect()))
    }
}

/// The data of a new service.
#[derive(InputObject)]
struct CreateServiceInput {
    /// Name of the service, 1 to 100 characters. `CONFLICT` if another service has it.
    name: String,
    /// The built-in role. `FORBIDDEN` if it has permissions that the caller lacks;
    /// `BAD_USER_INPUT` for an owner.
    role: MemberRole,
}

/// A change of a service's name.
#[derive(InputObject)]
struct RenameServiceInput {
    /// Id of the service.
    id: ID,
    /// The new name, 1 to 100 characters. `CONFLICT` if another service has it.
    name: String,
}

/// A change of a service's role.
#[derive(InputObject)]
struct ChangeServiceRoleInput {
    /// Id of the service.
    id: ID,
    /// The new built-in role. `FORBIDDEN` if it has permissions that the caller lacks;
    /// `BAD_USER_INPUT` for an owner.
    role: MemberRole,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "ServiceMutations")]
impl Mutations {
    /// Changes of services.
    async fn service(&self) -> Option<ServiceMutation> {
        Some(ServiceMutation)
    }
}

pub(super) struct ServiceMutation;

/// Changes of services.
#[Object(serial)]
impl ServiceMutation {
    /// Creates a service. `accessToken { create }` creates its access tokens. `LIMIT_REACHED` if the
    /// tenant has 100.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateServiceInput,
    ) -> Result<Option<Service>, Error> {
        let field = FieldContext::of(ctx);
        let name = parsed("name", &input.name, Name::parse)?;
        let (services, command) = (&field.use_cases.services, field.command_id()?);
        let created = services.create(field.caller, command, name, input.role.into());
        Ok(Some(Service(created.await?)))
    }

    /// Changes the name of a service. `NOT_FOUND` if the tenant has no such service.
    async fn rename(
        &self,
        ctx: &Context<'_>,
        input: RenameServiceInput,
    ) -> Result<Option<Service>, Error> {
        let service = id_of(&input.id)?;
        let name = parsed("name", &input.name, Name::parse)?;
        let field = FieldContext::of(ctx);
        let (services, command) = (&field.use_cases.services, field.command_id()?);
        let rename = Command::Rename { service, name };
        let renamed = services.change(field.caller, command, service, rename);
        Ok(Some(Service(renamed.await?)))
    }

    /// Changes the role of a service, and so what its access tokens may do. `FORBIDDEN` if it has or
    /// would have permissions that the caller lacks. To give it more needs a fresh session.
    async fn change_role(
        &self,
        ctx: &Context<'_>,
        input: ChangeServiceRoleInput,
    ) -> Result<Option<Service>, Error> {
        let (service, role) = (id_of(&input.id)?, input.role.into());
        let field = FieldContext::of(ctx);
        let (services, command) = (&field.use_cases.services, field.command_id()?);
        let changed = services.change_role(field.caller, command, service, role);
        Ok(Some(Service(changed.await?)))
    }

    /// Deletes a service. Its access tokens are no longer valid. Those that hold more than the caller
    /// stay listed, as `ofDeletedService`. `FORBIDDEN` if it has permissions that the caller lacks.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (services, command) = (&field.use_cases.services, field.command_id()?);
        services.delete(field.caller, command, id_of(&id)?).await?;
        Success::yes()
    }
}
