//! Who made a change, in the feed and the audit log.

use async_graphql::{Context, Enum, ID, Object};
use events_schema::Actor;

use super::{field::FieldContext, loaders::Person};
use crate::{error::Error, use_cases::audit::actor_id};

/// What kind of caller made a change.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum ActorKind {
    /// A person with a session.
    Person,
    /// A machine with an access token.
    AccessToken,
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
            Actor::System | Actor::Anonymous => ActorKind::System,
        }
    }

    /// Id of the person's account, or of the access token: 32 lower-case hex digits. Null for the
    /// system.
    async fn id(&self) -> Option<ID> {
        actor_id(self.0).map(ID)
    }

    /// The person. Null for a machine and for the system, or if the account no longer exists.
    async fn person(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        match self.0 {
            Actor::Account(account) => FieldContext::of(ctx).loaders().person(account).await,
            Actor::AccessToken(_) | Actor::System | Actor::Anonymous => Ok(None),
        }
    }
}
