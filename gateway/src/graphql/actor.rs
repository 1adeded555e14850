//! Who made a change, in the feed and the audit log.

use async_graphql::{Context, Enum, ID, Object};
use events_schema::Actor;

use super::{field::FieldContext, loaders::Person, service::Service};
use crate::{error::Error, use_cases::audit::actor_id};

/// What kind of caller made a change.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum ActorKind {
    /// A person with a session.
    Person,
    /// A machine with an access token of a person.
    AccessToken,
    /// A service with one of its access tokens.
    Service,
    /// An administrator of the platform, who acts as a person.
    Impersonator,
    /// The system, in consequence of another change.
    System,
}

pub(super) struct ActorView(pub(super) Actor);

/// Who made a change.
#[Object(name = "Actor")]
impl ActorView {
    /// The kind of caller.
    async fn kind(&self) -> ActorKind {
        match self.0 {
            Actor::Account(_) => ActorKind::Person,
            Actor::AccessToken(_) => ActorKind::AccessToken,
            Actor::Service { .. } => ActorKind::Service,
            Actor::Impersonated { .. } => ActorKind::Impersonator,
            Actor::System | Actor::Anonymous => ActorKind::System,
        }
    }

    /// Id of the person's account, of the access token or of the service: 32 lower-case hex digits.
    /// Null for the system.
    async fn id(&self) -> Option<ID> {
        actor_id(self.0).map(ID)
    }

    /// The person, also if somebody has acted as them. Null for a machine and for the system, or if
    /// the account no longer exists.
    async fn person(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.0.person() {
            Some(account) => FieldContext::of(ctx).loaders().person(account).await,
            None => Ok(None),
        }
    }

    /// The administrator of the platform who has acted as the person. Null for other callers, or if
    /// the account no longer exists.
    async fn impersonated_by(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.0 {
            Actor::Impersonated { by, .. } => FieldContext::of(ctx).loaders().person(by).await,
            Actor::Account(_)
            | Actor::AccessToken(_)
            | Actor::Service { .. }
            | Actor::System
            | Actor::Anonymous => Ok(None),
        }
    }

    /// The service. Null for other callers, or if the service no longer exists.
    async fn service(&self, ctx: &Context<'_>) -> Result<Option<Service>, Error> {
        let field = FieldContext::of(ctx);
        match self.0 {
            Actor::Service { service, .. } => {
                let found = field.use_cases.services.find(field.caller, service);
                Ok(found.await?.map(Service))
            }
            Actor::Account(_)
            | Actor::AccessToken(_)
            | Actor::Impersonated { .. }
            | Actor::System
            | Actor::Anonymous => Ok(None),
        }
    }
}
