//! The inbound sources of a tenant, as one aggregate: their number, providers and secrets.

use std::collections::BTreeMap;

use events_schema::{
    InboundSourceId, Name, Permission, Reject, RejectionKind, Time,
    inbound_source::{
        Area, Command, Event, MAX_OVERLAP_HOURS, MAX_SOURCES, Provider, Source, apply,
    },
    task,
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// The inbound sources of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InboundSources(BTreeMap<InboundSourceId, Source>);

/// Why a command to a tenant's inbound sources is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The source does not exist, or it is deleted.
    #[error("There is no such inbound source.")]
    NotFound,
    /// The tenant would have more than [`MAX_SOURCES`] sources.
    #[error("A tenant has at most {MAX_SOURCES} inbound sources. Delete one first.")]
    TooManySources,
    /// The source would have a provider of another kind.
    #[error("The kind of an inbound source cannot be changed. Create another one.")]
    KindIsFixed,
    /// The overlap is longer than [`MAX_OVERLAP_HOURS`].
    #[error("The former secret stays valid for 0 to {MAX_OVERLAP_HOURS} hours.")]
    Overlap,
    /// The hooks would do what the actor may not do.
    #[error("Hooks of this source do what you may not do: they create and change tasks.")]
    BeyondOwnPermissions,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::TooManySources => RejectionKind::Limit,
            Self::KindIsFixed => RejectionKind::invalid("kind"),
            Self::Overlap => RejectionKind::invalid("overlap_hours"),
            Self::BeyondOwnPermissions => RejectionKind::Forbidden,
        }
    }
}

impl Aggregate for InboundSources {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let event = match command {
            Command::Create {
                name,
                provider,
                secret,
                creator,
            } => {
                self.ensure_room()?;
                ensure_permitted(provider, facts)?;
                Some(Event::Created {
                    source: InboundSourceId(facts.command.0),
                    name: name.clone(),
                    provider: provider.clone(),
                    secret: secret.clone(),
                    creator: *creator,
                })
            }
            Command::Update {
                source,
                name,
                provider,
            } => self.update(*source, name.as_ref(), provider.as_ref(), facts)?,
            Command::Delete { source } => {
                self.find(*source)?;
                Some(Event::Deleted { source: *source })
            }
            Command::RotateSecret {
                source,
                secret,
                overlap_hours,
            } => {
                self.find(*source)?;
                if *overlap_hours > MAX_OVERLAP_HOURS {
                    return Err(Rejection::Overlap);
                }
                let overlap_ms = i64::from(*overlap_hours) * HOUR_MS;
                Some(Event::SecretRotated {
                    source: *source,
                    secret: secret.clone(),
                    former_expires_at: Time(facts.now.0 + overlap_ms),
                })
            }
            Command::Reseal { source, values } => {
                self.find(*source)?;
                Some(Event::Resealed {
                    source: *source,
                    values: values.clone(),
                })
            }
            Command::Replay { source, hook } => {
                self.find(*source)?;
                Some(Event::ReplayRequested {
                    source: *source,
                    hook: *hook,
                })
            }
        };
        Ok(Decision::events(event.into_iter().collect()))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        apply(&mut self.0, event, at);
    }
}

impl InboundSources {
    fn find(&self, source: InboundSourceId) -> Result<&Source, Rejection> {
        self.0.get(&source).ok_or(Rejection::NotFound)
    }

    fn ensure_room(&self) -> Result<(), Rejection> {
        if self.0.len() < MAX_SOURCES {
            Ok(())
        } else {
            Err(Rejection::TooManySources)
        }
    }

    fn update(
        &self,
        source: InboundSourceId,
        name: Option<&Name>,
        provider: Option<&Provider>,
        facts: &Facts<Area>,
    ) -> Result<Option<Event>, Rejection> {
        let found = self.find(source)?;
        let provider = provider.unwrap_or(&found.provider);
        if !provider.is_same_kind(&found.provider) {
            return Err(Rejection::KindIsFixed);
        }
        let name = name.unwrap_or(&found.name);
        if (name, provider) == (&found.name, &found.provider) {
            return Ok(None);
        }
        ensure_permitted(provider, facts)?;
        Ok(Some(Event::Updated {
            source,
            name: name.clone(),
            provider: provider.clone(),
        }))
    }
}

/// The actor may do what hooks of this provider do.
fn ensure_permitted(provider: &Provider, facts: &Facts<Area>) -> Result<(), Rejection> {
    let needed: &[Permission] = match provider {
        Provider::Github { .. } => &[task::CREATE, task::UPDATE],
        Provider::StandardWebhooks | Provider::Stripe | Provider::Hmac(_) => &[],
    };
    if needed
        .iter()
        .all(|permission| facts.held.contains(permission))
    {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnPermissions)
    }
}

#[cfg(test)]
mod tests;
